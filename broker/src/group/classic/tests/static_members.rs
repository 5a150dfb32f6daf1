//! KIP-345: members with a `group.instance.id`, which may restart without a rebalance.

use std::time::Duration;

use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::group::classic::*;

/// A stable group of the static members `i0`, `i1` and so on, the first of which leads.
fn stable_static(rig: &mut Rig, names: &[&str]) -> Vec<Seat> {
    let joins: Vec<Token> = names
        .iter()
        .enumerate()
        .map(|(index, name)| rig.send_join(join_static(name, &format!("i{index}"))))
        .collect();
    rig.settle(&joins, names)
}

fn sync_as(rig: &mut Rig, seat: &Seat, instance_id: &str) -> Token {
    rig.send_sync_as(SyncRequest {
        member_id: seat.0.clone(),
        instance_id: Some(instance_id.to_owned()),
        generation: seat.1,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    })
}

#[test]
fn a_restart_within_the_session_gets_the_old_assignment_without_a_rebalance() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b"]);
    let records = rig.records.len();
    let again = rig.send_join(join_static("b", "i1"));
    let seat = rig.seat(again);
    assert_ne!(seat.0, seats[1].0);
    assert_eq!(seat.1, 1);
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::None);
    let sync = sync_as(&mut rig, &seat, "i1");
    assert_eq!(rig.assigned(sync), bytes("b"));
    // The log must know the new id: another coordinator would fence it otherwise.
    assert_eq!(rig.records.len(), records + 1);
    rig.reload();
    assert_eq!(rig.heartbeat_as(&seat, Some("i1")), ErrorCode::None);
}

#[test]
fn the_process_that_was_replaced_is_fenced_everywhere() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b"]);
    let old = &seats[1];
    rig.send_join(join_static("b", "i1"));
    assert_eq!(
        rig.heartbeat_as(old, Some("i1")),
        ErrorCode::FencedInstanceId
    );
    let sync = sync_as(&mut rig, old, "i1");
    assert_eq!(rig.refused(sync), ErrorCode::FencedInstanceId);
    let join = rig.send_join(JoinRequest {
        member_id: Some(old.0.clone()),
        ..join_static("b", "i1")
    });
    assert_eq!(rig.refused(join), ErrorCode::FencedInstanceId);
    let leave = Leaving {
        instance_id: Some("i1".to_owned()),
        ..leaving(&old.0)
    };
    assert_eq!(rig.leave(vec![leave]), [ErrorCode::FencedInstanceId]);
    let claim = CommitClaim {
        member_id: Some(old.0.clone()),
        instance_id: Some("i1".to_owned()),
        generation: Some(1),
        is_transactional: false,
    };
    let refused = rig.group.check_commit(rig.at.now, &claim);
    assert_eq!(code(refused.as_ref().err()), ErrorCode::FencedInstanceId);
    // Without its instance id it is simply unknown.
    assert_eq!(rig.heartbeat(old), ErrorCode::UnknownMemberId);
}

#[test]
fn a_request_that_waits_is_fenced_when_the_process_is_replaced() {
    let mut rig = Rig::new();
    let first = rig.send_join(join_static("a", "i0"));
    let second = rig.send_join(join_static("a", "i0"));
    assert_eq!(rig.refused(first), ErrorCode::FencedInstanceId);
    let other = rig.send_join(join_static("b", "i1"));
    rig.pass(seconds(6));
    let seats = [second, other].map(|join| rig.seat(join));
    let follower = [1, 0][usize::from(rig.joined(second).members.is_empty())];
    let sync = sync_as(&mut rig, &seats[follower], &format!("i{follower}"));
    assert!(rig.waits(sync));
    let replaced = rig.send_join(join_static("x", &format!("i{follower}")));
    assert_eq!(rig.refused(sync), ErrorCode::FencedInstanceId);
    // The leader has been told of the old id: all have to join again.
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
    assert!(rig.waits(replaced));
}

#[test]
fn a_leader_that_restarts_is_told_that_there_is_nothing_to_assign() {
    let mut rig = Rig::new();
    stable_static(&mut rig, &["a", "b"]);
    let again = rig.send_join(join_static("a", "i0"));
    let joined = rig.joined(again);
    assert_eq!(joined.leader, Some(joined.member_id.clone()));
    assert!(joined.skip_assignment);
    assert_eq!(joined.members.len(), 2);
    let seat = rig.seat(again);
    let sync = sync_as(&mut rig, &seat, "i0");
    assert_eq!(rig.assigned(sync), bytes("a"));
}

#[test]
fn an_old_client_that_restarts_as_leader_takes_itself_for_a_follower() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b"]);
    let again = rig.send_join(JoinRequest {
        knows_skip_assignment: false,
        ..join_static("a", "i0")
    });
    let joined = rig.joined(again);
    assert_eq!(joined.leader, Some(seats[0].0.clone()), "its former self");
    assert!(!joined.skip_assignment);
    assert!(joined.members.is_empty());
    // It leads all the same: when it joins again, all do.
    let leader = rig.send_join(JoinRequest {
        member_id: Some(joined.member_id),
        ..join_static("a", "i0")
    });
    assert!(rig.waits(leader));
}

