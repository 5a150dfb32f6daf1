//! Members with an instance id, which may stop and start without a rebalance.

use corelog_protocol::ErrorCode;

use super::rig::{Rig, as_instance, going_on, join, saying};
use crate::group::consumer::{HeartbeatEpoch, STATIC_MEMBER_AWAY};

fn leave_for_now(rig: &mut Rig, member: &str, instance: &str) {
    let leaving = as_instance(instance, saying(member, HeartbeatEpoch::LeaveForNow));
    let reply = rig.send(&leaving).unwrap();
    assert_eq!(reply.member_epoch, STATIC_MEMBER_AWAY);
}

/// Two members with two partitions; `a` is static.
fn stable_pair() -> Rig {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.send(&as_instance("one", join("a", &["orders"])))
        .unwrap();
    rig.join("b", &["orders"]);
    rig.beat("a");
    let kept = rig.current("a").assigned;
    rig.report("a", &kept);
    rig.beat("b");
    rig
}

#[test]
fn a_static_member_returns_under_another_id_without_a_rebalance() {
    let mut rig = stable_pair();
    let held = rig.current("a").assigned;
    let epoch = rig.group.describe().epoch;
    leave_for_now(&mut rig, "a", "one");
    assert_eq!(rig.beat("b").assignment, None, "nobody takes over");

    let returning = as_instance("one", join("a2", &["orders"]));
    let reply = rig.send(&returning).unwrap();
    assert_eq!(reply.assignment, Some(held));
    assert_eq!(reply.member_epoch, epoch);
    assert_eq!(rig.group.describe().epoch, epoch, "no rebalance");
    assert!(!rig.is_member("a"));
}

#[test]
fn a_static_member_returns_under_its_own_id_too() {
    let mut rig = stable_pair();
    let held = rig.current("a").assigned;
    leave_for_now(&mut rig, "a", "one");
    let returning = as_instance("one", join("a", &["orders"]));
    let reply = rig.send(&returning).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(held)));
}

#[test]
fn a_static_member_that_does_not_return_is_missed_at_its_session_timeout() {
    let mut rig = stable_pair();
    leave_for_now(&mut rig, "a", "one");
    let session = rig.beat("b").session_timeout;
    rig.pass(session / 2);
    rig.beat("b");
    rig.pass(session / 2);
    assert!(!rig.is_member("a"));
    assert_eq!(
        rig.beat("b").assignment,
        Some(rig.cluster.partitions("orders"))
    );
}

#[test]
fn an_instance_id_in_use_is_not_given_away() {
    let mut rig = stable_pair();
    let second = as_instance("one", join("c", &["orders"]));
    assert_eq!(rig.refusal(&second), ErrorCode::UnreleasedInstanceId);
}

#[test]
fn a_replaced_static_member_is_fenced() {
    let mut rig = stable_pair();
    leave_for_now(&mut rig, "a", "one");
    rig.send(&as_instance("one", join("a2", &["orders"])))
        .unwrap();
    let old = as_instance("one", going_on("a", 2));
    assert_eq!(rig.refusal(&old), ErrorCode::FencedInstanceId);
    let leaving = as_instance("one", saying("a", HeartbeatEpoch::Leave));
    assert_eq!(rig.refusal(&leaving), ErrorCode::FencedInstanceId);
    let unknown = as_instance("two", going_on("a", 2));
    assert_eq!(rig.refusal(&unknown), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_is_away_says_nothing() {
    let mut rig = stable_pair();
    leave_for_now(&mut rig, "a", "one");
    let mut late = as_instance("one", going_on("a", 2));
    late.owned = Some(Default::default());
    assert_eq!(rig.refusal(&late), ErrorCode::FencedMemberEpoch);
}
