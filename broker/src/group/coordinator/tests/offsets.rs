use std::time::Duration;

use std::collections::BTreeMap;

use corelog_protocol::ErrorCode;

use super::rig::{Rig, commit, join, member, partition};
use crate::group::coordinator::*;

fn offsets<const N: usize>(committed: [(&str, i32, i64); N]) -> BTreeMap<(String, i32), i64> {
    let committed = committed.into_iter();
    committed
        .map(|(topic, partition, offset)| ((topic.to_owned(), partition), offset))
        .collect()
}

#[test]
fn what_was_committed_is_fetched_and_the_last_commit_counts() {
    let mut rig = Rig::new();
    let nobody = Claim::default;
    rig.commit(
        "g",
        nobody(),
        &[commit("orders", 0, 5), commit("orders", 2, 7)],
    )
    .unwrap();
    rig.commit("g", nobody(), &[commit("orders", 0, 6)])
        .unwrap();
    let expected = offsets([("orders", 0, 6), ("orders", 2, 7)]);
    assert_eq!(rig.committed("g"), expected);
    rig.move_coordinator();
    assert_eq!(rig.committed("g"), expected);
    assert_eq!(rig.committed("other"), BTreeMap::new());
}

#[test]
fn a_partition_without_a_commit_is_answered_with_nothing() {
    let mut rig = Rig::new();
    rig.commit("g", Claim::default(), &[commit("orders", 1, 5)])
        .unwrap();
    let topics = Some(vec![(
        "orders".to_owned(),
        vec![partition(0), partition(1)],
    )]);
    let by = Claim::default();
    let answer = rig.ask("g", Command::FetchOffsets { by, topics }).unwrap();
    let Answer::Offsets(topics) = answer else {
        panic!("not offsets");
    };
    let found: Vec<Option<i64>> = topics[0]
        .partitions
        .iter()
        .map(|(_, committed)| committed.as_ref().map(|committed| committed.offset.get()))
        .collect();
    assert_eq!(found, [None, Some(5)]);
}

#[test]
fn while_a_group_has_members_only_they_commit_and_at_their_epoch() {
    let mut rig = Rig::new();
    let joined = rig.heartbeat("g", join("a", &["orders"])).unwrap();
    let offset = [commit("orders", 0, 5)];
    let refused = |result: Result<(), CoordinatorError>| result.unwrap_err().code();

    let stranger = rig.commit("g", Claim::default(), &offset);
    let said = stranger.as_ref().unwrap_err().to_string();
    assert!(said.contains("only they commit its offsets"), "{said}");
    assert_eq!(refused(stranger), ErrorCode::UnknownMemberId);
    let unknown = rig.commit("g", member("b", joined.member_epoch), &offset);
    assert_eq!(refused(unknown), ErrorCode::UnknownMemberId);
    let stale = rig.commit("g", member("a", joined.member_epoch - 1), &offset);
    assert_eq!(refused(stale), ErrorCode::StaleMemberEpoch);
    assert_eq!(rig.committed("g"), BTreeMap::new());

    rig.commit("g", member("a", joined.member_epoch), &offset)
        .unwrap();
    assert_eq!(rig.committed("g"), offsets([("orders", 0, 5)]));
}

#[test]
fn a_commit_of_a_member_needs_its_group() {
    let mut rig = Rig::new();
    let refused = rig.commit("g", member("a", 3), &[commit("orders", 0, 5)]);
    assert_eq!(refused.unwrap_err().code(), ErrorCode::UnknownMemberId);
    // Nor does a refused commit make one.
    assert!(rig.names().is_empty());
}

