//! What a read returns.

use std::ops::{Deref, Range};
use std::rc::Rc;

use super::buffer::Charge;

/// Bytes that were read: immutable, cheap to clone and to cut. A part keeps all that was read in
/// memory, and with it the charge for it.
#[derive(Clone)]
pub struct ReadBuffer {
    bytes: Bytes,
    charge: Option<Rc<Charge>>,
}

#[derive(Clone)]
enum Bytes {
    Direct(glommio::io::ReadResult),
    Shared(Rc<[u8]>, Range<usize>),
}

impl ReadBuffer {
    pub(super) fn from_bytes(bytes: Rc<[u8]>) -> Self {
        let whole = 0..bytes.len();
        Self {
            bytes: Bytes::Shared(bytes, whole),
            charge: None,
        }
    }

    pub(super) fn from_direct(bytes: glommio::io::ReadResult) -> Self {
        Self {
            bytes: Bytes::Direct(bytes),
            charge: None,
        }
    }

    /// Keeps the charge that was taken for this read for as long as any part of the bytes lives.
    pub fn with_charge(mut self, charge: Option<Charge>) -> Self {
        self.charge = charge.map(Rc::new);
        self
    }

    /// Bytes that holding this, or a part of it, keeps in memory, as far as they were charged.
    pub fn held_bytes(&self) -> usize {
        let charged = self.charge.as_ref().map_or(0, |charge| charge.bytes());
        charged.max(self.len())
    }

    /// A part of these bytes; the range counts from their own start.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end, "a range runs forward");
        assert!(range.end <= self.len(), "a part lies within the whole");
        let bytes = match &self.bytes {
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
        };
        Self {
            bytes,
            charge: self.charge.clone(),
        }
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
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
