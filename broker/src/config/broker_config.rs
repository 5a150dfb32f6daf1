use std::path::PathBuf;
use std::time::Duration;

use corelog_protocol::BrokerId;

use super::table::config_table;
use super::{Allowed, Assignors, ByteSize, ConfigError, Cores, ListenAddress, Origin, TopicConfig};

/// Kafka's group times are numbers of 32 bits.
const LONGEST_GROUP_MILLIS: u64 = i32::MAX as u64;

/// With `kafka.shard.listeners`, a node's id is its broker's, times this, plus its number.
pub(crate) const KAFKA_NODES_PER_BROKER: i32 = 1024;

config_table! {
    /// Everything that a broker is told at its start. Kafka's names where Kafka has the setting.
    ///
    /// Outside the table stands `topic_defaults`: each topic setting has a broker setting (such
    /// as `log.segment.bytes` for `segment.bytes`) that gives it its default.
    #[derive(Clone, PartialEq, Debug)]
    pub struct BrokerConfig {
        /// The folder that holds everything the broker keeps. Created when missing; one broker
        /// at a time may use it.
        "data.dir" =>
            data_dir: PathBuf = PathBuf::from("corelog-data"),
            Allowed::Text("the path of a folder");

        /// Where clients connect. Port 0 picks a free port, which is printed and written to
        /// `ports.json` in the data folder.
        "listen" =>
            listen: ListenAddress = ListenAddress::new("127.0.0.1", 9190),
            Allowed::Text("HOST:PORT");

        /// The host name that clients are told to connect to. Not set: the host of `listen`.
        "advertised.host" =>
            advertised_host: Option<String> = None,
            Allowed::OptionalText("a host name or address that clients can reach");

        /// The port that clients are told to connect to. 0: the port the broker listens on.
        "advertised.port" =>
            advertised_port: u16 = 0,
            Allowed::integer(0, u16::MAX as i64);

        /// Where Kafka's clients connect. Port 0 picks a free port, which is printed and written to
        /// `ports.json` in the data folder.
        "kafka.listen" =>
            kafka_listen: Option<ListenAddress> = Some(ListenAddress::new("127.0.0.1", 9092)),
            Allowed::OptionalText("HOST:PORT; empty serves no Kafka clients");

        /// The host name that Kafka's clients are told to connect to. Not set: `advertised.host`, or else the host
        /// of `kafka.listen`.
        "kafka.advertised.host" =>
            kafka_advertised_host: Option<String> = None,
            Allowed::OptionalText("a host name or address that clients can reach");

        /// The port that Kafka's clients are told to connect to. 0: the one the broker listens on. With
        /// `kafka.shard.listeners` it is that of the first core, and the others' follow it.
        "kafka.advertised.port" =>
            kafka_advertised_port: u16 = 0,
            Allowed::integer(0, u16::MAX as i64);

        /// Shows Kafka's clients each core as a broker of its own, with a port of its own: the first has that of
        /// `kafka.listen`, the others those that follow it. A client then sends each request to the core that owns
        /// its partition.
        "kafka.shard.listeners" =>
            kafka_shard_listeners: bool = false,
            Allowed::Boolean;

        /// How many such brokers there are at most; with more cores, each stands for several. Some clients start a
        /// thread for each.
        "kafka.shard.nodes.max" =>
            kafka_shard_nodes_max: u16 = 8,
            Allowed::integer(1, KAFKA_NODES_PER_BROKER as i64);

        /// Whether a topic that Kafka's clients ask for and that is not there is created, with the defaults of
        /// this broker. Native clients create their topics themselves.
        "auto.create.topics.enable" =>
            auto_create_topics_enable: bool = true,
            Allowed::Boolean;

        /// Where `/metrics` and `/health` are served. Port 0 picks a free port.
        "http.listen" =>
            http_listen: ListenAddress = ListenAddress::new("127.0.0.1", 9191),
            Allowed::Text("HOST:PORT");

        /// The cores that run a shard each: `all`, a number of cores, or a list such as `0,2-3`.
        "cores" =>
            cores: Cores = Cores::All,
            Allowed::Text("`all`, a number from 1 to 1024, or a list such as `0,2-3`");

        /// The number of this broker in its cluster. It is fixed at the first start.
        "broker.id" =>
            broker_id: BrokerId = BrokerId::new(1),
            Allowed::integer(0, i32::MAX as i64);

        /// The cluster that the data folder must belong to. Not set: the folder's own; a new
        /// folder draws one.
        "cluster.id" =>
            cluster_id: Option<String> = None,
            Allowed::OptionalText("1 to 64 letters, digits, `_` and `-`");

        /// Partitions of a topic that is created without a number of partitions.
        "num.partitions" =>
            num_partitions: u32 = 1,
            Allowed::integer(1, 10_000);

        /// The most partitions that one topic may have.
        "topic.partitions.max" =>
            topic_partitions_max: u32 = 10_000,
            Allowed::integer(1, 100_000);

        /// The most partitions that the cluster may have.
        "partitions.max" =>
            partitions_max: u32 = 100_000,
            Allowed::integer(1, 10_000_000);

        /// The memory that one shard may use for buffers. At the bound, producers wait.
        "shard.memory.bytes" =>
            shard_memory_bytes: ByteSize = ByteSize::mib(256),
            Allowed::bytes(ByteSize::mib(16), ByteSize::gib(1024));

        /// The part of a shard's memory that is registered with the kernel for disk I/O. More of
        /// it costs start-up time: 256 MiB about half a second.
        "shard.io.memory.bytes" =>
            shard_io_memory_bytes: ByteSize = ByteSize::mib(10),
            Allowed::blocks(ByteSize::mib(1), ByteSize::gib(4));

        /// Entries of each io_uring ring of a shard.
        "shard.ring.entries" =>
            shard_ring_entries: usize = 256,
            Allowed::integer(32, 4096);

        /// How long a shard without work spins before it sleeps. Shortens the wake-up from about
        /// 70 to 17 microseconds and keeps its core busy: only where cores are spare.
        "shard.spin.us" =>
            shard_spin: Duration = Duration::ZERO,
            Allowed::Micros { min: 0, max: 1_000_000 };

        /// Messages that one shard may have under way to another. At the bound, the sender waits.
        "shard.mesh.messages" =>
            shard_mesh_messages: usize = 1024,
            Allowed::integer(16, 65_536);

        /// Commands that may wait for one partition. At the bound, the connection is read no
        /// further.
        "partition.mailbox.commands" =>
            partition_mailbox_commands: usize = 256,
            Allowed::integer(1, 65_536);

        /// Idempotent producers that the partitions of one shard remember, to tell a retry from a
        /// new record; one counts once for every partition it writes to, and takes about 150 bytes.
        /// At the bound those idle the longest are forgotten: a retry of theirs would be appended.
        "shard.producers.max" =>
            shard_producers_max: usize = 100_000,
            Allowed::integer(1_000, 1_000_000);

        /// An idempotent producer that sent a partition nothing for this long is forgotten there.
        "producer.id.expiration.ms" =>
            producer_id_expiration: Duration = Duration::from_secs(86_400),
            Allowed::millis(1, i32::MAX as u64);

        /// The size of one file of a shard's commit journal. The files are written full of zeros
        /// at the first start and then used over and over.
        "journal.file.bytes" =>
            journal_file_bytes: ByteSize = ByteSize::mib(64),
            Allowed::blocks(ByteSize::mib(4), ByteSize::gib(16));

        /// Files of a shard's commit journal.
        "journal.files" =>
            journal_files: usize = 4,
            Allowed::integer(2, 64);

        /// When one partition brings at least this many bytes to a group, its whole blocks go
        /// straight to the segment instead of through the journal. Where several partitions wait,
        /// it takes as many times as much, up to 1 MiB.
        "journal.bypass.bytes" =>
            journal_bypass_bytes: ByteSize = ByteSize::kib(64),
            Allowed::bytes(ByteSize::kib(4), ByteSize::mib(1));

        /// Whether topics with `cleanup.policy=compact` are compacted.
        "log.cleaner.enable" =>
            log_cleaner_enable: bool = true,
            Allowed::Boolean;

        /// How long a shard waits before it looks again for a log to compact when there was none.
        "log.cleaner.backoff.ms" =>
            log_cleaner_backoff: Duration = Duration::from_secs(15),
            Allowed::millis(1, 86_400_000);

        /// Memory for the keys of the logs being compacted, 24 bytes a key. The shards share it
        /// evenly, and none takes more than a quarter of `shard.memory.bytes`. What does not fit
        /// is compacted in several rounds.
        "log.cleaner.dedupe.buffer.size" =>
            log_cleaner_dedupe_buffer_size: ByteSize = ByteSize::mib(128),
            Allowed::bytes(ByteSize::mib(1), ByteSize::gib(64));

        /// How full the memory for keys may become. Fuller is slower.
        "log.cleaner.io.buffer.load.factor" =>
            log_cleaner_io_buffer_load_factor: f64 = 0.9,
            Allowed::Decimal { min: 0.1, max: 0.95 };

        /// The size of one read or write of a compaction; two of each are held in memory.
        "log.cleaner.io.buffer.size" =>
            log_cleaner_io_buffer_size: ByteSize = ByteSize::kib(512),
            Allowed::blocks(ByteSize::kib(64), ByteSize::mib(1));

        /// The most that compactions read and write in a second, together. The shards share it
        /// evenly.
        "log.cleaner.io.max.bytes.per.second" =>
            log_cleaner_io_max_bytes_per_second: Option<ByteSize> = Some(ByteSize::mib(64)),
            Allowed::bytes(ByteSize::mib(1), ByteSize::gib(1024)).or_unlimited(-1);

        /// Client connections that the broker holds at a time. Further ones are closed at once.
        "max.connections" =>
            max_connections: usize = 20_000,
            Allowed::integer(1, 1_000_000);

        /// A new connection is closed when its first frame has not arrived after this long.
        "connection.hello.timeout.ms" =>
            connection_hello_timeout: Duration = Duration::from_secs(10),
            Allowed::millis(10, 600_000);

        /// A connection is closed when a frame begun brings neither its end nor 64 KiB for this
        /// long, or when bytes that are ready for it are not taken.
        "connection.stall.timeout.ms" =>
            connection_stall_timeout: Duration = Duration::from_secs(30),
            Allowed::millis(10, 600_000);

        /// A connection without a request for this long, and without a subscription, is closed.
        "connections.max.idle.ms" =>
            connections_max_idle: Duration = Duration::from_secs(600),
            Allowed::millis(1_000, 86_400_000);

        /// How often a silent peer is probed (TCP keepalive); after three probes without an
        /// answer the connection is closed.
        "connection.keepalive.ms" =>
            connection_keepalive: Duration = Duration::from_secs(60),
            Allowed::millis(1_000, 7_200_000);

        /// Requests of one connection that may be under way. At the bound, it is read no further.
        "connection.requests.max" =>
            connection_requests_max: usize = 256,
            Allowed::integer(1, 65_536);

        /// Bytes of requests and replies of one connection that may be held in memory. At the
        /// bound, it is read no further; a single larger frame is let in alone.
        "connection.memory.bytes" =>
            connection_memory_bytes: ByteSize = ByteSize::mib(16),
            Allowed::bytes(ByteSize::kib(64), ByteSize::gib(1));

        /// Subscriptions of one connection. Further ones are refused.
        "connection.subscriptions.max" =>
            connection_subscriptions_max: usize = 4096,
            Allowed::integer(1, 65_536);

        /// The largest metadata part of a frame. A larger frame is refused before it is read.
        "frame.metadata.max.bytes" =>
            frame_metadata_max_bytes: ByteSize = ByteSize::mib(1),
            Allowed::bytes(ByteSize::kib(4), ByteSize::mib(16));

        /// The largest payload of a frame. A larger frame is refused before it is read.
        "socket.request.max.bytes" =>
            socket_request_max_bytes: ByteSize = ByteSize::mib(100),
            Allowed::bytes(ByteSize::kib(64), ByteSize::gib(1));

        /// The most bytes that one fetch is answered with; a single larger batch is sent alone.
        "fetch.max.bytes" =>
            fetch_max_bytes: ByteSize = ByteSize::mib(55),
            Allowed::bytes(ByteSize::kib(1), ByteSize::gib(1));

        /// How often each partition is looked at for segments that are too old or too many, and for
        /// an idle segment that `segment.ms` closes. The partitions are spread over this time.
        "log.retention.check.interval.ms" =>
            log_retention_check_interval: Duration = Duration::from_secs(300),
            Allowed::millis(1, 86_400_000);

        /// Partitions of `__consumer_offsets`, when the first group makes it. They share the groups
        /// out among the cores.
        "offsets.topic.num.partitions" =>
            offsets_topic_num_partitions: u32 = 50,
            Allowed::integer(1, 10_000);

        /// `segment.bytes` of `__consumer_offsets`, when the first group makes it.
        "offsets.topic.segment.bytes" =>
            offsets_topic_segment_bytes: ByteSize = ByteSize::mib(100),
            Allowed::bytes(ByteSize::mib(32), ByteSize::gib(1));

        /// How long a committed offset is kept that nobody reads on from, in minutes.
        "offsets.retention.minutes" =>
            offsets_retention_minutes: u32 = 10_080,
            Allowed::integer(1, i32::MAX as i64);

        /// How often offsets are looked through for those that expired.
        "offsets.retention.check.interval.ms" =>
            offsets_retention_check_interval: Duration = Duration::from_secs(600),
            Allowed::millis(1, 86_400_000);

        /// The longest text that may be committed with an offset.
        "offset.metadata.max.bytes" =>
            offset_metadata_max_bytes: u32 = 4096,
            Allowed::integer(0, i16::MAX as i64);

        /// A member of a consumer group that is silent for so long is fenced, and its partitions go
        /// to the others.
        "group.consumer.session.timeout.ms" =>
            group_consumer_session_timeout: Duration = Duration::from_secs(45),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// The least that `group.consumer.session.timeout.ms` may be.
        "group.consumer.min.session.timeout.ms" =>
            group_consumer_min_session_timeout: Duration = Duration::from_secs(45),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// The most that `group.consumer.session.timeout.ms` may be.
        "group.consumer.max.session.timeout.ms" =>
            group_consumer_max_session_timeout: Duration = Duration::from_secs(60),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// How often members of consumer groups are told to send a heartbeat.
        "group.consumer.heartbeat.interval.ms" =>
            group_consumer_heartbeat_interval: Duration = Duration::from_secs(5),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// The least that `group.consumer.heartbeat.interval.ms` may be.
        "group.consumer.min.heartbeat.interval.ms" =>
            group_consumer_min_heartbeat_interval: Duration = Duration::from_secs(5),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// The most that `group.consumer.heartbeat.interval.ms` may be.
        "group.consumer.max.heartbeat.interval.ms" =>
            group_consumer_max_heartbeat_interval: Duration = Duration::from_secs(15),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// The assignors that members of consumer groups may ask for. The first is used where no
        /// member asks for one.
        "group.consumer.assignors" =>
            group_consumer_assignors: Assignors = Assignors::default(),
            Allowed::Ranked(&["uniform", "range"]);

        /// Members of one consumer group. One more is refused.
        "group.consumer.max.size" =>
            group_consumer_max_size: u32 = 1000,
            Allowed::integer(1, 100_000);

        /// The shortest session time-out that a member of the classic group protocol may ask for.
        "group.min.session.timeout.ms" =>
            group_min_session_timeout: Duration = Duration::from_secs(6),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// The longest session time-out that a member of the classic group protocol may ask for.
        "group.max.session.timeout.ms" =>
            group_max_session_timeout: Duration = Duration::from_secs(1800),
            Allowed::millis(1, LONGEST_GROUP_MILLIS);

        /// How long an empty group of the classic protocol waits for more members after the first.
        /// Each that comes in time extends the wait, up to the first one's rebalance time-out.
        "group.initial.rebalance.delay.ms" =>
            group_initial_rebalance_delay: Duration = Duration::from_secs(3),
            Allowed::millis(0, LONGEST_GROUP_MILLIS);

        /// Members of one group of the classic protocol. One more is refused. What they say about
        /// themselves may take 4 MiB, however many they are.
        "group.max.size" =>
            group_max_size: u32 = i32::MAX as u32,
            Allowed::integer(1, i32::MAX as i64);

        /// Groups of one partition of `__consumer_offsets`. One more is refused.
        "group.coordinator.groups.max" =>
            group_coordinator_groups_max: u32 = 20_000,
            Allowed::integer(1, 10_000_000);

        /// The metadata log is replaced by a snapshot when it has grown by this much.
        "metadata.log.max.record.bytes.between.snapshots" =>
            metadata_snapshot_interval_bytes: ByteSize = ByteSize::mib(20),
            Allowed::bytes(ByteSize::kib(16), ByteSize::gib(1));

        /// At a stop, how long the broker waits for requests under way before it closes the
        /// connections all the same.
        "shutdown.drain.ms" =>
            shutdown_drain: Duration = Duration::from_secs(5),
            Allowed::millis(0, 600_000);
    }
    also {
        /// What a topic gets for every setting that it does not set itself.
        topic_defaults: TopicConfig = TopicConfig::default();
    }
}

