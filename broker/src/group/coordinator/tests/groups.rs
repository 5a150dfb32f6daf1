use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::{ClassicMember, GroupMetadata, GroupRecord};

use super::rig::{Rig, SESSION, commit, go_on, join, member};
use crate::group::classic;
use crate::group::consumer::HeartbeatEpoch;
use crate::group::coordinator::group::deleted_at_once;
use crate::group::coordinator::*;

/// The record of a classic group as Kafka would have left it.
fn classic(members: &[&str]) -> GroupRecord {
    let member = |id: &&str| ClassicMember {
        member_id: (*id).to_owned(),
        group_instance_id: None,
        client_id: "classic".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    };
    GroupRecord::GroupMetadata {
        group_id: "g".to_owned(),
        value: Some(GroupMetadata {
            protocol_type: "consumer".to_owned(),
            generation: 3,
            protocol: (!members.is_empty()).then(|| "range".to_owned()),
            leader: members.first().map(|id| (*id).to_owned()),
            current_state_timestamp: None,
            members: members.iter().map(member).collect(),
        }),
    }
}

#[test]
fn a_member_that_falls_silent_is_fenced_when_its_time_is_over() {
    let mut rig = Rig::new();
    let joined = rig.heartbeat("g", join("a", &["orders"])).unwrap();
    assert_eq!(rig.coordinator.next_deadline(), Some(rig.now + SESSION));
    rig.turn_clock(SESSION - Duration::from_millis(1));
    let epoch = HeartbeatEpoch::At(joined.member_epoch);
    rig.heartbeat("g", go_on("a", epoch, None)).unwrap();
    // The first deadline has passed; the member has a new one.
    rig.turn_clock(SESSION - Duration::from_millis(1));
    rig.heartbeat("g", go_on("a", epoch, None)).unwrap();
    rig.turn_clock(SESSION);
    let fenced = rig.heartbeat("g", go_on("a", epoch, None)).unwrap_err();
    assert_eq!(fenced.code(), ErrorCode::UnknownMemberId);
}

#[test]
fn members_have_their_whole_time_after_a_move() {
    let mut rig = Rig::new();
    let joined = rig.heartbeat("g", join("a", &["orders"])).unwrap();
    rig.turn_clock(SESSION - Duration::from_millis(1));
    rig.move_coordinator();
    rig.turn_clock(SESSION - Duration::from_millis(1));
    let epoch = HeartbeatEpoch::At(joined.member_epoch);
    rig.heartbeat("g", go_on("a", epoch, None)).unwrap();
}

#[test]
fn an_unknown_group_is_not_found() {
    let mut rig = Rig::new();
    for command in [Command::Describe, Command::Delete] {
        let refused = rig.ask("g", command).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::GroupIdNotFound);
    }
    assert!(rig.names().is_empty() && rig.log.is_empty());
}

#[test]
fn a_group_with_members_is_not_deleted_and_one_without_is_with_its_offsets() {
    let mut rig = Rig::new();
    let joined = rig.heartbeat("g", join("a", &["orders"])).unwrap();
    rig.commit(
        "g",
        member("a", joined.member_epoch),
        &[commit("orders", 0, 5)],
    )
    .unwrap();
    let refused = rig.ask("g", Command::Delete).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    rig.heartbeat("g", go_on("a", HeartbeatEpoch::Leave, None))
        .unwrap();
    let deleted = Answer::Deleted { is_complete: true };
    assert_eq!(rig.ask("g", Command::Delete), Ok(deleted));
    for _ in 0..2 {
        assert!(rig.names().is_empty());
        assert!(rig.committed("g").is_empty());
        rig.move_coordinator();
    }
}

/// One batch of the log takes no more.
#[test]
fn a_group_with_very_many_offsets_is_deleted_in_several_goes() {
    let mut rig = Rig::new();
    let group = "g".repeat(1_000);
    let at_once = deleted_at_once(&group.as_str().try_into().unwrap());
    let many = 0..=i32::try_from(at_once).unwrap();
    let offsets: Vec<Commit> = many.map(|index| commit("orders", index, 5)).collect();
    rig.commit(&group, Claim::default(), &offsets).unwrap();
    let before = rig.log.len();
    let in_part = Answer::Deleted { is_complete: false };
    assert_eq!(rig.ask(&group, Command::Delete), Ok(in_part));
    assert_eq!(rig.log.len() - before, at_once);
    assert_eq!(rig.committed(&group).len(), 1);
    let whole = Answer::Deleted { is_complete: true };
    assert_eq!(rig.ask(&group, Command::Delete), Ok(whole));
    assert!(rig.names().is_empty());
}

