//! Writing Kafka's primitive types.

use bytes::{BufMut, Bytes, BytesMut};

use crate::TopicId;
use crate::record::varint::put_unsigned;

/// A field that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It is longer than its encoding can say.
    #[error("field {field} has length {length}, the format ends at {max}")]
    TooLong {
        /// The field's name, as Kafka's schema spells it.
        field: &'static str,
        /// Its bytes, or elements.
        length: usize,
        /// The most that fits.
        max: usize,
    },
    /// It is null, and may not be in this version.
    #[error("field {field} must not be null")]
    Null {
        /// The field's name, as Kafka's schema spells it.
        field: &'static str,
    },
}

/// Appends fields to a message. The two encodings are those of [`Reader`](super::Reader).
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
    flexible: bool,
    /// Where bytes belong that are not here.
    gaps: Vec<usize>,
    /// How many bytes that are, all gaps together.
    gap_bytes: usize,
}

/// The bytes of a frame's length.
const FRAME_LENGTH_BYTES: usize = 4;

/// Kafka counts a string in an int16, and its own code refuses longer ones in compact form too.
const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// One less than an int32 holds, as the compact form writes the length plus one.
const LENGTH_MAX: usize = i32::MAX as usize - 1;

impl Writer {
    /// An empty message in the non-flexible encoding.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty message that is to become a frame: it has room for its length.
    pub fn frame() -> Self {
        let mut writer = Self::new();
        writer.int32(0);
        writer
    }

    /// Chooses the encoding of everything written from here on.
    pub const fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// The encoding chosen.
    pub const fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// The bytes written.
    ///
    /// # Panics
    /// If there are [gaps](Self::gap).
    pub fn finish(self) -> Bytes {
        assert!(self.gaps.is_empty(), "bytes are missing");
        self.out.freeze()
    }

    /// The frame begun with [`frame`](Self::frame), with its length: the pieces before, between and behind its gaps.
    ///
    /// # Errors
    /// The frame is longer than its length can say.
    pub fn finish_frame(mut self) -> Result<Vec<Bytes>, WriteError> {
        let length = self.out.len() - FRAME_LENGTH_BYTES + self.gap_bytes;
        if length > LENGTH_MAX {
            return Err(WriteError::TooLong {
                field: "frame",
                length,
                max: LENGTH_MAX,
            });
        }
        self.out[..FRAME_LENGTH_BYTES].copy_from_slice(&(length as i32).to_be_bytes());
        let mut rest = self.out.freeze();
        let mut pieces = Vec::with_capacity(self.gaps.len() + 1);
        let mut start = 0;
        for gap in self.gaps {
            pieces.push(rest.split_to(gap - start));
            start = gap;
        }
        pieces.push(rest);
        Ok(pieces)
    }

    /// Bytes that whoever sends the frame puts in here.
    ///
    /// # Errors
    /// They are more than their length can say.
    pub fn gap(&mut self, field: &'static str, length: usize) -> Result<(), WriteError> {
        self.length(field, Some(length), LENGTH_MAX, Self::int32)?;
        self.gaps.push(self.out.len());
        self.gap_bytes += length;
        Ok(())
    }

    /// One byte, signed.
    pub fn int8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    /// Two bytes, big-endian.
    pub fn int16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    /// Four bytes, big-endian.
    pub fn int32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// Eight bytes, big-endian.
    pub fn int64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// Eight bytes, big-endian, as IEEE 754 has them.
    pub fn float64(&mut self, value: f64) {
        self.out.put_f64(value);
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.out.put_u8(value.into());
    }

    /// Sixteen bytes, most significant first.
    pub fn uuid(&mut self, value: TopicId) {
        self.out.put_slice(value.as_bytes());
    }

    /// Seven bits a byte, low bits first, no zigzag.
    pub fn unsigned_varint(&mut self, value: u32) {
        put_unsigned(&mut self.out, value.into());
    }

    fn length(
        &mut self,
        field: &'static str,
        length: Option<usize>,
        max: usize,
        plain: fn(&mut Self, i32),
    ) -> Result<(), WriteError> {
        if let Some(length) = length
            && length > max
        {
            return Err(WriteError::TooLong { field, length, max });
        }
        match length {
            Some(length) if self.flexible => self.unsigned_varint(length as u32 + 1),
            None if self.flexible => self.unsigned_varint(0),
            Some(length) => plain(self, length as i32),
            None => plain(self, -1),
        }
        Ok(())
    }

    /// Text that may be null, at most 32,767 bytes.
    pub fn nullable_string(
        &mut self,
        field: &'static str,
        value: Option<&str>,
    ) -> Result<(), WriteError> {
        let length = value.map(str::len);
        self.length(field, length, STRING_BYTES_MAX, |w, n| w.int16(n as i16))?;
        self.out.put_slice(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// Text, at most 32,767 bytes.
    pub fn string(&mut self, field: &'static str, value: &str) -> Result<(), WriteError> {
        self.nullable_string(field, Some(value))
    }

    /// Bytes that may be null.
    pub fn nullable_bytes(
        &mut self,
        field: &'static str,
        value: Option<&[u8]>,
    ) -> Result<(), WriteError> {
        self.length(field, value.map(<[u8]>::len), LENGTH_MAX, Self::int32)?;
        self.out.put_slice(value.unwrap_or_default());
        Ok(())
    }

    /// Bytes.
    pub fn bytes(&mut self, field: &'static str, value: &[u8]) -> Result<(), WriteError> {
        self.nullable_bytes(field, Some(value))
    }

    /// An array that may be null; `element` writes one of its elements.
    pub fn nullable_array<T>(
        &mut self,
        field: &'static str,
        values: Option<&[T]>,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.length(field, values.map(<[T]>::len), LENGTH_MAX, Self::int32)?;
        values
            .unwrap_or_default()
            .iter()
            .try_for_each(|value| element(self, value))
    }

    /// An array; `element` writes one of its elements.
    pub fn array<T>(
        &mut self,
        field: &'static str,
        values: &[T],
        element: impl FnMut(&mut Self, &T) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.nullable_array(field, Some(values), element)
    }

    /// The tagged fields at the end of a flexible structure, in order of their tags; nothing
    /// otherwise, as the other encoding has no place for them.
    ///
    /// # Panics
    /// If the tags do not rise.
    pub fn tagged_fields(&mut self, fields: &[(u32, Bytes)]) -> Result<(), WriteError> {
        assert!(fields.is_sorted_by(|a, b| a.0 < b.0), "tags rise");
        if !self.flexible {
            return Ok(());
        }
        self.unsigned_varint(fields.len() as u32);
        for (tag, bytes) in fields {
            if bytes.len() > LENGTH_MAX {
                return Err(WriteError::TooLong {
                    field: "tagged field",
                    length: bytes.len(),
                    max: LENGTH_MAX,
                });
            }
            self.unsigned_varint(*tag);
            self.unsigned_varint(bytes.len() as u32);
            self.out.put_slice(bytes);
        }
        Ok(())
    }
}
