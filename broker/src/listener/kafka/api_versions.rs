//! ApiVersions.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::KafkaApi;
use corelog_protocol::kafka::messages::api_versions::ApiVersion;
use corelog_protocol::kafka::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::call::{Answer, Call};
use super::versions;
use crate::listener::close::Close;

pub(super) fn answer(call: &Call) -> Result<Answer, Close> {
    let api_keys = KafkaApi::ALL.iter().filter_map(|api| {
        let versions = versions::advertised(*api)?;
        Some(ApiVersion {
            api_key: api.key(),
            min_version: *versions.start(),
            max_version: *versions.end(),
        })
    });
    let mut response = ApiVersionsResponse {
        api_keys: api_keys.collect(),
        ..Default::default()
    };
    if !KafkaApi::ApiVersions.versions().contains(&call.version) {
        // KIP-511: in the version that every client can read, so that it can ask again.
        response.error_code = call.code(ErrorCode::UnsupportedVersion);
        return Ok(call.reply_in(0, &response, Vec::new()));
    }
    let request: ApiVersionsRequest<'_> = call.decode()?;
    if call.version >= 3
        && !(is_a_name(request.client_software_name) && is_a_name(request.client_software_version))
    {
        response.api_keys.clear();
        response.error_code = call.code(ErrorCode::InvalidRequest);
    }
    Ok(call.reply(&response))
}

/// KIP-511: `[a-zA-Z0-9](?:[a-zA-Z0-9\\-.]*[a-zA-Z0-9])?`
fn is_a_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_plain)
        && text.ends_with(is_plain)
        && text.chars().all(|c| is_plain(c) || c == '-' || c == '.')
}
