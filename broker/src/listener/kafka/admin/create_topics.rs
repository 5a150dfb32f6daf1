//! CreateTopics.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs,
    CreatableTopicResult,
};
use corelog_protocol::kafka::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::assignment::{REPLICAS, check_replicas};
use super::{in_place, settings};
use crate::controller::{CreatedTopic, NewTopic};
use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::kafka::nodes::Nodes;
use crate::listener::topics;
use crate::partition::Refusal;

/// The broker's default, or as many as the assignments say.
const UNSAID: i32 = -1;

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: CreateTopicsRequest<'_> = call.decode()?;
    let server = call.server();
    let nodes = &server.shared.nodes;
    let wishes = request.topics.iter().map(|topic| new_topic(nodes, topic));
    let results = in_place(wishes.collect(), async |topics| {
        topics::create(&server.router, topics, request.validate_only).await
    });
    let results = results.await;
    let topics = request.topics.iter().zip(&results);
    let topics = topics.map(|(asked, result)| match result {
        Ok(created) => described(asked.name, created),
        Err(refusal) => CreatableTopicResult {
            name: asked.name,
            error_code: call.code(refusal.code),
            error_message: Some(&refusal.message),
            configs: Some(Vec::new()),
            ..Default::default()
        },
    });
    Ok(call.reply(&CreateTopicsResponse {
        topics: topics.collect(),
        ..Default::default()
    }))
}

fn described<'a>(name: &'a str, created: &'a CreatedTopic) -> CreatableTopicResult<'a> {
    let configs = created.configs.iter().map(|config| CreatableTopicConfigs {
        name: config.name,
        value: Some(&config.value),
        read_only: config.read_only,
        config_source: settings::source(config.source),
        is_sensitive: false,
    });
    CreatableTopicResult {
        name,
        topic_id: created.id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn new_topic(nodes: &Nodes, asked: &CreatableTopic<'_>) -> Result<NewTopic, Refusal> {
    let replication_factor = i32::from(asked.replication_factor);
    let (partitions, replication_factor) = match &*asked.assignments {
        [] => (
            (asked.num_partitions != UNSAID).then_some(asked.num_partitions),
            (replication_factor != UNSAID).then_some(asked.replication_factor),
        ),
        _ if asked.num_partitions != UNSAID || replication_factor != UNSAID => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the request says where replicas go and how many there are: when it says where, \
                 num_partitions and replication_factor must be -1",
            ));
        }
        assignments => {
            let (partitions, replicas) = counts(nodes, assignments)?;
            (Some(partitions), Some(replicas))
        }
    };
    let config = |config: &CreatableTopicConfig<'_>| {
        let value = config.value.ok_or_else(|| {
            Refusal::new(
                ErrorCode::InvalidConfig,
                format!("{} is null: leave it out, or give it a value", config.name),
            )
        })?;
        Ok((config.name.to_owned(), value.to_owned()))
    };
    Ok(NewTopic {
        name: asked.name.to_owned(),
        partitions,
        replication_factor,
        configs: asked.configs.iter().map(config).collect::<Result<_, _>>()?,
    })
}

/// How many partitions the assignments make, and of how many replicas.
fn counts(
    nodes: &Nodes,
    assignments: &[CreatableReplicaAssignment],
) -> Result<(i32, i16), Refusal> {
    let count = assignments.len() as i32;
    let mut partitions: Vec<i32> = assignments.iter().map(|it| it.partition_index).collect();
    partitions.sort_unstable();
    if !partitions.into_iter().eq(0..count) {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!(
                "{count} partitions are those from 0 to {}, each once",
                count - 1
            ),
        ));
    }
    for assignment in assignments {
        check_replicas(nodes, &assignment.broker_ids)?;
    }
    Ok((count, REPLICAS))
}
