//! Asks the leaders of partitions for offsets: the log's start, its end, or the first record at or after a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::native::{ListOffsetsPartition, ListOffsetsRequest, OffsetQuery};
use corelog_protocol::{ErrorCode, IsolationLevel, Offset, PartitionIndex, Timestamp, TopicId};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::cluster::{Cluster, ClusterImage, Node};
use crate::error::{ConsumeError, words};
use crate::record::TopicPartition;

/// What a leader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; for a time, of the first record at or after it.
    pub offset: Offset,
    /// That record's time, when a time was asked for.
    pub timestamp: Option<Timestamp>,
}

/// What became of each question. `None` means that no record is at or after the time asked for.
type Found = HashMap<TopicPartition, Result<Option<ListedOffset>, ConsumeError>>;

/// Asks for one offset per partition; the first error is the whole call's.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    queries: &[(TopicPartition, OffsetQuery)],
    isolation: IsolationLevel,
    within: Duration,
) -> Result<HashMap<TopicPartition, Option<ListedOffset>>, ConsumeError> {
    list_offsets_each(cluster, queries, isolation, within)
        .await
        .into_iter()
        .map(|(partition, found)| found.map(|offset| (partition, offset)))
        .collect()
}

/// Asks for one offset per partition, again and again while leaders are not to be had, for at most `within`.
pub(crate) async fn list_offsets_each(
    cluster: &Cluster,
    queries: &[(TopicPartition, OffsetQuery)],
    isolation: IsolationLevel,
    within: Duration,
) -> Found {
    for (partition, _) in queries {
        cluster.track_topic(&partition.topic);
    }
    let start = Instant::now();
    let mut backoff = Backoff::new(cluster.settings().retry_backoff);
    let mut found = Found::with_capacity(queries.len());
    let mut reasons: HashMap<TopicPartition, String> = HashMap::new();
    let mut image = cluster.image();
    loop {
        let left: Vec<&(TopicPartition, OffsetQuery)> = queries
            .iter()
            .filter(|(partition, _)| !found.contains_key(partition))
            .collect();
        if left.is_empty() {
            return found;
        }
        // The first round costs no wait where only the metadata is missing.
        let asked = left
            .iter()
            .any(|(partition, _)| image.topics.contains_key(&partition.topic));
        let remaining = within.saturating_sub(start.elapsed());
        let asking = ask_leaders(cluster, &image, &left, isolation);
        for (partition, answer) in tokio::time::timeout(remaining, asking)
            .await
            .unwrap_or_default()
        {
            match answer {
                Answer::Found(offset) => {
                    found.insert(partition, Ok(offset));
                }
                Answer::Again(why) => {
                    reasons.insert(partition, why);
                }
                Answer::Never(error) => {
                    found.insert(partition, Err(error));
                }
            }
        }
        if found.len() == queries.len() {
            return found;
        }
        let wait = if asked {
            backoff.next_wait()
        } else {
            Duration::ZERO
        };
        if start.elapsed() + wait >= within {
            for (partition, _) in queries {
                found.entry(partition.clone()).or_insert_with(|| {
                    Err(ConsumeError::Timeout {
                        action: "asking for offsets",
                        waited: start.elapsed(),
                        reason: reasons
                            .remove(partition)
                            .unwrap_or_else(|| format!("{partition} has no known leader")),
                    })
                });
            }
            return found;
        }
        tokio::time::sleep(wait).await;
        match cluster.refresh(image.version).await {
            Ok(newer) => {
                for (partition, _) in queries {
                    if let Err(error) = check_exists(&newer, partition) {
                        found.insert(partition.clone(), Err(error));
                    }
                }
                image = newer;
            }
            Err(error) => {
                for (partition, _) in queries {
                    reasons.insert(partition.clone(), error.to_string());
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

/// A topic that the cluster does not know, or a partition beyond its count.
pub(crate) fn check_exists(
    image: &ClusterImage,
    partition: &TopicPartition,
) -> Result<(), ConsumeError> {
    let missing = match image.topics.get(&partition.topic) {
        Some(topic) => topic.partition(partition.partition).is_none(),
        None => image.missing.get(&partition.topic).is_some_and(|code| {
            matches!(
                code,
                ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException
            )
        }),
    };
    if missing {
        return Err(ConsumeError::NoSuchPartition {
            partition: partition.clone(),
        });
    }
    Ok(())
}

enum Answer {
    Found(Option<ListedOffset>),
    Again(String),
    Never(ConsumeError),
}

async fn ask_leaders(
    cluster: &Cluster,
    image: &ClusterImage,
    queries: &[&(TopicPartition, OffsetQuery)],
    isolation: IsolationLevel,
) -> Vec<(TopicPartition, Answer)> {
    let mut by_node: HashMap<Node, (Vec<ListOffsetsPartition>, Vec<TopicPartition>)> =
        HashMap::new();
    for (partition, query) in queries {
        let Some(topic) = image.topics.get(&partition.topic) else {
            continue;
        };
        let Some(known) = topic.partition(partition.partition) else {
            continue;
        };
        let Some(leader) = known.leader else {
            continue;
        };
        let (asked, names) = by_node.entry(leader).or_default();
        asked.push(ListOffsetsPartition {
            topic_id: topic.id,
            partition: partition.partition,
            leader_epoch: known.leader_epoch,
            query: *query,
        });
        names.push(partition.clone());
    }
    let asking = by_node
        .into_iter()
        .map(|(node, (partitions, names))| ask_leader(cluster, node, partitions, names, isolation));
    join_all(asking).await.into_iter().flatten().collect()
}

async fn ask_leader(
    cluster: &Cluster,
    node: Node,
    partitions: Vec<ListOffsetsPartition>,
    names: Vec<TopicPartition>,
    isolation: IsolationLevel,
) -> Vec<(TopicPartition, Answer)> {
    let ids: Vec<(TopicId, PartitionIndex)> = partitions
        .iter()
        .map(|partition| (partition.topic_id, partition.partition))
        .collect();
    let request = ListOffsetsRequest {
        isolation,
        partitions,
    };
    let response = match cluster.node(node).await {
        Ok(connection) => connection.call(&request).await,
        Err(error) => Err(error.into()),
    };
    let response = match response {
        Ok(response) => response,
        Err(error) => {
            return names
                .into_iter()
                .map(|name| {
                    let answer = if error.is_retriable() {
                        Answer::Again(error.to_string())
                    } else {
                        Answer::Never(error.clone().into())
                    };
                    (name, answer)
                })
                .collect();
        }
    };
    names
        .into_iter()
        .zip(ids)
        .map(|(name, id)| {
            let answer = response
                .partitions
                .iter()
                .find(|answer| (answer.topic_id, answer.partition) == id);
            let answer = match answer {
                None => Answer::Again("the broker's answer leaves it out".to_owned()),
                Some(answer) if answer.error == ErrorCode::None => {
                    Answer::Found(answer.offset.map(|offset| ListedOffset {
                        offset,
                        timestamp: answer.timestamp,
                    }))
                }
                Some(answer) => {
                    let message = words(answer.error, answer.error_message.as_ref());
                    if answer.error.is_retriable() {
                        Answer::Again(format!("{}: {message}", answer.error))
                    } else {
                        Answer::Never(ConsumeError::Broker {
                            partition: name.clone(),
                            code: answer.error,
                            message,
                        })
                    }
                }
            };
            (name, answer)
        })
        .collect()
}

/// A list without the duplicates that a caller may have put in.
pub(crate) fn each_once(
    partitions: &[TopicPartition],
    query: OffsetQuery,
) -> Vec<(TopicPartition, OffsetQuery)> {
    let mut queries: Vec<(TopicPartition, OffsetQuery)> = Vec::with_capacity(partitions.len());
    for partition in partitions {
        if !queries.iter().any(|(other, _)| other == partition) {
            queries.push((
                TopicPartition {
                    topic: Arc::clone(&partition.topic),
                    partition: partition.partition,
                },
                query,
            ));
        }
    }
    queries
}
