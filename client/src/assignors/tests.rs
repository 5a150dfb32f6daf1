//! The examples of Kafka's documentation, and what must hold for every group.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

type Assignor = fn(&PartitionCounts, &[Subscriber]) -> Shares;

const ALL: [Assignor; 4] = [range, round_robin, sticky, cooperative_sticky];

fn topics(counts: &[(&str, i32)]) -> PartitionCounts {
    let counts = counts.iter();
    counts
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// `t0p1` is partition 1 of topic `t0`.
fn partition(name: &str) -> TopicPartition {
    let (topic, index) = name.split_once('p').unwrap();
    TopicPartition::new(topic, PartitionIndex::new(index.parse().unwrap()))
}

fn assert_shares(found: &Shares, expected: &[(&str, &[&str])]) {
    let as_set = |share: &[TopicPartition]| {
        let mut sorted = share.to_vec();
        sorted.sort();
        sorted
    };
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|(id, share)| (id.as_str(), as_set(share)))
        .collect();
    let parse =
        |share: &[&str]| as_set(&share.iter().map(|name| partition(name)).collect::<Vec<_>>());
    let expected = expected.iter().map(|(id, share)| (*id, parse(share)));
    assert_eq!(found, expected.collect());
}

/// The members of the next round: they own what they were given in this one.
fn after(shares: &Shares, members: &[Subscriber], generation: i32) -> Vec<Subscriber> {
    let own = |member: &Subscriber| Subscriber {
        owned: shares.get(&member.member_id).cloned().unwrap_or_default(),
        generation: Some(generation),
        ..member.clone()
    };
    members.iter().map(own).collect()
}

#[test]
fn range_gives_neighbours_and_the_rest_to_the_first() {
    let members = ["C0", "C1"].map(|id| Subscriber::new(id, ["t0", "t1"]));
    assert_shares(
        &range(&topics(&[("t0", 3), ("t1", 3)]), &members),
        &[
            ("C0", &["t0p0", "t0p1", "t1p0", "t1p1"]),
            ("C1", &["t0p2", "t1p2"]),
        ],
    );
}

#[test]
fn range_leaves_members_idle_that_are_too_many() {
    let members = ["a", "b", "c"].map(|id| Subscriber::new(id, ["t"]));
    assert_shares(
        &range(&topics(&[("t", 2)]), &members),
        &[("a", &["tp0"]), ("b", &["tp1"]), ("c", &[])],
    );
}

#[test]
fn static_members_keep_their_range_under_another_member_id() {
    let member = |id: &str, instance: &str| Subscriber {
        instance_id: Some(instance.to_owned()),
        ..Subscriber::new(id, ["t"])
    };
    let topics = topics(&[("t", 4)]);
    let before = range(&topics, &[member("x", "i1"), member("y", "i2")]);
    let after = range(&topics, &[member("z", "i1"), member("y", "i2")]);
    assert_eq!(before["x"], after["z"]);
    assert_eq!(before["y"], after["y"]);
    // A dynamic member comes after the static ones, whatever its id.
    let mixed = range(&topics, &[Subscriber::new("a", ["t"]), member("y", "i2")]);
    assert_shares(&mixed, &[("y", &["tp0", "tp1"]), ("a", &["tp2", "tp3"])]);
}

#[test]
fn round_robin_deals_across_topics() {
    let members = ["C0", "C1"].map(|id| Subscriber::new(id, ["t0", "t1"]));
    assert_shares(
        &round_robin(&topics(&[("t0", 3), ("t1", 3)]), &members),
        &[
            ("C0", &["t0p0", "t0p2", "t1p1"]),
            ("C1", &["t0p1", "t1p0", "t1p2"]),
        ],
    );
}

fn uneven_subscriptions() -> [Subscriber; 3] {
    [
        Subscriber::new("C0", ["t0"]),
        Subscriber::new("C1", ["t0", "t1"]),
        Subscriber::new("C2", ["t0", "t1", "t2"]),
    ]
}

