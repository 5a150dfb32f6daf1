//! Consuming from the tail: the newest records, which the broker still holds
//! in memory.
//!
//! A reader that follows the tail is fed no faster than producers write. To
//! see how fast the broker can feed one, the newest records of several
//! partitions are read again and again. Slices of this and of a loopback stream
//! alternate, as those of producing and of the bare loop do.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Result;
use corelog_client::TopicPartition;
use corelog_protocol::Durability;

use super::slice::Slice;
use super::throughput::LINGER_MS;
use super::{Suite, median};
use crate::interrupt;
use crate::report::Throughput;
use crate::workload::client::Sender;
use crate::workload::clients;
use crate::workload::consume::{Consumed, Stretch, read_repeatedly, share_out};
use crate::workload::payload::{Epoch, Payloads, Stamp};

/// Partitions at least: one pass through all is long beside the round trip
/// that starts it.
const LEAST_PARTITIONS: i32 = 16;

/// Record bytes of each partition: well within what the broker holds of it.
const BYTES_EACH: usize = 2 << 20;

const BATCH: usize = 256 << 10;

/// Records between two looks at the deliveries.
const STRIDE: u64 = 64;

/// Slices of which the median is told.
const SLICES: u32 = 3;

impl Suite<'_> {
    pub(super) fn consume_from_the_tail(
        &mut self,
        durability: Durability,
    ) -> Result<Option<Throughput>> {
        if interrupt::requested() {
            return Ok(None);
        }
        let topic = self.topic(durability, self.plan.partitions.max(LEAST_PARTITIONS))?;
        let before = self.ends(&topic)?;
        let time = self.plan.times.tail;
        self.progress.step("consume from the tail", time);
        let filled = self.fill(&before)?;
        let stretches = self.written_since(&before, filled)?;
        let mut slices = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..SLICES {
            slices.push(self.read_tail(&stretches, time / SLICES)?);
            if self.ceilings.is_some() {
                streams.push(self.loopback_stream(time / SLICES)?);
            }
        }
        self.delete(&topic)?;
        if interrupt::requested() {
            return Ok(None);
        }
        let what = "consume from the tail".to_owned();
        if let Some(ceilings) = &mut self.ceilings {
            ceilings.loopback_stream_mb_per_s = median(streams.clone());
        }
        let mut figure = self.figure(what, &slices, |reached| self.loopback_ceiling(reached));
        figure.ceiling_slices_mb_per_s = streams;
        Ok(Some(figure))
    }

    /// Writes the records to be read into every partition; returns how many.
    fn fill(&self, partitions: &[Stretch]) -> Result<u64> {
        let record_size = self.plan.record_size;
        let records = (BYTES_EACH / record_size).max(1) as u64;
        let session = &self.session;
        clients::run_one(&self.plan.cores, || async move {
            let unseen = AtomicU64::new(0);
            let mut sender = session.sender(BATCH, LINGER_MS, &unseen).await?;
            let mut payloads = Payloads::new(record_size);
            for partition in partitions {
                send_to(&mut sender, partition, &mut payloads, records).await?;
            }
            sender.flush().await?;
            sender.close().await?;
            Ok(records * partitions.len() as u64)
        })
    }

    /// One slice: pass after pass until its time is over.
    fn read_tail(&self, stretches: &[Stretch], time: Duration) -> Result<Slice> {
        let consumers = self.plan.consumers;
        let (session, progress) = (&self.session, self.progress.bytes());
        let until = Instant::now() + time;
        let (consumed, observed) = self.watched(|| {
            clients::run(&self.plan.cores, consumers, |number| async move {
                let mut receiver = session.receiver().await?;
                let mine = share_of_tail(stretches, number, consumers);
                read_repeatedly(&mut receiver, &mine, until, progress).await
            })
        })?;
        let consumed: Vec<&Consumed> = consumed.iter().collect();
        Ok(Slice::of_consumers(&consumed, observed))
    }
}

/// As [`share_out`], but consumers in excess read what others read as well.
fn share_of_tail(stretches: &[Stretch], number: usize, consumers: usize) -> Vec<Stretch> {
    if consumers > stretches.len() {
        vec![stretches[number % stretches.len()].clone()]
    } else {
        share_out(stretches, number, consumers)
    }
}

async fn send_to(
    sender: &mut Sender<'_>,
    stretch: &Stretch,
    payloads: &mut Payloads,
    records: u64,
) -> Result<()> {
    let epoch = Epoch::now();
    for sequence in 0..records {
        let value = payloads.stamped(Stamp {
            producer: 0,
            sequence,
            due: epoch.elapsed(),
        });
        let TopicPartition { topic, partition } = &stretch.partition;
        sender.send(topic, Some(*partition), value).await?;
        if sequence % STRIDE == 0 {
            sender.take_ready().await?;
        }
    }
    Ok(())
}
