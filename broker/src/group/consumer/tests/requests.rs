//! Heartbeats that contradict themselves or say too much.

use corelog_protocol::ErrorCode;

use super::rig::{Rig, going_on, join, names, saying};
use crate::group::consumer::{Assignor, Assignors, ConsumerGroupConfig, Heartbeat, HeartbeatEpoch};

#[test]
fn a_heartbeat_that_contradicts_itself_is_refused_by_name() {
    let valid = join("a", &["orders"]);
    let owned = Rig::new(&[("orders", 1)]).cluster.partitions("orders");
    let cases: [(&str, Heartbeat); 9] = [
        ("member id", join("", &["orders"])),
        ("subscribes", join("a", &[])),
        (
            "instance id",
            Heartbeat {
                instance_id: Some(String::new()),
                ..valid.clone()
            },
        ),
        (
            "rack id",
            Heartbeat {
                rack_id: Some(String::new()),
                ..valid.clone()
            },
        ),
        (
            "rebalance",
            Heartbeat {
                rebalance_timeout_ms: None,
                ..valid.clone()
            },
        ),
        (
            "positive",
            Heartbeat {
                rebalance_timeout_ms: Some(0),
                ..valid.clone()
            },
        ),
        (
            "owns nothing",
            Heartbeat {
                owned: None,
                ..valid.clone()
            },
        ),
        (
            "owns nothing",
            Heartbeat {
                owned: Some(owned),
                ..valid.clone()
            },
        ),
        ("instance id", saying("a", HeartbeatEpoch::LeaveForNow)),
    ];
    for (word, heartbeat) in cases {
        let mut rig = Rig::new(&[("orders", 1)]);
        let error = rig.send(&heartbeat).expect_err(word);
        assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(rig.log.is_empty() && rig.group.is_gone());
    }
}

/// As a client of Node does it.
#[test]
fn of_a_member_that_leaves_only_the_ids_count() {
    let mut rig = Rig::new(&[("orders", 1)]);
    rig.join("a", &["orders"]);
    let leaving = Heartbeat {
        rebalance_timeout_ms: Some(0),
        ..saying("a", HeartbeatEpoch::Leave)
    };
    let left = rig.send(&leaving).expect("a departure");
    assert_eq!(left.member_epoch, -1);
    assert!(rig.group.describe().members.is_empty());
}

#[test]
fn an_assignor_that_the_coordinator_does_not_have_is_refused() {
    let mut rig = Rig::new(&[("orders", 1)]);
    let mut joining = join("a", &["orders"]);
    joining.server_assignor = Some("sticky".to_owned());
    assert_eq!(rig.refusal(&joining), ErrorCode::UnsupportedAssignor);
}

#[test]
fn an_assignor_that_is_not_configured_is_refused_by_name() {
    let mut rig = Rig::with_config(&[("orders", 1)], only(Assignor::Range));
    let mut joining = join("a", &["orders"]);
    joining.server_assignor = Some("uniform".to_owned());
    let refused = rig.send(&joining).expect_err("refused");
    assert_eq!(refused.code(), ErrorCode::UnsupportedAssignor);
    assert_eq!(
        refused.to_string(),
        "there is no assignor `uniform` in `group.consumer.assignors`: use one of `range`"
    );
    assert!(rig.group.is_gone(), "nobody joined");
    joining.server_assignor = Some("range".to_owned());
    rig.send(&joining).unwrap();
    // Nor can a member change over to it.
    let mut changing = going_on("a", 1);
    changing.server_assignor = Some("uniform".to_owned());
    assert_eq!(rig.refusal(&changing), ErrorCode::UnsupportedAssignor);
}

#[test]
fn the_first_assignor_is_used_where_nobody_asks_for_one() {
    for first in [Assignor::Uniform, Assignor::Range] {
        let mut rig = Rig::with_config(&[("orders", 1)], only(first));
        rig.join("a", &["orders"]);
        assert_eq!(rig.group.describe().assignor, first);
    }
}

/// A broker that starts again with fewer assignors still has the members that asked for the others.
#[test]
fn an_assignor_that_is_not_configured_any_more_is_not_used() {
    let mut rig = Rig::new(&[("orders", 4)]);
    let mut joining = join("a", &["orders"]);
    joining.server_assignor = Some("range".to_owned());
    rig.send(&joining).unwrap();
    assert_eq!(rig.group.describe().assignor, Assignor::Range);
    rig.restart_with(only(Assignor::Uniform));
    assert_eq!(rig.group.describe().assignor, Assignor::Uniform);
    rig.beat("a");
    rig.join("b", &["orders"]);
    assert_eq!(rig.group.describe().assignor, Assignor::Uniform);
}

fn only(assignor: Assignor) -> ConsumerGroupConfig {
    ConsumerGroupConfig {
        assignors: Assignors::new(vec![assignor]).unwrap(),
        ..ConsumerGroupConfig::default()
    }
}

#[test]
fn a_member_that_says_too_much_about_itself_is_refused() {
    let config = ConsumerGroupConfig {
        member_metadata_bytes_max: 100,
        ..Default::default()
    };
    let mut rig = Rig::with_config(&[("orders", 1)], config);
    let mut joining = join("a", &["orders"]);
    joining.client_id = "c".repeat(100);
    assert_eq!(rig.refusal(&joining), ErrorCode::InvalidRequest);
    joining.client_id = "c".to_owned();
    joining.subscribed_topic_names = Some((0..60).map(|number| number.to_string()).collect());
    assert_eq!(rig.refusal(&joining), ErrorCode::InvalidRequest);
    rig.join("a", &["orders"]);

    // Nor does a member grow by saying it bit by bit.
    let mut more = going_on("a", 1);
    more.subscribed_topic_names = Some(names(&["n".repeat(70).as_str()]));
    rig.send(&more).unwrap();
    let mut more = going_on("a", 1);
    more.subscribed_topic_regex = Some("r".repeat(70));
    assert_eq!(rig.refusal(&more), ErrorCode::InvalidRequest);
}

#[test]
fn the_epochs_of_the_wire_have_their_meanings() {
    let read = HeartbeatEpoch::from_wire;
    assert_eq!(read(0), Ok(HeartbeatEpoch::Join));
    assert_eq!(read(3), Ok(HeartbeatEpoch::At(3)));
    assert_eq!(read(-1), Ok(HeartbeatEpoch::Leave));
    assert_eq!(read(-2), Ok(HeartbeatEpoch::LeaveForNow));
    let refused = read(-3).expect_err("no such epoch");
    assert_eq!(refused.code(), ErrorCode::InvalidRequest);
}
