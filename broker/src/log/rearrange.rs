//! Which segments a log consists of, beside what appends do to them: its start moves up, an idle
//! segment is closed, its end is cut back.
//!
//! The log start and the closing of a segment are journal entries that stand behind all bytes of the
//! log recorded before; a log start is visible when the group that holds it was flushed, so it never
//! moves back. A segment below it is let go only when a durable checkpoint says that the log goes on
//! behind it: a replay asks for no other.
//!
//! A cut is made durable by a checkpoint, not by an entry: a replay that began before the cut would
//! need blocks that were cut off (`broker/docs/decisions/0003-a-truncation-is-a-checkpoint.md`).

use std::io;
use std::rc::Rc;

use corelog_protocol::Offset;

use super::canary::{Canary, is_planted};
use super::checksums;
use super::partition_log::{PartitionLog, State};
use super::removal::rename_files;
use super::segment::Segment;
use super::shard_log::Shared;
use super::tail::Chunk;
use super::{LogFailure, ReadError, RearrangeError};
use crate::runtime::{AppendBuffer, BLOCK, now};

/// One segment, as retention and compaction look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentOverview {
    /// Offset that the segment's name says.
    pub base_offset: Offset,
    /// Every offset in it is below this one.
    pub end_offset: Offset,
    /// Bytes, those still in memory included.
    pub size_bytes: u64,
    /// No more appends.
    pub is_closed: bool,
}

impl PartitionLog {
    /// The segments, oldest first. The last one is active.
    pub fn segments(&self) -> Vec<SegmentOverview> {
        let state = self.state.borrow();
        let ends = state.segments.keys().skip(1).copied();
        let ends = ends.chain([state.log_end]);
        let overview = |(segment, end_offset): (&Rc<Segment>, Offset)| SegmentOverview {
            base_offset: segment.base_offset(),
            end_offset,
            size_bytes: segment.size(),
            is_closed: segment.is_sealed(),
        };
        state.segments.values().zip(ends).map(overview).collect()
    }

    /// The largest timestamp of the records in the segment that begins at `base_offset`; `None` if
    /// there is no such segment, or no record in it has a timestamp. Reads an index file the first
    /// time.
    pub async fn largest_timestamp(&self, base_offset: Offset) -> Option<i64> {
        let shared = self.shared()?;
        let segment = self.state.borrow().segments.get(&base_offset).cloned()?;
        shared.largest_timestamp(&segment).await
    }

    /// Moves the log start up to `to`, if it is below. When this returns the move is durable and
    /// nothing below is read any more; the files of whole segments below go later.
    ///
    /// # Errors
    /// The log directory has stopped, the partition was deleted, or `to` is behind the log end.
    pub async fn advance_log_start(&self, to: Offset) -> Result<Offset, RearrangeError> {
        let shared = self.shared().ok_or(RearrangeError::Deleted)?;
        let _permit = self.rearranging.acquire(1).await;
        shared.check()?;
        {
            let mut state = self.state.borrow_mut();
            let (log_start, log_end) = (state.log_start, state.log_end);
            if to > log_end {
                return Err(RearrangeError::OutOfRange {
                    asked: to,
                    log_start,
                    log_end,
                });
            }
            if to <= log_start {
                return Ok(log_start);
            }
            state.log_start_asked = state.log_start_asked.max(to);
            self.ask_for_record(&shared, &mut state)?;
        }
        if is_planted(Canary::LogStartNotAwaited) {
            return Ok(to);
        }
        shared.commit.flush_log(&shared, self).await?;
        let state = self.state.borrow();
        if state.deleted {
            return Err(RearrangeError::Deleted);
        }
        Ok(state.log_start)
    }

    /// Closes the active segment if `segment.ms` has passed since it was begun and nothing is being
    /// appended. Says whether it did.
    pub async fn roll_if_due(&self) -> bool {
        let active = self.active_segment();
        if active.has_unknown_age()
            && let Some(shared) = self.shared()
        {
            active.first_timestamp(&shared.storage).await;
        }
        let is_due = self.state.borrow().active_is_too_old();
        is_due && self.roll_idle()
    }

    /// Closes the active segment, if it holds anything and nothing is being appended.
    pub fn roll_idle(&self) -> bool {
        let Some(shared) = self.shared() else {
            return false;
        };
        let active = self.active_segment();
        {
            let state = self.state.borrow();
            if active.size() == 0 || state.appending || state.deleted || shared.check().is_err() {
                return false;
            }
        }
        let next = self.successor_of(&active);
        self.roll(&next);
        let asked = self.ask_for_record(&shared, &mut self.state.borrow_mut());
        asked.is_ok()
    }

