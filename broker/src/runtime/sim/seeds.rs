//! Which seeds the tests run.

use std::ops::Range;

/// `usual` seeds from 0 on, unless `CORELOG_TEST_SEEDS` and `CORELOG_TEST_FIRST_SEED` say otherwise.
/// When the loop over them panics, the seed it was at is named.
pub(crate) fn seeds(usual: u64) -> Seeds {
    let first = variable("CORELOG_TEST_FIRST_SEED").unwrap_or(0);
    let count = variable("CORELOG_TEST_SEEDS").unwrap_or(usual);
    Seeds {
        left: first..first + count,
        at: None,
    }
}

/// As many seeds of `of_seed` steps as make `usual` random steps, or `CORELOG_TEST_STEPS`.
pub(crate) fn seeds_for_steps(usual: u64, of_seed: u64) -> Seeds {
    let steps = variable("CORELOG_TEST_STEPS").unwrap_or(usual);
    seeds(steps.div_ceil(of_seed))
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

pub(crate) struct Seeds {
    left: Range<u64>,
    at: Option<u64>,
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.at = self.left.next();
        self.at
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for Seeds {}

impl Drop for Seeds {
    fn drop(&mut self) {
        if let Some(seed) = self.at
            && std::thread::panicking()
        {
            println!("to replay it: CORELOG_TEST_FIRST_SEED={seed} CORELOG_TEST_SEEDS=1");
        }
    }
}
