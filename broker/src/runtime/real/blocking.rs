//! Calls on an executor's blocking thread, and their end.
//!
//! The blocking thread of glommio 0.9 panics when it has an answer for an executor that is gone, and a
//! panic ends the broker. So an executor that ends waits for the calls under way.

use std::cell::Cell;
use std::future::Future;
use std::io;

use super::gate::gated;

/// Calls that other tasks may make one after the other while an executor ends. What matters has been
/// waited for by then; a task beyond this bound never stops.
const LAST_CALLS: usize = 10_000;

thread_local! {
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// Runs a call that blocks. Dropped, the call is made all the same.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    counted(gated(glommio::executor().spawn_blocking(call))).await
}

/// Counts an operation that glommio itself gives to the blocking thread.
pub(super) async fn counted<F: Future>(operation: F) -> F::Output {
    struct UnderWay;
    impl Drop for UnderWay {
        fn drop(&mut self) {
            UNDER_WAY.set(UNDER_WAY.get() - 1);
        }
    }
    UNDER_WAY.set(UNDER_WAY.get() + 1);
    let _under_way = UnderWay;
    operation.await
}

/// Returns when the blocking thread has answered everything, right before the executor ends.
///
/// There is one such thread and it keeps the order: a call that has returned has seen all before it
/// return. Another task may have made one meanwhile; the count tells.
pub(in crate::runtime) async fn settle() {
    for _ in 0..LAST_CALLS {
        gated(glommio::executor().spawn_blocking(|| ())).await;
        if UNDER_WAY.get() == 0 {
            return;
        }
    }
}
