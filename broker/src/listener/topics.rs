//! What requests about topics have in common, in either dialect: the way to the controller.

use corelog_protocol::ErrorCode;

use crate::controller::{Command, ControllerError, CreatedTopic, NewTopic, Outcome, TopicError};
use crate::metadata::is_internal;
use crate::partition::Refusal;
use crate::shard::Router;

/// Creates topics for a client. One result per topic, in order.
///
/// # Errors
/// The command as a whole was not carried out.
pub(super) async fn create(
    router: &Router,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Result<Vec<Result<CreatedTopic, TopicError>>, Refusal> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let topics = topics.into_iter().filter(|it| !is_internal(&it.name));
    let command = Command::CreateTopics {
        topics: topics.collect(),
        validate_only,
    };
    let results = match router.control(command).await {
        Ok(Outcome::CreateTopics(results)) => results,
        other => return Err(wrong_outcome(other)),
    };
    let mut results = results.into_iter();
    let results = names.iter().filter_map(|name| match is_internal(name) {
        true => Some(Err(is_the_clusters_own(name))),
        false => results.next(),
    });
    Ok(results.collect())
}

fn is_the_clusters_own(name: &str) -> TopicError {
    let message = format!(
        "topic `{name}` is the cluster's own: it is made when it is needed, with the settings that it \
         needs"
    );
    TopicError::named(name, ErrorCode::InvalidTopicException, message)
}

/// Why a command to the controller has no outcome of its own.
pub(super) fn wrong_outcome(outcome: Result<Outcome, ControllerError>) -> Refusal {
    match outcome {
        Err(error) => Refusal::new(error.code(), error.to_string()),
        Ok(outcome) => unreachable!("the controller answers a command with its kind: {outcome:?}"),
    }
}
