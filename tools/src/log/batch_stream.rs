//! Batches as they come by in a stream of bytes, each with the CRC that its bytes give.
//!
//! Nothing of a batch is kept but its header, so memory does not depend on what lengths the bytes
//! claim.

use corelog_protocol::record::{
    Attributes, BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchError, BatchHeader, CRC_COVERS_FROM,
};
use corelog_protocol::{LeaderEpoch, Offset};
use crc32c::crc32c_append;
use zerocopy::FromBytes;

/// A batch that went by. No CRC covers its base offset, which may be any.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) position: u64,
    pub(crate) size: usize,
    pub(crate) header: BatchHeader,
    /// What its bytes give.
    pub(crate) crc: u32,
}

impl Batch {
    pub(crate) fn is_intact(&self) -> bool {
        self.crc == self.header.crc.get()
    }

    /// The base offset is negative, or so great that the last one is none any more.
    pub(crate) fn is_out_of_range(&self) -> bool {
        let count = i64::from(self.header.last_offset_delta.get()) + 1;
        let base = self.header.base_offset.get();
        base < 0 || base.checked_add(count).is_none()
    }

    /// The greatest there is if it is out of range.
    pub(crate) fn base_offset(&self) -> Offset {
        Offset::try_from(self.header.base_offset.get()).unwrap_or(Offset::MAX)
    }

    pub(crate) fn last_offset(&self) -> Offset {
        let delta = i64::from(self.header.last_offset_delta.get());
        Offset::new(self.base_offset().get().saturating_add(delta))
    }

    pub(crate) fn next_offset(&self) -> Offset {
        Offset::new(self.last_offset().get().saturating_add(1))
    }

    pub(crate) fn epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::from_sentinel(self.header.partition_leader_epoch.get())
    }

    pub(crate) fn attributes(&self) -> Attributes {
        Attributes::from_bits(self.header.attributes.get())
    }

    pub(crate) fn end(&self) -> u64 {
        self.position + self.size as u64
    }
}

/// From here on the bytes are no batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) position: u64,
    pub(crate) reason: BatchError,
}

/// Finds the batches in the bytes fed to it.
pub(crate) struct BatchStream {
    /// Where the batch under way begins.
    position: u64,
    end: u64,
    head: [u8; BATCH_HEADER_BYTES],
    /// Bytes of the batch under way that went by.
    seen: usize,
    under_way: Option<Batch>,
}

impl BatchStream {
    /// `position` is that of the first byte fed; batches do not go beyond `end`.
    pub(crate) fn new(position: u64, end: u64) -> BatchStream {
        BatchStream {
            position,
            end,
            head: [0; BATCH_HEADER_BYTES],
            seen: 0,
            under_way: None,
        }
    }

    /// Takes the next bytes and hands on every batch that ends in them.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&Batch),
    ) -> Result<(), Broken> {
        while !bytes.is_empty() {
            bytes = match self.under_way.take() {
                None => self.feed_head(bytes)?,
                Some(mut batch) => {
                    let left = batch.size - self.seen;
                    let (part, rest) = bytes.split_at(left.min(bytes.len()));
                    batch.crc = crc32c_append(batch.crc, part);
                    self.seen += part.len();
                    self.under_way = Some(batch);
                    rest
                }
            };
            if let Some(batch) = self.under_way.take_if(|batch| batch.size == self.seen) {
                each(&batch);
                self.position = batch.end();
                self.seen = 0;
            }
        }
        Ok(())
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let missing = BATCH_HEADER_BYTES - self.seen;
        let (part, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head[self.seen..self.seen + part.len()].copy_from_slice(part);
        self.seen += part.len();
        if self.seen == BATCH_HEADER_BYTES {
            let header = BatchHeader::read_from_bytes(&self.head)
                .expect("a header has as many bytes as a header");
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            let size = match header.check(left) {
                Err(BatchError::OffsetRange { .. }) if is_only_misplaced(&header) => {
                    BATCH_PREFIX_BYTES + header.batch_length.get().unsigned_abs() as usize
                }
                other => other.map_err(|reason| self.broken(reason))?,
            };
            self.under_way = Some(Batch {
                position: self.position,
                size,
                header,
                crc: crc32c_append(0, &self.head[CRC_COVERS_FROM..]),
            });
        }
        Ok(rest)
    }

    /// The bytes have ended: fine only between two batches.
    pub(crate) fn finish(&self) -> Result<(), Broken> {
        match &self.under_way {
            _ if self.seen == 0 => Ok(()),
            batch => Err(self.broken(BatchError::Truncated {
                needed: batch
                    .as_ref()
                    .map_or(BATCH_HEADER_BYTES, |batch| batch.size),
                available: self.seen,
            })),
        }
    }

    fn broken(&self, reason: BatchError) -> Broken {
        Broken {
            position: self.position,
            reason,
        }
    }
}

/// Of a header with offsets that cannot be: with another base offset all would be well.
fn is_only_misplaced(header: &BatchHeader) -> bool {
    let mut placed = header.clone();
    placed.base_offset.set(0);
    placed.check(usize::MAX).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::record::{BatchBuilder, patch_base_offset};
    use corelog_protocol::{Compression, Timestamp};

    use super::*;

    fn three_batches() -> Vec<u8> {
        let mut all = Vec::new();
        for base in [0, 1, 2] {
            let mut builder = BatchBuilder::new(Compression::None, 1024);
            let value = vec![7; 100 * (base as usize + 1)];
            builder
                .append(Timestamp::new(1), None, Some(&value), &[])
                .unwrap();
            let mut bytes = builder.finish(None).to_vec();
            patch_base_offset(&mut bytes, Offset::new(base), LeaderEpoch::new(1));
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn batches_are_found_however_the_bytes_are_cut() {
        let bytes = three_batches();
        for step in [1, 7, 60, 61, 62, 1000] {
            let mut stream = BatchStream::new(0, bytes.len() as u64);
            let mut found = Vec::new();
            for part in bytes.chunks(step) {
                stream
                    .feed(part, |batch| {
                        assert!(batch.is_intact());
                        found.push((batch.position, batch.base_offset().get()));
                    })
                    .unwrap();
            }
            stream.finish().unwrap();
            let offsets: Vec<_> = found.iter().map(|(_, offset)| *offset).collect();
            assert_eq!(offsets, [0, 1, 2], "step {step}");
        }
    }

    #[test]
    fn a_length_that_leaves_the_file_is_told_and_needs_no_memory() {
        let mut bytes = three_batches();
        bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        let mut stream = BatchStream::new(0, bytes.len() as u64);
        let broken = stream.feed(&bytes, |_| panic!("no batch")).unwrap_err();
        assert_eq!(broken.position, 0);
        assert!(matches!(broken.reason, BatchError::Truncated { .. }));
    }

    #[test]
    fn an_end_inside_a_batch_is_told() {
        let bytes = three_batches();
        let mut stream = BatchStream::new(0, bytes.len() as u64);
        stream.feed(&bytes[..bytes.len() - 1], |_| ()).unwrap();
        assert!(stream.finish().is_err());
    }
}
