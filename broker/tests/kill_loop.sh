#!/usr/bin/env bash
# Kills a release-built broker under load, ROUNDS times in each mode (default 200): at two durability
# levels, while segments are closed and deleted all the time, and while they are compacted, too.
# usage: kill_loop.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
# Both selections are those of .ci/run, so that nothing is compiled once more for this.
cargo build --release --workspace --bins --locked
target=$(realpath "${CARGO_TARGET_DIR:-target}")
CORELOG_TEST_BROKER="$target/release/corelog-broker" CORELOG_TEST_KILL_ROUNDS="${1:-200}" \
    exec cargo test --workspace --locked --test behaviour -- --nocapture kill_loop
