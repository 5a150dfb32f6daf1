//! SaslHandshake.

use crate::kafka::message::{fields, message};

message! {
    SaslHandshakeRequest<'a>, 0..=1, flexible from 2;
    pub struct SaslHandshakeRequest<'a> {
        mechanism: &'a str [0..];
    }
}

message! {
    SaslHandshakeResponse<'a>, 0..=1, flexible from 2;
    pub struct SaslHandshakeResponse<'a> {
        error_code: i16 [0..];
        mechanisms: Vec<&'a str> [0..];
    }
}
