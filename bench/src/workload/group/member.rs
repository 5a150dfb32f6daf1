//! A member of the group. Its positions are committed by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use corelog_client::{
    ConsumerRecord, GroupConsumer, Listening, Rebalance, RebalanceListener, SeekTo, TopicPartition,
};

use super::{Gathering, LOOK, PATIENCE};
use crate::workload::consume::Consumed;
use crate::workload::ledger::Ledger;
use crate::workload::payload::Payloads;

/// One wait of `poll`: so often a member sees that it is done.
const POLL: Duration = Duration::from_millis(20);

pub(crate) struct Member<'a> {
    consumer: GroupConsumer,
    number: usize,
    gathering: &'a Arc<Gathering>,
    payloads: &'a Payloads,
    progress: &'a AtomicU64,
    consumed: Consumed,
    ledger: Ledger,
}

impl<'a> Member<'a> {
    /// One that has not joined yet.
    pub(crate) fn new(
        mut consumer: GroupConsumer,
        number: usize,
        gathering: &'a Arc<Gathering>,
        payloads: &'a Payloads,
        progress: &'a AtomicU64,
    ) -> Self {
        consumer.set_rebalance_listener(Listener {
            number,
            gathering: Arc::clone(gathering),
        });
        Self {
            consumer,
            number,
            gathering,
            payloads,
            progress,
            consumed: Consumed::start(),
            ledger: Ledger::default(),
        }
    }

    /// Reads from the gathering of all members on until everything is read.
    pub(crate) async fn attend(mut self, topic: &str) -> Result<(Consumed, Ledger)> {
        self.subscribe(topic)?;
        if self.assemble().await? {
            self.read(Gathering::is_read).await?;
        }
        self.leave().await
    }

    /// Joins when it is told to, and leaves when it is told to.
    pub(crate) async fn come_and_go(mut self, topic: &str) -> Result<(Consumed, Ledger)> {
        let newcomer = &self.gathering.newcomer;
        while !newcomer.may_join.load(Ordering::Acquire) {
            if self.gathering.is_broken_off() {
                return Ok((self.consumed, self.ledger));
            }
            tokio::time::sleep(LOOK).await;
        }
        let joined = newcomer.joined.get_or_init(Instant::now);
        self.consumed.started = *joined;
        self.subscribe(topic)?;
        self.read(|gathering| gathering.newcomer.is_to_leave.load(Ordering::Acquire))
            .await?;
        newcomer.left.get_or_init(Instant::now);
        self.leave().await
    }

    fn subscribe(&mut self, topic: &str) -> Result<()> {
        self.consumer
            .subscribe([topic])
            .context("a member cannot subscribe")
    }

    /// Waits until every member has its share, and goes to the beginning of
    /// its own. False if that was broken off.
    async fn assemble(&mut self) -> Result<bool> {
        let gathering = self.gathering;
        let began = Instant::now();
        while !gathering.is_going() {
            if gathering.is_broken_off() {
                return Ok(false);
            }
            if !gathering.begin_when_complete() && began.elapsed() > PATIENCE {
                bail!(
                    "the group of {} is not complete after {} s: {}",
                    gathering.members,
                    PATIENCE.as_secs(),
                    gathering.shares().describe()
                );
            }
            self.poll(LOOK).await?;
        }
        self.consumed = Consumed::start();
        for partition in self.consumer.assignment() {
            if let Some(stretch) = gathering.stretch(&partition)
                && stretch.start != stretch.end
            {
                let beginning = SeekTo::Offset(stretch.start);
                let sought = self.consumer.seek(&partition, beginning).await;
                sought.with_context(|| format!("cannot seek in {partition}"))?;
            }
        }
        Ok(true)
    }

    async fn read(&mut self, is_over: impl Fn(&Gathering) -> bool) -> Result<()> {
        while !is_over(self.gathering) && !self.gathering.is_broken_off() {
            let records = self.poll(POLL).await?;
            if records.is_empty() {
                continue;
            }
            let places = records
                .iter()
                .map(|record| (record.partition.get(), record.offset.get()));
            self.gathering.shares().returned(places, Instant::now());
            let mut bytes = 0;
            for record in &records {
                let value = record.value.as_deref().unwrap_or_default();
                self.ledger
                    .enter(record.partition.get(), self.payloads.check(value));
                bytes += value.len() as u64;
            }
            self.consumed.records += records.len() as u64;
            self.consumed.bytes += bytes;
            self.consumed.ended = Instant::now();
            self.progress.fetch_add(bytes, Ordering::Relaxed);
            // A poll that finds records waits for nothing: members that share
            // a thread would starve each other.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>> {
        match self.consumer.poll(timeout).await {
            Ok(records) => Ok(records),
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, member = self.number, "a poll failed, and is made again");
                Ok(Vec::new())
            }
            Err(error) => Err(error).context("a member of the group failed"),
        }
    }

    async fn leave(self) -> Result<(Consumed, Ledger)> {
        self.consumer
            .close()
            .await
            .context("a member cannot leave its group")?;
        Ok((self.consumed, self.ledger))
    }
}

/// Tells the gathering which partitions come and go.
struct Listener {
    number: usize,
    gathering: Arc<Gathering>,
}

impl Listener {
    fn give_up(&self, partitions: &[TopicPartition]) {
        let mut shares = self.gathering.shares();
        let now = Instant::now();
        for partition in partitions {
            shares.give_up(self.number, partition.partition.get(), now);
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
            for partition in partitions {
                // Until all are there, nobody reads; then what is committed counts.
                if !self.gathering.is_going()
                    && let Some(stretch) = self.gathering.stretch(partition)
                    && let Err(error) = rebalance.seek(partition, SeekTo::Offset(stretch.end)).await
                {
                    tracing::warn!(%error, "a member begins too early");
                }
            }
            let mut shares = self.gathering.shares();
            let now = Instant::now();
            for partition in partitions {
                shares.take(self.number, partition.partition.get(), now);
            }
        })
    }

    fn revoked<'a>(
        &'a mut self,
        _: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        self.give_up(partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Listening<'a> {
        self.give_up(partitions);
        Box::pin(std::future::ready(()))
    }
}
