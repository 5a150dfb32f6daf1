//! A consumer of the load, which reads partitions that it is told.

use std::time::Duration;

use anyhow::{Context, Result};
use corelog_client::{Consumer, Offset, PartitionIndex, SeekTo, TopicPartition};

/// Batches of one poll, at most.
const BATCHES: usize = 64;

/// Reads records, from where it is told on.
pub(crate) struct Receiver(Consumer);

/// What came with one poll.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Receiver {
    pub(crate) fn new(consumer: Consumer) -> Self {
        Self(consumer)
    }

    /// Reads these partitions from now on, each from its offset.
    pub(crate) async fn start_at(&mut self, places: &[(TopicPartition, Offset)]) -> Result<()> {
        let partitions: Vec<_> = places.iter().map(|(it, _)| it.clone()).collect();
        let assigned = self.0.assign(&partitions).await;
        assigned.context("cannot assign partitions")?;
        for (partition, offset) in places {
            let sought = self.0.seek(partition, SeekTo::Offset(*offset)).await;
            sought.with_context(|| format!("cannot seek in {partition}"))?;
        }
        Ok(())
    }

    /// Gives each record's partition and value to `take`. Waits so long for the first.
    pub(crate) async fn poll(
        &mut self,
        patience: Duration,
        mut take: impl FnMut(PartitionIndex, &[u8]),
    ) -> Result<Received> {
        let records = self.0.poll(patience).await.context("a consumer failed")?;
        let mut received = Received::default();
        for record in records {
            let value = record.value.as_deref().unwrap_or_default();
            received.records += 1;
            received.bytes += value.len() as u64;
            take(record.partition, value);
        }
        Ok(received)
    }

    /// Takes whole batches: validates them, their CRC included, and counts the records in them. The bytes are those of
    /// the batches.
    pub(crate) async fn poll_batches(&mut self, patience: Duration) -> Result<Received> {
        let batches = self.0.poll_batches(patience, BATCHES).await;
        let mut received = Received::default();
        for batch in batches.context("a consumer failed")? {
            received.records += u64::from(batch.view().record_count());
            received.bytes += batch.bytes.len() as u64;
        }
        Ok(received)
    }

    /// The offset of what comes next, once that is known.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>> {
        Ok(self.0.position(partition)?)
    }

    /// The offset behind the last record of each partition.
    pub(crate) async fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        let ends = self.0.end_offsets(partitions).await;
        let ends = ends.context("cannot tell the ends of the partitions")?;
        let end = |partition: &TopicPartition| {
            let end = ends.get(partition).copied();
            end.with_context(|| format!("the broker did not tell the end of {partition}"))
        };
        partitions.iter().map(end).collect()
    }
}
