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
    let partitions = vec![
        ("orders".to_owned(), partition(0)),
        ("payments".to_owned(), partition(0)),
        ("payments".to_owned(), partition(1)),
    ];
    let answer = rig.ask("g", Command::DeleteOffsets { partitions }).unwrap();
    let Answer::OffsetsDeleted(deleted) = answer else {
        panic!("not deletions");
    };
    let codes: Vec<ErrorCode> = deleted
        .iter()
        .map(|deleted| match &deleted.result {
            Ok(()) => ErrorCode::None,
            Err(error) => error.code(),
        })
        .collect();
    let subscribed = ErrorCode::GroupSubscribedToTopic;
    assert_eq!(codes, [subscribed, ErrorCode::None, ErrorCode::None]);
    rig.move_coordinator();
    assert_eq!(rig.committed("g"), offsets([("orders", 0, 5)]));
}

#[test]
fn offsets_of_a_deleted_topic_are_dropped() {
    let mut rig = Rig::new();
    let all = [commit("orders", 0, 5), commit("payments", 0, 6)];
    rig.commit("g", Claim::default(), &all).unwrap();
    rig.commit("only", Claim::default(), &all[..1]).unwrap();
    let records = rig.coordinator.forget_topics(|topic| topic == "orders");
    rig.write(&records);
    for _ in 0..2 {
        assert_eq!(rig.committed("g"), offsets([("payments", 0, 6)]));
        // Nothing is left of a group that had nothing else.
        assert!(!rig.names().contains("only"));
        rig.move_coordinator();
    }
}
