//! DeleteTopics.

use corelog_protocol::kafka::messages::delete_topics::{DeletableTopicResult, DeleteTopicState};
use corelog_protocol::kafka::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use corelog_protocol::{ErrorCode, TopicId};

use super::in_place;
use crate::controller::{Command, Outcome, TopicSelector};
use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::topics::wrong_outcome;
use crate::partition::Refusal;

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DeleteTopicsRequest<'_> = call.decode()?;
    let named = request.topic_names.iter().map(|name| DeleteTopicState {
        name: Some(name),
        topic_id: TopicId::ZERO,
    });
    let asked: Vec<_> = request.topics.iter().cloned().chain(named).collect();
    let wishes = asked.iter().map(selector).collect();
    let router = &call.server().router;
    let results = in_place(wishes, async |topics| {
        match router.control(Command::DeleteTopics { topics }).await {
            Ok(Outcome::DeleteTopics(results)) => Ok(results),
            other => Err(wrong_outcome(other)),
        }
    });
    let results = results.await;
    let responses = asked
        .iter()
        .zip(&results)
        .map(|(asked, result)| match result {
            Ok(deleted) => DeletableTopicResult {
                name: Some(&deleted.name),
                topic_id: deleted.id,
                ..Default::default()
            },
            Err(refusal) => DeletableTopicResult {
                name: asked.name,
                topic_id: asked.topic_id,
                error_code: call.code(refusal.code),
                error_message: Some(&refusal.message),
            },
        });
    Ok(call.reply(&DeleteTopicsResponse {
        responses: responses.collect(),
        ..Default::default()
    }))
}

fn selector(asked: &DeleteTopicState<'_>) -> Result<TopicSelector, Refusal> {
    match (asked.name, asked.topic_id) {
        (Some(name), TopicId::ZERO) => Ok(TopicSelector::Name(name.to_owned())),
        (None, id) if id != TopicId::ZERO => Ok(TopicSelector::Id(id)),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "a topic to delete is named by its name or by its id, and not by both",
        )),
    }
}
