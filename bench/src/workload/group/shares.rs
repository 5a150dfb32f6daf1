//! Who has which partition, how far the group has come in each, and how long
//! each paused.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The partitions of the group's topic, by index.
pub(super) struct Shares {
    partitions: Vec<Partition>,
    /// Different records that were delivered.
    delivered: u64,
    changed_at: Instant,
    delivered_at: Instant,
}

struct Partition {
    owner: Option<usize>,
    /// The offset after the last one delivered.
    next: i64,
    /// When the last poll returned records of it, or the watch began.
    last: Instant,
    longest_pause: Duration,
    /// It had one owner since the watch began.
    is_kept: bool,
    flows: bool,
}

impl Shares {
    pub(super) fn new(starts: impl Iterator<Item = i64>, now: Instant) -> Self {
        let partition = |next| Partition {
            owner: None,
            next,
            last: now,
            longest_pause: Duration::ZERO,
            is_kept: false,
            flows: false,
        };
        Self {
            partitions: starts.map(partition).collect(),
            delivered: 0,
            changed_at: now,
            delivered_at: now,
        }
    }

    pub(super) fn take(&mut self, member: usize, partition: i32, now: Instant) {
        if let Some(partition) = of(&mut self.partitions, partition) {
            partition.owner = Some(member);
            partition.is_kept = false;
            self.changed_at = now;
        }
    }

    /// Of a partition that another member has taken meanwhile nothing changes.
    pub(super) fn give_up(&mut self, member: usize, partition: i32, now: Instant) {
        if let Some(partition) = of(&mut self.partitions, partition)
            && partition.owner == Some(member)
        {
            partition.owner = None;
            partition.is_kept = false;
            self.changed_at = now;
        }
    }

    /// True if every partition has an owner, and so many members have as many each, or one more.
    pub(super) fn are_even(&self, members: usize) -> bool {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for partition in &self.partitions {
            let Some(owner) = partition.owner else {
                return false;
            };
            *counts.entry(owner).or_default() += 1;
        }
        let (least, most) = (counts.values().min(), counts.values().max());
        counts.len() == members
            && least
                .zip(most)
                .is_none_or(|(least, most)| most - least <= 1)
    }

    /// How many partitions each member has, and how many nobody, as a sentence.
    pub(super) fn describe(&self) -> String {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        let owners = self.partitions.iter().filter_map(|it| it.owner);
        owners.for_each(|owner| *counts.entry(owner).or_default() += 1);
        let owned: usize = counts.values().sum();
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        let free = self.partitions.len() - owned;
        format!(
            "{} members have {counts:?} partitions, nobody has {free}",
            counts.len()
        )
    }

    /// When the last partition came or went, if that made shares [even](Self::are_even).
    pub(super) fn even_since(&self, members: usize) -> Option<Instant> {
        self.are_even(members).then_some(self.changed_at)
    }

