#!/usr/bin/env bash
# Has PyPI's kafka-python read what the broker wrote, and the broker what kafka-python wrote.
#
#   run.sh [cargo options]
#
# Exit code 3: kafka-python could not be installed.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The codecs are what kafka-python looks for; versions are fixed so that the test means the same tomorrow.
python3 -m venv "$work/venv" >&2 && "$work/venv/bin/pip" install --quiet --retries 1 \
    --disable-pip-version-check kafka-python==3.0.12 python-snappy==0.7.3 lz4==4.4.5 \
    zstandard==0.25.0 xxhash==4.1.0 >&2 || {
    echo "kafka-python could not be installed" >&2
    exit 3
}
CORELOG_TEST_KAFKA_PYTHON="$work/venv/bin/python" \
    cargo test -p corelog-broker --test behaviour "$@" -- interop::kafka_python
