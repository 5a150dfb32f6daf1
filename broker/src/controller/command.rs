use corelog_protocol::{ErrorCode, ProducerId, TopicId};

use crate::config::ConfigDescription;

/// What the controller can be asked to change. Both dialects translate into this.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    CreateTopics {
        topics: Vec<NewTopic>,
        /// Only check, and say what would be created.
        validate_only: bool,
    },
    DeleteTopics {
        topics: Vec<TopicSelector>,
    },
    AlterTopicConfigs {
        topics: Vec<AlterTopic>,
        validate_only: bool,
    },
    CreatePartitions {
        topics: Vec<MorePartitions>,
        validate_only: bool,
    },
    /// No journal names the topics deleted at or below this metadata offset any more.
    ForgetDeletedTopics {
        through_offset: i64,
    },
    /// A block of producer ids that nobody else is given.
    AllocateProducerIds,
}

/// A topic to be created.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct NewTopic {
    pub name: String,
    /// `None`: the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// `None`: 1.
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum TopicSelector {
    Name(String),
    Id(TopicId),
}

/// Changes to what a topic sets itself.
#[derive(Clone, PartialEq, Debug)]
pub struct AlterTopic {
    pub name: String,
    pub changes: Vec<ConfigChange>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ConfigChange {
    pub name: String,
    /// `None`: the topic no longer sets it.
    pub value: Option<String>,
}

/// More partitions for a topic.
#[derive(Clone, PartialEq, Debug)]
pub struct MorePartitions {
    pub name: String,
    /// How many partitions the topic shall have in all.
    pub count: i32,
}

/// What became of a command: one result per topic, in the order of the command.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    CreateTopics(Vec<Result<CreatedTopic, TopicError>>),
    DeleteTopics(Vec<Result<DeletedTopic, TopicError>>),
    /// The name of each topic altered.
    AlterTopicConfigs(Vec<Result<String, TopicError>>),
    /// The name of each topic that has the partitions asked for.
    CreatePartitions(Vec<Result<String, TopicError>>),
    DeletedTopicsForgotten,
    /// `None`: there are no further ids.
    AllocateProducerIds(Option<ProducerIdBlock>),
}

/// Producer ids to be given out one by one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    /// The first that is left.
    pub first: ProducerId,
    /// How many are left.
    pub left: u16,
}

impl ProducerIdBlock {
    /// The ids of one block, as in Kafka.
    pub const IDS: u16 = 1000;

    /// Takes the next id; `None` when none is left.
    pub fn take(&mut self) -> Option<ProducerId> {
        self.left = self.left.checked_sub(1)?;
        let id = self.first;
        self.first = ProducerId::new(id.get() + 1);
        Some(id)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct CreatedTopic {
    pub name: String,
    /// Zero when the command only validated.
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// Every setting in force.
    pub configs: Vec<ConfigDescription>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct DeletedTopic {
    pub name: String,
    pub id: TopicId,
}

/// Why nothing was changed for one topic.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TopicError {
    /// As the command named it, if it did.
    pub name: Option<String>,
    pub id: Option<TopicId>,
    pub code: ErrorCode,
    /// What is wrong, in words for the one who sent the command.
    pub message: String,
}

impl TopicError {
    pub(crate) fn named(name: &str, code: ErrorCode, message: String) -> Self {
        Self {
            name: Some(name.to_owned()),
            id: None,
            code,
            message,
        }
    }
}
