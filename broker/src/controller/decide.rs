//! What a command changes: records and answers out of an image and a command. Pure.

mod add_partitions;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use corelog_protocol::{BrokerId, ErrorCode, LeaderEpoch, ProducerId, TopicId};

use super::command::{
    AlterTopic, Command, CreatedTopic, DeletedTopic, NewTopic, Outcome, ProducerIdBlock,
    TopicError, TopicSelector,
};
use super::topic_name::{check_name, collision_key, may_collide};
use crate::config::{BrokerConfig, TopicConfig, TopicConfigError};
use crate::metadata::{MetadataImage, MetadataRecord, PartitionImage, TopicImage, is_internal};

/// The bounds that the broker's configuration sets.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Partitions of a topic that does not say how many.
    pub num_partitions: u32,
    pub topic_partitions_max: u32,
    pub partitions_max: u32,
}

impl From<&BrokerConfig> for Rules {
    fn from(config: &BrokerConfig) -> Self {
        Self {
            num_partitions: config.num_partitions,
            topic_partitions_max: config.topic_partitions_max,
            partitions_max: config.partitions_max,
        }
    }
}

/// What is to be made durable, and the answer once it is.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    pub records: Vec<MetadataRecord>,
    pub outcome: Outcome,
}

/// Decides about `command` on top of `image`. `new_id` draws the id of a new topic.
pub fn decide(
    rules: &Rules,
    image: &MetadataImage,
    command: &Command,
    new_id: &mut dyn FnMut() -> TopicId,
) -> Decision {
    match command {
        Command::CreateTopics {
            topics,
            validate_only,
        } => {
            let mut creation = Creation::new(rules, image, topics);
            let outcomes = topics
                .iter()
                .map(|topic| creation.create(topic, *validate_only, new_id))
                .collect();
            Decision {
                records: creation.records,
                outcome: Outcome::CreateTopics(outcomes),
            }
        }
        Command::DeleteTopics { topics } => delete_topics(image, topics),
        Command::AlterTopicConfigs {
            topics,
            validate_only,
        } => alter_topic_configs(image, topics, *validate_only),
        Command::CreatePartitions {
            topics,
            validate_only,
        } => add_partitions::add_partitions(rules, image, topics, *validate_only),
        Command::ForgetDeletedTopics { through_offset } => Decision {
            records: match image.deleted_topic_ids().next() {
                Some(_) => vec![MetadataRecord::DeletedTopicsForgotten {
                    through_offset: *through_offset,
                }],
                None => Vec::new(),
            },
            outcome: Outcome::DeletedTopicsForgotten,
        },
        Command::AllocateProducerIds => allocate_producer_ids(image),
    }
}

fn allocate_producer_ids(image: &MetadataImage) -> Decision {
    let first = image.next_producer_id;
    let next = first.get().checked_add(i64::from(ProducerIdBlock::IDS));
    let next = next.map(ProducerId::new);
    let allocated = next.map(|next| MetadataRecord::ProducerIdsAllocated { next });
    Decision {
        records: allocated.into_iter().collect(),
        outcome: Outcome::AllocateProducerIds(next.map(|_| ProducerIdBlock {
            first,
            left: ProducerIdBlock::IDS,
        })),
    }
}

/// The topics that one command creates, checked against the image and against each other.
struct Creation<'a> {
    rules: &'a Rules,
    image: &'a MetadataImage,
    named_twice: HashSet<&'a str>,
    /// Names that can collide, by what they look like to metric systems.
    collisions: HashMap<String, String>,
    partitions: usize,
    records: Vec<MetadataRecord>,
}

impl<'a> Creation<'a> {
    fn new(rules: &'a Rules, image: &'a MetadataImage, topics: &'a [NewTopic]) -> Self {
        let collisions = image
            .topics()
            .filter(|topic| may_collide(&topic.name))
            .map(|topic| (collision_key(&topic.name), topic.name.to_string()))
            .collect();
        Self {
            rules,
            image,
            named_twice: repeated(topics.iter().map(|topic| topic.name.as_str())),
            collisions,
            partitions: held_partitions(image),
            records: Vec::new(),
        }
    }

