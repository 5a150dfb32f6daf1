//! Memory lent to readers: what a read returns stays in memory until its reader's socket took it.
//!
//! A read copies nothing. It returns slices of tail chunks and the buffers of direct reads, and each
//! keeps all of its chunk or buffer alive, however small the slice. Readers that do not read would so
//! take the memory that appends need. Therefore all that readers of one shard hold together is
//! bounded: a read takes a [`Loan`] for what it holds, and at the bound further reads wait in line. Of
//! the shard's memory, all but the bound is left to appends, whatever readers do.
//!
//! A loan is for whole chunks and buffers, and two readers of one chunk each have a loan for it: the
//! sum is never less than what is held. A single read above the whole bound takes all of it, alone.

use std::rc::Rc;

use crate::runtime::{Permit, Semaphore};

/// The bound on what the readers of one shard hold. A clone is the same.
#[derive(Debug, Clone)]
pub struct Lending {
    limit: usize,
    /// One permit a byte.
    free: Rc<Semaphore>,
}

/// A reader's share, given back on drop.
#[derive(Debug, Default)]
pub struct Loan(Option<Permit>);

impl Loan {
    /// Bytes lent.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, Permit::permits)
    }
}

impl Lending {
    /// Readers may hold `limit` bytes together.
    pub fn new(limit: usize) -> Lending {
        Lending {
            limit,
            free: Rc::new(Semaphore::new(limit)),
        }
    }

    /// The bound.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that readers hold now.
    pub fn lent(&self) -> usize {
        self.limit - self.free.available()
    }

    /// Readers wait in line: those that hold memory and do not read are in the way of others.
    pub fn is_awaited(&self) -> bool {
        self.free.has_line()
    }

    /// Lends `bytes`, or the whole bound if they are more; waits in line for them.
    pub(crate) async fn lend(&self, bytes: usize) -> Loan {
        Loan(Some(self.free.acquire(bytes.min(self.limit)).await))
    }

    /// As [`Lending::lend`], if it is possible now.
    pub(crate) fn try_lend(&self, bytes: usize) -> Option<Loan> {
        let permit = self.free.try_acquire(bytes.min(self.limit))?;
        Some(Loan(Some(permit)))
    }

    /// Makes a loan as large as what was read with it. `None`: there is no room for that. Then the
    /// caller gives up what it read before it waits for more.
    pub(crate) fn fit(&self, mut loan: Loan, bytes: usize) -> Option<Loan> {
        let bytes = bytes.min(self.limit);
        match &mut loan.0 {
            _ if bytes == 0 => Some(Loan::default()),
            Some(permit) if permit.permits() >= bytes => {
                permit.shrink_to(bytes);
                Some(loan)
            }
            _ => {
                drop(loan);
                self.try_lend(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn readers_wait_at_the_bound_in_the_order_they_came() {
        let lending = Lending::new(100);
        let first = lending.try_lend(80).unwrap();
        let mut large = pin!(lending.lend(60));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(lending.is_awaited());
        assert!(lending.try_lend(10).is_none(), "nobody overtakes");
        drop(first);
        assert_eq!(large.now_or_never().unwrap().bytes(), 60);
        assert!(!lending.is_awaited());
    }

    #[test]
    fn a_read_larger_than_the_bound_comes_alone() {
        let lending = Lending::new(100);
        let small = lending.try_lend(1).unwrap();
        assert!(lending.try_lend(500).is_none());
        drop(small);
        let large = lending.try_lend(500).unwrap();
        assert_eq!((large.bytes(), lending.lent()), (100, 100));
    }

    #[test]
    fn a_loan_follows_what_was_read() {
        let lending = Lending::new(100);
        let loan = lending.fit(lending.try_lend(50).unwrap(), 20).unwrap();
        assert_eq!(lending.lent(), 20);
        let other = lending.try_lend(70).unwrap();
        assert!(lending.fit(loan, 40).is_none(), "110 bytes are above 100");
        assert_eq!(lending.lent(), 70, "what does not fit is given up");
        drop(other);
        assert_eq!(lending.fit(Loan::default(), 40).unwrap().bytes(), 40);
        assert_eq!(lending.lent(), 0);
    }
}
