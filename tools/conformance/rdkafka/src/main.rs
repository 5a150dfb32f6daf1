//! The crate `rdkafka`: librdkafka as Rust programs use it.

mod checks;
mod members;

use std::time::{Duration, Instant};

use checks::{Failure, Outcome, bootstrap, eventually, nodes, run, unique};
use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::util::get_rdkafka_version;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

const TIME: Duration = Duration::from_secs(20);
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn main() {
    let (_, librdkafka) = get_rdkafka_version();
    run(
        &format!("0.39.0 (librdkafka {librdkafka})"),
        &[
            ("metadata", metadata),
            ("round-trip-of-every-codec", || {
                round_trip_of_every_codec(&[])
            }),
            ("round-trip-of-every-codec-with-idempotence", || {
                round_trip_of_every_codec(&[
                    ("enable.idempotence", "true"),
                    ("batch.num.messages", "20"),
                ])
            }),
            ("every-level-of-acks", every_level_of_acks),
            ("threaded-producer", threaded_producer),
            ("seek-and-pause", seek_and_pause),
            (
                "offsets-for-times-and-watermarks",
                offsets_for_times_and_watermarks,
            ),
            ("commits-and-lag", commits_and_lag),
            ("two-share-and-one-leaves", || {
                members::two_share_and_one_leaves(&[])
            }),
            ("two-share-and-one-leaves-with-cooperative-sticky", || {
                members::two_share_and_one_leaves(&[(
                    "partition.assignment.strategy",
                    "cooperative-sticky",
                )])
            }),
            ("static-member", members::static_member),
            ("admin-topics", admin_topics),
            ("admin-configs", admin_configs),
            ("admin-groups", admin_groups),
            ("admin-delete-records", admin_delete_records),
            ("transactions", transactions),
        ],
    )
}

pub(crate) fn config(of: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap());
    config.extend(
        of.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    config
}

fn admin() -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    config(&[]).create()
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(TIME))
        .request_timeout(Some(TIME))
}

fn create(topic: NewTopic<'_>) -> Result<(), Failure> {
    let results = block_on(admin()?.create_topics([&topic], &options()))?;
    results.into_iter().try_for_each(topic_result)
}

fn topic_result(result: TopicResult) -> Result<(), Failure> {
    match result {
        Ok(_) => Ok(()),
        Err((_, code)) => Err(Failure(format!("{code:?}"))),
    }
}

/// The name of the error of the only topic of the answer.
fn refusal(results: Result<Vec<TopicResult>, KafkaError>) -> String {
    match results.map(|mut results| results.pop()) {
        Ok(Some(Err((_, code)))) => format!("{code:?}"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn new_topic(what: &str, partitions: i32) -> Result<String, Failure> {
    let name = unique(what);
    create(NewTopic::new(&name, partitions, TopicReplication::Fixed(1)))?;
    Ok(name)
}

#[derive(Clone, Debug, PartialEq)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: i64,
}

/// Records that compress, with everything in them that a record can have.
fn sample_records(count: i64) -> Vec<Record> {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_millis() as i64;
    // Old enough to be no wall clock of the broker's, young enough for no retention to delete it.
    let start = now - 3_600_000;
    (0..count)
        .map(|i| Record {
            key: (i % 5 != 1).then(|| format!("schlüssel {i}").into_bytes()),
            value: (i % 5 != 2).then(|| format!("value {i} ").repeat(20).into_bytes()),
            headers: if i % 5 == 3 {
                Vec::new()
            } else {
                vec![
                    ("again".to_owned(), Some(vec![0, 255])),
                    ("again".to_owned(), None),
                    (i.to_string(), Some(vec![])),
                ]
            },
            timestamp: start + i,
        })
        .collect()
}

/// Keeps how each record's delivery ended.
#[derive(Default)]
struct Deliveries(std::sync::Mutex<Vec<Result<i64, KafkaError>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let end = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().expect("nothing panics with it").push(end);
    }
}

/// Sends the records to one partition and returns their offsets.
fn send(
    topic: &str,
    records: &[Record],
    partition: i32,
    of: &[(&str, &str)],
) -> Result<Vec<i64>, Failure> {
    let producer: BaseProducer<Deliveries> = config(of)
        .set("linger.ms", "20")
        .create_with_context(Deliveries::default())?;
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_ref(),
            });
        }
        let mut message = BaseRecord::<Vec<u8>, Vec<u8>>::to(topic)
            .partition(partition)
            .headers(headers)
            .timestamp(record.timestamp);
        message.key = record.key.as_ref();
        message.payload = record.value.as_ref();
        producer.send(message).map_err(|(error, _)| error)?;
    }
    producer.flush(TIME)?;
    let mut ends = producer.context().0.lock().expect("nothing panics with it");
    Ok(ends.drain(..).collect::<Result<_, _>>()?)
}

