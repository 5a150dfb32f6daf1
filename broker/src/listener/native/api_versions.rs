//! ApiVersions: what this broker speaks.

use corelog_protocol::native::ApiKey;
use corelog_protocol::native::messages::{ApiVersion, ApiVersionsResponse};

/// The only version of the messages there is. Tables grow by fields; a new version means that
/// old fields change their meaning.
pub(super) const MESSAGE_VERSION: u16 = 1;

/// Name and version of this software.
const SOFTWARE: &str = concat!("corelog-broker/", env!("CARGO_PKG_VERSION"));

pub(super) fn answer() -> ApiVersionsResponse {
    ApiVersionsResponse {
        software: SOFTWARE.to_owned(),
        apis: ApiKey::ALL
            .iter()
            // Goodbye is the broker's own.
            .filter(|&&api| api != ApiKey::Goodbye)
            .map(|&api| ApiVersion {
                api: api.code(),
                min: MESSAGE_VERSION,
                max: MESSAGE_VERSION,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_that_a_client_may_ask_for_is_listed_once() {
        let listed: Vec<u16> = answer().apis.iter().map(|api| api.api).collect();
        assert_eq!(
            listed,
            [
                1, 2, 3, 4, 5, 6, 7, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37,
                38, 39,
            ]
        );
    }
}
