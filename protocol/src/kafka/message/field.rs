//! The types that fields of messages have.

use crate::TopicId;
use crate::kafka::{ReadError, Reader, WriteError, Writer};

/// A type of fields.
pub(crate) trait Field<'a>: Sized {
    /// What one takes at least.
    fn least_bytes(version: i16, flexible: bool) -> usize;

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(reader: &mut Reader<'a>, name: &'static str, version: i16) -> Result<Self, ReadError>;

    /// Writes one.
    ///
    /// # Errors
    /// It is too long.
    fn write(
        &self,
        writer: &mut Writer,
        name: &'static str,
        version: i16,
    ) -> Result<(), WriteError>;

    /// True for the null that some fields are in some versions only.
    fn is_null(&self) -> bool {
        false
    }
}

macro_rules! fixed {
    ($($type:ty, $bytes:literal, $method:ident;)*) => {$(
        impl Field<'_> for $type {
            fn least_bytes(_version: i16, _flexible: bool) -> usize {
                $bytes
            }

            fn read(reader: &mut Reader<'_>, name: &'static str, _: i16) -> Result<Self, ReadError> {
                reader.$method(name)
            }

            fn write(&self, writer: &mut Writer, _: &'static str, _: i16) -> Result<(), WriteError> {
                writer.$method(*self);
                Ok(())
            }
        }
    )*};
}

fixed! {
    bool, 1, bool;
    i8, 1, int8;
    i16, 2, int16;
    i32, 4, int32;
    i64, 8, int64;
    f64, 8, float64;
    TopicId, 16, uuid;
}

impl<'a> Field<'a> for &'a str {
    fn least_bytes(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 2 }
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, _: i16) -> Result<Self, ReadError> {
        reader.text(name)
    }

    fn write(&self, writer: &mut Writer, name: &'static str, _: i16) -> Result<(), WriteError> {
        writer.string(name, self)
    }
}

impl<'a> Field<'a> for Option<&'a str> {
    fn least_bytes(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 2 }
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, _: i16) -> Result<Self, ReadError> {
        reader.nullable_text(name)
    }

    fn write(&self, writer: &mut Writer, name: &'static str, _: i16) -> Result<(), WriteError> {
        writer.nullable_string(name, *self)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn least_bytes(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, _: i16) -> Result<Self, ReadError> {
        reader.slice(name)
    }

    fn write(&self, writer: &mut Writer, name: &'static str, _: i16) -> Result<(), WriteError> {
        writer.bytes(name, self)
    }
}

impl<'a> Field<'a> for Option<&'a [u8]> {
    fn least_bytes(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, _: i16) -> Result<Self, ReadError> {
        reader.nullable_slice(name)
    }

    fn write(&self, writer: &mut Writer, name: &'static str, _: i16) -> Result<(), WriteError> {
        writer.nullable_bytes(name, *self)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// Record batches in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Records<'a> {
    /// There are none, and not even their place.
    #[default]
    Null,
    /// These.
    Here(&'a [u8]),
    /// So many bytes, which stay where they are until the response is sent: see [`Writer::gap`].
    Apart(usize),
}

impl<'a> Field<'a> for Records<'a> {
    fn least_bytes(version: i16, flexible: bool) -> usize {
        <&[u8]>::least_bytes(version, flexible)
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, _: i16) -> Result<Self, ReadError> {
        let records = reader.nullable_slice(name)?;
        Ok(records.map_or(Self::Null, Self::Here))
    }

    fn write(&self, writer: &mut Writer, name: &'static str, _: i16) -> Result<(), WriteError> {
        match self {
            Self::Null => writer.nullable_bytes(name, None),
            Self::Here(records) => writer.bytes(name, records),
            Self::Apart(length) => writer.gap(name, *length),
        }
    }

    fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn least_bytes(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, version: i16) -> Result<Self, ReadError> {
        let least = T::least_bytes(version, reader.is_flexible());
        reader.array(name, least, |reader| T::read(reader, name, version))
    }

    fn write(
        &self,
        writer: &mut Writer,
        name: &'static str,
        version: i16,
    ) -> Result<(), WriteError> {
        writer.array(name, self, |writer, element| {
            element.write(writer, name, version)
        })
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<Vec<T>> {
    fn least_bytes(_version: i16, flexible: bool) -> usize {
        if flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, version: i16) -> Result<Self, ReadError> {
        let least = T::least_bytes(version, reader.is_flexible());
        reader.nullable_array(name, least, |reader| T::read(reader, name, version))
    }

    fn write(
        &self,
        writer: &mut Writer,
        name: &'static str,
        version: i16,
    ) -> Result<(), WriteError> {
        writer.nullable_array(name, self.as_deref(), |writer, element| {
            element.write(writer, name, version)
        })
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// A structure that may be null: a byte before it says so.
impl<'a, T: Field<'a>> Field<'a> for Option<Box<T>> {
    fn least_bytes(_version: i16, _flexible: bool) -> usize {
        1
    }

    fn read(reader: &mut Reader<'a>, name: &'static str, version: i16) -> Result<Self, ReadError> {
        Ok(match reader.int8(name)? {
            found if found < 0 => None,
            _ => Some(Box::new(T::read(reader, name, version)?)),
        })
    }

    fn write(
        &self,
        writer: &mut Writer,
        name: &'static str,
        version: i16,
    ) -> Result<(), WriteError> {
        match self {
            None => writer.int8(-1),
            Some(found) => {
                writer.int8(1);
                found.write(writer, name, version)?;
            }
        }
        Ok(())
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}
