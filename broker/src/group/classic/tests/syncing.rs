use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::group::classic::*;

#[test]
fn members_wait_for_the_leader_and_get_what_it_assigned() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b"), rig.join_anew("c")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    let follower = rig.send_sync(&seats[1], &[]);
    assert!(rig.waits(follower));
    assert!(rig.records.is_empty());
    let leader = rig.send_sync(&seats[0], &[(&seats[0].0, "p0"), (&seats[1].0, "p1")]);
    assert_eq!(rig.assigned(leader), bytes("p0"));
    assert_eq!(rig.assigned(follower), bytes("p1"));
    // One who asks later gets it at once; the leader gave it nothing.
    let late = rig.send_sync(&seats[2], &[]);
    assert_eq!(rig.assigned(late), bytes(""));

    let [record] = &rig.records[..] else {
        panic!("{:?}", rig.records);
    };
    let metadata = record.metadata.clone().unwrap();
    assert_eq!(metadata.generation, 1);
    assert_eq!(metadata.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(metadata.protocol.as_deref(), Some("range"));
    assert_eq!(metadata.leader, Some(seats[0].0.clone()));
    assert_eq!(metadata.state_timestamp, Some(rig.at.unix_millis));
    let mut assignments: Vec<_> = metadata.members.iter().map(|m| &m.assignment[..]).collect();
    assignments.sort();
    assert_eq!(assignments, [&b""[..], b"p0", b"p1"]);
}

#[test]
fn only_the_leader_assigns() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    let usurper = rig.send_sync(&seats[1], &[(&seats[1].0, "everything")]);
    assert!(rig.waits(usurper));
    rig.send_sync(&seats[0], &[(&seats[0].0, "p0"), (&seats[1].0, "p1")]);
    assert_eq!(rig.assigned(usurper), bytes("p1"));
    let usurper = rig.send_sync(&seats[1], &[(&seats[1].0, "everything")]);
    assert_eq!(rig.assigned(usurper), bytes("p1"));
}

#[test]
fn a_sync_of_another_generation_or_protocol_is_refused() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    for generation in [0, 2, -1] {
        let sync = rig.send_sync(&(seats[0].0.clone(), generation), &[]);
        assert_eq!(rig.refused(sync), ErrorCode::IllegalGeneration);
    }
    let request = |protocol_type: &str, protocol: &str| SyncRequest {
        member_id: seats[0].0.clone(),
        instance_id: None,
        generation: 1,
        protocol_type: Some(protocol_type.to_owned()),
        protocol: Some(protocol.to_owned()),
        assignments: Vec::new(),
    };
    for (protocol_type, protocol) in [("connect", "range"), ("consumer", "sticky")] {
        let sync = rig.send_sync_as(request(protocol_type, protocol));
        assert_eq!(rig.refused(sync), ErrorCode::InconsistentGroupProtocol);
    }
    let sync = rig.send_sync_as(request("consumer", "range"));
    assert_eq!(rig.assigned(sync), bytes("a"));
}

#[test]
fn a_sync_during_the_join_phase_is_sent_back() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    rig.join_anew("b");
    let sync = rig.send_sync(&seats[0], &[]);
    assert_eq!(rig.refused(sync), ErrorCode::RebalanceInProgress);
}

#[test]
fn members_that_do_not_sync_in_time_are_dropped() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    rig.send_sync(&seats[0], &[(&seats[0].0, "p0"), (&seats[1].0, "p1")]);
    assert_eq!(rig.group.state(), GroupState::Stable);
    for _ in 0..11 {
        rig.pass(seconds(5));
        for seat in &seats {
            assert_eq!(rig.heartbeat(seat), ErrorCode::None);
        }
    }
    rig.pass(seconds(5));
    assert_eq!(rig.heartbeat(&seats[1]), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_leader_that_does_not_sync_is_dropped_and_another_leads() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    let follower = rig.send_sync(&seats[1], &[]);
    for _ in 0..12 {
        rig.heartbeat(&seats[0]);
        rig.pass(seconds(5));
    }
    assert_eq!(rig.refused(follower), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::UnknownMemberId);
    let again = rig.send_join(rejoin("b", &seats[1].0));
    rig.settle(&[again], &["b"]);
}

#[test]
fn a_leader_that_dies_with_the_assignments_ends_the_wait() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let follower = rig.send_sync(&rig.seat(joins[1]), &[]);
    // The session of the leader, not the longer rebalance time-out.
    rig.pass(seconds(9));
    assert!(rig.waits(follower));
    rig.pass(seconds(1));
    assert_eq!(rig.refused(follower), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_second_sync_supersedes_the_one_that_waits() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    let lost = rig.send_sync(&seats[1], &[]);
    let sync = rig.send_sync(&seats[1], &[]);
    assert_eq!(rig.refused(lost), ErrorCode::RebalanceInProgress);
    rig.send_sync(&seats[0], &[(&seats[1].0, "p1")]);
    assert_eq!(rig.assigned(sync), bytes("p1"));
}

#[test]
fn a_silent_member_makes_the_others_share_what_it_had() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    rig.pass(seconds(5));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::None);
    rig.pass(seconds(5));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.heartbeat(&seats[1]), ErrorCode::UnknownMemberId);
    let alone = rig.send_join(rejoin("a", &seats[0].0));
    rig.settle(&[alone], &["a"]);
}

#[test]
fn heartbeats_of_strangers_and_of_other_generations_are_refused() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let member = seats[0].0.clone();
    assert_eq!(
        rig.heartbeat(&(member.clone(), 0)),
        ErrorCode::IllegalGeneration
    );
    let stranger = rig.given_id("b");
    assert_eq!(rig.heartbeat(&(stranger, 1)), ErrorCode::UnknownMemberId);
    rig.leave(vec![leaving(&member)]);
    assert_eq!(rig.heartbeat(&(member, 1)), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_syncs_late_but_in_time_stays() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    rig.send_sync(&seats[0], &[(&seats[0].0, "p0"), (&seats[1].0, "p1")]);
    for round in 0..14 {
        rig.pass(seconds(5));
        if round == 5 {
            let late = rig.send_sync(&seats[1], &[]);
            assert_eq!(rig.assigned(late), bytes("p1"));
        }
        for seat in &seats {
            assert_eq!(rig.heartbeat(seat), ErrorCode::None);
        }
    }
}

#[test]
fn a_member_sent_back_from_its_sync_has_a_session_again() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    let follower = rig.send_sync(&seats[1], &[]);
    // Longer than the follower's session, which does not count while it waits.
    for _ in 0..6 {
        rig.pass(seconds(5));
        rig.heartbeat(&seats[0]);
    }
    assert!(rig.waits(follower));
    rig.leave(vec![leaving(&seats[0].0)]);
    assert_eq!(rig.refused(follower), ErrorCode::RebalanceInProgress);
    rig.pass(seconds(9));
    assert_eq!(rig.group.state(), GroupState::PreparingRebalance);
    rig.pass(seconds(1));
    assert_eq!(rig.group.state(), GroupState::Empty);
}

#[test]
fn an_abandoned_generation_leaves_no_assignments() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    rig.send_join(rejoin("a", &seats[0].0));
    assert_eq!(rig.group.state(), GroupState::CompletingRebalance);
    rig.join_anew("b");
    let described = rig.group.describe();
    assert_eq!(described.state, GroupState::PreparingRebalance);
    assert_eq!(described.members[0].assignment, bytes(""));
}
