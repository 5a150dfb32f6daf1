//! The file that a bare loop writes, in the state in which the broker's is.
//!
//! State matters more than size: a write into a zero-filled block changes
//! data only, one into an allocated but never written block also changes the
//! file system's metadata, which a flush then has to write as well.

use std::ops::Range;

use anyhow::Result;

use super::disk::ZeroFilled;
use super::ring::{Handle, Ring};
use crate::scratch::Scratch;

/// A file and the next position to write.
pub(crate) struct Target {
    pub(super) handle: Handle,
    position: u64,
    state: State,
}

enum State {
    /// As the journal: every block was written before; the end wraps around.
    ZeroFilled { length: u64 },
    /// As a segment: allocated in steps ahead of the writes.
    Extended {
        step: u64,
        allocated: u64,
        extending: bool,
    },
}

impl Target {
    /// Writes go round and round a file that was filled with zeros.
    pub(crate) fn zero_filled(file: &ZeroFilled) -> Self {
        Self {
            handle: Handle::clone(&file.handle),
            position: 0,
            state: State::ZeroFilled {
                length: file.length,
            },
        }
    }

    /// Writes go on and on through a new file that grows by `step` bytes.
    pub(crate) fn extended(scratch: &Scratch, name: &str, step: u64) -> Result<Self> {
        let handle = scratch.direct_file(name)?;
        let mut ring = Ring::new(1)?;
        ring.allocate(&handle, 0..step, 0)?;
        ring.complete_one()?.result?;
        Ok(Self {
            handle,
            position: 0,
            state: State::Extended {
                step,
                allocated: step,
                extending: false,
            },
        })
    }

    /// Where to write the next `length` bytes; `None` until the file was extended.
    pub(super) fn place(&mut self, length: usize) -> Option<u64> {
        let length = length as u64;
        if let State::Extended { step, .. } = self.state {
            assert!(
                length <= step / 2,
                "a write longer than half a step would never start"
            );
        }
        let position = match self.state {
            State::ZeroFilled { length: end } if self.position + length > end => 0,
            State::Extended { allocated, .. } if self.position + length > allocated => return None,
            _ => self.position,
        };
        self.position = position + length;
        Some(position)
    }

    /// The range to allocate now, if it is time; it is then under way until
    /// [`Target::extension_done`].
    pub(super) fn next_extension(&mut self) -> Option<Range<u64>> {
        match &mut self.state {
            State::Extended {
                step,
                allocated,
                extending,
            } if !*extending && self.position + *step / 2 > *allocated => {
                *extending = true;
                Some(*allocated..*allocated + *step)
            }
            _ => None,
        }
    }

    pub(super) fn extension_done(&mut self) {
        if let State::Extended {
            step,
            allocated,
            extending,
        } = &mut self.state
        {
            *allocated += *step;
            *extending = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::*;

    fn target(state: State) -> Target {
        let file = tempfile::tempfile().unwrap();
        Target {
            handle: Arc::new(OwnedFd::from(file)),
            position: 0,
            state,
        }
    }

    #[test]
    fn a_zero_filled_file_is_written_round_and_round() {
        let mut target = target(State::ZeroFilled { length: 100 });
        let places: Vec<_> = (0..4).map(|_| target.place(40)).collect();
        assert_eq!(places, [Some(0), Some(40), Some(0), Some(40)]);
        assert_eq!(target.next_extension(), None);
    }

    #[test]
    fn writes_wait_for_the_extension_that_started_half_a_step_before() {
        let mut target = target(State::Extended {
            step: 100,
            allocated: 100,
            extending: false,
        });
        assert_eq!(target.place(50), Some(0));
        assert_eq!(target.next_extension(), None);
        assert_eq!(target.place(40), Some(50));
        assert_eq!(target.next_extension(), Some(100..200));
        assert_eq!(target.next_extension(), None, "one at a time");
        assert_eq!(target.place(40), None);
        target.extension_done();
        assert_eq!(target.place(40), Some(90));
    }
}