    fn create(
        &mut self,
        topic: &NewTopic,
        validate_only: bool,
        new_id: &mut dyn FnMut() -> TopicId,
    ) -> Result<CreatedTopic, TopicError> {
        let refuse = |code, message| Err(TopicError::named(&topic.name, code, message));
        if self.named_twice.contains(topic.name.as_str()) {
            return Err(named_twice(&topic.name));
        }
        if let Err(message) = check_name(&topic.name) {
            return refuse(ErrorCode::InvalidTopicException, message);
        }
        if self.image.topic(&topic.name).is_some() {
            return refuse(
                ErrorCode::TopicAlreadyExists,
                format!("topic `{}` exists", topic.name),
            );
        }
        if let Some(other) = self.collisions.get(&collision_key(&topic.name)) {
            return refuse(
                ErrorCode::InvalidTopicException,
                format!(
                    "topic `{}` collides with topic `{other}`: metrics do not tell `.` from `_`",
                    topic.name
                ),
            );
        }
        let partitions = self.partition_count(topic)?;
        let replication_factor = topic.replication_factor.unwrap_or(1);
        check_replication_factor(self.image, &topic.name, replication_factor)?;
        let configs = explicit_configs(&topic.name, &topic.configs)?;
        let in_force = self.image.topic_defaults();
        check_agreement(&topic.name, in_force, &configs, |_| true)?;

        if may_collide(&topic.name) {
            self.collisions
                .insert(collision_key(&topic.name), topic.name.clone());
        }
        self.partitions += partitions as usize;
        let mut created = CreatedTopic {
            name: topic.name.clone(),
            id: TopicId::ZERO,
            partitions,
            replication_factor,
            configs: in_force.describe(&configs),
        };
        if !validate_only {
            created.id = new_id();
            self.records.push(MetadataRecord::TopicCreated {
                id: created.id,
                name: topic.name.clone(),
                internal: is_internal(&topic.name),
                configs,
                partitions: place(self.image, 0..partitions, replication_factor),
            });
        }
        Ok(created)
    }

    fn partition_count(&self, topic: &NewTopic) -> Result<i32, TopicError> {
        let wanted = topic
            .partitions
            .map_or(i64::from(self.rules.num_partitions), i64::from);
        check_topic_bound(self.rules, &topic.name, wanted)?;
        check_cluster_bound(self.rules, &topic.name, self.partitions, wanted)?;
        Ok(wanted as i32)
    }
}

/// The partitions of all topics.
fn held_partitions(image: &MetadataImage) -> usize {
    image.topics().map(|topic| topic.partitions.len()).sum()
}

/// Refuses a number of partitions that no topic may have.
fn check_topic_bound(rules: &Rules, topic: &str, wanted: i64) -> Result<(), TopicError> {
    let most = rules.topic_partitions_max;
    if (1..=i64::from(most)).contains(&wanted) {
        return Ok(());
    }
    Err(TopicError::named(
        topic,
        ErrorCode::InvalidPartitions,
        format!("a topic has 1 to {most} partitions, not {wanted}"),
    ))
}

/// Refuses partitions for which a cluster that holds `held` has no room.
fn check_cluster_bound(
    rules: &Rules,
    topic: &str,
    held: usize,
    added: i64,
) -> Result<(), TopicError> {
    let most = rules.partitions_max;
    if held as i64 + added <= i64::from(most) {
        return Ok(());
    }
    Err(TopicError::named(
        topic,
        ErrorCode::PolicyViolation,
        format!(
            "{added} partitions more would exceed `partitions.max` ({most}): the cluster holds \
             {held}"
        ),
    ))
}

fn check_replication_factor(
    image: &MetadataImage,
    topic: &str,
    wanted: i16,
) -> Result<(), TopicError> {
    let live = image.brokers.len();
    if wanted >= 1 && wanted as usize <= live {
        return Ok(());
    }
    let ids: Vec<String> = image.brokers.keys().map(BrokerId::to_string).collect();
    let message = if wanted < 1 {
        format!("the replication factor must be at least 1, not {wanted}")
    } else {
        format!(
            "replication factor {wanted} needs as many brokers; live is {live}: {}",
            ids.join(", ")
        )
    };
    Err(TopicError::named(
        topic,
        ErrorCode::InvalidReplicationFactor,
        message,
    ))
}

/// Leaders go round the brokers; the other replicas follow the leader in the same circle.
fn place(
    image: &MetadataImage,
    partitions: Range<i32>,
    replication_factor: i16,
) -> Vec<PartitionImage> {
    let brokers: Vec<BrokerId> = image.brokers.keys().copied().collect();
    let circle = |start: i32| brokers.iter().cycle().skip(start as usize % brokers.len());
    partitions
        .map(|partition| {
            let replicas: Vec<BrokerId> = circle(partition)
                .take(replication_factor as usize)
                .copied()
                .collect();
            PartitionImage {
                leader: replicas.first().copied(),
                leader_epoch: LeaderEpoch::ZERO,
                in_sync_replicas: replicas.clone(),
                replicas,
                partition_epoch: 0,
            }
        })
        .collect()
}

fn delete_topics(image: &MetadataImage, selectors: &[TopicSelector]) -> Decision {
    let mut records = Vec::new();
    let mut chosen = HashSet::new();
    let outcomes = selectors
        .iter()
        .map(|selector| {
            let topic = find(image, selector)?;
            if topic.internal {
                return Err(TopicError::named(
                    &topic.name,
                    ErrorCode::InvalidTopicException,
                    format!(
                        "topic `{}` is the cluster's own and stays: delete groups or their offsets \
                         instead",
                        topic.name
                    ),
                ));
            }
            if !chosen.insert(topic.id) {
                return Err(named_twice(&topic.name));
            }
            records.push(MetadataRecord::TopicDeleted { id: topic.id });
            Ok(DeletedTopic {
                name: topic.name.to_string(),
                id: topic.id,
            })
        })
        .collect();
    Decision {
        records,
        outcome: Outcome::DeleteTopics(outcomes),
    }
}

