//! The client's side: a producer, against a broker in a process of its own, which is not counted.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use corelog_broker::broker::Broker as Embedded;
use corelog_broker::config::{BrokerConfig, Cores, ListenAddress};
use corelog_client::{
    Admin, ClientConfig, NewTopic, PartitionIndex, Producer, ProducerRecord, Timestamp,
};

use crate::counting::Load;

const TOPIC: &str = "orders";

/// A broker in a process of its own. Dropping it ends it.
pub(crate) struct Broker {
    pub(crate) servers: String,
    child: Child,
}

impl Broker {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut servers = String::new();
        let stdout = child.stdout.take().context("it is piped")?;
        BufReader::new(stdout).read_line(&mut servers)?;
        Ok(Self {
            servers: servers.trim().to_owned(),
            child,
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves until its input ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let broker = Embedded::start(BrokerConfig {
        data_dir: folder.path().to_owned(),
        listen: ListenAddress::new("127.0.0.1", 0),
        kafka_listen: None,
        http_listen: ListenAddress::new("127.0.0.1", 0),
        cores: Cores::Count(1),
        ..BrokerConfig::default()
    })?;
    let servers = broker.addresses().native.to_string();
    runtime()?.block_on(async {
        let admin = Admin::new(&ClientConfig::new().set("bootstrap.servers", &servers)).await?;
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: Some(1),
            replication_factor: None,
            configs: Vec::new(),
        };
        for created in admin.create_topics(&[topic]).await? {
            created?;
        }
        anyhow::Ok(())
    })?;
    println!("{servers}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    broker.stop()?;
    Ok(())
}

pub(crate) fn run(servers: &str, load: Load) -> anyhow::Result<()> {
    let runtime = runtime()?;
    measured(&runtime, servers, load)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// One batch after the other: how many leave in one request would depend on how fast the broker answers.
#[inline(never)]
fn measured(runtime: &tokio::runtime::Runtime, servers: &str, load: Load) -> anyhow::Result<()> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("enable.idempotence", load.idempotent)
        // A batch leaves when it is flushed.
        .set("linger.ms", 60_000)
        .set("delivery.timeout.ms", 120_000);
    runtime.block_on(async {
        let producer = Producer::new(&config).await?;
        let value = [b'x'; 100];
        let mut deliveries = Vec::new();
        for _ in 0..load.batches {
            for _ in 0..load.records {
                let record = ProducerRecord::to(TOPIC)
                    .partition(PartitionIndex::ZERO)
                    .timestamp(Timestamp::new(1))
                    .value(&value);
                deliveries.push(producer.send(record).await?);
            }
            producer.flush().await?;
            for delivery in deliveries.drain(..) {
                delivery.await?;
            }
        }
        let batches = producer.metrics().batches;
        anyhow::ensure!(
            batches == u64::from(load.batches),
            "{batches} batches were sent and not {}",
            load.batches
        );
        Ok(())
    })
}
