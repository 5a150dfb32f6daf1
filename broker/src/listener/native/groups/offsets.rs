//! OffsetCommit, OffsetFetch and OffsetDelete.

use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::messages::{
    OffsetCommitPartition, OffsetCommitRequest, OffsetCommitResponse, OffsetCommitTopicResponse,
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteTopicResponse,
    OffsetFetchPartitionResponse, OffsetFetchRequest, OffsetFetchResponse,
    OffsetFetchTopicResponse, OffsetPartitionError, TopicPartitions,
};
use corelog_protocol::{ErrorCode, PartitionIndex, TopicId};

use super::super::server::Server;
use super::{claim, error_parts};
use crate::group::GroupId;
use crate::group::coordinator::{
    Answer, Command, Commit, Committed, CommittedTopic, CoordinatorError,
};
use crate::listener::groups::{self, check_named_once, group_id};
use crate::metadata::{MetadataImage, TopicImage};
use crate::partition::Refusal;

/// Commits what can be; partitions that do not exist are told so, each.
pub(in crate::listener::native) async fn commit(
    server: Rc<Server>,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let refused = |refusal: Refusal| {
        server.note_error(refusal.code);
        let (error, message) = error_parts(refusal);
        OffsetCommitResponse::refused(error, message)
    };
    let who =
        group_id(&request.group).and_then(|group| Ok((group, claim(request.member.as_ref())?)));
    let (group, by) = match who {
        Ok(who) => who,
        Err(refusal) => return refused(refusal),
    };
    let partitions = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        (topic.topic_id, partitions.map(|it| it.partition))
    });
    if let Err(refusal) = check_named_once(partitions) {
        return refused(refusal);
    }
    let image = server.router.image();
    let mut commits = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = image.topic_by_id(topic.topic_id);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition;
            let checked = check_commit(&server, found.map(|it| &**it), topic.topic_id, partition);
            let (error, error_message) = match checked {
                Ok(commit) => {
                    commits.push(commit);
                    (ErrorCode::None, None)
                }
                Err(refusal) => {
                    server.note_error(refusal.code);
                    error_parts(refusal)
                }
            };
            partitions.push(OffsetPartitionError {
                partition: index,
                error,
                error_message,
            });
        }
        topics.push(OffsetCommitTopicResponse {
            topic_id: topic.topic_id,
            partitions,
        });
    }
    if commits.is_empty() && topics.iter().any(|topic| !topic.partitions.is_empty()) {
        return OffsetCommitResponse {
            error: ErrorCode::None,
            error_message: None,
            topics,
            hint: None,
        };
    }
    if let Err(refusal) = groups::check_commit_bytes(&group, &commits) {
        return refused(refusal);
    }
    let command = Command::CommitOffsets { by, commits };
    let outcome = server.router.group(group, command, Duration::ZERO).await;
    let mut response = match outcome.result {
        Ok(_) => OffsetCommitResponse {
            error: ErrorCode::None,
            error_message: None,
            topics,
            hint: None,
        },
        Err(refusal) => refused(refusal),
    };
    response.hint = outcome.hint;
    response
}

fn check_commit(
    server: &Server,
    topic: Option<&TopicImage>,
    topic_id: TopicId,
    commit: OffsetCommitPartition,
) -> Result<Commit, Refusal> {
    let topic = topic.ok_or_else(|| unknown_topic(topic_id))?;
    groups::commit_of(
        topic,
        commit.partition,
        commit.offset,
        commit.leader_epoch,
        commit.metadata,
        &server.options,
    )
}

fn unknown_topic(topic_id: TopicId) -> Refusal {
    Refusal::new(
        ErrorCode::UnknownTopicId,
        format!("there is no topic with id {topic_id}: it was deleted, or is not known here yet"),
    )
}

pub(in crate::listener::native) async fn fetch(
    server: Rc<Server>,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let refused = |refusal: Refusal| {
        server.note_error(refusal.code);
        let (error, message) = error_parts(refusal);
        OffsetFetchResponse::refused(error, message)
    };
    let who =
        group_id(&request.group).and_then(|group| Ok((group, claim(request.member.as_ref())?)));
    let (group, by) = match who {
        Ok(who) => who,
        Err(refusal) => return refused(refusal),
    };
    let asked = request.topics.iter().flatten();
    let partitions = asked.map(|topic| (topic.topic_id, topic.partitions.iter().copied()));
    if let Err(refusal) = check_named_once(partitions) {
        return refused(refusal);
    }
    let image = server.router.image();
    let asked = request
        .topics
        .as_deref()
        .map(|topics| named(&image, topics));
    let command = Command::FetchOffsets { by, topics: asked };
    let outcome = server.router.group(group, command, Duration::ZERO).await;
    let mut response = match outcome.result {
        Ok(Answer::Offsets(found)) => OffsetFetchResponse {
            error: ErrorCode::None,
            error_message: None,
            topics: match request.topics {
                Some(asked) => in_order_of(&image, &asked, found),
                None => all(&image, found),
            },
            hint: None,
        },
        Ok(other) => unreachable!("offsets were asked for, and it says {other:?}"),
        Err(refusal) => refused(refusal),
    };
    response.hint = outcome.hint;
    response
}