fn alter_topic_configs(
    image: &MetadataImage,
    topics: &[AlterTopic],
    validate_only: bool,
) -> Decision {
    let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
    let mut records = Vec::new();
    let outcomes = topics
        .iter()
        .map(|alter| {
            if repeated.contains(alter.name.as_str()) {
                return Err(named_twice(&alter.name));
            }
            let topic = find(image, &TopicSelector::Name(alter.name.clone()))?;
            check_internal(topic, alter)?;
            let configs = altered_configs(image.topic_defaults(), topic, alter)?;
            if !validate_only && configs != topic.configs {
                records.push(MetadataRecord::TopicConfigChanged {
                    id: topic.id,
                    configs,
                });
            }
            Ok(alter.name.clone())
        })
        .collect();
    Decision {
        records,
        outcome: Outcome::AlterTopicConfigs(outcomes),
    }
}

/// What the cluster itself keeps in a topic goes by keys, and must fit.
fn check_internal(topic: &TopicImage, alter: &AlterTopic) -> Result<(), TopicError> {
    const FIXED: [&str; 2] = ["cleanup.policy", "max.message.bytes"];
    let mut names = alter.changes.iter().map(|change| change.name.as_str());
    match names.find(|name| FIXED.contains(name)) {
        Some(name) if topic.internal => Err(TopicError::named(
            &topic.name,
            ErrorCode::InvalidTopicException,
            format!(
                "{name} of topic `{}` stays as it is: the topic is the cluster's own",
                topic.name
            ),
        )),
        _ => Ok(()),
    }
}

fn altered_configs(
    defaults: &TopicConfig,
    topic: &TopicImage,
    alter: &AlterTopic,
) -> Result<BTreeMap<String, String>, TopicError> {
    let mut configs = topic.configs.clone();
    let mut changed = HashSet::new();
    for change in &alter.changes {
        if !changed.insert(change.name.as_str()) {
            return Err(set_twice(&alter.name, &change.name));
        }
        match &change.value {
            Some(value) => {
                let value = canonical(&alter.name, &change.name, value)?;
                configs.insert(change.name.clone(), value);
            }
            // A setting that this version does not know may still be taken away.
            None => match configs.remove(&change.name) {
                Some(_) => {}
                None if TopicConfig::key(&change.name).is_some() => {}
                None => {
                    let error = TopicConfigError::UnknownKey {
                        key: change.name.clone(),
                    };
                    return Err(invalid_config(&alter.name, &error));
                }
            },
        }
    }
    check_agreement(&alter.name, defaults, &configs, |key| changed.contains(key))?;
    Ok(configs)
}

/// Refuses settings that exclude each other, where the command changed one of them.
fn check_agreement(
    topic: &str,
    defaults: &TopicConfig,
    configs: &BTreeMap<String, String>,
    changed: impl Fn(&str) -> bool,
) -> Result<(), TopicError> {
    // A setting that this version does not know contradicts nothing.
    let mut known = configs.clone();
    known.retain(|name, _| TopicConfig::key(name).is_some());
    defaults
        .with_explicit(&known)
        .map_err(|error| invalid_config(topic, &error))?
        .check_agreement(&known, changed)
        .map_err(|contradiction| invalid_config(topic, &contradiction))
}

fn explicit_configs(
    topic: &str,
    configs: &[(String, String)],
) -> Result<BTreeMap<String, String>, TopicError> {
    let mut explicit = BTreeMap::new();
    for (name, value) in configs {
        let value = canonical(topic, name, value)?;
        if explicit.insert(name.clone(), value).is_some() {
            return Err(set_twice(topic, name));
        }
    }
    Ok(explicit)
}

fn canonical(topic: &str, name: &str, value: &str) -> Result<String, TopicError> {
    TopicConfig::canonical(name, value).map_err(|error| invalid_config(topic, &error))
}

fn invalid_config(topic: &str, error: &dyn std::error::Error) -> TopicError {
    TopicError::named(topic, ErrorCode::InvalidConfig, error.to_string())
}

fn set_twice(topic: &str, name: &str) -> TopicError {
    TopicError::named(
        topic,
        ErrorCode::InvalidConfig,
        format!("the request sets `{name}` twice"),
    )
}

fn find<'a>(
    image: &'a MetadataImage,
    selector: &TopicSelector,
) -> Result<&'a TopicImage, TopicError> {
    let found = match selector {
        TopicSelector::Name(name) => image.topic(name),
        TopicSelector::Id(id) => image.topic_by_id(*id),
    };
    let missing = || match selector {
        TopicSelector::Name(name) => TopicError::named(
            name,
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic `{name}`"),
        ),
        TopicSelector::Id(id) => TopicError {
            name: None,
            id: Some(*id),
            code: ErrorCode::UnknownTopicId,
            message: format!("there is no topic with the id {id}"),
        },
    };
    found.map(|topic| &**topic).ok_or_else(missing)
}

fn named_twice(topic: &str) -> TopicError {
    TopicError::named(
        topic,
        ErrorCode::InvalidRequest,
        format!("the request names topic `{topic}` twice"),
    )
}

/// The names that occur more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

#[cfg(test)]
mod tests;
