//! The bytes of the commit journal: group headers and entry headers, both little-endian.
//!
//! A group is what one write and one flush make durable: a 64-byte header, then entries, each a
//! 80-byte header and the bytes it carries, padded to a whole block. `broker/docs/journal.md`
//! shows the layout. A reader trusts a header only when its own checksum, the journal's salt and
//! the generation agree, and a body only when its checksum does.

use corelog_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crc32c::{crc32c, crc32c_append};
use zerocopy::little_endian::{I32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::log::TopicPartition;

/// "CLJG" as little-endian bytes.
pub(crate) const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"CLJG");
pub(crate) const FORMAT_VERSION: u16 = 3;
pub const GROUP_HEADER_BYTES: usize = size_of::<GroupHeaderBytes>();
pub const ENTRY_HEADER_BYTES: usize = size_of::<EntryHeaderBytes>();

const _: () = {
    assert!(GROUP_HEADER_BYTES == 64);
    assert!(ENTRY_HEADER_BYTES == 80);
};

/// The entry checksum covers everything before it.
const ENTRY_CRC_TO: usize = 76;

/// What the checksum of every entry of a group begins with, so that entries which an older group
/// left behind in the same block are never taken for this one's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntrySeal(u32);

impl EntrySeal {
    pub(crate) fn new(generation: u64, salt: u64, sequence: u64) -> EntrySeal {
        let crc = crc32c(&generation.to_le_bytes());
        let crc = crc32c_append(crc, &salt.to_le_bytes());
        EntrySeal(crc32c_append(crc, &sequence.to_le_bytes()))
    }

