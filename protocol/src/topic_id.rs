//! The id of a topic.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The identity of a topic, which survives deletion and re-creation under the same name.
///
/// Written as Kafka writes it: the 16 bytes in base64url without padding, 22 characters
/// (`org.apache.kafka.common.Uuid`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(Uuid);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 16 bytes in groups of 6 bits: 21 full characters and one that holds the last 2 bits.
const TEXT_LENGTH: usize = 22;

impl TopicId {
    /// The id that names no topic.
    pub const ZERO: Self = Self(Uuid::nil());

    /// A new random id (UUID version 4), never one whose text starts with `-`: such a text would
    /// be taken for an option on a command line. Kafka has the same rule.
    pub fn random() -> Self {
        loop {
            let id = Self(Uuid::new_v4());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Wraps a UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Reads the 16 bytes of a UUID, most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the UUID, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The UUID itself.
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// True for [`TopicId::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.0.is_nil()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(*self.as_bytes());
        let mut text = [0u8; TEXT_LENGTH];
        for (i, character) in text.iter_mut().enumerate() {
            // The last character carries 2 bits, followed by 4 zero bits.
            let six = if i < TEXT_LENGTH - 1 {
                value >> (128 - 6 * (i + 1))
            } else {
                value << 4
            };
            *character = ALPHABET[(six & 0x3f) as usize];
        }
        f.write_str(str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A text is not a topic id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTopicIdError {
    /// The text is too short or too long.
    #[error("a topic id has {TEXT_LENGTH} characters, found {found} bytes")]
    Length {
        /// Bytes in the text.
        found: usize,
    },
    /// A byte is not in base64url's alphabet.
    #[error("byte {byte:#04x} at position {position} is not base64url")]
    Alphabet {
        /// Where the byte stands.
        position: usize,
        /// The byte.
        byte: u8,
    },
    /// The bits of the last character that belong to no byte are not zero.
    #[error("the last character of a topic id carries bits beyond its 16 bytes")]
    TrailingBits,
}

impl FromStr for TopicId {
    type Err = ParseTopicIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.as_bytes();
        if text.len() != TEXT_LENGTH {
            return Err(ParseTopicIdError::Length { found: text.len() });
        }
        let mut value = 0u128;
        for (position, &byte) in text.iter().enumerate() {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return Err(ParseTopicIdError::Alphabet { position, byte }),
            };
            if position < TEXT_LENGTH - 1 {
                value = (value << 6) | u128::from(six);
            } else {
                if six & 0x0f != 0 {
                    return Err(ParseTopicIdError::TrailingBits);
                }
                value = (value << 2) | u128::from(six >> 4);
            }
        }
        Ok(Self::from_bytes(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_one_read_as_in_kafka() {
        // org.apache.kafka.common.Uuid: ZERO_UUID and METADATA_TOPIC_ID.
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        let one = TopicId::from_uuid(Uuid::from_u128(1));
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(one));
    }

    #[test]
    fn text_round_trips() {
        for _ in 0..200 {
            let id = TopicId::random();
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(!id.to_string().starts_with('-'));
        }
        let full = TopicId::from_bytes([0xff; 16]);
        assert_eq!(full.to_string(), "_____________________w");
        assert_eq!(full.to_string().parse(), Ok(full));
    }

    #[test]
    fn bad_text_is_refused_with_its_place() {
        assert_eq!(
            "abc".parse::<TopicId>(),
            Err(ParseTopicIdError::Length { found: 3 })
        );
        assert_eq!(
            "AAAA=AAAAAAAAAAAAAAAAA".parse::<TopicId>(),
            Err(ParseTopicIdError::Alphabet {
                position: 4,
                byte: b'='
            })
        );
        assert_eq!(
            "AAAAAAAAAAAAAAAAAAAAAB".parse::<TopicId>(),
            Err(ParseTopicIdError::TrailingBits)
        );
    }
}
