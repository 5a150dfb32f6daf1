#!/usr/bin/env bash
# Runs SEEDS seeds (default 2000) of the simulated power cuts and deaths of the process, from FIRST on
# (default 0). A failing seed is named, with what replays it.
# usage: seeds.sh [SEEDS [FIRST]]
set -euo pipefail
cd "$(dirname "$0")/../.."
# The selection is that of .ci/run, so that nothing is compiled once more for this.
CORELOG_TEST_SEEDS="${1:-2000}" CORELOG_TEST_FIRST_SEED="${2:-0}" \
    exec cargo test --workspace --locked --lib -- --nocapture power_cuts::no_
