//! Members that the group has moved on from.

use corelog_protocol::ErrorCode;

use super::rig::{Rig, going_on, join, saying};
use crate::group::consumer::{HeartbeatEpoch, Partitions};

#[test]
fn unknown_members_must_join() {
    let mut rig = Rig::new(&[("orders", 2)]);
    assert_eq!(rig.refusal(&going_on("a", 1)), ErrorCode::UnknownMemberId);
    let leaving = saying("a", HeartbeatEpoch::Leave);
    assert_eq!(rig.refusal(&leaving), ErrorCode::UnknownMemberId);
}

#[test]
fn epochs_ahead_and_behind_are_fenced() {
    let mut rig = Rig::new(&[("orders", 1)]);
    for member in ["a", "b", "c"] {
        rig.join(member, &["orders"]);
        let owned = rig.current("a").assigned;
        rig.report("a", &owned);
    }
    assert_eq!(rig.current("a").member_epoch, 3);
    for epoch in [1, 4] {
        let mut stale = going_on("a", epoch);
        stale.owned = Some(Partitions::new());
        assert_eq!(rig.refusal(&stale), ErrorCode::FencedMemberEpoch);
    }
}

#[test]
fn a_member_that_missed_the_reply_goes_on_from_its_previous_epoch() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let all = rig.current("a").assigned;
    rig.report("a", &all);
    rig.join("b", &["orders"]);
    rig.beat("a");
    let kept = rig.current("a").assigned;
    rig.report("a", &kept);
    assert_eq!(rig.current("a").member_epoch, 2);

    let mut retry = going_on("a", 1);
    assert_eq!(
        rig.refusal(&retry),
        ErrorCode::FencedMemberEpoch,
        "owns who knows what"
    );
    retry.owned = Some(all);
    assert_eq!(
        rig.refusal(&retry),
        ErrorCode::FencedMemberEpoch,
        "owns too much"
    );
    retry.owned = Some(kept.clone());
    let reply = rig.send(&retry).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment), (2, Some(kept)));
}

#[test]
fn a_member_that_joins_again_gets_its_partitions_again() {
    let mut rig = Rig::new(&[("orders", 2)]);
    let first = rig.join("a", &["orders"]);
    let again = rig.join("a", &["orders"]);
    assert_eq!(again, first);
}

#[test]
fn a_full_group_refuses_one_more_and_goes_on() {
    let config = crate::group::consumer::ConsumerGroupConfig {
        max_size: 1,
        ..Default::default()
    };
    let mut rig = Rig::with_config(&[("orders", 2)], config);
    rig.join("a", &["orders"]);
    let refused = rig.refusal(&join("b", &["orders"]));
    assert_eq!(refused, ErrorCode::GroupMaxSizeReached);
    rig.join("a", &["orders"]);
}

#[test]
fn a_group_is_deleted_only_when_its_members_are_gone() {
    let mut rig = Rig::new(&[("orders", 2)]);
    let mut joining = join("a", &["orders"]);
    joining.subscribed_topic_regex = Some("o.*".to_owned());
    rig.send(&joining).unwrap();
    let refused = rig.group.delete().expect_err("it has a member");
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    rig.send(&saying("a", HeartbeatEpoch::Leave)).unwrap();
    assert!(!rig.group.is_gone());
    assert_eq!(rig.group.delete().unwrap().len(), 2);
    assert!(rig.group.is_gone());
}
