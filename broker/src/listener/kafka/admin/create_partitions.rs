//! CreatePartitions.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::create_partitions::{
    CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use corelog_protocol::kafka::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::assignment::check_replicas;
use super::in_place;
use crate::controller::{Command, MorePartitions, Outcome};
use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::topics::wrong_outcome;
use crate::partition::Refusal;

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: CreatePartitionsRequest<'_> = call.decode()?;
    let wishes = request.topics.iter().map(|topic| more(call, topic));
    let router = &call.server().router;
    let results = in_place(wishes.collect(), async |topics| {
        let command = Command::CreatePartitions {
            topics,
            validate_only: request.validate_only,
        };
        match router.control(command).await {
            Ok(Outcome::CreatePartitions(results)) => Ok(results),
            other => Err(wrong_outcome(other)),
        }
    });
    let results = results.await;
    let topics = request.topics.iter().zip(&results);
    let results = topics.map(|(topic, result)| {
        let refusal = result.as_ref().err();
        CreatePartitionsTopicResult {
            name: topic.name,
            error_code: refusal.map_or(ErrorCode::None.code(), |it| call.code(it.code)),
            error_message: refusal.map(|it| &*it.message),
        }
    });
    Ok(call.reply(&CreatePartitionsResponse {
        results: results.collect(),
        ..Default::default()
    }))
}

fn more(call: &Call, asked: &CreatePartitionsTopic<'_>) -> Result<MorePartitions, Refusal> {
    let server = call.server();
    if let Some(assignments) = &asked.assignments
        && let Some(topic) = server.router.image().topic(asked.name)
    {
        let added = i64::from(asked.count) - topic.partitions.len() as i64;
        // What asks for fewer is refused for that.
        if added > 0 && added != assignments.len() as i64 {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "{added} partitions would be added, and the request says of {} where they go",
                    assignments.len()
                ),
            ));
        }
        for assignment in assignments {
            check_replicas(&server.shared.nodes, &assignment.broker_ids)?;
        }
    }
    Ok(MorePartitions {
        name: asked.name.to_owned(),
        count: asked.count,
    })
}
