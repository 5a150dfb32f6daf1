//! `docs/kafka_support.md`, made from the table of APIs.

use corelog_protocol::kafka::KafkaApi;

const HEAD: &str = "\
# Kafka's APIs

This page is generated from the table of APIs in `protocol/src/kafka/messages`, which is also what a broker answers to
ApiVersions; a test fails when it differs.

Any other API, and any other version, ends the connection, as it does in Kafka. ApiVersions itself is answered in version 0
then (KIP-511).

| key | API | versions | remarks |
|---:|---|---|---|
";

const TAIL: &str = "
Not served: transactions (AddPartitionsToTxn and its kin; a `transactional.id` is answered with
TRANSACTIONAL_ID_AUTHORIZATION_FAILED, with which clients give up), ACLs, quotas, delegation tokens, SCRAM, telemetry,
share groups, and what brokers say among themselves.

Record batches are those of message format 2. Older ones (magic 0 and 1) are answered with INVALID_RECORD, which no
client tries again.
";

/// What a user should know beside the versions.
fn remark(api: KafkaApi) -> &'static str {
    match api {
        KafkaApi::Produce => {
            "0 to 2 are only named, for librdkafka (KAFKA-18659), and not taken, as in Kafka 4. One record batch or several \
             for a partition. No transactional id"
        }
        KafkaApi::Fetch => {
            "Sessions (KIP-227) are kept by connection. Nobody fetches as a replica; racks are not looked at"
        }
        KafkaApi::ListOffsets => {
            "By time, earliest, latest, largest timestamp (KIP-734). Nothing is in tiered storage"
        }
        KafkaApi::Metadata => {
            "A topic that is not there is made if `auto.create.topics.enable` and the client allow it"
        }
        KafkaApi::InitProducerId => "For idempotent producers. No transactional id",
        KafkaApi::FindCoordinator => {
            "Of groups. There are no coordinators of transactions and of share groups"
        }
        KafkaApi::DescribeGroups => {
            "Of classic groups, as in Kafka; the others by ConsumerGroupDescribe"
        }
        KafkaApi::ConsumerGroupHeartbeat => "KIP-848, with regular expressions of RE2's kind",
        KafkaApi::SaslHandshake | KafkaApi::SaslAuthenticate => {
            "Answered with ILLEGAL_SASL_STATE: there is no authentication"
        }
        KafkaApi::CreateTopics | KafkaApi::CreatePartitions => {
            "Answered when every core serves the partitions. A cluster has one broker, so replicas have one place"
        }
        KafkaApi::DescribeConfigs => {
            "Topics, and the broker with what it was started with; at most 2,000 in one request"
        }
        KafkaApi::AlterConfigs | KafkaApi::IncrementalAlterConfigs => {
            "Topics. A broker's settings do not change while it runs"
        }
        KafkaApi::DescribeLogDirs => {
            "With `kafka.shard.listeners` a node answers for its own cores. The sizes of the disk are not told"
        }
        KafkaApi::DescribeProducers => {
            "The last timestamp is when the producer wrote by the broker's clock"
        }
        KafkaApi::DescribeTopicPartitions => "At most 2,000 partitions in one answer",
        _ => "",
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for api in KafkaApi::ALL {
        let versions = api.advertised_versions();
        let (first, last) = (versions.start(), versions.end());
        let versions = match first == last {
            true => first.to_string(),
            false => format!("{first} to {last}"),
        };
        let (key, name, remark) = (api.key(), api.name(), remark(*api));
        page.push_str(&format!("| {key} | {name} | {versions} | {remark} |\n"));
    }
    page.push_str(TAIL);
    page
}

/// Set `CORELOG_TEST_REGENERATE=1` to write the page anew.
#[test]
fn the_page_of_kafkas_apis_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kafka_support.md");
    let expected = page();
    if std::env::var_os("CORELOG_TEST_REGENERATE").is_some() {
        std::fs::write(path, &expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "protocol/docs/kafka_support.md is not what the table says: run this test with \
         CORELOG_TEST_REGENERATE=1"
    );
}
