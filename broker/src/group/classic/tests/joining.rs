use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::group::MemberId;
use crate::group::classic::*;

#[test]
fn a_new_member_is_given_an_id_and_joins_with_it() {
    let mut rig = Rig::new();
    let id = rig.given_id("app");
    assert!(id.as_str().starts_with("app-"));
    let join = rig.send_join(rejoin("app", &id));
    rig.pass(seconds(3));
    let joined = rig.joined(join);
    assert_eq!(
        (joined.member_id.clone(), joined.generation),
        (id.clone(), 1)
    );
    assert_eq!(joined.leader, Some(id));
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, bytes("topics"));
}

#[test]
fn an_old_client_joins_without_an_id() {
    let mut rig = Rig::new();
    let old = JoinRequest {
        takes_member_id_first: false,
        ..join("old")
    };
    let join = rig.send_join(old);
    rig.pass(seconds(3));
    assert_eq!(rig.joined(join).generation, 1);
}

#[test]
fn an_id_that_nobody_joins_with_is_void_after_the_session_timeout() {
    let mut rig = Rig::new();
    let id = rig.given_id("app");
    assert!(!rig.group.is_forgettable());
    rig.pass(SESSION);
    assert!(rig.group.is_forgettable());
    let late = rig.send_join(rejoin("app", &id));
    assert_eq!(rig.refused(late), ErrorCode::UnknownMemberId);
}

#[test]
fn the_first_rebalance_waits_for_members_that_start_a_little_later() {
    let mut rig = Rig::new();
    let first = rig.join_anew("a");
    rig.pass(seconds(2));
    let second = rig.join_anew("b");
    // The delay is over, and begins again, because somebody came.
    rig.pass(seconds(2));
    assert!(rig.waits(first) && rig.waits(second));
    rig.pass(seconds(2));
    assert_eq!(rig.joined(first).generation, 1);
    assert_eq!(rig.joined(second).generation, 1);
    assert_eq!(rig.joined(first).members.len(), 2);
    assert!(rig.joined(second).members.is_empty(), "it does not lead");
}

#[test]
fn the_first_rebalance_does_not_wait_beyond_the_rebalance_timeout() {
    let mut rig = Rig::new();
    let first = rig.join_anew("a");
    for second in 0..58 {
        rig.pass(seconds(1));
        rig.join_anew(&format!("b{second}"));
    }
    assert!(rig.waits(first));
    rig.pass(seconds(2));
    assert_eq!(rig.joined(first).generation, 1);
}

#[test]
fn a_member_that_comes_later_makes_the_others_join_again() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let second = rig.join_anew("b");
    assert!(rig.waits(second));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::RebalanceInProgress);
    let first = rig.send_join(rejoin("a", &seats[0].0));
    // Everyone has joined: nobody waits for a time-out.
    assert_eq!(rig.joined(first).generation, 2);
    assert_eq!(rig.joined(second).generation, 2);
    rig.settle(&[first, second], &["a", "b"]);
}

#[test]
fn a_rebalance_waits_for_the_one_that_was_given_an_id() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    let second = rig.join_anew("b");
    let third_id = rig.given_id("c");
    let first = rig.send_join(rejoin("a", &seats[0].0));
    assert!(rig.waits(first) && rig.waits(second));
    let third = rig.send_join(rejoin("c", &third_id));
    rig.settle(&[first, second, third], &["a", "b", "c"]);
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_dropped() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    let third = rig.join_anew("c");
    let second = rig.send_join(rejoin("b", &seats[1].0));
    // The first member's process is alive, but does not poll.
    for _ in 0..11 {
        rig.pass(seconds(5));
        assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::RebalanceInProgress);
    }
    assert!(rig.waits(second));
    rig.pass(seconds(5));
    assert_eq!(rig.heartbeat(&seats[0]), ErrorCode::UnknownMemberId);
    let leaders = [second, third].map(|join| rig.joined(join).members.len());
    assert_eq!(
        leaders.iter().sum::<usize>(),
        2,
        "one of those who came leads"
    );
    rig.settle(&[second, third], &["b", "c"]);
}

