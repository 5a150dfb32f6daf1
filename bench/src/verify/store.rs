//! An outside store that takes results together with the offsets they stand for: everything once,
//! exactly.

use super::faults::{FaultKind, Faults};

pub(crate) struct Store {
    /// The next offset of each partition.
    next: Vec<usize>,
    /// How many records of each key count: the result.
    counted: Vec<u64>,
    /// Records that came again from a member that did not know yet that it had lost the partition, or
    /// from its successor.
    refused: u64,
    faults: Faults,
}

impl Store {
    pub(crate) fn new(partitions: usize, keys: usize) -> Self {
        Self {
            next: vec![0; partitions],
            counted: vec![0; keys],
            refused: 0,
            faults: Faults::default(),
        }
    }

    /// Where a member goes on with a partition.
    pub(crate) fn next(&self, partition: usize) -> usize {
        self.next[partition]
    }

    /// One record's result and its offset, in one step. What was stored before is refused.
    pub(crate) fn store(&mut self, partition: usize, offset: usize, key: u32, sequence: u64) {
        let next = &mut self.next[partition];
        if offset < *next {
            self.refused += 1;
            return;
        }
        if offset > *next {
            let next = *next;
            let what =
                || format!("partition {partition}: {offset} was delivered instead of {next}");
            self.faults.note(FaultKind::Skipped, what);
        }
        *next = offset + 1;
        let Some(counted) = self.counted.get_mut(key as usize) else {
            let what = || format!("partition {partition}, offset {offset}: no such key");
            self.faults.note(FaultKind::Stranger, what);
            return;
        };
        if sequence != *counted {
            let counted = *counted;
            let what = || {
                format!(
                    "key {key}: record {sequence} came when {counted} were counted, partition \
                     {partition}, offset {offset}"
                )
            };
            self.faults.note(FaultKind::NotExactlyOnce, what);
        }
        *counted += 1;
    }

    pub(crate) fn all_next(&self) -> Vec<usize> {
        self.next.clone()
    }

    /// The verdict on partitions that end so, and how many records were refused.
    pub(crate) fn finish(&mut self, ends: &[usize]) -> (Faults, u64) {
        for (partition, (next, end)) in self.next.iter().zip(ends).enumerate() {
            if next != end {
                let what = || format!("partition {partition}: stored through {next} of {end}");
                self.faults.note(FaultKind::NotExactlyOnce, what);
            }
        }
        (std::mem::take(&mut self.faults), self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(faults: &Faults) -> Vec<FaultKind> {
        faults.counts.keys().copied().collect()
    }

    #[test]
    fn what_is_delivered_again_is_refused_and_counts_once() {
        let mut store = Store::new(1, 1);
        for offset in [0, 1, 0, 1, 2] {
            store.store(0, offset, 0, offset as u64);
        }
        let (faults, refused) = store.finish(&[3]);
        assert_eq!((kinds(&faults), refused), (vec![], 2));
    }

    #[test]
    fn a_skipped_record_is_found() {
        let mut store = Store::new(1, 2);
        store.store(0, 0, 0, 0);
        store.store(0, 2, 1, 0);
        assert_eq!(kinds(&store.finish(&[3]).0), [FaultKind::Skipped]);
    }

    #[test]
    fn a_record_that_counts_twice_under_another_offset_is_found() {
        let mut store = Store::new(1, 1);
        store.store(0, 0, 0, 0);
        store.store(0, 1, 0, 0);
        assert_eq!(kinds(&store.finish(&[2]).0), [FaultKind::NotExactlyOnce]);
    }

    #[test]
    fn a_partition_that_was_not_stored_to_its_end_is_found() {
        let mut store = Store::new(2, 1);
        store.store(0, 0, 0, 0);
        assert_eq!(kinds(&store.finish(&[1, 1]).0), [FaultKind::NotExactlyOnce]);
    }
}
