//! The frame: a fixed header, a FlatBuffers table (the metadata) and a payload of whole record
//! batches. `docs/native_wire_format.md` shows the bytes.
//!
//! Invariant: no byte of a body is awaited, and nothing is allocated for it, before its header
//! has passed [`FrameHeader::decode`]; even then memory grows with the bytes that arrive.

use bytes::{Bytes, BytesMut};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::api::{ApiKey, FrameKind};

/// Size of the header on the wire.
pub const FRAME_HEADER_BYTES: usize = 24;
/// The first bytes of every header after its length: 0x6E 0xC0, little-endian.
pub const FRAME_MAGIC: u16 = 0xC06E;
/// The only version of the frame there is.
pub const FRAME_VERSION: u8 = 1;

/// How much [`decode_frame`] makes room for at a time when the rest of a frame is missing.
const RESERVE_STEP: usize = 64 * 1024;

/// The header as it lies on the wire, little-endian.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    /// Bytes after the header: metadata and payload.
    length: U32,
    magic: U16,
    version: u8,
    kind: u8,
    api: U16,
    flags: U16,
    correlation_id: U32,
    metadata_length: U32,
    crc: U32,
}

/// The CRC covers the header up to itself.
const CRC_POSITION: usize = 20;

const _: () = {
    assert!(size_of::<RawHeader>() == FRAME_HEADER_BYTES);
    assert!(std::mem::offset_of!(RawHeader, crc) == CRC_POSITION);
};

/// The largest frame a side accepts. Hello tells the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Most bytes of metadata in one frame. Default 1 MiB.
    pub max_metadata: u32,
    /// Most bytes of payload in one frame. Default 100 MiB.
    pub max_payload: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            max_metadata: 1024 * 1024,
            max_payload: 100 * 1024 * 1024,
        }
    }
}

impl FrameLimits {
    /// What a client accepts of a reply's metadata: a broker may have hundreds of thousands of partitions and groups to
    /// tell of. Brokers accept less of a request.
    pub const REPLY_METADATA_BYTES: u32 = 64 * 1024 * 1024;

    /// The same limits, for the frames that go the other way.
    #[must_use]
    pub const fn for_replies(self) -> Self {
        Self {
            max_metadata: Self::REPLY_METADATA_BYTES,
            max_payload: self.max_payload,
        }
    }

    /// Checks the lengths of a frame before it is sent or awaited.
    fn check(&self, metadata: u64, payload: u64) -> Result<(), FrameError> {
        if metadata > u64::from(self.max_metadata) {
            return Err(FrameError::MetadataTooLong {
                length: metadata,
                limit: self.max_metadata,
            });
        }
        if payload > u64::from(self.max_payload) {
            return Err(FrameError::PayloadTooLong {
                length: payload,
                limit: self.max_payload,
            });
        }
        // Header arithmetic is in u32: the sum must fit whatever the limits say.
        if metadata + payload > u64::from(u32::MAX) {
            return Err(FrameError::PayloadTooLong {
                length: payload,
                limit: u32::MAX - metadata as u32,
            });
        }
        Ok(())
    }
}

/// Why bytes are not an acceptable frame. After any of these the stream cannot be trusted to be
/// at a frame's start: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks something else.
    #[error("frame magic is {found:#06x}, expected {FRAME_MAGIC:#06x}")]
    Magic {
        /// The number found.
        found: u16,
    },
    /// The peer speaks a version of the frame from another time.
    #[error("frame version is {found}, expected {FRAME_VERSION}")]
    Version {
        /// The number found.
        found: u8,
    },
    /// The kind of frame does not exist.
    #[error("frame kind {found} is none of 1 to 4")]
    Kind {
        /// The number found.
        found: u8,
    },
    /// A flag is set that this version does not define.
    #[error("frame flags are {found:#06x}, expected none")]
    Flags {
        /// The bits found.
        found: u16,
    },
    /// The metadata is said to be longer than the whole.
    #[error("frame metadata of {metadata} bytes does not fit the frame's {length}")]
    MetadataBeyondFrame {
        /// Bytes of metadata claimed.
        metadata: u32,
        /// Bytes after the header claimed.
        length: u32,
    },
    /// More metadata than this side accepts.
    #[error("frame metadata has {length} bytes, the limit is {limit}")]
    MetadataTooLong {
        /// Bytes claimed.
        length: u64,
        /// [`FrameLimits::max_metadata`].
        limit: u32,
    },
    /// More payload than this side accepts.
    #[error("frame payload has {length} bytes, the limit is {limit}")]
    PayloadTooLong {
        /// Bytes claimed.
        length: u64,
        /// [`FrameLimits::max_payload`].
        limit: u32,
    },
    /// Header or metadata were damaged on the way.
    #[error("frame CRC-32C is {found:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// The checksum in the header.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

/// A frame's header whose magic, version, kind, flags and lengths were accepted.
///
/// Its CRC also covers the metadata and is checked by [`FrameHeader::verify`] once that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is to its receiver.
    pub kind: FrameKind,
    /// The number of the API. It may be unknown, which the receiver answers under the
    /// correlation id instead of closing the connection.
    pub api: u16,
    /// Chosen by the requester, repeated by the reply.
    pub correlation_id: u32,
    /// Bytes of metadata after the header.
    pub metadata_length: u32,
    /// Bytes of payload after the metadata.
    pub payload_length: u32,
    crc: u32,
}

