//! DeleteTopics: to the controller. The reply comes when no shard serves the topic any more.

use corelog_protocol::ErrorCode;
use corelog_protocol::native::messages::{
    self, DeleteTopicsRequest, DeleteTopicsResponse, DeletedTopic,
};

use crate::controller::{self, Command, Outcome, TopicSelector};
use crate::listener::topics::wrong_outcome;
use crate::partition::Refusal;
use crate::shard::Router;

/// # Errors
/// The command as a whole was not carried out.
pub(super) async fn answer(
    router: Router,
    request: DeleteTopicsRequest,
) -> Result<DeleteTopicsResponse, Refusal> {
    let topics = request
        .topics
        .into_iter()
        .map(|selector| match selector {
            messages::TopicSelector::Name(name) => TopicSelector::Name(name),
            messages::TopicSelector::Id(id) => TopicSelector::Id(id),
        })
        .collect();
    match router.control(Command::DeleteTopics { topics }).await {
        Ok(Outcome::DeleteTopics(results)) => Ok(DeleteTopicsResponse {
            topics: results.into_iter().map(deleted_topic).collect(),
        }),
        other => Err(wrong_outcome(other)),
    }
}

fn deleted_topic(result: Result<controller::DeletedTopic, controller::TopicError>) -> DeletedTopic {
    match result {
        Ok(topic) => DeletedTopic {
            name: Some(topic.name),
            id: Some(topic.id),
            error: ErrorCode::None,
            error_message: None,
        },
        Err(error) => DeletedTopic {
            name: error.name,
            id: error.id,
            error: error.code,
            error_message: Some(error.message),
        },
    }
}
