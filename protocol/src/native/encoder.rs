//! Writing frames: header and metadata. The payload follows by a vectored write of its owner.

use std::fmt;

use bytes::{Bytes, BytesMut};
use flatbuffers::FlatBufferBuilder;

use super::api::FrameKind;
use super::frame::{FrameError, FrameHeader, FrameLimits};
use super::message::EncodeMessage;
use super::messages::ErrorResponse;

/// Writes frames, one after the other, with one reused table builder.
pub struct Encoder {
    builder: FlatBufferBuilder<'static>,
    limits: FrameLimits,
}

impl Encoder {
    /// An encoder that refuses frames above what the receiver accepts.
    pub fn new(limits: FrameLimits) -> Self {
        Self {
            builder: FlatBufferBuilder::new(),
            limits,
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> FrameLimits {
        self.limits
    }

    /// Takes other limits, once Hello has told the peer's.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// Appends the header and the metadata of a frame to `out`; `payload_length` bytes of payload
    /// must follow them.
    ///
    /// # Errors
    /// [`FrameError::MetadataTooLong`] or [`FrameError::PayloadTooLong`]; `out` is then unchanged.
    pub fn frame<M: EncodeMessage>(
        &mut self,
        kind: FrameKind,
        correlation_id: u32,
        message: &M,
        payload_length: usize,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        self.builder.reset();
        message.encode(&mut self.builder);
        self.append(
            kind,
            M::api(kind).code(),
            correlation_id,
            payload_length,
            out,
        )
    }

    /// Appends an error frame: the reply to a request of any API, also one that is unknown.
    ///
    /// # Errors
    /// [`FrameError::MetadataTooLong`]; `out` is then unchanged.
    pub fn error_frame(
        &mut self,
        api: u16,
        correlation_id: u32,
        error: &ErrorResponse,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        self.builder.reset();
        error.encode(&mut self.builder);
        self.append(FrameKind::Error, api, correlation_id, 0, out)
    }

    fn append(
        &self,
        kind: FrameKind,
        api: u16,
        correlation_id: u32,
        payload_length: usize,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let metadata = self.builder.finished_data();
        let header = FrameHeader::for_frame(
            kind,
            api,
            correlation_id,
            metadata,
            payload_length,
            &self.limits,
        )?;
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(metadata);
        Ok(())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(FrameLimits::default())
    }
}

/// The header and metadata of one frame, within the default limits. An [`Encoder`] does the same
/// without building anew each time.
///
/// # Errors
/// [`FrameError::MetadataTooLong`] or [`FrameError::PayloadTooLong`].
pub fn encode_frame<M: EncodeMessage>(
    kind: FrameKind,
    correlation_id: u32,
    message: &M,
    payload_length: usize,
) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::new();
    Encoder::default().frame(kind, correlation_id, message, payload_length, &mut out)?;
    Ok(out.freeze())
}
