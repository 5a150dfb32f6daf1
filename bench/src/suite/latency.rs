//! Latency from producer to consumer, at each durability.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corelog_protocol::Durability;

use super::Suite;
use crate::interrupt;
use crate::latency::{Latencies, LatencySummary};
use crate::report::{Latency, LatencyCeiling};
use crate::workload::clients;
use crate::workload::consume::{Stretch, share_out};
use crate::workload::end_to_end::{Exchange, Pace, Sent, receive, send};
use crate::workload::ledger::Ledger;
use crate::workload::payload::{Epoch, Payloads};
use crate::workload::session::Topic;

/// A producer that waits for nothing sends each record at once.
const LINGER_MS: u32 = 0;

const BATCH: usize = 64 << 10;

/// The part of the time in which connections are made and caches warm up.
const WARM_UP: f64 = 0.1;

/// What an exchange came to: the latencies of all that was due behind its warm-up.
pub(super) struct Exchanged {
    /// Sent, and due, in all of its time.
    pub(super) records: u64,
    pub(super) due: u64,
    pub(super) latencies: Latencies,
}

/// What one client of the exchange came back with.
enum Outcome {
    Sent(Sent),
    Received(Latencies, Ledger),
}

impl Suite<'_> {
    pub(super) fn measure_latency(&mut self, durability: Durability) -> Result<Option<Latency>> {
        let rate = self.plan.rate;
        let what = match rate {
            Some(rate) => format!("{durability}, {rate} records/s"),
            None => format!("{durability}, one at a time"),
        };
        let time = self.plan.times.latency;
        let began = Instant::now();
        let Some(exchanged) = self.exchange_at(durability, rate, time, &what)? else {
            return Ok(None);
        };
        let latencies = exchanged.latencies;
        let (measured, distribution) = (latencies.summary(), latencies.distribution());
        self.keep(&what, began, latencies);
        Ok(Some(Latency {
            what,
            rate,
            measured,
            ceiling: self.latency_ceiling(durability, &measured),
            distribution,
        }))
    }

    /// Sends for that time at that rate to a new topic and reads along; `None` if it was interrupted.
    pub(super) fn exchange_at(
        &mut self,
        durability: Durability,
        rate: Option<u64>,
        time: Duration,
        what: &str,
    ) -> Result<Option<Exchanged>> {
        if interrupt::requested() {
            return Ok(None);
        }
        let topic = self.topic(durability, self.plan.partitions)?;
        let ends = self.ends(&topic)?;
        self.progress.step(format!("latency, {what}"), time);
        let outcomes = self.exchange(&topic, &ends, rate, time)?;
        self.delete(&topic)?;
        if interrupt::requested() {
            return Ok(None);
        }
        let mut latencies = Latencies::new();
        let mut ledger = Ledger::default();
        let (mut sent, mut due, mut acknowledged) = (Vec::new(), 0, 0);
        for outcome in &outcomes {
            match outcome {
                Outcome::Sent(theirs) => {
                    sent.push(theirs.records);
                    due += theirs.due;
                    acknowledged += theirs.acknowledged;
                }
                Outcome::Received(theirs, seen) => {
                    latencies.merge(theirs);
                    ledger.merge(seen);
                }
            }
        }
        self.verdict.add(ledger.verdict(&sent, acknowledged));
        Ok(Some(Exchanged {
            records: sent.iter().sum(),
            due,
            latencies,
        }))
    }

    /// Producers are the first tasks, so that their numbers count from zero.
    fn exchange(
        &self,
        topic: &Topic,
        ends: &[Stretch],
        rate: Option<u64>,
        time: Duration,
    ) -> Result<Vec<Outcome>> {
        let plan = self.plan;
        let (producers, consumers) = (plan.producers, plan.consumers.min(ends.len()));
        let exchange = &Exchange {
            epoch: Epoch::now(),
            measured_from: time.mul_f64(WARM_UP),
            until: Instant::now() + time,
            awaited: AtomicUsize::new(consumers),
            sending: AtomicUsize::new(producers),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        };
        let pace = match rate {
            None => Pace::OneAtATime,
            Some(rate) => Pace::Every(Duration::from_secs_f64(producers as f64 / rate as f64)),
        };
        let session = &self.session;
        clients::run(&plan.cores, producers + consumers, |task| {
            let sending = (task < producers).then(|| exchange.sending());
            async move {
                let mut payloads = Payloads::new(plan.record_size);
                if let Some(number) = task.checked_sub(producers) {
                    let mut receiver = session.receiver().await?;
                    let mine = share_out(ends, number, consumers);
                    let (latencies, ledger) =
                        receive(&mut receiver, &mine, &payloads, exchange).await?;
                    return Ok(Outcome::Received(latencies, ledger));
                }
                let linger_ms = plan.linger_ms.unwrap_or(LINGER_MS);
                let unseen = AtomicU64::new(0);
                let mut sender = session.sender(BATCH, linger_ms, &unseen).await?;
                let number = u32::try_from(task).context("fewer producers than 2^32")?;
                let sent = send(
                    &mut sender,
                    &topic.name,
                    number,
                    &mut payloads,
                    pace,
                    exchange,
                )
                .await?;
                drop(sending);
                sender.close().await?;
                Ok(Outcome::Sent(sent))
            }
        })
    }

    /// A record's way is one round trip over loopback, half of it to the
    /// broker and half to the consumer, and at `written` and `sync` a write.
    fn latency_ceiling(
        &self,
        durability: Durability,
        measured: &LatencySummary,
    ) -> Option<LatencyCeiling> {
        let ceilings = self.ceilings.as_ref()?;
        let round_trip = ceilings.loopback_round_trip.p50_us;
        let (name, write) = match durability {
            Durability::Memory => ("round trip", 0.0),
            Durability::Written => ("round trip + write", ceilings.write_round_trip.p50_us),
            Durability::Sync => (
                "round trip + synced write",
                ceilings.synced_write_round_trip.p50_us,
            ),
        };
        Some(LatencyCeiling::new(
            name,
            round_trip + write,
            measured.p50_us,
        ))
    }
}