#[test]
fn a_new_member_that_waits_too_long_is_taken_for_gone() {
    let mut rig = Rig::new();
    let slow = JoinRequest {
        rebalance_timeout: seconds(3_600),
        ..join("a")
    };
    let id = rig.given_id("a");
    let join = rig.send_join(JoinRequest {
        member_id: Some(id.clone()),
        ..slow.clone()
    });
    rig.pass(seconds(3));
    let seat = rig.seat(join);
    rig.send_sync(&seat, &[(&seat.0, "a")]);
    let new = rig.join_anew("b");
    for _ in 0..60 {
        rig.pass(seconds(5));
        assert_eq!(rig.heartbeat(&seat), ErrorCode::RebalanceInProgress);
    }
    assert_eq!(rig.refused(new), ErrorCode::UnknownMemberId);
    let again = rig.send_join(JoinRequest {
        member_id: Some(id),
        ..slow
    });
    assert_eq!(rig.joined(again).members.len(), 1);
}

#[test]
fn waiting_to_join_again_is_a_sign_of_life() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    rig.join_anew("c");
    let first = rig.send_join(rejoin("a", &seats[0].0));
    for _ in 0..11 {
        rig.pass(seconds(5));
        assert_eq!(rig.heartbeat(&seats[1]), ErrorCode::RebalanceInProgress);
    }
    assert!(rig.waits(first));
    let second = rig.send_join(rejoin("b", &seats[1].0));
    assert_eq!(rig.joined(first).generation, 2);
    assert_eq!(rig.joined(second).generation, 2);
}

#[test]
fn a_second_join_supersedes_the_one_that_waits() {
    let mut rig = Rig::new();
    let id = rig.given_id("a");
    let lost = rig.send_join(rejoin("a", &id));
    let join = rig.send_join(rejoin("a", &id));
    assert_eq!(rig.refused(lost), ErrorCode::RebalanceInProgress);
    rig.pass(seconds(3));
    assert_eq!(rig.joined(join).generation, 1);
}

#[test]
fn a_follower_with_nothing_new_is_told_where_the_group_stands() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    let again = rig.send_join(rejoin("b", &seats[1].0));
    assert_eq!(rig.joined(again).generation, 1);
    assert_eq!(rig.group.state(), GroupState::Stable);
    let sync = rig.send_sync(&seats[1], &[]);
    assert_eq!(rig.assigned(sync), bytes("b"));
}

#[test]
fn the_leader_or_a_changed_subscription_sets_off_a_rebalance() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    let leader = rig.send_join(rejoin("a", &seats[0].0));
    assert!(rig.waits(leader));
    assert_eq!(rig.heartbeat(&seats[1]), ErrorCode::RebalanceInProgress);
    let follower = rig.send_join(rejoin("b", &seats[1].0));
    let seats = rig.settle(&[leader, follower], &["a", "b"]);

    let changed = rig.send_join(JoinRequest {
        protocols: vec![protocol("range", "other topics"), protocol("sticky", "")],
        ..rejoin("b", &seats[1].0)
    });
    assert!(rig.waits(changed));
    let leader = rig.send_join(rejoin("a", &seats[0].0));
    let members = rig.joined(leader).members;
    assert!(
        members
            .iter()
            .any(|member| member.metadata == bytes("other topics"))
    );
}

#[test]
fn joining_again_before_the_leader_synced_repeats_the_reply() {
    let mut rig = Rig::new();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let leader = rig.seat(joins[0]);
    let again = rig.send_join(rejoin("a", &leader.0));
    assert_eq!(rig.joined(again), rig.joined(joins[0]));
    assert_eq!(rig.group.state(), GroupState::CompletingRebalance);
    // With another subscription everyone has to join again.
    let sync = rig.send_sync(&rig.seat(joins[1]), &[]);
    let changed = rig.send_join(JoinRequest {
        protocols: vec![protocol("range", "other topics")],
        ..rejoin("a", &leader.0)
    });
    assert_eq!(rig.refused(sync), ErrorCode::RebalanceInProgress);
    assert!(rig.waits(changed));
}

