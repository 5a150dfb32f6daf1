//! Which seeds the tests run.

use std::ops::Range;

/// `usual` seeds from 0 on, unless `CORELOG_TEST_SEEDS` and `CORELOG_TEST_FIRST_SEED` say otherwise.
/// When the loop over them panics, the seed it was at is named.
pub(crate) fn seeds(usual: u64) -> Seeds {
    let variable = |name| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let first = variable("CORELOG_TEST_FIRST_SEED").unwrap_or(0);
    let count = variable("CORELOG_TEST_SEEDS").unwrap_or(usual);
    Seeds {
        left: first..first + count,
        at: None,
    }
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
