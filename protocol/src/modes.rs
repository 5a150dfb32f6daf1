//! The choices that requests and topics make: acknowledgement, durability, isolation,
//! compression and the kind of timestamp.

use std::fmt;
use std::str::FromStr;

/// A text names none of the values of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no {what}; expected {expected}")]
pub struct UnknownName {
    /// What was being read.
    pub what: &'static str,
    /// The text found, cut to 64 characters.
    pub found: String,
    /// The names that would do.
    pub expected: &'static str,
}

impl UnknownName {
    fn new(what: &'static str, found: &str, expected: &'static str) -> Self {
        Self {
            what,
            found: found.chars().take(64).collect(),
            expected,
        }
    }
}

/// Defines a fieldless enum whose values have a wire id and a name.
macro_rules! named_enum {
    (
        $(#[$doc:meta])* $name:ident($int:ty, $what:literal, $expected:literal) {
            $($(#[$variant_doc:meta])* $variant:ident = $id:literal, $text:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, in order of its wire id.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[inline]
            pub const fn id(self) -> $int {
                match self {
                    $(Self::$variant => $id,)*
                }
            }

            /// The value with this number on the wire.
            #[inline]
            pub const fn from_id(id: $int) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name in configuration and output.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownName::new($what, text, $expected)),
                }
            }
        }
    };
}

named_enum! {
    /// When a produce request is answered.
    Acks(i8, "acks value", "0, 1 or all") {
        /// Every in-sync replica holds the records at the topic's durability.
        All = -1, "all";
        /// Never: the request has no reply.
        None = 0, "0";
        /// The leader holds the records at the topic's durability.
        Leader = 1, "1";
    }
}

named_enum! {
    /// What an acknowledgement of the leader promises.
    #[derive(Default)]
    Durability(u8, "durability", "memory, written or sync") {
        /// The records are in the leader's memory.
        Memory = 0, "memory";
        /// The write completed: the records survive the death of the process.
        Written = 1, "written";
        /// The flush completed: the records survive a loss of power.
        #[default]
        Sync = 2, "sync";
    }
}

named_enum! {
    /// Which records a reader sees.
    #[derive(Default)]
    IsolationLevel(u8, "isolation level", "read_uncommitted or read_committed") {
        /// Everything below the high watermark.
        #[default]
        ReadUncommitted = 0, "read_uncommitted";
        /// Everything below the last stable offset, without aborted transactions.
        ReadCommitted = 1, "read_committed";
    }
}

named_enum! {
    /// The codec of a record batch: bits 0–2 of its attributes.
    #[derive(Default)]
    Compression(u8, "compression type", "none, gzip, snappy, lz4 or zstd") {
        /// Records as they are.
        #[default]
        None = 0, "none";
        /// RFC 1952.
        Gzip = 1, "gzip";
        /// Snappy blocks in the framing of xerial's snappy-java.
        Snappy = 2, "snappy";
        /// The LZ4 frame format.
        Lz4 = 3, "lz4";
        /// RFC 8878.
        Zstd = 4, "zstd";
    }
}

named_enum! {
    /// Who set the timestamps of a batch: bit 3 of its attributes.
    #[derive(Default)]
    TimestampType(u8, "timestamp type", "CreateTime or LogAppendTime") {
        /// The producer, record by record.
        #[default]
        CreateTime = 0, "CreateTime";
        /// The leader, once for the batch, when it appended it.
        LogAppendTime = 1, "LogAppendTime";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_round_trip() {
        for &acks in Acks::ALL {
            assert_eq!(Acks::from_id(acks.id()), Some(acks));
            assert_eq!(acks.name().parse(), Ok(acks));
        }
        for &durability in Durability::ALL {
            assert_eq!(Durability::from_id(durability.id()), Some(durability));
            assert_eq!(durability.name().parse(), Ok(durability));
        }
        for &compression in Compression::ALL {
            assert_eq!(Compression::from_id(compression.id()), Some(compression));
            assert_eq!(compression.name().parse(), Ok(compression));
        }
    }

    #[test]
    fn stronger_durability_compares_greater() {
        assert!(Durability::Sync > Durability::Written);
        assert!(Durability::Written > Durability::Memory);
    }

    #[test]
    fn an_unknown_name_says_what_would_do() {
        let refused = "brotli".parse::<Compression>().expect_err("unknown");
        assert_eq!(
            refused.to_string(),
            "\"brotli\" is no compression type; expected none, gzip, snappy, lz4 or zstd"
        );
        assert_eq!(Compression::from_id(5), None);
    }
}
