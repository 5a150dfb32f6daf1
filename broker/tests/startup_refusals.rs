//! A broker that could do harm does not start, and says why.

use std::path::Path;

use tempfile::TempDir;

use crate::harness::{BrokerProcess, Refused};

fn refusal(folder: &Path, options: &[&str]) -> Refused {
    let Err(refused) = BrokerProcess::try_start(folder, 1, options) else {
        panic!("the broker started");
    };
    assert!(!refused.status.success());
    refused
}

#[test]
fn a_second_broker_on_the_folder_is_refused_and_told_of_the_first() {
    let folder = TempDir::new().unwrap();
    let first = BrokerProcess::start(folder.path(), 1);
    let refused = refusal(folder.path(), &[]);
    assert!(
        refused.errors.contains(&first.pid().to_string()),
        "{}",
        refused.errors
    );
    // The first one is unharmed, and its ports are still those of the file.
    first.connect();
    assert!(first.stop().success());
    BrokerProcess::start(folder.path(), 1).connect();
}

#[test]
fn a_newer_format_is_refused() {
    let folder = TempDir::new().unwrap();
    BrokerProcess::start(folder.path(), 1).stop();
    let properties = folder.path().join("meta.properties");
    let text = std::fs::read_to_string(&properties).unwrap();
    let newer: String = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some(("corelog.format.version", _)) => "corelog.format.version=9999\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(newer, text, "the version must be there to be changed");
    std::fs::write(&properties, newer).unwrap();
    let refused = refusal(folder.path(), &[]);
    assert!(refused.errors.contains("9999"), "{}", refused.errors);
}

#[test]
fn another_brokers_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = BrokerProcess::try_start(folder.path(), 1, &["CORELOG_BROKER_ID=4"]).unwrap();
    assert_eq!(first.connect().hello.broker_id.get(), 4);
    assert!(first.stop().success());
    let refused = refusal(folder.path(), &["CORELOG_BROKER_ID=5"]);
    assert!(
        refused.errors.contains('4') && refused.errors.contains('5'),
        "{}",
        refused.errors
    );
}

#[test]
fn a_port_in_use_is_refused_by_its_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let refused = refusal(folder.path(), &["--listen", &address]);
    assert!(refused.errors.contains(&address), "{}", refused.errors);
}

#[test]
fn ports_of_nodes_that_there_cannot_be_are_refused() {
    let folder = TempDir::new().unwrap();
    let options = [
        "CORELOG_KAFKA_SHARD_LISTENERS=true",
        "CORELOG_KAFKA_ADVERTISED_PORT=65535",
    ];
    let Err(refused) = BrokerProcess::try_start(folder.path(), 2, &options) else {
        panic!("the broker started");
    };
    let told = refused.errors;
    assert!(
        told.contains("65535") && told.contains("kafka.shard.listeners"),
        "{told}"
    );
}

#[test]
fn settings_of_groups_are_checked_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    for (set, told) in [
        (
            "group.consumer.assignors=uniform,sticky",
            "`group.consumer.assignors` cannot be `uniform,sticky`: it must be one or more of \
             `uniform`, `range`, separated by commas, none of them twice",
        ),
        (
            "group.consumer.session.timeout.ms=10s",
            "group.consumer.session.timeout.ms (10000) must lie between \
             group.consumer.min.session.timeout.ms (45000) and \
             group.consumer.max.session.timeout.ms (60000)",
        ),
    ] {
        let refused = refusal(&data, &["--set", set]);
        assert!(refused.errors.contains(told), "{}", refused.errors);
        assert!(!data.exists(), "nothing was made for {set}");
    }
}
