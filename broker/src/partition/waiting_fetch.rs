//! The wait of one fetch for more to read.

use super::Shared;
use super::replica::WaitTicket;
use crate::runtime::{Instant, oneshot};

/// Returns when `readable_bytes` are readable, at the deadline, when the partition goes away, or
/// at once when as many fetches wait as may. Dropped, it leaves nothing behind.
pub(super) async fn wait(shared: &Shared, readable_bytes: u64, deadline: Instant) {
    let (wake, woken) = oneshot::channel();
    let (ticket, timer_is_late) = {
        let mut replica = shared.replica.borrow_mut();
        let timer_set_to = replica.earliest_deadline();
        let ticket = replica.wait_for_bytes(readable_bytes, deadline, wake);
        (ticket, timer_set_to.is_none_or(|set_to| deadline < set_to))
    };
    let Some(ticket) = ticket else {
        return;
    };
    if timer_is_late {
        shared.waker.wake();
    }
    let mut place = PlaceInLine {
        shared,
        ticket: Some(ticket),
    };
    // Woken, or the replica is gone with the wake-up: either way there is news.
    let _ = woken.await;
    place.ticket = None;
}

struct PlaceInLine<'a> {
    shared: &'a Shared,
    ticket: Option<WaitTicket>,
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.replica.borrow_mut().forget_fetch(ticket);
        }
    }
}
