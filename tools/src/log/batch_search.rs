//! Looking for a whole batch behind bytes that are none.
//!
//! A torn end holds no whole batch behind the tear, damage in the middle does. Bytes that look like
//! headers on every position would make the search take for ever, so its work has a bound.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use corelog_protocol::Offset;
use corelog_protocol::record::{BATCH_HEADER_BYTES, BatchHeader, CRC_COVERS_FROM};
use crc32c::crc32c_append;
use zerocopy::FromBytes;

const WINDOW_BYTES: usize = 4 << 20;
/// Bytes of which a search computes checksums, in all.
const LARGEST_EFFORT: u64 = 8 << 30;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// A whole batch begins here.
    Batch(u64),
    /// There is none.
    Nothing,
    /// There are too many places that look like one.
    GaveUp,
}

/// Looks for a batch whose offsets begin at `next_offset` or behind it.
pub(crate) fn find_batch(
    path: &Path,
    within: Range<u64>,
    next_offset: Offset,
) -> io::Result<Search> {
    let file = File::open(path)?;
    let mut window = vec![0; WINDOW_BYTES];
    let mut effort = 0;
    let mut start = within.start;
    while start + BATCH_HEADER_BYTES as u64 <= within.end {
        let read = file.read_at(&mut window, start)?;
        if read < BATCH_HEADER_BYTES {
            break;
        }
        let heads = read - BATCH_HEADER_BYTES + 1;
        for at in 0..heads {
            let position = start + at as u64;
            let left = usize::try_from(within.end.saturating_sub(position)).unwrap_or(usize::MAX);
            let Some((size, crc)) = plausible(&window[at..read], left, next_offset) else {
                continue;
            };
            effort += size as u64;
            if effort > LARGEST_EFFORT {
                return Ok(Search::GaveUp);
            }
            if checksum(&file, position, size)? == Some(crc) {
                return Ok(Search::Batch(position));
            }
        }
        start += heads as u64;
    }
    Ok(Search::Nothing)
}

/// Whether a whole batch, with a CRC that is right, begins at a position and ends before `end`.
pub(crate) fn holds_batch(file: &File, position: u64, end: u64) -> io::Result<bool> {
    let mut header = [0; BATCH_HEADER_BYTES];
    let left = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
    if left < header.len() {
        return Ok(false);
    }
    file.read_exact_at(&mut header, position)?;
    let Ok(header) = BatchHeader::read_from_bytes(&header) else {
        return Ok(false);
    };
    match header.check(left) {
        Ok(size) => Ok(checksum(file, position, size)? == Some(header.crc.get())),
        Err(_) => Ok(false),
    }
}

/// Size and checksum in a header in which everything is as a batch of the offsets to come has it.
fn plausible(bytes: &[u8], left: usize, next_offset: Offset) -> Option<(usize, u32)> {
    /// Attributes behind bit 6 mean nothing yet.
    const UNUSED: i16 = !0x7f;
    let (header, _) = BatchHeader::ref_from_prefix(bytes).ok()?;
    let size = header.check(left).ok()?;
    let distance = header.base_offset.get().checked_sub(next_offset.get())?;
    let sane =
        header.attributes.get() & UNUSED == 0 && (0..=i64::from(i32::MAX)).contains(&distance);
    sane.then(|| (size, header.crc.get()))
}

fn checksum(file: &File, position: u64, size: usize) -> io::Result<Option<u32>> {
    let mut bytes = vec![0; (1 << 20).min(size)];
    let (mut crc, mut done) = (0, CRC_COVERS_FROM);
    while done < size {
        let step = bytes.len().min(size - done);
        let read = file.read_at(&mut bytes[..step], position + done as u64)?;
        if read == 0 {
            return Ok(None);
        }
        crc = crc32c_append(crc, &bytes[..read]);
        done += read;
    }
    Ok(Some(crc))
}
