//! The native protocol: frames, and the messages in them.

mod api;
mod frame;

pub use api::{ApiKey, FrameKind};
pub use frame::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_VERSION, Frame, FrameError, FrameHeader, FrameLimits,
    decode_frame,
};
