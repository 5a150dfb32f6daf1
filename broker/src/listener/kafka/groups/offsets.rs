//! OffsetCommit, OffsetFetch and OffsetDelete.

use corelog_protocol::kafka::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use corelog_protocol::kafka::messages::offset_delete::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use corelog_protocol::kafka::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use corelog_protocol::kafka::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};
use corelog_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use futures_util::{StreamExt, stream};

use super::{ask, optional_member};
use crate::group::GroupId;
use crate::group::coordinator::{self, Claim, Command, Commit, CommittedTopic};
use crate::listener::close::Close;
use crate::listener::groups::{
    CONCURRENT_GROUPS, check_commit_bytes, check_deletion, check_named_once, commit_of, group_id,
};
use crate::listener::kafka::call::{Answer, Call};
use crate::metadata::TopicImage;
use crate::partition::Refusal;

/// The generation, or member epoch, of who is nobody's member.
const NO_EPOCH: i32 = -1;

/// Commits what can be. What cannot is told partition by partition: there is no other place for it.
pub(in crate::listener::kafka) async fn commit(call: &Call) -> Result<Answer, Close> {
    /// Before, a group that is not there was taken for one that has moved on.
    const FIRST_WITH_GROUP_NOT_FOUND: i16 = 9;
    let request: OffsetCommitRequest<'_> = call.decode()?;
    let understood = understand_commit(&request);
    let image = call.server().router.image();
    let mut commits = Vec::new();
    let mut answers: Vec<Vec<ErrorCode>> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let found = image.topic(topic.name).map(|found| &**found);
        let codes = topic.partitions.iter().map(|partition| {
            let commit = check_commit(call, found, partition);
            commit.map_or_else(
                |refusal| refusal.code,
                |commit| {
                    commits.push(commit);
                    ErrorCode::None
                },
            )
        });
        answers.push(codes.collect());
    }
    let outcome = match understood {
        Ok(_) if commits.is_empty() => Ok(()),
        Ok((group, by)) => carry_out(call, group, by, commits).await,
        Err(refusal) => Err(refusal),
    };
    let whole = match outcome {
        Ok(()) => ErrorCode::None,
        Err(refusal) => match refusal.code {
            ErrorCode::GroupIdNotFound if call.version < FIRST_WITH_GROUP_NOT_FOUND => {
                ErrorCode::IllegalGeneration
            }
            code => code,
        },
    };
    let topics = request.topics.iter().zip(answers).map(|(topic, codes)| {
        let partitions = topic.partitions.iter().zip(codes);
        OffsetCommitResponseTopic {
            name: topic.name,
            partitions: partitions
                .map(|(partition, code)| OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: call.code(match code {
                        ErrorCode::None => whole,
                        own => own,
                    }),
                })
                .collect(),
        }
    });
    Ok(call.reply(&OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    }))
}

fn understand_commit(request: &OffsetCommitRequest<'_>) -> Result<(GroupId, Claim), Refusal> {
    let partitions = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let valid = partitions.filter_map(|it| PartitionIndex::from_sentinel(it.partition_index));
        (topic.name, valid)
    });
    check_named_once(partitions)?;
    let by = claim(
        Some(request.member_id),
        request.group_instance_id,
        request.generation_id_or_member_epoch,
    )?;
    Ok((group_id(request.group_id)?, by))
}

fn claim(member: Option<&str>, instance: Option<&str>, epoch: i32) -> Result<Claim, Refusal> {
    Ok(Claim {
        member_id: optional_member(member.unwrap_or_default())?,
        instance_id: instance.map(str::to_owned),
        epoch: (epoch > NO_EPOCH).then_some(epoch),
    })
}

fn check_commit(
    call: &Call,
    topic: Option<&TopicImage>,
    asked: &OffsetCommitRequestPartition<'_>,
) -> Result<Commit, Refusal> {
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = topic.ok_or_else(|| unknown("there is no such topic".to_owned()))?;
    let partition = PartitionIndex::try_from(asked.partition_index)
        .map_err(|error| unknown(error.to_string()))?;
    let offset = Offset::try_from(asked.committed_offset)
        .map_err(|error| Refusal::new(ErrorCode::OffsetOutOfRange, error.to_string()))?;
    commit_of(
        topic,
        partition,
        offset,
        LeaderEpoch::from_sentinel(asked.committed_leader_epoch),
        asked.committed_metadata.unwrap_or_default().to_owned(),
        &call.server().options,
    )
}

async fn carry_out(
    call: &Call,
    group: GroupId,
    by: Claim,
    commits: Vec<Commit>,
) -> Result<(), Refusal> {
    check_commit_bytes(&group, &commits)?;
    ask(call, group, Command::CommitOffsets { by, commits }).await?;
    Ok(())
}

