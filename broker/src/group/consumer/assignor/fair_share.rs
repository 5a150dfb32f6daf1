//! Shares that differ by one at most.

use std::collections::VecDeque;

use crate::group::consumer::Partitions;

/// In what order free partitions go to those who lack some.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deal {
    /// One each in turn, which spreads every topic over the members.
    InTurn,
    /// All that one lacks before the next gets any, which gives neighbours to one member.
    InRanges,
}

/// Shares `partitions` among the holders of `held`: nobody gets two more than another, and as many
/// as possible stay where they are.
pub(super) fn share(partitions: Partitions, held: &[Partitions], deal: Deal) -> Vec<Partitions> {
    let Some(quota) = partitions.len().checked_div(held.len()) else {
        return Vec::new();
    };
    // So many members get one more than the quota; who has one more already, first.
    let mut extras = partitions.len() % held.len();
    let mut free = partitions;
    let mut shares: Vec<Partitions> = Vec::with_capacity(held.len());
    for held in held {
        let most = quota + usize::from(extras > 0);
        let mut kept = Partitions::new();
        for partition in held {
            if kept.len() < most && free.remove(partition) {
                kept.insert(*partition);
            }
        }
        extras -= usize::from(kept.len() > quota);
        shares.push(kept);
    }

    let mut lacking: VecDeque<(&mut Partitions, usize)> = VecDeque::new();
    for kept in &mut shares {
        let mut due = quota.max(kept.len());
        if kept.len() <= quota && extras > 0 {
            due += 1;
            extras -= 1;
        }
        if kept.len() < due {
            lacking.push_back((kept, due));
        }
    }
    for partition in free {
        let (share, due) = lacking
            .pop_front()
            .expect("the shares due add up to the partitions");
        share.insert(partition);
        if share.len() < due {
            match deal {
                Deal::InTurn => lacking.push_back((share, due)),
                Deal::InRanges => lacking.push_front((share, due)),
            }
        }
    }
    assert!(
        lacking.is_empty(),
        "the shares due add up to the partitions"
    );
    shares
}
