//! Walking the batches of a segment file: to find where its valid bytes end, to rebuild an index,
//! to tell which epochs it holds.
//!
//! A batch's CRC leaves out its base offset, length, epoch and magic, so those are checked here:
//! offsets follow each other without a gap, epochs never fall, lengths stay inside the file.

use std::io;

use corelog_protocol::record::{BATCH_PREFIX_BYTES, BatchView};
use corelog_protocol::{LeaderEpoch, Offset};

use super::index::SegmentIndex;
use crate::runtime::File;

const WINDOW_BYTES: usize = 1 << 20;

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walked {
    /// The position behind the last good batch.
    pub(super) position: u64,
    /// The offset behind it.
    pub(super) next_offset: Offset,
    /// Epochs that began in the walked part, with the offset they began at.
    pub(super) epochs: Vec<(LeaderEpoch, Offset)>,
    /// An index of the walked part.
    pub(super) index: SegmentIndex,
    /// Why the walk ended before the end it was given.
    pub(super) stopped: Option<String>,
}

/// Where a walk starts and what it expects there.
pub(super) struct WalkFrom {
    pub(super) position: u64,
    pub(super) next_offset: Offset,
    pub(super) epoch: Option<LeaderEpoch>,
    /// Whether offsets must follow each other without a gap, as they do where nothing was
    /// compacted away.
    pub(super) dense: bool,
}

/// A segment whose end is not in its file yet.
pub(super) struct Source<'a> {
    /// `None` when no byte of it was written.
    pub(super) file: Option<&'a File>,
    /// The bytes from `rest_at` on, whatever the file holds there.
    pub(super) rest: &'a [u8],
    pub(super) rest_at: u64,
}

impl Source<'_> {
    /// At most `length` bytes at `position`; none behind the end.
    async fn read_at(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        if let Some(into) = position.checked_sub(self.rest_at) {
            let from = usize::try_from(into).unwrap_or(usize::MAX);
            let rest = self.rest.get(from..).unwrap_or_default();
            return Ok(rest[..length.min(rest.len())].to_vec());
        }
        let Some(file) = self.file else {
            return Ok(Vec::new());
        };
        let in_file = usize::try_from(self.rest_at - position).unwrap_or(usize::MAX);
        let read = file.read_at(position, length.min(in_file)).await?;
        Ok(read.to_vec())
    }
}

/// Walks the batches of a segment from one position to another.
pub(super) async fn walk(
    source: &Source<'_>,
    segment_base: Offset,
    index_interval_bytes: u64,
    from: WalkFrom,
    end: u64,
) -> io::Result<Walked> {
    let mut walked = Walked {
        position: from.position,
        next_offset: from.next_offset,
        epochs: Vec::new(),
        index: SegmentIndex::new(segment_base, index_interval_bytes),
        stopped: None,
    };
    let mut epoch = from.epoch;
    let mut window: Vec<u8> = Vec::new();
    let mut window_start = from.position;
    while walked.position < end {
        let at = usize::try_from(walked.position - window_start).expect("inside the window");
        let wanted = batch_size(&window[at..]).map_or(BATCH_PREFIX_BYTES, |size| size);
        let left = usize::try_from(end - walked.position).unwrap_or(usize::MAX);
        if wanted > left {
            walked.stopped = Some(format!(
                "a batch of {wanted} bytes begins at {} where {left} are left",
                walked.position
            ));
            break;
        }
        if window.len() - at < wanted {
            window.drain(..at);
            window_start = walked.position;
            let step = WINDOW_BYTES.max(wanted).min(left) - window.len().min(left);
            let at = window_start + window.len() as u64;
            let read = source.read_at(at, step).await?;
            if read.is_empty() {
                walked.stopped = Some(format!("the file ends at {at}"));
                break;
            }
            window.extend_from_slice(&read);
            continue;
        }
        match check(&window[at..at + wanted], &walked, epoch, from.dense) {
            Ok(batch) => {
                let batch_epoch = batch.partition_leader_epoch();
                if batch_epoch > epoch {
                    epoch = batch_epoch;
                    walked
                        .epochs
                        .extend(epoch.map(|epoch| (epoch, batch.base_offset())));
                }
                let last_offset = batch.last_offset();
                let max_timestamp = batch.max_timestamp().get();
                walked
                    .index
                    .observe(walked.position, wanted, last_offset, max_timestamp);
                walked.next_offset = batch.next_offset();
                walked.position += wanted as u64;
            }
            Err(reason) => {
                walked.stopped = Some(format!("at byte {}: {reason}", walked.position));
                break;
            }
        }
    }
    Ok(walked)
}

/// The size that the first bytes of a batch claim, if they are there.
fn batch_size(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(8..BATCH_PREFIX_BYTES)?.try_into().ok()?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok()?;
    Some(BATCH_PREFIX_BYTES + length)
}

fn check<'a>(
    bytes: &'a [u8],
    walked: &Walked,
    epoch: Option<LeaderEpoch>,
    dense: bool,
) -> Result<BatchView<'a>, String> {
    let (batch, _) = BatchView::parse(bytes).map_err(|error| error.to_string())?;
    batch.verify_crc().map_err(|error| error.to_string())?;
    let base = batch.base_offset();
    if base < walked.next_offset || (dense && base > walked.next_offset) {
        return Err(format!(
            "base offset {base} where {} was expected",
            walked.next_offset
        ));
    }
    if batch.partition_leader_epoch() < epoch {
        return Err(format!(
            "leader epoch {:?} after {epoch:?}",
            batch.partition_leader_epoch()
        ));
    }
    Ok(batch)
}
