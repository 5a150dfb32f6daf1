//! Which versions of which APIs are spoken here: what ApiVersions says, and all that is taken.

use std::ops::RangeInclusive;

use corelog_protocol::kafka::KafkaApi;

/// The versions of an API that are carried out; `None` if it is not.
pub(super) fn of(api: KafkaApi) -> Option<RangeInclusive<i16>> {
    let all = api.versions();
    Some(match api {
        KafkaApi::Produce
        | KafkaApi::Fetch
        | KafkaApi::Metadata
        | KafkaApi::ApiVersions
        | KafkaApi::InitProducerId
        | KafkaApi::FindCoordinator
        | KafkaApi::JoinGroup
        | KafkaApi::SyncGroup
        | KafkaApi::Heartbeat
        | KafkaApi::LeaveGroup
        | KafkaApi::OffsetCommit
        | KafkaApi::OffsetFetch
        | KafkaApi::OffsetDelete
        | KafkaApi::ListGroups
        | KafkaApi::DescribeGroups
        | KafkaApi::DeleteGroups
        | KafkaApi::ConsumerGroupHeartbeat
        | KafkaApi::ConsumerGroupDescribe
        | KafkaApi::OffsetForLeaderEpoch => all,
        // Version 7 asks for the record with the highest timestamp, 8 and 9 for tiered storage.
        KafkaApi::ListOffsets => *all.start()..=6,
        _ => return None,
    })
}

/// The lowest version that a client is told.
///
/// Of Produce it is 0, although no version below 3 is taken, as Kafka 4 has it: librdkafka takes a broker that starts
/// higher for one that cannot decompress (KAFKA-18659).
pub(super) fn advertised(api: KafkaApi) -> Option<RangeInclusive<i16>> {
    let spoken = of(api)?;
    Some(match api {
        KafkaApi::Produce => 0..=*spoken.end(),
        _ => spoken,
    })
}