#[test]
fn round_robin_passes_over_members_that_did_not_subscribe() {
    let topics = topics(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let members = uneven_subscriptions();
    assert_shares(
        &round_robin(&topics, &members),
        &[
            ("C0", &["t0p0"]),
            ("C1", &["t1p0"]),
            ("C2", &["t1p1", "t2p0", "t2p1", "t2p2"]),
        ],
    );
    assert_shares(
        &round_robin(&topics, &members[1..]),
        &[
            ("C1", &["t0p0", "t1p1"]),
            ("C2", &["t1p0", "t2p0", "t2p1", "t2p2"]),
        ],
    );
}

#[test]
fn sticky_keeps_what_the_members_had_when_one_leaves() {
    let topics = topics(&[("t0", 2), ("t1", 2), ("t2", 2), ("t3", 2)]);
    let members = ["C0", "C1", "C2"].map(|id| Subscriber::new(id, ["t0", "t1", "t2", "t3"]));
    let first = sticky(&topics, &members);
    assert_shares(
        &first,
        &[
            ("C0", &["t0p0", "t1p1", "t3p0"]),
            ("C1", &["t0p1", "t2p0", "t3p1"]),
            ("C2", &["t1p0", "t2p1"]),
        ],
    );
    let members = after(&first, &members, 1);
    let left = [members[0].clone(), members[2].clone()];
    assert_shares(
        &sticky(&topics, &left),
        &[
            ("C0", &["t0p0", "t1p1", "t3p0", "t2p0"]),
            ("C2", &["t1p0", "t2p1", "t0p1", "t3p1"]),
        ],
    );
}

#[test]
fn sticky_balances_uneven_subscriptions() {
    let topics = topics(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let members = uneven_subscriptions();
    let first = sticky(&topics, &members);
    assert_shares(
        &first,
        &[
            ("C0", &["t0p0"]),
            ("C1", &["t1p0", "t1p1"]),
            ("C2", &["t2p0", "t2p1", "t2p2"]),
        ],
    );
    let members = after(&first, &members, 1);
    assert_shares(
        &sticky(&topics, &members[1..]),
        &[
            ("C1", &["t1p0", "t1p1", "t0p0"]),
            ("C2", &["t2p0", "t2p1", "t2p2"]),
        ],
    );
}

#[test]
fn a_claim_of_a_later_generation_is_the_better_one() {
    let topics = topics(&[("t", 2)]);
    let claim = |id: &str, owned: &[&str], generation| Subscriber {
        owned: owned.iter().map(|name| partition(name)).collect(),
        generation: Some(generation),
        ..Subscriber::new(id, ["t"])
    };
    let members = [claim("a", &["tp0", "tp1"], 3), claim("b", &["tp0"], 4)];
    assert_shares(
        &sticky(&topics, &members),
        &[("a", &["tp1"]), ("b", &["tp0"])],
    );
    // `a` may still be reading it.
    let shares = cooperative_sticky(&topics, &members);
    assert_shares(&shares, &[("a", &["tp1"]), ("b", &[])]);
}

#[test]
fn cooperative_hands_over_a_round_after_the_owner_gave_up() {
    let topics = topics(&[("t", 4)]);
    let members = ["a", "b"].map(|id| Subscriber::new(id, ["t"]));
    let alone = cooperative_sticky(&topics, &members[..1]);
    let mut members = after(&alone, &members, 1);
    let first = cooperative_sticky(&topics, &members);
    assert_shares(&first, &[("a", &["tp0", "tp1"]), ("b", &[])]);
    members = after(&first, &members, 2);
    let second = cooperative_sticky(&topics, &members);
    assert_shares(&second, &[("a", &["tp0", "tp1"]), ("b", &["tp2", "tp3"])]);
}

#[test]
fn nobody_is_asked_to_read_what_does_not_exist() {
    let members = [
        Subscriber {
            owned: vec![partition("gonep0"), partition("tp7")],
            ..Subscriber::new("a", ["t", "gone"])
        },
        Subscriber::new("b", Vec::<String>::new()),
    ];
    for assign in ALL {
        let shares = assign(&topics(&[("t", 1), ("unread", 5)]), &members);
        assert_shares(&shares, &[("a", &["tp0"]), ("b", &[])]);
    }
}

const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];

/// Up to 8 members, each with some topics, and topics with up to 12 partitions.
fn groups() -> impl Strategy<Value = (PartitionCounts, Vec<Subscriber>)> {
    let counts = proptest::collection::vec(0..12_i32, TOPICS.len());
    let subscriptions = proptest::collection::vec(subsequence(TOPICS.to_vec(), 0..=4), 1..8);
    (counts, subscriptions).prop_map(|(counts, subscriptions)| {
        let members = subscriptions.into_iter().enumerate();
        let members = members.map(|(index, topics)| Subscriber::new(format!("m{index}"), topics));
        let names = TOPICS.iter().map(|name| (*name).to_owned());
        (names.zip(counts).collect(), members.collect())
    })
}

fn owners(shares: &Shares) -> BTreeMap<&TopicPartition, Vec<&str>> {
    let mut owners: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (id, share) in shares {
        for partition in share {
            owners.entry(partition).or_default().push(id);
        }
    }
    owners
}

/// Each partition that somebody subscribed to has one owner, and that one subscribed to it.
fn assert_complete(topics: &PartitionCounts, members: &[Subscriber], shares: &Shares) {
    let owners = owners(shares);
    for (topic, &count) in topics {
        let is_read = members.iter().any(|member| member.subscribes(topic));
        for partition in partitions(topic, count) {
            let found = owners.get(&partition).map_or(0, Vec::len);
            assert_eq!(found, usize::from(is_read), "owners of {partition}");
        }
    }
    for member in members {
        for partition in &shares[&member.member_id] {
            assert!(
                member.subscribes(&partition.topic),
                "{partition} to {member:?}"
            );
        }
    }
}

/// No member has two more than another that could take one of them.
fn assert_balanced(members: &[Subscriber], shares: &Shares) {
    for rich in members {
        let share = &shares[&rich.member_id];
        for poor in members {
            let is_unfair = shares[&poor.member_id].len() + 2 <= share.len();
            let could_take = share
                .iter()
                .any(|partition| poor.subscribes(&partition.topic));
            assert!(
                !is_unfair || !could_take,
                "{rich:?} has {share:?}, unlike {poor:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn every_partition_has_one_owner((topics, members) in groups()) {
        for assign in ALL {
            assert_complete(&topics, &members, &assign(&topics, &members));
        }
    }

    #[test]
    fn equal_subscriptions_get_equal_shares(counts in proptest::collection::vec(0..12_i32, 4), size in 1..8_usize) {
        let topics = TOPICS.iter().map(|name| (*name).to_owned()).zip(counts).collect();
        let members: Vec<_> = (0..size).map(|id| Subscriber::new(format!("m{id}"), TOPICS)).collect();
        for assign in [round_robin, sticky] {
            let shares = assign(&topics, &members);
            let lengths = shares.values().map(Vec::len);
            prop_assert!(lengths.clone().max() <= lengths.min().map(|least| least + 1));
        }
    }

    #[test]
    fn sticky_is_fair_and_moves_nothing_twice((topics, members) in groups()) {
        let first = sticky(&topics, &members);
        assert_balanced(&members, &first);
        let again = sticky(&topics, &after(&first, &members, 1));
        for (id, share) in &first {
            let (mut share, mut kept) = (share.clone(), again[id].clone());
            share.sort();
            kept.sort();
            prop_assert_eq!(share, kept, "nothing changed");
        }
    }

    /// With equal subscriptions, a member that goes makes only its own partitions move.
    #[test]
    fn sticky_moves_only_what_lost_its_owner(counts in proptest::collection::vec(0..12_i32, 4), size in 2..8_usize) {
        let topics = TOPICS.iter().map(|name| (*name).to_owned()).zip(counts).collect();
        let members: Vec<_> = (0..size).map(|id| Subscriber::new(format!("m{id}"), TOPICS)).collect();
        let first = sticky(&topics, &members);
        let left = &after(&first, &members, 1)[1..];
        let second = sticky(&topics, left);
        assert_complete(&topics, left, &second);
        assert_balanced(left, &second);
        for member in left {
            for partition in &first[&member.member_id] {
                prop_assert!(second[&member.member_id].contains(partition), "{} moved", partition);
            }
        }
    }

    /// Whoever comes and goes: what a member is given no other member says it owns, and once nobody
    /// comes or goes all partitions are given out, after a round or two; with subscriptions that
    /// differ, what is handed over can set off another move.
    #[test]
    fn cooperative_waits_for_the_owner((topics, members) in groups(), stay in 1..8_usize, come in 0..4_usize) {
        let first = cooperative_sticky(&topics, &members);
        let mut members = after(&first, &members, 1);
        members.truncate(stay);
        let joining = (0..come).map(|id| Subscriber::new(format!("n{id}"), TOPICS));
        members.extend(joining);
        let mut shares = first;
        for round in 2..8 {
            shares = cooperative_sticky(&topics, &members);
            for member in &members {
                for partition in &shares[&member.member_id] {
                    let others = members.iter().filter(|other| other.member_id != member.member_id);
                    let mut owned = others.flat_map(|other| &other.owned);
                    prop_assert!(owned.all(|owned| owned != partition), "{} is still owned", partition);
                }
            }
            members = after(&shares, &members, round);
        }
        assert_complete(&topics, &members, &shares);
    }
}
