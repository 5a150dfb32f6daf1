//! Offsets that groups have committed: looking at them, moving them, forgetting them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use corelog_protocol::native::{
    MetadataRequest, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic,
    OffsetDeleteRequest, OffsetDeleteTopic, OffsetFetchRequest, OffsetPartitionError,
    TopicSelector,
};
use corelog_protocol::{ErrorCode, PartitionIndex, TopicId};

use super::calls::Repeat;
use super::groups::accept_group;
use super::{Admin, accept};
use crate::error::{AdminError, words};
use crate::group::CommittedOffset;
use crate::record::TopicPartition;

/// Offsets of one request: what they take in the coordinator's log is bounded.
const OFFSETS_AT_ONCE: usize = 1_000;

/// What became of each partition.
type Outcomes = HashMap<TopicPartition, Result<(), AdminError>>;

impl Admin {
    /// Everything that a group has committed. A group that does not exist has committed nothing.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a refusal.
    pub async fn group_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, AdminError> {
        let request = OffsetFetchRequest {
            group: group.to_owned(),
            member: None,
            topics: None,
        };
        let response = self
            .call_at(
                &self.coordinator(group),
                "asking for committed offsets",
                &request,
                Repeat::Harmless,
            )
            .await?;
        accept_group(response.error, response.error_message.as_ref(), group)?;
        let mut committed = BTreeMap::new();
        for topic in response.topics {
            let name: Arc<str> = topic.name.into();
            for answer in topic.partitions {
                let partition = TopicPartition::new(Arc::clone(&name), answer.partition);
                if answer.error != ErrorCode::None {
                    let message = words(answer.error, answer.error_message);
                    return Err(refused_offset(group, partition, answer.error, message));
                }
                if let Some(offset) = answer.offset {
                    let offset = CommittedOffset {
                        offset,
                        leader_epoch: answer.leader_epoch,
                        metadata: answer.metadata,
                    };
                    committed.insert(partition, offset);
                }
            }
        }
        Ok(committed)
    }

