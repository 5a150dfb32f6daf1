//! Fetch sessions (KIP-227): after the first fetch a client says, and is told, only what is new.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use corelog_protocol::kafka::messages::{FetchRequest, FetchResponse};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage, Records};
use tempfile::TempDir;

use super::KafkaClient;
use crate::harness::{BrokerProcess, batch_of};

const VERSION: i16 = 12;

/// What a fetch within a session brought: error, session, and which topics with how many bytes.
type Told = (i16, i32, Vec<(String, usize)>);

fn fetch(
    client: &mut KafkaClient,
    session: i32,
    epoch: i32,
    topics: &[(&str, i64)],
    forget: &[&str],
) -> Told {
    let topics = topics.iter().map(|&(topic, fetch_offset)| FetchTopic {
        topic,
        partitions: vec![FetchPartition {
            fetch_offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        }],
        ..Default::default()
    });
    let forgotten = forget.iter().map(|topic| ForgottenTopic {
        topic,
        partitions: vec![0],
        ..Default::default()
    });
    let request = FetchRequest {
        session_id: session,
        session_epoch: epoch,
        topics: topics.collect(),
        forgotten_topics_data: forgotten.collect(),
        ..Default::default()
    };
    let body = client.ask(KafkaApi::Fetch, VERSION, &request);
    let response = FetchResponse::decode(&body, VERSION).unwrap();
    let told = response.responses.iter().map(|topic| {
        let Records::Here(records) = topic.partitions[0].records else {
            panic!("records are here when they were read");
        };
        (topic.topic.to_owned(), records.len())
    });
    (response.error_code, response.session_id, told.collect())
}

#[test]
fn a_session_tells_only_what_is_new() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    for topic in ["a", "b"] {
        client.topic(topic);
    }
    let batch = batch_of(["value"]);
    let size = batch.len();
    client.produce(-1, "a", &batch);
    let (error, session, told) = fetch(&mut client, 0, 0, &[("a", 0), ("b", 0)], &[]);
    assert_eq!((error, session != 0), (0, true));
    assert_eq!(told, [("a".to_owned(), size), ("b".to_owned(), 0)]);
    // Only `a` moves on; `b` has nothing.
    let told = fetch(&mut client, session, 1, &[("a", 1)], &[]);
    assert_eq!(told, (0, session, vec![]));
    client.produce(-1, "b", &batch);
    let told = fetch(&mut client, session, 2, &[], &[]);
    assert_eq!(told, (0, session, vec![("b".to_owned(), size)]));
    // What is forgotten is not told of any more.
    let told = fetch(&mut client, session, 3, &[], &["b"]);
    assert_eq!(told, (0, session, vec![]));
}

#[test]
fn a_step_that_is_out_of_turn_is_refused() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut client = KafkaClient::connect(broker.kafka());
    client.topic("a");
    let (_, session, _) = fetch(&mut client, 0, 0, &[("a", 0)], &[]);
    let (error, ..) = fetch(&mut client, session, 5, &[], &[]);
    assert_eq!(error, ErrorCode::InvalidFetchSessionEpoch.code());
    let (error, ..) = fetch(&mut client, session + 1, 1, &[], &[]);
    assert_eq!(error, ErrorCode::FetchSessionIdNotFound.code());
    // Sessions are their connection's.
    let mut other = KafkaClient::connect(broker.kafka());
    let (error, ..) = fetch(&mut other, session, 1, &[], &[]);
    assert_eq!(error, ErrorCode::FetchSessionIdNotFound.code());
    let (error, ended, _) = fetch(&mut client, session, -1, &[("a", 0)], &[]);
    assert_eq!((error, ended), (0, 0));
    let (error, ..) = fetch(&mut client, session, 1, &[], &[]);
    assert_eq!(error, ErrorCode::FetchSessionIdNotFound.code());
}
