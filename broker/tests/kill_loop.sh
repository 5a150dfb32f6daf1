#!/usr/bin/env bash
# Kills a release-built broker under load, ROUNDS times at each durability level (default 200).
# usage: kill_loop.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
CORELOG_TEST_KILL_ROUNDS="${1:-200}" exec cargo test --release --locked -p corelog-broker --test behaviour -- --nocapture kill_loop