#[test]
fn members_choose_a_protocol_that_all_support() {
    let mut rig = Rig::new();
    let with = |client: &str, id: MemberId, names: &[&str]| JoinRequest {
        protocols: names.iter().map(|name| protocol(name, name)).collect(),
        ..rejoin(client, &id)
    };
    let ids = ["a", "b", "c"].map(|client| rig.given_id(client));
    let [a, b, c] = ids;
    let first = rig.send_join(with("a", a, &["x", "range", "sticky"]));
    let second = rig.send_join(with("b", b, &["sticky", "range", "y"]));
    let third = rig.send_join(with("c", c, &["sticky", "range"]));
    rig.pass(seconds(6));
    for join in [first, second, third] {
        assert_eq!(rig.joined(join).protocol.as_deref(), Some("sticky"));
    }
    assert_eq!(rig.joined(first).members[0].metadata, bytes("sticky"));
}

#[test]
fn a_member_with_which_nobody_can_agree_is_refused() {
    let mut rig = Rig::new();
    rig.stable(&["a"]);
    let stranger = rig.send_join(JoinRequest {
        protocols: vec![protocol("x", "")],
        ..join("b")
    });
    assert_eq!(rig.refused(stranger), ErrorCode::InconsistentGroupProtocol);
    let connect = rig.send_join(JoinRequest {
        protocol_type: "connect".to_owned(),
        ..join("b")
    });
    assert_eq!(rig.refused(connect), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(rig.group.state(), GroupState::Stable);

    let mut empty = Rig::new();
    for (protocol_type, protocols) in [("consumer", vec![]), ("", vec![protocol("range", "")])] {
        let join = empty.send_join(JoinRequest {
            protocol_type: protocol_type.to_owned(),
            protocols,
            ..join("a")
        });
        assert_eq!(empty.refused(join), ErrorCode::InconsistentGroupProtocol);
    }
}

#[test]
fn an_empty_group_may_change_its_type() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a"]);
    rig.leave(vec![leaving(&seats[0].0)]);
    assert_eq!(rig.group.state(), GroupState::Empty);
    let connect = JoinRequest {
        protocol_type: "connect".to_owned(),
        takes_member_id_first: false,
        ..join("b")
    };
    let join = rig.send_join(connect);
    rig.pass(seconds(3));
    assert_eq!(rig.joined(join).protocol_type.as_deref(), Some("connect"));
}

#[test]
fn joining_again_is_a_sign_of_life() {
    let mut rig = Rig::new();
    let seats = rig.stable(&["a", "b"]);
    rig.pass(seconds(9));
    rig.heartbeat(&seats[0]);
    rig.send_join(rejoin("b", &seats[1].0));
    rig.pass(seconds(9));
    assert_eq!(rig.heartbeat(&seats[1]), ErrorCode::None);
}

#[test]
fn the_leader_goes_on_leading_when_it_joins_again() {
    let mut rig = Rig::new();
    // Ids sort by name: the leader is neither the first nor the last.
    let seats = rig.stable(&["b", "a", "c"]);
    let leader = rig.send_join(rejoin("b", &seats[0].0));
    assert!(rig.waits(leader));
    let followers = [1, 2].map(|index| rig.send_join(rejoin("x", &seats[index].0)));
    for join in followers.into_iter().chain([leader]) {
        assert_eq!(rig.joined(join).leader.as_ref(), Some(&seats[0].0));
    }
}

#[test]
fn of_two_protocols_with_as_many_votes_the_first_by_name_wins() {
    let mut rig = Rig::new();
    let joins = [["sticky", "range"], ["range", "sticky"]].map(|names| {
        let id = rig.given_id("x");
        rig.send_join(JoinRequest {
            protocols: names.map(|name| protocol(name, "")).to_vec(),
            ..rejoin("x", &id)
        })
    });
    rig.pass(seconds(6));
    for join in joins {
        assert_eq!(rig.joined(join).protocol.as_deref(), Some("range"));
    }
}
