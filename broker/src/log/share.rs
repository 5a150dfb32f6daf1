//! What one group of the journal takes of a partition: which batches, and which of their bytes the
//! journal carries and which go straight to the segment.
//!
//! A whole chunk may go straight. Its first block may begin with bytes of earlier groups, which the
//! journal holds: writing the chunk is the first that the segment sees of that block. Where the
//! segment already holds a part of it, or a write-out may be padding it at this moment, the journal
//! carries the chunk instead.

use std::ops::Range;
use std::rc::Rc;

use corelog_protocol::{Durability, LeaderEpoch, Offset};
use crc32c::crc32c;

use super::TopicPartition;
use super::commit::{Extent, Forming, GROUP_BYTES, Member, Taken};
use super::journal::format::{EntryHeader, EntryKind};
use super::partition_log::{PartitionLog, State};
use super::segment::Segment;
use super::tail::{Chunk, LARGE_APPEND, LARGEST_CHUNK};
use crate::runtime::BLOCK;

/// Where many partitions wait, one must bring this much to be worth a write of its own.
const BYPASS_IN_A_CROWD: u64 = 1 << 20;

impl PartitionLog {
    /// Moves the bytes that no group has yet into `group`, as many as fit.
    pub(super) fn take_for_group(self: &Rc<Self>, group: &mut Forming) -> Taken {
        let Some(shared) = self.shared() else {
            return Taken::All;
        };
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.deleted {
            state.queued = false;
            return Taken::All;
        }
        let mut at = state.grouped;
        let mut next_offset = None;
        while at < state.tail.end() && (next_offset.is_none() || !group.is_full()) {
            let bypass_bytes = bypass_bytes(shared.options.bypass_bytes, group.crowd);
            let share = next_share(state, at, group.room_inline(), bypass_bytes);
            let base_offset = state.tail.batches[share.batches.start].base_offset;
            let end_offset = state.tail.batches[share.batches.end - 1].next_offset;
            let epoch = epoch_at(&state.epochs, base_offset);
            let log_start = state.log_start_grouped;
            let entry = |kind, position: u64, length: usize, data_crc| EntryHeader {
                kind,
                topic_partition: self.id,
                leader_epoch: epoch,
                segment_base: share.segment.base_offset(),
                position,
                length: u32::try_from(length).expect("a group is bounded"),
                base_offset,
                next_offset: end_offset,
                log_start,
                data_crc,
            };
            push_roll(self.id, state, &share.segment, group);
            push_entries(self, state, at..share.end, &share, entry, group);
            group.bytes += usize::try_from(share.end - at).expect("bounded by memory");
            at = share.end;
            next_offset = Some(end_offset);
        }
        state.grouped = at;
        state.queued = at < state.tail.end();
        let bytes_taken = next_offset.is_some();
        state.grouped_end = next_offset.unwrap_or(state.grouped_end);
        group.wants_flush |= bytes_taken && state.config.durability == Durability::Sync;
        let moved = !state.queued && push_moves(self.id, state, group);
        if bytes_taken || moved {
            state.last_group = shared.commit.formed() + 1;
            group.members.push(Member {
                log: self.clone(),
                cursor: at,
                end_offset: state.grouped_end,
                segment: state.grouped_segment.clone(),
                log_start: state.log_start_grouped,
            });
        }
        if state.queued {
            Taken::Some
        } else {
            Taken::All
        }
    }
}

/// Records that the log goes on in `segment`, if it does not already.
fn push_roll(id: TopicPartition, state: &mut State, segment: &Rc<Segment>, group: &mut Forming) {
    if Rc::ptr_eq(&state.grouped_segment, segment) {
        return;
    }
    let closed = std::mem::replace(&mut state.grouped_segment, segment.clone());
    let roll = EntryHeader {
        segment_base: closed.base_offset(),
        position: closed.size(),
        next_offset: segment.base_offset(),
        log_start: state.log_start_grouped,
        ..EntryHeader::of(EntryKind::Roll, id)
    };
    group.builder.push(roll, None);
}

/// Records what changed of the log beside its bytes, once they are all recorded. `false` when
/// nothing did.
fn push_moves(id: TopicPartition, state: &mut State, group: &mut Forming) -> bool {
    let active = state.active().clone();
    let is_rolled = !Rc::ptr_eq(&state.grouped_segment, &active);
    push_roll(id, state, &active, group);
    let starts_later = state.log_start_grouped < state.log_start_asked;
    if starts_later {
        state.log_start_grouped = state.log_start_asked;
        let log_start = EntryHeader {
            log_start: state.log_start_asked,
            ..EntryHeader::of(EntryKind::LogStart, id)
        };
        group.builder.push(log_start, None);
        group.wants_flush = true;
    }
    is_rolled || starts_later
}

fn epoch_at(epochs: &[(LeaderEpoch, Offset)], offset: Offset) -> LeaderEpoch {
    let after = epochs.partition_point(|(_, start)| *start <= offset);
    after
        .checked_sub(1)
        .map_or(LeaderEpoch::ZERO, |last| epochs[last].0)
}

/// The bytes from which one partition of a `crowd` that waits bypasses the journal: a write and a
/// sync of its own must be worth more than its place in the common ones.
fn bypass_bytes(alone: u64, crowd: usize) -> u64 {
    alone
        .saturating_mul(crowd as u64)
        .min(BYPASS_IN_A_CROWD.max(alone))
}

