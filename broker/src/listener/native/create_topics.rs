//! CreateTopics: to the controller. The reply comes when every shard has opened the partitions.

use corelog_protocol::native::messages::{CreateTopicsRequest, CreateTopicsResponse, CreatedTopic};
use corelog_protocol::{ErrorCode, TopicId};

use super::describe_topics::config_entry;
use crate::controller::{self, NewTopic};
use crate::listener::topics;
use crate::partition::Refusal;
use crate::shard::Router;

/// # Errors
/// The command as a whole was not carried out.
pub(super) async fn answer(
    router: Router,
    request: CreateTopicsRequest,
) -> Result<CreateTopicsResponse, Refusal> {
    let topics = request.topics.into_iter().map(|topic| NewTopic {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
    });
    let results = topics::create(&router, topics.collect(), request.validate_only).await?;
    Ok(CreateTopicsResponse {
        topics: results.into_iter().map(created_topic).collect(),
    })
}

fn created_topic(result: Result<controller::CreatedTopic, controller::TopicError>) -> CreatedTopic {
    match result {
        Ok(topic) => CreatedTopic {
            name: topic.name,
            id: topic.id,
            error: ErrorCode::None,
            error_message: None,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: topic.configs.into_iter().map(config_entry).collect(),
        },
        Err(error) => CreatedTopic {
            name: error.name.unwrap_or_default(),
            id: TopicId::ZERO,
            error: error.code,
            error_message: Some(error.message),
            partitions: 0,
            replication_factor: 0,
            configs: Vec::new(),
        },
    }
}