#[test]
fn offsets_are_deleted_unless_a_member_reads_the_topic() {
    let mut rig = Rig::new();
    let all = [commit("orders", 0, 5), commit("payments", 0, 6)];
    rig.commit("g", Claim::default(), &all).unwrap();
    rig.heartbeat("g", join("a", &["orders"])).unwrap();
    let topics = vec![
        ("orders".to_owned(), vec![partition(0)]),
        ("payments".to_owned(), vec![partition(0), partition(1)]),
    ];
    let answer = rig.ask("g", Command::DeleteOffsets { topics }).unwrap();
    let Answer::OffsetsDeleted(deleted) = answer else {
        panic!("not deletions");
    };
    let codes: Vec<ErrorCode> = deleted
        .iter()
        .map(|deleted| match deleted {
            Ok(()) => ErrorCode::None,
            Err(error) => error.code(),
        })
        .collect();
    let subscribed = ErrorCode::GroupSubscribedToTopic;
    assert_eq!(codes, [subscribed, ErrorCode::None]);
    rig.move_coordinator();
    assert_eq!(rig.committed("g"), offsets([("orders", 0, 5)]));
}

#[test]
fn offsets_of_a_deleted_topic_are_dropped() {
    let mut rig = Rig::new();
    let all = [commit("orders", 0, 5), commit("payments", 0, 6)];
    rig.commit("g", Claim::default(), &all).unwrap();
    rig.commit("only", Claim::default(), &all[..1]).unwrap();
    rig.delete_topic("orders", false);
    // They count no more, and are gone soon.
    assert_eq!(rig.committed("g"), offsets([("payments", 0, 6)]));
    assert!(rig.names().contains("only"));
    rig.turn_clock(Duration::ZERO);
    for _ in 0..2 {
        assert_eq!(rig.committed("g"), offsets([("payments", 0, 6)]));
        // Nothing is left of a group that had nothing else.
        assert!(!rig.names().contains("only"));
        rig.move_coordinator();
    }
}

#[test]
fn offsets_of_a_topic_are_not_those_of_the_next_one_of_its_name() {
    for is_dropped_first in [true, false] {
        let mut rig = Rig::new();
        let of_the_first = [commit("orders", 0, 5), commit("orders", 1, 6)];
        rig.commit("g", Claim::default(), &of_the_first).unwrap();
        rig.delete_topic("orders", true);
        assert_eq!(rig.committed("g"), offsets([]));
        if is_dropped_first {
            rig.turn_clock(Duration::ZERO);
        }
        // Somebody who still reads the first commits, and is sent to look again.
        let late = rig.commit("g", Claim::default(), &of_the_first);
        assert_eq!(
            late.unwrap_err().code(),
            ErrorCode::CoordinatorLoadInProgress
        );
        let of_the_second = Commit {
            topic_id: rig.topics.get("orders").unwrap().id,
            ..commit("orders", 1, 2)
        };
        rig.commit("g", Claim::default(), &[of_the_second]).unwrap();
        for _ in 0..2 {
            assert_eq!(rig.committed("g"), offsets([("orders", 1, 2)]));
            rig.move_coordinator();
        }
    }
}

#[test]
fn offsets_of_a_topic_that_went_while_nobody_was_there_are_dropped_after_the_load() {
    let mut rig = Rig::new();
    let all = [commit("orders", 0, 5), commit("payments", 0, 6)];
    rig.commit("g", Claim::default(), &all).unwrap();
    rig.delete_topic("orders", false);
    rig.move_coordinator();
    let written = rig.log.len();
    rig.turn_clock(Duration::ZERO);
    assert_eq!(rig.log.len(), written + 1);
}

/// The log refuses a batch that is too large, and so everything of one tick would be lost again and again.
#[test]
fn a_tick_makes_records_of_a_bounded_number_and_goes_on_at_once() {
    let mut rig = Rig::new();
    for group in 0..3_000 {
        let all = [commit("orders", 0, 5), commit("payments", 0, 6)];
        let name = format!("group-{group}");
        rig.commit(&name, Claim::default(), &all).unwrap();
    }
    rig.turn_clock(Duration::ZERO);
    rig.delete_topic("orders", false);
    rig.delete_topic("payments", false);
    let mut ticks = 0;
    while rig
        .coordinator
        .next_deadline()
        .is_some_and(|at| at <= rig.now)
    {
        let written = rig.log.len();
        rig.turn_clock(Duration::ZERO);
        assert!(rig.log.len() - written <= 4_096 + 2);
        ticks += 1;
        assert!(ticks < 10, "it does not end");
    }
    assert!(ticks > 1);
    assert!(rig.names().is_empty());
}
