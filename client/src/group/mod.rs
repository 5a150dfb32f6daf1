//! Reads records together with other members of a group (KIP-848): the group's coordinator, a core of a broker, shares the
//! partitions out, and keeps how far the group has come.
//!
//! What the member knows is one plain state, its [`Membership`](membership::Membership). Three tasks work for it: one sends
//! heartbeats, one finds out where to begin with new partitions, one commits. What the caller must see happens in `poll`:
//! giving partitions up, taking them, telling the listener.

mod commits;
mod heartbeats;
mod holdings;
mod listener;
mod member;
mod membership;
mod offsets;
mod shared;
mod starts;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corelog_protocol::Offset;
use futures_util::stream::{self, Stream};
use tokio::time::Instant;

pub use listener::{Listening, Rebalance, RebalanceListener};
pub use offsets::CommittedOffset;

use crate::cluster::Cluster;
use crate::config::{ClientConfig, GroupSettings};
use crate::consumer::{Consumer, ConsumerBatch, ConsumerRecords, SeekTo};
use crate::error::{ConnectError, ConsumeError, GroupError};
use crate::record::{ConsumerRecord, TopicPartition};
use commits::Outcome;
use holdings::Pending;
use member::{Member, names};
use membership::Subscription;
use shared::Shared;

/// Reads records as a member of a group: each partition of the topics subscribed to goes to one member, and a partition
/// whose member leaves, or dies, goes on with another one from the offset committed last.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use corelog_client::{ClientConfig, GroupConsumer};
///
/// let config = ClientConfig::new()
///     .set("bootstrap.servers", "127.0.0.1:9190")
///     .set("group.id", "billing");
/// let mut consumer = GroupConsumer::new(&config).await?;
/// consumer.subscribe(["orders"])?;
/// for record in consumer.poll(Duration::from_secs(1)).await? {
///     println!("{}-{}: {:?}", record.partition, record.offset, record.value);
/// }
/// consumer.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is processed at least once, and what is lost
///
/// A partition goes on from the offset that was committed last. With `enable.auto.commit` each `poll` commits, every
/// `auto.commit.interval.ms`, what the polls before it returned, and so does the one that gives a partition up, and
/// [`close`](Self::close): a program that has processed every record when it polls again loses none, and may see some
/// again after a crash. Without it, [`commit`](Self::commit) and its like decide.
///
/// # What counts exactly once
///
/// A program that keeps its results in a store of its own keeps the offsets there as well, and writes both in one step: then
/// they agree, whatever crashes. Its listener's [`assigned`](RebalanceListener::assigned) seeks each partition to the offset
/// that is stored, and the store refuses what does not begin there: a member that lost a partition and does not know it yet may
/// still bring records of it.
///
/// # Settings
///
/// Those of a [`Consumer`], and:
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `group.id` | required | the group's name |
/// | `group.instance.id` | none | makes a static member: it leaves for now only, and its next incarnation of the same name goes on with its partitions as long as the broker's session time-out is not over |
/// | `group.remote.assignor` | the group's | who shares the partitions out: `uniform` or `range` |
/// | `group.protocol` | `consumer` | nothing else is spoken |
/// | `client.rack` | none | where the member is |
/// | `enable.auto.commit` | `true` | whether positions are committed by themselves |
/// | `auto.commit.interval.ms` | 5000 | how often |
/// | `auto.offset.reset` | `latest` | where a partition begins of which nothing is committed: `earliest`, `latest`, `by_duration:PT1H`, or `none`, which is an error of `poll` |
/// | `max.poll.interval.ms` | 300000 | a member that does not poll for so long leaves the group, and joins with its next poll; also how long the coordinator waits for a partition to be given up |
/// | `max.poll.records` | 500 | most records of one `poll` |
/// | `default.api.timeout.ms` | 60000 | how long commits and the like are tried, and after which `poll` says that it cannot join |
pub struct GroupConsumer {
    member: Member,
    listener: Option<Box<dyn RebalanceListener>>,
}

/// A commit under way. It goes on when this is dropped.
#[must_use = "nobody hears of a commit that failed; drop it if that is meant"]
pub struct PendingCommit {
    outcome: Outcome,
}

impl Future for PendingCommit {
    type Output = Result<(), GroupError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(GroupError::Closed)))
    }
}

