//! Who may commit and fetch offsets.

use corelog_protocol::ErrorCode;

use super::rig::{Rig, as_instance, join, saying};
use crate::group::MemberId;
use crate::group::consumer::{GroupError, HeartbeatEpoch};

fn code(checked: Result<(), GroupError>) -> Option<ErrorCode> {
    checked.err().map(|error| error.code())
}

#[test]
fn members_commit_and_fetch_at_their_epoch_only() {
    let mut rig = Rig::new(&[("orders", 1)]);
    rig.join("a", &["orders"]);
    let (a, b) = (MemberId::new("a"), MemberId::new("b"));
    let group = &rig.group;
    assert_eq!(group.check_commit(&a, 1), Ok(()));
    assert_eq!(group.check_fetch(Some(&a), 1), Ok(()));
    for epoch in [-1, 0, 2] {
        let stale = Some(ErrorCode::StaleMemberEpoch);
        assert_eq!(code(group.check_commit(&a, epoch)), stale);
        assert_eq!(code(group.check_fetch(Some(&a), epoch)), stale);
    }
    let unknown = Some(ErrorCode::UnknownMemberId);
    assert_eq!(code(group.check_commit(&b, 1)), unknown);
    assert_eq!(code(group.check_fetch(Some(&b), 1)), unknown);
}

#[test]
fn consumers_without_a_group_commit_while_it_has_no_members() {
    let mut rig = Rig::new(&[("orders", 1)]);
    let nobody = MemberId::new("");
    assert_eq!(rig.group.check_commit(&nobody, -1), Ok(()));
    rig.join("a", &["orders"]);
    let refused = code(rig.group.check_commit(&nobody, -1));
    assert_eq!(refused, Some(ErrorCode::UnknownMemberId));
    rig.send(&saying("a", HeartbeatEpoch::Leave)).unwrap();
    assert_eq!(rig.group.check_commit(&nobody, -1), Ok(()));
    let refused = code(rig.group.check_commit(&nobody, 0));
    assert_eq!(refused, Some(ErrorCode::UnknownMemberId));
}

#[test]
fn an_administrator_fetches_without_being_a_member() {
    let mut rig = Rig::new(&[("orders", 1)]);
    rig.join("a", &["orders"]);
    assert_eq!(rig.group.check_fetch(None, -1), Ok(()));
    let refused = code(rig.group.check_fetch(None, 1));
    assert_eq!(refused, Some(ErrorCode::InvalidRequest));
}

#[test]
fn a_static_member_that_is_away_commits_nothing() {
    let mut rig = Rig::new(&[("orders", 1)]);
    rig.send(&as_instance("one", join("a", &["orders"])))
        .unwrap();
    let leaving = as_instance("one", saying("a", HeartbeatEpoch::LeaveForNow));
    rig.send(&leaving).unwrap();
    for epoch in [1, -2] {
        let refused = code(rig.group.check_commit(&MemberId::new("a"), epoch));
        assert_eq!(refused, Some(ErrorCode::StaleMemberEpoch));
    }
}
