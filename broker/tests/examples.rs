//! The client's examples do what they say, against a broker in this process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corelog_broker::broker::Broker;
use corelog_broker::config::{BrokerConfig, ByteSize, Cores, ListenAddress};
use corelog_client::{Admin, ClientConfig, NewTopic};
use tempfile::TempDir;
use tokio::sync::Notify;

#[path = "../../client/examples/consume_in_a_group.rs"]
#[expect(dead_code, reason = "its main takes the servers from the command line")]
mod consume_in_a_group;
#[path = "../../client/examples/guide.rs"]
#[expect(dead_code, reason = "its main takes the servers from the command line")]
mod guide;
#[path = "../../client/examples/keyed_processing.rs"]
#[expect(dead_code, reason = "its main takes the servers from the command line")]
mod keyed_processing;
#[path = "../../client/examples/produce.rs"]
#[expect(dead_code, reason = "its main takes the servers from the command line")]
mod produce;

/// A broker in this process, on a port of its own.
struct Embedded {
    broker: Broker,
    servers: String,
    _folder: TempDir,
}

impl Embedded {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let broker = Broker::start(BrokerConfig {
            data_dir: folder.path().to_owned(),
            listen: ListenAddress::new("127.0.0.1", 0),
            kafka_listen: Some(ListenAddress::new("127.0.0.1", 0)),
            http_listen: ListenAddress::new("127.0.0.1", 0),
            cores: Cores::Count(2),
            journal_file_bytes: ByteSize::mib(4),
            ..BrokerConfig::default()
        })
        .unwrap();
        Self {
            servers: broker.addresses().native.to_string(),
            broker,
            _folder: folder,
        }
    }

    async fn stop(self) {
        tokio::task::spawn_blocking(|| self.broker.stop())
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn the_guide_s_program_bills_every_order_once() {
    let embedded = Embedded::start();
    let bill = guide::take_and_bill_orders(&embedded.servers)
        .await
        .unwrap();
    // Each of ten customers ordered 1, 2, 3, ... 100 apples.
    assert_eq!(bill.len(), 10);
    for (customer, apples) in bill {
        assert_eq!(apples, 5_050, "{customer}");
    }
    embedded.stop().await;
}

#[tokio::test]
async fn what_one_example_sends_the_others_read_and_commit() {
    const LINES: usize = 3_000;
    let embedded = Embedded::start();
    let servers = embedded.servers.as_str();
    let admin = Admin::new(&ClientConfig::new().set("bootstrap.servers", servers))
        .await
        .unwrap();
    let topic = NewTopic {
        name: "orders".to_owned(),
        partitions: Some(3),
        replication_factor: None,
        configs: Vec::new(),
    };
    admin.create_topics(&[topic]).await.unwrap()[0]
        .as_ref()
        .unwrap();

    let lines: Vec<String> = (0..LINES)
        .map(|number| format!("customer-{}\t{number}", number % 7))
        .collect();
    let (metrics, failed) = produce::produce(servers, "orders", lines.join("\n").as_bytes())
        .await
        .unwrap();
    assert_eq!((metrics.records, failed), (LINES as u64, 0));

    let (shown, all) = (AtomicUsize::new(0), Notify::new());
    let show = |_: &_| {
        if shown.fetch_add(1, Ordering::Relaxed) + 1 == LINES {
            all.notify_one();
        }
    };
    let showing = consume_in_a_group::consume(servers, "showing", "orders", show, all.notified());
    tokio::time::timeout(Duration::from_secs(60), showing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.into_inner(), LINES);
    assert_eq!(committed(&admin, "showing").await, LINES);

    // It says nothing but what it commits, every thousand records and when it leaves.
    let most_is_committed = async {
        while committed(&admin, "counting").await < LINES - 1_000 {
            tokio::task::yield_now().await;
        }
    };
    let counting = keyed_processing::count(servers, "counting", "orders", most_is_committed);
    tokio::time::timeout(Duration::from_secs(60), counting)
        .await
        .unwrap()
        .unwrap();
    assert!(committed(&admin, "counting").await >= LINES - 1_000);
    embedded.stop().await;
}

/// How far a group has come, in all partitions together.
async fn committed(admin: &Admin, group: &str) -> usize {
    let offsets = admin.group_offsets(group).await.unwrap();
    let offsets = offsets.values().map(|committed| committed.offset.get());
    usize::try_from(offsets.sum::<i64>()).unwrap()
}