impl GroupConsumer {
    /// Reads the settings and connects to the cluster, trying for up to `default.api.timeout.ms`. The consumer's tasks
    /// run on the tokio runtime of this call.
    ///
    /// # Errors
    /// A setting that is unknown, missing or out of range; no bootstrap server that answers.
    pub async fn new(config: &ClientConfig) -> Result<Self, ConnectError> {
        let settings = GroupSettings::read(config)?;
        let consumer = &settings.consumer;
        let cluster = Cluster::connect(consumer.connection.clone(), consumer.api_timeout).await?;
        let reader = Consumer::start(consumer.clone(), Arc::clone(&cluster));
        let shared = Arc::new(Shared::new(settings, cluster));
        let tasks = [
            tokio::spawn(heartbeats::run(Arc::clone(&shared))).abort_handle(),
            tokio::spawn(starts::run(Arc::clone(&shared))).abort_handle(),
            tokio::spawn(commits::run(Arc::clone(&shared))).abort_handle(),
        ];
        Ok(Self {
            member: Member::new(shared, reader, tasks),
            listener: None,
        })
    }

    /// Subscribes to these topics and to nothing else. The member joins its group at once, and must be polled from now on.
    /// A topic that does not exist comes in when it does.
    ///
    /// # Errors
    /// [`GroupError::EmptySubscription`].
    pub fn subscribe<T: Into<String>>(
        &mut self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), GroupError> {
        let topics: BTreeSet<String> = topics.into_iter().map(Into::into).collect();
        for topic in &topics {
            self.member
                .shared
                .cluster
                .track_topic(&topic.as_str().into());
        }
        self.subscribe_to(Subscription {
            topics,
            pattern: String::new(),
        })
    }

    /// Subscribes to the topics whose whole name matches a regular expression, those to come too, and to nothing else. The
    /// coordinator reads the expression: one that it cannot read is an error of the next `poll`.
    ///
    /// # Errors
    /// [`GroupError::EmptySubscription`].
    pub fn subscribe_pattern(&mut self, pattern: impl Into<String>) -> Result<(), GroupError> {
        self.subscribe_to(Subscription {
            topics: BTreeSet::new(),
            pattern: pattern.into(),
        })
    }

    fn subscribe_to(&mut self, subscription: Subscription) -> Result<(), GroupError> {
        if subscription == Subscription::default() {
            return Err(GroupError::EmptySubscription);
        }
        self.member
            .shared
            .change(|membership| membership.subscribe(subscription, Instant::now()));
        Ok(())
    }

    /// Has a listener hear of partitions that come and go from now on, in place of one given before.
    pub fn set_rebalance_listener(&mut self, listener: impl RebalanceListener + 'static) {
        self.listener = Some(Box::new(listener));
    }

    /// Returns up to `max.poll.records` records, as soon as there are any; none if `timeout` passes first. Before that it
    /// gives up partitions that are another member's, takes those that are given, and commits what is due.
    ///
    /// # Errors
    /// A partition that cannot be read on, which is set aside until a seek; a group that cannot be joined; no subscription.
    pub async fn poll(&mut self, timeout: Duration) -> Result<ConsumerRecords, GroupError> {
        let limit = self.member.shared.settings.consumer.max_poll_records;
        self.poll_records(timeout, limit).await
    }

    async fn poll_records(
        &mut self,
        timeout: Duration,
        limit: usize,
    ) -> Result<ConsumerRecords, GroupError> {
        let mut records = Vec::new();
        self.poll_with(timeout, |reader| {
            reader.take_records(limit, &mut records)?;
            Ok(!records.is_empty())
        })
        .await?;
        Ok(records)
    }

