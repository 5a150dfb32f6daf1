//! 100 members on 1,000 partitions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use corelog_client::{
    ClientConfig, GroupConsumer, PartitionIndex, Producer, ProducerRecord, TopicPartition,
};
use tokio::task::JoinHandle;

use crate::rig::{Rig, SESSION_TIMEOUT};

const MEMBERS: usize = 100;
const PARTITIONS: i32 = 1000;
/// Between two records of one partition.
const PACE: Duration = Duration::from_millis(200);
/// No rebalance takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one member has, and when it last read something of each.
#[derive(Default)]
struct Seen {
    assigned: Vec<TopicPartition>,
    read: HashMap<PartitionIndex, Instant>,
    /// The longest time between two records of a partition that the member had all the while.
    longest_gap: Duration,
}

struct Member {
    seen: Arc<Mutex<Seen>>,
    leaving: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<()>>,
}

pub(crate) fn run() -> anyhow::Result<String> {
    let rig = Rig::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&rig))?;
    drop(runtime);
    rig.broker.stop()?;
    Ok(report)
}

async fn measure(rig: &Rig) -> anyhow::Result<String> {
    rig.create("orders", PARTITIONS, "memory").await?;
    let config = rig
        .config()
        .set("group.id", "billing")
        .set("auto.offset.reset", "earliest");
    let producing = tokio::spawn(produce(rig.config()));

    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(Member::start(config.clone()).await?);
    }
    let last_join = until_shared(&members).await?;
    // Everybody reads.
    tokio::time::sleep(3 * PACE).await;
    let usual_gap = reset_gaps(&members);
    tokio::time::sleep(10 * PACE).await;
    let usual_gap = usual_gap.max(reset_gaps(&members));

    members.push(Member::start(config.clone()).await?);
    let one_more = until_shared(&members).await?;
    let leaver = members.remove(0);
    leaver.leaving.store(true, Ordering::Relaxed);
    let one_less = until_shared(&members).await?;
    leaver.task.await??;
    // Dropped in the midst of it all, it says no farewell.
    let dead = members.remove(0);
    dead.task.abort();
    let repair = until_shared(&members).await?;
    tokio::time::sleep(3 * PACE).await;
    let gap = reset_gaps(&members);

    for member in &members {
        member.leaving.store(true, Ordering::Relaxed);
    }
    for member in members {
        member.task.await??;
    }
    producing.abort();
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    Ok(format!(
        "rebalance: {MEMBERS} members have their shares of {PARTITIONS} partitions {:.0} ms after the last \
         join; after one more {:.0} ms, after one leaves {:.0} ms, after one dies {:.0} ms beyond the \
         session time-out of {} s; longest wait for a record of a partition kept: {:.0} ms, {:.0} ms without \
         rebalances, at one record every {} ms",
        millis(last_join),
        millis(one_more),
        millis(one_less),
        millis(repair) - millis(SESSION_TIMEOUT),
        SESSION_TIMEOUT.as_secs(),
        millis(gap),
        millis(usual_gap),
        PACE.as_millis(),
    ))
}

/// A record to each partition in every interval.
async fn produce(config: ClientConfig) -> anyhow::Result<()> {
    let producer = Producer::new(&config).await?;
    loop {
        let began = Instant::now();
        for partition in 0..PARTITIONS {
            let record = ProducerRecord::to("orders")
                .partition(PartitionIndex::new(partition))
                .value("something");
            drop(producer.send(record).await?);
        }
        tokio::time::sleep(PACE.saturating_sub(began.elapsed())).await;
    }
}

impl Member {
    async fn start(config: ClientConfig) -> anyhow::Result<Self> {
        let mut consumer = GroupConsumer::new(&config).await?;
        consumer.subscribe(["orders"])?;
        let (seen, leaving) = (Arc::new(Mutex::new(Seen::default())), Arc::default());
        let task = tokio::spawn({
            let (seen, leaving) = (Arc::clone(&seen), Arc::clone(&leaving));
            async move {
                while !AtomicBool::load(&leaving, Ordering::Relaxed) {
                    let records = consumer.poll(PACE / 4).await?;
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.note_assigned(consumer.assignment());
                    for record in records {
                        seen.note_read(record.partition);
                    }
                }
                Ok(consumer.close().await?)
            }
        });
        Ok(Self {
            seen,
            leaving,
            task,
        })
    }
}

impl Seen {
    fn note_assigned(&mut self, assigned: Vec<TopicPartition>) {
        if assigned == self.assigned {
            return;
        }
        self.read
            .retain(|index, _| assigned.iter().any(|it| it.partition == *index));
        self.assigned = assigned;
    }

    fn note_read(&mut self, partition: PartitionIndex) {
        let now = Instant::now();
        if let Some(before) = self.read.insert(partition, now) {
            self.longest_gap = self.longest_gap.max(now - before);
        }
    }
}

/// How long it takes from now until the members have all partitions, in shares that differ by one at
/// most.
async fn until_shared(members: &[Member]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let shares: Vec<usize> = members
            .iter()
            .map(|member| {
                let seen = member.seen.lock();
                seen.unwrap_or_else(PoisonError::into_inner).assigned.len()
            })
            .collect();
        let least = shares.iter().min().context("no members")?;
        let most = shares.iter().max().context("no members")?;
        if shares.iter().sum::<usize>() == PARTITIONS as usize && most - least <= 1 {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < PATIENCE, "not shared: {shares:?}");
        ensure!(
            !members.iter().any(|it| it.task.is_finished()),
            "a member gave up"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The longest gap of any member since this was last asked.
fn reset_gaps(members: &[Member]) -> Duration {
    let gaps = members.iter().map(|member| {
        let mut seen = member.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen.longest_gap)
    });
    gaps.max().unwrap_or_default()
}
