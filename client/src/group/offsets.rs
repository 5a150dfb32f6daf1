//! Committed offsets: what they are, and asking for them.

use std::collections::{BTreeMap, HashMap};

use corelog_protocol::native::{MemberEpoch, OffsetFetchRequest};
use corelog_protocol::{ErrorCode, LeaderEpoch, Offset};
use tokio::time::Instant;

use super::holdings::{IdPartition, by_topic};
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::error::{GroupError, words};
use crate::record::{ConsumerRecord, TopicPartition};

/// How far a group has come with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Where the group goes on: the offset after that of the last record processed.
    pub offset: Offset,
    /// The leader epoch of the last record processed, by which a log that was cut since is noticed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the committer wants to find there again.
    pub metadata: String,
}

impl CommittedOffset {
    /// The offset to commit when this record and all before it are processed.
    ///
    /// # Panics
    /// Never: the last offset that a record can have leaves room for one more.
    #[must_use]
    pub fn after(record: &ConsumerRecord) -> Self {
        Self {
            leader_epoch: record.leader_epoch,
            ..Self::from(record.offset.checked_add(1).unwrap_or(Offset::MAX))
        }
    }
}

impl From<Offset> for CommittedOffset {
    fn from(offset: Offset) -> Self {
        Self {
            offset,
            leader_epoch: None,
            metadata: String::new(),
        }
    }
}

/// What one request for committed offsets came to.
pub(super) struct Fetched {
    /// The partitions that were looked up; none: nothing is committed there.
    pub(super) found: BTreeMap<IdPartition, Option<CommittedOffset>>,
    /// Why others were not.
    pub(super) refused: BTreeMap<IdPartition, (ErrorCode, String)>,
}

/// Why a request as a whole came to nothing.
pub(super) enum Unfetched {
    Again(String),
    Never(GroupError),
}

const ACTION: &str = "asking for committed offsets";

/// Asks the coordinator once.
pub(super) async fn fetch_once(
    shared: &Shared,
    member: Option<MemberEpoch>,
    partitions: impl IntoIterator<Item = &IdPartition>,
) -> Result<Fetched, Unfetched> {
    let group = shared.settings.group_id.clone();
    let request = OffsetFetchRequest {
        group: group.clone(),
        member,
        topics: Some(by_topic(partitions)),
    };
    let response = match shared.coordinator.call(&request).await {
        Ok(response) => response,
        Err(error) if error.is_retriable() => return Err(Unfetched::Again(error.to_string())),
        Err(error) => return Err(Unfetched::Never(error.into())),
    };
    if response.error != ErrorCode::None {
        let code = response.error;
        let message = words(code, response.error_message);
        // The next heartbeat's answer brings the member's epoch, or puts it out.
        let may_change = matches!(
            code,
            ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId
        );
        return Err(if code.is_retriable() || may_change {
            Unfetched::Again(format!("{code}: {message}"))
        } else {
            Unfetched::Never(GroupError::Refused {
                group,
                action: ACTION,
                code,
                message,
            })
        });
    }
    let mut fetched = Fetched {
        found: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    for topic in response.topics {
        for answer in topic.partitions {
            let id = IdPartition {
                topic_id: topic.topic_id,
                partition: answer.partition,
            };
            if answer.error == ErrorCode::None {
                let committed = answer.offset.map(|offset| CommittedOffset {
                    offset,
                    leader_epoch: answer.leader_epoch,
                    metadata: answer.metadata,
                });
                fetched.found.insert(id, committed);
            } else {
                let message = words(answer.error, answer.error_message);
                fetched.refused.insert(id, (answer.error, message));
            }
        }
    }
    Ok(fetched)
}

/// Asks again and again while the coordinator is not to be had, for at most `default.api.timeout.ms`.
pub(super) async fn fetch(
    shared: &Shared,
    partitions: &HashMap<IdPartition, TopicPartition>,
) -> Result<HashMap<TopicPartition, Option<CommittedOffset>>, GroupError> {
    let start = Instant::now();
    let within = shared.settings.consumer.api_timeout;
    let mut backoff = Backoff::new(shared.cluster.settings().retry_backoff);
    let mut committed = HashMap::with_capacity(partitions.len());
    loop {
        let left = partitions
            .iter()
            .filter(|(_, name)| !committed.contains_key(*name))
            .map(|(id, _)| id);
        let asking = fetch_once(shared, None, left);
        let remaining = within.saturating_sub(start.elapsed());
        let mut reason = "the coordinator has not answered".to_owned();
        match tokio::time::timeout(remaining, asking).await {
            Ok(Ok(fetched)) => {
                for (id, found) in fetched.found {
                    if let Some(name) = partitions.get(&id) {
                        committed.insert(name.clone(), found);
                    }
                }
                for (id, (code, message)) in fetched.refused {
                    let Some(partition) = partitions.get(&id).cloned() else {
                        continue;
                    };
                    if !code.is_retriable() {
                        return Err(GroupError::Partition {
                            group: shared.settings.group_id.clone(),
                            action: ACTION,
                            partition,
                            code,
                            message,
                        });
                    }
                    reason = format!("{partition}: {code}: {message}");
                }
            }
            Ok(Err(Unfetched::Again(why))) => reason = why,
            Ok(Err(Unfetched::Never(error))) => return Err(error),
            Err(_elapsed) => {}
        }
        if committed.len() == partitions.len() {
            return Ok(committed);
        }
        let wait = backoff.next_wait();
        if start.elapsed() + wait >= within {
            return Err(GroupError::Timeout {
                group: shared.settings.group_id.clone(),
                action: ACTION,
                waited: start.elapsed(),
                reason,
            });
        }
        tokio::time::sleep(wait).await;
    }
}
