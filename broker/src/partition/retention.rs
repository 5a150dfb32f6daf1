//! What a partition does about its old segments when the shard's housekeeping comes by.

use corelog_protocol::Timestamp;

use super::{Partition, Refusal};
use crate::log::{LogExtent, Retained};
use crate::runtime::unix_millis;

impl Partition {
    /// Forgets the idempotent producers that were idle for longer than `producer.id.expiration.ms`.
    pub(crate) fn forget_idle_producers(&self) {
        self.shared.log.expire_producers();
    }

    /// Closes an active segment whose time is up, and moves the log's start over the segments that
    /// the topic's retention lets go. Says whether files wait for a checkpoint to let them go.
    pub(crate) async fn enforce_retention(&self) -> Result<bool, Refusal> {
        let shared = &self.shared;
        let log = &shared.log;
        log.roll_if_due().await;
        let segments = log.segments();
        let marks = self.marks();
        let extent = LogExtent {
            segments: &segments,
            log_start: log.log_start_offset(),
            high_watermark: marks.high_watermark,
        };
        let now = Timestamp::new(unix_millis());
        let Retained {
            mut log_start,
            closes_active,
        } = shared
            .retention
            .get()
            .apply(extent, now, async |segment| {
                let newest = log.largest_timestamp(segment.base_offset).await;
                newest.filter(|newest| *newest >= 0).map(Timestamp::new)
            })
            .await;
        if closes_active {
            // Nothing may have been appended since, and nothing waits between the two.
            let is_idle = log.log_end_offset() == log_start;
            if !is_idle || !log.roll_idle() {
                let active = segments.last().map(|segment| segment.base_offset);
                log_start = active.map_or(log_start, |base| base.max(extent.log_start));
            }
        }
        if log_start > extent.log_start {
            shared.move_log_start(log_start).await?;
        }
        let start = log.log_start_offset();
        let segments = log.segments();
        Ok(segments
            .first()
            .is_some_and(|oldest| oldest.is_closed && oldest.end_offset <= start))
    }
}
