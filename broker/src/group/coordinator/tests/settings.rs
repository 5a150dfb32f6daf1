//! What the broker's configuration means for groups.

use std::time::Duration;

use corelog_protocol::ErrorCode;

use super::rig::{Rig, join};
use crate::config::{Assignor, BrokerConfig, ConfigLayers};
use crate::group::coordinator::*;

fn configured(settings: &[(&str, &str)]) -> CoordinatorConfig {
    let mut layers = ConfigLayers::new();
    for (key, value) in settings {
        layers.flag(key, value).unwrap();
    }
    CoordinatorConfig::from(&layers.build().unwrap())
}

#[test]
fn a_coordinator_has_the_brokers_defaults() {
    assert_eq!(
        CoordinatorConfig::from(&BrokerConfig::default()),
        CoordinatorConfig::default()
    );
}

#[test]
fn what_the_broker_is_told_reaches_the_groups() {
    let config = configured(&[
        ("group.consumer.assignors", "range"),
        ("group.consumer.session.timeout.ms", "50000"),
        ("group.consumer.heartbeat.interval.ms", "6000"),
        ("group.consumer.max.size", "1"),
        ("group.min.session.timeout.ms", "1000"),
        ("group.max.session.timeout.ms", "2000"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.max.size", "7"),
    ]);
    let classic = &config.classic;
    assert_eq!(classic.min_session_timeout, Duration::from_secs(1));
    assert_eq!(classic.max_session_timeout, Duration::from_secs(2));
    assert_eq!(classic.initial_rebalance_delay, Duration::ZERO);
    assert_eq!(classic.max_members, 7);

    let mut rig = Rig::with(config);
    let mut asking = join("a", &["orders"]);
    asking.server_assignor = Some("uniform".to_owned());
    let refused = rig.heartbeat("g", asking).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UnsupportedAssignor);
    let joined = rig.heartbeat("g", join("a", &["orders"])).unwrap();
    assert_eq!(joined.session_timeout, Duration::from_secs(50));
    assert_eq!(joined.heartbeat_interval, Duration::from_secs(6));
    let second = rig.heartbeat("g", join("b", &["orders"])).unwrap_err();
    assert_eq!(second.code(), ErrorCode::GroupMaxSizeReached);
    let described = rig.ask("g", Command::Describe).unwrap();
    let Answer::Described(Description::Consumer(described)) = described else {
        panic!("{described:?}");
    };
    assert_eq!(described.assignor, Assignor::Range);
}
