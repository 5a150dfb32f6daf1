//! Which of a log's oldest segments go: those too old, and those beyond the bytes it may hold.
//!
//! Kafka's rules. Whole segments go, oldest first; the first one that stays keeps all behind it,
//! whatever their timestamps say, because a log has one start. Nothing goes that readers may not
//! see yet. The active segment goes only after it was closed, and only when everything in it is to
//! go: a topic that nobody writes to any more empties all the same.
//!
//! Decides and does nothing.

use std::time::Duration;

use corelog_protocol::{Offset, Timestamp};

use super::SegmentOverview;
use crate::config::TopicConfig;

/// What a topic's settings say about old segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionRules {
    /// `cleanup.policy` holds `delete`; without it nothing is too old or too much.
    pub deletes: bool,
    /// `retention.ms`
    pub max_age: Option<Duration>,
    /// `retention.bytes`
    pub max_bytes: Option<u64>,
}

impl From<&TopicConfig> for RetentionRules {
    fn from(topic: &TopicConfig) -> RetentionRules {
        RetentionRules {
            deletes: topic.cleanup_policy.delete,
            max_age: topic.retention_ms,
            max_bytes: topic.retention_bytes.map(|bytes| bytes.get()),
        }
    }
}

/// A log at the moment of the decision.
#[derive(Debug, Clone, Copy)]
pub struct LogExtent<'a> {
    /// Oldest first; the last one is active.
    pub segments: &'a [SegmentOverview],
    /// Where the log starts.
    pub log_start: Offset,
    /// Nothing at or behind it may go.
    pub high_watermark: Offset,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// Where the log shall start; not below where it does.
    pub log_start: Offset,
    /// The active segment goes too: it must be closed first.
    pub closes_active: bool,
}

impl RetentionRules {
    /// Where the log shall start. `newest` tells the largest timestamp of a segment's records,
    /// `None` when it is not known; it is asked about as few segments as the decision needs.
    pub async fn apply(
        &self,
        log: LogExtent<'_>,
        now: Timestamp,
        mut newest: impl AsyncFnMut(&SegmentOverview) -> Option<Timestamp>,
    ) -> Retained {
        let mut retained = Retained {
            log_start: log.log_start,
            closes_active: false,
        };
        if !self.deletes || (self.max_age.is_none() && self.max_bytes.is_none()) {
            return retained;
        }
        // Segments below the log start have gone already; their files only wait for their removal.
        let is_gone =
            |segment: &&SegmentOverview| segment.is_closed && segment.end_offset <= log.log_start;
        let mut kept_bytes: u64 = log
            .segments
            .iter()
            .skip_while(is_gone)
            .map(|segment| segment.size_bytes)
            .sum();
        for segment in log.segments.iter().skip_while(is_gone) {
            let is_empty = segment.size_bytes == 0;
            if (is_empty && !segment.is_closed) || segment.end_offset > log.high_watermark {
                break;
            }
            // Compaction may leave nothing of a segment.
            let goes = is_empty
                || self.is_too_much(kept_bytes, segment.size_bytes)
                || self.is_too_old(now, newest(segment).await);
            if !goes {
                break;
            }
            kept_bytes -= segment.size_bytes;
            retained.log_start = retained.log_start.max(segment.end_offset);
            retained.closes_active = !segment.is_closed;
        }
        retained
    }

    /// Without the segment the log still holds `retention.bytes`.
    fn is_too_much(&self, kept_bytes: u64, segment_bytes: u64) -> bool {
        self.max_bytes
            .is_some_and(|max_bytes| kept_bytes - segment_bytes >= max_bytes)
    }

    /// The newest record is older than `retention.ms`. A timestamp of the future, or none, is not.
    fn is_too_old(&self, now: Timestamp, newest: Option<Timestamp>) -> bool {
        let (Some(max_age), Some(newest)) = (self.max_age, newest) else {
            return false;
        };
        let age = u128::try_from(now.get().saturating_sub(newest.get()));
        age.is_ok_and(|age| age > max_age.as_millis())
    }
}

#[cfg(test)]
mod tests;
