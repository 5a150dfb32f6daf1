//! Manages topics, their configuration and groups, and looks at the cluster.

mod calls;
mod configs;
mod group_offsets;
mod groups;

use std::collections::HashMap;
use std::sync::Arc;

use corelog_protocol::native::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeTopicsRequest,
    MetadataRequest,
};
use corelog_protocol::{BrokerId, ErrorCode, IsolationLevel, Offset};

pub use corelog_protocol::native::{
    BrokerInfo, ConfigChange, ConfigDescription, ConfigEntry, ConfigResource, ConfigResourceKind,
    ConfigSource, ConfigType, CreatedTopic, DeleteUntil, GroupKind, GroupState, ListedGroup,
    MorePartitions, NewTopic, OffsetQuery, PartitionDescription, TopicDescription, TopicSelector,
};
pub use groups::{GroupDescription, GroupMember};

use crate::cluster::Cluster;
use crate::config::{AdminSettings, ClientConfig};
use crate::delete_records;
use crate::error::{AdminError, ConnectError, ConsumeError, words};
use crate::offsets::{self, ListedOffset};
use crate::record::TopicPartition;
use calls::Repeat;

/// Manages topics, their configuration and groups. Clones share their connections.
///
/// Calls that name several topics return one result per topic, in the order of the question; the outer error is that of
/// the call as a whole.
#[derive(Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
    settings: Arc<AdminSettings>,
}

/// A topic of the cluster, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// The topic's name.
    pub name: String,
    /// Its id.
    pub id: corelog_protocol::TopicId,
    /// True for the cluster's own topics.
    pub internal: bool,
    /// What an acknowledgement means in it.
    pub durability: corelog_protocol::Durability,
    /// How many partitions it has.
    pub partitions: usize,
}

/// The cluster and its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that decides about metadata, if there is one.
    pub controller: Option<BrokerId>,
    /// The brokers, by id.
    pub brokers: Vec<BrokerInfo>,
}

impl Admin {
    /// Reads the settings and connects to the cluster, trying for up to `default.api.timeout.ms`.
    ///
    /// # Errors
    /// A setting that is unknown or out of range; no bootstrap server that answers.
    pub async fn new(config: &ClientConfig) -> Result<Self, ConnectError> {
        let settings = AdminSettings::read(config)?;
        let cluster = Cluster::connect(settings.connection.clone(), settings.api_timeout).await?;
        Ok(Self {
            cluster,
            settings: Arc::new(settings),
        })
    }