    /// Commits offsets in the name of a group without members; it need not exist. Each is where the group goes on: the
    /// offset after that of the last record processed.
    ///
    /// # Errors
    /// A group that has members, no answer within `default.api.timeout.ms`. Per partition: one that does not exist, a
    /// refusal, or what ended the request after others were committed.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<Outcomes, AdminError> {
        const ACTION: &str = "committing offsets";
        let topics: BTreeSet<&Arc<str>> = offsets.keys().map(|it| &it.topic).collect();
        let ids = self.ids_of(ACTION, topics).await?;
        let mut outcomes = Outcomes::with_capacity(offsets.len());
        let mut known = Vec::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            match &ids[&partition.topic] {
                Ok(id) => known.push((partition, *id, offset)),
                Err(error) => {
                    outcomes.insert(partition.clone(), Err(error.clone()));
                }
            }
        }
        let coordinator = self.coordinator(group);
        for some in known.chunks(OFFSETS_AT_ONCE) {
            let mut names = HashMap::new();
            let mut topics: BTreeMap<TopicId, Vec<OffsetCommitPartition>> = BTreeMap::new();
            for (partition, id, committed) in some {
                names.insert(*id, &partition.topic);
                topics.entry(*id).or_default().push(OffsetCommitPartition {
                    partition: partition.partition,
                    offset: committed.offset,
                    leader_epoch: committed.leader_epoch,
                    metadata: committed.metadata.clone(),
                });
            }
            let request = OffsetCommitRequest {
                group: group.to_owned(),
                member: None,
                topics: topics
                    .into_iter()
                    .map(|(topic_id, partitions)| OffsetCommitTopic {
                        topic_id,
                        partitions,
                    })
                    .collect(),
            };
            // Twice the same offsets are the same offsets.
            let called = self
                .call_at(&coordinator, ACTION, &request, Repeat::Harmless)
                .await;
            let accepted = called.and_then(|response| {
                accept_group(response.error, response.error_message.as_ref(), group)?;
                Ok(response)
            });
            let response = match accepted {
                Ok(response) => response,
                Err(error) => {
                    fail_the_rest(&error, offsets.keys(), &mut outcomes)?;
                    return Ok(outcomes);
                }
            };
            for topic in response.topics {
                if let Some(name) = names.get(&topic.topic_id) {
                    take(group, name, topic.partitions, &mut outcomes);
                }
            }
        }
        told_of_each(ACTION, offsets.keys(), outcomes)
    }

    /// Forgets what a group has committed of these partitions. Topics need not exist any more.
    ///
    /// # Errors
    /// A group that does not exist, no answer within `default.api.timeout.ms`, [`AdminError::OutcomeUnknown`] if the
    /// request was sent and its answer lost. Per partition: a topic that members of the group subscribe to, or what
    /// ended the request after others were forgotten.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<Outcomes, AdminError> {
        const ACTION: &str = "deleting committed offsets";
        let mut outcomes = Outcomes::with_capacity(partitions.len());
        let coordinator = self.coordinator(group);
        let partitions: Vec<&TopicPartition> = partitions.iter().collect();
        for some in partitions.chunks(OFFSETS_AT_ONCE) {
            let mut topics: BTreeMap<&Arc<str>, Vec<PartitionIndex>> = BTreeMap::new();
            for partition in some {
                let indexes = topics.entry(&partition.topic).or_default();
                indexes.push(partition.partition);
            }
            let request = OffsetDeleteRequest {
                group: group.to_owned(),
                topics: topics
                    .into_iter()
                    .map(|(name, partitions)| OffsetDeleteTopic {
                        name: name.to_string(),
                        partitions,
                    })
                    .collect(),
            };
            let called = self
                .call_at(&coordinator, ACTION, &request, Repeat::Harmful)
                .await;
            let accepted = called.and_then(|response| {
                accept_group(response.error, response.error_message.as_ref(), group)?;
                Ok(response)
            });
            let response = match accepted {
                Ok(response) => response,
                Err(error) => {
                    fail_the_rest(&error, partitions, &mut outcomes)?;
                    return Ok(outcomes);
                }
            };
            for topic in response.topics {
                take(group, &topic.name.into(), topic.partitions, &mut outcomes);
            }
        }
        told_of_each(ACTION, partitions, outcomes)
    }

    /// The ids of topics, or why there is none.
    async fn ids_of<'a>(
        &self,
        action: &'static str,
        topics: BTreeSet<&'a Arc<str>>,
    ) -> Result<HashMap<&'a Arc<str>, Result<TopicId, AdminError>>, AdminError> {
        let selectors = topics.iter();
        let request = MetadataRequest {
            topics: Some(
                selectors
                    .map(|topic| TopicSelector::Name(topic.to_string()))
                    .collect(),
            ),
        };
        let response = self.call(action, &request, Repeat::Harmless).await?;
        let mut found: HashMap<String, Result<TopicId, AdminError>> = response
            .topics
            .into_iter()
            .map(|topic| {
                let accepted = accept(topic.error, &None, &topic.name);
                (topic.name, accepted.map(|()| topic.id))
            })
            .collect();
        topics
            .into_iter()
            .map(|name| {
                let id = found
                    .remove(&**name)
                    .ok_or_else(|| super::missing(action, name))?;
                Ok((name, id))
            })
            .collect()
    }
}

/// Gives an error to all partitions that nothing became of yet. If that is all of them, the error is the request's.
fn fail_the_rest<'a>(
    error: &AdminError,
    asked: impl IntoIterator<Item = &'a TopicPartition>,
    outcomes: &mut Outcomes,
) -> Result<(), AdminError> {
    if !outcomes.values().any(Result::is_ok) {
        return Err(error.clone());
    }
    for partition in asked {
        outcomes
            .entry(partition.clone())
            .or_insert_with(|| Err(error.clone()));
    }
    Ok(())
}

/// Notes what became of one topic's partitions.
fn take(
    group: &str,
    topic: &Arc<str>,
    answers: Vec<OffsetPartitionError>,
    outcomes: &mut Outcomes,
) {
    for answer in answers {
        let partition = TopicPartition::new(Arc::clone(topic), answer.partition);
        let outcome = if answer.error == ErrorCode::None {
            Ok(())
        } else {
            let message = words(answer.error, answer.error_message);
            Err(refused_offset(
                group,
                partition.clone(),
                answer.error,
                message,
            ))
        };
        outcomes.insert(partition, outcome);
    }
}

fn refused_offset(
    group: &str,
    partition: TopicPartition,
    code: ErrorCode,
    message: String,
) -> AdminError {
    AdminError::GroupOffset {
        group: group.to_owned(),
        partition,
        code,
        message,
    }
}

/// Exactly what was asked about, or an error that names what the answer leaves out.
fn told_of_each<'a>(
    action: &'static str,
    asked: impl IntoIterator<Item = &'a TopicPartition>,
    mut outcomes: Outcomes,
) -> Result<Outcomes, AdminError> {
    asked
        .into_iter()
        .map(|partition| {
            let outcome = outcomes.remove(partition);
            let outcome = outcome.ok_or_else(|| AdminError::IncompleteAnswer {
                action,
                what: partition.to_string(),
            })?;
            Ok((partition.clone(), outcome))
        })
        .collect()
}