pub(crate) fn send_values(topic: &str, values: &[String], partition: i32) -> Result<(), Failure> {
    let records: Vec<_> = values
        .iter()
        .map(|value| Record {
            key: None,
            value: Some(value.clone().into_bytes()),
            headers: Vec::new(),
            timestamp: 0,
        })
        .collect();
    send(topic, &records, partition, &[]).map(drop)
}

fn new_consumer(of: &[(&str, &str)]) -> Result<BaseConsumer, KafkaError> {
    let group = unique("none");
    let defaults = [
        ("group.id", group.as_str()),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    config(&[&defaults, of].concat()).create()
}

/// The next `count` messages.
fn poll(consumer: &BaseConsumer, count: usize) -> Result<Vec<OwnedMessage>, Failure> {
    let (mut found, deadline) = (Vec::new(), Instant::now() + TIME);
    while found.len() < count && Instant::now() < deadline {
        if let Some(message) = consumer.poll(Duration::from_millis(500)) {
            found.push(message?.detach());
        }
    }
    equal!(found.len(), count);
    Ok(found)
}

fn one(topic: &str, partition: i32, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset)?;
    Ok(list)
}

fn read(topic: &str, count: usize, of: &[(&str, &str)]) -> Result<Vec<OwnedMessage>, Failure> {
    let consumer = new_consumer(of)?;
    consumer.assign(&one(topic, 0, Offset::Beginning)?)?;
    poll(&consumer, count)
}

fn as_record(message: &OwnedMessage) -> Record {
    Record {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message
            .headers()
            .map(|headers| {
                headers
                    .iter()
                    .map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec)))
                    .collect()
            })
            .unwrap_or_default(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
    }
}

fn offsets(messages: &[OwnedMessage]) -> Vec<i64> {
    messages.iter().map(Message::offset).collect()
}

fn metadata() -> Outcome {
    let topic = new_topic("metadata", 3)?;
    let consumer = new_consumer(&[])?;
    let metadata = consumer.fetch_metadata(Some(&topic), TIME)?;
    let brokers: Vec<i32> = metadata
        .brokers()
        .iter()
        .map(|broker| broker.id())
        .collect();
    equal!(brokers.len(), nodes());
    let partitions = metadata.topics()[0].partitions();
    equal!(partitions.len(), 3);
    for partition in partitions {
        equal!(brokers.contains(&partition.leader()), true);
        equal!(partition.isr().contains(&partition.leader()), true);
    }
    Ok(format!("{} node(s)", brokers.len()))
}

fn round_trip_of_every_codec(of: &[(&str, &str)]) -> Outcome {
    for codec in CODECS {
        let (topic, records) = (new_topic(codec, 1)?, sample_records(300));
        let sent = send(
            &topic,
            &records,
            0,
            &[of, &[("compression.type", codec)]].concat(),
        )?;
        equal!(sent, (0..300).collect::<Vec<_>>());
        let found = read(&topic, 300, &[])?;
        for (found, sent) in found.iter().map(as_record).zip(records) {
            equal!(found, sent);
        }
    }
    Ok(String::new())
}

fn every_level_of_acks() -> Outcome {
    let topic = new_topic("acks", 1)?;
    for acks in ["1", "all", "0"] {
        send(&topic, &sample_records(10), 0, &[("acks", acks)])?;
    }
    // Nobody answers a record with acks=0: only reading shows that it came.
    read(&topic, 30, &[])?;
    Ok(String::new())
}

fn threaded_producer() -> Outcome {
    let topic = new_topic("threaded", 1)?;
    let producer: ThreadedProducer<Deliveries> =
        config(&[("enable.idempotence", "true"), ("linger.ms", "5")])
            .create_with_context(Deliveries::default())?;
    for i in 0..2000 {
        let value = format!("value {i}");
        producer
            .send(BaseRecord::<(), _>::to(&topic).payload(&value))
            .map_err(|(error, _)| error)?;
    }
    producer.flush(TIME)?;
    let found = read(&topic, 2000, &[])?;
    for (i, message) in found.iter().enumerate() {
        equal!(
            message.payload().map(<[u8]>::to_vec),
            Some(format!("value {i}").into_bytes())
        );
    }
    Ok(String::new())
}

