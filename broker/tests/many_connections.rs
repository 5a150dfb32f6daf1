//! Thousands of connections at a time, and what one more than allowed is told.

use corelog_broker::runtime::raise_open_files_limit;
use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::{KafkaApi, messages as kafka};
use corelog_protocol::native::ApiVersionsRequest;
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder, Stranger, batch_of, frame, until};
use crate::kafka::KafkaClient;

/// What an idle connection may cost the broker, kernel memory not included. Measured: 9 KiB in a
/// build for tests.
const IDLE_BYTES: u64 = 32 * 1024;

/// A connection that does nothing for long.
trait Idle {
    fn open(broker: &BrokerProcess) -> Self;

    fn assert_usable(&mut self);
}

impl Idle for Stranger {
    fn open(broker: &BrokerProcess) -> Self {
        Self::greeted(broker.native())
    }

    fn assert_usable(&mut self) {
        self.send(&frame(3, &ApiVersionsRequest {}, &[]));
        assert_eq!(self.receive().unwrap().header.correlation_id, 3);
    }
}

impl Idle for KafkaClient {
    fn open(broker: &BrokerProcess) -> Self {
        let mut client = Self::connect(broker.kafka());
        client.assert_usable();
        client
    }

    fn assert_usable(&mut self) {
        self.ask(
            KafkaApi::ApiVersions,
            3,
            &kafka::ApiVersionsRequest {
                client_software_name: "a-test",
                client_software_version: "1",
            },
        );
    }
}

/// Opens connections until this many are there, and has an honest client work all the while.
fn hold_connections<C: Idle>(count: usize) {
    raise_open_files_limit().unwrap();
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("crowd", 2));
    let mut produce = |round: i64| {
        for partition in 0..2 {
            let answer = client.produce(topic_id, partition, &batch_of(["still here"]));
            assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
            assert_eq!(answer.base_offset.get(), round);
        }
    };
    produce(0);
    let memory_before = broker.resident_bytes();
    let mut crowd = Vec::with_capacity(count);
    for number in 0..count {
        crowd.push(C::open(&broker));
        if number % 500 == 0 {
            produce(number as i64 / 500 + 1);
        }
    }
    let rounds = count.div_ceil(500) as i64;
    assert_eq!(
        broker.metrics().total("corelog_connections"),
        count as f64 + 1.0
    );
    let memory = broker.resident_bytes().saturating_sub(memory_before) / count as u64;
    assert!(
        memory <= IDLE_BYTES,
        "{memory} bytes for each idle connection"
    );
    produce(rounds + 1);
    // They are not only held: each can still be used.
    crowd.iter_mut().step_by(97).for_each(C::assert_usable);
    drop(crowd);
    until(|| broker.metrics().total("corelog_connections") == 1.0);
    produce(rounds + 2);
    assert!(broker.stop().success());
}

#[test]
fn two_thousand_connections_are_held_and_harm_nobody() {
    hold_connections::<Stranger>(2_000);
    hold_connections::<KafkaClient>(2_000);
}

/// Takes `CORELOG_TEST_MANY_CONNECTIONS=1`, which CI sets, and a limit of 14,000 open files: the
/// tests beside it hold connections of their own.
#[test]
fn ten_thousand_connections_are_held_and_harm_nobody() {
    if std::env::var_os("CORELOG_TEST_MANY_CONNECTIONS").is_none() {
        println!("skipped: CORELOG_TEST_MANY_CONNECTIONS is not set");
        return;
    }
    hold_connections::<Stranger>(10_000);
    hold_connections::<KafkaClient>(10_000);
}

#[test]
fn one_connection_too_many_is_told_and_closed_and_a_freed_place_is_given_again() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 2, "max.connections = 4\n");
    let mut client = broker.connect();
    let topic_id = client.create_topic(NewTopicBuilder::new("full-house", 1));
    let mut others: Vec<_> = (0..3).map(|_| Stranger::greeted(broker.native())).collect();
    let mut refused = Stranger::connect(broker.native());
    let (error, _) = refused.error();
    assert_eq!(error.code, ErrorCode::ThrottlingQuotaExceeded);
    assert!(error.message.contains('4'), "{}", error.message);
    refused.assert_closed();
    drop(refused);
    assert_eq!(
        client.produce(topic_id, 0, &batch_of(["in"])).error,
        ErrorCode::None
    );
    let label = "reason=\"max_connections\"";
    let rejected = || {
        broker
            .metrics()
            .sum_or_zero("corelog_connections_rejected_total", label)
    };
    assert!(rejected() >= 1.0);

    drop(others.pop());
    until(|| broker.metrics().total("corelog_connections") == 3.0);
    Stranger::greeted(broker.native());
}
