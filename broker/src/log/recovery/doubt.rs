//! What a damaged journal leaves in doubt.
//!
//! Between what a shard's checkpoint covers and what is known to have been flushed, every group
//! must be there and intact. A group that is not may have held acknowledged records. Whom it named
//! is suspect; when nobody can tell whom it named, every partition that its shard may have owned is
//! in doubt, until a later entry of the same journal goes on exactly where the replay stands.
//!
//! Plain code without I/O: the replay tells what it met and asks what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::log::TopicPartition;
use crate::log::canary::{Canary, is_planted};
use crate::log::journal::{ScannedBody, ScannedGroup};

/// Flushed groups in a row that are damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Partitions that readable entries name.
    named: BTreeSet<TopicPartition>,
    /// No others can have been named.
    all_named: bool,
    /// What is wrong, for people.
    problem: String,
}

/// The holes between `covered` and `flushed`, ascending. `groups` ascend by sequence; `place` tells
/// where one stands and `journal` names them all.
pub(super) fn find_holes(
    groups: &[ScannedGroup],
    covered: u64,
    flushed: u64,
    journal: &str,
    place: impl Fn(&ScannedGroup) -> String,
) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut next = covered + 1;
    let missing_before = |next: u64, sequence: u64, holes: &mut Vec<Hole>| {
        if next < sequence && !is_planted(Canary::MissingGroupsIgnored) {
            holes.push(Hole {
                first: next,
                last: sequence - 1,
                named: BTreeSet::new(),
                all_named: false,
                problem: match sequence - next {
                    1 => format!("group {next} is missing from {journal}"),
                    _ => format!(
                        "groups {next} to {} are missing from {journal}",
                        sequence - 1
                    ),
                },
            });
        }
    };
    for group in groups {
        let sequence = group.header.sequence;
        if sequence <= covered {
            continue;
        }
        if sequence > flushed {
            break;
        }
        missing_before(next, sequence, &mut holes);
        next = sequence + 1;
        if let ScannedBody::Damaged { named, all_named } = &group.body
            && !is_planted(Canary::DamagedGroupsIgnored)
        {
            holes.push(Hole {
                first: sequence,
                last: sequence,
                named: named.clone(),
                all_named: *all_named,
                problem: format!("{} is damaged", place(group)),
            });
        }
    }
    missing_before(next, flushed + 1, &mut holes);
    holes
}

/// The partitions among `known` that the journal of shard `index` may speak of. `owned` tells for
/// every shard whom its checkpoint and its journal name: a partition stays with one shard for a
/// whole generation, so whom another names and this one does not is none of its.
pub(super) fn may_name<'a>(
    known: impl Iterator<Item = &'a TopicPartition>,
    owned: &[BTreeSet<TopicPartition>],
    index: usize,
) -> impl Iterator<Item = TopicPartition> {
    known.copied().filter(move |id| {
        owned[index].contains(id) || owned.iter().all(|named| !named.contains(id))
    })
}

/// The partitions in doubt while one journal is replayed.
pub(super) struct Doubts {
    /// Partitions that the journal may speak of, and the group up to which their checkpoint covers
    /// them.
    may_name: BTreeMap<TopicPartition, u64>,
    open: BTreeMap<TopicPartition, String>,
}

impl Doubts {
    pub(super) fn new(may_name: BTreeMap<TopicPartition, u64>) -> Doubts {
        Doubts {
            may_name,
            open: BTreeMap::new(),
        }
    }

    /// The replay comes to a hole. Returns whom it makes suspect, with the reason.
    pub(super) fn meet(&mut self, hole: &Hole) -> Vec<(TopicPartition, String)> {
        let mut suspects = Vec::new();
        for (&id, _) in self
            .may_name
            .iter()
            .filter(|(_, applied)| **applied < hole.last)
        {
            if hole.named.contains(&id) {
                let reason = format!("{}, which was flushed and held its records", hole.problem);
                suspects.push((id, reason));
            } else if !hole.all_named && !is_planted(Canary::DoubtsForgotten) {
                let reason = format!(
                    "{}, which was flushed and may have held its records",
                    hole.problem
                );
                self.open.entry(id).or_insert(reason);
            }
        }
        suspects
    }

    pub(super) fn is_open(&self, id: TopicPartition) -> bool {
        self.open.contains_key(&id)
    }

    /// A later entry goes on exactly where the replay of this partition stands.
    pub(super) fn clear(&mut self, id: TopicPartition) {
        self.open.remove(&id);
    }

