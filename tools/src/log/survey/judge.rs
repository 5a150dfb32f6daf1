//! Which batches of a log stand where they say, by all of their neighbours.
//!
//! A batch's CRC leaves out its base offset and its leader epoch, so one turned bit can give a whole
//! batch any place in the log. Whoever believes the first offset he meets believes such a batch, and
//! then takes everything behind it for damaged. Here the batches of a window are looked at together:
//! those are right that make the heaviest chain in which offsets ascend and epochs never fall, where
//! a batch weighs the more the more of those around it, and of the names of segments, agree with it.
//! Gaps are what compaction leaves and break no chain.
//!
//! A batch outside the chain is put right if one bit brings it to the place that the batches around
//! it leave for it, without a gap on either side. Otherwise it may belong elsewhere: it alone goes.
//!
//! Decides and reads nothing. Its memory has a bound, whatever the log's size.

use std::cmp::Reverse;
use std::collections::VecDeque;

use corelog_protocol::{LeaderEpoch, Offset};

/// Batches looked at together. Half of them are decided at a time, so each has that many behind it
/// that may contradict it, or the rest of the log.
const WINDOW: usize = 1 << 14;

/// A batch with a CRC that is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Which of the log's segments holds it, counted from 0.
    pub(super) segment: usize,
    pub(super) segment_base: Offset,
    pub(super) position: u64,
    pub(super) size: usize,
    pub(super) base_offset: i64,
    pub(super) last_offset_delta: i32,
    pub(super) epoch: i32,
    /// It stands directly behind the batch seen before it: no byte between them is lost.
    pub(super) follows: bool,
}

impl Seen {
    /// The offset behind its last one, if it begins at `base`.
    fn end_from(&self, base: i64) -> Option<i64> {
        base.checked_add(i64::from(self.last_offset_delta) + 1)
    }

    /// Where it ends by its own word.
    fn end(&self) -> i64 {
        self.end_from(self.base_offset).unwrap_or(i64::MAX)
    }

    fn begins_segment(&self) -> bool {
        self.position == 0
    }

    /// An index of its segment can name its offsets.
    fn fits_its_segment(&self, base: i64) -> bool {
        let last = base.checked_add(i64::from(self.last_offset_delta));
        let relative = last.and_then(|last| last.checked_sub(self.segment_base.get()));
        base >= self.segment_base.get()
            && relative.is_some_and(|relative| relative <= i64::from(i32::MAX))
    }

    fn leader_epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::from_sentinel(self.epoch)
    }
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays, beginning at this offset, with this epoch; they may not be what it says.
    Stays {
        base_offset: Offset,
        epoch: Option<LeaderEpoch>,
    },
    /// It does not; completes "a batch with …".
    Goes(&'static str),
}

/// Decides about the batches of one log, in their order.
#[derive(Debug)]
pub(super) struct Judge {
    window: usize,
    undecided: VecDeque<Seen>,
    /// The batch decided last, if it stays.
    before: Option<(Seen, bool)>,
    /// Where the log ends so far.
    next_offset: i64,
    epoch: i32,
    decided: VecDeque<(Seen, Verdict)>,
}

impl Judge {
    pub(super) fn new() -> Judge {
        Judge {
            window: WINDOW,
            undecided: VecDeque::new(),
            before: None,
            next_offset: 0,
            epoch: -1,
            decided: VecDeque::new(),
        }
    }

    /// The next batch of the log.
    pub(super) fn hear(&mut self, seen: Seen) {
        self.undecided.push_back(seen);
        if self.undecided.len() == self.window {
            self.decide(self.window / 2);
        }
    }

    /// There are no more.
    pub(super) fn end(&mut self) {
        self.decide(self.undecided.len());
    }

    /// The next batch that was decided about.
    pub(super) fn next(&mut self) -> Option<(Seen, Verdict)> {
        self.decided.pop_front()
    }

    /// Decides about the first `count` batches of the window.
    fn decide(&mut self, count: usize) {
        let seen: Vec<Seen> = self.undecided.iter().copied().collect();
        let offsets = self.offsets(&seen);
        let placed: Vec<usize> = (0..seen.len()).filter(|&n| offsets[n].is_some()).collect();
        let epochs = self.epochs(&seen, &placed);
        let mut next_placed = 0;
        for (n, &batch) in seen.iter().enumerate().take(count) {
            let verdict = match offsets[n] {
                None => Verdict::Goes(self.misplacement(&batch)),
                Some(base) => {
                    let epoch = epochs[next_placed];
                    next_placed += 1;
                    match epoch {
                        None => Verdict::Goes("a leader epoch that does not fit those around it"),
                        Some(epoch) => {
                            self.next_offset = batch.end_from(base).unwrap_or(i64::MAX);
                            self.epoch = self.epoch.max(epoch);
                            Verdict::Stays {
                                base_offset: Offset::new(base),
                                epoch: LeaderEpoch::from_sentinel(epoch),
                            }
                        }
                    }
                }
            };
            let is_right = offsets[n] == Some(batch.base_offset);
            self.before = Some((batch, is_right));
            self.decided.push_back((batch, verdict));
        }
        self.undecided.drain(..count);
    }