    fn checksum(self, entry: &EntryHeaderBytes) -> u32 {
        crc32c_append(self.0, &entry.as_bytes()[..ENTRY_CRC_TO])
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct GroupHeaderBytes {
    magic: U32,
    version: U16,
    shard: U16,
    header_crc: U32,
    body_crc: U32,
    generation: U64,
    sequence: U64,
    flushed_sequence: U64,
    salt: U64,
    body_length: U32,
    entry_count: U32,
    reserved: U64,
}

impl GroupHeaderBytes {
    /// Over the whole header, with the field of the checksum itself as zero.
    fn checksum(&self) -> u32 {
        let without = GroupHeaderBytes {
            header_crc: U32::new(0),
            ..*self
        };
        crc32c(without.as_bytes())
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct EntryHeaderBytes {
    kind: u8,
    reserved: [u8; 3],
    leader_epoch: I32,
    topic_id: [u8; 16],
    partition: I32,
    length: U32,
    segment_base: I64,
    position: U64,
    base_offset: I64,
    next_offset: I64,
    log_start: I64,
    data_crc: U32,
    header_crc: U32,
}

/// Where every field stands, for the test of `broker/docs/on_disk_format.md`.
#[cfg(test)]
pub(crate) fn field_positions() -> Vec<(&'static str, usize)> {
    use std::mem::offset_of;
    vec![
        ("group magic", offset_of!(GroupHeaderBytes, magic)),
        ("group version", offset_of!(GroupHeaderBytes, version)),
        ("group shard", offset_of!(GroupHeaderBytes, shard)),
        ("group head crc", offset_of!(GroupHeaderBytes, header_crc)),
        ("group body crc", offset_of!(GroupHeaderBytes, body_crc)),
        ("group generation", offset_of!(GroupHeaderBytes, generation)),
        ("group sequence", offset_of!(GroupHeaderBytes, sequence)),
        (
            "group flushed sequence",
            offset_of!(GroupHeaderBytes, flushed_sequence),
        ),
        ("group salt", offset_of!(GroupHeaderBytes, salt)),
        (
            "group body length",
            offset_of!(GroupHeaderBytes, body_length),
        ),
        (
            "group entry count",
            offset_of!(GroupHeaderBytes, entry_count),
        ),
        ("entry kind", offset_of!(EntryHeaderBytes, kind)),
        (
            "entry leader epoch",
            offset_of!(EntryHeaderBytes, leader_epoch),
        ),
        ("entry topic id", offset_of!(EntryHeaderBytes, topic_id)),
        ("entry partition", offset_of!(EntryHeaderBytes, partition)),
        ("entry length", offset_of!(EntryHeaderBytes, length)),
        (
            "entry segment base",
            offset_of!(EntryHeaderBytes, segment_base),
        ),
        ("entry position", offset_of!(EntryHeaderBytes, position)),
        (
            "entry base offset",
            offset_of!(EntryHeaderBytes, base_offset),
        ),
        (
            "entry next offset",
            offset_of!(EntryHeaderBytes, next_offset),
        ),
        ("entry log start", offset_of!(EntryHeaderBytes, log_start)),
        ("entry data crc", offset_of!(EntryHeaderBytes, data_crc)),
        ("entry head crc", offset_of!(EntryHeaderBytes, header_crc)),
    ]
}

/// A decoded group header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// The shard that wrote the journal.
    pub(crate) shard: u16,
    /// Which start of the data directory wrote it.
    pub(crate) generation: u64,
    /// Dense, from 1, within a generation and shard.
    pub(crate) sequence: u64,
    /// Every group up to this one had been flushed when this one was written.
    pub(crate) flushed_sequence: u64,
    /// Drawn anew for every generation and shard, so that no client can forge a group inside its
    /// own records.
    pub(crate) salt: u64,
    /// Bytes of entries behind the header, without the padding.
    pub(crate) body_length: u32,
    /// Entries in the body.
    pub(crate) entry_count: u32,
    /// CRC-32C of the body.
    pub(crate) body_crc: u32,
}

impl GroupHeader {
    /// What the checksums of the group's entries begin with.
    pub(crate) fn entry_seal(&self) -> EntrySeal {
        EntrySeal::new(self.generation, self.salt, self.sequence)
    }

    pub(crate) fn encode(&self, out: &mut [u8]) {
        let mut bytes = GroupHeaderBytes {
            magic: U32::new(GROUP_MAGIC),
            version: U16::new(FORMAT_VERSION),
            shard: U16::new(self.shard),
            header_crc: U32::new(0),
            body_crc: U32::new(self.body_crc),
            generation: U64::new(self.generation),
            sequence: U64::new(self.sequence),
            flushed_sequence: U64::new(self.flushed_sequence),
            salt: U64::new(self.salt),
            body_length: U32::new(self.body_length),
            entry_count: U32::new(self.entry_count),
            reserved: U64::new(0),
        };
        bytes.header_crc = U32::new(bytes.checksum());
        out[..GROUP_HEADER_BYTES].copy_from_slice(bytes.as_bytes());
    }

    /// `None` when these bytes are not the header of a group: a torn block, an older format's
    /// block, or the zeros of a file that was never written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<GroupHeader> {
        let (header, _) = GroupHeaderBytes::ref_from_prefix(bytes).ok()?;
        let intact = header.magic.get() == GROUP_MAGIC
            && header.version.get() == FORMAT_VERSION
            && header.header_crc.get() == header.checksum();
        intact.then(|| GroupHeader {
            shard: header.shard.get(),
            generation: header.generation.get(),
            sequence: header.sequence.get(),
            flushed_sequence: header.flushed_sequence.get(),
            salt: header.salt.get(),
            body_length: header.body_length.get(),
            entry_count: header.entry_count.get(),
            body_crc: header.body_crc.get(),
        })
    }
}

/// What an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EntryKind {
    /// Bytes appended to a segment, carried by the entry.
    Append = 1,
    /// Bytes appended to a segment that were written straight to it; the entry carries their CRC.
    Extent = 2,
    /// Bytes a segment already holds, carried so that their block may be rewritten.
    Block = 3,
    /// The log start moved up.
    LogStart = 5,
    /// The active segment ended at `position`; `next_offset` is the base of the next one.
    Roll = 6,
    /// The partition and its files are gone.
    Delete = 7,
}

impl EntryKind {
    pub(crate) fn from_byte(byte: u8) -> Option<EntryKind> {
        Some(match byte {
            1 => EntryKind::Append,
            2 => EntryKind::Extent,
            3 => EntryKind::Block,
            5 => EntryKind::LogStart,
            6 => EntryKind::Roll,
            7 => EntryKind::Delete,
            _ => return None,
        })
    }

