//! CreateTopics: to the controller. The reply comes when every shard has opened the partitions.

use corelog_protocol::native::messages::{CreateTopicsRequest, CreateTopicsResponse, CreatedTopic};
use corelog_protocol::{ErrorCode, TopicId};

use super::describe_topics::config_entry;
use super::request::wrong_outcome;
use crate::controller::{self, Command, NewTopic, Outcome};
use crate::metadata::is_internal;
use crate::partition::Refusal;
use crate::shard::Router;

/// # Errors
/// The command as a whole was not carried out.
pub(super) async fn answer(
    router: Router,
    request: CreateTopicsRequest,
) -> Result<CreateTopicsResponse, Refusal> {
    let names: Vec<String> = request.topics.iter().map(|it| it.name.clone()).collect();
    let topics = request
        .topics
        .into_iter()
        .filter(|topic| !is_internal(&topic.name))
        .map(|topic| NewTopic {
            name: topic.name,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: topic.configs,
        })
        .collect();
    let command = Command::CreateTopics {
        topics,
        validate_only: request.validate_only,
    };
    let results = match router.control(command).await {
        Ok(Outcome::CreateTopics(results)) => results,
        other => return Err(wrong_outcome(other)),
    };
    let mut results = results.into_iter();
    let topics = names.into_iter().filter_map(|name| {
        let result = match is_internal(&name) {
            true => Err(is_the_clusters_own(&name)),
            false => results.next()?,
        };
        Some(created_topic(result))
    });
    Ok(CreateTopicsResponse {
        topics: topics.collect(),
    })
}

fn is_the_clusters_own(name: &str) -> controller::TopicError {
    let message = format!(
        "topic `{name}` is the cluster's own: it is made when it is needed, with the settings that it \
         needs"
    );
    controller::TopicError::named(name, ErrorCode::InvalidTopicException, message)
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