    fn misplacement(&self, batch: &Seen) -> &'static str {
        if !batch.fits_its_segment(batch.base_offset) {
            "offsets that its segment cannot hold"
        } else if batch.base_offset < self.next_offset {
            "offsets that were there before"
        } else {
            "offsets ahead of those that follow it"
        }
    }

    /// Where each batch begins; `None` for one that has no place.
    fn offsets(&self, seen: &[Seen]) -> Vec<Option<i64>> {
        // Batches without a gap between them have the same origin: base offset less all that stands
        // before it.
        let mut counted = 0;
        let mut origins = Vec::with_capacity(seen.len());
        for batch in seen {
            let named = batch
                .begins_segment()
                .then(|| batch.segment_base.get().wrapping_sub(counted));
            origins.push((batch.base_offset.wrapping_sub(counted), named));
            counted = counted.wrapping_add(i64::from(batch.last_offset_delta) + 1);
        }
        let links: Vec<Link> = seen
            .iter()
            .enumerate()
            .map(|(n, batch)| {
                let fits = batch.base_offset >= self.next_offset
                    && batch.fits_its_segment(batch.base_offset);
                let origin = origins[n].0;
                let by_batches = witnesses(seen, n, |other| origins[other].0 == origin);
                let by_names = witnesses(seen, n, |other| origins[other].1 == Some(origin))
                    + u64::from(origins[n].1 == Some(origin));
                Link {
                    from: batch.base_offset,
                    to: batch.end(),
                    weight: u64::from(fits) * (1 + by_batches + by_names),
                }
            })
            .collect();
        let is_right = heaviest_chain(&links);
        let mut ended = self.next_offset;
        (0..seen.len())
            .map(|n| {
                if is_right[n] {
                    ended = seen[n].end();
                    return Some(seen[n].base_offset);
                }
                let place = self.restored_offset(seen, n, &is_right);
                place.filter(|place| *place >= ended)
            })
            .collect()
    }

    /// The batch before the one at `n`, and whether its offsets are right.
    fn before<'a>(
        &'a self,
        seen: &'a [Seen],
        n: usize,
        is_right: &[bool],
    ) -> Option<(&'a Seen, bool)> {
        match n.checked_sub(1) {
            Some(before) => Some((&seen[before], is_right[before])),
            None => self.before.as_ref().map(|(seen, right)| (seen, *right)),
        }
    }

    /// Where the batch must begin by what stands before it: its segment's name, or another batch.
    fn offset_before(&self, seen: &[Seen], n: usize) -> Option<i64> {
        let batch = &seen[n];
        if batch.begins_segment() {
            return Some(batch.segment_base.get());
        }
        let before = match n.checked_sub(1) {
            Some(before) => Some(&seen[before]),
            None => self.before.as_ref().map(|(seen, _)| seen),
        };
        before.filter(|_| batch.follows).map(Seen::end)
    }

    /// The one place that the batches around this one leave for it, if one bit brings it there.
    fn restored_offset(&self, seen: &[Seen], n: usize, is_right: &[bool]) -> Option<i64> {
        let batch = &seen[n];
        let after = seen.get(n + 1).filter(|after| after.follows);
        let after_is_right = after.is_some() && is_right[n + 1];
        let before = self.before(seen, n, is_right);
        let before_is_right = batch.follows && before.is_some_and(|(_, is_right)| is_right);
        let place = self.offset_before(seen, n)?;
        let neighbour_in_segment = |other: &Seen| other.segment == batch.segment;
        // A file that holds this batch alone may be the file of another place.
        let is_at_home = after
            .filter(|_| after_is_right)
            .is_some_and(neighbour_in_segment)
            || before.is_some_and(|(other, _)| before_is_right && neighbour_in_segment(other));
        let is_begun = batch.begins_segment() || before_is_right;
        let follows_on = offset_after(seen, n) == batch.end_from(place)
            && (after_is_right || after.is_some_and(|after| !neighbour_in_segment(after)));
        let is_one_bit = (place ^ batch.base_offset).count_ones() == 1;
        let is_restored = is_begun && follows_on && is_at_home && is_one_bit;
        (is_restored && batch.fits_its_segment(place)).then_some(place)
    }

    /// The epoch of each of the placed batches; `None` for one whose epoch is not to be told.
    fn epochs(&self, seen: &[Seen], placed: &[usize]) -> Vec<Option<i32>> {
        let epoch = |n: usize| seen[n].leader_epoch().map_or(-1, LeaderEpoch::get);
        let follows = |p: usize| placed[p] == placed[p - 1] + 1 && seen[placed[p]].follows;
        let links: Vec<Link> = placed
            .iter()
            .map(|&n| {
                let found = epoch(n);
                let agreeing = witnesses(seen, n, |other| epoch(other) == found);
                Link {
                    from: i64::from(found),
                    to: i64::from(found),
                    weight: u64::from(found >= self.epoch) * (1 + agreeing),
                }
            })
            .collect();
        let is_right = heaviest_chain(&links);
        (0..placed.len())
            .map(|p| {
                let found = epoch(placed[p]);
                if is_right[p] {
                    return Some(found);
                }
                // Of the first one in a window the one decided last is the neighbour.
                let before = match p {
                    0 => (placed[0] == 0 && seen[0].follows && self.before.is_some())
                        .then_some(self.epoch),
                    _ => (follows(p) && is_right[p - 1]).then(|| epoch(placed[p - 1])),
                }?;
                let has_after = p + 1 < placed.len() && follows(p + 1) && is_right[p + 1];
                let agreed = has_after && epoch(placed[p + 1]) == before;
                let is_one_bit = (seen[placed[p]].epoch ^ before).count_ones() == 1;
                (agreed && is_one_bit).then_some(before)
            })
            .collect()
    }
}