impl FrameHeader {
    /// Makes the header of a frame to send, with its CRC.
    ///
    /// # Errors
    /// [`FrameError::MetadataTooLong`] and [`FrameError::PayloadTooLong`] by `limits`.
    pub fn for_frame(
        kind: FrameKind,
        api: u16,
        correlation_id: u32,
        metadata: &[u8],
        payload_length: usize,
        limits: &FrameLimits,
    ) -> Result<Self, FrameError> {
        limits.check(metadata.len() as u64, payload_length as u64)?;
        let mut header = Self {
            kind,
            api,
            correlation_id,
            metadata_length: metadata.len() as u32,
            payload_length: payload_length as u32,
            crc: 0,
        };
        header.crc = header.compute_crc(metadata);
        Ok(header)
    }

    /// Reads and checks a header, before anything of the body was awaited.
    ///
    /// # Errors
    /// Every [`FrameError`] but [`FrameError::Crc`].
    #[inline]
    pub fn decode(
        bytes: &[u8; FRAME_HEADER_BYTES],
        limits: &FrameLimits,
    ) -> Result<Self, FrameError> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        if raw.magic.get() != FRAME_MAGIC {
            return Err(FrameError::Magic {
                found: raw.magic.get(),
            });
        }
        if raw.version != FRAME_VERSION {
            return Err(FrameError::Version { found: raw.version });
        }
        let kind = FrameKind::from_code(raw.kind).ok_or(FrameError::Kind { found: raw.kind })?;
        if raw.flags.get() != 0 {
            return Err(FrameError::Flags {
                found: raw.flags.get(),
            });
        }
        let (length, metadata_length) = (raw.length.get(), raw.metadata_length.get());
        let Some(payload_length) = length.checked_sub(metadata_length) else {
            return Err(FrameError::MetadataBeyondFrame {
                metadata: metadata_length,
                length,
            });
        };
        limits.check(u64::from(metadata_length), u64::from(payload_length))?;
        Ok(Self {
            kind,
            api: raw.api.get(),
            correlation_id: raw.correlation_id.get(),
            metadata_length,
            payload_length,
            crc: raw.crc.get(),
        })
    }

    /// The header's bytes.
    #[inline]
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        zerocopy::transmute!(RawHeader {
            length: U32::new(self.metadata_length + self.payload_length),
            magic: U16::new(FRAME_MAGIC),
            version: FRAME_VERSION,
            kind: self.kind.code(),
            api: U16::new(self.api),
            flags: U16::new(0),
            correlation_id: U32::new(self.correlation_id),
            metadata_length: U32::new(self.metadata_length),
            crc: U32::new(self.crc),
        })
    }

    /// Checks the CRC over the header and the metadata that followed it.
    ///
    /// # Errors
    /// [`FrameError::Crc`].
    #[inline]
    pub fn verify(&self, metadata: &[u8]) -> Result<(), FrameError> {
        let computed = self.compute_crc(metadata);
        if computed == self.crc {
            Ok(())
        } else {
            Err(FrameError::Crc {
                found: self.crc,
                computed,
            })
        }
    }

    fn compute_crc(&self, metadata: &[u8]) -> u32 {
        let head = crc32c::crc32c(&self.encode()[..CRC_POSITION]);
        crc32c::crc32c_append(head, metadata)
    }

    /// The API, if this crate knows it.
    #[inline]
    pub fn api_key(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.api)
    }

    /// Bytes after the header: metadata and payload.
    #[inline]
    pub const fn body_length(&self) -> usize {
        self.metadata_length as usize + self.payload_length as usize
    }
}

/// One whole frame, its parts shared with the buffer that received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header, checked.
    pub header: FrameHeader,
    /// The FlatBuffers table: covered by the CRC, not yet verified as a table.
    pub metadata: Bytes,
    /// Record batches, which carry checksums of their own.
    pub payload: Bytes,
}

/// Splits the next frame off `buffer`, without copying.
///
/// `None` means that more bytes must arrive. Room for them is then reserved in steps that never
/// exceed what is missing, nor the greater of 64 KiB and the bytes already received: a header
/// that promises 100 MiB costs its sender the sending of them.
///
/// # Errors
/// Any [`FrameError`]; the connection is then of no more use.
pub fn decode_frame(
    buffer: &mut BytesMut,
    limits: &FrameLimits,
) -> Result<Option<Frame>, FrameError> {
    let Some((head, body)) = buffer.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        buffer.reserve(FRAME_HEADER_BYTES - buffer.len());
        return Ok(None);
    };
    let header = FrameHeader::decode(head, limits)?;
    if body.len() < header.body_length() {
        let missing = header.body_length() - body.len();
        buffer.reserve(missing.min(RESERVE_STEP.max(buffer.len())));
        return Ok(None);
    }
    header.verify(&body[..header.metadata_length as usize])?;
    let mut frame = buffer
        .split_to(FRAME_HEADER_BYTES + header.body_length())
        .freeze();
    let payload = frame.split_off(FRAME_HEADER_BYTES + header.metadata_length as usize);
    let metadata = frame.split_off(FRAME_HEADER_BYTES);
    Ok(Some(Frame {
        header,
        metadata,
        payload,
    }))
}