/// What one pass of a group takes of one segment of one partition.
struct Share {
    segment: Rc<Segment>,
    /// Indexes into the tail's batches.
    batches: Range<usize>,
    /// The cursor behind them.
    end: u64,
    /// Whole chunks go straight to the segment.
    bypass: bool,
}

/// A chunk that a group beginning at cursor `at` may write straight to its segment: it fills its
/// memory, and all but a part of its first block is new.
fn may_bypass(state: &State, chunk: &Chunk, at: u64) -> bool {
    let has_only_new = chunk.start >= at;
    let has_one_begun_block = chunk.start + BLOCK as u64 > at;
    let first_block_is_unwritten = chunk.written_out == 0 && !state.padding;
    chunk.is_whole()
        && chunk.capacity() >= LARGE_APPEND
        && (has_only_new || has_one_begun_block && first_block_is_unwritten)
}

/// Where the part of a bypassing chunk begins that the journal does not carry.
fn bypass_start(chunk: &Chunk, at: u64) -> u64 {
    if chunk.start >= at {
        chunk.start
    } else {
        chunk.start + BLOCK as u64
    }
}

/// Chooses how many whole batches, at least one, go into a group that may carry `room` more bytes.
fn next_share(state: &State, at: u64, room: usize, bypass_bytes: u64) -> Share {
    let tail = &state.tail;
    let first = tail
        .chunk_at(at)
        .expect("there are bytes behind the cursor");
    let segment = tail.chunks[first].segment.clone();
    let choose = |bypassing: bool| {
        let mut chunks = tail
            .chunks
            .range(first..)
            .take_while(|chunk| Rc::ptr_eq(&chunk.segment, &segment))
            .peekable();
        let from = tail.batches.partition_point(|batch| batch.start < at);
        let (mut chosen, mut bypassed_by_chosen) = (from, 0);
        let (mut bypassed, mut segment_end) = (0, at);
        for (index, batch) in tail.batches.iter().enumerate().skip(from) {
            while let Some(chunk) = chunks.next_if(|chunk| chunk.end() <= batch.end()) {
                segment_end = chunk.end();
                if bypassing && may_bypass(state, chunk, at) {
                    bypassed += chunk.end() - bypass_start(chunk, at);
                }
            }
            if chunks.peek().is_none() && segment_end < batch.end() {
                break; // the batch belongs to the next segment
            }
            let taken = batch.end() - at;
            let carried = taken - bypassed;
            let group_bytes = GROUP_BYTES as u64;
            if chosen == from || (carried <= room as u64 && taken <= group_bytes) {
                (chosen, bypassed_by_chosen) = (index + 1, bypassed);
            } else if carried > (room + LARGEST_CHUNK) as u64 || taken > group_bytes {
                break;
            }
        }
        (from..chosen, bypassed_by_chosen)
    };
    let (mut batches, bypassed) = choose(true);
    let bypass = bypassed >= bypass_bytes;
    if !bypass {
        batches = choose(false).0;
    }
    let end = tail.batches[batches.end - 1].end();
    Share {
        segment,
        batches,
        end,
        bypass,
    }
}

/// Describes the bytes `range` of one segment: whole chunks as extents when the share bypasses,
/// the rest carried by the journal.
fn push_entries(
    log: &Rc<PartitionLog>,
    state: &mut State,
    range: Range<u64>,
    share: &Share,
    entry: impl Fn(EntryKind, u64, usize, u32) -> EntryHeader,
    group: &mut Forming,
) {
    let tail = &state.tail;
    let first = tail
        .chunk_at(range.start)
        .expect("the range lies in the tail");
    let position_of = |cursor: u64| {
        let chunk = &tail.chunks[first];
        chunk.position + (cursor - chunk.start)
    };
    let length_of =
        |range: &Range<u64>| usize::try_from(range.end - range.start).expect("bounded by memory");
    let carry = |range: Range<u64>, group: &mut Forming| {
        if !range.is_empty() {
            let header = entry(
                EntryKind::Append,
                position_of(range.start),
                length_of(&range),
                0,
            );
            group
                .builder
                .push(header, tail.slices(range.start, range.end));
        }
    };
    let mut carried_to = range.start;
    let mut bypassing = Vec::new();
    if share.bypass {
        let whole = (first..tail.chunks.len())
            .take_while(|&index| tail.chunks[index].end() <= range.end)
            .filter(|&index| may_bypass(state, &tail.chunks[index], range.start));
        bypassing.extend(whole);
    }
    for &index in &bypassing {
        let chunk = &tail.chunks[index];
        let extent = bypass_start(chunk, range.start)..chunk.end();
        carry(carried_to..extent.start, group);
        carried_to = extent.end;
        let slice = chunk.slice(0, chunk.len());
        let data_crc = crc32c(&slice[chunk.len() - length_of(&extent)..]);
        let position = position_of(extent.start);
        let header = entry(EntryKind::Extent, position, length_of(&extent), data_crc);
        group.builder.push(header, None);
        group.extents.push(Extent {
            log: log.clone(),
            segment: share.segment.clone(),
            slice,
            position: chunk.position,
            chunk_start: chunk.start,
        });
    }
    carry(carried_to..range.end, group);
    for index in bypassing {
        state.tail.chunks[index].on_its_way = true;
    }
}