    /// Has the next group record what changed beside the bytes.
    fn ask_for_record(&self, shared: &Shared, state: &mut State) -> Result<(), RearrangeError> {
        if state.deleted {
            return Err(RearrangeError::Deleted);
        }
        let queued = std::mem::replace(&mut state.queued, true);
        self.enqueue(shared, 0, queued);
        Ok(())
    }

    /// Lets go of closed segments that lie wholly below the log start and that no replay asks for.
    pub(super) fn retire_below_log_start(&self, shared: &Shared) {
        if self.compaction.exchanging.get() {
            return; // the next checkpoint does it
        }
        let replayed_from = self.checkpointed_start().segment_base;
        let mut state = self.state.borrow_mut();
        let delay = state.config.file_delete_delay;
        loop {
            let mut oldest = state.segments.iter();
            let (Some((&base, segment)), Some((&next, _))) = (oldest.next(), oldest.next()) else {
                return;
            };
            if next > state.log_start || base >= replayed_from {
                return;
            }
            shared.removal.retire(segment.clone(), delay);
            state.segments.remove(&base);
        }
    }

    /// Cuts the log back, so that it ends at `to`, or before the batch that holds `to`. Only between
    /// appends. When this returns the cut is durable; until then a crash leaves the log whole.
    ///
    /// # Errors
    /// The log directory has stopped, the partition was deleted, `to` is below the log start, or the
    /// place could not be read.
    pub async fn truncate(&self, to: Offset) -> Result<Offset, RearrangeError> {
        let shared = self.shared().ok_or(RearrangeError::Deleted)?;
        let _permit = self.rearranging.acquire(1).await;
        self.state.borrow_mut().appending = true;
        let cut = self.cut_back(&shared, to).await;
        self.state.borrow_mut().appending = false;
        cut
    }

    async fn cut_back(&self, shared: &Rc<Shared>, to: Offset) -> Result<Offset, RearrangeError> {
        shared.check()?;
        {
            let state = self.state.borrow();
            let (log_start, log_end) = (state.log_start, state.log_end);
            if to < log_start {
                return Err(RearrangeError::OutOfRange {
                    asked: to,
                    log_start,
                    log_end,
                });
            }
            if to >= log_end {
                return Ok(log_end);
            }
        }
        // Nothing of the log is on its way any more, and nothing new comes: between appends.
        shared.commit.flush_log(shared, self).await?;
        let producers = self.producers_before_cut(to).await?;
        let buffer = shared.append_buffer(BLOCK).await?;
        // A checkpoint under way has looked at the log as it was.
        let checkpointing = shared.write_out.checkpointing.acquire(1).await;
        let writing = self.writing.acquire(1).await;
        let in_memory = find_in_memory(&self.state.borrow(), to);
        let cut = match in_memory {
            Some(cut) => cut,
            None => self.find_in_file(shared, to).await?,
        };
        // What its last batches are only the memory knows, until the checkpoint wrote them.
        let index_rests = match cut.place {
            Place::InMemory { .. } => Some(cut.segment.keep_from_loading().await),
            Place::InFile { .. } => None,
        };
        self.remove_companions(shared, &cut.segment).await?;
        let base = cut.segment.base_offset();
        self.compacted_only_below(shared, base).await?;
        // From here on there is no way back but a start: in memory the log ends at the cut.
        let cut_off = {
            let mut state = self.state.borrow_mut();
            if state.deleted {
                return Err(RearrangeError::Deleted);
            }
            state.producers.cut_back(to, producers);
            apply_cut(&mut state, &cut, buffer)
        };
        self.read_aheads.clear();
        drop((writing, checkpointing));
        self.announce_change();
        shared.write_out.checkpoint_anew(shared).await?;
        drop(index_rests);
        // The names must be free, durably, before the log grows into them again.
        let removed = self.remove_cut_off(shared, &cut.segment, cut_off).await;
        if let Err(failure) = removed {
            shared.fail(failure.clone());
            return Err(failure.into());
        }
        Ok(cut.next_offset)
    }

