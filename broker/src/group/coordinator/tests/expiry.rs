use std::time::Duration;

use super::rig::{Rig, SESSION, commit, go_on, join};
use crate::group::consumer::HeartbeatEpoch;
use crate::group::coordinator::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Offsets are kept for an hour and looked at every minute.
fn rig() -> Rig {
    Rig::with(CoordinatorConfig {
        offsets_retention: 60 * MINUTE,
        offsets_retention_check_interval: MINUTE,
        ..CoordinatorConfig::default()
    })
}

#[test]
fn an_offset_that_nobody_reads_on_from_expires_and_its_group_with_the_last_one() {
    let mut rig = rig();
    rig.commit("g", Claim::default(), &[commit("orders", 0, 5)])
        .unwrap();
    rig.turn_clock(30 * MINUTE);
    rig.commit("g", Claim::default(), &[commit("orders", 1, 5)])
        .unwrap();
    rig.turn_clock(29 * MINUTE);
    assert_eq!(rig.committed("g").len(), 2);
    rig.turn_clock(MINUTE);
    assert_eq!(rig.committed("g").len(), 1);
    rig.turn_clock(31 * MINUTE);
    for _ in 0..2 {
        assert!(rig.names().is_empty());
        rig.move_coordinator();
    }
}

#[test]
fn what_a_member_reads_does_not_expire() {
    let mut rig = rig();
    let all = [commit("orders", 0, 5), commit("payments", 0, 6)];
    rig.commit("g", Claim::default(), &all).unwrap();
    let mut epoch = rig
        .heartbeat("g", join("a", &["orders"]))
        .unwrap()
        .member_epoch;
    for _ in 0..120 {
        rig.turn_clock(SESSION - Duration::from_secs(1));
        let at = HeartbeatEpoch::At(epoch);
        epoch = rig
            .heartbeat("g", go_on("a", at, None))
            .unwrap()
            .member_epoch;
    }
    let left: Vec<_> = rig.committed("g").into_keys().collect();
    assert_eq!(left, [("orders".to_owned(), 0)]);
    // Unread from now on.
    rig.heartbeat("g", go_on("a", HeartbeatEpoch::Leave, None))
        .unwrap();
    rig.turn_clock(MINUTE);
    assert!(rig.names().is_empty());
}

#[test]
fn a_group_whose_members_left_without_a_commit_is_forgotten() {
    let mut rig = rig();
    rig.heartbeat("g", join("a", &["orders"])).unwrap();
    rig.heartbeat("g", go_on("a", HeartbeatEpoch::Leave, None))
        .unwrap();
    assert!(rig.names().contains("g"));
    rig.turn_clock(MINUTE);
    for _ in 0..2 {
        assert!(rig.names().is_empty());
        rig.move_coordinator();
    }
}
