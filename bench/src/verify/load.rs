//! Producers, each with keys of its own.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use corelog_client::{Delivery, Producer, ProducerMetrics, ProducerRecord};
use futures_util::FutureExt;

use super::Run;
use super::faults::{FaultKind, Faults};
use super::log::Sent;
use crate::workload::payload::{Payloads, Stamp};

/// Records of one producer that wait to be acknowledged, at most.
const IN_FLIGHT: usize = 20_000;
/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(2);
/// How long a producer may take to end: records wait for two minutes at most.
const CLOSING: Duration = Duration::from_secs(130);

pub(super) struct Produced {
    /// By key; nothing in the places of other producers' keys.
    pub(super) sent: Vec<Sent>,
    pub(super) metrics: ProducerMetrics,
    pub(super) faults: Faults,
}

struct Load<'a> {
    run: &'a Run,
    /// Not settled yet: key and sequence number, in the order in which they were sent.
    in_flight: VecDeque<(u32, u64, Delivery)>,
    sent: Vec<Sent>,
    faults: Faults,
}

/// Sends at the run's pace until it ends, and waits for every acknowledgement.
pub(super) async fn produce(run: &Run, number: usize) -> Result<Produced> {
    let config = run.config().set("enable.idempotence", true);
    let producer = Producer::new(&config)
        .await
        .context("cannot start a producer")?;
    let mut load = Load {
        run,
        in_flight: VecDeque::new(),
        sent: vec![Sent::default(); run.plan.keys],
        faults: Faults::default(),
    };
    let mut payloads = Payloads::new(run.plan.record_size);
    let mut keys = (number..run.plan.keys).step_by(run.plan.producers).cycle();
    let rate = run.plan.rate as f64 / run.plan.producers as f64;
    let mut sent = 0_u64;
    while !run.is_over() {
        let due = (run.epoch.elapsed().as_secs_f64() * rate) as u64;
        while sent < due && !run.is_over() {
            let key = keys.next().context("a producer has keys")?;
            load.send(&producer, &mut payloads, key).await?;
            sent += 1;
        }
        load.settle_ready().await;
        tokio::time::sleep(TICK).await;
    }
    while let Some(oldest) = load.in_flight.pop_front() {
        load.settle(oldest).await;
    }
    producer
        .close(CLOSING)
        .await
        .context("cannot end a producer")?;
    Ok(Produced {
        sent: load.sent,
        metrics: producer.metrics(),
        faults: load.faults,
    })
}

pub(super) fn key_name(key: u32) -> String {
    format!("key-{key}")
}

impl Load<'_> {
    async fn send(
        &mut self,
        producer: &Producer,
        payloads: &mut Payloads,
        key: usize,
    ) -> Result<()> {
        let number = u32::try_from(key).context("too many keys")?;
        let sequence = self.sent[key].sent;
        let value = payloads.stamped(Stamp {
            producer: number,
            sequence,
            due: self.run.epoch.elapsed(),
        });
        let name = key_name(number);
        let record = ProducerRecord::to(&self.run.topic).key(&name).value(value);
        let delivery = producer
            .send(record)
            .await
            .context("cannot send a record")?;
        self.sent[key].sent += 1;
        self.in_flight.push_back((number, sequence, delivery));
        if self.in_flight.len() > IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.settle(oldest).await;
        }
        Ok(())
    }

    /// Settles those at the front that are acknowledged.
    async fn settle_ready(&mut self) {
        while let Some((_, _, delivery)) = self.in_flight.front_mut() {
            let Some(outcome) = delivery.now_or_never() else {
                return;
            };
            if let Some((key, sequence, _)) = self.in_flight.pop_front() {
                self.note(key, sequence, outcome.map(drop));
            }
        }
    }

    async fn settle(&mut self, (key, sequence, delivery): (u32, u64, Delivery)) {
        let outcome = delivery.await.map(drop);
        self.note(key, sequence, outcome);
    }

    fn note(&mut self, key: u32, sequence: u64, outcome: Result<(), corelog_client::ProduceError>) {
        match outcome {
            Ok(()) => {
                self.sent[key as usize].acknowledged = sequence + 1;
                self.run.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let what = || format!("key {key}, record {sequence}: {error}");
                self.faults.note(FaultKind::NotAcknowledged, what);
            }
        }
    }
}
