//! Asks the leaders of partitions, each for its own, again and again while they are not to be had.

use std::collections::HashMap;
use std::time::Duration;

use corelog_protocol::{ErrorCode, LeaderEpoch, PartitionIndex, TopicId};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::cluster::{Cluster, ClusterImage, Node};
use crate::connection::Request;
use crate::error::{ConsumeError, words};
use crate::record::TopicPartition;

/// A request that names partitions, goes to their leader, and is answered partition by partition.
pub(crate) trait Inquiry {
    /// What is asked of one partition.
    type Question: Copy;
    /// What a leader answers when it does not refuse.
    type Found;
    /// The request that carries the questions.
    type Request: Request;
    /// What is being done, for error messages.
    const ACTION: &'static str;

    /// The request to one leader.
    fn request(&self, asked: Vec<Asked<Self::Question>>) -> Self::Request;

    /// The answers in a leader's response.
    fn answers(response: <Self::Request as Request>::Response) -> Vec<Answered<Self::Found>>;
}

/// One question as its leader gets it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<Q> {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) question: Q,
}

/// One answer as its leader gave it.
pub(crate) struct Answered<F> {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
    pub(crate) found: F,
}

/// What became of each question.
pub(crate) type Found<F> = HashMap<TopicPartition, Result<F, ConsumeError>>;

/// Asks for at most `within`.
pub(crate) async fn ask_each<I: Inquiry>(
    cluster: &Cluster,
    inquiry: &I,
    questions: &[(TopicPartition, I::Question)],
    within: Duration,
) -> Found<I::Found> {
    for (partition, _) in questions {
        cluster.track_topic(&partition.topic);
    }
    let start = Instant::now();
    let mut backoff = Backoff::new(cluster.settings().retry_backoff);
    let mut found = Found::with_capacity(questions.len());
    let mut reasons: HashMap<TopicPartition, String> = HashMap::new();
    let mut image = cluster.image();
    loop {
        let left: Vec<&(TopicPartition, I::Question)> = questions
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
        for (partition, answer) in ask_leaders(cluster, &image, inquiry, &left, remaining).await {
            match answer {
                Answer::Found(answer) => {
                    found.insert(partition, Ok(answer));
                }
                Answer::Again(why) => {
                    reasons.insert(partition, why);
                }
                Answer::Never(error) => {
                    found.insert(partition, Err(error));
                }
            }
        }
        if found.len() == questions.len() {
            return found;
        }
        let wait = if asked {
            backoff.next_wait()
        } else {
            Duration::ZERO
        };
        if start.elapsed() + wait >= within {
            for (partition, _) in questions {
                found.entry(partition.clone()).or_insert_with(|| {
                    Err(ConsumeError::Timeout {
                        action: I::ACTION,
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
                for (partition, _) in questions {
                    if let Err(error) = check_exists(&newer, partition) {
                        found.insert(partition.clone(), Err(error));
                    }
                }
                image = newer;
            }
            Err(error) => {
                for (partition, _) in questions {
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

enum Answer<F> {
    Found(F),
    Again(String),
    Never(ConsumeError),
}

/// What one leader is asked, and the names of the partitions it is about.
type Questions<Q> = (Vec<Asked<Q>>, Vec<TopicPartition>);

async fn ask_leaders<I: Inquiry>(
    cluster: &Cluster,
    image: &ClusterImage,
    inquiry: &I,
    questions: &[&(TopicPartition, I::Question)],
    within: Duration,
) -> Vec<(TopicPartition, Answer<I::Found>)> {
    let mut by_node: HashMap<Node, Questions<I::Question>> = HashMap::new();
    for (partition, question) in questions {
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
        asked.push(Asked {
            topic_id: topic.id,
            partition: partition.partition,
            leader_epoch: known.leader_epoch,
            question: *question,
        });
        names.push(partition.clone());
    }
    // Each for itself: a leader that hangs takes nobody else's answer away.
    let asking = by_node.into_iter().map(async |(node, (asked, names))| {
        let unanswered = names.clone();
        let asking = ask_leader(cluster, node, inquiry, asked, names);
        let answers = tokio::time::timeout(within, asking).await;
        answers.unwrap_or_else(|_elapsed| {
            let again = |name| (name, Answer::Again(format!("{node} does not answer")));
            unanswered.into_iter().map(again).collect()
        })
    });
    join_all(asking).await.into_iter().flatten().collect()
}

async fn ask_leader<I: Inquiry>(
    cluster: &Cluster,
    node: Node,
    inquiry: &I,
    asked: Vec<Asked<I::Question>>,
    names: Vec<TopicPartition>,
) -> Vec<(TopicPartition, Answer<I::Found>)> {
    let ids: Vec<(TopicId, PartitionIndex)> = asked
        .iter()
        .map(|asked| (asked.topic_id, asked.partition))
        .collect();
    let request = inquiry.request(asked);
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
    let mut answers: HashMap<(TopicId, PartitionIndex), Answered<I::Found>> = I::answers(response)
        .into_iter()
        .map(|answer| ((answer.topic_id, answer.partition), answer))
        .collect();
    names
        .into_iter()
        .zip(ids)
        .map(|(name, id)| {
            let answer = match answers.remove(&id) {
                None => Answer::Again("the broker's answer leaves it out".to_owned()),
                Some(answer) if answer.error == ErrorCode::None => Answer::Found(answer.found),
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
