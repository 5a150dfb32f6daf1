use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::group::MemberId;
use crate::group::classic::*;

#[test]
fn the_last_member_leaves_an_empty_group_on_record() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    assert_eq!(rig.leave(vec![leaving(&seats[0].0)]), [ErrorCode::None]);
    assert_eq!(rig.group.state(), GroupState::Empty);
    let metadata = rig.records.last().unwrap().metadata.clone().unwrap();
    assert_eq!(metadata.generation, 2);
    assert_eq!(metadata.protocol_type.as_deref(), Some("consumer"));
    assert_eq!((metadata.protocol, metadata.leader), (None, None));
    assert!(metadata.members.is_empty());
    assert!(!rig.group.is_forgettable(), "the log has a record of it");
    assert_eq!(rig.group.next_deadline(), None);
}

#[test]
fn several_leave_with_one_rebalance() {
    let mut rig = Rig::new();
    let mut seats = rig.stable(&["a", "b", "c"]);
    let left = rig.leave(vec![leaving(&seats[0].0), leaving(&seats[1].0)]);
    assert_eq!(left, [ErrorCode::None, ErrorCode::None]);
    let last = seats.remove(2);
    assert_eq!(rig.heartbeat(&last), ErrorCode::RebalanceInProgress);
    let again = rig.send_join(rejoin("c", &last.0));
    assert_eq!(rig.joined(again).generation, 2);
    rig.settle(&[again], &["c"]);
}

#[test]
fn each_member_that_leaves_has_its_own_result() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let unused = rig.given_id("b");
    let nobody = Leaving {
        member_id: None,
        instance_id: Some("nobody".to_owned()),
        reason: None,
    };
    let stranger = leaving(&MemberId::new("stranger"));
    let left = rig.leave(vec![
        nobody,
        stranger,
        leaving(&unused),
        leaving(&seats[0].0),
    ]);
    assert_eq!(
        left,
        [
            ErrorCode::UnknownMemberId,
            ErrorCode::UnknownMemberId,
            ErrorCode::None,
            ErrorCode::None,
        ]
    );
    assert_eq!(rig.group.state(), GroupState::Empty);
}

#[test]
fn a_refused_departure_changes_nothing() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    rig.leave(vec![leaving(&MemberId::new("stranger"))]);
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::None);
}

#[test]
fn whoever_leaves_is_not_waited_for() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    let third = rig.join_anew("c");
    let unused = rig.given_id("d");
    let first = rig.send_join(rejoin("a", &seats[0].0));
    assert!(rig.waits(first));
    rig.leave(vec![leaving(&seats[1].0)]);
    assert!(rig.waits(first), "an id was given out");
    rig.leave(vec![leaving(&unused)]);
    rig.settle(&[first, third], &["a", "c"]);
}

#[test]
fn requests_of_one_who_leaves_are_answered() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    let join = rig.send_join(rejoin("a", &seats[0].0));
    rig.leave(vec![leaving(&seats[0].0)]);
    assert_eq!(rig.refused(join), ErrorCode::UnknownMemberId);

    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let follower = rig.seat(joins[1]);
    let sync = rig.send_sync(&follower, &[]);
    rig.leave(vec![leaving(&follower.0)]);
    assert_eq!(rig.refused(sync), ErrorCode::UnknownMemberId);
}
