//! CreatePartitions: to the controller. The reply comes when every shard has opened the partitions.

use corelog_protocol::native::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::alter_topic_configs::altered_topic;
use crate::controller::{Command, MorePartitions, Outcome};
use crate::listener::topics::wrong_outcome;
use crate::partition::Refusal;
use crate::shard::Router;

/// # Errors
/// The command as a whole was not carried out.
pub(super) async fn answer(
    router: Router,
    request: CreatePartitionsRequest,
) -> Result<CreatePartitionsResponse, Refusal> {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| MorePartitions {
            name: topic.name,
            count: topic.count,
        })
        .collect();
    let command = Command::CreatePartitions {
        topics,
        validate_only: request.validate_only,
    };
    match router.control(command).await {
        Ok(Outcome::CreatePartitions(results)) => Ok(CreatePartitionsResponse {
            topics: results.into_iter().map(altered_topic).collect(),
        }),
        other => Err(wrong_outcome(other)),
    }
}
