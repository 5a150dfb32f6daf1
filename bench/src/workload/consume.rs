//! Consumers: one that checks every record, and one that takes whole batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use corelog_client::TopicPartition;
use corelog_protocol::Offset;

use super::client::{Received, Receiver};
use super::ledger::Ledger;
use super::payload::Payloads;
use crate::interrupt;

/// How long a consumer waits for the next records before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// One wait of `poll`: so often an interrupt is looked for.
const POLL: Duration = Duration::from_millis(200);

/// The part of a partition to be read.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) partition: TopicPartition,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
}

impl Stretch {
    /// Records in it.
    pub(crate) fn length(&self) -> u64 {
        u64::try_from(self.end.get() - self.start.get()).unwrap_or(0)
    }
}

/// What a consumer read, and when.
pub(crate) struct Consumed {
    pub(crate) records: u64,
    /// Bytes of the records' values, or of the batches where records were not looked at.
    pub(crate) bytes: u64,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
}

impl Consumed {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self {
            records: 0,
            bytes: 0,
            started: now,
            ended: now,
        }
    }

    /// Enters what came with a poll; `progress` counts the bytes.
    fn add(&mut self, received: Received, progress: &AtomicU64) {
        self.records += received.records;
        self.bytes += received.bytes;
        progress.fetch_add(received.bytes, Ordering::Relaxed);
    }
}

/// Which consumer reads which stretches.
pub(crate) fn share_out(stretches: &[Stretch], consumer: usize, consumers: usize) -> Vec<Stretch> {
    let mine = stretches.iter().skip(consumer).step_by(consumers);
    mine.cloned().collect()
}

/// Reads all stretches once and enters every record into a ledger.
pub(crate) async fn read_back(
    receiver: &mut Receiver,
    stretches: &[Stretch],
    payloads: &Payloads,
    progress: &AtomicU64,
) -> Result<(Consumed, Ledger)> {
    let mut ledger = Ledger::default();
    let mut consumed = Consumed::start();
    let mut way = Way::begin(receiver, stretches).await?;
    while !way.is_done() && !interrupt::requested() {
        let received = receiver.poll(POLL, |partition, value| {
            ledger.enter(partition.get(), payloads.check(value));
        });
        consumed.add(received.await?, progress);
        way.look(receiver)?;
    }
    consumed.ended = Instant::now();
    Ok((consumed, ledger))
}

/// Reads all stretches again and again until the time is over. Batches are
/// validated, their CRC included, but the records in them are only counted.
pub(crate) async fn read_repeatedly(
    receiver: &mut Receiver,
    stretches: &[Stretch],
    until: Instant,
    progress: &AtomicU64,
) -> Result<Consumed> {
    let mut consumed = Consumed::start();
    while Instant::now() < until && !interrupt::requested() {
        let mut way = Way::begin(receiver, stretches).await?;
        while !way.is_done() && !interrupt::requested() {
            consumed.add(receiver.poll_batches(POLL).await?, progress);
            way.look(receiver)?;
        }
    }
    consumed.ended = Instant::now();
    Ok(consumed)
}

/// Makes a consumer read the partitions of `stretches` from an offset of each on.
pub(crate) async fn start_at(
    receiver: &mut Receiver,
    stretches: &[Stretch],
    offset: impl Fn(&Stretch) -> Offset,
) -> Result<()> {
    let place = |stretch: &Stretch| (stretch.partition.clone(), offset(stretch));
    let places: Vec<_> = stretches.iter().map(place).collect();
    receiver.start_at(&places).await
}

/// How far a consumer has come through its stretches.
struct Way {
    left: Vec<Stretch>,
    position_sum: i64,
    moved_at: Instant,
}

impl Way {
    async fn begin(receiver: &mut Receiver, stretches: &[Stretch]) -> Result<Self> {
        let left: Vec<Stretch> = stretches
            .iter()
            .filter(|stretch| stretch.start < stretch.end)
            .cloned()
            .collect();
        start_at(receiver, &left, |stretch| stretch.start).await?;
        Ok(Self {
            left,
            position_sum: 0,
            moved_at: Instant::now(),
        })
    }

    fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Drops the stretches that are read; fails when nothing moves any more.
    fn look(&mut self, receiver: &Receiver) -> Result<()> {
        let mut left = Vec::with_capacity(self.left.len());
        let mut sum = 0;
        for stretch in self.left.drain(..) {
            let reached = receiver.position(&stretch.partition)?;
            sum += reached.map_or(0, Offset::get);
            if reached.is_none_or(|reached| reached < stretch.end) {
                left.push(stretch);
            }
        }
        self.left = left;
        if sum != self.position_sum {
            self.position_sum = sum;
            self.moved_at = Instant::now();
        }
        match self.left.first() {
            Some(stuck) if self.moved_at.elapsed() > PATIENCE => bail!(
                "{}: no record came within {} s; the consumer stands at {:?} of {}",
                stuck.partition,
                PATIENCE.as_secs(),
                receiver.position(&stuck.partition)?.map(Offset::get),
                stuck.end
            ),
            _ => Ok(()),
        }
    }
}
