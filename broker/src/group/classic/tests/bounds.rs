//! What happens at each limit.

use std::time::Duration;

use corelog_protocol::ErrorCode;

use super::rig::*;
use crate::config::ByteSize;
use crate::group::classic::*;

fn at_most(max_members: usize) -> Rig {
    Rig::with(ClassicConfig {
        max_members,
        ..ClassicConfig::default()
    })
}

#[test]
fn a_stable_group_takes_members_up_to_its_size() {
    let mut rig = at_most(2);
    let seats = rig.stable(&["a", "b"]);
    let third = rig.send_join(join("c"));
    assert_eq!(rig.refused(third), ErrorCode::GroupMaxSizeReached);
    assert_eq!(rig.group.state(), GroupState::Stable);
    let known = rig.send_join(rejoin("b", &seats[1].0));
    assert_eq!(rig.joined(known).generation, 1);
}

#[test]
fn those_who_join_first_have_the_places() {
    let mut rig = at_most(2);
    let ids = ["a", "b", "c"].map(|client| {
        let token = rig.send_join(join(client));
        match rig.reply(token) {
            Some(Reply::Join(Err(ClassicError::MemberIdRequired { member_id }))) => {
                Some(member_id.clone())
            }
            _ => None,
        }
    });
    assert_eq!(ids[2], None, "no more ids than places are given out");
    for client in ["a", "b"] {
        rig.send_join(JoinRequest {
            takes_member_id_first: false,
            ..join(client)
        });
    }
    let late = rig.send_join(rejoin("a", ids[0].as_ref().unwrap()));
    assert_eq!(rig.refused(late), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn a_member_without_a_place_is_not_waited_for() {
    let mut rig = at_most(3);
    let seats = rig.stable(&["a", "b", "c"]);
    // The limit was lowered.
    rig.group.config.max_members = 2;
    let joins = [0, 1].map(|index| rig.send_join(rejoin("x", &seats[index].0)));
    assert!(rig.waits(joins[0]));
    let third = rig.send_join(rejoin("c", &seats[2].0));
    assert_eq!(rig.refused(third), ErrorCode::GroupMaxSizeReached);
    rig.settle(&joins, &["a", "b"]);
}

#[test]
fn session_timeouts_lie_between_their_bounds() {
    let mut rig = Rig::new();
    for (timeout, expected) in [
        (seconds(5), ErrorCode::InvalidSessionTimeout),
        (seconds(6), ErrorCode::MemberIdRequired),
        (seconds(1_800), ErrorCode::MemberIdRequired),
        (seconds(1_801), ErrorCode::InvalidSessionTimeout),
    ] {
        let join = rig.send_join(JoinRequest {
            session_timeout: timeout,
            ..join("a")
        });
        assert_eq!(rig.refused(join), expected, "{timeout:?}");
    }
}

#[test]
fn the_bounds_of_session_timeouts_can_be_set() {
    let mut rig = Rig::with(ClassicConfig {
        min_session_timeout: seconds(1),
        max_session_timeout: seconds(2),
        ..ClassicConfig::default()
    });
    for (timeout, expected) in [
        (Duration::from_millis(999), ErrorCode::InvalidSessionTimeout),
        (seconds(1), ErrorCode::MemberIdRequired),
        (seconds(2), ErrorCode::MemberIdRequired),
        (
            Duration::from_millis(2_001),
            ErrorCode::InvalidSessionTimeout,
        ),
    ] {
        let join = rig.send_join(JoinRequest {
            session_timeout: timeout,
            ..join("a")
        });
        assert_eq!(rig.refused(join), expected, "{timeout:?}");
    }
}

#[test]
fn the_initial_delay_can_be_set() {
    let mut rig = Rig::with(ClassicConfig {
        initial_rebalance_delay: seconds(10),
        ..ClassicConfig::default()
    });
    let first = rig.join_anew("a");
    rig.pass(Duration::from_millis(9_999));
    assert!(rig.waits(first));
    let second = rig.join_anew("b");
    rig.pass(Duration::from_millis(10_000));
    assert!(rig.waits(second), "the second member puts the end off");
    rig.pass(Duration::from_millis(1));
    for join in [first, second] {
        assert_eq!(rig.joined(join).generation, 1);
    }
}

#[test]
fn without_an_initial_delay_a_group_begins_at_once() {
    let mut rig = Rig::with(ClassicConfig {
        initial_rebalance_delay: Duration::ZERO,
        ..ClassicConfig::default()
    });
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(Duration::ZERO);
    for join in joins {
        assert_eq!(rig.joined(join).generation, 1);
    }
}

/// The delay may leave a rest of the first member's rebalance time-out that is shorter than any timer.
#[test]
fn an_initial_delay_is_over_with_the_rebalance_timeout() {
    let mut rig = Rig::with(ClassicConfig {
        initial_rebalance_delay: seconds(60) - Duration::from_nanos(1),
        ..ClassicConfig::default()
    });
    let first = rig.join_anew("a");
    let second = rig.join_anew("b");
    rig.pass(REBALANCE - Duration::from_nanos(1));
    assert!(rig.waits(first) && rig.waits(second));
    rig.pass(Duration::from_nanos(1));
    assert_eq!(rig.joined(first).generation, 1);
}

/// No member can sync in no time. The round ends, and so does every later one.
#[test]
fn a_member_without_time_to_rebalance_is_gone_soon() {
    let mut rig = Rig::new();
    for generation in [1, 3] {
        let id = rig.given_id("a");
        let join = rig.send_join(JoinRequest {
            rebalance_timeout: Duration::ZERO,
            ..rejoin("a", &id)
        });
        rig.pass(seconds(3));
        assert_eq!(rig.joined(join).generation, generation);
        assert_eq!(rig.group.state(), GroupState::Empty);
    }
}

fn small() -> Rig {
    Rig::with(ClassicConfig {
        max_metadata: ByteSize::bytes(1_000),
        ..ClassicConfig::default()
    })
}

#[test]
fn subscriptions_share_a_budget() {
    let mut rig = small();
    let with = |length: usize, names: usize| JoinRequest {
        protocols: vec![protocol("range", &"x".repeat(length)); names],
        takes_member_id_first: false,
        ..join("a")
    };
    // Empty protocols are not free.
    for (length, names) in [(1_000, 1), (0, 20)] {
        let join = rig.send_join(with(length, names));
        assert_eq!(rig.refused(join), ErrorCode::GroupMaxSizeReached);
    }
    let first = rig.send_join(with(400, 1));
    assert!(rig.waits(first));
    let second = rig.send_join(with(400, 1));
    assert_eq!(rig.refused(second), ErrorCode::GroupMaxSizeReached);
    rig.pass(seconds(3));
    // A member's own old subscription does not count against its new one.
    let seat = rig.seat(first);
    let again = rig.send_join(JoinRequest {
        member_id: Some(seat.0),
        ..with(800, 1)
    });
    assert_eq!(rig.joined(again).generation, 2);
}

#[test]
fn ids_that_nobody_joins_with_count_too() {
    let mut rig = small();
    let long = "x".repeat(500);
    rig.given_id(&long);
    let second = rig.send_join(join(&long));
    assert_eq!(rig.refused(second), ErrorCode::GroupMaxSizeReached);
    rig.pass(SESSION);
    rig.given_id(&long);
}

#[test]
fn assignments_beyond_the_budget_are_refused_and_the_group_goes_on() {
    let mut rig = small();
    let joins = [rig.join_anew("a"), rig.join_anew("b")];
    rig.pass(seconds(6));
    let seats = joins.map(|join| rig.seat(join));
    let follower = rig.send_sync(&seats[1], &[]);
    let huge = "x".repeat(1_001);
    let leader = rig.send_sync(&seats[0], &[(&seats[1].0, &huge)]);
    assert_eq!(rig.refused(leader), ErrorCode::UnknownServerError);
    assert_eq!(rig.refused(follower), ErrorCode::RebalanceInProgress);
    assert!(rig.records.is_empty());
    let joins = [0, 1].map(|index| rig.send_join(rejoin("x", &seats[index].0)));
    rig.settle(&joins, &["a", "b"]);
}

#[test]
fn a_long_client_id_makes_no_long_member_id() {
    let mut rig = Rig::new();
    // A character of two bytes lies across the limit.
    let long = format!("x{}", "ä".repeat(16_000));
    let id = rig.given_id(&long);
    assert!(id.as_str().len() < 300);
    assert!(id.as_str().starts_with("xää"));
}