impl BrokerConfig {
    /// Checks every value as if it had been read from text, and the values against each other.
    /// A configuration built in code needs this; one built by `ConfigLayers` has passed it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |error| ConfigError::Invalid {
            origin: Origin::Code,
            error,
        };
        for key in Self::KEYS {
            let text = key.get(self);
            key.set(&mut self.clone(), &text).map_err(invalid)?;
        }
        for key in TopicConfig::KEYS {
            let text = key.get(&self.topic_defaults);
            key.set(&mut self.topic_defaults.clone(), &text)
                .map_err(invalid)?;
        }
        if let Some(id) = &self.cluster_id
            && !is_cluster_id(id)
        {
            return Err(contradiction(format!(
                "`cluster.id` cannot be `{id}`: it must be 1 to 64 letters, digits, `_` and `-`"
            )));
        }
        self.topic_defaults
            .check_defaults()
            .map_err(|found| contradiction(found.to_string()))?;
        self.check_groups()?;
        if self.kafka_shard_listeners {
            let most = u64::from(i32::MAX.unsigned_abs() / KAFKA_NODES_PER_BROKER.unsigned_abs());
            let id = u64::from(self.broker_id.get().unsigned_abs());
            not_above(
                ("broker.id", id),
                (
                    "the largest with which `kafka.shard.listeners` has ids for nodes",
                    most,
                ),
            )?;
        }
        let partitions = ("topic.partitions.max", u64::from(self.topic_partitions_max));
        not_above(("num.partitions", self.num_partitions.into()), partitions)?;
        let offsets_partitions = self.offsets_topic_num_partitions.into();
        not_above(
            ("offsets.topic.num.partitions", offsets_partitions),
            partitions,
        )?;
        let request = (
            "socket.request.max.bytes",
            self.socket_request_max_bytes.get(),
        );
        let message = self.topic_defaults.max_message_bytes.get();
        not_above(("message.max.bytes", message), request)?;
        // A frame that cannot fit beside anything else would stop its shard.
        let half = self.shard_memory_bytes.get() / 2;
        not_above(request, ("half of `shard.memory.bytes`", half))
    }

    /// The times of groups lie within the bounds that are set for them.
    fn check_groups(&self) -> Result<(), ConfigError> {
        let session = (
            "group.consumer.session.timeout.ms",
            millis(self.group_consumer_session_timeout),
        );
        within(
            (
                "group.consumer.min.session.timeout.ms",
                millis(self.group_consumer_min_session_timeout),
            ),
            session,
            (
                "group.consumer.max.session.timeout.ms",
                millis(self.group_consumer_max_session_timeout),
            ),
        )?;
        let heartbeat = (
            "group.consumer.heartbeat.interval.ms",
            millis(self.group_consumer_heartbeat_interval),
        );
        within(
            (
                "group.consumer.min.heartbeat.interval.ms",
                millis(self.group_consumer_min_heartbeat_interval),
            ),
            heartbeat,
            (
                "group.consumer.max.heartbeat.interval.ms",
                millis(self.group_consumer_max_heartbeat_interval),
            ),
        )?;
        if heartbeat.1 >= session.1 {
            return Err(contradiction(format!(
                "{} ({}) must be below {} ({})",
                heartbeat.0, heartbeat.1, session.0, session.1
            )));
        }
        not_above(
            (
                "group.min.session.timeout.ms",
                millis(self.group_min_session_timeout),
            ),
            (
                "group.max.session.timeout.ms",
                millis(self.group_max_session_timeout),
            ),
        )
    }

    /// Every setting in force, as a configuration file.
    pub fn to_toml(&self) -> String {
        let broker = Self::KEYS.iter().map(|key| (key.name, key.get(self)));
        let topics = TopicConfig::KEYS
            .iter()
            .filter_map(|key| Some((key.broker_name?, key.get(&self.topic_defaults))));
        let line = |(name, value): (&str, String)| {
            let value = match value.parse() {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::String(value),
            };
            format!("{name} = {value}\n")
        };
        broker.chain(topics).map(line).collect()
    }

    /// The port that clients are told, once it is known where the broker listens.
    pub fn advertised_port(&self, listening: u16) -> u16 {
        match self.advertised_port {
            0 => listening,
            port => port,
        }
    }

    /// The host that Kafka's clients are told.
    pub fn kafka_advertised_host(&self) -> &str {
        let listening = self.kafka_listen.as_ref().map(ListenAddress::host);
        self.kafka_advertised_host
            .as_deref()
            .or(self.advertised_host.as_deref())
            .or(listening)
            .unwrap_or_default()
    }

    /// The host that clients are told.
    pub fn advertised_host(&self) -> &str {
        self.advertised_host
            .as_deref()
            .unwrap_or_else(|| self.listen.host())
    }
}

/// A setting's name, and its value or what follows from it.
type Named = (&'static str, u64);

/// `low` is at most `high`.
fn not_above(low: Named, high: Named) -> Result<(), ConfigError> {
    if low.1 <= high.1 {
        return Ok(());
    }
    Err(contradiction(format!(
        "{} ({}) must not be above {} ({})",
        low.0, low.1, high.0, high.1
    )))
}

/// `value` is at least `min` and at most `max`, and those agree.
fn within(min: Named, value: Named, max: Named) -> Result<(), ConfigError> {
    not_above(min, max)?;
    if (min.1..=max.1).contains(&value.1) {
        return Ok(());
    }
    Err(contradiction(format!(
        "{} ({}) must lie between {} ({}) and {} ({})",
        value.0, value.1, min.0, min.1, max.0, max.1
    )))
}

fn contradiction(what: String) -> ConfigError {
    ConfigError::Contradiction { what }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What Kafka's own generated ids look like, and anything a person would choose.
pub(crate) fn is_cluster_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
