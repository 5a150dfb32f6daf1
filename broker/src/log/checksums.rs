//! The checksums that a closed segment has beside it, in `<base>.checksums`.
//!
//! A batch's own CRC leaves out what Kafka's brokers set: base offset, length, leader epoch and magic,
//! which are, with the CRC itself, its first 21 bytes. A flipped bit there gives a batch that is whole
//! and says something else. So a CRC-32C runs over the first bytes of all batches of a segment, as they
//! are appended, and is written beside the segment when it is closed: together with the batches' own it
//! covers every byte. There is one for each [`PIECE_BYTES`] or so, which ends with a batch.
//!
//! Nothing is read back for this. Of a segment that was begun before the last start, what lies before
//! that start has no checksum here; the file says where it begins to know.

use corelog_protocol::Offset;
use corelog_protocol::record::CRC_COVERS_FROM;
use crc32c::{crc32c, crc32c_append};

/// The extension of the file.
pub const EXTENSION: &str = "checksums";
pub(crate) const MAGIC: [u8; 4] = *b"CLSC";
pub(crate) const FORMAT_VERSION: u16 = 1;
/// Magic, version, two bytes of zeros, CRC of what follows, base offset, covered from, count.
pub(crate) const HEADER_BYTES: usize = 28;
/// End and checksum.
pub(crate) const PIECE_ENTRY_BYTES: usize = 8;
/// A piece ends with the first batch that makes it at least so long.
pub(crate) const PIECE_BYTES: u32 = 1 << 20;

/// A run of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// The position behind its last batch.
    end: u32,
    /// Of the first bytes of its batches, one behind the other.
    crc: u32,
}

/// The checksums of one segment, from the first byte that is covered on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    covered_from: u32,
    pieces: Vec<Piece>,
    /// The piece that more batches may join.
    begun: Option<Piece>,
}

impl Checksums {
    /// Batches are observed from this position on.
    pub(crate) fn new(covered_from: u64) -> Checksums {
        Checksums {
            covered_from: position(covered_from),
            pieces: Vec::new(),
            begun: None,
        }
    }

    /// The next batch, which ends at `end`. Of its bytes at least the header is needed.
    pub fn observe(&mut self, end: u64, batch: &[u8]) {
        let end = position(end);
        let crc = self.begun.map_or(0, |begun| begun.crc);
        let first = &batch[..CRC_COVERS_FROM];
        let piece = Piece {
            end,
            crc: crc32c_append(crc, first),
        };
        if end - self.complete_to() >= PIECE_BYTES {
            self.pieces.push(piece);
            self.begun = None;
        } else {
            self.begun = Some(piece);
        }
    }

    /// Where the last complete piece ends.
    fn complete_to(&self) -> u32 {
        self.pieces
            .last()
            .map_or(self.covered_from, |piece| piece.end)
    }

    fn all(&self) -> impl Iterator<Item = Piece> {
        self.pieces.iter().copied().chain(self.begun)
    }

    /// The position up to which the segment is covered.
    pub fn covered_to(&self) -> u64 {
        let last = self.all().last();
        last.map_or(self.covered_from, |piece| piece.end).into()
    }

