//! Producing under full load, slice by slice beside the bare loop.

use std::time::Instant;

use anyhow::{Context, Result};
use corelog_protocol::Durability;

use super::slice::{Slice, span};
use super::{Suite, median};
use crate::ceilings::Transfer;
use crate::interrupt;
use crate::latency::Latencies;
use crate::plan::Part;
use crate::report::{RateCeiling, Throughput};
use crate::workload::clients;
use crate::workload::consume::Stretch;
use crate::workload::payload::{Epoch, Payloads};
use crate::workload::produce::{Load, Produced, produce};
use crate::workload::session::Topic;

/// Kafka's own default since version 4.
pub(super) const LINGER_MS: u32 = 5;

/// Record bytes between two turns of a producer's connections, at most.
const LONGEST_BREATH: usize = 64 << 10;

impl Suite<'_> {
    /// One produce figure; `None` if it was interrupted before its first slice ended.
    pub(super) fn produce(&mut self, part: &Part) -> Result<Option<Throughput>> {
        let mut slices = Vec::new();
        let mut bare_loop = Vec::new();
        let mut latencies = Latencies::new();
        let began = Instant::now();
        for number in 0..part.slices {
            if interrupt::requested() {
                break;
            }
            // A B, B A, …: what a slice leaves behind on the disk meets both alike.
            let bare_loop_first = number % 2 == 1;
            if bare_loop_first {
                bare_loop.extend(self.bare_loop_slice(part)?);
            }
            let topic = self.topic(part.durability, self.plan.partitions)?;
            let slice = self.produce_slice(part, &topic, number, &mut latencies)?;
            self.delete(&topic)?;
            slices.extend(slice);
            if !bare_loop_first {
                bare_loop.extend(self.bare_loop_slice(part)?);
            }
        }
        if slices.is_empty() {
            return Ok(None);
        }
        let bare_loop: Vec<f64> = bare_loop.iter().map(Transfer::mb_per_s).collect();
        let what = format!("produce, {}, {}", part.durability, part.batch_size);
        let mut figure = self.figure(what, &slices, |reached| match bare_loop.is_empty() {
            false => {
                let ceiling = median(bare_loop.clone());
                Some(RateCeiling::new("bare loop", ceiling, reached))
            }
            true => self.loopback_ceiling(reached),
        });
        figure.acknowledged_after = Some(latencies.summary());
        figure.acknowledgements = latencies.distribution();
        self.keep(&figure.what, began, latencies);
        figure.ceiling_slices_mb_per_s = bare_loop;
        Ok(Some(figure))
    }

    /// Produces one slice and reads it back; `None` if it was interrupted.
    fn produce_slice(
        &mut self,
        part: &Part,
        topic: &Topic,
        number: u32,
        latencies: &mut Latencies,
    ) -> Result<Option<Slice>> {
        let before = self.ends(topic)?;
        if let Some(scratch) = self.scratch {
            scratch.settle()?;
        }
        let (durability, batch_size) = (part.durability, part.batch_size);
        let name = format!("{durability}, {batch_size}, slice {}", number + 1);
        let expected = part.slice.expected();
        self.progress.step(format!("produce, {name}"), expected);
        let (produced, observed) = self.watched(|| self.produce_all(part, topic))?;
        let sent: Vec<u64> = produced.iter().map(|part| part.sent).collect();
        let stretches = self.written_since(&before, sent.iter().sum())?;
        self.progress.step(format!("read back, {name}"), expected);
        let ledger = self.read_back_all(&stretches)?;
        if interrupt::requested() {
            return Ok(None);
        }
        let acknowledged = produced.iter().map(|part| part.acknowledged).sum();
        self.verdict.add(ledger.verdict(&sent, acknowledged));
        for part in &produced {
            latencies.merge(&part.latencies);
        }
        let records: u64 = sent.iter().sum();
        let transfer = Transfer {
            bytes: records * self.plan.record_size as u64,
            elapsed: span(produced.iter().map(|part| (part.started, part.ended))),
        };
        Ok(Some(Slice {
            records,
            transfer,
            observed,
        }))
    }

    pub(super) fn produce_all(&self, part: &Part, topic: &Topic) -> Result<Vec<Produced>> {
        let plan = self.plan;
        let producers = plan.producers as u64;
        let epoch = Epoch::now();
        let until = part.slice.time.map(|time| Instant::now() + time);
        clients::run(&plan.cores, plan.producers, |number| async move {
            let linger_ms = plan.linger_ms.unwrap_or(LINGER_MS);
            let (batch, progress) = (part.batch_size.0, self.progress.bytes());
            let sender = self.session.sender(batch, linger_ms, progress).await?;
            let mut payloads = Payloads::new(plan.record_size);
            let left = u64::from((number as u64) < part.slice.records % producers);
            let load = Load {
                topic: &topic.name,
                number: u32::try_from(number).context("fewer producers than 2^32")?,
                epoch,
                until,
                records: part.slice.records / producers + left,
                breath: part.batch_size.0.min(LONGEST_BREATH),
            };
            produce(sender, &mut payloads, load).await
        })
    }

    /// The topic to use next: the user's, or a new one.
    pub(super) fn topic(&self, durability: Durability, partitions: i32) -> Result<Topic> {
        if let Some(topic) = &self.existing {
            return Ok(topic.clone());
        }
        let session = &self.session;
        clients::run_one(&self.plan.cores, || {
            session.create_topic(durability, partitions)
        })
    }

    pub(super) fn delete(&self, topic: &Topic) -> Result<()> {
        let session = &self.session;
        clients::run_one(&self.plan.cores, || session.delete_topic(topic))
    }

    pub(super) fn ends(&self, topic: &Topic) -> Result<Vec<Stretch>> {
        let session = &self.session;
        clients::run_one(&self.plan.cores, || session.ends(topic))
    }

    /// What came to each partition since `before`: the records sent, once all
    /// of them are there.
    pub(super) fn written_since(&self, before: &[Stretch], sent: u64) -> Result<Vec<Stretch>> {
        let session = &self.session;
        clients::run_one(&self.plan.cores, || session.written_since(before, sent))
    }
}
