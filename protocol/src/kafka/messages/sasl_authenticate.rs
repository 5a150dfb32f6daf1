//! SaslAuthenticate.

use crate::kafka::message::{fields, message};

message! {
    SaslAuthenticateRequest<'a>, 0..=2, flexible from 2;
    pub struct SaslAuthenticateRequest<'a> {
        auth_bytes: &'a [u8] [0..];
    }
}

message! {
    SaslAuthenticateResponse<'a>, 0..=2, flexible from 2;
    pub struct SaslAuthenticateResponse<'a> {
        error_code: i16 [0..];
        error_message: Option<&'a str> [0..];
        auth_bytes: &'a [u8] [0..];
        session_lifetime_ms: i64 [1..];
    }
}
