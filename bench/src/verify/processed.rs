//! What the members of a group have processed that commits after processing: everything once at the
//! least.

use super::faults::{FaultKind, Faults};

/// How often each record was processed, by partition and offset.
pub(crate) struct Processed {
    partitions: Vec<Partition>,
    faults: Faults,
}

#[derive(Clone, Default)]
struct Partition {
    times: Vec<u8>,
    /// All below were processed.
    through: usize,
}

impl Processed {
    pub(crate) fn new(partitions: usize) -> Self {
        Self {
            partitions: vec![Partition::default(); partitions],
            faults: Faults::default(),
        }
    }

    /// The place where a member begins with a partition: nothing before it may be left out.
    pub(crate) fn begin(&mut self, partition: usize, offset: usize) {
        let through = self.partitions[partition].through;
        if offset > through {
            let what = || {
                format!(
                    "partition {partition} goes on at {offset}, and {through} was never processed"
                )
            };
            self.faults.note(FaultKind::Skipped, what);
        }
    }

    pub(crate) fn process(&mut self, partition: usize, offset: usize) {
        let partition = &mut self.partitions[partition];
        if partition.times.len() <= offset {
            partition.times.resize(offset + 1, 0);
        }
        let times = &mut partition.times[offset];
        *times = times.saturating_add(1);
        let done = partition.times[partition.through..].iter();
        partition.through += done.take_while(|times| **times > 0).count();
    }

    pub(crate) fn wrong_delivery(&mut self, what: impl FnOnce() -> String) {
        self.faults.note(FaultKind::WrongDelivery, what);
    }

    /// The first offset of each partition that was not processed yet.
    pub(crate) fn through(&self) -> Vec<usize> {
        let partitions = self.partitions.iter();
        partitions.map(|partition| partition.through).collect()
    }

    /// The verdict on partitions that end so, and how often a record was processed once more.
    pub(crate) fn finish(&mut self, ends: &[usize]) -> (Faults, u64) {
        let mut again = 0;
        for (index, (partition, end)) in self.partitions.iter().zip(ends).enumerate() {
            for offset in partition.through..*end {
                if partition.times.get(offset).is_none_or(|times| *times == 0) {
                    let what = || format!("partition {index}, offset {offset}");
                    self.faults.note(FaultKind::NotProcessed, what);
                }
            }
            let times = partition.times.iter();
            again += times
                .map(|times| u64::from(times.saturating_sub(1)))
                .sum::<u64>();
        }
        (std::mem::take(&mut self.faults), again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_processed_again_is_counted_and_what_never_was_is_a_fault() {
        let mut processed = Processed::new(2);
        processed.begin(0, 0);
        for offset in [0, 1, 2, 1, 2, 4] {
            processed.process(0, offset);
        }
        assert_eq!(processed.through(), [3, 0]);
        let (faults, again) = processed.finish(&[5, 1]);
        assert_eq!(again, 2);
        assert_eq!(faults.counts[&FaultKind::NotProcessed], 2);
        assert_eq!(faults.told[0], "not processed: partition 0, offset 3");
    }

    #[test]
    fn a_group_that_goes_on_too_far_is_caught() {
        let mut processed = Processed::new(1);
        processed.begin(0, 0);
        processed.process(0, 0);
        processed.begin(0, 1);
        processed.begin(0, 0);
        processed.begin(0, 2);
        let (faults, _) = processed.finish(&[1]);
        assert_eq!(
            faults.counts.into_iter().collect::<Vec<_>>(),
            [(FaultKind::Skipped, 1)]
        );
    }
}
