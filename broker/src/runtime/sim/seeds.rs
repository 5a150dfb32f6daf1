//! Which seeds the tests run.

/// `usual` seeds from 0 on, unless `CORELOG_TEST_SEEDS` and `CORELOG_TEST_FIRST_SEED` say otherwise.
pub(crate) fn seeds(usual: u64) -> std::ops::Range<u64> {
    let variable = |name| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let first = variable("CORELOG_TEST_FIRST_SEED").unwrap_or(0);
    first..first + variable("CORELOG_TEST_SEEDS").unwrap_or(usual)
}
