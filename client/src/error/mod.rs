//! One error type per operation. Each says what was asked, of whom, and what came back; `is_retriable` says whether the
//! same call can succeed later without a change by the caller.

mod admin;
mod connect;
mod connection;
mod consume;
mod group;
mod produce;

use std::fmt;

use corelog_protocol::ErrorCode;

pub use admin::AdminError;
pub use connect::{ConfigError, ConnectError};
pub use connection::{ConnectionError, RequestError};
pub use consume::ConsumeError;
pub use group::GroupError;
pub use produce::ProduceError;

/// Joins the broker's words with the code's own sentence where the broker said nothing.
pub(crate) fn words(code: ErrorCode, message: Option<impl fmt::Display>) -> String {
    match message {
        Some(message) => message.to_string(),
        None => code.message().to_owned(),
    }
}
