//! Reading Kafka's primitive types.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::TopicId;
use crate::record::varint::{MAX_VARINT_BYTES, VarintError, take_unsigned};

/// Why a field could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} at byte {position}: {problem}")]
pub struct ReadError {
    /// The field's name, as Kafka's schema spells it.
    pub field: &'static str,
    /// Where the field begins.
    pub position: usize,
    /// What is wrong with it.
    pub problem: ReadProblem,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadProblem {
    /// The bytes end within the field.
    #[error("needs {needed} bytes, {available} are left")]
    Truncated {
        /// Bytes the field takes.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// A length or count is below -1, which is the only negative one that has a meaning.
    #[error("length {length} is negative")]
    NegativeLength {
        /// The length found.
        length: i32,
    },
    /// An array claims more elements than the bytes left can hold.
    #[error(
        "claims {count} elements of at least {element_bytes} bytes, {available} bytes are left"
    )]
    CountBeyondBytes {
        /// Elements claimed.
        count: usize,
        /// Bytes of the smallest element.
        element_bytes: usize,
        /// Bytes there are.
        available: usize,
    },
    /// An array's elements would take more memory than a message of this size may.
    #[error("{count} elements take more memory than a message of this size may")]
    MemoryBeyondBytes {
        /// Elements claimed.
        count: usize,
    },
    /// The field is null and may not be.
    #[error("must not be null")]
    Null,
    /// The text is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The text is longer than Kafka's are in either encoding.
    #[error("has {length} bytes, a text has at most 32767")]
    TooLong {
        /// The length found.
        length: usize,
    },
    /// A varint has more than 32 bits.
    #[error("varint has more than 32 bits")]
    VarintTooLong,
    /// A number that must be zero or more was negative.
    #[error("must not be negative, found {found}")]
    Negative {
        /// The number found.
        found: i64,
    },
    /// A tagged field does not come after the one before it.
    #[error("tag {tag} is out of order")]
    TagOrder {
        /// The tag found.
        tag: u32,
    },
    /// The message ended before its bytes did.
    #[error("{extra} bytes follow the last field")]
    Trailing {
        /// Bytes left over.
        extra: usize,
    },
}

