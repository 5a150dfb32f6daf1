//! The produces that wait for a partition's task, in the order in which they were handed over.
//!
//! Order is settled by [`Mailbox::push`], which never waits. At its bound the mailbox still takes
//! a command but says that it is full, and whoever pushed stops taking further requests off its
//! connection until [`Mailbox::room`] resolves. So the mailbox holds at most its bound plus one
//! request of each connection, and a later request can never overtake a waiting one.
//!
//! An idle mailbox keeps no memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::reply::ProduceReply;
use super::request::ProduceCommand;
use crate::runtime::{Instant, Notify};

/// Bytes of batches a mailbox takes before it says that it is full: a few large requests are as
/// much work as many small ones.
pub(super) const MAILBOX_BYTES: usize = 8 << 20;

/// Room for commands that an empty mailbox keeps for the next burst.
const KEPT_COMMANDS: usize = 16;

#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) command: ProduceCommand,
    pub(crate) reply: ProduceReply,
}

pub(crate) struct Mailbox {
    /// Commands taken before the mailbox says that it is full: `partition.mailbox.commands`.
    capacity: usize,
    letters: RefCell<VecDeque<Letter>>,
    bytes: Cell<usize>,
    /// No later than the earliest deadline of a letter.
    earliest_deadline: Cell<Option<Instant>>,
    room: Notify,
}

impl Mailbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            letters: RefCell::default(),
            bytes: Cell::new(0),
            earliest_deadline: Cell::new(None),
            room: Notify::new(),
        }
    }

    pub(crate) fn push(&self, letter: Letter) {
        let deadline = letter.command.deadline;
        let earliest = self.earliest_deadline.get();
        self.earliest_deadline
            .set(Some(earliest.map_or(deadline, |e| e.min(deadline))));
        self.bytes
            .set(self.bytes.get() + letter.command.batches.len());
        self.letters.borrow_mut().push_back(letter);
    }

    pub(crate) fn pop(&self) -> Option<Letter> {
        let was_full = self.is_full();
        let mut letters = self.letters.borrow_mut();
        let letter = letters.pop_front()?;
        if letters.is_empty() {
            self.earliest_deadline.set(None);
            if letters.capacity() > KEPT_COMMANDS {
                *letters = VecDeque::new();
            }
        }
        drop(letters);
        self.bytes
            .set(self.bytes.get() - letter.command.batches.len());
        self.tell_of_room(was_full);
        Some(letter)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.letters.borrow().len() >= self.capacity || self.bytes.get() >= MAILBOX_BYTES
    }

    /// Resolves when the mailbox is below its bound.
    pub(crate) async fn room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    pub(crate) fn earliest_deadline(&self) -> Option<Instant> {
        self.earliest_deadline.get()
    }

    /// Takes out the letters whose deadline is over: the task has not come to them in time.
    pub(crate) fn take_expired(&self, now: Instant) -> Vec<Letter> {
        let was_full = self.is_full();
        let mut letters = self.letters.borrow_mut();
        let mut expired = Vec::new();
        let mut kept = VecDeque::with_capacity(letters.len());
        let mut earliest: Option<Instant> = None;
        let mut bytes = 0;
        for letter in letters.drain(..) {
            let deadline = letter.command.deadline;
            if deadline <= now {
                expired.push(letter);
            } else {
                earliest = Some(earliest.map_or(deadline, |e| e.min(deadline)));
                bytes += letter.command.batches.len();
                kept.push_back(letter);
            }
        }
        *letters = kept;
        drop(letters);
        self.bytes.set(bytes);
        self.earliest_deadline.set(earliest);
        self.tell_of_room(was_full);
        expired
    }

    fn tell_of_room(&self, was_full: bool) {
        if was_full && !self.is_full() {
            self.room.notify_waiters();
        }
    }
}
