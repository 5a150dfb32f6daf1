//! The coordinators of groups: pure, synchronous state machines.
//!
//! A group belongs to the core that owns its partition of `__consumer_offsets`. Its machine takes
//! commands and the time, and returns records and a reply; the shard appends the records and
//! releases the reply once they are durable. The machine has one state, which is what it decided:
//! the same `apply` that rebuilds it from the log puts each of its own decisions into effect. What
//! is not in a record (deadlines, mostly) is soft and starts afresh after a move.
//!
//! Nothing here knows sockets, byte formats or logs.

pub mod classic;
pub mod consumer;
pub mod coordinator;

use std::fmt;
use std::sync::Arc;

/// The longest id of a group or member, in bytes. Kafka allows 32,767; with so many, what is decided about the
/// thousand members of one group would not fit a batch.
pub const ID_BYTES_MAX: usize = 1024;

/// An id that no record could hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an id has at most {ID_BYTES_MAX} bytes, not {length}")]
pub struct IdTooLong {
    pub length: usize,
}

/// Defines the id of a group or member: text of a bounded length, cheap to clone.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps an id that the caller knows to be short enough. What a socket or a disk
            /// brings goes through `TryFrom` instead.
            ///
            /// # Panics
            /// If the id is longer than [`ID_BYTES_MAX`].
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                let id = id.into();
                assert!(id.len() <= ID_BYTES_MAX, "an id is short");
                Self(id)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdTooLong;

            fn try_from(id: &str) -> Result<Self, IdTooLong> {
                match id.len() {
                    0..=ID_BYTES_MAX => Ok(Self(Arc::from(id))),
                    length => Err(IdTooLong { length }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id! {
    /// The name of a group, as its members give it.
    GroupId
}

id! {
    /// The id of a member. In the consumer protocol the client draws it; in the classic protocol
    /// the coordinator does.
    MemberId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_no_record_could_hold_is_refused() {
        let longest = "g".repeat(ID_BYTES_MAX);
        assert_eq!(
            GroupId::try_from(longest.as_str()).map(|id| id.as_str().len()),
            Ok(ID_BYTES_MAX)
        );
        let length = ID_BYTES_MAX + 1;
        assert_eq!(
            MemberId::try_from("m".repeat(length).as_str()),
            Err(IdTooLong { length })
        );
    }
}
