//! Which versions of which APIs are spoken here: what ApiVersions says, and all that is taken.

use std::ops::RangeInclusive;

use corelog_protocol::kafka::KafkaApi;

/// The versions of an API that are carried out.
pub(super) fn of(api: KafkaApi) -> RangeInclusive<i16> {
    let all = api.versions();
    match api {
        // Version 7 asks for the record with the highest timestamp, 8 and 9 for tiered storage.
        KafkaApi::ListOffsets => *all.start()..=6,
        _ => all,
    }
}

/// The lowest version that a client is told.
///
/// Of Produce it is 0, although no version below 3 is taken, as Kafka 4 has it: librdkafka takes a broker that starts
/// higher for one that cannot decompress (KAFKA-18659).
pub(super) fn advertised(api: KafkaApi) -> RangeInclusive<i16> {
    let spoken = of(api);
    match api {
        KafkaApi::Produce => 0..=*spoken.end(),
        _ => spoken,
    }
}
