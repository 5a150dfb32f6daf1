//! Building one group: entries and the slices they carry are collected first, so that the exact
//! size is known, and then copied once into the buffer that is written.

use std::ops::Deref;

use crc32c::crc32c;

use super::format::{ENTRY_HEADER_BYTES, EntryHeader, EntrySeal, GROUP_HEADER_BYTES, GroupHeader};
use crate::log::Generation;
use crate::runtime::BLOCK;

/// What a group's header says beside its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupStamp {
    pub(crate) shard: u16,
    pub(crate) generation: Generation,
    pub(crate) sequence: u64,
    pub(crate) flushed_sequence: u64,
}

/// The entries of the next group. Reused from group to group: its memory stays.
pub(crate) struct GroupBuilder<D> {
    entries: Vec<(EntryHeader, usize)>,
    pieces: Vec<D>,
    body_length: usize,
}

impl<D: Deref<Target = [u8]>> GroupBuilder<D> {
    pub(crate) fn new() -> GroupBuilder<D> {
        GroupBuilder {
            entries: Vec::new(),
            pieces: Vec::new(),
            body_length: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry that carries `pieces`, in order; their lengths must add up to what the header
    /// says it carries.
    pub(crate) fn push(&mut self, header: EntryHeader, pieces: impl IntoIterator<Item = D>) {
        let first = self.pieces.len();
        self.pieces.extend(pieces);
        let carried: usize = self.pieces[first..].iter().map(|piece| piece.len()).sum();
        assert_eq!(
            carried,
            header.carried_bytes(),
            "an entry carries what its header says"
        );
        self.entries.push((header, self.pieces.len() - first));
        self.body_length += ENTRY_HEADER_BYTES + carried;
    }

    /// Bytes of the entries so far.
    pub(crate) fn body_length(&self) -> usize {
        self.body_length
    }

    /// Bytes of the group on disk: header, body, padding to a whole block.
    pub(crate) fn encoded_bytes(&self) -> usize {
        (GROUP_HEADER_BYTES + self.body_length).next_multiple_of(BLOCK)
    }

    /// Fills `out`, which is exactly [`GroupBuilder::encoded_bytes`] long, and empties the builder.
    pub(crate) fn encode(&mut self, stamp: &GroupStamp, out: &mut [u8]) {
        assert_eq!(out.len(), self.encoded_bytes());
        let (head, body) = out.split_at_mut(GROUP_HEADER_BYTES);
        let (body, padding) = body.split_at_mut(self.body_length);
        padding.fill(0);
        let seal = EntrySeal::new(
            stamp.generation.number,
            stamp.generation.salt,
            stamp.sequence,
        );
        let mut at = 0;
        let mut pieces = self.pieces.iter();
        for (header, piece_count) in &self.entries {
            header.encode(seal, &mut body[at..]);
            at += ENTRY_HEADER_BYTES;
            for piece in pieces.by_ref().take(*piece_count) {
                body[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
        }
        GroupHeader {
            shard: stamp.shard,
            generation: stamp.generation.number,
            sequence: stamp.sequence,
            flushed_sequence: stamp.flushed_sequence,
            salt: stamp.generation.salt,
            body_length: u32::try_from(body.len()).expect("a group is bounded far below 4 GiB"),
            entry_count: u32::try_from(self.entries.len()).expect("bounded by the body"),
            body_crc: crc32c(body),
        }
        .encode(head);
        self.entries.clear();
        self.pieces.clear();
        self.body_length = 0;
    }
}
