//! What the members write into subscriptions and assignments. The group never looks inside, so that
//! any bytes do: these are lines of text.

use bytes::Bytes;
use corelog_client::assignors::{PartitionCounts, Shares, Subscriber};
use corelog_client::assignors::{cooperative_sticky, range, round_robin, sticky};
use corelog_client::{PartitionIndex, TopicPartition};

use crate::group::classic::JoinedMember;

pub(super) fn assignor(protocol: &str) -> fn(&PartitionCounts, &[Subscriber]) -> Shares {
    match protocol {
        "range" => range,
        "roundrobin" => round_robin,
        "sticky" => sticky,
        "cooperative-sticky" => cooperative_sticky,
        other => panic!("nobody offers {other}"),
    }
}

/// Topics, then the generation, then the partitions owned.
pub(super) fn encode(subscriber: &Subscriber) -> Bytes {
    let generation = subscriber
        .generation
        .map_or(String::new(), |g| g.to_string());
    let owned = encode_partitions(&subscriber.owned);
    let owned = std::str::from_utf8(&owned).unwrap();
    format!("{}\n{generation}\n{owned}", subscriber.topics.join(",")).into()
}

pub(super) fn decode(member: &JoinedMember) -> Subscriber {
    let text = std::str::from_utf8(&member.metadata).unwrap();
    let mut lines = text.split('\n').map(str::to_owned);
    let [topics, generation, owned] = [(); 3].map(|()| lines.next().unwrap_or_default());
    Subscriber {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.clone(),
        topics: words(&topics).map(str::to_owned).collect(),
        owned: decode_partitions(owned.as_bytes()),
        generation: generation.parse().ok(),
    }
}

pub(super) fn encode_partitions(partitions: &[TopicPartition]) -> Bytes {
    let names = partitions.iter().map(TopicPartition::to_string);
    names.collect::<Vec<_>>().join(",").into()
}

pub(super) fn decode_partitions(bytes: &[u8]) -> Vec<TopicPartition> {
    let text = std::str::from_utf8(bytes).unwrap();
    let partition = |word: &str| {
        let (topic, index) = word.rsplit_once('-').unwrap();
        TopicPartition::new(topic, PartitionIndex::new(index.parse().unwrap()))
    };
    words(text).map(partition).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|word| !word.is_empty())
}
