//! Whatever a type can hold survives its encoding, in whatever pieces it arrives.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::BytesMut;
use corelog_protocol::native::*;
use corelog_protocol::record::*;
use corelog_protocol::{
    Acks, BrokerId, Compression, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset,
    PartitionIndex, ProducerId, ShardId, Timestamp, TopicId,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn topic_id() -> impl Strategy<Value = TopicId> {
    any::<[u8; 16]>().prop_map(TopicId::from_bytes)
}

fn offset() -> impl Strategy<Value = Offset> {
    (0..=i64::MAX).prop_map(Offset::new)
}

fn epoch() -> impl Strategy<Value = LeaderEpoch> {
    (0..=i32::MAX).prop_map(LeaderEpoch::new)
}

fn partition() -> impl Strategy<Value = PartitionIndex> {
    (0..=i32::MAX).prop_map(PartitionIndex::new)
}

fn broker() -> impl Strategy<Value = BrokerId> {
    (0..=i32::MAX).prop_map(BrokerId::new)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::new)
}

fn error() -> impl Strategy<Value = ErrorCode> {
    select(ErrorCode::ALL)
}

fn hint() -> impl Strategy<Value = RouteHint> {
    (broker(), any::<u16>()).prop_map(|(broker, shard)| RouteHint {
        broker,
        shard: ShardId::new(shard),
    })
}

prop_compose! {
    fn produce_partition()(
        topic_id in topic_id(),
        partition in partition(),
        leader_epoch in option::of(epoch()),
        length: u32,
    ) -> ProducePartition {
        ProducePartition { topic_id, partition, leader_epoch, length }
    }
}

prop_compose! {
    fn produced()(
        topic_id in topic_id(),
        partition in partition(),
        error in error(),
        error_message in option::of(".{0,20}"),
        offsets in [offset(), offset(), offset(), offset()],
        log_append_time in option::of(timestamp()),
        leader_epoch in epoch(),
        durability in select(Durability::ALL),
        hint in option::of(hint()),
    ) -> ProducePartitionResponse {
        let [base_offset, last_offset, log_start_offset, high_watermark] = offsets;
        ProducePartitionResponse {
            topic_id, partition, error, error_message, base_offset, last_offset,
            log_append_time, log_start_offset, high_watermark, leader_epoch, durability, hint,
        }
    }
}

prop_compose! {
    fn fetched()(
        topic_id in topic_id(),
        partition in partition(),
        error in error(),
        error_message in option::of(".{0,20}"),
        offsets in [offset(), offset(), offset()],
        leader_epoch in epoch(),
        diverging_epoch in option::of((epoch(), offset())),
        aborted in vec((0..=i64::MAX, offset()), 0..4),
        preferred_replica in option::of(broker()),
        length: u32,
        hint in option::of(hint()),
    ) -> FetchPartitionResponse {
        let [high_watermark, last_stable_offset, log_start_offset] = offsets;
        let aborted = aborted
            .into_iter()
            .map(|(id, first_offset)| AbortedTransaction {
                producer_id: ProducerId::new(id),
                first_offset,
            })
            .collect();
        FetchPartitionResponse {
            topic_id, partition, error, error_message, high_watermark, last_stable_offset,
            log_start_offset, leader_epoch, diverging_epoch, aborted, preferred_replica, length,
            hint,
        }
    }
}

prop_compose! {
    fn partition_metadata()(
        error in error(),
        index in partition(),
        leader in option::of(broker()),
        shard: u16,
        leader_epoch in epoch(),
        replicas in vec(broker(), 0..4),
        in_sync_replicas in vec(broker(), 0..4),
    ) -> PartitionMetadata {
        PartitionMetadata {
            error, index, leader, leader_shard: ShardId::new(shard), leader_epoch, replicas,
            in_sync_replicas,
        }
    }
}

prop_compose! {
    fn topic_metadata()(
        error in error(),
        name in ".{0,20}",
        id in topic_id(),
        durability in select(Durability::ALL),
        internal: bool,
        partitions in vec(partition_metadata(), 0..4),
    ) -> TopicMetadata {
        TopicMetadata { error, name, id, durability, internal, partitions }
    }
}

fn metadata_of<M: EncodeMessage>(message: &M) -> Vec<u8> {
    let frame = encode_frame(FrameKind::Response, 1, message, 0).unwrap();
    frame[FRAME_HEADER_BYTES..].to_vec()
}

type PlainRecord = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(String, Option<Vec<u8>>)>,
);

fn plain_record() -> impl Strategy<Value = PlainRecord> {
    let bytes = || option::of(vec(any::<u8>(), 0..300));
    // Any distance between timestamps, as long as the difference can be written.
    (
        -1..i64::MAX / 2,
        bytes(),
        bytes(),
        vec((".{0,9}", bytes()), 0..4),
    )
}

