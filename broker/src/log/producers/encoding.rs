//! The bytes of a log's producers in a checkpoint. `broker/docs/journal.md` shows them.

use corelog_protocol::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::{ProducedBatch, Producer, REMEMBERED_BATCHES};

/// Producer id, last activity, epoch, count of batches.
pub(in crate::log) const PRODUCER_BYTES: usize = 19;
/// Base offset, append time, base sequence, last offset delta.
pub(in crate::log) const BATCH_BYTES: usize = 24;

pub(super) fn put(producer: &Producer, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&producer.id.get().to_le_bytes());
    bytes.extend_from_slice(&producer.last_active_ms.to_le_bytes());
    bytes.extend_from_slice(&producer.epoch.get().to_le_bytes());
    bytes.push(producer.count);
    for batch in producer.batches() {
        bytes.extend_from_slice(&batch.base_offset.get().to_le_bytes());
        bytes.extend_from_slice(&batch.append_time.get().to_le_bytes());
        bytes.extend_from_slice(&batch.base_sequence.get().to_le_bytes());
        bytes.extend_from_slice(&batch.last_offset_delta.to_le_bytes());
    }
}

/// Whether these are the bytes of whole producers, each with what a producer has.
pub(in crate::log) fn is_coherent(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        match take(rest) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// The producers whose bytes these are.
pub(super) fn producers(bytes: &[u8]) -> impl Iterator<Item = Producer> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (producer, after) = take(rest)?;
        rest = after;
        Some(producer)
    })
}

fn take(bytes: &[u8]) -> Option<(Producer, &[u8])> {
    let (head, mut rest) = bytes.split_first_chunk::<PRODUCER_BYTES>()?;
    let (id, head) = head.split_first_chunk::<8>()?;
    let (last_active, head) = head.split_first_chunk::<8>()?;
    let (epoch, head) = head.split_first_chunk::<2>()?;
    let count = head[0];
    if !(1..=REMEMBERED_BATCHES).contains(&usize::from(count)) {
        return None;
    }
    let mut batches = [ProducedBatch::NONE; REMEMBERED_BATCHES];
    for batch in &mut batches[..usize::from(count)] {
        let (bytes, after) = rest.split_first_chunk::<BATCH_BYTES>()?;
        *batch = take_batch(bytes)?;
        rest = after;
    }
    let producer = Producer {
        id: ProducerId::from_sentinel(i64::from_le_bytes(*id))?,
        epoch: ProducerEpoch::from_sentinel(i16::from_le_bytes(*epoch))?,
        count,
        last_active_ms: i64::from_le_bytes(*last_active),
        batches,
    };
    Some((producer, rest))
}

fn take_batch(bytes: &[u8; BATCH_BYTES]) -> Option<ProducedBatch> {
    let (base_offset, rest) = bytes.split_first_chunk::<8>()?;
    let (append_time, rest) = rest.split_first_chunk::<8>()?;
    let (base_sequence, rest) = rest.split_first_chunk::<4>()?;
    let (last_offset_delta, _) = rest.split_first_chunk::<4>()?;
    let base_offset = Offset::from_sentinel(i64::from_le_bytes(*base_offset))?;
    let last_offset_delta = i32::from_le_bytes(*last_offset_delta);
    // The offset behind the batch must exist.
    base_offset
        .get()
        .checked_add(i64::from(last_offset_delta) + 1)?;
    (last_offset_delta >= 0).then_some(ProducedBatch {
        base_offset,
        base_sequence: Sequence::from_sentinel(i32::from_le_bytes(*base_sequence))?,
        last_offset_delta,
        append_time: Timestamp::new(i64::from_le_bytes(*append_time)),
    })
}
