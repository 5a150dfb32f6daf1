//! Consumers: one that checks every record, and one that takes whole batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corelog_client::{Consumer, SeekTo, TopicPartition};
use corelog_protocol::Offset;

use super::ledger::Ledger;
use super::payload::Payloads;
use crate::interrupt;

/// How long a consumer waits for the next records before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// One wait of `poll`: so often an interrupt is looked for.
const POLL: Duration = Duration::from_millis(200);

/// Batches of one poll, at most.
const BATCHES: usize = 64;

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
}

/// Which consumer reads which stretches.
pub(crate) fn share_out(stretches: &[Stretch], consumer: usize, consumers: usize) -> Vec<Stretch> {
    let mine = stretches.iter().skip(consumer).step_by(consumers);
    mine.cloned().collect()
}

/// Reads all stretches once and enters every record into a ledger.
pub(crate) async fn read_back(
    consumer: &mut Consumer,
    stretches: &[Stretch],
    payloads: &Payloads,
    progress: &AtomicU64,
) -> Result<(Consumed, Ledger)> {
    let mut ledger = Ledger::default();
    let mut consumed = Consumed::start();
    let mut way = Way::begin(consumer, stretches).await?;
    while !way.is_done() && !interrupt::requested() {
        let records = consumer.poll(POLL).await.context("a consumer failed")?;
        let mut bytes = 0;
        for record in records {
            let value = record.value.as_deref().unwrap_or_default();
            ledger.enter(record.partition.get(), payloads.check(value));
            bytes += value.len() as u64;
            consumed.records += 1;
        }
        consumed.bytes += bytes;
        progress.fetch_add(bytes, Ordering::Relaxed);
        way.look(consumer)?;
    }
    consumed.ended = Instant::now();
    Ok((consumed, ledger))
}

/// Reads all stretches again and again until the time is over. Batches are
/// validated, their CRC included, but the records in them are only counted.
pub(crate) async fn read_repeatedly(
    consumer: &mut Consumer,
    stretches: &[Stretch],
    until: Instant,
    progress: &AtomicU64,
) -> Result<Consumed> {
    let mut consumed = Consumed::start();
    while Instant::now() < until && !interrupt::requested() {
        let mut way = Way::begin(consumer, stretches).await?;
        while !way.is_done() && !interrupt::requested() {
            let batches = consumer.poll_batches(POLL, BATCHES).await;
            let mut bytes = 0;
            for batch in batches.context("a consumer failed")? {
                bytes += batch.bytes.len() as u64;
                consumed.records += u64::from(batch.view().record_count());
            }
            consumed.bytes += bytes;
            progress.fetch_add(bytes, Ordering::Relaxed);
            way.look(consumer)?;
        }
    }
    consumed.ended = Instant::now();
    Ok(consumed)
}

/// Makes a consumer read the partitions of `stretches` from an offset of each on.
pub(crate) async fn start_at(
    consumer: &mut Consumer,
    stretches: &[Stretch],
    offset: impl Fn(&Stretch) -> Offset,
) -> Result<()> {
    let partitions: Vec<TopicPartition> = stretches
        .iter()
        .map(|stretch| stretch.partition.clone())
        .collect();
    consumer
        .assign(&partitions)
        .await
        .context("cannot assign partitions")?;
    for stretch in stretches {
        let start = SeekTo::Offset(offset(stretch));
        let sought = consumer.seek(&stretch.partition, start).await;
        sought.with_context(|| format!("cannot seek in {}", stretch.partition))?;
    }
    Ok(())
}

/// How far a consumer has come through its stretches.
struct Way {
    left: Vec<Stretch>,
    position_sum: i64,
    moved_at: Instant,
}

impl Way {
    async fn begin(consumer: &mut Consumer, stretches: &[Stretch]) -> Result<Self> {
        let left: Vec<Stretch> = stretches
            .iter()
            .filter(|stretch| stretch.start < stretch.end)
            .cloned()
            .collect();
        start_at(consumer, &left, |stretch| stretch.start).await?;
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
    fn look(&mut self, consumer: &Consumer) -> Result<()> {
        let mut left = Vec::with_capacity(self.left.len());
        let mut sum = 0;
        for stretch in self.left.drain(..) {
            let reached = consumer.position(&stretch.partition)?;
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
                consumer.position(&stuck.partition)?.map(Offset::get),
                stuck.end
            ),
            _ => Ok(()),
        }
    }
}
