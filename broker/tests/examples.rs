//! The client's examples do what they say, against a broker in this process.

use corelog_broker::broker::Broker;
use corelog_broker::config::{BrokerConfig, ByteSize, Cores, ListenAddress};
use tempfile::TempDir;

#[path = "../../client/examples/guide.rs"]
#[expect(dead_code, reason = "its main takes the servers from the command line")]
mod guide;

#[tokio::test]
async fn the_guide_s_program_bills_every_order_once() {
    let folder = TempDir::new().unwrap();
    let broker = Broker::start(BrokerConfig {
        data_dir: folder.path().to_owned(),
        listen: ListenAddress::new("127.0.0.1", 0),
        http_listen: ListenAddress::new("127.0.0.1", 0),
        cores: Cores::Count(2),
        journal_file_bytes: ByteSize::mib(4),
        ..BrokerConfig::default()
    })
    .unwrap();
    let servers = broker.addresses().native.to_string();
    let bill = guide::take_and_bill_orders(&servers).await.unwrap();
    // Each of ten customers ordered 1, 2, 3, ... 100 apples.
    assert_eq!(bill.len(), 10);
    for (customer, apples) in bill {
        assert_eq!(apples, 5_050, "{customer}");
    }
    tokio::task::spawn_blocking(|| broker.stop())
        .await
        .unwrap()
        .unwrap();
}