proptest! {
    #[test]
    fn topic_ids_survive_their_text(id in topic_id()) {
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn produce_requests_survive(
        acks in select(Acks::ALL),
        timeout_ms: u32,
        transactional_id in option::of(".{0,20}"),
        partitions in vec(produce_partition(), 0..8),
    ) {
        let metadata = metadata_of(&ProduceRequest {
            acks,
            timeout_ms,
            transactional_id: transactional_id.as_deref(),
            partitions: &partitions,
        });
        let view = ProduceRequest::decode(&metadata).unwrap();
        prop_assert_eq!(view.acks, acks);
        prop_assert_eq!(view.timeout_ms, timeout_ms);
        prop_assert_eq!(view.transactional_id, transactional_id.as_deref());
        prop_assert_eq!(view.partitions().collect::<Vec<_>>(), partitions);
    }

    #[test]
    fn produce_responses_survive(partitions in vec(produced(), 0..8)) {
        let message = ProduceResponse { partitions };
        prop_assert_eq!(ProduceResponse::decode(&metadata_of(&message)), Ok(message));
    }

    #[test]
    fn fetch_responses_survive(partitions in vec(fetched(), 0..8)) {
        let message = FetchResponse { partitions };
        prop_assert_eq!(FetchResponse::decode(&metadata_of(&message)), Ok(message));
    }

    #[test]
    fn delete_records_requests_survive(
        timeout_ms: u32,
        partitions in vec((topic_id(), partition(), option::of(epoch()), option::of(offset())), 0..8),
    ) {
        let partitions = partitions
            .into_iter()
            .map(|(topic_id, partition, leader_epoch, before)| DeleteRecordsPartition {
                topic_id,
                partition,
                leader_epoch,
                until: before.map_or(DeleteUntil::HighWatermark, DeleteUntil::Offset),
            })
            .collect();
        let message = DeleteRecordsRequest { timeout_ms, partitions };
        prop_assert_eq!(DeleteRecordsRequest::decode(&metadata_of(&message)), Ok(message));
    }

    #[test]
    fn list_offsets_requests_survive(
        isolation in select(IsolationLevel::ALL),
        partitions in vec((topic_id(), partition(), option::of(epoch()), prop_oneof![
            Just(OffsetQuery::Earliest),
            Just(OffsetQuery::Latest),
            timestamp().prop_map(OffsetQuery::Timestamp),
        ]), 0..8),
    ) {
        let partitions = partitions
            .into_iter()
            .map(|(topic_id, partition, leader_epoch, query)| ListOffsetsPartition {
                topic_id, partition, leader_epoch, query,
            })
            .collect();
        let message = ListOffsetsRequest { isolation, partitions };
        prop_assert_eq!(ListOffsetsRequest::decode(&metadata_of(&message)), Ok(message));
    }

    #[test]
    fn metadata_responses_survive(
        cluster_id in ".{0,30}",
        controller in option::of(broker()),
        metadata_offset: i64,
        metadata_epoch: i32,
        brokers in vec((broker(), ".{0,20}", any::<u16>(), any::<u16>()), 0..4),
        topics in vec(topic_metadata(), 0..4),
    ) {
        let brokers = brokers
            .into_iter()
            .map(|(id, host, port, shards)| BrokerInfo { id, host, port, shards })
            .collect();
        let message = MetadataResponse {
            cluster_id, controller, metadata_offset, metadata_epoch, brokers, topics,
        };
        prop_assert_eq!(MetadataResponse::decode(&metadata_of(&message)), Ok(message));
    }

    #[test]
    fn frames_survive_arriving_in_pieces(
        frames in vec((any::<u32>(), ".{0,50}", vec(any::<u8>(), 0..500)), 1..6),
        piece in 1..200_usize,
    ) {
        let limits = FrameLimits::default();
        let mut encoder = Encoder::new(limits);
        let mut stream = BytesMut::new();
        for (correlation_id, reason, payload) in &frames {
            let message = GoodbyePush { reason: reason.clone() };
            encoder
                .frame(FrameKind::Push, *correlation_id, &message, payload.len(), &mut stream)
                .unwrap();
            stream.extend_from_slice(payload);
        }
        let mut received = BytesMut::new();
        let mut found = Vec::new();
        for piece in stream.chunks(piece) {
            received.extend_from_slice(piece);
            while let Some(frame) = decode_frame(&mut received, &limits).unwrap() {
                let message = GoodbyePush::decode(&frame.metadata).unwrap();
                let payload = frame.payload.to_vec();
                found.push((frame.header.correlation_id, message.reason, payload));
            }
        }
        prop_assert!(received.is_empty());
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn records_survive_their_batch(
        records in vec(plain_record(), 1..20),
        compression in select(Compression::ALL),
        base_offset in 0..i64::MAX - 100,
    ) {
        let mut builder = BatchBuilder::new(compression, 512);
        for (time, key, value, headers) in &records {
            let headers: Vec<_> = headers
                .iter()
                .map(|(key, value)| Header { key, value: value.as_deref() })
                .collect();
            builder
                .append(Timestamp::new(*time), key.as_deref(), value.as_deref(), &headers)
                .unwrap();
        }
        let mut batch = BytesMut::from(&builder.finish(None)[..]);
        patch_base_offset(&mut batch, Offset::new(base_offset), LeaderEpoch::ZERO);
        let batch = batch.freeze();
        let (view, _) = BatchView::parse(&batch).unwrap();
        prop_assert_eq!(view.validate(), Ok(()));
        let latest = records.iter().map(|record| record.0).max();
        prop_assert_eq!(Some(view.max_timestamp().get()), latest);
        let decoded = DecodedBatch::decode(&batch, 1024 * 1024).unwrap();
        let mut found = Vec::new();
        for (offset, record) in (base_offset..).zip(decoded.records()) {
            let record = record.unwrap();
            prop_assert_eq!(record.offset.get(), offset);
            let headers = record
                .headers()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect::<Vec<_>>();
            found.push((
                record.timestamp.get(),
                record.key.as_ref().map(|key| key.to_vec()),
                record.value.as_ref().map(|value| value.to_vec()),
                headers,
            ));
        }
        prop_assert_eq!(found, records);
    }
}
