//! What metrics tell of a coordinator.

use std::cell::Cell;

use corelog_protocol::kafka::GroupRecord;

use crate::metrics::ShardMetrics;

/// What there is now.
#[derive(Debug, Default)]
pub(in crate::shard) struct Present {
    pub(in crate::shard) groups: Cell<usize>,
    /// Heartbeats that wait for something to be told.
    pub(in crate::shard) waiting_heartbeats: Cell<usize>,
}

/// Who asked for the records of a decision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Somebody,
    Time,
}

pub(super) fn count(records: &[GroupRecord], cause: Cause, metrics: &ShardMetrics) {
    for record in records {
        match (record, cause) {
            (GroupRecord::OffsetCommit { value: Some(_), .. }, _) => {
                metrics.offset_commits.increment();
            }
            (GroupRecord::OffsetCommit { value: None, .. }, Cause::Time) => {
                metrics.offsets_expired.increment();
            }
            (GroupRecord::TargetAssignmentMetadata { value: Some(_), .. }, _) => {
                metrics.group_rebalances.increment();
            }
            (
                GroupRecord::ConsumerGroupMember {
                    group_id,
                    member_id,
                    value: None,
                },
                Cause::Time,
            ) => {
                metrics.group_members_fenced.increment();
                tracing::info!(
                    group = group_id,
                    member = member_id,
                    "a member fell silent, or gave up nothing in time, and was put out"
                );
            }
            _ => {}
        }
    }
}
