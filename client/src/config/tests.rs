#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use corelog_protocol::{Acks, Compression};

use super::{AdminSettings, ConsumerSettings, FetchMode, GroupSettings, ProducerSettings};
use crate::{AutoOffsetReset, ClientConfig, ConfigError};

fn config() -> ClientConfig {
    ClientConfig::new().set("bootstrap.servers", "127.0.0.1:9190, [::1]:9190")
}

#[test]
fn defaults_are_kafkas_unless_documented() {
    let producer = ProducerSettings::read(&config()).unwrap();
    assert_eq!(
        producer.connection.bootstrap_servers,
        ["127.0.0.1:9190", "[::1]:9190"]
    );
    assert_eq!(producer.acks, Acks::All);
    assert_eq!(producer.linger, Duration::from_millis(5));
    assert_eq!(producer.buffer_bytes, 33_554_432);
    assert_eq!(producer.delivery_timeout, Duration::from_secs(120));
    assert_eq!(producer.max_in_flight, 5);
    assert_eq!(producer.compression, Compression::None);
    let consumer = ConsumerSettings::read(&config()).unwrap();
    assert_eq!(consumer.max_poll_records, 500);
    assert_eq!(consumer.auto_offset_reset, AutoOffsetReset::Latest);
    assert_eq!(consumer.fetch_mode, FetchMode::Subscribe);
    assert!(consumer.check_crcs);
}

#[test]
fn a_name_of_another_client_is_unknown() {
    let error = ConsumerSettings::read(&config().set("linger.ms", 5)).unwrap_err();
    assert!(
        matches!(&error, ConfigError::UnknownName { name, role, known }
            if name == "linger.ms" && role == "consumer" && known.contains("fetch.min.bytes")),
        "{error}"
    );
    AdminSettings::read(&config().set("max.poll.records", 5)).unwrap_err();
}

#[test]
fn a_value_out_of_range_names_the_setting_the_value_and_the_range() {
    let error = ProducerSettings::read(&config().set("max.in.flight.requests.per.connection", 0))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "max.in.flight.requests.per.connection = \"0\": expected a whole number from 1 to 1024"
    );
    let error = ProducerSettings::read(&config().set("acks", "two"))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "acks = \"two\": expected one of all, -1, 1, 0");
}

#[test]
fn servers_are_required_and_need_a_port() {
    let missing = AdminSettings::read(&ClientConfig::new()).unwrap_err();
    assert!(matches!(missing, ConfigError::MissingValue { name } if name == "bootstrap.servers"));
    for wrong in ["localhost", "localhost:", ":9190", "localhost:99999"] {
        let config = ClientConfig::new().set("bootstrap.servers", wrong);
        let error = AdminSettings::read(&config).unwrap_err();
        assert!(
            matches!(&error, ConfigError::InvalidValue { value, .. } if value == wrong),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn a_delivery_timeout_shorter_than_one_attempt_is_refused() {
    let error = ProducerSettings::read(&config().set("delivery.timeout.ms", 1000)).unwrap_err();
    assert!(error.to_string().contains("30005"), "{error}");
    let settings = ProducerSettings::read(&config().set("request.timeout.ms", 300_000)).unwrap();
    assert_eq!(settings.delivery_timeout, Duration::from_millis(300_005));
}

#[test]
fn a_first_backoff_above_the_maximum_is_constant() {
    let settings = AdminSettings::read(&config().set("retry.backoff.ms", 5000)).unwrap();
    assert_eq!(
        settings.connection.retry_backoff.first,
        Duration::from_secs(1)
    );
}

#[test]
fn the_settings_of_connections_suit_every_kind_of_client() {
    let producer = config()
        .set("client.id", "me")
        .set("retry.backoff.ms", 7)
        .set("linger.ms", 5)
        .set("acks", "all");
    let shared = producer.of_connections();
    let settings = AdminSettings::read(&shared).unwrap();
    assert_eq!(settings.connection.client_id, "me");
    assert_eq!(
        settings.connection.retry_backoff.first,
        Duration::from_millis(7)
    );
    assert_eq!(
        shared.get("bootstrap.servers"),
        producer.get("bootstrap.servers")
    );
    assert_eq!((shared.get("linger.ms"), shared.get("acks")), (None, None));
}

#[test]
fn a_group_consumer_has_a_group_and_kafkas_defaults() {
    let missing = GroupSettings::read(&config()).unwrap_err();
    assert!(matches!(missing, ConfigError::MissingValue { name } if name == "group.id"));
    let settings = GroupSettings::read(&config().set("group.id", "billing")).unwrap();
    assert_eq!(settings.group_id, "billing");
    assert_eq!(settings.instance_id, None);
    assert_eq!(settings.auto_commit, Some(Duration::from_secs(5)));
    assert_eq!(settings.max_poll_interval, Duration::from_secs(300));
    let manual = config()
        .set("group.id", "billing")
        .set("enable.auto.commit", false);
    assert_eq!(GroupSettings::read(&manual).unwrap().auto_commit, None);
    let empty = GroupSettings::read(&config().set("group.id", " ")).unwrap_err();
    assert!(
        matches!(&empty, ConfigError::InvalidValue { name, .. } if *name == "group.id"),
        "{empty}"
    );
    let alone = ConsumerSettings::read(&config().set("group.id", "billing")).unwrap_err();
    assert!(matches!(alone, ConfigError::UnknownName { .. }), "{alone}");
}

#[test]
fn a_reset_by_duration_is_read_with_its_duration() {
    let read = |text: &str| ConsumerSettings::read(&config().set("auto.offset.reset", text));
    assert_eq!(
        read("by_duration:PT1H30M").unwrap().auto_offset_reset,
        AutoOffsetReset::ByDuration(Duration::from_secs(90 * 60))
    );
    for wrong in [
        "by_duration:",
        "by_duration:1h",
        "by_duration:-PT1H",
        "newest",
    ] {
        let error = read(wrong).unwrap_err();
        assert!(error.to_string().contains("by_duration:P"), "{error}");
    }
}

/// What a client that is given an unknown setting lists, against the tables that its readers find.
#[test]
fn every_setting_is_in_a_table_of_its_client() {
    let unknown = config().set("unknown", 1).set("group.id", "g");
    let connections = include_str!("mod.rs");
    let consumers = include_str!("../consumer/mod.rs");
    for (error, own) in [
        (
            ProducerSettings::read(&unknown).unwrap_err(),
            include_str!("../producer/mod.rs"),
        ),
        (ConsumerSettings::read(&unknown).unwrap_err(), consumers),
        (
            GroupSettings::read(&unknown).unwrap_err(),
            include_str!("../group/mod.rs"),
        ),
    ] {
        let ConfigError::UnknownName { role, known, .. } = error else {
            panic!("{error}");
        };
        for name in known.split(", ") {
            let row = |line: &str| line.starts_with("/// |") && line.contains(&format!("`{name}`"));
            let is_told = [own, connections]
                .iter()
                .chain((role == "group consumer").then_some(&consumers))
                .any(|page| page.lines().any(row));
            assert!(is_told, "{role}: no table tells of {name}");
        }
    }
}
