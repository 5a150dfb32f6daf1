//! What the tests believe a partition holds.

use corelog_protocol::record::split_batches;
use corelog_protocol::{Durability, Offset};

use super::rig::EPOCH;
use crate::log::PartitionLog;

/// A partition's records as they were sent, by offset, and how many were acknowledged at the
/// partition's own level.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) sent: Vec<Vec<u8>>,
    pub(super) acknowledged: usize,
}

impl Model {
    /// The log must hold every acknowledged record, in order, with its bytes, and nothing that was
    /// not sent. Whatever else it holds is taken as sent from now on.
    pub(super) async fn check(&mut self, log: &PartitionLog, context: &str) {
        let end = usize::try_from(log.log_end_offset().get()).unwrap();
        assert!(
            end >= self.acknowledged,
            "{context}: {} records were acknowledged and {end} are left",
            self.acknowledged
        );
        assert!(
            end <= self.sent.len(),
            "{context}: {end} records where {} were sent",
            self.sent.len()
        );
        self.sent.truncate(end);
        let mut at = 0;
        while at < end {
            let from = Offset::new(i64::try_from(at).unwrap());
            let read = log.read(from, log.log_end_offset(), 64 << 10).await;
            let read = read.unwrap_or_else(|error| panic!("{context}: offset {at}: {error}"));
            assert!(
                !read.is_empty(),
                "{context}: nothing to read at {at} of {end}"
            );
            let bytes = read.to_bytes();
            for batch in split_batches(&bytes) {
                let batch = batch.unwrap_or_else(|error| panic!("{context}: offset {at}: {error}"));
                batch
                    .verify_crc()
                    .unwrap_or_else(|error| panic!("{context}: offset {at}: {error}"));
                assert_eq!(batch.partition_leader_epoch(), Some(EPOCH), "{context}");
                assert_eq!(
                    batch.base_offset().get(),
                    i64::try_from(at).unwrap(),
                    "{context}"
                );
                let mut scratch = Vec::new();
                for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                    let record = record.unwrap();
                    assert!(
                        record.value == Some(&self.sent[at][..]),
                        "{context}: offset {at} holds other bytes than were sent"
                    );
                    at += 1;
                }
            }
        }
        assert_eq!(at, end, "{context}");
        let synced = log.end_offset_at(Durability::Sync);
        assert_eq!(
            synced,
            log.log_end_offset(),
            "{context}: what a start found is durable"
        );
        self.acknowledged = end;
    }
}
