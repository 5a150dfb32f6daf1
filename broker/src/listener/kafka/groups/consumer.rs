//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: the consumer protocol (KIP-848).

use corelog_protocol::kafka::messages::consumer_group_describe::{
    Assignment as DescribedAssignment, DescribedGroup, Member, TopicPartitions as NamedPartitions,
};
use corelog_protocol::kafka::messages::consumer_group_heartbeat::{Assignment, TopicPartitions};
use corelog_protocol::kafka::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
};
use corelog_protocol::{ErrorCode, PartitionIndex};
use futures_util::{StreamExt, stream};

use super::{ask, client_host, new_uuid};
use crate::group::GroupId;
use crate::group::consumer::{
    GroupDescription, Heartbeat, HeartbeatEpoch, HeartbeatReply, MemberDescription, Partitions,
    TopicPartition,
};
use crate::group::coordinator::{self, Command, Description};
use crate::listener::close::Close;
use crate::listener::groups::{self, CONCURRENT_GROUPS, check_text, group_id, member_id};
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::kafka::operations;
use crate::metadata::MetadataImage;
use crate::partition::Refusal;

pub(in crate::listener::kafka) async fn heartbeat(call: &Call) -> Result<Answer, Close> {
    let request: ConsumerGroupHeartbeatRequest<'_> = call.decode()?;
    let answered = match understand(call, &request) {
        Ok((group, heartbeat)) => ask(call, group, Command::Heartbeat(heartbeat)).await,
        Err(refusal) => Err(refusal),
    };
    Ok(match &answered {
        Ok(coordinator::Answer::Heartbeat(reply)) => call.reply(&answer_to(reply)),
        Ok(other) => unreachable!("a heartbeat was sent, and it says {other:?}"),
        Err(refusal) => call.reply(&ConsumerGroupHeartbeatResponse {
            error_code: call.code(refusal.code),
            error_message: Some(&refusal.message),
            ..Default::default()
        }),
    })
}

fn understand(
    call: &Call,
    request: &ConsumerGroupHeartbeatRequest<'_>,
) -> Result<(GroupId, Heartbeat), Refusal> {
    /// In version 0 the coordinator draws the id of a member that joins.
    const FIRST_WITH_OWN_ID: i16 = 1;
    const JOIN: i32 = 0;
    check_text("client id", &call.client_id)?;
    let epoch = HeartbeatEpoch::from_wire(request.member_epoch)
        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    let draws_id = request.member_id.is_empty() && request.member_epoch == JOIN;
    let id = match draws_id && call.version < FIRST_WITH_OWN_ID {
        true => member_id(&new_uuid().to_string())?,
        false => member_id(request.member_id)?,
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let names = request.subscribed_topic_names.as_ref();
    let heartbeat = Heartbeat {
        member_id: id,
        epoch,
        instance_id: owned(request.instance_id),
        rack_id: owned(request.rack_id),
        client_id: call.client_id.clone(),
        client_host: client_host(call),
        rebalance_timeout_ms: (request.rebalance_timeout_ms != -1)
            .then_some(request.rebalance_timeout_ms),
        subscribed_topic_names: names
            .map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        subscribed_topic_regex: owned(request.subscribed_topic_regex),
        server_assignor: owned(request.server_assignor),
        owned: match &request.topic_partitions {
            Some(topics) => Some(partitions(topics)?),
            None => None,
        },
    };
    Ok((group_id(request.group_id)?, heartbeat))
}

fn partitions(topics: &[TopicPartitions]) -> Result<Partitions, Refusal> {
    let partitions = topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|&partition| {
            let partition = PartitionIndex::try_from(partition)
                .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
            Ok(TopicPartition {
                topic_id: topic.topic_id,
                partition,
            })
        })
    });
    partitions.collect()
}

fn answer_to(reply: &HeartbeatReply) -> ConsumerGroupHeartbeatResponse<'_> {
    ConsumerGroupHeartbeatResponse {
        member_id: Some(reply.member_id.as_str()),
        member_epoch: reply.member_epoch,
        heartbeat_interval_ms: i32::try_from(reply.heartbeat_interval.as_millis())
            .unwrap_or(i32::MAX),
        assignment: reply.assignment.as_ref().map(|assigned| {
            let topics = by_topic(assigned).map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions,
            });
            Box::new(Assignment {
                topic_partitions: topics.collect(),
            })
        }),
        ..Default::default()
    }
}

