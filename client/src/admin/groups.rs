//! Consumer groups: which there are, who is in them, and deleting them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use corelog_protocol::native::messages;
use corelog_protocol::native::{
    DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, MetadataRequest,
    TopicPartitions, TopicSelector,
};
use corelog_protocol::{BrokerId, ErrorCode, ShardId, TopicId};
use futures_util::future::join_all;

use super::calls::Repeat;
use super::{Admin, GroupKind, GroupState, ListedGroup};
use crate::coordinator::Coordinator;
use crate::error::{AdminError, words};
use crate::record::TopicPartition;

/// Groups that are asked about at the same time: their coordinators are cores of brokers.
const GROUPS_AT_ONCE: usize = 32;

/// Everything about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// Which protocol its members speak.
    pub kind: GroupKind,
    /// How far it has come.
    pub state: GroupState,
    /// Its epoch; a classic group's generation.
    pub epoch: i32,
    /// The epoch for which the members' targets were computed; a classic group's generation.
    pub assignment_epoch: i32,
    /// Who computed them; a classic group's assignment protocol, empty while it has none.
    pub assignor: String,
    /// The broker that coordinates it, and the core there.
    pub coordinator: (BrokerId, ShardId),
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// Where it is.
    pub rack_id: Option<String>,
    /// What its program calls itself.
    pub client_id: String,
    /// The address of its connection.
    pub client_host: String,
    /// Its epoch; a classic group's generation. Negative while a static member is away.
    pub epoch: i32,
    /// The topics that it subscribes to.
    pub topic_names: Vec<String>,
    /// A regular expression over the names of further topics.
    pub topic_pattern: Option<String>,
    /// The partitions that it has, in order. Those of a topic that was deleted meanwhile are left out.
    pub assigned: Vec<TopicPartition>,
    /// The partitions that it should have, in order.
    pub target: Vec<TopicPartition>,
}