    /// No batch was observed.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self, base_offset: Offset) -> Vec<u8> {
        let count = self.all().count();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + count * PIECE_ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&base_offset.get().to_le_bytes());
        bytes.extend_from_slice(&self.covered_from.to_le_bytes());
        let count = u32::try_from(count).expect("a segment is smaller than 2 GiB");
        bytes.extend_from_slice(&count.to_le_bytes());
        for piece in self.all() {
            bytes.extend_from_slice(&piece.end.to_le_bytes());
            bytes.extend_from_slice(&piece.crc.to_le_bytes());
        }
        let crc = crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The file was written by a later version, and says nothing to this one.
    pub fn is_of_later_format(bytes: &[u8]) -> bool {
        let version = bytes.get(4..6).map(|it| u16::from_le_bytes([it[0], it[1]]));
        bytes.starts_with(&MAGIC) && version.is_some_and(|it| it > FORMAT_VERSION)
    }

    /// Reads the file of the segment that begins at `base_offset`; the error says what is wrong with it.
    pub fn decode(bytes: &[u8], base_offset: Offset) -> Result<Checksums, String> {
        let Some((header, entries)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(format!("{} bytes, which is no header", bytes.len()));
        };
        if header[..4] != MAGIC {
            return Err("not a file of checksums (its first bytes are wrong)".to_owned());
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version != FORMAT_VERSION {
            return Err(format!(
                "of format {version}, and this version reads {FORMAT_VERSION}"
            ));
        }
        let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        if u32_at(8) != crc32c(&bytes[12..]) {
            return Err("damaged (its checksum is wrong)".to_owned());
        }
        let base = i64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| header[12 + byte]));
        if base != base_offset.get() {
            return Err(format!("of the segment that begins at offset {base}"));
        }
        let (entries, rest) = entries.as_chunks::<PIECE_ENTRY_BYTES>();
        if entries.len() != u32_at(24) as usize || !rest.is_empty() {
            return Err(format!("{} entries of {}", entries.len(), u32_at(24)));
        }
        let mut checksums = Checksums::new(u32_at(20).into());
        for entry in entries {
            let [a, b, c, d, e, f, g, h] = *entry;
            let piece = Piece {
                end: u32::from_le_bytes([a, b, c, d]),
                crc: u32::from_le_bytes([e, f, g, h]),
            };
            if piece.end <= checksums.complete_to() {
                return Err(format!("a piece that ends at byte {}", piece.end));
            }
            checksums.pieces.push(piece);
        }
        Ok(checksums)
    }

    /// The first piece that is not the same in `found`, which is what the segment's batches say: from
    /// where to where. Batches behind the last piece are not compared.
    pub fn first_difference(&self, found: &Checksums) -> Option<(u64, u64)> {
        let mut others = found.all();
        let mut from = self.covered_from;
        for piece in self.all() {
            if others.next() != Some(piece) {
                return Some((from.into(), piece.end.into()));
            }
            from = piece.end;
        }
        None
    }

    /// Begins where this one does, to be compared with it.
    pub fn begin_same(&self) -> Checksums {
        Checksums::new(self.covered_from.into())
    }

    /// The position from which on the segment is covered.
    pub fn covered_from(&self) -> u64 {
        self.covered_from.into()
    }
}

fn position(at: u64) -> u32 {
    u32::try_from(at).expect("a segment is smaller than 2 GiB")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const BASE: Offset = Offset::new(42);

    /// As many batches of 300,000 bytes, the first at `from`.
    fn observed(from: u64, batches: u64) -> Checksums {
        let mut checksums = Checksums::new(from);
        for n in 0..batches {
            let byte = u8::try_from(n).unwrap();
            checksums.observe(from + (n + 1) * 300_000, &[byte; 61]);
        }
        checksums
    }

    #[test]
    fn checksums_come_back_from_their_file() {
        for batches in [1, 3, 4, 5, 20] {
            let checksums = observed(5000, batches);
            let read = Checksums::decode(&checksums.encode(BASE), BASE).unwrap();
            assert_eq!(read.covered_from(), 5000);
            assert_eq!(read.covered_to(), 5000 + batches * 300_000);
            assert_eq!(read.first_difference(&checksums), None);
        }
        assert!(Checksums::new(0).is_empty());
    }

    #[test]
    fn a_bit_in_what_a_batch_leaves_out_of_its_crc_changes_its_piece() {
        let written = observed(0, 10);
        for at in 0..CRC_COVERS_FROM {
            let mut found = written.begin_same();
            for n in 0..10_u64 {
                let mut batch = [u8::try_from(n).unwrap(); 61];
                batch[at] ^= u8::from(n == 5);
                found.observe((n + 1) * 300_000, &batch);
            }
            // Pieces of four batches.
            let piece = (1_200_000, 2_400_000);
            assert_eq!(written.first_difference(&found), Some(piece), "byte {at}");
        }
        let more = observed(0, 12);
        let longer = observed(0, 9).first_difference(&more);
        assert_eq!(
            longer,
            Some((2_400_000, 2_700_000)),
            "its last piece is not ended there"
        );
        assert_eq!(observed(0, 8).first_difference(&more), None);
    }

    #[test]
    fn any_damage_of_the_file_is_noticed() {
        let bytes = observed(0, 9).encode(BASE);
        for index in (0..6).chain(8..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Checksums::decode(&damaged, BASE).is_err(), "byte {index}");
        }
        for length in 0..bytes.len() {
            assert!(Checksums::decode(&bytes[..length], BASE).is_err());
        }
        assert!(Checksums::decode(&bytes, Offset::new(43)).is_err());
    }
}