/// The set topic by topic; it is in that order.
fn by_topic(
    partitions: &Partitions,
) -> impl Iterator<Item = (corelog_protocol::TopicId, Vec<i32>)> {
    let mut topics: Vec<(corelog_protocol::TopicId, Vec<i32>)> = Vec::new();
    for found in partitions {
        match topics.last_mut() {
            Some((id, partitions)) if *id == found.topic_id => {
                partitions.push(found.partition.get());
            }
            _ => topics.push((found.topic_id, vec![found.partition.get()])),
        }
    }
    topics.into_iter()
}

pub(in crate::listener::kafka) async fn describe(call: &Call) -> Result<Answer, Close> {
    let request: ConsumerGroupDescribeRequest<'_> = call.decode()?;
    let router = &call.server().router;
    let described: Vec<_> = stream::iter(&request.group_ids)
        .map(|group| groups::ask(router, group, Command::Describe))
        .buffered(CONCURRENT_GROUPS)
        .collect()
        .await;
    let described: Vec<Result<GroupDescription, Refusal>> = request
        .group_ids
        .iter()
        .zip(described)
        .map(|(group, described)| match described? {
            coordinator::Answer::Described(Description::Consumer(described)) => Ok(described),
            coordinator::Answer::Described(_) => Err(Refusal::new(
                ErrorCode::GroupIdNotFound,
                format!("group {group} is not a consumer group"),
            )),
            other => unreachable!("a group was described, and it says {other:?}"),
        })
        .collect();
    let states: Vec<String> = described
        .iter()
        .map(|described| match described {
            Ok(described) => described.state.to_string(),
            Err(_) => String::new(),
        })
        .collect();
    let image = router.image();
    let groups = request.group_ids.iter().zip(&described).zip(&states);
    let groups = groups.map(|((group, described), state)| {
        let operations = operations::of_group(request.include_authorized_operations);
        let nothing = DescribedGroup {
            group_id: group,
            group_state: state,
            authorized_operations: operations,
            ..Default::default()
        };
        match described {
            Ok(described) => DescribedGroup {
                group_epoch: described.epoch,
                assignment_epoch: described.target_epoch,
                assignor_name: described.assignor.name(),
                members: described
                    .members
                    .iter()
                    .map(|member| describe_member(&image, member))
                    .collect(),
                ..nothing
            },
            Err(refusal) => DescribedGroup {
                error_code: call.code(refusal.code),
                error_message: Some(&refusal.message),
                ..nothing
            },
        }
    });
    Ok(call.reply(&ConsumerGroupDescribeResponse {
        groups: groups.collect(),
        ..Default::default()
    }))
}

fn describe_member<'a>(image: &'a MetadataImage, member: &'a MemberDescription) -> Member<'a> {
    /// `ConsumerGroupDescribeResponse`: 0 would be a member of the classic protocol.
    const CONSUMER: i8 = 1;
    let metadata = &member.metadata;
    let names = metadata.subscribed_topic_names.iter();
    Member {
        member_id: member.member_id.as_str(),
        instance_id: metadata.instance_id.as_deref(),
        rack_id: metadata.rack_id.as_deref(),
        member_epoch: member.current.member_epoch,
        client_id: &metadata.client_id,
        client_host: &metadata.client_host,
        subscribed_topic_names: names.map(String::as_str).collect(),
        subscribed_topic_regex: metadata.subscribed_topic_regex.as_deref(),
        assignment: described_assignment(image, &member.current.assigned),
        target_assignment: described_assignment(image, &member.target),
        member_type: CONSUMER,
    }
}

/// Partitions of topics that were deleted meanwhile have no name any more, and are left out.
fn described_assignment<'a>(
    image: &'a MetadataImage,
    partitions: &Partitions,
) -> DescribedAssignment<'a> {
    let topics = by_topic(partitions).filter_map(|(topic_id, partitions)| {
        Some(NamedPartitions {
            topic_id,
            topic_name: &image.topic_by_id(topic_id)?.name,
            partitions,
        })
    });
    DescribedAssignment {
        topic_partitions: topics.collect(),
    }
}