    /// Like [`poll`](Self::poll), with whole batches that are not decoded: up to `limit` of them. The two may be mixed.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub async fn poll_batches(
        &mut self,
        timeout: Duration,
        limit: usize,
    ) -> Result<Vec<ConsumerBatch>, GroupError> {
        let mut batches = Vec::new();
        self.poll_with(timeout, |reader| {
            reader.take_batches(limit, &mut batches)?;
            Ok(!batches.is_empty())
        })
        .await?;
        Ok(batches)
    }

    async fn poll_with(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(&mut Consumer) -> Result<bool, ConsumeError>,
    ) -> Result<(), GroupError> {
        let deadline = Instant::now() + timeout;
        let _polling = Polling::begin(&self.member.shared);
        let within = self.member.shared.settings.consumer.api_timeout;
        loop {
            // Whatever earlier polls returned is processed.
            self.member.commit_when_due();
            if self.member.is_behind() {
                self.reconcile().await;
            }
            let error = self
                .member
                .shared
                .membership()
                .error(Instant::now(), within);
            if let Some(error) = error {
                return Err(error);
            }
            if take(&mut self.member.reader)? {
                return Ok(());
            }
            let next_commit = self.member.next_commit().unwrap_or(deadline);
            let Member {
                reader, changes, ..
            } = &mut self.member;
            tokio::select! {
                () = reader.arrived() => {}
                _ = changes.changed() => self.member.is_behind = true,
                () = tokio::time::sleep_until(next_commit.min(deadline)) => {
                    if Instant::now() >= deadline {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Does what the coordinator wants done with the partitions, as far as nothing is to be waited for.
    async fn reconcile(&mut self) {
        let Self { member, listener } = self;
        loop {
            if !member.to_announce.is_empty() {
                let partitions = member.to_announce.clone();
                if let Some(listener) = listener {
                    let rebalance = Rebalance { member };
                    listener.assigned(rebalance, &partitions).await;
                }
                member.to_announce.clear();
            }
            let pending = member.shared.membership().holdings.pending();
            match pending {
                Pending::Lost(lost) => {
                    let lost = names(&lost);
                    member.revocation = None;
                    member.give_up(&lost);
                    if let Some(listener) = listener {
                        listener.lost(&lost).await;
                    }
                    member
                        .shared
                        .change(|membership| membership.holdings.loss_was_told());
                }
                // One that was begun is brought to its end, also if the partitions were given again meanwhile.
                _ if member.revocation.is_some() => {
                    let Some(leaving) = member.revocable() else {
                        // The commit's end is a change too.
                        member.is_behind = false;
                        return;
                    };
                    let partitions = names(&leaving);
                    if let Some(listener) = listener {
                        let rebalance = Rebalance { member };
                        listener.revoked(rebalance, &partitions).await;
                    }
                    member.give_up(&partitions);
                    member.revocation = None;
                    member
                        .shared
                        .change(|membership| membership.holdings.revoked(&leaving));
                }
                Pending::Revoke(leaving) => member.begin_revocation(leaving),
                Pending::Take => member.take_in(),
                Pending::Nothing => {
                    member.is_behind = false;
                    return;
                }
            }
        }
    }

    /// The records as a stream without end. A record counts as processed when the next one is asked for. After an error the
    /// stream goes on.
    pub fn stream(&mut self) -> impl Stream<Item = Result<ConsumerRecord, GroupError>> + Send + '_ {
        stream::unfold(self, |consumer| async move {
            loop {
                match consumer.poll_records(Duration::from_secs(3600), 1).await {
                    Ok(mut records) => {
                        if let Some(record) = records.pop() {
                            return Some((Ok(record), consumer));
                        }
                    }
                    Err(error) => return Some((Err(error), consumer)),
                }
            }
        })
    }

    /// The partitions that this member has, in order.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.member.reader.assignment()
    }

    /// The id that this member has drawn, by which the coordinator knows it.
    #[must_use]
    pub fn member_id(&self) -> String {
        self.member.shared.membership().member_id().to_owned()
    }

    /// Stops fetching a partition and returning its records, until [`resume`](Self::resume) or until it is given up.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), GroupError> {
        Ok(self.member.reader.pause(partition)?)
    }

    /// Goes on with a partition that was paused.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), GroupError> {
        Ok(self.member.reader.resume(partition)?)
    }

    /// Moves a partition. A place that must be asked for is looked up while `poll` waits.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub async fn seek(&mut self, partition: &TopicPartition, to: SeekTo) -> Result<(), GroupError> {
        self.member.seek(partition, to).await
    }

    /// The offset of the next record that `poll` returns; `None` while it is being looked up.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>, GroupError> {
        self.member.position(partition)
    }

    /// How many offsets lie between the position and the end of what is readable, of which the leader is asked; `None`
    /// while the position is being looked up.
    ///
    /// # Errors
    /// The partition is not assigned, or no answer within `default.api.timeout.ms`.
    pub fn lag(
        &self,
        partition: &TopicPartition,
    ) -> impl Future<Output = Result<Option<u64>, GroupError>> + Send {
        self.member.lag(partition)
    }

    /// What the group has committed of these partitions, whoever has them; `None` where that is nothing.
    ///
    /// # Errors
    /// A partition that does not exist, or no answer within `default.api.timeout.ms`.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<HashMap<TopicPartition, Option<CommittedOffset>>, GroupError>> + Send
    {
        self.member.committed(partitions)
    }

    /// Commits the position of every partition: everything that was polled counts as processed. Returns when that is
    /// durable. A commit that a rebalance overtakes is sent again as long as the partitions are this member's.
    ///
    /// # Errors
    /// [`GroupError::NotOwned`] and [`GroupError::Fenced`] for partitions that went to another member meanwhile; no answer
    /// within `default.api.timeout.ms`; a refusal.
    pub fn commit(&self) -> impl Future<Output = Result<(), GroupError>> + Send {
        self.member.commit()
    }

    /// Commits these offsets: each is where the group goes on, one more than the last record processed.
    ///
    /// # Errors
    /// As [`commit`](Self::commit). When one partition fails, others may be committed.
    pub fn commit_offsets(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> impl Future<Output = Result<(), GroupError>> + Send {
        self.member.commit_offsets(offsets)
    }

    /// Like [`commit`](Self::commit), without waiting. Commits are sent in the order of these calls.
    ///
    /// # Errors
    /// [`GroupError::TooManyCommits`]; what becomes of the commit is what [`PendingCommit`] resolves to.
    pub fn commit_async(&self) -> Result<PendingCommit, GroupError> {
        let outcome = self.member.push(self.member.positions())?;
        Ok(PendingCommit { outcome })
    }

    /// Like [`commit_offsets`](Self::commit_offsets), without waiting.
    ///
    /// # Errors
    /// As [`commit_async`](Self::commit_async), and [`GroupError::NotOwned`].
    pub fn commit_offsets_async(
        &self,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<PendingCommit, GroupError> {
        let offsets = self.member.named_offsets(offsets)?;
        let outcome = self.member.push(offsets)?;
        Ok(PendingCommit { outcome })
    }

    /// Commits what goes by itself, waits for commits under way, gives all partitions up and leaves the group, so that its
    /// other members need not wait for a time-out. A static member leaves for now only.
    ///
    /// # Errors
    /// What became of the last commit, or of the farewell; the consumer is gone all the same.
    pub async fn close(mut self) -> Result<(), GroupError> {
        self.unsubscribe().await
    }

    /// As [`close`](Self::close), to [`subscribe`](Self::subscribe) again later.
    ///
    /// # Errors
    /// As [`close`](Self::close); the partitions are given up all the same.
    pub async fn unsubscribe(&mut self) -> Result<(), GroupError> {
        let start = Instant::now();
        // Whatever was lost before is not committed.
        self.reconcile().await;
        let committed = self.member.finish_commits().await;
        let Self { member, listener } = self;
        let owned = names(&member.shared.membership().holdings.owned());
        member.reader.withhold(&owned);
        if let Some(listener) = listener
            && !owned.is_empty()
        {
            listener.revoked(Rebalance { member }, &owned).await;
        }
        member.revocation = None;
        let assigned = member.reader.assignment();
        member.give_up(&assigned);
        member
            .shared
            .change(|membership| membership.leave(Instant::now()));
        let departed = self.wait_until_departed(start).await;
        committed.and(departed)
    }

    async fn wait_until_departed(&mut self, start: Instant) -> Result<(), GroupError> {
        let settings = &self.member.shared.settings;
        let deadline = start + settings.consumer.api_timeout;
        let mut changes = self.member.shared.watch();
        loop {
            changes.borrow_and_update();
            if !self.member.shared.membership().is_leaving() {
                return Ok(());
            }
            let changed = tokio::time::timeout_at(deadline, changes.changed()).await;
            if changed.is_err() {
                return Err(GroupError::Timeout {
                    group: settings.group_id.clone(),
                    action: "leaving",
                    waited: start.elapsed(),
                    reason: "the coordinator has not answered: it will take the member for dead"
                        .to_owned(),
                });
            }
        }
    }
}

/// While it lives, the caller is in `poll`.
struct Polling {
    shared: Arc<Shared>,
}

impl Polling {
    fn begin(shared: &Arc<Shared>) -> Self {
        if shared.membership().poll_began(Instant::now()) {
            shared.attention.notify_one();
        }
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.shared.membership().poll_ended(Instant::now());
    }
}
