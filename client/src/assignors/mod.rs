//! How a group shares its partitions, as the leader of a classic group computes it.
//!
//! In the classic protocol the broker only passes assignments on; one of the members, the leader,
//! computes them from what all have subscribed to. These are the strategies of Kafka's own client
//! (`partition.assignment.strategy`), with its results, so that members of both can share a group.
//! Members of the newer consumer protocol (KIP-848) leave the work to the broker.
//!
//! | function | name in Kafka | gives |
//! |---|---|---|
//! | [`range()`] | `range` | of each topic, neighbours to each member; equal indexes of several topics together |
//! | [`round_robin()`] | `roundrobin` | all partitions in turn, as one cuts a pack of cards |
//! | [`sticky()`] | `sticky` | the fairest shares, with as few moves as that allows |
//! | [`cooperative_sticky()`] | `cooperative-sticky` | the same, but what moves is given up first and handed over a round later |
//!
//! ```
//! use corelog_client::assignors::{Subscriber, range};
//! use corelog_client::{PartitionIndex, TopicPartition};
//!
//! let topics = [("orders".to_owned(), 3)].into();
//! let members = ["a", "b"].map(|id| Subscriber::new(id, ["orders"]));
//!
//! let shares = range(&topics, &members);
//! let orders = |index| TopicPartition::new("orders", PartitionIndex::new(index));
//! assert_eq!(shares["a"], [orders(0), orders(1)]);
//! assert_eq!(shares["b"], [orders(2)]);
//! ```
//!
//! Each partition of each topic that somebody subscribed to goes to exactly one member that did,
//! but for those that [`cooperative_sticky`] holds back. Racks are not considered.

mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use corelog_protocol::PartitionIndex;

use crate::record::TopicPartition;

pub use range::range;
pub use round_robin::round_robin;
pub use sticky::{cooperative_sticky, sticky};

/// Topics that exist, and how many partitions each has.
pub type PartitionCounts = BTreeMap<String, i32>;

/// What each member is given, by its id. Members that get nothing are listed too.
pub type Shares = BTreeMap<String, Vec<TopicPartition>>;

/// A member of the group, as its leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriber {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// `group.instance.id`, if it has one.
    pub instance_id: Option<String>,
    /// What it subscribed to. Topics that do not exist are passed over.
    pub topics: Vec<String>,
    /// What it says it owns, or had in the last generation it was part of.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it was given that. A claim from a later generation is the better one.
    pub generation: Option<i32>,
}

impl Subscriber {
    /// A member that owns nothing yet.
    pub fn new<T: Into<String>>(
        member_id: impl Into<String>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            member_id: member_id.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    fn subscribes(&self, topic: &str) -> bool {
        self.topics.iter().any(|subscribed| subscribed == topic)
    }
}

/// The members in the order in which Kafka deals: static ones first, by instance id, so that a
/// restart under a new member id changes nothing.
fn in_dealing_order(members: &[Subscriber]) -> Vec<&Subscriber> {
    let mut sorted: Vec<&Subscriber> = members.iter().collect();
    sorted.sort_by_key(|member| {
        let instance_id = member.instance_id.as_deref();
        (instance_id.is_none(), instance_id, &member.member_id)
    });
    sorted
}

fn empty_shares(members: &[Subscriber]) -> Shares {
    let ids = members.iter().map(|member| member.member_id.clone());
    ids.map(|id| (id, Vec::new())).collect()
}

fn partitions(topic: &str, count: i32) -> impl Iterator<Item = TopicPartition> {
    let topic: std::sync::Arc<str> = topic.into();
    (0..count).map(move |index| TopicPartition::new(topic.clone(), PartitionIndex::new(index)))
}
