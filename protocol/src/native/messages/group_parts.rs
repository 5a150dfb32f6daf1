//! Parts that the messages of groups share.

use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};

use super::parts::{
    TableVector, TableVectorOffset, error_code, read_tables, write_string, write_tables,
};
use crate::native::message::{DecodeError, known, non_negative, topic_id, topic_id_struct};
use crate::native::tables;
use crate::{ErrorCode, PartitionIndex, TopicId};

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPartitions {
    /// The topic.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

impl TopicPartitions {
    pub(super) fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::TopicPartitions<'a>> {
        let partitions = Some(write_partitions(builder, &self.partitions));
        tables::TopicPartitions::create(
            builder,
            &tables::TopicPartitionsArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partitions,
            },
        )
    }

    pub(super) fn read(table: tables::TopicPartitions<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partitions: read_partitions(table.partitions())?,
        })
    }
}

/// Writes partitions of topics that may be absent.
pub(super) fn write_topics<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    topics: Option<&[TopicPartitions]>,
) -> Option<TableVectorOffset<'a, tables::TopicPartitions<'a>>> {
    topics.map(|topics| write_tables(builder, topics, TopicPartitions::write))
}

/// Reads partitions of topics that may be absent.
pub(super) fn read_topics<'a>(
    topics: Option<TableVector<'a, tables::TopicPartitions<'a>>>,
) -> Result<Option<Vec<TopicPartitions>>, DecodeError> {
    topics
        .map(|topics| read_tables(topics, TopicPartitions::read))
        .transpose()
}

/// Writes a list of partitions.
pub(super) fn write_partitions<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    partitions: &[PartitionIndex],
) -> WIPOffset<Vector<'a, i32>> {
    builder.create_vector_from_iter(partitions.iter().map(|partition| partition.get()))
}

/// Reads a list of partitions.
pub(super) fn read_partitions(
    partitions: Vector<'_, i32>,
) -> Result<Vec<PartitionIndex>, DecodeError> {
    partitions
        .iter()
        .map(|partition| non_negative("partitions", partition))
        .collect()
}

/// A member of a group, and the epoch that it believes to be in: what fences those that were left
/// behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberEpoch {
    /// The member.
    pub member_id: String,
    /// The epoch; a classic group's generation.
    pub epoch: i32,
}

impl MemberEpoch {
    /// Reads the two fields of a table that are present or absent together.
    pub(super) fn read(
        table: &'static str,
        member_id: Option<&str>,
        epoch: Option<i32>,
    ) -> Result<Option<Self>, DecodeError> {
        match (member_id, epoch) {
            (None, None) => Ok(None),
            (Some(member_id), Some(epoch)) => Ok(Some(Self {
                member_id: member_id.to_owned(),
                epoch,
            })),
            (Some(_), None) | (None, Some(_)) => Err(DecodeError::Inconsistent {
                table,
                rule: "member_id and member_epoch must both be present or both be absent",
            }),
        }
    }
}

/// What became of one partition's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetPartitionError {
    /// The partition.
    pub partition: PartitionIndex,
    /// Why nothing changed.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
}

impl OffsetPartitionError {
    pub(super) fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::OffsetPartitionError<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        tables::OffsetPartitionError::create(
            builder,
            &tables::OffsetPartitionErrorArgs {
                partition: self.partition.get(),
                error: self.error.code(),
                error_message,
            },
        )
    }

    pub(super) fn read(table: tables::OffsetPartitionError<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            partition: non_negative("partition", table.partition())?,
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
        })
    }
}

/// Which protocol a group's members speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// The consumer protocol (KIP-848): the coordinator assigns.
    #[default]
    Consumer,
    /// The classic protocol: a member assigns.
    Classic,
}

impl GroupKind {
    pub(super) fn write(self) -> tables::GroupKind {
        match self {
            Self::Consumer => tables::GroupKind::consumer,
            Self::Classic => tables::GroupKind::classic,
        }
    }

    pub(super) fn read(kind: tables::GroupKind) -> Result<Self, DecodeError> {
        let found = match kind {
            tables::GroupKind::consumer => Some(Self::Consumer),
            tables::GroupKind::classic => Some(Self::Classic),
            _ => None,
        };
        known("kind", kind.0, found)
    }
}

/// How far a group has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// It has no members; committed offsets may be left.
    #[default]
    Empty,
    /// A new assignment is to be computed.
    Assigning,
    /// Members move to the new assignment.
    Reconciling,
    /// Every member has what it should have.
    Stable,
    /// A classic group that waits for its members to join again.
    PreparingRebalance,
    /// A classic group that waits for its leader's assignment.
    CompletingRebalance,
    /// It is being forgotten.
    Dead,
}

impl GroupState {
    pub(super) fn write(self) -> tables::GroupState {
        match self {
            Self::Empty => tables::GroupState::empty,
            Self::Assigning => tables::GroupState::assigning,
            Self::Reconciling => tables::GroupState::reconciling,
            Self::Stable => tables::GroupState::stable,
            Self::PreparingRebalance => tables::GroupState::preparing_rebalance,
            Self::CompletingRebalance => tables::GroupState::completing_rebalance,
            Self::Dead => tables::GroupState::dead,
        }
    }

    pub(super) fn read(state: tables::GroupState) -> Result<Self, DecodeError> {
        let found = match state {
            tables::GroupState::empty => Some(Self::Empty),
            tables::GroupState::assigning => Some(Self::Assigning),
            tables::GroupState::reconciling => Some(Self::Reconciling),
            tables::GroupState::stable => Some(Self::Stable),
            tables::GroupState::preparing_rebalance => Some(Self::PreparingRebalance),
            tables::GroupState::completing_rebalance => Some(Self::CompletingRebalance),
            tables::GroupState::dead => Some(Self::Dead),
            _ => None,
        };
        known("state", state.0, found)
    }
}
