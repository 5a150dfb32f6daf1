//! What a read returns.

use std::ops::{Deref, Range};
use std::rc::Rc;

/// Bytes that were read: immutable, cheap to clone and to cut.
#[derive(Clone)]
pub struct ReadBuffer(Bytes);

#[derive(Clone)]
enum Bytes {
    Direct(glommio::io::ReadResult),
    Shared(Rc<[u8]>, Range<usize>),
}

impl ReadBuffer {
    pub(super) fn from_bytes(bytes: Rc<[u8]>) -> Self {
        let whole = 0..bytes.len();
        Self(Bytes::Shared(bytes, whole))
    }

    pub(super) fn from_direct(bytes: glommio::io::ReadResult) -> Self {
        Self(Bytes::Direct(bytes))
    }

    /// A part of these bytes; the range counts from their own start.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end, "a range runs forward");
        assert!(range.end <= self.len(), "a part lies within the whole");
        Self(match &self.0 {
            Bytes::Direct(bytes) if range.is_empty() => {
                let _ = bytes;
                Bytes::Shared(Rc::from([]), 0..0)
            }
            Bytes::Direct(bytes) => Bytes::Direct(
                glommio::io::ReadResult::slice(bytes, range.start, range.len())
                    .expect("the range was checked"),
            ),
            Bytes::Shared(bytes, whole) => {
                let start = whole.start + range.start;
                Bytes::Shared(Rc::clone(bytes), start..start + range.len())
            }
        })
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Direct(bytes) => bytes,
            Bytes::Shared(bytes, range) => &bytes[range.clone()],
        }
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for ReadBuffer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ReadBuffer({} bytes)", self.len())
    }
}