#[test]
fn a_restart_that_changes_the_choice_of_the_protocol_sets_off_a_rebalance() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b"]);
    let again = rig.send_join(JoinRequest {
        protocols: vec![protocol("sticky", "topics")],
        ..join_static("b", "i1")
    });
    assert!(rig.waits(again));
    let leader = rig.send_join(JoinRequest {
        member_id: Some(seats[0].0.clone()),
        ..join_static("a", "i0")
    });
    assert_eq!(rig.joined(leader).protocol.as_deref(), Some("sticky"));
    assert_eq!(rig.joined(again).generation, 2);
}

#[test]
fn a_static_member_that_is_restarting_is_not_dropped_before_its_session_ends() {
    let mut rig = Rig::new();
    let quick = |request: JoinRequest| JoinRequest {
        rebalance_timeout: seconds(5),
        ..request
    };
    let joins = [
        rig.send_join(quick(join_static("a", "i0"))),
        rig.send_join(quick(join_static("b", "i1"))),
    ];
    rig.pass(seconds(5));
    let seats = rig.settle(&joins, &["a", "b"]);
    let as_member = |index: usize, request| JoinRequest {
        member_id: Some(seats[index].0.clone()),
        ..quick(request)
    };
    let leader = rig.send_join(as_member(0, join_static("a", "i0")));
    rig.pass(seconds(5));
    let joined = rig.joined(leader);
    assert_eq!((joined.generation, joined.members.len()), (2, 2));
    // It comes back before it owes its sync for too long, and a new round begins for it.
    let back = rig.send_join(quick(join_static("b", "i1")));
    let leader = rig.send_join(as_member(0, join_static("a", "i0")));
    rig.settle(&[leader, back], &["a", "b"]);
}

#[test]
fn when_only_static_members_are_left_the_round_waits_for_them() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b"]);
    let changed = JoinRequest {
        member_id: Some(seats[0].0.clone()),
        ..join_static("a", "i0")
    };
    let join = rig.send_join(changed);
    let leave = Leaving {
        instance_id: Some("i0".to_owned()),
        ..leaving(&seats[0].0)
    };
    rig.leave(vec![leave]);
    assert_eq!(rig.refused(join), ErrorCode::UnknownMemberId);
    for _ in 0..14 {
        rig.pass(seconds(5));
        let beat = rig.heartbeat_as(&seats[1], Some("i1"));
        assert_eq!(
            beat,
            ErrorCode::RebalanceInProgress,
            "nobody took its place"
        );
    }
    let again = rig.send_join(JoinRequest {
        member_id: Some(seats[1].0.clone()),
        ..join_static("b", "i1")
    });
    assert_eq!(rig.joined(again).generation, 2);
}

/// Of two static members one falls silent, and the other does not join. A round that gave it the same
/// time to do so again and again, which may be none, would stop the core until its session ends: Kafka
/// lets a member have any rebalance time-out.
#[test]
fn a_round_that_only_static_members_could_join_sleeps_between_its_looks() {
    for timeout in [Duration::ZERO, Duration::from_millis(1)] {
        let mut rig = Rig::new();
        let seats = stable_static(&mut rig, &["a", "b"]);
        let metadata = rig.records.last_mut().unwrap().metadata.as_mut().unwrap();
        for member in &mut metadata.members {
            member.rebalance_timeout = timeout;
            if member.instance_id.as_deref() == Some("i1") {
                member.session_timeout = seconds(60);
            }
        }
        rig.reload();
        rig.pass(SESSION);
        assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
        let ticks = rig.pass(seconds(30));
        assert!(ticks <= 7, "{ticks} ticks with a time-out of {timeout:?}");
        assert_eq!(
            rig.heartbeat_as(&seats[1], Some("i1")),
            ErrorCode::RebalanceInProgress
        );
        // It renewed its session, and no more.
        let ticks = rig.pass(seconds(59));
        assert!(ticks <= 13, "{ticks} ticks with a time-out of {timeout:?}");
        assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
        let ticks = rig.pass(seconds(1));
        assert!(ticks <= 2, "{ticks} ticks with a time-out of {timeout:?}");
        assert_eq!(rig.group.state(), GroupState::Empty);
    }
}

/// Whoever joins meanwhile is answered at the next look, and waits no longer for the others.
#[test]
fn a_static_member_that_joins_a_sleeping_round_is_answered() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b", "c"]);
    let metadata = rig.records.last_mut().unwrap().metadata.as_mut().unwrap();
    for member in &mut metadata.members {
        member.rebalance_timeout = Duration::ZERO;
        if member.instance_id.as_deref() != Some("i0") {
            member.session_timeout = seconds(60);
        }
    }
    rig.reload();
    rig.pass(SESSION);
    let join = rig.send_join(JoinRequest {
        member_id: Some(seats[1].0.clone()),
        ..join_static("b", "i1")
    });
    assert!(rig.waits(join), "the third member is expected");
    rig.pass(seconds(5));
    assert_eq!(rig.joined(join).generation, 2);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut rig = Rig::new();
    let seats = stable_static(&mut rig, &["a", "b"]);
    let by_instance = Leaving {
        member_id: None,
        instance_id: Some("i1".to_owned()),
        reason: None,
    };
    assert_eq!(rig.leave(vec![by_instance.clone()]), [ErrorCode::None]);
    let beat = rig.heartbeat_as(&seats[1], Some("i1"));
    assert_eq!(beat, ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.leave(vec![by_instance]), [ErrorCode::UnknownMemberId]);
}
