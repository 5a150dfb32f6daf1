//! Where fetched batches end, read from their headers across the pieces they lie in.

use corelog_protocol::record::BATCH_PREFIX_BYTES;
use corelog_protocol::{LeaderEpoch, Offset};

use crate::partition::FetchedData;

/// A batch's header up to and with the last offset delta.
const HEAD_BYTES: usize = 27;
const LAST_OFFSET_DELTA_POSITION: usize = 23;

/// Where whole batches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchEnd {
    /// The offset after the last record.
    pub(super) next_offset: Offset,
    /// The epoch of the last batch.
    pub(super) leader_epoch: Option<LeaderEpoch>,
}

/// The end of the last batch; `None` if there is none, or if the log gave bytes that are none.
pub(super) fn batch_end(data: &FetchedData) -> Option<BatchEnd> {
    batch_end_of(data.slices())
}

fn batch_end_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<BatchEnd> {
    let mut last = None;
    let mut head = [0; HEAD_BYTES];
    let mut head_filled = 0;
    let mut body_left = 0;
    for mut piece in pieces {
        while !piece.is_empty() {
            let skipped = body_left.min(piece.len());
            body_left -= skipped;
            let taken = (HEAD_BYTES - head_filled).min(piece.len() - skipped);
            head[head_filled..head_filled + taken].copy_from_slice(&piece[skipped..][..taken]);
            head_filled += taken;
            piece = &piece[skipped + taken..];
            if head_filled == HEAD_BYTES {
                let (end, size) = read_head(&head)?;
                last = Some(end);
                body_left = size.checked_sub(HEAD_BYTES)?;
                head_filled = 0;
            }
        }
    }
    last
}

/// The batch's end, and its bytes.
fn read_head(head: &[u8; HEAD_BYTES]) -> Option<(BatchEnd, usize)> {
    let base_offset = i64::from_be_bytes(*head.first_chunk()?);
    let length = i32::from_be_bytes(*head[8..].first_chunk()?);
    let epoch = i32::from_be_bytes(*head[BATCH_PREFIX_BYTES..].first_chunk()?);
    let delta = i32::from_be_bytes(*head[LAST_OFFSET_DELTA_POSITION..].first_chunk()?);
    let end = BatchEnd {
        next_offset: Offset::from_sentinel(base_offset)?.checked_add(i64::from(delta) + 1)?,
        leader_epoch: LeaderEpoch::from_sentinel(epoch),
    };
    Some((end, usize::try_from(length).ok()? + BATCH_PREFIX_BYTES))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// The header fields that count, and a body that a careless reader would trip over.
    fn batch(base_offset: i64, epoch: i32, records: i32, body: usize) -> Vec<u8> {
        let length = i32::try_from(HEAD_BYTES - BATCH_PREFIX_BYTES + body).unwrap();
        let mut bytes = vec![0xFF; HEAD_BYTES + body];
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes
    }

    #[test]
    fn the_end_is_found_wherever_the_pieces_are_cut() {
        let whole = [batch(7, 2, 3, 40), batch(10, 2, 1, 0), batch(11, 4, 5, 100)].concat();
        let expected = BatchEnd {
            next_offset: Offset::new(16),
            leader_epoch: Some(LeaderEpoch::new(4)),
        };
        for size in 1..=whole.len() {
            let end = batch_end_of(whole.chunks(size));
            assert_eq!(end, Some(expected), "in pieces of {size}");
        }
    }

    #[test]
    fn a_batch_may_have_no_epoch() {
        let batch = batch(7, -1, 3, 40);
        let end = batch_end_of([&batch[..]].into_iter()).unwrap();
        assert_eq!(end.leader_epoch, None);
    }

    #[test]
    fn nothing_has_no_end() {
        assert_eq!(batch_end(&FetchedData::Empty), None);
    }

    #[test]
    fn bytes_that_are_no_batch_have_no_end() {
        let mut bytes = batch(7, 0, 3, 40);
        bytes[8..12].copy_from_slice(&(-5_i32).to_be_bytes());
        assert_eq!(batch_end_of([&bytes[..]].into_iter()), None);
    }
}
