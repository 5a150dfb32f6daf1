//! Fetch: reading by request. The response's table is also that of a subscription's pushes.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{
    RouteHint, TableVectorOffset, error_code, read_tables, write_string, write_tables,
};
use crate::native::message::{
    DecodeError, EncodeMessage, Message, known, non_negative, offset, optional, root, topic_id,
    topic_id_struct,
};
use crate::native::{ApiKey, tables};
use crate::{
    BrokerId, ErrorCode, IsolationLevel, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId,
};

/// Reads record batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// How long the broker may wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: u32,
    /// How many bytes are worth a reply before that time is over.
    pub min_bytes: u32,
    /// Most bytes of payload; the first batch comes whole, whatever its size.
    pub max_bytes: u32,
    /// Which records may be read.
    pub isolation: IsolationLevel,
    /// Where to read.
    pub partitions: Vec<FetchPartition>,
}

/// Where to read in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The leader epoch of the last batch that the client holds.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Offset of the first record wanted. The batch that holds it comes whole.
    pub fetch_offset: Offset,
    /// Most bytes of this partition.
    pub max_bytes: u32,
}

impl FetchPartition {
    pub(super) fn write_all<'a>(
        partitions: &[Self],
        builder: &mut FlatBufferBuilder<'a>,
    ) -> TableVectorOffset<'a, tables::FetchPartition<'a>> {
        write_tables(builder, partitions, |it, builder| {
            tables::FetchPartition::create(
                builder,
                &tables::FetchPartitionArgs {
                    topic_id: Some(&topic_id_struct(it.topic_id)),
                    partition: it.partition.get(),
                    leader_epoch: it.leader_epoch.map(LeaderEpoch::get),
                    last_fetched_epoch: it.last_fetched_epoch.map(LeaderEpoch::get),
                    fetch_offset: it.fetch_offset.get(),
                    max_bytes: it.max_bytes,
                },
            )
        })
    }

    pub(super) fn read(table: tables::FetchPartition<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            leader_epoch: optional("leader_epoch", table.leader_epoch())?,
            last_fetched_epoch: optional("last_fetched_epoch", table.last_fetched_epoch())?,
            fetch_offset: offset("fetch_offset", table.fetch_offset())?,
            max_bytes: table.max_bytes(),
        })
    }
}

/// Reads an isolation level.
pub(super) fn isolation(level: tables::IsolationLevel) -> Result<IsolationLevel, DecodeError> {
    known("isolation", level.0, IsolationLevel::from_id(level.0))
}

impl EncodeMessage for FetchRequest {
    const API: ApiKey = ApiKey::Fetch;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(FetchPartition::write_all(&self.partitions, builder));
        let table = tables::FetchRequest::create(
            builder,
            &tables::FetchRequestArgs {
                max_wait_ms: self.max_wait_ms,
                min_bytes: self.min_bytes,
                max_bytes: self.max_bytes,
                isolation: tables::IsolationLevel(self.isolation.id()),
                partitions,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for FetchRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::FetchRequest<'_>>(metadata)?;
        Ok(Self {
            max_wait_ms: table.max_wait_ms(),
            min_bytes: table.min_bytes(),
            max_bytes: table.max_bytes(),
            isolation: isolation(table.isolation())?,
            partitions: read_tables(table.partitions(), FetchPartition::read)?,
        })
    }
}

/// The batches read. The payload is those of the partitions, one after the other in the order of
/// the list. A push frame of a subscription carries the same table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse {
    /// The partitions.
    pub partitions: Vec<FetchPartitionResponse>,
}

/// The batches of one partition, and where its log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartitionResponse {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Why nothing was read.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// End of what readers may see.
    pub high_watermark: Offset,
    /// End of what readers of committed records may see.
    pub last_stable_offset: Offset,
    /// Offset of the first record kept.
    pub log_start_offset: Offset,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The client's log diverges from the leader's, whose last common epoch ends at this offset.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
    /// Transactions that were aborted within the batches, for a reader of committed records.
    pub aborted: Vec<AbortedTransaction>,
    /// A replica closer to the client.
    pub preferred_replica: Option<BrokerId>,
    /// Bytes of the payload.
    pub length: u32,
    /// Where the next request should go.
    pub hint: Option<RouteHint>,
}

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Offset of its first record.
    pub first_offset: Offset,
}

