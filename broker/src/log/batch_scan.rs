//! Walking the batches of a segment file: to find where its valid bytes end, to rebuild an index,
//! to tell which epochs it holds.
//!
//! A batch's CRC leaves out its base offset, length, epoch and magic, so those are checked here:
//! offsets follow each other without a gap, epochs never fall, lengths stay inside the file.

use std::io;
use std::ops::Range;

use corelog_protocol::record::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchError, BatchHeader, CRC_COVERS_FROM,
};
use corelog_protocol::{LeaderEpoch, Offset};
use crc32c::crc32c_append;
use zerocopy::FromBytes;

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
    /// The last offset of the first batch.
    pub(super) first_last_offset: Option<Offset>,
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

/// A sliding part of a segment in memory.
struct Window<'a> {
    source: &'a Source<'a>,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `position` on: `wanted` of them or more, fewer only where the segment ends.
    async fn get(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let known = self.start..=self.start + self.bytes.len() as u64;
        if known.contains(&position) {
            let used = usize::try_from(position - self.start).expect("inside the window");
            if self.bytes.len() - used < wanted {
                self.bytes.drain(..used);
                self.start = position;
            }
        } else {
            self.bytes.clear();
            self.start = position;
        }
        let used = usize::try_from(position - self.start).expect("inside the window");
        while self.bytes.len() - used < wanted {
            let at = self.start + self.bytes.len() as u64;
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let read = self.source.read_at(at, WINDOW_BYTES.min(left)).await?;
            if read.is_empty() {
                break;
            }
            self.bytes.extend_from_slice(&read);
        }
        Ok(&self.bytes[used..])
    }
}

/// Walks the batches of a segment from one position to another. Memory is bounded, whatever
/// lengths the bytes claim.
pub(super) async fn walk(
    source: &Source<'_>,
    segment_base: Offset,
    index_interval_bytes: u64,
    from: WalkFrom,
    end: u64,
) -> io::Result<Walked> {
    walk_with(
        source,
        segment_base,
        index_interval_bytes,
        from,
        end,
        |_| {},
    )
    .await
}

/// As [`walk`], with a look at the header of each good batch.
pub(super) async fn walk_with(
    source: &Source<'_>,
    segment_base: Offset,
    index_interval_bytes: u64,
    from: WalkFrom,
    end: u64,
    mut look: impl FnMut(&BatchHeader),
) -> io::Result<Walked> {
    let mut walked = Walked {
        position: from.position,
        next_offset: from.next_offset,
        epochs: Vec::new(),
        first_last_offset: None,
        index: SegmentIndex::new(segment_base, index_interval_bytes),
        stopped: None,
    };
    let mut epoch = from.epoch;
    let mut window = Window {
        source,
        end,
        start: from.position,
        bytes: Vec::new(),
    };
    while walked.position < end {
        let left = usize::try_from(end - walked.position).unwrap_or(usize::MAX);
        let head = window.get(walked.position, BATCH_HEADER_BYTES).await?;
        let header = match check(head, left, walked.next_offset, epoch, from.dense) {
            Ok(header) => header,
            Err(reason) => {
                walked.stopped = Some(format!("at byte {}: {reason}", walked.position));
                break;
            }
        };
        let size = BATCH_PREFIX_BYTES + header.batch_length.get() as usize;
        let found = header.crc.get();
        let computed = checksum(&mut window, walked.position, size).await?;
        if computed != Some(found) {
            let reason = match computed {
                None => "the file ends inside the batch".to_owned(),
                Some(computed) => BatchError::Crc { found, computed }.to_string(),
            };
            walked.stopped = Some(format!("at byte {}: {reason}", walked.position));
            break;
        }
        let base_offset = Offset::new(header.base_offset.get());
        let last_offset =
            Offset::new(base_offset.get() + i64::from(header.last_offset_delta.get()));
        let batch_epoch = LeaderEpoch::from_sentinel(header.partition_leader_epoch.get());
        if batch_epoch > epoch {
            epoch = batch_epoch;
            let began = epoch.map(|epoch| (epoch, base_offset));
            walked.epochs.extend(began);
        }
        let max_timestamp = header.max_timestamp.get();
        walked
            .index
            .observe(walked.position, size, last_offset, max_timestamp);
        walked.first_last_offset.get_or_insert(last_offset);
        look(&header);
        walked.next_offset = Offset::new(last_offset.get() + 1);
        walked.position += size as u64;
    }
    Ok(walked)
}