fn seek_and_pause() -> Outcome {
    let topic = new_topic("seek", 1)?;
    send(&topic, &sample_records(100), 0, &[])?;
    let consumer = new_consumer(&[])?;
    let here = one(&topic, 0, Offset::Invalid)?;
    consumer.assign(&one(&topic, 0, Offset::Offset(90))?)?;
    equal!(
        offsets(&poll(&consumer, 10)?),
        (90..100).collect::<Vec<_>>()
    );
    consumer.seek(&topic, 0, Offset::Offset(42), TIME)?;
    equal!(offsets(&poll(&consumer, 3)?), [42, 43, 44]);
    consumer.pause(&here)?;
    send(&topic, &sample_records(1), 0, &[])?;
    equal!(consumer.poll(Duration::from_millis(1500)).is_none(), true);
    consumer.resume(&here)?;
    equal!(
        offsets(&poll(&consumer, 56)?),
        (45..101).collect::<Vec<_>>()
    );
    Ok(String::new())
}

fn offsets_for_times_and_watermarks() -> Outcome {
    let (topic, records) = (new_topic("times", 1)?, sample_records(100));
    send(&topic, &records, 0, &[])?;
    let consumer = new_consumer(&[])?;
    equal!(consumer.fetch_watermarks(&topic, 0, TIME)?, (0, 100));
    let at = |timestamp| -> Result<Offset, Failure> {
        let found = consumer.offsets_for_times(one(&topic, 0, Offset::Offset(timestamp))?, TIME)?;
        Ok(found.elements()[0].offset())
    };
    for i in [0, 3, 99] {
        equal!(at(records[i].timestamp)?, Offset::Offset(i as i64));
    }
    equal!(at(records[0].timestamp - 1000)?, Offset::Offset(0));
    equal!(at(records[99].timestamp + 1)?, Offset::End);
    Ok(String::new())
}

fn commits_and_lag() -> Outcome {
    let (topic, group) = (new_topic("commits", 2)?, unique("commits"));
    for partition in [0, 1] {
        send(&topic, &sample_records(50), partition, &[])?;
    }
    let consumer = new_consumer(&[("group.id", &group)])?;
    consumer.subscribe(&[&topic])?;
    poll(&consumer, 100)?;
    let mut places = one(&topic, 0, Offset::Offset(50))?;
    places.add_partition_offset(&topic, 1, Offset::Offset(20))?;
    consumer.commit(&places, CommitMode::Sync)?;
    let mut lags = Vec::new();
    for place in consumer.committed(TIME)?.elements() {
        let (_, end) = consumer.fetch_watermarks(&topic, place.partition(), TIME)?;
        lags.push(end - place.offset().to_raw().unwrap_or(-1));
    }
    equal!(lags, [0, 30]);
    drop(consumer);
    // Another member goes on where the first one stopped.
    let consumer = new_consumer(&[("group.id", &group)])?;
    consumer.subscribe(&[&topic])?;
    let found: Vec<_> = poll(&consumer, 30)?
        .iter()
        .map(|it| (it.partition(), it.offset()))
        .collect();
    equal!(
        found,
        (20..50).map(|offset| (1, offset)).collect::<Vec<_>>()
    );
    Ok(String::new())
}

fn admin_topics() -> Outcome {
    let (admin, topic) = (admin()?, new_topic("admin", 2)?);
    let create = |name: &str, replicas| {
        refusal(block_on(admin.create_topics(
            [&NewTopic::new(name, 1, TopicReplication::Fixed(replicas))],
            &options(),
        )))
    };
    equal!(create(&topic, 1), "TopicAlreadyExists");
    equal!(create("no topic's name", 1), "InvalidTopic");
    equal!(create(&unique("replicas"), 3), "InvalidReplicationFactor");
    let enlarge =
        |total| block_on(admin.create_partitions([&NewPartitions::new(&topic, total)], &options()));
    enlarge(5)?.into_iter().try_for_each(topic_result)?;
    let consumer = new_consumer(&[])?;
    equal!(
        consumer.fetch_metadata(Some(&topic), TIME)?.topics()[0]
            .partitions()
            .len(),
        5
    );
    equal!(refusal(enlarge(3)), "InvalidPartitions");
    let delete = || block_on(admin.delete_topics(&[&topic], &options()));
    delete()?.into_iter().try_for_each(topic_result)?;
    eventually("the topic is gone", || {
        let listed = consumer.fetch_metadata(None, TIME)?;
        Ok((!listed.topics().iter().any(|it| it.name() == topic)).then_some(()))
    })?;
    equal!(refusal(delete()), "UnknownTopicOrPartition");
    Ok(String::new())
}

