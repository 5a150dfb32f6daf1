//! Messages of Kafka's wire protocol, declared field by field with the versions that have them.
//!
//! A declaration is that of Kafka's JSON schema: the fields in its order, each with its versions, its default, the versions
//! in which it may be null, and its tag, if it is a tagged field (KIP-482). [`message!`] makes a struct of it that is read
//! and written in every version of the message. A field that a version lacks is read as its default, and left out.
//!
//! Texts and bytes are borrowed from what is read. What is allocated for arrays is bounded by the length of the message.

mod field;
#[cfg(test)]
pub(super) mod sample;

use bytes::Bytes;

pub(crate) use field::Field;
pub use field::Records;

use super::{ReadError, Reader, WriteError, Writer};

/// A request or a response: what stands behind its header.
pub trait KafkaMessage<'a>: Sized {
    /// The versions that can be read and written.
    const VERSIONS: std::ops::RangeInclusive<i16>;
    /// The first version with tagged fields, and with lengths as varints.
    const FLEXIBLE_FROM: i16;

    /// Reads a message. Bytes behind its last field mean nothing, as for Kafka's brokers: librdkafka 2.16 sends some behind
    /// a Metadata request for all topics.
    ///
    /// # Errors
    /// A field that is damaged or not there.
    ///
    /// # Panics
    /// If [`VERSIONS`](Self::VERSIONS) lacks the version.
    fn decode(bytes: &'a [u8], version: i16) -> Result<Self, ReadError>;

    /// Writes the message behind what is there.
    ///
    /// # Errors
    /// A field that the version cannot say.
    ///
    /// # Panics
    /// If [`VERSIONS`](Self::VERSIONS) lacks the version.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), WriteError>;

    /// The message alone.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn to_bytes(&self, version: i16) -> Result<Bytes, WriteError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.finish())
    }
}

/// Declares structs of fields: `name: Type [versions]`, then `null [versions]`, `= default` and `tag N` where it has them.
macro_rules! fields {
    ($(
        $(#[$attribute:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $($field:ident: $type:ty [$($versions:tt)*]
                $(null [$($nullable:tt)*])? $(= $default:literal)? $(tag $tag:literal)?;)*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name $(<$life>)? {
            $(pub $field: $type,)*
        }

        impl $(<$life>)? Default for $name $(<$life>)? {
            fn default() -> Self {
                Self {
                    $($field: fields!(@default $($default)?),)*
                }
            }
        }

        fields!(@field [$($life)?] $name {
            $($field: $type [$($versions)*] $(null [$($nullable)*])? $(tag $tag)?;)*
        });

        #[cfg(test)]
        impl $(<$life>)? $crate::kafka::message::sample::Sample for $name $(<$life>)? {
            fn sample(random: &mut $crate::kafka::message::sample::Random, version: i16) -> Self {
                let mut sample = Self::default();
                $(if ($($versions)*).contains(&version) {
                    let may_be_null = fields!(@nullable version $([$($nullable)*])?);
                    sample.$field = random.field(version, may_be_null);
                })*
                sample
            }
        }
    )*};

    (@default) => { Default::default() };
    (@default $default:literal) => { $default };
    (@nullable $version:ident) => { true };
    (@nullable $version:ident [$($nullable:tt)*]) => { ($($nullable)*).contains(&$version) };
    (@field [] $name:ident $body:tt) => { fields!(@impl ['a] ['a] [] $name $body); };
    (@field [$life:lifetime] $name:ident $body:tt) => { fields!(@impl [$life] [$life] [<$life>] $name $body); };
    (@impl [$life:lifetime] [$also:lifetime] [$($generics:tt)*] $name:ident {
        $($field:ident: $type:ty [$($versions:tt)*] $(null [$($nullable:tt)*])? $(tag $tag:literal)?;)*
    }) => {
        impl<$life> $crate::kafka::message::Field<$life> for $name $($generics)* {
            fn least_bytes(version: i16, flexible: bool) -> usize {
                // The tagged fields take at least their count.
                usize::from(flexible) $(+ fields!(@least $type, version, flexible, [$($versions)*] $($tag)?))*
            }

            fn read(
                reader: &mut $crate::kafka::Reader<$life>,
                _name: &'static str,
                version: i16,
            ) -> Result<Self, $crate::kafka::ReadError> {
                let mut found = Self::default();
                $(fields!(@read found.$field, reader, version, [$($versions)*] [$([$($nullable)*])?] $($tag)?);)*
                reader.tagged_fields(|_tag, _field| {
                    $(fields!(@read_tag _tag, found.$field, _field, version, [$($versions)*] $($tag)?);)*
                    Ok(false)
                })?;
                Ok(found)
            }

            fn write(
                &self,
                writer: &mut $crate::kafka::Writer,
                _name: &'static str,
                version: i16,
            ) -> Result<(), $crate::kafka::WriteError> {
                $(fields!(@write self.$field, writer, version, [$($versions)*] [$([$($nullable)*])?] $($tag)?);)*
                if !writer.is_flexible() {
                    return Ok(());
                }
                let _absent = Self::default();
                let mut tagged = Vec::new();
                $(fields!(@write_tag tagged, self.$field, _absent.$field, version, [$($versions)*] $($tag)?);)*
                tagged.sort_by_key(|(tag, _)| *tag);
                writer.tagged_fields(&tagged)
            }
        }
    };

    (@least $type:ty, $version:ident, $flexible:ident, [$($versions:tt)*]) => {
        match ($($versions)*).contains(&$version) {
            true => <$type as $crate::kafka::message::Field<'_>>::least_bytes($version, $flexible),
            false => 0,
        }
    };
    (@least $type:ty, $version:ident, $flexible:ident, [$($versions:tt)*] $tag:literal) => { 0 };

    (@read $found:ident.$field:ident, $reader:ident, $version:ident, [$($versions:tt)*] [$($nullable:tt)*]) => {
        if ($($versions)*).contains(&$version) {
            let position = $reader.position();
            $found.$field = $crate::kafka::message::Field::read($reader, stringify!($field), $version)?;
            let may_be_null = fields!(@nullable $version $($nullable)*);
            if !may_be_null && $crate::kafka::message::Field::is_null(&$found.$field) {
                let problem = $crate::kafka::ReadProblem::Null;
                return Err($crate::kafka::Reader::error_at(position, stringify!($field), problem));
            }
        }
    };
    (@read $found:ident.$field:ident, $reader:ident, $version:ident, [$($versions:tt)*] [$($nullable:tt)*] $tag:literal) => {};

    (@read_tag $read:ident, $found:ident.$field:ident, $reader:ident, $version:ident, [$($versions:tt)*]) => {};
    (@read_tag $read:ident, $found:ident.$field:ident, $reader:ident, $version:ident, [$($versions:tt)*] $tag:literal) => {
        if $read == $tag && ($($versions)*).contains(&$version) {
            $found.$field = $crate::kafka::message::Field::read($reader, stringify!($field), $version)?;
            return Ok(true);
        }
    };

    (@write $self:ident.$field:ident, $writer:ident, $version:ident, [$($versions:tt)*] [$($nullable:tt)*]) => {
        if ($($versions)*).contains(&$version) {
            let may_be_null = fields!(@nullable $version $($nullable)*);
            if !may_be_null && $crate::kafka::message::Field::is_null(&$self.$field) {
                return Err($crate::kafka::WriteError::Null {
                    field: stringify!($field),
                });
            }
            $crate::kafka::message::Field::write(&$self.$field, $writer, stringify!($field), $version)?;
        }
    };
    (@write $self:ident.$field:ident, $writer:ident, $version:ident, [$($versions:tt)*] [$($nullable:tt)*] $tag:literal) => {};

    (@write_tag $tagged:ident, $self:ident.$field:ident, $absent:ident.$other:ident, $version:ident, [$($versions:tt)*]) => {};
    (@write_tag $tagged:ident, $self:ident.$field:ident, $absent:ident.$other:ident, $version:ident, [$($versions:tt)*] $tag:literal) => {
        if ($($versions)*).contains(&$version) && $self.$field != $absent.$other {
            let mut writer = $crate::kafka::Writer::new();
            writer.set_flexible(true);
            $crate::kafka::message::Field::write(&$self.$field, &mut writer, stringify!($field), $version)?;
            $tagged.push(($tag, writer.finish()));
        }
    };
}

