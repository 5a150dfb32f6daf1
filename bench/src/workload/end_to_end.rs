//! Latency from a producer to a consumer.
//!
//! *Open loop*: records are sent when they are due, whether or not earlier
//! ones have returned, and each counts from the moment it was due: a stall
//! shows in every record that it held up. *Closed loop*: each producer sends a
//! record when its last one was acknowledged, which shows the way itself.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::client::{Receiver, Sender};
use super::consume::{Stretch, start_at};
use super::ledger::Ledger;
use super::payload::{Epoch, Payloads, Stamp};
use crate::interrupt;
use crate::latency::Latencies;

/// tokio's timers are coarser than this: the rest of a wait is spent looking
/// at sockets, which costs the client's core but delays nothing.
const TIMER_STEP: Duration = Duration::from_millis(2);

const POLL: Duration = Duration::from_millis(50);

/// How long consumers wait for records after the last one was acknowledged.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a producer sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When the last record was acknowledged.
    OneAtATime,
    /// So long after the last record was due.
    Every(Duration),
}

/// What producers and consumers of one measurement share.
pub(crate) struct Exchange {
    pub(crate) epoch: Epoch,
    /// Records that were due before this are sent but not measured.
    pub(crate) measured_from: Duration,
    pub(crate) until: Instant,
    /// Consumers that are not yet reading.
    pub(crate) awaited: AtomicUsize,
    /// Producers that may still send, each holding a [`Sending`].
    pub(crate) sending: AtomicUsize,
    pub(crate) sent: AtomicU64,
    /// Different ones.
    pub(crate) received: AtomicU64,
}

impl Exchange {
    /// One producer's leave to send, to be taken before anything of it can fail.
    pub(crate) fn sending(&self) -> Sending<'_> {
        Sending(self)
    }
}

/// Consumers read on as long as one of these is held: dropped, after an error
/// too, it says that its producer sends no more.
pub(crate) struct Sending<'a>(&'a Exchange);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What became of what one producer was to send.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) records: u64,
    /// Those whose time came. In a closed loop, those that were sent.
    pub(crate) due: u64,
    pub(crate) acknowledged: u64,
}

/// Sends until the time is over.
pub(crate) async fn send(
    sender: &mut Sender<'_>,
    topic: &str,
    number: u32,
    payloads: &mut Payloads,
    pace: Pace,
    exchange: &Exchange,
) -> Result<Sent> {
    sender.prepare(topic).await?;
    while exchange.awaited.load(Ordering::Acquire) > 0 && Instant::now() < exchange.until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut sent = 0;
    let first = exchange.epoch.elapsed();
    let mut next = first;
    while Instant::now() < exchange.until && !interrupt::requested() {
        let due = match pace {
            Pace::OneAtATime => exchange.epoch.elapsed(),
            Pace::Every(gap) => {
                let due = next;
                next += gap;
                wait_until(due, exchange.epoch).await;
                sender.take_ready().await?;
                due
            }
        };
        let value = payloads.stamped(Stamp {
            producer: number,
            sequence: sent,
            due,
        });
        exchange.sent.fetch_add(1, Ordering::AcqRel);
        sent += 1;
        sender.send(topic, None, value).await?;
        if let Pace::OneAtATime = pace {
            sender.take_all().await?;
        }
    }
    let due = match pace {
        Pace::OneAtATime => sent,
        Pace::Every(gap) => {
            let time = exchange.epoch.elapsed().saturating_sub(first);
            (time.as_secs_f64() / gap.as_secs_f64()) as u64
        }
    };
    sender.flush().await?;
    Ok(Sent {
        records: sent,
        due,
        acknowledged: sender.acknowledged(),
    })
}

async fn wait_until(due: Duration, epoch: Epoch) {
    loop {
        let left = due.saturating_sub(epoch.elapsed());
        if left.is_zero() {
            return;
        }
        if left > TIMER_STEP {
            tokio::time::sleep(left - TIMER_STEP).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads what comes after `stretches` until every record sent was received.
pub(crate) async fn receive(
    receiver: &mut Receiver,
    stretches: &[Stretch],
    payloads: &Payloads,
    exchange: &Exchange,
) -> Result<(Latencies, Ledger)> {
    let mut latencies = Latencies::new();
    let mut ledger = Ledger::default();
    start_at(receiver, stretches, |stretch| stretch.end).await?;
    let mut ready = false;
    let mut moved_at = Instant::now();
    loop {
        let (mut now, mut received) = (None, 0);
        let polled = receiver.poll(POLL, |partition, value| {
            // All of a poll came at once.
            let now = *now.get_or_insert_with(|| exchange.epoch.elapsed());
            let stamp = payloads.check(value);
            received += u64::from(ledger.enter(partition.get(), stamp));
            if let Some(stamp) = stamp
                && stamp.due >= exchange.measured_from
            {
                latencies.record(now.saturating_sub(stamp.due));
            }
        });
        polled.await?;
        if !ready {
            // An empty poll has told the broker where to go on from.
            ready = true;
            exchange.awaited.fetch_sub(1, Ordering::AcqRel);
        }
        if received > 0 {
            moved_at = Instant::now();
        }
        let all = exchange.received.fetch_add(received, Ordering::AcqRel) + received;
        let over = exchange.sending.load(Ordering::Acquire) == 0;
        if over && (all >= exchange.sent.load(Ordering::Acquire) || moved_at.elapsed() > PATIENCE) {
            return Ok((latencies, ledger));
        }
        if interrupt::requested() {
            return Ok((latencies, ledger));
        }
    }
}