/// What one group is asked.
struct Asked<'a> {
    group: &'a str,
    member: Option<&'a str>,
    epoch: i32,
    topics: Option<Vec<(&'a str, &'a [i32])>>,
}

/// What it answered: topics with their partitions, or why not.
type Fetched = Result<Vec<(String, Vec<FetchedOffset>)>, ErrorCode>;

struct FetchedOffset {
    partition: i32,
    error: ErrorCode,
    offset: i64,
    leader_epoch: i32,
    metadata: String,
}

pub(in crate::listener::kafka) async fn fetch(call: &Call) -> Result<Answer, Close> {
    /// From this version on one request is about several groups.
    const FIRST_WITH_MANY: i16 = 8;
    let request: OffsetFetchRequest<'_> = call.decode()?;
    if call.version < FIRST_WITH_MANY {
        let asked = Asked {
            group: request.group_id,
            member: None,
            epoch: NO_EPOCH,
            topics: request.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                topics
                    .map(|topic| (topic.name, &topic.partition_indexes[..]))
                    .collect()
            }),
        };
        let fetched = fetch_of_group(call, &asked).await;
        return Ok(reply_of_one(call, &asked, &fetched));
    }
    let asked: Vec<_> = request
        .groups
        .iter()
        .map(|group| Asked {
            group: group.group_id,
            member: group.member_id,
            epoch: group.member_epoch,
            topics: group.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                topics
                    .map(|topic| (topic.name, &topic.partition_indexes[..]))
                    .collect()
            }),
        })
        .collect();
    let fetched: Vec<Fetched> = stream::iter(&asked)
        .map(|asked| fetch_of_group(call, asked))
        .buffered(CONCURRENT_GROUPS)
        .collect()
        .await;
    let groups = asked.iter().zip(&fetched).map(|(asked, fetched)| {
        let (topics, error) = match fetched {
            Ok(topics) => (&topics[..], ErrorCode::None),
            Err(code) => (&[][..], *code),
        };
        OffsetFetchResponseGroup {
            group_id: asked.group,
            topics: topics
                .iter()
                .map(|(name, partitions)| OffsetFetchResponseTopics {
                    name,
                    partitions: partitions
                        .iter()
                        .map(|it| OffsetFetchResponsePartitions {
                            partition_index: it.partition,
                            committed_offset: it.offset,
                            committed_leader_epoch: it.leader_epoch,
                            metadata: Some(&it.metadata),
                            error_code: call.code(it.error),
                        })
                        .collect(),
                })
                .collect(),
            error_code: call.code(error),
        }
    });
    Ok(call.reply(&OffsetFetchResponse {
        groups: groups.collect(),
        ..Default::default()
    }))
}

async fn fetch_of_group(call: &Call, asked: &Asked<'_>) -> Fetched {
    let command = group_id(asked.group).and_then(|group| {
        let topics = asked.topics.as_ref().map(|topics| {
            let topics = topics.iter().map(|(name, partitions)| {
                let valid = partitions
                    .iter()
                    .copied()
                    .filter_map(PartitionIndex::from_sentinel);
                ((*name).to_owned(), valid.collect())
            });
            topics.collect()
        });
        let by = claim(asked.member, None, asked.epoch)?;
        Ok((group, Command::FetchOffsets { by, topics }))
    });
    let (group, command) = command.map_err(|refusal| refusal.code)?;
    match ask(call, group, command).await {
        Ok(coordinator::Answer::Offsets(found)) => Ok(match &asked.topics {
            None => found.into_iter().map(all_of_topic).collect(),
            Some(topics) => topics
                .iter()
                .zip(found)
                .map(|((_, partitions), found)| in_order_of(partitions, found))
                .collect(),
        }),
        Ok(other) => unreachable!("offsets were asked for, and it says {other:?}"),
        Err(refusal) => Err(refusal.code),
    }
}

fn all_of_topic(found: CommittedTopic) -> (String, Vec<FetchedOffset>) {
    let partitions = found.partitions.into_iter();
    let offsets = partitions.map(|(partition, committed)| fetched(partition.get(), committed));
    (found.topic, offsets.collect())
}

/// The answers in the order of the question. Partitions that cannot be are answered as well.
fn in_order_of(asked: &[i32], found: CommittedTopic) -> (String, Vec<FetchedOffset>) {
    let mut partitions = found.partitions.into_iter();
    let offsets = asked.iter().map(|&partition| match partition {
        0.. => fetched(
            partition,
            partitions.next().and_then(|(_, committed)| committed),
        ),
        _ => FetchedOffset {
            error: ErrorCode::UnknownTopicOrPartition,
            ..fetched(partition, None)
        },
    });
    let offsets = offsets.collect();
    (found.topic, offsets)
}