/// Declares a message and the structs within it.
macro_rules! message {
    (
        $name:ident $(<$life:lifetime>)?, $versions:expr, flexible from $flexible:literal;
        $($fields:tt)*
    ) => {
        fields! { $($fields)* }
        message!(@impl [$($life)?] $name, $versions, $flexible);
    };
    (@impl [] $name:ident, $versions:expr, $flexible:literal) => {
        message!(@impl ['a] [] $name, $versions, $flexible);
    };
    (@impl [$life:lifetime] $name:ident, $versions:expr, $flexible:literal) => {
        message!(@impl [$life] [<$life>] $name, $versions, $flexible);
    };
    (@impl [$life:lifetime] [$($generics:tt)*] $name:ident, $versions:expr, $flexible:literal) => {
        impl<$life> $crate::kafka::KafkaMessage<$life> for $name $($generics)* {
            const VERSIONS: std::ops::RangeInclusive<i16> = $versions;
            const FLEXIBLE_FROM: i16 = $flexible;

            fn decode(bytes: &$life [u8], version: i16) -> Result<Self, $crate::kafka::ReadError> {
                $crate::kafka::message::decode(bytes, version)
            }

            fn encode(
                &self,
                writer: &mut $crate::kafka::Writer,
                version: i16,
            ) -> Result<(), $crate::kafka::WriteError> {
                $crate::kafka::message::encode(self, writer, version)
            }
        }
    };
}

pub(super) use {fields, message};

/// The elements of arrays take at most this many bytes for each byte of their message. Nothing that a client has a reason
/// to send takes as much; a message of nothing but empty elements would take more.
const MEMORY_PER_BYTE: usize = 16;
/// What even the shortest message may take.
const MEMORY_FLOOR: usize = 64 * 1024;
/// What no message may take, however long it is.
const MEMORY_MAX: usize = 64 * 1024 * 1024;

pub(super) fn decode<'a, M: KafkaMessage<'a> + Field<'a>>(
    bytes: &'a [u8],
    version: i16,
) -> Result<M, ReadError> {
    assert!(M::VERSIONS.contains(&version), "version {version}");
    let mut reader = Reader::new(bytes);
    reader.set_flexible(version >= M::FLEXIBLE_FROM);
    reader
        .limit_memory((MEMORY_FLOOR + bytes.len().saturating_mul(MEMORY_PER_BYTE)).min(MEMORY_MAX));
    M::read(&mut reader, "message", version)
}

pub(super) fn encode<'a, M: KafkaMessage<'a> + Field<'a>>(
    message: &M,
    writer: &mut Writer,
    version: i16,
) -> Result<(), WriteError> {
    assert!(M::VERSIONS.contains(&version), "version {version}");
    writer.set_flexible(version >= M::FLEXIBLE_FROM);
    message.write(writer, "message", version)
}