    /// As `broker/docs/on_disk_format.md` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EntryKind::Append => "append",
            EntryKind::Extent => "extent",
            EntryKind::Block => "block",
            EntryKind::LogStart => "log start",
            EntryKind::Roll => "roll",
            EntryKind::Delete => "delete",
        }
    }

    fn carries_bytes(self) -> bool {
        matches!(self, EntryKind::Append | EntryKind::Block)
    }
}

/// A decoded entry header. Which fields mean something depends on `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) kind: EntryKind,
    pub(crate) topic_partition: TopicPartition,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Base offset of the segment the entry is about.
    pub(crate) segment_base: Offset,
    /// Byte position in that segment.
    pub(crate) position: u64,
    /// Bytes at `position` that the entry describes.
    pub(crate) length: u32,
    /// First offset of the append that these bytes belong to.
    pub(crate) base_offset: Offset,
    /// The log end after that append.
    pub(crate) next_offset: Offset,
    /// The log start, as of this entry. Every append names it, so that a lost entry does not take it
    /// back.
    pub(crate) log_start: Offset,
    /// CRC-32C of the described bytes of an extent; zero where the group's checksum covers them.
    pub(crate) data_crc: u32,
}

impl EntryHeader {
    /// An entry of which only what its kind means is set.
    pub(crate) fn of(kind: EntryKind, topic_partition: TopicPartition) -> EntryHeader {
        EntryHeader {
            kind,
            topic_partition,
            leader_epoch: LeaderEpoch::ZERO,
            segment_base: Offset::ZERO,
            position: 0,
            length: 0,
            base_offset: Offset::ZERO,
            next_offset: Offset::ZERO,
            log_start: Offset::ZERO,
            data_crc: 0,
        }
    }

    pub(crate) fn encode(&self, seal: EntrySeal, out: &mut [u8]) {
        let mut bytes = EntryHeaderBytes {
            kind: self.kind as u8,
            reserved: [0; 3],
            leader_epoch: I32::new(self.leader_epoch.get()),
            topic_id: *self.topic_partition.topic_id.as_bytes(),
            partition: I32::new(self.topic_partition.partition.get()),
            length: U32::new(self.length),
            segment_base: I64::new(self.segment_base.get()),
            position: U64::new(self.position),
            base_offset: I64::new(self.base_offset.get()),
            next_offset: I64::new(self.next_offset.get()),
            log_start: I64::new(self.log_start.get()),
            data_crc: U32::new(self.data_crc),
            header_crc: U32::new(0),
        };
        bytes.header_crc = U32::new(seal.checksum(&bytes));
        out[..ENTRY_HEADER_BYTES].copy_from_slice(bytes.as_bytes());
    }

    /// Bytes that follow the header inside the group.
    pub(crate) fn carried_bytes(&self) -> usize {
        if self.kind.carries_bytes() {
            self.length as usize
        } else {
            0
        }
    }

    fn decode(seal: EntrySeal, bytes: &[u8]) -> Option<EntryHeader> {
        let (header, _) = EntryHeaderBytes::ref_from_prefix(bytes).ok()?;
        if header.header_crc.get() != seal.checksum(header) {
            return None;
        }
        Some(EntryHeader {
            kind: EntryKind::from_byte(header.kind)?,
            topic_partition: TopicPartition {
                topic_id: TopicId::from_bytes(header.topic_id),
                partition: PartitionIndex::try_from(header.partition.get()).ok()?,
            },
            leader_epoch: LeaderEpoch::try_from(header.leader_epoch.get()).ok()?,
            segment_base: Offset::try_from(header.segment_base.get()).ok()?,
            position: header.position.get(),
            length: header.length.get(),
            base_offset: Offset::try_from(header.base_offset.get()).ok()?,
            next_offset: Offset::try_from(header.next_offset.get()).ok()?,
            log_start: Offset::try_from(header.log_start.get()).ok()?,
            data_crc: header.data_crc.get(),
        })
    }
}

/// Walks the entries of a group's body. The body's checksum need not be right: every header has one
/// of its own.
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
    left: u32,
    seal: EntrySeal,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(header: &GroupHeader, body: &'a [u8]) -> Entries<'a> {
        Entries {
            rest: body,
            left: header.entry_count,
            seal: header.entry_seal(),
        }
    }
}

