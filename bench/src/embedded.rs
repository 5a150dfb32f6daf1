//! A broker inside this process: the only file that knows the broker crate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use corelog_broker::broker::Broker;
use corelog_broker::config::{BrokerConfig, Cores, ListenAddress};

use crate::broker_metrics::Samples;
use crate::report::BrokerFigures;

/// Batches from this size on go straight to the segment, smaller ones through
/// the journal. Several small ones of one group may bypass it as well, which
/// the bare loop leaves out to its own advantage; where many partitions wait
/// the broker asks for more, and the bare loop pays for the segment alone.
pub(crate) fn journal_bypass_bytes() -> usize {
    BrokerConfig::default().journal_bypass_bytes.as_usize()
}

/// A session time-out within which a run notices that a consumer has crashed.
const SHORT_SESSION: Duration = Duration::from_secs(4);

/// How a broker is started.
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    pub(crate) cores: Vec<usize>,
    /// 0: a free one.
    pub(crate) port: u16,
    /// Consumers that fall silent are taken for dead soon.
    pub(crate) short_sessions: bool,
}

impl Options {
    pub(crate) fn new(data_dir: PathBuf, cores: Vec<usize>) -> Self {
        Self {
            data_dir,
            cores,
            port: 0,
            short_sessions: false,
        }
    }
}

pub(crate) struct Embedded {
    broker: Broker,
    servers: String,
    http: SocketAddr,
}

impl Embedded {
    /// Starts a broker with default settings, apart from these.
    pub(crate) fn start(options: Options) -> Result<Self> {
        let mut config = BrokerConfig {
            data_dir: options.data_dir,
            listen: ListenAddress::new("127.0.0.1", options.port),
            kafka_listen: None,
            http_listen: ListenAddress::new("127.0.0.1", 0),
            cores: Cores::List(options.cores),
            ..BrokerConfig::default()
        };
        if options.short_sessions {
            config.group_consumer_session_timeout = SHORT_SESSION;
            config.group_consumer_min_session_timeout = SHORT_SESSION;
            config.group_consumer_heartbeat_interval = SHORT_SESSION / 4;
            config.group_consumer_min_heartbeat_interval = SHORT_SESSION / 4;
        }
        let broker = Broker::start(config).context("cannot start the embedded broker")?;
        let addresses = broker.addresses();
        Ok(Self {
            servers: addresses.native.to_string(),
            http: addresses.http,
            broker,
        })
    }

    /// For `bootstrap.servers`.
    pub(crate) fn servers(&self) -> String {
        self.servers.clone()
    }

    /// What the broker counted so far.
    pub(crate) fn figures(&self) -> Result<BrokerFigures> {
        let samples = Samples::fetch(self.http).context("cannot read the broker's metrics")?;
        let bytes = samples.by_shard("corelog_produce_bytes_total");
        Ok(BrokerFigures {
            mesh_hops: samples.sum("corelog_mesh_hops_total").round() as u64,
            bytes_by_shard: bytes.iter().map(|bytes| bytes.round() as u64).collect(),
        })
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.broker
            .stop()
            .context("the embedded broker did not stop cleanly")
    }
}
