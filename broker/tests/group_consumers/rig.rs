//! A broker with fast groups, and members that are polled in turn.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelog_client::{
    Admin, ClientConfig, GroupConsumer, GroupError, Listening, PartitionIndex, Rebalance,
    RebalanceListener, TopicPartition,
};
use corelog_protocol::native::{DescribeGroupsRequest, DescribeGroupsResponse, GroupDescription};
use corelog_protocol::{ErrorCode, TopicId};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, Metrics, NewTopicBuilder, batch_of};

/// How long one poll waits: short, so that many members can be polled in turn by one task.
const TURN: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

const SETTINGS: &str = "
    offsets.topic.num.partitions = 4
    group.consumer.heartbeat.interval.ms = 30
    group.consumer.min.heartbeat.interval.ms = 30
    group.consumer.session.timeout.ms = 1500
    group.consumer.min.session.timeout.ms = 1500
";

/// A broker that can be killed and started again at the same address.
pub(super) struct Rig {
    folder: TempDir,
    broker: Option<BrokerProcess>,
    address: SocketAddr,
}

impl Rig {
    pub(super) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a broker with further settings.
    pub(super) fn start_with(settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let settings = format!("{SETTINGS}{settings}");
        std::fs::write(folder.path().join("settings.toml"), settings).unwrap();
        let mut rig = Self {
            folder,
            broker: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        rig.start_broker();
        rig
    }

    pub(super) fn start_broker(&mut self) {
        let settings = self.folder.path().join("settings.toml");
        let options = [
            "--config",
            settings.to_str().expect("test folders have plain names"),
            "--listen",
            &self.address.to_string(),
        ];
        let data = self.folder.path().join("data");
        let broker = BrokerProcess::try_start(&data, 2, &options).unwrap();
        self.address = broker.native();
        self.broker = Some(broker);
    }

    pub(super) fn kill_broker(&mut self) {
        self.broker.take().expect("it runs").kill();
    }

    pub(super) fn connect(&self) -> Connection {
        self.broker.as_ref().expect("it runs").connect()
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.broker.as_ref().expect("it runs").metrics()
    }

    pub(super) fn create(&self, topic: &str, partitions: i32) -> TopicId {
        self.connect()
            .create_topic(NewTopicBuilder::new(topic, partitions))
    }

    /// Appends records, each a batch of its own.
    pub(super) fn fill(&self, topic: TopicId, partitions: std::ops::Range<i32>, records: usize) {
        let mut connection = self.connect();
        for partition in partitions {
            for number in 0..records {
                let text = format!("{partition}: {number}");
                let answer = connection.produce(topic, partition, &batch_of([text.as_str()]));
                assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
            }
        }
    }

    pub(super) fn config(&self, group: &str) -> ClientConfig {
        ClientConfig::new()
            .set("bootstrap.servers", self.address)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("auto.commit.interval.ms", 20)
            .set("retry.backoff.ms", 5)
            .set("retry.backoff.max.ms", 20)
            .set("reconnect.backoff.ms", 5)
            .set("reconnect.backoff.max.ms", 20)
    }

    pub(super) async fn admin(&self) -> Admin {
        let config = ClientConfig::new().set("bootstrap.servers", self.address);
        Admin::new(&config).await.unwrap()
    }

    /// The group as an administrator sees it.
    pub(super) fn describe(&self, group: &str) -> GroupDescription {
        let described: DescribeGroupsResponse = self.connect().ask(&DescribeGroupsRequest {
            groups: vec![group.to_owned()],
        });
        described.groups.into_iter().next().unwrap()
    }

    /// A member that has subscribed to the topic.
    pub(super) async fn member(&self, group: &str, topic: &str) -> Reader {
        Reader::subscribed(&self.config(group), topic).await
    }
}

pub(super) fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(topic, PartitionIndex::new(index))
}

