//! More partitions for topics that exist.

use corelog_protocol::{ErrorCode, PartitionIndex};

use super::{
    Decision, Rules, check_cluster_bound, check_replication_factor, check_topic_bound, find,
    held_partitions, named_twice, place, repeated,
};
use crate::controller::command::{MorePartitions, Outcome, TopicError, TopicSelector};
use crate::metadata::{MetadataImage, MetadataRecord, TopicImage};

pub(super) fn add_partitions(
    rules: &Rules,
    image: &MetadataImage,
    topics: &[MorePartitions],
    validate_only: bool,
) -> Decision {
    let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
    let mut held = held_partitions(image);
    let mut records = Vec::new();
    let outcomes = topics
        .iter()
        .map(|more| {
            if repeated.contains(more.name.as_str()) {
                return Err(named_twice(&more.name));
            }
            let topic = find(image, &TopicSelector::Name(more.name.clone()))?;
            let record = addition(rules, image, held, topic, more.count)?;
            held += more.count as usize - topic.partitions.len();
            if !validate_only {
                records.push(record);
            }
            Ok(more.name.clone())
        })
        .collect();
    Decision {
        records,
        outcome: Outcome::CreatePartitions(outcomes),
    }
}

/// Brings `topic` to `count` partitions, in a cluster that holds `held`.
fn addition(
    rules: &Rules,
    image: &MetadataImage,
    held: usize,
    topic: &TopicImage,
    count: i32,
) -> Result<MetadataRecord, TopicError> {
    let refuse = |message| {
        Err(TopicError::named(
            &topic.name,
            ErrorCode::InvalidPartitions,
            message,
        ))
    };
    // A group's offsets are found by its name and this number. Kafka's tool refuses it, its broker
    // does not, and groups lose their offsets.
    if topic.internal {
        return refuse(format!(
            "topic `{}` is the cluster's own: what it holds is found by the number of its \
             partitions, which does not change",
            topic.name
        ));
    }
    let now = topic.partitions.len() as i32;
    if count <= now {
        return refuse(format!(
            "topic `{}` has {now} partitions, {count} would not be more: partitions are added and \
             never taken away",
            topic.name
        ));
    }
    check_topic_bound(rules, &topic.name, count.into())?;
    check_cluster_bound(rules, &topic.name, held, (count - now).into())?;
    let replicas = topic
        .partitions
        .first()
        .map_or(1, |first| first.replicas.len());
    let replication_factor = i16::try_from(replicas).unwrap_or(i16::MAX);
    check_replication_factor(image, &topic.name, replication_factor)?;
    Ok(MetadataRecord::PartitionsAdded {
        id: topic.id,
        first: PartitionIndex::new(now),
        partitions: place(image, now..count, replication_factor),
    })
}