    /// The journal has ended: who is still in doubt, with the reason.
    pub(super) fn into_suspects(self) -> BTreeMap<TopicPartition, String> {
        self.open
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::{PartitionIndex, TopicId};

    use super::*;
    use crate::log::journal::format::GroupHeader;

    fn id(partition: i32) -> TopicPartition {
        TopicPartition {
            topic_id: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex::new(partition),
        }
    }

    fn group(sequence: u64, body: ScannedBody) -> ScannedGroup {
        ScannedGroup {
            header: GroupHeader {
                shard: 0,
                generation: 1,
                sequence,
                flushed_sequence: 0,
                salt: 2,
                body_length: 0,
                entry_count: 0,
                body_crc: 0,
            },
            body,
            file: 0,
            position: 4096 * sequence,
        }
    }

    fn damaged(named: &[i32], all_named: bool) -> ScannedBody {
        ScannedBody::Damaged {
            named: named.iter().map(|&n| id(n)).collect(),
            all_named,
        }
    }

    fn holes(groups: &[ScannedGroup], covered: u64, flushed: u64) -> Vec<Hole> {
        let place = |group: &ScannedGroup| format!("group {} of a file", group.header.sequence);
        find_holes(groups, covered, flushed, "the journal", place)
    }

    fn spans(holes: &[Hole]) -> Vec<(u64, u64)> {
        holes.iter().map(|hole| (hole.first, hole.last)).collect()
    }

    #[test]
    fn only_what_was_flushed_and_is_not_covered_must_be_there() {
        let groups = [
            group(2, damaged(&[0], true)),
            group(5, ScannedBody::Intact),
            group(6, damaged(&[1], false)),
            group(9, ScannedBody::Intact),
            group(11, damaged(&[1], false)),
        ];
        let found = holes(&groups, 3, 10);
        assert_eq!(spans(&found), [(4, 4), (6, 6), (7, 8), (10, 10)]);
        assert_eq!(
            found[2].problem,
            "groups 7 to 8 are missing from the journal"
        );
        assert_eq!(spans(&holes(&groups, 9, 9)), []);
        assert_eq!(spans(&holes(&[], 3, 5)), [(4, 5)], "a journal that is gone");
        assert_eq!(spans(&holes(&[], 0, 0)), [], "a journal that never was");
    }

    #[test]
    fn whom_another_shard_names_is_in_no_doubt() {
        let known = [id(0), id(1), id(2)];
        let owned = [BTreeSet::from([id(0)]), BTreeSet::from([id(1)])];
        let of = |index| -> Vec<_> { may_name(known.iter(), &owned, index).collect() };
        assert_eq!(of(0), [id(0), id(2)]);
        assert_eq!(of(1), [id(1), id(2)], "nobody names the third");
    }

    #[test]
    fn a_damaged_group_whose_entries_can_be_read_harms_only_whom_it_names() {
        let hole = &holes(&[group(1, damaged(&[1], true))], 0, 1)[0];
        let mut doubts = Doubts::new([(id(0), 0), (id(1), 0)].into());
        let suspects = doubts.meet(hole);
        assert_eq!(suspects.len(), 1);
        assert_eq!(suspects[0].0, id(1));
        assert!(suspects[0].1.contains("group 1 of a file"), "{suspects:?}");
        assert_eq!(doubts.into_suspects(), BTreeMap::new());
    }

    #[test]
    fn a_hole_that_names_nobody_leaves_everybody_in_doubt_whom_no_checkpoint_covers() {
        let hole = &holes(&[], 4, 6)[0];
        let mut doubts = Doubts::new([(id(0), 4), (id(1), 6), (id(2), 0), (id(3), 5)].into());
        assert_eq!(doubts.meet(hole), []);
        assert!(!doubts.is_open(id(1)), "its checkpoint holds group 6");
        assert!(doubts.is_open(id(2)));
        doubts.clear(id(2));
        let left: Vec<_> = doubts.into_suspects().into_keys().collect();
        assert_eq!(left, [id(0), id(3)]);
    }

    #[test]
    fn a_chain_of_entries_that_breaks_harms_whom_it_names_and_leaves_others_in_doubt() {
        let hole = &holes(&[group(1, damaged(&[0], false))], 0, 1)[0];
        let mut doubts = Doubts::new([(id(0), 0), (id(1), 0)].into());
        let suspects: Vec<_> = doubts.meet(hole).into_iter().map(|(id, _)| id).collect();
        assert_eq!(suspects, [id(0)]);
        assert!(doubts.is_open(id(1)));
    }
}
