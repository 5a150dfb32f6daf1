//! The native protocol: frames, and the messages in them. `docs/native_wire_format.md` shows the
//! bytes.

mod api;
mod encoder;
mod frame;
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "written by flatc; schema/regenerate.sh says how"
)]
#[rustfmt::skip]
mod generated;
mod message;
pub mod messages;

pub use api::{ApiKey, FrameKind};
pub use encoder::{Encoder, encode_frame};
pub use frame::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_VERSION, Frame, FrameError, FrameHeader, FrameLimits,
    decode_frame,
};
pub use message::{DecodeError, EncodeMessage, Message};
pub use messages::*;

use generated::corelog as tables;
