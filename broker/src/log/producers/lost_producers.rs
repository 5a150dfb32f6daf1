//! Looking in a log for producers whose remembered batches a cut takes away.
//!
//! What the log keeps of them lies before the cut, usually not far: the segments are read backwards
//! from there, until each was found or the log begins. A cut is rare, and its cost is that of the
//! records read.

use std::collections::HashSet;

use corelog_protocol::record::split_batches;
use corelog_protocol::{Offset, ProducerId};

use super::Producers;
use crate::log::ReadError;
use crate::log::partition_log::PartitionLog;
use crate::runtime::unix_millis;

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

impl PartitionLog {
    /// The batches that the log would keep of the producers that a cut to `to` leaves without a
    /// remembered one: for each, those in the last segment that holds any.
    pub(in crate::log) async fn producers_before_cut(
        &self,
        to: Offset,
    ) -> Result<Producers, ReadError> {
        let emptied = self.state.borrow().producers.emptied_by_cut(to);
        let mut missing: HashSet<ProducerId> = emptied.into_iter().collect();
        let mut found = Producers::default();
        let log_start = self.log_start_offset();
        for segment in self.segments().iter().rev() {
            if missing.is_empty() {
                break;
            }
            let from = segment.base_offset.max(log_start);
            let until = segment.end_offset.min(to);
            let here = self.producers_within(from, until, to, &missing).await?;
            for producer in here.producers {
                missing.remove(&producer.id);
                found.insert(producer);
            }
        }
        Ok(found)
    }

    async fn producers_within(
        &self,
        from: Offset,
        until: Offset,
        cut: Offset,
        wanted: &HashSet<ProducerId>,
    ) -> Result<Producers, ReadError> {
        let now = unix_millis();
        let mut found = Producers::default();
        let mut at = from;
        while at < until {
            let bytes = self.read(at, until, READ_BYTES).await?.to_bytes();
            if bytes.is_empty() {
                break; // compaction left a gap up to the end
            }
            for batch in split_batches(&bytes) {
                let batch = batch.map_err(|error| ReadError::Corrupt {
                    path: self.folder().to_owned(),
                    position: 0,
                    reason: format!("at offset {at}: {error}"),
                })?;
                at = batch.next_offset();
                let is_wanted = batch.producer_id().is_some_and(|id| wanted.contains(&id));
                if is_wanted && batch.last_offset() < cut {
                    found.note_on_disk(batch.header(), now);
                }
            }
        }
        Ok(found)
    }
}
