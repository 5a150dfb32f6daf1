//! What every message has in common: the traits, the errors and the verified read of its table.

use flatbuffers::{FlatBufferBuilder, Follow, InvalidFlatbuffer, Verifiable, VerifierOptions};

use super::api::{ApiKey, FrameKind};
use crate::{NegativeNumber, Offset, TopicId};

/// Tables within tables: a response, its topics, their partitions, a hint. The rest is room.
const MAX_DEPTH: usize = 8;
/// The least that a table takes: the offset that leads to it and the offset to its vtable.
const SMALLEST_TABLE_BYTES: usize = 8;
/// How far shared parts may be counted again. An encoder shares vtables between tables of one
/// kind; a table of 20 absent fields counts eleven times the bytes it takes.
const MAX_APPARENT_FACTOR: usize = 16;

/// A message that can be sent.
pub trait EncodeMessage {
    /// The API that frames with this message name.
    const API: ApiKey;
    /// The API that push frames with this message name: that of the request which asked for them.
    const PUSH_API: ApiKey = Self::API;

    /// Writes the table and finishes the buffer with it.
    fn encode(&self, builder: &mut FlatBufferBuilder<'_>);

    /// The API that a frame of this kind names.
    fn api(kind: FrameKind) -> ApiKey {
        match kind {
            FrameKind::Push => Self::PUSH_API,
            FrameKind::Request | FrameKind::Response | FrameKind::Error => Self::API,
        }
    }
}

/// A message that can be sent and received.
pub trait Message: EncodeMessage + Sized {
    /// Verifies and reads the table in a frame's metadata.
    ///
    /// Memory stays within a small multiple of the metadata's length, whatever it claims.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError>;
}

/// Why metadata is not the message it should be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no valid FlatBuffers table of this kind.
    #[error("metadata is no valid table: {}", first_line(.0))]
    Table(#[from] InvalidFlatbuffer),
    /// A number that must be zero or more was negative.
    #[error("field {field}: {source}")]
    Negative {
        /// The field's name in the schema.
        field: &'static str,
        /// What was found.
        source: NegativeNumber,
    },
    /// A field holds none of the values it may have.
    #[error("field {field} holds {value}, which means nothing here")]
    UnknownValue {
        /// The field's name in the schema.
        field: &'static str,
        /// What was found.
        value: i64,
    },
    /// Fields that exclude or require each other do not.
    #[error("{table}: {rule}")]
    Inconsistent {
        /// The table's name in the schema.
        table: &'static str,
        /// What should hold.
        rule: &'static str,
    },
    /// The partitions' lengths do not add up to the payload that came along.
    #[error("partitions name {named} bytes of payload, the frame has {found}")]
    PayloadLength {
        /// The sum of the partitions' lengths.
        named: u64,
        /// Bytes of payload in the frame.
        found: usize,
    },
}

/// The verifier's trace takes a line per level; logs want one line.
fn first_line(error: &InvalidFlatbuffer) -> String {
    let mut text = error.to_string();
    text.truncate(text.find('\n').unwrap_or(text.len()));
    text
}

/// Verifies `metadata` and returns its root table.
///
/// A buffer can lead many offsets to one table, so that few bytes expand into many tables. No
/// honest encoder does: the number of tables and the bytes counted with repetition are bounded by
/// the length.
pub(super) fn root<'a, T>(metadata: &'a [u8]) -> Result<T::Inner, DecodeError>
where
    T: Follow<'a> + Verifiable + 'a,
{
    let options = VerifierOptions {
        max_depth: MAX_DEPTH,
        max_tables: metadata.len() / SMALLEST_TABLE_BYTES,
        max_apparent_size: metadata.len().saturating_mul(MAX_APPARENT_FACTOR),
        ignore_missing_null_terminator: false,
    };
    Ok(flatbuffers::root_with_opts::<T>(&options, metadata)?)
}

/// Reads a number that must be zero or more.
pub(super) fn non_negative<T, N>(field: &'static str, value: N) -> Result<T, DecodeError>
where
    T: TryFrom<N, Error = NegativeNumber>,
{
    T::try_from(value).map_err(|source| DecodeError::Negative { field, source })
}

/// Reads an optional number that must be zero or more.
pub(super) fn optional<T, N>(
    field: &'static str,
    value: Option<N>,
) -> Result<Option<T>, DecodeError>
where
    T: TryFrom<N, Error = NegativeNumber>,
{
    value.map(|value| non_negative(field, value)).transpose()
}

/// Reads an offset.
pub(super) fn offset(field: &'static str, value: i64) -> Result<Offset, DecodeError> {
    non_negative(field, value)
}

/// Reads a value of an enumeration.
pub(super) fn known<T>(
    field: &'static str,
    value: impl Into<i64>,
    found: Option<T>,
) -> Result<T, DecodeError> {
    found.ok_or_else(|| DecodeError::UnknownValue {
        field,
        value: value.into(),
    })
}

/// Reads a topic id.
pub(super) fn topic_id(id: &super::tables::TopicId) -> TopicId {
    TopicId::from_bytes(id.0)
}

/// Writes a topic id.
pub(super) fn topic_id_struct(id: TopicId) -> super::tables::TopicId {
    super::tables::TopicId(*id.as_bytes())
}
