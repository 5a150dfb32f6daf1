#!/usr/bin/env bash
# Runs STEPS random steps (default 1,000,000) of each of the random tests of groups, of their
# coordinator and of idempotent producers. A failing seed is named.
# usage: steps.sh [STEPS]
set -euo pipefail
cd "$(dirname "$0")/../.."
# The selection is that of .ci/run, so that nothing is compiled once more for this.
CORELOG_TEST_STEPS="${1:-1000000}" exec cargo test --workspace --locked --lib -- --nocapture \
    groups_survive_what_their_members_do \
    no_partition_has_two_owners_and_every_group_left_alone_settles \
    a_rebuilt_coordinator_knows_all_that_was_decided \
    every_batch_stands_in_the_log_once
