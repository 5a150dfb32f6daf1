//! Commits: one task sends them, in the order in which they were asked for. What waits while one is under way goes as one
//! request, of which the latest offset of each partition counts; so no commit overtakes a later one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corelog_protocol::ErrorCode;
use corelog_protocol::native::{
    MemberEpoch, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::debug;

use super::holdings::{IdPartition, Owned};
use super::offsets::CommittedOffset;
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::error::{GroupError, words};

/// Most commits that wait. Whoever commits without waiting must not fill the memory.
const MAX_WAITING: usize = 1_000;

const ACTION: &str = "committing offsets";

#[derive(Default)]
pub(super) struct CommitQueue {
    waiting: Mutex<VecDeque<Commit>>,
    /// Pushed and not yet done.
    open: AtomicUsize,
    arrived: Notify,
}

struct Commit {
    offsets: Vec<(Owned, CommittedOffset)>,
    deadline: Instant,
    done: oneshot::Sender<Result<(), GroupError>>,
}

/// The outcome of a commit under way.
pub(super) type Outcome = oneshot::Receiver<Result<(), GroupError>>;

impl CommitQueue {
    /// Queues a commit, which takes at most `default.api.timeout.ms` from now. One of nothing is done when all before it
    /// are.
    pub(super) fn push(
        &self,
        shared: &Shared,
        offsets: Vec<(Owned, CommittedOffset)>,
    ) -> Result<Outcome, GroupError> {
        let mut queue = self.waiting();
        if queue.len() >= MAX_WAITING {
            return Err(GroupError::TooManyCommits {
                group: shared.settings.group_id.clone(),
                waiting: queue.len(),
            });
        }
        let (done, outcome) = oneshot::channel();
        self.open.fetch_add(1, Ordering::AcqRel);
        queue.push_back(Commit {
            offsets,
            deadline: Instant::now() + shared.settings.consumer.api_timeout,
            done,
        });
        drop(queue);
        self.arrived.notify_one();
        Ok(outcome)
    }

    /// True if nothing that was asked for is still to be done.
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Commit>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let commits = std::mem::take(&mut *shared.commits.waiting());
        let Some(last) = commits.back() else {
            shared.commits.arrived.notified().await;
            continue;
        };
        let mut attempt = Attempt {
            shared: &shared,
            begun: Instant::now(),
            deadline: last.deadline,
            left: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        for commit in &commits {
            for (partition, offset) in &commit.offsets {
                let waiting = (partition.clone(), offset.clone());
                attempt.left.insert(partition.id, waiting);
            }
        }
        attempt.run().await;
        let count = commits.len();
        for commit in commits {
            let failure = commit
                .offsets
                .iter()
                .find_map(|(partition, _)| attempt.failed.get(&partition.id));
            // Nobody may be waiting any more.
            let _ = commit.done.send(failure.cloned().map_or(Ok(()), Err));
        }
        shared.commits.open.fetch_sub(count, Ordering::AcqRel);
        shared.changed();
    }
}

/// What is to be committed, over all tries.
struct Attempt<'a> {
    shared: &'a Shared,
    begun: Instant,
    deadline: Instant,
    left: BTreeMap<IdPartition, (Owned, CommittedOffset)>,
    failed: BTreeMap<IdPartition, GroupError>,
}

/// How one try ended.
enum Tried {
    /// Some partitions may be left, for this reason.
    Again(String),
    /// The rest fails, for this reason.
    Never(GroupError),
}