#[test]
fn an_empty_classic_group_becomes_a_consumer_group_and_keeps_its_offsets() {
    let mut rig = Rig::new();
    rig.write(&[classic(&[])]);
    rig.move_coordinator();
    rig.commit("g", Claim::default(), &[commit("orders", 0, 5)])
        .unwrap();
    rig.heartbeat("g", join("a", &["orders"])).unwrap();
    for _ in 0..2 {
        let described = rig.ask("g", Command::Describe).unwrap();
        let Answer::Described(Description::Consumer(group)) = described else {
            panic!("not a consumer group: {described:?}");
        };
        assert_eq!(group.members.len(), 1);
        assert_eq!(rig.committed("g").len(), 1);
        rig.move_coordinator();
    }
}

#[test]
fn a_classic_group_with_members_takes_no_consumer() {
    let mut rig = Rig::new();
    rig.write(&[classic(&["c"])]);
    rig.move_coordinator();
    let refused = rig.heartbeat("g", join("a", &["orders"])).unwrap_err();
    assert_eq!(
        refused,
        CoordinatorError::IsClassic("g".try_into().unwrap())
    );
    let described = rig.ask("g", Command::Describe).unwrap();
    assert!(matches!(
        described,
        Answer::Described(Description::Classic(_))
    ));
}

#[test]
fn one_group_more_than_allowed_is_refused_and_the_others_go_on() {
    let mut rig = Rig::with(CoordinatorConfig {
        groups_max: 2,
        ..CoordinatorConfig::default()
    });
    let offset = [commit("orders", 0, 5)];
    for group in ["a", "b"] {
        rig.commit(group, Claim::default(), &offset).unwrap();
    }
    let refused = rig.commit("c", Claim::default(), &offset).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyViolation);
    let refused = rig.heartbeat("c", join("m", &["orders"])).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyViolation);
    rig.heartbeat("b", join("m", &["orders"])).unwrap();
    rig.ask("a", Command::Delete).unwrap();
    rig.commit("c", Claim::default(), &offset).unwrap();
}

#[test]
fn a_refused_join_leaves_no_group_behind() {
    let mut rig = Rig::new();
    let nothing = rig.heartbeat("g", join("a", &[])).unwrap_err();
    assert_eq!(nothing.code(), ErrorCode::InvalidRequest);
    assert!(rig.names().is_empty());
}

/// A group of two static members as another broker may have left it: they have no time at all to
/// join again. The first falls silent, and the second does not come either.
#[test]
fn a_round_that_nobody_joins_does_not_keep_the_coordinator_awake() {
    let mut record = classic(&["a", "b"]);
    let GroupRecord::GroupMetadata {
        value: Some(value), ..
    } = &mut record
    else {
        unreachable!("the record of a group");
    };
    for (member, session_timeout_ms) in value.members.iter_mut().zip([10_000, 100_000]) {
        member.group_instance_id = Some(format!("instance of {}", member.member_id));
        member.rebalance_timeout_ms = 0;
        member.session_timeout_ms = session_timeout_ms;
    }
    let mut rig = Rig::new();
    rig.write(&[record]);
    rig.move_coordinator();
    let end = rig.now + Duration::from_secs(100);
    let mut ticks = 0;
    while let Some(due) = rig.coordinator.next_deadline().filter(|due| *due <= end) {
        ticks += 1;
        assert!(ticks <= 30, "the coordinator is kept awake");
        rig.turn_clock(due.duration_since(rig.now));
    }
    let states: Vec<GroupState> = rig.coordinator.list().iter().map(|it| it.state).collect();
    assert_eq!(states, [GroupState::Classic(classic::GroupState::Empty)]);
}