    /// Notes the partitions and offsets that a poll returned.
    pub(super) fn returned(&mut self, records: impl Iterator<Item = (i32, i64)>, now: Instant) {
        for (index, offset) in records {
            let Some(partition) = of(&mut self.partitions, index) else {
                continue;
            };
            partition.flows = true;
            partition.pause_until(now);
            if offset >= partition.next {
                partition.next = offset + 1;
                self.delivered += 1;
                self.delivered_at = now;
            }
        }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How long no new record was delivered, of the time since the watch began.
    pub(super) fn idle(&self) -> Duration {
        self.delivered_at.elapsed()
    }

    /// True if records of every partition were delivered.
    pub(super) fn all_flow(&self) -> bool {
        self.partitions.iter().all(|partition| partition.flows)
    }

    /// Watches for pauses from now on.
    pub(super) fn watch(&mut self, now: Instant) {
        self.delivered_at = now;
        for partition in &mut self.partitions {
            partition.last = now;
            partition.longest_pause = Duration::ZERO;
            partition.is_kept = partition.owner.is_some();
        }
    }

    /// The longest time in which no poll returned records of a partition that
    /// had one owner since the watch began; `None` if all changed hands. A
    /// pause that still goes on counts as far as it has come.
    pub(super) fn longest_pause(&mut self, now: Instant) -> Option<Duration> {
        let kept = self.partitions.iter_mut().filter(|it| it.is_kept);
        kept.map(|partition| {
            partition.pause_until(now);
            partition.longest_pause
        })
        .max()
    }
}

impl Partition {
    fn pause_until(&mut self, now: Instant) {
        let pause = now.saturating_duration_since(self.last);
        self.longest_pause = self.longest_pause.max(pause);
        self.last = now;
    }
}

/// A topic that grows has partitions that the run knows nothing of.
fn of(partitions: &mut [Partition], index: i32) -> Option<&mut Partition> {
    partitions.get_mut(usize::try_from(index).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn shares(partitions: i32, now: Instant) -> Shares {
        Shares::new((0..partitions).map(|_| 100), now)
    }

    #[test]
    fn shares_are_even_when_every_partition_has_an_owner_and_members_differ_by_one_at_most() {
        let now = Instant::now();
        let mut shares = shares(3, now);
        assert!(!shares.are_even(2));
        shares.take(0, 0, now);
        shares.take(1, 1, now);
        assert!(!shares.are_even(2), "one is free");
        shares.take(0, 2, now + ms(5));
        assert!(shares.are_even(2));
        assert!(!shares.are_even(3), "the third has none");
        assert_eq!(shares.even_since(2), Some(now + ms(5)));
        shares.take(0, 1, now);
        assert!(!shares.are_even(2), "one member has all");
        assert!(shares.are_even(1));
    }

    #[test]
    fn three_and_one_are_not_even() {
        let now = Instant::now();
        let mut shares = shares(4, now);
        (0..3).for_each(|partition| shares.take(0, partition, now));
        shares.take(1, 3, now);
        assert!(!shares.are_even(2));
        assert_eq!(
            shares.describe(),
            "2 members have [1, 3] partitions, nobody has 0"
        );
    }

    #[test]
    fn who_gives_up_late_takes_nothing_from_the_next_owner() {
        let now = Instant::now();
        let mut shares = shares(1, now);
        shares.take(0, 0, now);
        shares.take(1, 0, now);
        shares.give_up(0, 0, now + ms(1));
        assert!(shares.are_even(1));
        shares.give_up(1, 0, now + ms(2));
        assert_eq!(shares.even_since(1), None);
        shares.take(1, 0, now + ms(3));
        assert_eq!(shares.even_since(1), Some(now + ms(3)));
    }

    #[test]
    fn records_that_come_again_are_not_counted_again() {
        let now = Instant::now();
        let mut shares = shares(2, now);
        shares.returned([(0, 100), (0, 101), (1, 100)].into_iter(), now);
        shares.returned([(0, 101), (0, 102), (7, 0)].into_iter(), now);
        assert_eq!(shares.delivered(), 4);
        assert!(shares.all_flow());
    }

    #[test]
    fn the_longest_pause_is_that_of_partitions_that_kept_their_owner() {
        let now = Instant::now();
        let mut shares = shares(3, now);
        (0..3).for_each(|partition| shares.take(0, partition, now));
        shares.watch(now);
        shares.returned([(0, 100), (1, 100)].into_iter(), now + ms(10));
        shares.give_up(0, 2, now + ms(20));
        shares.take(1, 2, now + ms(90));
        shares.returned([(0, 101), (0, 102)].into_iter(), now + ms(40));
        shares.returned([(1, 101)].into_iter(), now + ms(35));
        // Partition 0 paused for 30 ms, and 1 for 25; 2 for 100, but it changed hands.
        let pause = shares.longest_pause(now + ms(50));
        assert_eq!(pause, Some(ms(30)));
        assert_eq!(shares.longest_pause(now + ms(100)), Some(ms(50)));
    }

    #[test]
    fn a_pause_before_the_watch_does_not_count_and_one_that_goes_on_does() {
        let now = Instant::now();
        let mut shares = shares(1, now);
        shares.take(0, 0, now);
        shares.returned([(0, 100)].into_iter(), now + ms(500));
        shares.watch(now + ms(600));
        shares.returned([(0, 101)].into_iter(), now + ms(610));
        assert_eq!(shares.longest_pause(now + ms(650)), Some(ms(40)));
    }

    #[test]
    fn where_every_partition_changed_hands_there_is_no_pause_to_tell() {
        let now = Instant::now();
        let mut shares = shares(1, now);
        shares.take(0, 0, now);
        shares.watch(now);
        shares.take(1, 0, now);
        assert_eq!(shares.longest_pause(now + ms(9)), None);
    }
}
