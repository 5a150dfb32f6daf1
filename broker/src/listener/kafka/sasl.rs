//! SaslHandshake and SaslAuthenticate: refused, as no mechanism is configured. Kafka answers so on a listener without SASL.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::call::{Answer, Call};
use crate::listener::close::Close;

pub(super) fn handshake(call: &Call) -> Result<Answer, Close> {
    let _: SaslHandshakeRequest<'_> = call.decode()?;
    Ok(call.reply(&SaslHandshakeResponse {
        error_code: call.code(ErrorCode::IllegalSaslState),
        mechanisms: Vec::new(),
    }))
}

pub(super) fn authenticate(call: &Call) -> Result<Answer, Close> {
    let _: SaslAuthenticateRequest<'_> = call.decode()?;
    Ok(call.reply(&SaslAuthenticateResponse {
        error_code: call.code(ErrorCode::IllegalSaslState),
        error_message: Some(
            "nobody authenticates here: connect without SASL (security.protocol=PLAINTEXT)",
        ),
        ..Default::default()
    }))
}
