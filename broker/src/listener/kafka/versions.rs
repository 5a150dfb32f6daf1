//! Which versions of which APIs are spoken here: what ApiVersions says.

use std::ops::RangeInclusive;

use corelog_protocol::kafka::KafkaApi;

/// The versions that a client is told: those that are taken.
///
/// Of Produce the lowest is 0, although no version below 3 is taken, as Kafka 4 has it: librdkafka takes a broker that
/// starts higher for one that cannot decompress (KAFKA-18659).
pub(super) fn advertised(api: KafkaApi) -> RangeInclusive<i16> {
    let taken = api.versions();
    match api {
        KafkaApi::Produce => 0..=*taken.end(),
        _ => taken,
    }
}