/// Takes fields off the front of a message.
///
/// Strings, bytes and arrays have two encodings: fixed-width lengths, and, in the flexible versions
/// of KIP-482, varints that hold the length plus one ("compact"). The reader is set to one of them,
/// and [`tagged_fields`](Self::tagged_fields) reads nothing in the first.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Position of the end of `rest` in the whole message.
    end: usize,
    flexible: bool,
    /// What the elements of arrays may still take.
    memory: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` in the non-flexible encoding.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            end: bytes.len(),
            flexible: false,
            memory: usize::MAX,
        }
    }

    /// Bounds what all arrays read from here on may take together. An element can be much larger in memory than in
    /// the bytes.
    pub const fn limit_memory(&mut self, bytes: usize) {
        self.memory = bytes;
    }

    /// Chooses the encoding of everything read from here on.
    pub const fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// The encoding chosen.
    pub const fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Where the next field begins.
    pub const fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    /// An error about the field that begins at `position`.
    pub const fn error_at(position: usize, field: &'static str, problem: ReadProblem) -> ReadError {
        ReadError {
            field,
            position,
            problem,
        }
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], ReadError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            let problem = ReadProblem::Truncated {
                needed: length,
                available: self.rest.len(),
            };
            return Err(Self::error_at(self.position(), field, problem));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(field, N)?);
        Ok(bytes)
    }

    /// One byte, signed.
    pub fn int8(&mut self, field: &'static str) -> Result<i8, ReadError> {
        self.fixed(field).map(i8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    pub fn int16(&mut self, field: &'static str) -> Result<i16, ReadError> {
        self.fixed(field).map(i16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn int32(&mut self, field: &'static str) -> Result<i32, ReadError> {
        self.fixed(field).map(i32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn int64(&mut self, field: &'static str) -> Result<i64, ReadError> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    /// Eight bytes, big-endian, as IEEE 754 has them.
    pub fn float64(&mut self, field: &'static str) -> Result<f64, ReadError> {
        self.fixed(field).map(f64::from_be_bytes)
    }

    /// One byte; everything but 0 is true, as for Kafka.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, ReadError> {
        Ok(self.int8(field)? != 0)
    }

    /// Sixteen bytes, most significant first.
    pub fn uuid(&mut self, field: &'static str) -> Result<TopicId, ReadError> {
        self.fixed(field).map(TopicId::from_bytes)
    }

    /// Reads an int32 into one of the crate's types, which are never negative.
    pub fn non_negative32<T: TryFrom<i32>>(&mut self, field: &'static str) -> Result<T, ReadError> {
        let position = self.position();
        let found = self.int32(field)?;
        T::try_from(found).map_err(|_| {
            let found = i64::from(found);
            Self::error_at(position, field, ReadProblem::Negative { found })
        })
    }

    /// Reads an int64 into one of the crate's types, which are never negative.
    pub fn non_negative64<T: TryFrom<i64>>(&mut self, field: &'static str) -> Result<T, ReadError> {
        let position = self.position();
        let found = self.int64(field)?;
        T::try_from(found)
            .map_err(|_| Self::error_at(position, field, ReadProblem::Negative { found }))
    }

    /// Seven bits a byte, low bits first, no zigzag, at most 32 bits.
    pub fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, ReadError> {
        let position = self.position();
        let available = self.rest.len();
        let problem = match take_unsigned(&mut self.rest, MAX_VARINT_BYTES) {
            Ok(value) => match u32::try_from(value) {
                Ok(value) => return Ok(value),
                Err(_) => ReadProblem::VarintTooLong,
            },
            Err(VarintError::TooLong) => ReadProblem::VarintTooLong,
            Err(VarintError::Truncated) => ReadProblem::Truncated {
                needed: available + 1,
                available,
            },
        };
        Err(Self::error_at(position, field, problem))
    }

    /// Reads a length, or null. `plain` reads it where it has a fixed width.
    fn length(
        &mut self,
        field: &'static str,
        plain: fn(&mut Self, &'static str) -> Result<i32, ReadError>,
    ) -> Result<Option<usize>, ReadError> {
        if self.flexible {
            // 0 is null, n + 1 is n.
            return Ok((self.unsigned_varint(field)? as usize).checked_sub(1));
        }
        let position = self.position();
        match plain(self, field)? {
            -1 => Ok(None),
            length if length < 0 => {
                let problem = ReadProblem::NegativeLength { length };
                Err(Self::error_at(position, field, problem))
            }
            length => Ok(Some(length as usize)),
        }
    }

    /// Text that may be null.
    pub fn nullable_string(&mut self, field: &'static str) -> Result<Option<String>, ReadError> {
        Ok(self.nullable_text(field)?.map(str::to_owned))
    }

    /// Text.
    pub fn string(&mut self, field: &'static str) -> Result<String, ReadError> {
        self.text(field).map(str::to_owned)
    }

    /// Text that may be null, borrowed.
    pub fn nullable_text(&mut self, field: &'static str) -> Result<Option<&'a str>, ReadError> {
        let position = self.position();
        let Some(length) = self.length(field, |r, f| r.int16(f).map(i32::from))? else {
            return Ok(None);
        };
        if length > i16::MAX as usize {
            return Err(Self::error_at(
                position,
                field,
                ReadProblem::TooLong { length },
            ));
        }
        match str::from_utf8(self.take(field, length)?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Self::error_at(position, field, ReadProblem::NotUtf8)),
        }
    }

    /// Text, borrowed.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, ReadError> {
        let position = self.position();
        self.nullable_text(field)?
            .ok_or(Self::error_at(position, field, ReadProblem::Null))
    }

    /// Bytes that may be null, borrowed.
    pub fn nullable_slice(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, ReadError> {
        match self.length(field, Self::int32)? {
            Some(length) => Ok(Some(self.take(field, length)?)),
            None => Ok(None),
        }
    }

    /// Bytes, borrowed.
    pub fn slice(&mut self, field: &'static str) -> Result<&'a [u8], ReadError> {
        let position = self.position();
        self.nullable_slice(field)?
            .ok_or(Self::error_at(position, field, ReadProblem::Null))
    }

    /// Bytes that may be null, copied: what they came in may be much larger than they are.
    pub fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<Bytes>, ReadError> {
        Ok(self.nullable_slice(field)?.map(Bytes::copy_from_slice))
    }

    /// Bytes, copied.
    pub fn bytes(&mut self, field: &'static str) -> Result<Bytes, ReadError> {
        let position = self.position();
        self.nullable_bytes(field)?
            .ok_or(Self::error_at(position, field, ReadProblem::Null))
    }

    /// An array that may be null. `element_bytes` is the size of the smallest element: a count that
    /// the bytes left cannot hold is refused before anything is reserved.
    pub fn nullable_array<T>(
        &mut self,
        field: &'static str,
        element_bytes: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, ReadError>,
    ) -> Result<Option<Vec<T>>, ReadError> {
        assert!(element_bytes > 0, "an element takes at least one byte");
        let position = self.position();
        let Some(count) = self.length(field, Self::int32)? else {
            return Ok(None);
        };
        let available = self.rest.len();
        if count > available / element_bytes {
            let problem = ReadProblem::CountBeyondBytes {
                count,
                element_bytes,
                available,
            };
            return Err(Self::error_at(position, field, problem));
        }
        match self.memory.checked_sub(count * size_of::<T>()) {
            Some(memory) => self.memory = memory,
            None => {
                let problem = ReadProblem::MemoryBeyondBytes { count };
                return Err(Self::error_at(position, field, problem));
            }
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array, as [`nullable_array`](Self::nullable_array).
    pub fn array<T>(
        &mut self,
        field: &'static str,
        element_bytes: usize,
        element: impl FnMut(&mut Self) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let position = self.position();
        self.nullable_array(field, element_bytes, element)?
            .ok_or(Self::error_at(position, field, ReadProblem::Null))
    }

    /// The tagged fields at the end of a flexible structure; nothing otherwise.
    ///
    /// `known` gets each tag with a reader of just its bytes, and says whether it read them. Those
    /// it does not know are skipped; those it knows must be read to their end.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        if !self.flexible {
            return Ok(());
        }
        // Nothing is reserved by this count, and each round takes at least two bytes.
        let count = self.unsigned_varint("tagged fields")?;
        let mut next_tag = 0;
        for _ in 0..count {
            let position = self.position();
            let tag = self.unsigned_varint("tag")?;
            if u64::from(tag) < next_tag {
                let problem = ReadProblem::TagOrder { tag };
                return Err(Self::error_at(position, "tag", problem));
            }
            next_tag = u64::from(tag) + 1;
            let length = self.unsigned_varint("tagged field length")? as usize;
            let bytes = self.take("tagged field", length)?;
            let mut field = Self {
                rest: bytes,
                end: self.position(),
                flexible: true,
                memory: self.memory,
            };
            if known(tag, &mut field)? {
                self.memory = field.memory;
                field.finish("tagged field")?;
            }
        }
        Ok(())
    }

    /// The tagged fields of a structure of which we know none.
    pub fn skip_tagged_fields(&mut self) -> Result<(), ReadError> {
        self.tagged_fields(|_, _| Ok(false))
    }

    /// Refuses bytes after the last field of `what`.
    pub fn finish(self, what: &'static str) -> Result<(), ReadError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => {
                let problem = ReadProblem::Trailing { extra };
                Err(Self::error_at(self.position(), what, problem))
            }
        }
    }
}
