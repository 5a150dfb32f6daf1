//! DescribeProducers (KIP-664): the idempotent producers that partitions remember.

use std::collections::HashSet;

use corelog_protocol::kafka::messages::describe_producers::{
    PartitionResponse, ProducerState, TopicResponse,
};
use corelog_protocol::kafka::messages::{DescribeProducersRequest, DescribeProducersResponse};
use corelog_protocol::{ErrorCode, PartitionIndex};

use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::log::TopicPartition;
use crate::metadata::TopicImage;
use crate::partition::{ProducerDescription, Refusal};

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DescribeProducersRequest<'_> = call.decode()?;
    let image = call.server().router.image();
    let mut described = Vec::new();
    let mut seen = HashSet::new();
    for topic in &request.topics {
        let found = image.topic(topic.name).map(|found| &**found);
        for &partition in &topic.partition_indexes {
            described.push(match seen.insert((topic.name, partition)) {
                true => describe(call, found, partition).await,
                false => Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "the request names the partition twice",
                )),
            });
        }
    }
    let mut described = described.iter();
    let topics = request.topics.iter().map(|topic| TopicResponse {
        name: topic.name,
        partitions: topic
            .partition_indexes
            .iter()
            .zip(&mut described)
            .map(|(&partition, described)| response(call, partition, described))
            .collect(),
    });
    Ok(call.reply(&DescribeProducersResponse {
        topics: topics.collect(),
        ..Default::default()
    }))
}

async fn describe(
    call: &Call,
    topic: Option<&TopicImage>,
    partition: i32,
) -> Result<Vec<ProducerDescription>, Refusal> {
    let unknown = || {
        Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            "there is no such partition",
        )
    };
    let topic = topic.ok_or_else(unknown)?;
    let topic_partition = TopicPartition {
        topic_id: topic.id,
        partition: PartitionIndex::try_from(partition).map_err(|_| unknown())?,
    };
    let outcome = call.server().router.describe_producers(topic_partition);
    outcome.await.result
}

fn response<'a>(
    call: &Call,
    partition: i32,
    described: &'a Result<Vec<ProducerDescription>, Refusal>,
) -> PartitionResponse<'a> {
    let (producers, refusal) = match described {
        Ok(producers) => (producers.as_slice(), None),
        Err(refusal) => (&[][..], Some(refusal)),
    };
    let active = producers.iter().map(|producer| ProducerState {
        producer_id: producer.id.get(),
        producer_epoch: producer.epoch.get().into(),
        last_sequence: producer.last_sequence.get(),
        last_timestamp: producer.last_active_ms,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    });
    PartitionResponse {
        partition_index: partition,
        error_code: refusal.map_or(ErrorCode::None.code(), |it| call.code(it.code)),
        error_message: refusal.map(|it| &*it.message),
        active_producers: active.collect(),
    }
}
