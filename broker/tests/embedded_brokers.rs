//! A broker can live in another program, beside others, and start again on the same folder.

use std::path::Path;

use corelog_broker::broker::{Broker, StartError};
use corelog_broker::config::{BrokerConfig, ByteSize, Cores, ListenAddress};
use corelog_protocol::ErrorCode;
use tempfile::TempDir;

use crate::harness::{Connection, NewTopicBuilder, batch_of};

fn config(data_dir: &Path) -> BrokerConfig {
    BrokerConfig {
        data_dir: data_dir.to_owned(),
        listen: ListenAddress::new("127.0.0.1", 0),
        kafka_listen: Some(ListenAddress::new("127.0.0.1", 0)),
        http_listen: ListenAddress::new("127.0.0.1", 0),
        cores: Cores::Count(1),
        journal_file_bytes: ByteSize::mib(4),
        ..BrokerConfig::default()
    }
}

#[test]
fn two_brokers_of_one_process_keep_apart() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let brokers = folders
        .each_ref()
        .map(|folder| Broker::start(config(folder.path())).unwrap());
    for (number, broker) in brokers.iter().enumerate() {
        let mut connection = Connection::open(broker.addresses().native, None);
        let name = format!("topic-{number}");
        let topic = connection.create_topic(NewTopicBuilder::new(&name, 1));
        let produced = connection.produce(topic, 0, &batch_of([name.as_str()]));
        assert_eq!(produced.error, ErrorCode::None);
        assert_eq!(connection.metadata(None).topics.len(), 1);
    }
    for broker in brokers {
        broker.stop().unwrap();
    }
}

#[test]
fn a_broker_starts_again_on_its_folder_in_the_same_process() {
    let folder = TempDir::new().unwrap();
    for run in 0..3 {
        let broker = Broker::start(config(folder.path())).unwrap();
        let mut connection = Connection::open(broker.addresses().native, None);
        let topic = match run {
            0 => connection.create_topic(NewTopicBuilder::new("again", 1)),
            _ => connection.topic("again").id,
        };
        assert_eq!(connection.read_all(topic, 0).len(), run);
        connection.produce(topic, 0, &batch_of(["one more"]));
        // Dropping a broker stops it as cleanly as `stop`.
        match run {
            1 => drop(broker),
            _ => broker.stop().unwrap(),
        }
    }
}

#[test]
fn a_failed_start_gives_everything_back() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let refused = Broker::start(BrokerConfig {
        http_listen: taken.local_addr().unwrap().into(),
        ..config(folder.path())
    });
    assert!(matches!(refused, Err(StartError::Listen { .. })));
    assert!(!folder.path().join("ports.json").exists());
    let broker = Broker::start(config(folder.path())).unwrap();
    assert!(matches!(
        Broker::start(config(folder.path())),
        Err(StartError::DataDir(_))
    ));
    broker.stop().unwrap();
}