/// What a batch's header says, when it may stand where it stands.
fn check(
    head: &[u8],
    left: usize,
    next_offset: Offset,
    epoch: Option<LeaderEpoch>,
    dense: bool,
) -> Result<BatchHeader, String> {
    let Ok((header, _)) = BatchHeader::ref_from_prefix(head) else {
        let error = BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            available: head.len(),
        };
        return Err(error.to_string());
    };
    header.check(left).map_err(|error| error.to_string())?;
    let base = Offset::new(header.base_offset.get());
    if base < next_offset || (dense && base > next_offset) {
        return Err(format!(
            "base offset {base} where {next_offset} was expected"
        ));
    }
    let found = LeaderEpoch::from_sentinel(header.partition_leader_epoch.get());
    if found < epoch {
        let name = |epoch: Option<LeaderEpoch>| epoch.map_or(-1, LeaderEpoch::get);
        return Err(format!(
            "leader epoch {} after {}",
            name(found),
            name(epoch)
        ));
    }
    Ok(header.clone())
}

/// The CRC that the bytes of a batch give; `None` when the file ends inside it.
async fn checksum(window: &mut Window<'_>, position: u64, size: usize) -> io::Result<Option<u32>> {
    let (mut crc, mut done) = (0, CRC_COVERS_FROM);
    while done < size {
        let bytes = window.get(position + done as u64, 1).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let part = &bytes[..bytes.len().min(size - done)];
        crc = crc32c_append(crc, part);
        done += part.len();
    }
    Ok(Some(crc))
}

/// The position of a whole batch, whatever its offsets, anywhere in these bytes of the file.
pub(super) async fn find_batch(file: &File, within: Range<u64>) -> io::Result<Option<u64>> {
    let source = Source {
        file: Some(file),
        rest: &[],
        rest_at: within.end,
    };
    let mut start = within.start;
    while start + BATCH_HEADER_BYTES as u64 <= within.end {
        let left = usize::try_from(within.end - start).unwrap_or(usize::MAX);
        let bytes = source.read_at(start, WINDOW_BYTES.min(left)).await?;
        if bytes.len() < BATCH_HEADER_BYTES {
            break;
        }
        let heads = bytes.len() - BATCH_HEADER_BYTES + 1;
        for at in 0..heads {
            let position = start + at as u64;
            let left = usize::try_from(within.end - position).unwrap_or(usize::MAX);
            let Some(header) = plausible(&bytes[at..], left) else {
                continue;
            };
            let mut window = Window {
                source: &source,
                end: within.end,
                start: position,
                bytes: Vec::new(),
            };
            let size = BATCH_PREFIX_BYTES + header.batch_length.get() as usize;
            let found = header.crc.get();
            if checksum(&mut window, position, size).await? == Some(found) {
                return Ok(Some(position));
            }
        }
        start += heads as u64;
    }
    Ok(None)
}

/// A header in which everything is as a batch would have it.
fn plausible(bytes: &[u8], left: usize) -> Option<&BatchHeader> {
    /// Attributes behind bit 6 mean nothing yet.
    const UNUSED: i16 = !0x7f;
    let (header, _) = BatchHeader::ref_from_prefix(bytes).ok()?;
    let sane = header.check(left).is_ok() && header.attributes.get() & UNUSED == 0;
    sane.then_some(header)
}