/// Where the batch must end by what stands behind it: another batch, or the next segment's name.
fn offset_after(seen: &[Seen], n: usize) -> Option<i64> {
    let after = seen.get(n + 1).filter(|after| after.follows)?;
    Some(match after.segment == seen[n].segment {
        true => after.base_offset,
        false => after.segment_base.get(),
    })
}

/// How many of the two batches on either side agree with the one at `n`. Two, because where two
/// neighbours contradict each other the one beyond tells who is right. Bytes that are lost hide what
/// is behind them.
fn witnesses(seen: &[Seen], n: usize, agrees: impl Fn(usize) -> bool) -> u64 {
    const REACH: usize = 2;
    let before = (n.saturating_sub(REACH)..n)
        .rev()
        .take_while(|other| seen[other + 1].follows);
    let behind = (n + 1..seen.len())
        .take(REACH)
        .take_while(|other| seen[*other].follows);
    let agreeing = before.chain(behind).filter(|other| agrees(*other)).count();
    agreeing as u64
}

/// One element of a chain.
struct Link {
    from: i64,
    to: i64,
    /// 0 for one that belongs into no chain.
    weight: u64,
}

/// Which links make the heaviest chain in which each begins at the end of the one before, or behind
/// it. Of two as heavy, the one that ends lower.
fn heaviest_chain(links: &[Link]) -> Vec<bool> {
    let mut ends: Vec<i64> = links.iter().map(|link| link.to).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut best = PrefixMaxima::new(ends.len());
    let mut before = vec![None; links.len()];
    for (n, link) in links.iter().enumerate().filter(|(_, link)| link.weight > 0) {
        let reachable = ends.partition_point(|end| *end <= link.from);
        let (weight, chain) = best.up_to(reachable);
        before[n] = chain;
        let rank = ends.partition_point(|end| *end < link.to);
        best.offer(rank, weight + link.weight, n);
    }
    let mut is_in = vec![false; links.len()];
    let mut chain = best.up_to(ends.len()).1;
    while let Some(n) = chain {
        is_in[n] = true;
        chain = before[n];
    }
    is_in
}

/// The greatest weight offered at a rank below another, of equals the one of lowest rank (a Fenwick
/// tree).
struct PrefixMaxima(Vec<Best>);

/// Weight, rank, and the chain's last link.
type Best = (u64, Reverse<usize>, Option<usize>);

const NOTHING: Best = (0, Reverse(usize::MAX), None);

impl PrefixMaxima {
    fn new(ranks: usize) -> PrefixMaxima {
        PrefixMaxima(vec![NOTHING; ranks + 1])
    }

    fn offer(&mut self, rank: usize, weight: u64, link: usize) {
        let offered = (weight, Reverse(rank), Some(link));
        let mut at = rank + 1;
        while at < self.0.len() {
            if (offered.0, offered.1) > (self.0[at].0, self.0[at].1) {
                self.0[at] = offered;
            }
            at += at & at.wrapping_neg();
        }
    }

    /// Over the ranks below `end`.
    fn up_to(&self, end: usize) -> (u64, Option<usize>) {
        let mut best = NOTHING;
        let mut at = end;
        while at > 0 {
            if (self.0[at].0, self.0[at].1) > (best.0, best.1) {
                best = self.0[at];
            }
            at -= at & at.wrapping_neg();
        }
        (best.0, best.2)
    }
}

#[cfg(test)]
mod tests;