impl FetchResponse {
    /// The partitions, each with its part of the payload, shared and not copied.
    ///
    /// # Errors
    /// [`DecodeError::PayloadLength`] when the lengths do not add up to the payload's.
    pub fn split_payload(
        &self,
        payload: &Bytes,
    ) -> Result<impl ExactSizeIterator<Item = (&FetchPartitionResponse, Bytes)>, DecodeError> {
        let lengths = self.partitions.iter().map(|it| u64::from(it.length));
        let named = lengths.sum::<u64>();
        if named != payload.len() as u64 {
            return Err(DecodeError::PayloadLength {
                named,
                found: payload.len(),
            });
        }
        let mut rest = payload.clone();
        Ok(self.partitions.iter().map(move |partition| {
            let bytes = rest.split_to(partition.length as usize);
            (partition, bytes)
        }))
    }
}

impl FetchPartitionResponse {
    /// The answer for a partition that could not be read.
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
            high_watermark: Offset::ZERO,
            last_stable_offset: Offset::ZERO,
            log_start_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::ZERO,
            diverging_epoch: None,
            aborted: Vec::new(),
            preferred_replica: None,
            length: 0,
            hint: None,
        }
    }

    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::FetchPartitionResponse<'a>> {
        let error_message = write_string(builder, self.error_message.as_deref());
        let diverging_epoch = self.diverging_epoch.map(|(epoch, end_offset)| {
            tables::EpochEnd::create(
                builder,
                &tables::EpochEndArgs {
                    epoch: epoch.get(),
                    end_offset: end_offset.get(),
                },
            )
        });
        let aborted = self
            .aborted
            .iter()
            .map(|it| tables::AbortedTransaction::new(it.producer_id.get(), it.first_offset.get()));
        let aborted = Some(builder.create_vector_from_iter(aborted));
        let hint = self.hint.map(|hint| hint.write(builder));
        tables::FetchPartitionResponse::create(
            builder,
            &tables::FetchPartitionResponseArgs {
                topic_id: Some(&topic_id_struct(self.topic_id)),
                partition: self.partition.get(),
                error: self.error.code(),
                error_message,
                high_watermark: self.high_watermark.get(),
                last_stable_offset: self.last_stable_offset.get(),
                log_start_offset: self.log_start_offset.get(),
                leader_epoch: self.leader_epoch.get(),
                diverging_epoch,
                aborted,
                preferred_replica: self.preferred_replica.map(BrokerId::get),
                length: self.length,
                hint,
            },
        )
    }

    fn read(table: tables::FetchPartitionResponse<'_>) -> Result<Self, DecodeError> {
        let diverging_epoch = match table.diverging_epoch() {
            Some(end) => Some((
                non_negative("epoch", end.epoch())?,
                offset("end_offset", end.end_offset())?,
            )),
            None => None,
        };
        let aborted = table.aborted().iter().map(|it| {
            Ok(AbortedTransaction {
                producer_id: non_negative("producer_id", it.producer_id())?,
                first_offset: offset("first_offset", it.first_offset())?,
            })
        });
        Ok(Self {
            topic_id: topic_id(table.topic_id()),
            partition: non_negative("partition", table.partition())?,
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            high_watermark: offset("high_watermark", table.high_watermark())?,
            last_stable_offset: offset("last_stable_offset", table.last_stable_offset())?,
            log_start_offset: offset("log_start_offset", table.log_start_offset())?,
            leader_epoch: non_negative("leader_epoch", table.leader_epoch())?,
            diverging_epoch,
            aborted: aborted.collect::<Result<_, DecodeError>>()?,
            preferred_replica: optional("preferred_replica", table.preferred_replica())?,
            length: table.length(),
            hint: table.hint().map(RouteHint::read).transpose()?,
        })
    }
}

impl EncodeMessage for FetchResponse {
    const API: ApiKey = ApiKey::Fetch;
    const PUSH_API: ApiKey = ApiKey::Subscribe;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(write_tables(
            builder,
            &self.partitions,
            FetchPartitionResponse::write,
        ));
        let table =
            tables::FetchResponse::create(builder, &tables::FetchResponseArgs { partitions });
        builder.finish_minimal(table);
    }
}

impl Message for FetchResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::FetchResponse<'_>>(metadata)?;
        Ok(Self {
            partitions: read_tables(table.partitions(), FetchPartitionResponse::read)?,
        })
    }
}