/// Those of the topics that exist, by name.
fn named(image: &MetadataImage, topics: &[TopicPartitions]) -> Vec<(String, Vec<PartitionIndex>)> {
    let known = topics.iter().filter_map(|topic| {
        let found = image.topic_by_id(topic.topic_id)?;
        Some((found.name.to_string(), topic.partitions.clone()))
    });
    known.collect()
}

/// The answer in the order of the question; topics that do not exist are told so.
fn in_order_of(
    image: &MetadataImage,
    asked: &[TopicPartitions],
    found: Vec<CommittedTopic>,
) -> Vec<OffsetFetchTopicResponse> {
    let mut found = found.into_iter();
    let topics = asked.iter().map(|asked| {
        let known = image.topic_by_id(asked.topic_id);
        let Some((topic, committed)) = known.and_then(|topic| Some((topic, found.next()?))) else {
            let (error, message) = error_parts(unknown_topic(asked.topic_id));
            let partitions = asked.partitions.iter();
            return OffsetFetchTopicResponse {
                topic_id: asked.topic_id,
                name: String::new(),
                partitions: partitions
                    .map(|partition| OffsetFetchPartitionResponse {
                        error,
                        error_message: message.clone(),
                        ..partition_response(*partition, None)
                    })
                    .collect(),
            };
        };
        topic_response(topic.id, committed)
    });
    topics.collect()
}

/// Every offset of a topic that exists. Others are about to be dropped.
fn all(image: &MetadataImage, found: Vec<CommittedTopic>) -> Vec<OffsetFetchTopicResponse> {
    let known = found.into_iter().filter_map(|committed| {
        let topic = image.topic(&committed.topic)?;
        Some(topic_response(topic.id, committed))
    });
    known.collect()
}

fn topic_response(topic_id: TopicId, committed: CommittedTopic) -> OffsetFetchTopicResponse {
    let partitions = committed.partitions.into_iter();
    OffsetFetchTopicResponse {
        topic_id,
        name: committed.topic,
        partitions: partitions
            .map(|(partition, committed)| partition_response(partition, committed))
            .collect(),
    }
}

fn partition_response(
    partition: PartitionIndex,
    committed: Option<Committed>,
) -> OffsetFetchPartitionResponse {
    let (offset, leader_epoch, metadata) = match committed {
        Some(committed) => (
            Some(committed.offset),
            committed.leader_epoch,
            committed.metadata,
        ),
        None => (None, None, String::new()),
    };
    OffsetFetchPartitionResponse {
        partition,
        error: ErrorCode::None,
        error_message: None,
        offset,
        leader_epoch,
        metadata,
    }
}

pub(in crate::listener::native) async fn delete_offsets(
    server: Rc<Server>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let refused = |refusal: Refusal| {
        server.note_error(refusal.code);
        let (error, message) = error_parts(refusal);
        OffsetDeleteResponse::refused(error, message)
    };
    let (group, command) = match understand_deletion(&request) {
        Ok(understood) => understood,
        Err(refusal) => return refused(refusal),
    };
    let outcome = server.router.group(group, command, Duration::ZERO).await;
    let mut response = match outcome.result {
        Ok(Answer::OffsetsDeleted(deleted)) => OffsetDeleteResponse {
            error: ErrorCode::None,
            error_message: None,
            topics: deleted_by_topic(&request, deleted),
            hint: None,
        },
        Ok(other) => unreachable!("offsets were deleted, and it says {other:?}"),
        Err(refusal) => refused(refusal),
    };
    response.hint = outcome.hint;
    response
}

fn understand_deletion(request: &OffsetDeleteRequest) -> Result<(GroupId, Command), Refusal> {
    let sizes = request.topics.iter();
    let sizes = sizes.map(|topic| (&*topic.name, topic.partitions.len()));
    groups::check_deletion(sizes)?;
    let named = request.topics.iter();
    let named = named.map(|topic| (&topic.name, topic.partitions.iter().copied()));
    check_named_once(named)?;
    let topics = request.topics.iter();
    let topics = topics.map(|topic| (topic.name.clone(), topic.partitions.clone()));
    let command = Command::DeleteOffsets {
        topics: topics.collect(),
    };
    Ok((group_id(&request.group)?, command))
}

/// The coordinator answers topic by topic, in the order of the question.
fn deleted_by_topic(
    request: &OffsetDeleteRequest,
    deleted: Vec<Result<(), CoordinatorError>>,
) -> Vec<OffsetDeleteTopicResponse> {
    let topics = request.topics.iter().zip(deleted).map(|(topic, deleted)| {
        let (error, error_message) = match deleted {
            Ok(()) => (ErrorCode::None, None),
            Err(error) => (error.code(), Some(error.to_string())),
        };
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| OffsetPartitionError {
                partition: *partition,
                error,
                error_message: error_message.clone(),
            });
        OffsetDeleteTopicResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
        }
    });
    topics.collect()
}
