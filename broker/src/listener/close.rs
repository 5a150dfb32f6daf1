//! Why a connection ends, what its peer is told, and how it is counted.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::{KafkaApi, ReadError, WriteError};
use corelog_protocol::native::{FrameError, FrameKind};

use crate::partition::Refusal;

/// The one reason a connection ends. The first to be found stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum Close {
    #[error("the peer closed the connection")]
    PeerClosed,
    #[error("the connection failed: {0}")]
    SocketFailed(#[source] io::Error),
    #[error("the peer closed the connection inside a frame, after {received} of its bytes")]
    Truncated { received: usize },
    #[error(transparent)]
    BadFrame(#[from] FrameError),
    #[error("a client sends requests, but this frame's kind is {0:?}")]
    NotARequest(FrameKind),
    #[error("the first frame must be Hello, but its API is {api}")]
    HelloExpected { api: u16 },
    #[error("Hello was refused: {}", .0.message)]
    HelloRefused(Refusal),
    #[error("no Hello came within {0:?}")]
    HelloTimedOut(Duration),
    #[error("a frame begun made next to no progress for {0:?}")]
    FrameTimedOut(Duration),
    #[error("the peer took no bytes for {0:?}")]
    SendTimedOut(Duration),
    #[error(
        "the peer held records that it did not take for {0:?} while other readers waited for memory"
    )]
    HeldMemory(Duration),
    #[error("nothing was asked for {0:?}")]
    Idle(Duration),
    #[error("the broker has {limit} connections, which is its limit (max.connections)")]
    TooManyConnections { limit: usize },
    /// A produce with acks=0 has no reply, so the end of the connection is the only way to tell
    /// its sender that records were lost. Kafka does the same.
    #[error("a produce with acks=0 failed: {}: {}", .0.code, .0.message)]
    UnansweredFailure(Refusal),
    #[error("the broker is stopping")]
    Stopping,
    #[error("these bytes are no Kafka request, but {0}")]
    OtherProtocol(&'static str),
    #[error(
        "a Kafka request claims {claimed} bytes, allowed are 10 to {max} (socket.request.max.bytes)"
    )]
    RequestLength { claimed: i32, max: usize },
    #[error(
        "a Kafka request {} of {bytes} bytes is too long, allowed are {max} (frame.metadata.max.bytes)",
        .api.name()
    )]
    RequestTooLong {
        api: KafkaApi,
        bytes: usize,
        max: usize,
    },
    #[error("a Kafka request has a damaged header: {0}")]
    BadRequestHeader(#[source] ReadError),
    #[error("a Kafka request asks for API {key} in version {version}, which is not served")]
    UnknownApi { key: i16, version: i16 },
    #[error("a Kafka request {} is of version {version}, which is not served", .api.name())]
    ApiVersion { api: KafkaApi, version: i16 },
    #[error("a Kafka request {} of version {version} is damaged: {error}", .api.name())]
    BadRequest {
        api: KafkaApi,
        version: i16,
        #[source]
        error: ReadError,
    },
    #[error("a Kafka request {} makes no sense: {what}", .api.name())]
    Senseless { api: KafkaApi, what: String },
    #[error("the answer to a Kafka request {} cannot be written: {error}", .api.name())]
    Unanswerable {
        api: KafkaApi,
        #[source]
        error: WriteError,
    },
}

/// What happens to the replies that are not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Requests under way are carried out and answered first, within the drain time-out.
    Drain,
    /// As `Drain`, but reads are abandoned: they may be waiting for records for minutes.
    DrainWrites,
    /// What is ready is sent; the rest is abandoned.
    Flush,
    /// The peer takes nothing more.
    Abandon,
}

