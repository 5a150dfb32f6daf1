//! How partitions go from member to member.

use std::time::Duration;

use super::rig::{REBALANCE_TIMEOUT, Rig};
use crate::group::consumer::{GroupState, MemberState, Partitions};

/// Lets everybody report what they were told until nothing changes any more.
#[track_caller]
fn settle(rig: &mut Rig, members: &[&str]) {
    for _ in 0..10 {
        for member in members {
            let owned = rig.current(member).assigned;
            rig.report(member, &owned);
        }
    }
    assert_eq!(rig.group.group_state(), GroupState::Stable);
}

fn sizes(rig: &Rig) -> Vec<usize> {
    let members = rig.group.describe().members;
    members.iter().map(|m| m.current.assigned.len()).collect()
}

#[test]
fn three_consumers_on_three_partitions_get_one_each_and_a_fourth_idles() {
    let mut rig = Rig::new(&[("orders", 3)]);
    let first = rig.join("a", &["orders"]);
    assert_eq!(first.assignment, Some(rig.cluster.partitions("orders")));
    rig.join("b", &["orders"]);
    rig.join("c", &["orders"]);
    settle(&mut rig, &["a", "b", "c"]);
    assert_eq!(sizes(&rig), [1, 1, 1]);

    let before = rig.group.describe();
    let idle = rig.join("d", &["orders"]);
    assert_eq!(idle.assignment, Some(Partitions::new()));
    settle(&mut rig, &["a", "b", "c", "d"]);
    assert_eq!(sizes(&rig), [1, 1, 1, 0]);
    for (before, now) in before.members.iter().zip(rig.group.describe().members) {
        assert_eq!(
            before.current.assigned, now.current.assigned,
            "nobody moved"
        );
    }
}

#[test]
fn when_one_leaves_the_idle_consumer_takes_over_at_once() {
    let mut rig = Rig::new(&[("orders", 3)]);
    let members = ["a", "b", "c", "d"];
    for member in members {
        rig.join(member, &["orders"]);
    }
    settle(&mut rig, &members);
    let freed = rig.current("b").assigned;

    let leaving = super::rig::saying("b", crate::group::consumer::HeartbeatEpoch::Leave);
    assert_eq!(rig.send(&leaving).unwrap().member_epoch, -1);
    assert!(!rig.is_member("b"));
    assert_eq!(rig.group.group_state(), GroupState::Assigning);
    assert_eq!(rig.beat("d").assignment, Some(freed));
    settle(&mut rig, &["a", "c", "d"]);
    assert_eq!(sizes(&rig), [1, 1, 1]);
}

#[test]
fn a_partition_goes_to_another_member_only_when_it_was_reported_as_revoked() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let all = rig.current("a").assigned;
    rig.report("a", &all);

    let joined = rig.join("b", &["orders"]);
    assert_eq!(joined.assignment, Some(Partitions::new()));
    assert_eq!(joined.member_epoch, 2);
    assert_eq!(rig.current("b").state, MemberState::UnreleasedPartitions);
    assert_eq!(rig.group.group_state(), GroupState::Reconciling);

    let told = rig.beat("a");
    let kept = told.assignment.unwrap();
    assert_eq!((told.member_epoch, kept.len()), (1, 1), "its epoch waits");
    assert_eq!(rig.current("a").state, MemberState::UnrevokedPartitions);
    rig.report("a", &all);
    assert_eq!(rig.beat("b").assignment, None, "a still owns both");

    assert_eq!(rig.report("a", &kept).member_epoch, 2);
    assert_eq!(rig.beat("b").assignment, Some(&all - &kept));
    assert_eq!(rig.group.group_state(), GroupState::Stable);
    assert_eq!(rig.beat("a").assignment, None, "all is said");
}

#[test]
fn a_member_that_keeps_what_it_must_revoke_is_fenced_at_its_rebalance_timeout() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let all = rig.current("a").assigned;
    rig.report("a", &all);
    rig.join("b", &["orders"]);
    rig.report("a", &all);
    let told_at = rig.now;

    rig.pass(REBALANCE_TIMEOUT - Duration::from_millis(1));
    assert!(rig.is_member("a"));
    rig.report("a", &all);
    rig.beat("b");
    rig.miss_deadline();
    assert_eq!(rig.now, told_at + REBALANCE_TIMEOUT);
    assert!(!rig.is_member("a"));
    assert_eq!(rig.beat("b").assignment, Some(all));
}

#[test]
fn a_member_that_revokes_in_time_is_not_fenced() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let all = rig.current("a").assigned;
    rig.report("a", &all);
    rig.join("b", &["orders"]);
    rig.report("a", &all);
    let kept = rig.current("a").assigned;
    rig.pass(REBALANCE_TIMEOUT - Duration::from_millis(1));
    rig.report("a", &kept);
    rig.beat("b");
    rig.pass(Duration::from_secs(10));
    assert!(rig.is_member("a"));
}

