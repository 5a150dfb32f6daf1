//! Members of the two groups that read along: one commits after it has processed, one stores its
//! offsets with its results.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use corelog_client::{
    ConsumerRecord, GroupConsumer, GroupError, Listening, Offset, Rebalance, RebalanceListener,
    SeekTo, TopicPartition,
};
use corelog_protocol::PartitionIndex;

use super::Run;
use super::faults::FaultKind;
use crate::workload::payload::Payloads;

/// A poll ends at the latest then, so that a member hears that it is to leave.
const POLL: Duration = Duration::from_millis(100);
/// `max.poll.interval.ms` of every member.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(3);
/// How long a member that stalls stays away: long enough to lose its partitions, and to come back with
/// records in its hands that are another one's now.
const STALL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Commits after processing: at least once.
    Committing,
    /// Stores offsets with results: exactly once.
    Storing,
}

impl Group {
    pub(super) const ALL: [Self; 2] = [Self::Committing, Self::Storing];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Committing => "verify-committing",
            Self::Storing => "verify-storing",
        }
    }
}

/// What a member is told to do.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) leave: AtomicBool,
    pub(super) stall: AtomicBool,
}

/// The partitions that a member has, and the offset that comes next in each; `None` before the first.
type Held = Arc<Mutex<HashMap<i32, Option<usize>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads as a member until it is told to leave.
pub(super) async fn run(run: Arc<Run>, group: Group, orders: Arc<Orders>) -> Result<()> {
    let config = run
        .config()
        .set("group.id", group.id())
        .set("enable.auto.commit", false)
        .set("auto.offset.reset", "earliest")
        .set("max.poll.interval.ms", MAX_POLL_INTERVAL.as_millis());
    let mut consumer = GroupConsumer::new(&config)
        .await
        .context("cannot start a consumer")?;
    let held = Held::default();
    consumer.set_rebalance_listener(Listener {
        run: Arc::clone(&run),
        group,
        held: Arc::clone(&held),
    });
    consumer
        .subscribe([run.topic.as_str()])
        .context("cannot subscribe")?;
    let payloads = Payloads::new(run.plan.record_size);
    while !orders.leave.load(Ordering::Relaxed) {
        let records = match consumer.poll(POLL).await {
            Ok(records) => records,
            Err(error) => {
                note_error(&run, &error);
                continue;
            }
        };
        if orders.stall.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(STALL).await;
        }
        match group {
            Group::Storing => store(&run, &payloads, &records),
            Group::Committing => {
                process(&run, &held, &records);
                // One that came too late is no fault: the records are processed again.
                if !records.is_empty()
                    && let Err(error) = consumer.commit().await
                {
                    run.commits_refused.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "a commit was refused");
                }
            }
        }
    }
    if let Err(error) = consumer.close().await {
        note_error(&run, &error);
    }
    Ok(())
}

fn note_error(run: &Run, error: &GroupError) {
    if error.is_retriable() {
        run.consumer_errors.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let what = || error.to_string();
    run.faults().note(FaultKind::ConsumerFailed, what);
}

fn process(run: &Run, held: &Held, records: &[ConsumerRecord]) {
    let mut held = lock(held);
    let mut processed = run.processed();
    for record in records {
        let (partition, offset) = place(record);
        let next = held.get_mut(&record.partition.get());
        let is_due = match &next {
            Some(next) => next.is_none_or(|next| next == offset),
            None => false,
        };
        if !is_due {
            processed.wrong_delivery(|| {
                format!("partition {partition}, offset {offset}, where {next:?} was due")
            });
        }
        if let Some(next) = next {
            if next.is_none() {
                processed.begin(partition, offset);
            }
            *next = Some(offset + 1);
        }
        processed.process(partition, offset);
    }
}

fn store(run: &Run, payloads: &Payloads, records: &[ConsumerRecord]) {
    let mut store = run.store();
    for record in records {
        let (partition, offset) = place(record);
        match run.stamp(payloads, record) {
            Some((key, sequence)) => store.store(partition, offset, key, sequence),
            None => {
                let what = || format!("partition {partition}, offset {offset}, as delivered");
                run.faults().note(FaultKind::Stranger, what);
            }
        }
    }
}

fn place(record: &ConsumerRecord) -> (usize, usize) {
    (
        index(record.partition),
        usize::try_from(record.offset.get()).unwrap_or(0),
    )
}

fn index(partition: PartitionIndex) -> usize {
    usize::try_from(partition.get()).unwrap_or(0)
}

struct Listener {
    run: Arc<Run>,
    group: Group,
    held: Held,
}

impl Listener {
    fn let_go(&self, partitions: &[TopicPartition]) {
        let mut held = lock(&self.held);
        for partition in partitions {
            held.remove(&partition.partition.get());
        }
    }
}

impl RebalanceListener for Listener {
    fn assigned<'a>(
        &'a mut self,
        mut rebalance: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        Box::pin(async move {
            self.run.rebalances.fetch_add(1, Ordering::Relaxed);
            for partition in partitions {
                lock(&self.held).insert(partition.partition.get(), None);
                if self.group == Group::Committing {
                    continue;
                }
                let next = self.run.store().next(index(partition.partition));
                let at = SeekTo::Offset(Offset::new(next as i64));
                if let Err(error) = rebalance.seek(partition, at).await {
                    note_error(&self.run, &error);
                }
            }
        })
    }

    fn revoked<'a>(
        &'a mut self,
        _: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        self.let_go(partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Listening<'a> {
        self.let_go(partitions);
        Box::pin(std::future::ready(()))
    }
}