/// The entries do not follow each other to the body's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entries of a journal group do not fill its body")]
pub(crate) struct MalformedBody;

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(EntryHeader, &'a [u8]), MalformedBody>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let unused = !std::mem::take(&mut self.rest).is_empty();
            return unused.then_some(Err(MalformedBody));
        }
        self.left -= 1;
        let entry = EntryHeader::decode(self.seal, self.rest).and_then(|header| {
            let data = self
                .rest
                .get(ENTRY_HEADER_BYTES..ENTRY_HEADER_BYTES + header.carried_bytes())?;
            self.rest = &self.rest[ENTRY_HEADER_BYTES + data.len()..];
            Some((header, data))
        });
        if entry.is_none() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(entry.ok_or(MalformedBody))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn group() -> GroupHeader {
        GroupHeader {
            shard: 3,
            generation: 7,
            sequence: 41,
            flushed_sequence: 39,
            salt: 0x1122_3344_5566_7788,
            body_length: 1000,
            entry_count: 2,
            body_crc: 0xdead_beef,
        }
    }

    fn entry(kind: EntryKind, length: u32) -> EntryHeader {
        EntryHeader {
            kind,
            topic_partition: TopicPartition {
                topic_id: TopicId::from_bytes([9; 16]),
                partition: PartitionIndex::new(5),
            },
            leader_epoch: LeaderEpoch::new(2),
            segment_base: Offset::new(100),
            position: 4096,
            length,
            base_offset: Offset::new(140),
            next_offset: Offset::new(150),
            log_start: Offset::new(20),
            data_crc: 77,
        }
    }

    #[test]
    fn a_group_header_comes_back_and_any_damaged_byte_is_noticed() {
        let mut bytes = [0; GROUP_HEADER_BYTES];
        group().encode(&mut bytes);
        assert_eq!(GroupHeader::decode(&bytes), Some(group()));
        for index in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[index] ^= 0x10;
            assert_eq!(GroupHeader::decode(&damaged), None, "byte {index}");
        }
        assert_eq!(GroupHeader::decode(&bytes[..63]), None);
    }

    /// The body of [`group`].
    fn two_entries() -> Vec<u8> {
        let seal = group().entry_seal();
        let mut body = vec![0; ENTRY_HEADER_BYTES * 2 + 5];
        entry(EntryKind::Append, 5).encode(seal, &mut body);
        body[ENTRY_HEADER_BYTES..ENTRY_HEADER_BYTES + 5].copy_from_slice(b"bytes");
        entry(EntryKind::Extent, 8192).encode(seal, &mut body[ENTRY_HEADER_BYTES + 5..]);
        body
    }

    #[test]
    fn entries_are_walked_with_the_bytes_they_carry() {
        let body = two_entries();
        let entries: Vec<_> = Entries::new(&group(), &body).map(Result::unwrap).collect();
        assert_eq!(entries[0], (entry(EntryKind::Append, 5), &b"bytes"[..]));
        assert_eq!(entries[1], (entry(EntryKind::Extent, 8192), &b""[..]));
    }

    #[test]
    fn an_entry_that_claims_more_bytes_than_the_body_holds_is_malformed() {
        let mut body = vec![0; ENTRY_HEADER_BYTES + 4];
        entry(EntryKind::Append, u32::MAX).encode(group().entry_seal(), &mut body);
        let mut entries = Entries::new(&group(), &body);
        assert_eq!(entries.next(), Some(Err(MalformedBody)));
        assert_eq!(entries.next(), None);
    }

    #[test]
    fn entries_must_fill_the_body_and_be_of_its_group() {
        let body = two_entries();
        let fewer = GroupHeader {
            entry_count: 1,
            ..group()
        };
        let walked: Vec<_> = Entries::new(&fewer, &body).collect();
        assert_eq!(walked.len(), 2);
        assert_eq!(walked[1], Err(MalformedBody));
        let newer = GroupHeader {
            sequence: 42,
            ..group()
        };
        let mut entries = Entries::new(&newer, &body);
        assert_eq!(entries.next(), Some(Err(MalformedBody)));
        assert_eq!(entries.next(), None);
    }
}
