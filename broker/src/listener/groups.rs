//! What requests about groups have in common, in either dialect: the bounds of what they may say, and the way to a group's
//! coordinator.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use corelog_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::options::ListenerOptions;
use crate::group::coordinator::{Answer, Command, Commit};
use crate::group::{GroupId, MemberId};
use crate::metadata::{TOPIC_NAME_BYTES_MAX, TopicImage};
use crate::partition::Refusal;
use crate::shard::Router;

/// Groups of one request that are asked about at the same time.
pub(super) const CONCURRENT_GROUPS: usize = 64;
/// What one request's offsets may take in the log: they are one batch, and others' decisions go with it.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Bytes of an offset's record beside its texts, and more.
const OFFSET_BYTES: usize = 80;
/// Offsets that one request may delete, for the same reason.
const DELETED_AT_ONCE_MAX: usize = 4096;

pub(super) fn group_id(group: &str) -> Result<GroupId, Refusal> {
    GroupId::try_from(group)
        .map_err(|error| Refusal::new(ErrorCode::InvalidGroupId, format!("group id: {error}")))
}

pub(super) fn member_id(member: &str) -> Result<MemberId, Refusal> {
    MemberId::try_from(member)
        .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, format!("member id: {error}")))
}

/// The longest text of a record: Kafka's formats count a string in 16 bits.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// Refuses a text that no record of `__consumer_offsets` could hold.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), Refusal> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidRequest,
        format!(
            "{what} has {} bytes, at most {TEXT_BYTES_MAX} are allowed",
            text.len()
        ),
    ))
}

/// Refuses a request that names a partition twice: what it makes the broker remember and answer would have no
/// bound but the request's own size.
pub(super) fn check_named_once<T, P>(topics: impl Iterator<Item = (T, P)>) -> Result<(), Refusal>
where
    T: Eq + Hash + Display,
    P: Iterator<Item = PartitionIndex>,
{
    let mut named: HashMap<T, HashSet<PartitionIndex>> = HashMap::new();
    for (topic, partitions) in topics {
        if named.contains_key(&topic) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("topic {topic} is named twice"),
            ));
        }
        let of_topic = named.entry(topic).or_default();
        let mut partitions = partitions;
        if let Some(twice) = partitions.find(|partition| !of_topic.insert(*partition)) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("partition {twice} is named twice in one topic"),
            ));
        }
    }
    Ok(())
}

/// An offset to be committed, unless there is no such partition or the text with it is too long.
pub(super) fn commit_of(
    topic: &TopicImage,
    partition: PartitionIndex,
    offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    metadata: String,
    options: &ListenerOptions,
) -> Result<Commit, Refusal> {
    if topic.partition(partition).is_none() {
        return Err(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("topic `{}` has no partition {partition}", topic.name),
        ));
    }
    let most = options.offset_metadata_max_bytes;
    if metadata.len() > most {
        return Err(Refusal::new(
            ErrorCode::OffsetMetadataTooLarge,
            format!(
                "the metadata has {} bytes, offset.metadata.max.bytes is {most}",
                metadata.len()
            ),
        ));
    }
    Ok(Commit {
        topic: topic.name.to_string(),
        topic_id: topic.id,
        partition,
        offset,
        leader_epoch,
        metadata,
    })
}

/// Refuses offsets that would not fit a batch.
pub(super) fn check_commit_bytes(group: &GroupId, commits: &[Commit]) -> Result<(), Refusal> {
    let bytes: usize = commits
        .iter()
        .map(|commit| {
            group.as_str().len() + commit.topic.len() + commit.metadata.len() + OFFSET_BYTES
        })
        .sum();
    if bytes <= COMMIT_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidCommitOffsetSize,
        format!(
            "the commit takes {bytes} bytes in the log, at most {COMMIT_BYTES_MAX} are allowed: commit \
             fewer partitions at a time"
        ),
    ))
}

/// Refuses a deletion of offsets that would not fit a batch. Of each topic its name, and how many partitions of it.
pub(super) fn check_deletion<'a>(
    topics: impl Iterator<Item = (&'a str, usize)>,
) -> Result<(), Refusal> {
    let mut offsets = 0;
    for (name, partitions) in topics {
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(Refusal::new(
                ErrorCode::InvalidTopicException,
                format!(
                    "a topic's name has at most {TOPIC_NAME_BYTES_MAX} bytes, not {}",
                    name.len()
                ),
            ));
        }
        offsets += partitions;
    }
    if offsets > DELETED_AT_ONCE_MAX {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "the request names {offsets} partitions, at most {DELETED_AT_ONCE_MAX} are allowed: \
                 delete fewer at a time"
            ),
        ));
    }
    Ok(())
}

/// Has a command carried out by the coordinator of a group.
pub(super) async fn ask(router: &Router, group: &str, command: Command) -> Result<Answer, Refusal> {
    let group_id = group_id(group)?;
    router.group(group_id, command, Duration::ZERO).await.result
}

/// Deletes a group and its offsets, however many there are.
pub(super) async fn delete(router: &Router, group: &str) -> Result<(), Refusal> {
    let mut has_begun = false;
    loop {
        match ask(router, group, Command::Delete).await {
            Ok(Answer::Deleted { is_complete: true }) => return Ok(()),
            Ok(Answer::Deleted { is_complete: false }) => has_begun = true,
            Ok(other) => unreachable!("a group was deleted, and it says {other:?}"),
            // Somebody else has deleted the rest.
            Err(refusal) if has_begun && refusal.code == ErrorCode::GroupIdNotFound => {
                return Ok(());
            }
            Err(refusal) => return Err(refusal),
        }
    }
}
