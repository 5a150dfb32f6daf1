#!/usr/bin/env bash
# Damages Kafka's messages for an hour, or for so many seconds, and has them decoded.
#
#   fuzz_kafka.sh [SECONDS]
#
# CORELOG_TEST_SEED repeats the damage of a run that printed it.
set -euo pipefail
cd "$(dirname "$0")/.."
CORELOG_TEST_FUZZ_SECONDS=${1:-3600} cargo test --release --locked --lib hostile -- --nocapture