fn fetched(partition: i32, committed: Option<coordinator::Committed>) -> FetchedOffset {
    let offset = committed.as_ref().map(|committed| committed.offset);
    let epoch = committed.as_ref().and_then(|it| it.leader_epoch);
    FetchedOffset {
        partition,
        error: ErrorCode::None,
        offset: Offset::to_sentinel(offset),
        leader_epoch: LeaderEpoch::to_sentinel(epoch),
        metadata: committed.map(|it| it.metadata).unwrap_or_default(),
    }
}

/// The answer of the versions that are about one group. The first has no place for an error but with each partition.
fn reply_of_one(call: &Call, asked: &Asked<'_>, fetched: &Fetched) -> Answer {
    let partition = |it: &'_ FetchedOffset| OffsetFetchResponsePartition {
        partition_index: it.partition,
        committed_offset: it.offset,
        committed_leader_epoch: it.leader_epoch,
        metadata: None,
        error_code: call.code(it.error),
    };
    let refused: Vec<(String, Vec<FetchedOffset>)>;
    let (topics, error) = match fetched {
        Ok(topics) => (topics, ErrorCode::None),
        Err(code) => {
            let asked = asked.topics.iter().flatten();
            refused = asked
                .map(|(name, partitions)| {
                    let offsets = partitions.iter().map(|&partition| FetchedOffset {
                        error: *code,
                        ..self::fetched(partition, None)
                    });
                    ((*name).to_owned(), offsets.collect())
                })
                .collect();
            (&refused, *code)
        }
    };
    let topics = topics
        .iter()
        .map(|(name, offsets)| OffsetFetchResponseTopic {
            name,
            partitions: offsets
                .iter()
                .map(|offset| OffsetFetchResponsePartition {
                    metadata: Some(&offset.metadata),
                    ..partition(offset)
                })
                .collect(),
        });
    call.reply(&OffsetFetchResponse {
        topics: topics.collect(),
        error_code: call.code(error),
        ..Default::default()
    })
}

pub(in crate::listener::kafka) async fn delete(call: &Call) -> Result<Answer, Close> {
    let request: OffsetDeleteRequest<'_> = call.decode()?;
    let outcome = match understand_deletion(&request) {
        Ok((group, command)) => ask(call, group, command).await,
        Err(refusal) => Err(refusal),
    };
    let deleted = match outcome {
        Ok(coordinator::Answer::OffsetsDeleted(deleted)) => deleted,
        Ok(other) => unreachable!("offsets were deleted, and it says {other:?}"),
        Err(refusal) => {
            return Ok(call.reply(&OffsetDeleteResponse {
                error_code: call.code(refusal.code),
                ..Default::default()
            }));
        }
    };
    let image = call.server().router.image();
    let topics = request.topics.iter().zip(deleted).map(|(topic, deleted)| {
        let known = image.topic(topic.name);
        OffsetDeleteResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let index = PartitionIndex::from_sentinel(partition.partition_index);
                    let exists = known
                        .zip(index)
                        .is_some_and(|(topic, index)| topic.partition(index).is_some());
                    let error = match &deleted {
                        Err(error) => error.code(),
                        Ok(()) if exists => ErrorCode::None,
                        Ok(()) => ErrorCode::UnknownTopicOrPartition,
                    };
                    OffsetDeleteResponsePartition {
                        partition_index: partition.partition_index,
                        error_code: call.code(error),
                    }
                })
                .collect(),
        }
    });
    Ok(call.reply(&OffsetDeleteResponse {
        topics: topics.collect(),
        ..Default::default()
    }))
}

fn understand_deletion(request: &OffsetDeleteRequest<'_>) -> Result<(GroupId, Command), Refusal> {
    let sizes = request.topics.iter();
    check_deletion(sizes.map(|topic| (topic.name, topic.partitions.len())))?;
    let topics: Vec<(&str, Vec<PartitionIndex>)> = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            let valid =
                partitions.filter_map(|it| PartitionIndex::from_sentinel(it.partition_index));
            (topic.name, valid.collect())
        })
        .collect();
    let named = topics.iter();
    check_named_once(named.map(|(name, partitions)| (*name, partitions.iter().copied())))?;
    let topics = topics.into_iter();
    let command = Command::DeleteOffsets {
        topics: topics
            .map(|(name, partitions)| (name.to_owned(), partitions))
            .collect(),
    };
    Ok((group_id(request.group_id)?, command))
}