    /// Creates topics. A success means that every shard of the broker serves the topic.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused as a whole;
    /// [`AdminError::OutcomeUnknown`] if the request was sent and its answer lost.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
    ) -> Result<Vec<Result<CreatedTopic, AdminError>>, AdminError> {
        let request = CreateTopicsRequest {
            timeout_ms: self.timeout_ms(),
            validate_only: false,
            topics: topics.to_vec(),
        };
        let mut created = self
            .call("creating topics", &request, Repeat::Harmful)
            .await?
            .topics;
        topics
            .iter()
            .map(|topic| {
                let answer = take_first(&mut created, |created| created.name == topic.name)
                    .ok_or_else(|| missing("creating topics", &topic.name))?;
                Ok(accept(answer.error, &answer.error_message, &topic.name).map(|()| answer))
            })
            .collect()
    }

    /// Deletes topics by name.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused as a whole;
    /// [`AdminError::OutcomeUnknown`] if the request was sent and its answer lost.
    pub async fn delete_topics(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        let request = DeleteTopicsRequest {
            timeout_ms: self.timeout_ms(),
            topics: selectors(topics),
        };
        let mut deleted = self
            .call("deleting topics", &request, Repeat::Harmful)
            .await?
            .topics;
        topics
            .iter()
            .map(|topic| {
                let answer = take_first(&mut deleted, |deleted| {
                    deleted.name.as_deref() == Some(*topic)
                })
                .ok_or_else(|| missing("deleting topics", topic))?;
                Ok(accept(answer.error, &answer.error_message, topic))
            })
            .collect()
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, AdminError> {
        let request = MetadataRequest { topics: None };
        let response = self
            .call("listing topics", &request, Repeat::Harmless)
            .await?;
        let mut topics: Vec<TopicListing> = response
            .topics
            .into_iter()
            .filter(|topic| topic.error == ErrorCode::None)
            .map(|topic| TopicListing {
                name: topic.name,
                id: topic.id,
                internal: topic.internal,
                durability: topic.durability,
                partitions: topic.partitions.len(),
            })
            .collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// Partitions, offsets and configuration of topics.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused as a whole.
    pub async fn describe_topics(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<TopicDescription, AdminError>>, AdminError> {
        let request = DescribeTopicsRequest {
            topics: Some(selectors(topics)),
        };
        let mut described = self
            .call("describing topics", &request, Repeat::Harmless)
            .await?
            .topics;
        topics
            .iter()
            .map(|topic| {
                let answer = take_first(&mut described, |described| described.name == *topic)
                    .ok_or_else(|| missing("describing topics", topic))?;
                Ok(accept(answer.error, &answer.error_message, topic).map(|()| answer))
            })
            .collect()
    }

    /// Brings topics to more partitions, without loss. A success means that every shard of the broker serves them.
    ///
    /// Producers and consumers that run notice them when they refresh their metadata, at the latest after
    /// `metadata.max.age.ms`. A record with a key may go to another partition than the earlier ones of its key: readers
    /// see the order of a key only up to here, and again from here on.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused as a whole;
    /// [`AdminError::OutcomeUnknown`] if the request was sent and its answer lost.
    pub async fn create_partitions(
        &self,
        topics: &[MorePartitions],
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        self.more_partitions(topics, false, Repeat::Harmful).await
    }

    /// Says what [`create_partitions`](Self::create_partitions) would say, and adds none.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused as a whole.
    pub async fn validate_create_partitions(
        &self,
        topics: &[MorePartitions],
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        self.more_partitions(topics, true, Repeat::Harmless).await
    }

    async fn more_partitions(
        &self,
        topics: &[MorePartitions],
        validate_only: bool,
        repeat: Repeat,
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        let action = "adding partitions";
        let request = CreatePartitionsRequest {
            timeout_ms: self.timeout_ms(),
            validate_only,
            topics: topics.to_vec(),
        };
        let mut grown = self.call(action, &request, repeat).await?.topics;
        topics
            .iter()
            .map(|topic| {
                let answer = take_first(&mut grown, |grown| grown.name == topic.name)
                    .ok_or_else(|| missing(action, &topic.name))?;
                Ok(accept(answer.error, &answer.error_message, &topic.name))
            })
            .collect()
    }

    /// The cluster and its brokers.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
        };
        let response = self
            .call("describing the cluster", &request, Repeat::Harmless)
            .await?;
        let mut brokers = response.brokers;
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterDescription {
            cluster_id: response.cluster_id,
            controller: response.controller,
            brokers,
        })
    }

    /// Offsets by place or time. `None` means that no record is at or after the time asked for.
    ///
    /// # Errors
    /// A partition that does not exist, or no answer within `default.api.timeout.ms`.
    pub async fn list_offsets(
        &self,
        queries: &[(TopicPartition, OffsetQuery)],
    ) -> Result<HashMap<TopicPartition, Option<ListedOffset>>, ConsumeError> {
        let listed = self.list_offsets_each(queries).await;
        listed
            .into_iter()
            .map(|(partition, found)| Ok((partition, found?)))
            .collect()
    }

    /// As [`list_offsets`](Self::list_offsets), with a result per partition.
    pub async fn list_offsets_each(
        &self,
        queries: &[(TopicPartition, OffsetQuery)],
    ) -> HashMap<TopicPartition, Result<Option<ListedOffset>, ConsumeError>> {
        offsets::list_offsets_each(
            &self.cluster,
            queries,
            IsolationLevel::ReadUncommitted,
            self.settings.api_timeout,
        )
        .await
    }

    /// Deletes the oldest records of partitions. Each result is the offset that the log starts at once that is
    /// durable: no restart brings a deleted record back. A log that starts there already, or further on, is left as it
    /// is.
    ///
    /// A call whose answer is lost is sent again: with [`DeleteUntil::HighWatermark`] it then also deletes what was
    /// written meanwhile.
    ///
    /// # Errors
    /// Per partition: an offset beyond the high watermark, a topic whose `cleanup.policy` does not hold `delete`, a
    /// partition that does not exist, or no answer within `default.api.timeout.ms`.
    pub async fn delete_records(
        &self,
        deletions: &[(TopicPartition, DeleteUntil)],
    ) -> HashMap<TopicPartition, Result<Offset, ConsumeError>> {
        let within = self.settings.api_timeout;
        delete_records::delete_records(&self.cluster, deletions, self.timeout_ms(), within).await
    }

    fn timeout_ms(&self) -> u32 {
        u32::try_from(self.settings.connection.request_timeout.as_millis()).unwrap_or(u32::MAX)
    }
}

fn selectors(topics: &[&str]) -> Vec<TopicSelector> {
    topics
        .iter()
        .map(|topic| TopicSelector::Name((*topic).to_owned()))
        .collect()
}

fn take_first<T>(answers: &mut Vec<T>, is_mine: impl Fn(&T) -> bool) -> Option<T> {
    let position = answers.iter().position(is_mine)?;
    Some(answers.swap_remove(position))
}

fn missing(action: &'static str, topic: &str) -> AdminError {
    AdminError::IncompleteAnswer {
        action,
        what: format!("topic {topic}"),
    }
}

fn accept(code: ErrorCode, message: &Option<String>, topic: &str) -> Result<(), AdminError> {
    if code == ErrorCode::None {
        return Ok(());
    }
    Err(AdminError::Topic {
        topic: topic.to_owned(),
        code,
        message: words(code, message.as_ref()),
    })
}
