//! What stands before every request and response.
//!
//! Before both stands the frame's length, four bytes, big-endian, which counts what follows. The source is Kafka's
//! protocol guide ("Request Header", "Response Header"); KIP-482 adds tagged fields to the headers of flexible versions.

use super::messages::KafkaApi;
use super::{ReadError, Reader, WriteError, Writer};

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// What is asked for; perhaps no [`KafkaApi`].
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// What the response is to carry.
    pub correlation_id: i32,
    /// `client.id`.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Reads a header, and returns it with what follows it.
    ///
    /// Of an API or a version that is not known, what stands behind the client id cannot be told.
    ///
    /// # Errors
    /// The bytes are no header.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ReadError> {
        let mut reader = Reader::new(bytes);
        let header = Self {
            api_key: reader.int16("request_api_key")?,
            api_version: reader.int16("request_api_version")?,
            correlation_id: reader.int32("correlation_id")?,
            // In the flexible header too it is a text with a fixed-width length.
            client_id: reader.nullable_text("client_id")?,
        };
        let api = KafkaApi::from_key(header.api_key);
        if api.is_some_and(|api| api.is_flexible(header.api_version)) {
            reader.set_flexible(true);
            reader.skip_tagged_fields()?;
        }
        Ok((header, &bytes[reader.position()..]))
    }

    /// Writes a header.
    ///
    /// # Errors
    /// The client id is too long.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.set_flexible(false);
        writer.int16(self.api_key);
        writer.int16(self.api_version);
        writer.int32(self.correlation_id);
        writer.nullable_string("client_id", self.client_id)?;
        let api = KafkaApi::from_key(self.api_key);
        writer.set_flexible(api.is_some_and(|api| api.is_flexible(self.api_version)));
        writer.tagged_fields(&[])
    }
}

/// Writes the header of a response.
///
/// That of `ApiVersions` never has tagged fields: a client that asks does not know yet what the broker can say (KIP-511).
pub fn encode_response_header(
    writer: &mut Writer,
    api: KafkaApi,
    version: i16,
    correlation_id: i32,
) {
    writer.int32(correlation_id);
    if api != KafkaApi::ApiVersions && api.is_flexible(version) {
        // No tagged fields.
        writer.unsigned_varint(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use bytes::{Buf, Bytes, BytesMut};
    use kafka_protocol::messages::{ApiKey, RequestHeader as Theirs, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    #[test]
    fn both_codecs_write_the_same_headers_for_every_version() {
        for api in KafkaApi::ALL.iter().copied() {
            let oracle = ApiKey::try_from(api.key()).unwrap();
            for version in api.versions() {
                for client_id in [None, Some("a-client")] {
                    let ours = RequestHeader {
                        api_key: api.key(),
                        api_version: version,
                        correlation_id: 77,
                        client_id,
                    };
                    let mut writer = Writer::new();
                    ours.encode(&mut writer).unwrap();
                    let bytes = writer.finish();
                    let mut theirs = BytesMut::new();
                    let their_version = oracle.request_header_version(version);
                    Theirs::decode(&mut bytes.clone(), their_version)
                        .unwrap()
                        .encode(&mut theirs, their_version)
                        .unwrap();
                    assert_eq!(theirs, bytes, "{api:?} {version}");
                    let behind = [&bytes[..], b"body"].concat();
                    let (header, body) = RequestHeader::decode(&behind).unwrap();
                    assert_eq!((header, body), (ours, &b"body"[..]));
                }
                let mut writer = Writer::new();
                encode_response_header(&mut writer, api, version, 77);
                let mut bytes: Bytes = writer.finish();
                let their_version = oracle.response_header_version(version);
                let theirs = ResponseHeader::decode(&mut bytes, their_version).unwrap();
                assert_eq!(theirs.correlation_id, 77);
                assert!(!bytes.has_remaining(), "{api:?} {version}");
            }
        }
    }

    #[test]
    fn the_header_of_an_unknown_api_can_be_read() {
        let bytes = [0, 99, 0, 3, 0, 0, 0, 5, 0, 1, b'x', 7, 7];
        let (header, rest) = RequestHeader::decode(&bytes).unwrap();
        assert_eq!((header.api_key, header.api_version), (99, 3));
        assert_eq!((header.correlation_id, header.client_id), (5, Some("x")));
        assert_eq!(rest, [7, 7]);
    }

    #[test]
    fn half_a_header_is_an_error() {
        let bytes = [0, 0, 0, 3, 0, 0, 0, 5, 0, 1, b'x'];
        for end in 0..bytes.len() {
            RequestHeader::decode(&bytes[..end]).unwrap_err();
        }
    }
}
