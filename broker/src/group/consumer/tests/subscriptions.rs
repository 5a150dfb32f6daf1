//! Subscriptions by name and by pattern.

use corelog_protocol::ErrorCode;

use super::rig::{Rig, going_on, join, names, saying};
use crate::group::consumer::{HeartbeatEpoch, Partitions};

fn subscribe_by(pattern: &str) -> crate::group::consumer::Heartbeat {
    let mut joining = join("a", &[]);
    joining.subscribed_topic_regex = Some(pattern.to_owned());
    joining
}

#[test]
fn a_pattern_means_the_topics_that_exist_and_those_that_will() {
    let mut rig = Rig::new(&[("log-1", 1), ("orders", 1), ("__consumer_offsets", 1)]);
    let reply = rig.send(&subscribe_by("log-.*")).unwrap();
    assert_eq!(reply.assignment, Some(rig.cluster.partitions("log-1")));
    assert!(rig.group.is_subscribed_to("log-1"));
    assert!(!rig.group.is_subscribed_to("orders"));

    rig.cluster.create("log-2", 2);
    let both = &rig.cluster.partitions("log-1") | &rig.cluster.partitions("log-2");
    assert_eq!(rig.beat("a").assignment, Some(both));
}

#[test]
fn a_pattern_that_does_not_compile_is_refused_and_the_group_goes_on() {
    let mut rig = Rig::new(&[("orders", 1)]);
    let refused = rig.refusal(&subscribe_by("["));
    assert_eq!(refused, ErrorCode::InvalidRegularExpression);
    rig.join("a", &["orders"]);
    let mut changing = going_on("a", 1);
    changing.subscribed_topic_regex = Some("(".to_owned());
    let refused = rig.refusal(&changing);
    assert_eq!(refused, ErrorCode::InvalidRegularExpression);
    rig.beat("a");
}

#[test]
fn names_and_a_pattern_add_up_and_an_empty_pattern_ends_it() {
    let mut rig = Rig::new(&[("log", 1), ("orders", 1)]);
    let (log, orders) = (
        rig.cluster.partitions("log"),
        rig.cluster.partitions("orders"),
    );
    let mut joining = subscribe_by("l.*");
    joining.subscribed_topic_names = Some(names(&["orders"]));
    let reply = rig.send(&joining).unwrap();
    let all = &log | &orders;
    assert_eq!(reply.assignment, Some(all.clone()));

    let mut changing = going_on("a", 1);
    changing.subscribed_topic_regex = Some(String::new());
    changing.owned = Some(all);
    assert_eq!(rig.send(&changing).unwrap().assignment, Some(orders));
}

#[test]
fn a_topic_that_does_not_exist_yet_may_be_subscribed_to() {
    let mut rig = Rig::new(&[]);
    let reply = rig.join("a", &["orders"]);
    assert_eq!(reply.assignment, Some(Partitions::new()));
    rig.cluster.create("orders", 3);
    let orders = rig.cluster.partitions("orders");
    assert_eq!(rig.beat("a").assignment, Some(orders));
}

#[test]
fn a_pattern_is_forgotten_with_its_last_member() {
    let mut rig = Rig::new(&[("log", 1)]);
    rig.send(&subscribe_by("l.*")).unwrap();
    let mut second = subscribe_by("l.*");
    second.member_id = crate::group::MemberId::new("b");
    rig.send(&second).unwrap();
    rig.send(&saying("a", HeartbeatEpoch::Leave)).unwrap();
    assert!(rig.group.state.patterns.contains_key("l.*"));
    rig.send(&saying("b", HeartbeatEpoch::Leave)).unwrap();
    assert!(rig.group.state.patterns.is_empty());
}

#[test]
fn a_new_subscription_is_a_new_epoch() {
    let mut rig = Rig::new(&[("log", 1), ("orders", 1)]);
    rig.join("a", &["log"]);
    let log = rig.cluster.partitions("log");
    let mut changing = going_on("a", 1);
    changing.subscribed_topic_names = Some(names(&["orders"]));
    changing.owned = Some(log);
    let told = rig.send(&changing).unwrap();
    assert_eq!(
        (told.member_epoch, told.assignment),
        (1, Some(Partitions::new()))
    );
    assert_eq!(rig.group.describe().epoch, 2);
    let orders = rig.cluster.partitions("orders");
    let reply = rig.report("a", &Partitions::new());
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(orders)));
}