fn admin_configs() -> Outcome {
    let (admin, topic) = (admin()?, unique("configs"));
    create(NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("retention.ms", "7200000"))?;
    let value = |name| -> Result<(Option<String>, bool), Failure> {
        let results =
            block_on(admin.describe_configs([&ResourceSpecifier::Topic(&topic)], &options()))?;
        let resource = results.into_iter().next().ok_or("no answer")??;
        let entry = resource.get(name).ok_or("no such setting")?;
        Ok((entry.value.clone(), entry.is_default))
    };
    equal!(value("retention.ms")?, (Some("7200000".to_owned()), false));
    equal!(value("segment.bytes")?.1, true);
    let alter = |name, value| {
        let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(name, value);
        block_on(admin.alter_configs([&change], &options()))
    };
    // Kafka's older call replaces all settings: what is not named goes back to its default.
    equal!(
        alter("segment.bytes", "20971520")?
            .iter()
            .all(Result::is_ok),
        true
    );
    equal!(
        value("segment.bytes")?,
        (Some("20971520".to_owned()), false)
    );
    equal!(value("retention.ms")?.1, true);
    // The crate gives no error of a single resource: only asking again shows that this was refused.
    alter("retention.ms", "long")?;
    equal!(
        value("segment.bytes")?,
        (Some("20971520".to_owned()), false)
    );
    Ok(String::new())
}

fn admin_groups() -> Outcome {
    let (admin, topic, group) = (admin()?, new_topic("groups", 1)?, unique("groups"));
    send(&topic, &sample_records(20), 0, &[])?;
    let consumer = new_consumer(&[("group.id", &group), ("client.id", "somebody")])?;
    consumer.subscribe(&[&topic])?;
    poll(&consumer, 20)?;
    consumer.commit_consumer_state(CommitMode::Sync)?;
    let listing = new_consumer(&[])?;
    let described = || -> Result<(String, Vec<String>), Failure> {
        let listed = listing.fetch_group_list(Some(&group), TIME)?;
        let found = listed.groups().first().ok_or("no such group")?;
        Ok((
            found.state().to_owned(),
            found
                .members()
                .iter()
                .map(|it| it.client_id().to_owned())
                .collect(),
        ))
    };
    equal!(
        described()?,
        ("Stable".to_owned(), vec!["somebody".to_owned()])
    );
    let listed = listing.fetch_group_list(None, TIME)?;
    equal!(
        listed
            .groups()
            .iter()
            .any(|it| it.name() == group && it.protocol_type() == "consumer"),
        true
    );
    let delete = || block_on(admin.delete_groups(&[&group], &options()));
    equal!(refusal(delete()), "NonEmptyGroup");
    drop(consumer);
    eventually("the group is empty", || {
        Ok((described()? == ("Empty".to_owned(), vec![])).then_some(()))
    })?;
    delete()?.into_iter().try_for_each(topic_result)?;
    let listed = listing.fetch_group_list(None, TIME)?;
    equal!(listed.groups().iter().any(|it| it.name() == group), false);
    Ok(String::new())
}

fn admin_delete_records() -> Outcome {
    let (admin, topic) = (admin()?, new_topic("delete", 1)?);
    send(&topic, &sample_records(50), 0, &[])?;
    let delete = |offset| -> Result<(Offset, Result<(), KafkaError>), Failure> {
        let result =
            block_on(admin.delete_records(&one(&topic, 0, Offset::Offset(offset))?, &options()))?;
        let elements = result.elements();
        Ok((elements[0].offset(), elements[0].error()))
    };
    equal!(delete(30)?.0, Offset::Offset(30));
    equal!(
        offsets(&read(&topic, 20, &[])?),
        (30..50).collect::<Vec<_>>()
    );
    equal!(
        delete(1000)?.1.map_err(|error| error.rdkafka_error_code()),
        Err(Some(RDKafkaErrorCode::OffsetOutOfRange))
    );
    Ok(String::new())
}

fn transactions() -> Outcome {
    let topic = new_topic("transactions", 1)?;
    let id = unique("transactional");
    let producer: BaseProducer = config(&[("transactional.id", &id)]).create()?;
    match producer.init_transactions(TIME) {
        // A retriable error would have the program try for ever.
        Err(KafkaError::Transaction(error)) if error.is_fatal() && !error.is_retriable() => {
            return Ok(format!("refused for good: {:?}", error.code()));
        }
        other => other?,
    }
    for (value, commit) in [("kept", true), ("dropped", false), ("last", true)] {
        producer.begin_transaction()?;
        producer
            .send(BaseRecord::<(), _>::to(&topic).payload(value))
            .map_err(|(error, _)| error)?;
        producer.flush(TIME)?;
        if commit {
            producer.commit_transaction(TIME)?;
        } else {
            producer.abort_transaction(TIME)?;
        }
    }
    let found = read(&topic, 2, &[("isolation.level", "read_committed")])?;
    let values: Vec<_> = found
        .iter()
        .map(|it| String::from_utf8_lossy(it.payload().unwrap_or_default()).into_owned())
        .collect();
    equal!(values, ["kept", "last"]);
    Ok(String::new())
}
