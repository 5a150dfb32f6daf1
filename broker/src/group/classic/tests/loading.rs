//! Another coordinator takes the group over, with nothing but the records.

use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::group::GroupId;
use crate::group::classic::*;

#[test]
fn a_loaded_group_is_the_one_that_was_recorded() {
    let mut rig = Rig::new();
    let mut seats = rig.stable(&["a", "b"]);
    rig.leave(vec![leaving(&seats[0].0)]);
    let again = rig.send_join(rejoin("b", &seats[1].0));
    seats = rig.settle(&[again], &["b"]);
    let before = rig.group.describe();
    rig.reload();
    assert_eq!(rig.group.describe(), before);
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::None);
    let sync = rig.send_sync(&seats[0], &[]);
    assert_eq!(rig.assigned(sync), bytes("b"));
}

#[test]
fn every_member_has_a_session_timeout_to_find_the_new_coordinator() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    rig.pass(seconds(9));
    rig.reload();
    rig.pass(seconds(9));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::None);
    rig.pass(seconds(1));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.heartbeat(&seats[1]), ErrorCode::UnknownMemberId);
}

#[test]
fn a_generation_without_assignments_is_lost_with_its_coordinator() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let join = rig.send_join(rejoin("a", &seats[0].0));
    let seat = rig.seat(join);
    assert_eq!(seat.1, 2);
    rig.reload();
    let sync = rig.send_sync(&seat, &[(&seat.0, "p0")]);
    assert_eq!(rig.refused(sync), ErrorCode::IllegalGeneration);
    let join = rig.send_join(rejoin("a", &seat.0));
    rig.settle(&[join], &["a"]);
}

#[test]
fn a_loaded_member_that_offers_more_than_was_recorded_joins_anew() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    rig.reload();
    // The record holds what it said for `range` only.
    let join = rig.send_join(rejoin("b", &seats[1].0));
    assert!(rig.waits(join));
}

#[test]
fn the_tombstone_of_a_removed_group_ends_it() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let refused = rig.group.remove().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NonEmptyGroup);
    rig.leave(vec![leaving(&seats[0].0)]);
    let outcome = rig.group.remove().unwrap();
    assert_eq!(outcome.records.len(), 1);
    assert_eq!(outcome.records[0].metadata, None);
    rig.records.extend(outcome.records);
    assert_eq!(rig.group.state(), GroupState::Dead);
    let join = rig.send_join(join("a"));
    assert_eq!(rig.refused(join), ErrorCode::CoordinatorNotAvailable);
    let again = rig.group.remove().unwrap_err();
    assert_eq!(again.code(), ErrorCode::CoordinatorNotAvailable);
    rig.reload();
    assert_eq!(rig.group.state(), GroupState::Dead);
    assert!(rig.group.is_forgettable());
}

#[test]
fn whoever_waits_is_sent_on_when_the_coordinator_stops() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    let waiting = rig.send_join(rejoin("a", &seats[0].0));
    let group = std::mem::replace(
        &mut rig.group,
        ClassicGroup::new(GroupId::new("g"), ClassicConfig::default()),
    );
    let replies = group.stop();
    let [(token, Reply::Join(Err(error)))] = &replies[..] else {
        panic!("{replies:?}");
    };
    assert_eq!((*token, error.code()), (waiting, ErrorCode::NotCoordinator));
}

#[test]
fn a_group_shows_its_members_and_their_assignments() {
    let mut rig = Rig::new();
    rig.stable(&["a"]);
    let described = rig.group.describe();
    assert_eq!(described.state.to_string(), "Stable");
    assert_eq!(described.protocol.as_deref(), Some("range"));
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.members[0].client_id, "a");
    assert_eq!(described.members[0].metadata, bytes("topics"));
    assert_eq!(described.members[0].assignment, bytes("a"));
    rig.join_anew("b");
    let described = rig.group.describe();
    assert_eq!(described.state.to_string(), "PreparingRebalance");
    assert_eq!(described.protocol, None);
    assert_eq!(described.members.len(), 2);
}
