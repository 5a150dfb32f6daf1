//! Wakes an executor that fell asleep before its first round of tasks.
//!
//! glommio 0.9 sleeps with ready tasks when the timer that ends a round expires before the round has
//! begun (see `real::keep_awake`). Against the loss of the very first round no task of the executor can
//! help. A signal can: it ends the sleep in the kernel, and the next round runs the tasks.

#![expect(unsafe_code, reason = "signals to a thread are system calls")]

use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::Once;
use std::thread::JoinHandle;

/// Ignored by default, and used by nobody who does not read out-of-band data from a socket.
const SIGNAL: libc::c_int = libc::SIGURG;

extern "C" fn nothing(_signal: libc::c_int) {}

/// Interrupts the thread's wait for completions. Its other system calls are restarted by the kernel.
pub(super) fn nudge<T>(thread: &JoinHandle<T>) {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(install_handler);
    // SAFETY: the handle was not joined, so the thread's id is valid even if it has ended.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), SIGNAL) };
}

/// An ignored signal interrupts nothing, so one that nobody handles gets a handler.
fn install_handler() {
    // SAFETY: all fields of a signal action may be zero; the kernel fills it in.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are null or valid for the call.
    unsafe { libc::sigaction(SIGNAL, ptr::null(), &mut action) };
    if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN {
        return;
    }
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler does nothing, which is safe at any moment.
    unsafe { libc::sigaction(SIGNAL, &action, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_nudge_ends_a_wait_in_the_kernel() {
        // SAFETY: pause(2) only waits for a signal that is handled.
        let thread = std::thread::spawn(|| unsafe { libc::pause() });
        let patience = Instant::now() + Duration::from_secs(20);
        // A nudge that comes before the wait is lost, as it is for an executor: the next one counts.
        while !thread.is_finished() && Instant::now() < patience {
            nudge(&thread);
            std::thread::yield_now();
        }
        assert!(thread.is_finished(), "the signal has no handler");
    }
}