impl Close {
    pub(super) fn ending(&self) -> Ending {
        match self {
            // The peer may have closed only its sending half and still be reading.
            Self::PeerClosed => Ending::Drain,
            Self::Stopping => Ending::DrainWrites,
            Self::SocketFailed(_) | Self::SendTimedOut(_) | Self::HeldMemory(_) => Ending::Abandon,
            Self::Truncated { .. }
            | Self::BadFrame(_)
            | Self::NotARequest(_)
            | Self::HelloExpected { .. }
            | Self::HelloRefused(_)
            | Self::HelloTimedOut(_)
            | Self::FrameTimedOut(_)
            | Self::Idle(_)
            | Self::TooManyConnections { .. }
            | Self::UnansweredFailure(_)
            | Self::OtherProtocol(_)
            | Self::RequestLength { .. }
            | Self::RequestTooLong { .. }
            | Self::BadRequestHeader(_)
            | Self::UnknownApi { .. }
            | Self::ApiVersion { .. }
            | Self::BadRequest { .. }
            | Self::Senseless { .. }
            | Self::Unanswerable { .. } => Ending::Flush,
        }
    }

    /// The Error frame that precedes the close; `None` where nobody would read it.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let code = match self {
            Self::PeerClosed
            | Self::SocketFailed(_)
            | Self::Truncated { .. }
            | Self::SendTimedOut(_)
            | Self::HeldMemory(_)
            | Self::Idle(_)
            | Self::Stopping
            // Kafka's protocol has no last words.
            | Self::OtherProtocol(_)
            | Self::RequestLength { .. }
            | Self::RequestTooLong { .. }
            | Self::BadRequestHeader(_)
            | Self::UnknownApi { .. }
            | Self::ApiVersion { .. }
            | Self::BadRequest { .. }
            | Self::Senseless { .. }
            | Self::Unanswerable { .. } => return None,
            Self::HelloRefused(refusal) | Self::UnansweredFailure(refusal) => {
                return Some(refusal.clone());
            }
            Self::BadFrame(FrameError::Crc { .. }) => ErrorCode::CorruptMessage,
            Self::BadFrame(
                FrameError::MetadataTooLong { .. } | FrameError::PayloadTooLong { .. },
            ) => ErrorCode::MessageTooLarge,
            Self::BadFrame(FrameError::Version { .. }) => ErrorCode::UnsupportedVersion,
            Self::BadFrame(_) | Self::NotARequest(_) | Self::HelloExpected { .. } => {
                ErrorCode::InvalidRequest
            }
            Self::HelloTimedOut(_) | Self::FrameTimedOut(_) => ErrorCode::RequestTimedOut,
            Self::TooManyConnections { .. } => ErrorCode::ThrottlingQuotaExceeded,
        };
        Some(Refusal {
            code,
            message: Cow::Owned(self.to_string()),
        })
    }

    /// The `reason` under which `corelog_bad_frames_total` counts input that is no frame, or no
    /// frame that may stand where it stood.
    pub(super) fn bad_frame_reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::BadFrame(error) => match error {
                FrameError::Magic { .. } => "magic",
                FrameError::Version { .. } => "version",
                FrameError::Kind { .. } => "kind",
                FrameError::Flags { .. } => "flags",
                FrameError::MetadataBeyondFrame { .. } => "length",
                FrameError::MetadataTooLong { .. } | FrameError::PayloadTooLong { .. } => {
                    "too_long"
                }
                FrameError::Crc { .. } => "crc",
            },
            Self::NotARequest(_) => "not_a_request",
            Self::HelloExpected { .. } => "hello_expected",
            Self::Truncated { .. } => "truncated",
            Self::FrameTimedOut(_) => "timed_out",
            Self::OtherProtocol(_) => "other_protocol",
            Self::RequestLength { .. } => "length",
            Self::RequestTooLong { .. } => "too_long",
            Self::BadRequestHeader(_) => "header",
            Self::UnknownApi { .. } => "unknown_api",
            Self::ApiVersion { .. } => "api_version",
            Self::BadRequest { .. } => "damaged",
            Self::Senseless { .. } => "senseless",
            Self::Unanswerable { .. } => "unanswerable",
            _ => return None,
        })
    }

    /// The `reason` under which `corelog_connections_rejected_total` counts connections that
    /// never came to a request.
    pub(super) fn rejection_reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooManyConnections { .. } => "max_connections",
            Self::HelloTimedOut(_) => "hello_timed_out",
            Self::HelloRefused(_) => "hello_refused",
            _ => return None,
        })
    }

    /// Whether the peer's silence is the reason.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::HelloTimedOut(_)
                | Self::FrameTimedOut(_)
                | Self::SendTimedOut(_)
                | Self::HeldMemory(_)
                | Self::Idle(_)
        )
    }
}
