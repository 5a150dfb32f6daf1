//! Who may commit offsets, and which expire.

use std::collections::BTreeSet;

use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::group::MemberId;
use crate::group::classic::*;

fn claim(member_id: Option<&MemberId>, generation: Option<i32>) -> CommitClaim {
    CommitClaim {
        member_id: member_id.cloned(),
        instance_id: None,
        generation,
        is_transactional: false,
    }
}

fn check(rig: &mut Rig, claim: &CommitClaim) -> ErrorCode {
    let checked = rig.group.check_commit(rig.at.now, claim);
    code(checked.as_ref().err())
}

#[test]
fn members_of_the_generation_commit() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let member = Some(&seats[0].0);
    let stranger = MemberId::new("stranger");
    for (claim, expected) in [
        (claim(member, Some(1)), ErrorCode::None),
        (claim(member, Some(0)), ErrorCode::IllegalGeneration),
        (claim(member, Some(2)), ErrorCode::IllegalGeneration),
        (claim(member, None), ErrorCode::IllegalGeneration),
        (claim(Some(&stranger), Some(1)), ErrorCode::UnknownMemberId),
        (claim(None, Some(1)), ErrorCode::UnknownMemberId),
        (claim(None, None), ErrorCode::UnknownMemberId),
    ] {
        assert_eq!(check(&mut rig, &claim), expected, "{claim:?}");
    }
}

#[test]
fn whoever_is_no_member_commits_only_to_an_empty_group() {
    let mut rig = Rig::new();
    assert_eq!(check(&mut rig, &claim(None, None)), ErrorCode::None);
    let stranger = MemberId::new("stranger");
    let late = claim(Some(&stranger), Some(1));
    assert_eq!(check(&mut rig, &late), ErrorCode::UnknownMemberId);
}

#[test]
fn commits_wait_while_the_assignments_are_on_their_way() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    rig.join_anew("b");
    // The member may commit what it is about to give up.
    let commit = claim(Some(&seats[0].0), Some(1));
    assert_eq!(check(&mut rig, &commit), ErrorCode::None);
    rig.send_join(rejoin("a", &seats[0].0));
    let commit = claim(Some(&seats[0].0), Some(2));
    assert_eq!(check(&mut rig, &commit), ErrorCode::RebalanceInProgress);
    let transactional = CommitClaim {
        is_transactional: true,
        ..commit
    };
    assert_eq!(check(&mut rig, &transactional), ErrorCode::None);
    // Old transactional producers do not say who they are.
    let nobody = CommitClaim {
        is_transactional: true,
        ..claim(None, None)
    };
    assert_eq!(check(&mut rig, &nobody), ErrorCode::None);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    rig.pass(seconds(9));
    let commit = claim(Some(&seats[0].0), Some(1));
    assert_eq!(check(&mut rig, &commit), ErrorCode::None);
    rig.pass(seconds(9));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::None);
}

#[test]
fn nobody_commits_to_a_removed_group() {
    let mut rig = Rig::new();
    rig.group.remove().unwrap();
    let refused = check(&mut rig, &claim(None, None));
    assert_eq!(refused, ErrorCode::CoordinatorNotAvailable);
}

/// Topics, separated by commas.
fn parse(subscription: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(subscription).ok()?;
    Some(text.split(',').map(str::to_owned).collect())
}

#[test]
fn offsets_expire_by_what_the_members_read() {
    let mut rig = Rig::new();
    let never_joined = OffsetExpiry::SinceCommit {
        subscribed: BTreeSet::new(),
    };
    assert_eq!(rig.group.offset_expiry(parse), never_joined);

    let id = rig.given_id("a");
    let join = rig.send_join(JoinRequest {
        protocols: vec![protocol("range", "t1,t2")],
        ..rejoin("a", &id)
    });
    assert_eq!(rig.group.offset_expiry(parse), OffsetExpiry::Never);
    rig.settle(&[join], &["a"]);
    let subscribed = OffsetExpiry::SinceCommit {
        subscribed: ["t1", "t2"].map(str::to_owned).into(),
    };
    assert_eq!(rig.group.offset_expiry(parse), subscribed);
    rig.reload();
    assert_eq!(rig.group.offset_expiry(parse), subscribed);
    assert_eq!(rig.group.offset_expiry(|_| None), OffsetExpiry::Never);

    rig.leave(vec![leaving(&id)]);
    let empty = OffsetExpiry::SinceEmpty(Some(rig.at.unix_millis));
    rig.pass(seconds(5));
    assert_eq!(rig.group.offset_expiry(parse), empty);
    assert_eq!(rig.group.subscribed_topics(parse), Some(BTreeSet::new()));
}

#[test]
fn nobody_reads_what_other_kinds_of_groups_subscribe_to() {
    let mut rig = Rig::new();
    let join = rig.send_join(JoinRequest {
        protocol_type: "connect".to_owned(),
        takes_member_id_first: false,
        ..join("a")
    });
    rig.pass(seconds(3));
    let seat = rig.seat(join);
    rig.send_sync_as(SyncRequest {
        member_id: seat.0.clone(),
        instance_id: None,
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    });
    assert_eq!(rig.group.state(), GroupState::Stable);
    assert_eq!(rig.group.subscribed_topics(parse), None);
    assert_eq!(rig.group.offset_expiry(parse), OffsetExpiry::Never);
}