impl Attempt<'_> {
    async fn run(&mut self) {
        let mut backoff = Backoff::new(self.shared.cluster.settings().retry_backoff);
        loop {
            let member = self.keep_what_is_owned();
            if self.left.is_empty() {
                return;
            }
            let Some(member) = member else {
                return self.fail_rest(&GroupError::Closed);
            };
            let remaining = self.deadline.saturating_duration_since(Instant::now());
            let tried = match tokio::time::timeout(remaining, self.send(member)).await {
                Ok(tried) => tried,
                Err(_elapsed) => Tried::Again("the coordinator has not answered".to_owned()),
            };
            if self.left.is_empty() {
                return;
            }
            let reason = match tried {
                Tried::Again(reason) => reason,
                Tried::Never(error) => return self.fail_rest(&error),
            };
            debug!(
                group = self.shared.settings.group_id,
                reason, "offsets are not committed yet"
            );
            let wait = backoff.next_wait();
            if Instant::now() + wait >= self.deadline {
                return self.fail_rest(&GroupError::Timeout {
                    group: self.shared.settings.group_id.clone(),
                    action: ACTION,
                    waited: self.begun.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Partitions that went to another member since are that one's to commit.
    fn keep_what_is_owned(&mut self) -> Option<MemberEpoch> {
        let membership = self.shared.membership();
        let failed = &mut self.failed;
        self.left.retain(|id, (partition, _)| {
            // Where it came back, it begins where another member has come to.
            let owns = membership.holdings.still_owns(partition);
            if !owns {
                let error = GroupError::NotOwned {
                    group: membership.group().to_owned(),
                    partition: partition.name.clone(),
                    reason: membership.holdings.why_not_owned().to_owned(),
                };
                failed.insert(*id, error);
            }
            owns
        });
        membership.member()
    }

    fn fail_rest(&mut self, error: &GroupError) {
        for id in std::mem::take(&mut self.left).into_keys() {
            self.failed.insert(id, error.clone());
        }
    }

    fn request(&self, member: MemberEpoch) -> OffsetCommitRequest {
        let mut topics: Vec<OffsetCommitTopic> = Vec::new();
        for (id, (_, committed)) in &self.left {
            let partition = OffsetCommitPartition {
                partition: id.partition,
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
                metadata: committed.metadata.clone(),
            };
            match topics.last_mut() {
                Some(topic) if topic.topic_id == id.topic_id => topic.partitions.push(partition),
                _ => topics.push(OffsetCommitTopic {
                    topic_id: id.topic_id,
                    partitions: vec![partition],
                }),
            }
        }
        OffsetCommitRequest {
            group: self.shared.settings.group_id.clone(),
            member: Some(member),
            topics,
        }
    }

    async fn send(&mut self, member: MemberEpoch) -> Tried {
        let request = self.request(member);
        let response = match self.shared.coordinator.call(&request).await {
            Ok(response) => response,
            Err(error) if error.is_retriable() => return Tried::Again(error.to_string()),
            Err(error) => return Tried::Never(error.into()),
        };
        if response.error != ErrorCode::None {
            return self.refused(response.error, response.error_message);
        }
        let mut reason = "the coordinator's answer leaves partitions out".to_owned();
        for topic in response.topics {
            for answer in topic.partitions {
                let id = IdPartition {
                    topic_id: topic.topic_id,
                    partition: answer.partition,
                };
                let Some((owned, committed)) = self.left.get(&id) else {
                    continue;
                };
                let code = answer.error;
                let message = words(code, answer.error_message);
                if code != ErrorCode::None && is_worth_another_try(code) {
                    reason = format!("{}: {code}: {message}", owned.name);
                    continue;
                }
                if code != ErrorCode::None {
                    let error = GroupError::Partition {
                        group: self.shared.settings.group_id.clone(),
                        action: ACTION,
                        partition: owned.name.clone(),
                        code,
                        message,
                    };
                    self.failed.insert(id, error);
                } else {
                    self.shared
                        .membership()
                        .holdings
                        .note_committed(owned, committed.offset);
                }
                self.left.remove(&id);
            }
        }
        Tried::Again(reason)
    }

    /// The request as a whole was refused.
    fn refused(&self, code: ErrorCode, message: Option<String>) -> Tried {
        let message = words(code, message);
        let group = self.shared.settings.group_id.clone();
        match code {
            // A heartbeat's answer with the new epoch is on its way, or was lost: ask for another.
            ErrorCode::StaleMemberEpoch => {
                self.shared
                    .change(|membership| membership.hurry(Instant::now()));
                Tried::Again(format!("{code}: {message}"))
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                self.shared
                    .change(|membership| membership.hurry(Instant::now()));
                Tried::Never(GroupError::Fenced {
                    group,
                    code,
                    message,
                })
            }
            _ if is_worth_another_try(code) => Tried::Again(format!("{code}: {message}")),
            _ => Tried::Never(GroupError::Refused {
                group,
                action: ACTION,
                code,
                message,
            }),
        }
    }
}

/// A topic that is gone stays gone, whatever its code says of retries: another one of its name has another id.
fn is_worth_another_try(code: ErrorCode) -> bool {
    code.is_retriable()
        && !matches!(
            code,
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId
        )
}