impl Admin {
    /// All groups of the cluster, by name.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms` of a broker, or a request that is refused.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, AdminError> {
        const ACTION: &str = "listing groups";
        let cluster = self.describe_cluster().await?;
        let mut groups = BTreeMap::new();
        for broker in cluster.brokers {
            let request = ListGroupsRequest {};
            let response = self
                .call_at(&broker.id, ACTION, &request, Repeat::Harmless)
                .await?;
            if response.error != ErrorCode::None {
                return Err(AdminError::Broker {
                    broker: broker.id.to_string(),
                    code: response.error,
                    message: words(response.error, response.error_message),
                });
            }
            groups.extend(
                response
                    .groups
                    .into_iter()
                    .map(|group| (group.group.clone(), group)),
            );
        }
        Ok(groups.into_values().collect())
    }

    /// State, members and assignment of groups, in the order of the question.
    ///
    /// # Errors
    /// Per group: one that does not exist, or no answer within `default.api.timeout.ms`.
    pub async fn describe_groups(
        &self,
        groups: &[&str],
    ) -> Vec<Result<GroupDescription, AdminError>> {
        let mut described = Vec::with_capacity(groups.len());
        for some in groups.chunks(GROUPS_AT_ONCE) {
            let asking = some.iter().map(|group| self.describe_group(group));
            described.extend(join_all(asking).await);
        }
        described
    }

    async fn describe_group(&self, group: &str) -> Result<GroupDescription, AdminError> {
        const ACTION: &str = "describing a group";
        let coordinator = self.coordinator(group);
        let request = DescribeGroupsRequest {
            groups: vec![group.to_owned()],
        };
        let response = self
            .call_at(&coordinator, ACTION, &request, Repeat::Harmless)
            .await?;
        let described = response
            .groups
            .into_iter()
            .find(|described| described.group == group)
            .ok_or_else(|| missing_group(ACTION, group))?;
        accept_group(described.error, described.error_message.as_ref(), group)?;
        let place = coordinator.find().await?;
        let names = self.names_of(ACTION, &described.members).await?;
        Ok(GroupDescription {
            group: described.group,
            kind: described.kind,
            state: described.state,
            epoch: described.epoch,
            assignment_epoch: described.assignment_epoch,
            assignor: described.assignor,
            coordinator: (place.broker, place.shard),
            members: described
                .members
                .into_iter()
                .map(|member| GroupMember::named(member, &names))
                .collect(),
        })
    }

    /// The names of the topics that members have, or should have. One that was deleted has none any more.
    async fn names_of(
        &self,
        action: &'static str,
        members: &[messages::GroupMember],
    ) -> Result<HashMap<TopicId, Arc<str>>, AdminError> {
        let ids: BTreeSet<TopicId> = members
            .iter()
            .flat_map(|member| member.assigned.iter().chain(&member.target))
            .map(|topic| topic.topic_id)
            .collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let request = MetadataRequest {
            topics: Some(ids.into_iter().map(TopicSelector::Id).collect()),
        };
        let response = self.call(action, &request, Repeat::Harmless).await?;
        Ok(response
            .topics
            .into_iter()
            .filter(|topic| topic.error == ErrorCode::None)
            .map(|topic| (topic.id, topic.name.into()))
            .collect())
    }

    /// Deletes groups without members, and what they have committed.
    ///
    /// # Errors
    /// Per group: one that does not exist or has members, no answer within `default.api.timeout.ms`;
    /// [`AdminError::OutcomeUnknown`] if the request was sent and its answer lost.
    pub async fn delete_groups(&self, groups: &[&str]) -> Vec<Result<(), AdminError>> {
        let mut deleted = Vec::with_capacity(groups.len());
        for some in groups.chunks(GROUPS_AT_ONCE) {
            let asking = some.iter().map(|group| self.delete_group(group));
            deleted.extend(join_all(asking).await);
        }
        deleted
    }

    async fn delete_group(&self, group: &str) -> Result<(), AdminError> {
        const ACTION: &str = "deleting a group";
        let request = DeleteGroupsRequest {
            groups: vec![group.to_owned()],
        };
        let response = self
            .call_at(&self.coordinator(group), ACTION, &request, Repeat::Harmful)
            .await?;
        let deleted = response
            .groups
            .into_iter()
            .find(|deleted| deleted.group == group)
            .ok_or_else(|| missing_group(ACTION, group))?;
        accept_group(deleted.error, deleted.error_message.as_ref(), group)
    }

    pub(super) fn coordinator(&self, group: &str) -> Coordinator {
        Coordinator::new(Arc::clone(&self.cluster), group.to_owned())
    }
}

impl GroupMember {
    fn named(member: messages::GroupMember, names: &HashMap<TopicId, Arc<str>>) -> Self {
        Self {
            member_id: member.member_id,
            instance_id: member.instance_id,
            rack_id: member.rack_id,
            client_id: member.client_id,
            client_host: member.client_host,
            epoch: member.epoch,
            topic_names: member.topic_names,
            topic_pattern: member.topic_pattern,
            assigned: named(&member.assigned, names),
            target: named(&member.target, names),
        }
    }
}

fn named(topics: &[TopicPartitions], names: &HashMap<TopicId, Arc<str>>) -> Vec<TopicPartition> {
    let mut partitions: Vec<TopicPartition> = topics
        .iter()
        .filter_map(|topic| Some((names.get(&topic.topic_id)?, &topic.partitions)))
        .flat_map(|(name, partitions)| {
            partitions
                .iter()
                .map(|partition| TopicPartition::new(Arc::clone(name), *partition))
        })
        .collect();
    partitions.sort();
    partitions
}

pub(super) fn accept_group(
    code: ErrorCode,
    message: Option<&String>,
    group: &str,
) -> Result<(), AdminError> {
    if code == ErrorCode::None {
        return Ok(());
    }
    Err(AdminError::Group {
        group: group.to_owned(),
        code,
        message: words(code, message),
    })
}

fn missing_group(action: &'static str, group: &str) -> AdminError {
    AdminError::IncompleteAnswer {
        action,
        what: format!("group {group}"),
    }
}
