//! AlterTopicConfigs: to the controller. The reply comes when every shard goes by the new values.

use corelog_protocol::ErrorCode;
use corelog_protocol::native::messages::{
    AlterTopicConfigsRequest, AlterTopicConfigsResponse, AlteredTopic,
};

use crate::controller::{AlterTopic, Command, ConfigChange, Outcome, TopicError};
use crate::listener::topics::wrong_outcome;
use crate::partition::Refusal;
use crate::shard::Router;

/// # Errors
/// The command as a whole was not carried out.
pub(super) async fn answer(
    router: Router,
    request: AlterTopicConfigsRequest,
) -> Result<AlterTopicConfigsResponse, Refusal> {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| AlterTopic {
            name: topic.name,
            changes: topic
                .changes
                .into_iter()
                .map(|change| ConfigChange {
                    name: change.name,
                    value: change.value,
                })
                .collect(),
        })
        .collect();
    let command = Command::AlterTopicConfigs {
        topics,
        validate_only: request.validate_only,
    };
    match router.control(command).await {
        Ok(Outcome::AlterTopicConfigs(results)) => Ok(AlterTopicConfigsResponse {
            topics: results.into_iter().map(altered_topic).collect(),
        }),
        other => Err(wrong_outcome(other)),
    }
}

pub(super) fn altered_topic(result: Result<String, TopicError>) -> AlteredTopic {
    match result {
        Ok(name) => AlteredTopic {
            name,
            error: ErrorCode::None,
            error_message: None,
        },
        Err(error) => AlteredTopic {
            name: error.name.unwrap_or_default(),
            error: error.code,
            error_message: Some(error.message),
        },
    }
}