/// A member and what it has read.
pub(super) struct Reader {
    pub(super) consumer: GroupConsumer,
    /// Topic-partition and offset of each record, in the order of reading.
    pub(super) read: Vec<(String, i64)>,
    pub(super) errors: Vec<GroupError>,
    pub(super) heard: Heard,
}

impl Reader {
    pub(super) async fn new(config: &ClientConfig) -> Self {
        let mut consumer = GroupConsumer::new(config).await.unwrap();
        let heard = Heard::default();
        consumer.set_rebalance_listener(heard.clone());
        Self {
            consumer,
            read: Vec::new(),
            errors: Vec::new(),
            heard,
        }
    }

    pub(super) async fn subscribed(config: &ClientConfig, topic: &str) -> Self {
        let mut reader = Self::new(config).await;
        reader.consumer.subscribe([topic]).unwrap();
        reader
    }

    pub(super) async fn turn(&mut self) {
        match self.consumer.poll(TURN).await {
            Ok(records) => self.read.extend(records.iter().map(|record| {
                let partition = format!("{}-{}", record.topic, record.partition);
                (partition, record.offset.get())
            })),
            Err(error) => self.errors.push(error),
        }
    }

    /// Polls until `wanted`.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(
                Instant::now() < deadline,
                "read {:?}, heard {:?}, errors {:?}",
                self.read,
                self.heard.all(),
                self.errors
            );
            self.turn().await;
        }
    }

    pub(super) fn assigned(&self) -> Vec<String> {
        let assignment = self.consumer.assignment();
        assignment.iter().map(ToString::to_string).collect()
    }

    /// The offsets read of one partition, in order.
    pub(super) fn offsets(&self, partition: &str) -> Vec<i64> {
        let mine = self.read.iter().filter(|(name, _)| name == partition);
        mine.map(|(_, offset)| *offset).collect()
    }
}

/// Polls all members in turn until `wanted`.
pub(super) async fn until(readers: &mut [Reader], wanted: impl Fn(&[Reader]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(readers) {
        assert!(
            Instant::now() < deadline,
            "assigned: {:?}, errors: {:?}",
            readers.iter().map(Reader::assigned).collect::<Vec<_>>(),
            readers.iter().map(|it| &it.errors).collect::<Vec<_>>()
        );
        for reader in readers.iter_mut() {
            reader.turn().await;
        }
    }
}

/// How many partitions of one topic each member has, fewest first; none while one is another's as well, or nobody's.
pub(super) fn shares(readers: &[Reader], partitions: usize) -> Option<Vec<usize>> {
    let all: Vec<String> = readers.iter().flat_map(Reader::assigned).collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    if all.len() != partitions || distinct.len() != partitions {
        return None;
    }
    let mut shares: Vec<usize> = readers.iter().map(|it| it.assigned().len()).collect();
    shares.sort_unstable();
    Some(shares)
}

/// The offset of a partition of `orders` that the reader's group has committed.
pub(super) async fn committed(reader: &Reader, index: i32) -> Option<i64> {
    let name = partition("orders", index);
    let found = reader.consumer.committed(std::slice::from_ref(&name)).await;
    let found = found.unwrap();
    found[&name].as_ref().map(|it| it.offset.get())
}

/// A listener that writes everything down.
#[derive(Clone, Default)]
pub(super) struct Heard {
    events: Arc<Mutex<Vec<String>>>,
}

impl Heard {
    pub(super) fn all(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn clear(&self) {
        self.events.lock().unwrap().clear();
    }

    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        let event = format!("{what} {}", names.join(" "));
        self.events.lock().unwrap().push(event);
    }
}

impl RebalanceListener for Heard {
    fn assigned<'a>(
        &'a mut self,
        _: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        self.note("assigned", partitions);
        Box::pin(std::future::ready(()))
    }

    fn revoked<'a>(
        &'a mut self,
        _: Rebalance<'a>,
        partitions: &'a [TopicPartition],
    ) -> Listening<'a> {
        self.note("revoked", partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Listening<'a> {
        self.note("lost", partitions);
        Box::pin(std::future::ready(()))
    }
}
