//! ConsumerGroupHeartbeat.

use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use super::super::server::Server;
use super::error_parts;
use crate::group::GroupId;
use crate::group::consumer::{
    Heartbeat, HeartbeatEpoch, HeartbeatReply, Partitions, TopicPartition,
};
use crate::group::coordinator::{Answer, Command};
use crate::listener::groups::{check_text, group_id, member_id};
use crate::partition::Refusal;

/// Who sends it, beside what it says itself.
pub(in crate::listener::native) struct Sender {
    pub(in crate::listener::native) client_id: String,
    pub(in crate::listener::native) client_host: String,
}

pub(in crate::listener::native) async fn heartbeat(
    server: Rc<Server>,
    sender: Sender,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let patience = Duration::from_millis(request.wait_ms.into());
    let (result, hint) = match understand(sender, request) {
        Ok((group_id, heartbeat)) => {
            let command = Command::Heartbeat(heartbeat);
            let outcome = server.router.group(group_id, command, patience).await;
            (outcome.result, outcome.hint)
        }
        Err(refusal) => (Err(refusal), None),
    };
    let mut response = match result {
        Ok(Answer::Heartbeat(reply)) => answered(reply),
        Ok(other) => unreachable!("a heartbeat was sent, and it says {other:?}"),
        Err(refusal) => {
            server.note_error(refusal.code);
            let (error, message) = error_parts(refusal);
            ConsumerGroupHeartbeatResponse::refused(error, message)
        }
    };
    response.hint = hint;
    response
}

fn understand(
    sender: Sender,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<(GroupId, Heartbeat), Refusal> {
    check_text("client id", &sender.client_id)?;
    let texts = [
        ("instance id", &request.instance_id),
        ("rack id", &request.rack_id),
        ("topic pattern", &request.topic_pattern),
        ("assignor", &request.assignor),
    ];
    for (what, text) in texts {
        check_text(what, text.as_deref().unwrap_or_default())?;
    }
    for name in request.topic_names.iter().flatten() {
        check_text("a topic's name", name)?;
    }
    let epoch = HeartbeatEpoch::from_wire(request.member_epoch)
        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    let heartbeat = Heartbeat {
        member_id: member_id(&request.member_id)?,
        epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        client_id: sender.client_id,
        client_host: sender.client_host,
        rebalance_timeout_ms: request
            .rebalance_timeout_ms
            .map(|millis| i32::try_from(millis).unwrap_or(i32::MAX)),
        subscribed_topic_names: request.topic_names.map(|names| names.into_iter().collect()),
        subscribed_topic_regex: request.topic_pattern,
        server_assignor: request.assignor,
        owned: request.owned.as_deref().map(partitions),
    };
    Ok((group_id(&request.group)?, heartbeat))
}

fn answered(reply: HeartbeatReply) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error: corelog_protocol::ErrorCode::None,
        error_message: None,
        member_epoch: reply.member_epoch,
        heartbeat_interval_ms: millis(reply.heartbeat_interval),
        session_timeout_ms: millis(reply.session_timeout),
        assignment: reply.assignment.as_ref().map(by_topic),
        hint: None,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn partitions(topics: &[TopicPartitions]) -> Partitions {
    let topics = topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| TopicPartition {
            topic_id: topic.topic_id,
            partition: *partition,
        })
    });
    topics.collect()
}

/// The set in order of its topics, which it is in already.
pub(super) fn by_topic(partitions: &Partitions) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for found in partitions {
        match topics.last_mut() {
            Some(topic) if topic.topic_id == found.topic_id => {
                topic.partitions.push(found.partition)
            }
            _ => topics.push(TopicPartitions {
                topic_id: found.topic_id,
                partitions: vec![found.partition],
            }),
        }
    }
    topics
}