    /// Removes the indexes and checksums of a segment that is to be cut back: the log will grow again,
    /// and they would pass for its own. Durably, before the cut is.
    async fn remove_companions(
        &self,
        shared: &Shared,
        segment: &Segment,
    ) -> Result<(), LogFailure> {
        for extension in ["index", "timeindex", checksums::EXTENSION] {
            let path = segment.path().with_extension(extension);
            match shared.storage.remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogFailure::new("removal", &path, &error));
                }
                _ => {}
            }
        }
        let synced = shared.storage.sync_dir(self.folder()).await;
        synced.map_err(|error| LogFailure::new("sync", self.folder(), &error))
    }

    async fn remove_cut_off(
        &self,
        shared: &Rc<Shared>,
        last: &Segment,
        cut_off: Vec<Rc<Segment>>,
    ) -> Result<(), LogFailure> {
        let folder = self.folder();
        let failed = |error| LogFailure::new("truncation", folder, &error);
        let _at_rest = shared.removal.at_rest().await;
        for segment in cut_off {
            let renamed = rename_files(shared, &segment, now()).await;
            renamed.map_err(failed)?;
        }
        let synced = shared.storage.sync_dir(folder).await;
        synced.map_err(failed)?;
        last.give_back_blocks(&shared.storage).await.map_err(failed)
    }

    /// Where the log is cut to end at `to`, which is not in memory.
    async fn find_in_file(&self, shared: &Rc<Shared>, to: Offset) -> Result<Cut, ReadError> {
        let (segment, position, base_offset) = self.place_in_file(shared, to).await?;
        let begun = usize::try_from(position % BLOCK as u64).expect("less than a block");
        let failed = |source| ReadError::Io {
            path: segment.path().to_owned(),
            source,
        };
        let read = async {
            let file = segment.file(&shared.storage).await?;
            file.read_at(position - begun as u64, begun).await
        };
        let bytes = read.await.map_err(failed)?;
        Ok(Cut {
            position,
            next_offset: base_offset.min(to),
            place: Place::InFile {
                begun: bytes.to_vec(),
            },
            segment,
        })
    }
}

/// The end of a log that is to be cut back.
struct Cut {
    segment: Rc<Segment>,
    position: u64,
    next_offset: Offset,
    place: Place,
}

enum Place {
    /// In the tail, which keeps what is before it: the segment may not hold that yet.
    InMemory { cursor: u64 },
    /// In the segment, which holds all that is before it; `begun` are the bytes between the last
    /// block boundary and the cut.
    InFile { begun: Vec<u8> },
}

/// Where the log is cut to end at `to`, if the tail holds that.
fn find_in_memory(state: &State, to: Offset) -> Option<Cut> {
    let tail = &state.tail;
    let index = tail.batches.partition_point(|it| it.next_offset <= to);
    let batch = tail.batches.get(index).filter(|it| it.base_offset <= to)?;
    let chunk = &tail.chunks[tail.chunk_at(batch.start)?];
    Some(Cut {
        segment: chunk.segment.clone(),
        position: chunk.position + (batch.start - chunk.start),
        next_offset: batch.base_offset,
        place: Place::InMemory {
            cursor: batch.start,
        },
    })
}

/// Ends the log at `cut`, in memory, and returns the segments behind it.
fn apply_cut(state: &mut State, cut: &Cut, buffer: AppendBuffer) -> Vec<Rc<Segment>> {
    match &cut.place {
        Place::InMemory { cursor } => {
            state.tail.cut_back(*cursor, buffer);
            state.covered_from = state.covered_from.min(*cursor);
        }
        Place::InFile { begun } => {
            let block = cut.position - begun.len() as u64;
            let chunk = Chunk::new(buffer, cut.segment.clone(), block, state.tail.end());
            state.tail.begin_anew(chunk, begun);
            state.covered_from = state.tail.end();
        }
    }
    state.cuts += 1;
    state.covering = None;
    state.revision += 1;
    state.grouped = state.tail.end();
    state.written_cursor = state.tail.end();
    state.grouped_segment = cut.segment.clone();
    state.written_segment = cut.segment.clone();
    state.log_end = cut.next_offset;
    state.grouped_end = cut.next_offset;
    state.written_end = cut.next_offset;
    state.synced_end = cut.next_offset;
    state.epochs.retain(|(_, first)| *first < cut.next_offset);
    cut.segment.reopen_at(cut.position);
    let base = cut.segment.base_offset();
    state.to_seal.retain(|segment| segment.base_offset() < base);
    let behind = state.segments.split_off(&Offset::new(base.get() + 1));
    behind.into_values().collect()
}