#[test]
fn a_crashed_member_is_missed_at_its_session_timeout() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    rig.join("b", &["orders"]);
    settle(&mut rig, &["a", "b"]);
    let session = rig.join("b", &["orders"]).session_timeout;
    assert_eq!(session, Duration::from_secs(45));
    let crashed_at = rig.now;
    for _ in 0..8 {
        rig.pass(Duration::from_secs(5));
        rig.beat("b");
        assert!(rig.is_member("a"));
    }
    rig.miss_deadline();
    assert_eq!(rig.now, crashed_at + session);
    assert!(!rig.is_member("a"));
    assert_eq!(
        rig.beat("b").assignment,
        Some(rig.cluster.partitions("orders"))
    );
}

#[test]
fn new_partitions_are_assigned_and_deleted_ones_are_taken_back() {
    let mut rig = Rig::new(&[("orders", 1), ("bills", 1)]);
    rig.join("a", &["orders", "bills"]);
    settle(&mut rig, &["a"]);
    rig.cluster.add_partitions("orders", 2);
    settle(&mut rig, &["a"]);
    let orders = rig.cluster.partitions("orders");
    let bills = rig.cluster.partitions("bills");
    assert_eq!(rig.current("a").assigned, &orders | &bills);

    rig.cluster.delete("bills");
    settle(&mut rig, &["a"]);
    assert_eq!(rig.current("a").assigned, orders);
}

#[test]
fn a_topic_created_again_is_another_topic() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let old = rig.cluster.partitions("orders");
    rig.report("a", &old);
    rig.cluster.delete("orders");
    rig.cluster.create("orders", 2);
    let new = rig.cluster.partitions("orders");
    assert!(new.is_disjoint(&old));
    assert_eq!(rig.report("a", &old).assignment, Some(Partitions::new()));
    assert_eq!(rig.report("a", &Partitions::new()).assignment, Some(new));
}

#[test]
fn a_topic_nobody_reads_disturbs_nobody() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    settle(&mut rig, &["a"]);
    let written = rig.log.len();
    rig.cluster.create("bills", 9);
    rig.beat("a");
    assert_eq!(
        rig.log.len(),
        written,
        "heartbeats of a stable group are free"
    );
}

#[test]
fn the_assignor_that_most_members_ask_for_is_used() {
    let topics = [("orders", 3), ("bills", 3)];
    let mut rig = Rig::new(&topics);
    for member in ["a", "b", "c"] {
        let mut joining = super::rig::join(member, &["orders", "bills"]);
        joining.server_assignor = Some(String::from(match member {
            "a" => "uniform",
            _ => "range",
        }));
        rig.send(&joining).unwrap();
    }
    settle(&mut rig, &["a", "b", "c"]);
    assert_eq!(rig.group.describe().assignor.name(), "range");
    for member in rig.group.describe().members {
        let assigned = member.current.assigned;
        let indexes = |topic| {
            let of_topic = &assigned & &rig.cluster.partitions(topic);
            let indexes = of_topic.iter().map(|p| p.partition);
            indexes.collect::<Vec<_>>()
        };
        assert_eq!(indexes("orders"), indexes("bills"));
    }
}

#[test]
fn a_member_that_asks_for_another_assignor_later_is_heard() {
    let mut rig = Rig::new(&[("orders", 1), ("bills", 1)]);
    for member in ["a", "b"] {
        let mut joining = super::rig::join(member, &["orders", "bills"]);
        joining.server_assignor = Some("range".to_owned());
        rig.send(&joining).unwrap();
    }
    settle(&mut rig, &["a", "b"]);
    assert_eq!(sizes(&rig), [2, 0], "one range of each topic");
    for member in ["a", "b"] {
        let epoch = rig.current(member).member_epoch;
        let mut changing = super::rig::going_on(member, epoch);
        changing.server_assignor = Some("uniform".to_owned());
        rig.send(&changing).unwrap();
    }
    settle(&mut rig, &["a", "b"]);
    assert_eq!(sizes(&rig), [1, 1]);
}

/// A size that must settle within three seconds of the last join, so rounds are few.
#[test]
fn a_hundred_members_share_a_thousand_partitions_within_a_few_heartbeats() {
    let mut rig = Rig::new(&[("orders", 1_000)]);
    let members: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    for member in &members {
        rig.join(member, &["orders"]);
    }
    for _ in 0..3 {
        for member in &members {
            let owned = rig.current(member).assigned;
            rig.report(member, &owned);
        }
    }
    assert_eq!(rig.group.group_state(), GroupState::Stable);
    assert!(sizes(&rig).iter().all(|size| *size == 10));
}
