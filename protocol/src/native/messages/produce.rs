//! Produce: the way of every record into the log, read without copying or allocating.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{RouteHint, TableVector, error_code, read_tables, write_string, write_tables};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, known, non_negative, offset, optional, root, topic_id,
    topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{Acks, Durability, ErrorCode, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

/// Appends record batches, as a sender writes it. [`ProduceRequest::decode`] gives a
/// [`ProduceRequestView`].
///
/// The payload is the partitions' batches, one partition after the other in the order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// When the request is answered.
    pub acks: Acks,
    /// How long the broker may wait for replicas, in milliseconds.
    pub timeout_ms: u32,
    /// The transaction's producer.
    pub transactional_id: Option<&'a str>,
    /// Where the payload's bytes go.
    pub partitions: &'a [ProducePartition],
}

/// The part of the payload that goes to one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Bytes of the payload.
    pub length: u32,
}

impl EncodeMessage for ProduceRequest<'_> {
    const API: ApiKey = ApiKey::Produce;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let transactional_id = write_string(builder, self.transactional_id);
        let partitions = Some(write_tables(
            builder,
            self.partitions,
            ProducePartition::write,
        ));
        let table = tables::ProduceRequest::create(
            builder,
            &tables::ProduceRequestArgs {
                acks: self.acks.id(),
                timeout_ms: self.timeout_ms,
                transactional_id,
                partitions,
            },
        );
        builder.finish_minimal(table);
    }
}

impl ProduceRequest<'_> {
    /// Verifies the table in a frame's metadata and reads it in place, without allocating.
    ///
    /// # Errors
    /// Any [`DecodeError`], also of a single partition: the whole request is then refused.
    #[inline]
    pub fn decode(metadata: &[u8]) -> Result<ProduceRequestView<'_>, DecodeError> {
        let table = root::<tables::ProduceRequest<'_>>(metadata)?;
        let acks = known("acks", table.acks(), Acks::from_id(table.acks()))?;
        let partitions = table.partitions();
        let mut payload_length = 0;
        for partition in partitions {
            payload_length += u64::from(ProducePartition::read(partition)?.length);
        }
        Ok(ProduceRequestView {
            acks,
            timeout_ms: table.timeout_ms(),
            transactional_id: table.transactional_id(),
            partitions,
            payload_length,
        })
    }
}

impl ProducePartition {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ProducePartition<'a>> {
        tables::ProducePartition::create(
            builder,
            &tables::ProducePartitionArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
                length: self.length,
            },
        )
    }

    #[inline]
    fn read(table: tables::ProducePartition<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            leader_epoch: optional("leader_epoch", table.leader_epoch())?,
            length: table.length(),
        })
    }
}

/// A verified produce request, still in the frame's bytes.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRequestView<'a> {
    /// When the request is answered.
    pub acks: Acks,
    /// How long the broker may wait for replicas, in milliseconds.
    pub timeout_ms: u32,
    /// The transaction's producer.
    pub transactional_id: Option<&'a str>,
    partitions: TableVector<'a, tables::ProducePartition<'a>>,
    payload_length: u64,
}

impl<'a> ProduceRequestView<'a> {
    /// How many partitions the request names.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// The sum of the partitions' lengths, which must be the payload's length.
    pub fn payload_length(&self) -> u64 {
        self.payload_length
    }

    /// The partitions, in the payload's order.
    #[inline]
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = ProducePartition> + 'a {
        self.partitions
            .iter()
            .map(|table| ProducePartition::read(table).expect("decode has read every partition"))
    }

    /// The partitions, each with its part of the payload, shared and not copied.
    ///
    /// # Errors
    /// [`DecodeError::PayloadLength`] when the lengths do not add up to the payload's.
    #[inline]
    pub fn split_payload(
        &self,
        payload: &Bytes,
    ) -> Result<impl ExactSizeIterator<Item = (ProducePartition, Bytes)> + 'a, DecodeError> {
        if self.payload_length != payload.len() as u64 {
            return Err(DecodeError::PayloadLength {
                named: self.payload_length,
                found: payload.len(),
            });
        }
        let mut rest = payload.clone();
        Ok(self.partitions().map(move |partition| {
            let bytes = rest.split_to(partition.length as usize);
            (partition, bytes)
        }))
    }
}

/// What became of each partition's batches, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponse {
    /// The partitions.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// What became of one partition's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Why nothing was appended.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record, inclusive.
    pub last_offset: Offset,
    /// The timestamp that the leader set, on a topic of log append time.
    pub log_append_time: Option<Timestamp>,
    /// Offset of the first record kept.
    pub log_start_offset: Offset,
    /// End of what readers may see.
    pub high_watermark: Offset,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// What this acknowledgement means.
    pub durability: Durability,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

impl ProducePartitionResponse {
    /// The answer for a partition whose batches were refused.
    pub fn refused(
        topic_id: TopicId,
        partition: PartitionIndex,
        error: ErrorCode,
        error_message: Option<String>,
    ) -> Self {
        Self {
            topic_id,
            partition,
            error,
            error_message,
            base_offset: Offset::ZERO,
            last_offset: Offset::ZERO,
            log_append_time: None,
            log_start_offset: Offset::ZERO,
            high_watermark: Offset::ZERO,
            leader_epoch: LeaderEpoch::ZERO,
            durability: Durability::default(),
            hint: None,
        }
    }

    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::ProducePartitionResponse<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        let hint = self.hint.map(|hint| hint.write(builder));
        tables::ProducePartitionResponse::create(
            builder,
            &tables::ProducePartitionResponseArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                error: self.error.code(),
                error_message,
                base_offset: self.base_offset.get(),
                last_offset: self.last_offset.get(),
                log_append_time: self.log_append_time.map(Timestamp::get),
                log_start_offset: self.log_start_offset.get(),
                high_watermark: self.high_watermark.get(),
                leader_epoch: self.leader_epoch.get(),
                durability: tables::Durability(self.durability.id()),
                hint,
            },
        )
    }

    fn read(table: tables::ProducePartitionResponse<'_>) -> Result<Self, DecodeError> {
        let durability = table.durability().0;
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            base_offset: offset("base_offset", table.base_offset())?,
            last_offset: offset("last_offset", table.last_offset())?,
            log_append_time: table.log_append_time().map(Timestamp::new),
            log_start_offset: offset("log_start_offset", table.log_start_offset())?,
            high_watermark: offset("high_watermark", table.high_watermark())?,
            leader_epoch: non_negative("leader_epoch", table.leader_epoch())?,
            durability: known("durability", durability, Durability::from_id(durability))?,
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl EncodeMessage for ProduceResponse {
    const API: ApiKey = ApiKey::Produce;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            ProducePartitionResponse::write,
        ));
        let table =
            tables::ProduceResponse::create(builder, &tables::ProduceResponseArgs { partitions });
        builder.finish_minimal(table);
    }
}

impl Message for ProduceResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ProduceResponse<'_>>(metadata)?;
        Ok(Self {
            partitions: read_tables(table.partitions(), ProducePartitionResponse::read)?,
        })
    }
}
