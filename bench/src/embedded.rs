//! A broker inside this process: the only file that knows the broker crate.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use corelog_broker::broker::Broker;
use corelog_broker::config::{BrokerConfig, Cores, ListenAddress};

use crate::broker_metrics::Samples;
use crate::plan::Plan;
use crate::report::BrokerFigures;

/// Batches from this size on go straight to the segment, smaller ones through
/// the journal. Several small ones of one group may bypass it as well, which
/// the bare loop leaves out to its own advantage; where many partitions wait
/// the broker asks for more, and the bare loop pays for the segment alone.
pub(crate) fn journal_bypass_bytes() -> usize {
    BrokerConfig::default().journal_bypass_bytes.as_usize()
}

pub(crate) struct Embedded {
    broker: Broker,
    servers: String,
    http: SocketAddr,
}

impl Embedded {
    /// Starts a broker with default settings on the plan's cores and free ports.
    pub(crate) fn start(plan: &Plan, data_dir: PathBuf) -> Result<Self> {
        let config = BrokerConfig {
            data_dir,
            listen: ListenAddress::new("127.0.0.1", 0),
            http_listen: ListenAddress::new("127.0.0.1", 0),
            cores: Cores::List(plan.cores.broker.clone()),
            ..BrokerConfig::default()
        };
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
