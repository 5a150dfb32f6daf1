//! Moves of the coordinator. Random ones are in the random runs.

use std::time::Duration;

use super::rig::{REBALANCE_TIMEOUT, Rig};
use crate::group::consumer::{Change, ConsumerGroup, MemberState, Record};

fn moved(rig: &Rig) -> ConsumerGroup {
    let mut group = ConsumerGroup::new(rig.group.id().clone(), rig.group.config.clone());
    for record in &rig.log {
        group.apply(record);
    }
    group.loaded(rig.now);
    group
}

#[test]
fn a_rebalance_goes_on_after_a_move_and_every_wait_starts_anew() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let all = rig.current("a").assigned;
    rig.report("a", &all);
    rig.join("b", &["orders"]);
    rig.report("a", &all);
    rig.pass(REBALANCE_TIMEOUT - Duration::from_secs(1));

    let moved = moved(&rig);
    assert_eq!(moved.describe(), rig.group.describe());
    rig.group = moved;
    assert_eq!(rig.current("a").state, MemberState::UnrevokedPartitions);
    assert_eq!(rig.group.next_deadline(), Some(rig.now + REBALANCE_TIMEOUT));
    let kept = rig.current("a").assigned;
    rig.report("a", &kept);
    assert_eq!(rig.beat("b").assignment, Some(&all - &kept));
}

#[test]
fn a_move_alone_writes_nothing() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    rig.group = moved(&rig);
    let written = rig.log.len();
    rig.beat("a");
    assert_eq!(rig.log.len(), written);
}

/// While a log is being compacted, what a member gave up may be gone and what it held may be there.
#[test]
fn records_that_seem_to_give_a_partition_two_owners_are_taken_in_their_order() {
    let mut rig = Rig::new(&[("orders", 2)]);
    rig.join("a", &["orders"]);
    let all = rig.current("a").assigned;
    rig.report("a", &all);
    rig.join("b", &["orders"]);
    rig.beat("a");
    let kept = rig.current("a").assigned;
    rig.report("a", &kept);
    rig.beat("b");
    // The last word on `a` moves behind that on `b`, as if it had been said again.
    let is_of_a = |record: &Record| {
        matches!(&record.change, Change::CurrentOfMember { member_id, .. }
            if member_id.as_str() == "a")
    };
    let last = rig.log.iter().rposition(is_of_a).unwrap();
    let record = rig.log.remove(last);
    let told = rig.log.iter().rposition(is_of_a).unwrap();
    rig.log.remove(told);
    rig.log.push(record);
    let moved = moved(&rig);
    assert_eq!(moved.state, rig.group.state);
}
