//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Asks again and again until `condition` holds.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "the condition did not come to hold"
        );
        std::thread::yield_now();
    }
}
