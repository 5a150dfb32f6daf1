//! Offset commits, against records produced as they come.

use std::time::Duration;

use anyhow::ensure;
use corelog_protocol::native::{
    Message, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitResponse, OffsetCommitTopic,
    ProducePartition, ProduceRequest, ProduceResponse,
};
use corelog_protocol::record::BatchBuilder;
use corelog_protocol::{Acks, Compression, ErrorCode, Offset, PartitionIndex, Timestamp, TopicId};

use crate::pipeline::Pipeline;
use crate::rig::Rig;

const GROUPS: u64 = 200;
const PARTITIONS: i32 = 50;
const IN_FLIGHT: usize = 256;
const ROUNDS: usize = 5;
const SLICE: Duration = Duration::from_secs(2);

pub(crate) fn run() -> anyhow::Result<String> {
    let rig = Rig::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let topic = runtime.block_on(rig.create("orders", PARTITIONS, "sync"))?;
    let mut pipeline = Pipeline::open(rig.broker.addresses().native)?;
    // The first commit makes the topic of offsets, and each group is loaded once.
    let _ = commit(&mut pipeline, topic, Duration::from_secs(1));
    let (mut commits, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let committed = commit(&mut pipeline, topic, SLICE)?;
        let produced = produce(&mut pipeline, topic, SLICE)?;
        commits.push(committed);
        ratios.push(committed / produced);
    }
    drop(pipeline);
    rig.broker.stop()?;
    Ok(format!(
        "commits: {:.0} durable offset commits/s on one core, each of one partition in one of {GROUPS} \
         groups, {IN_FLIGHT} in flight; {:.0} % of records produced one to a request at sync",
        median(commits),
        100.0 * median(ratios),
    ))
}

fn commit(pipeline: &mut Pipeline, topic: TopicId, duration: Duration) -> anyhow::Result<f64> {
    let request = |number: u64| {
        let request = OffsetCommitRequest {
            group: format!("group-{}", number % GROUPS),
            member: None,
            topics: vec![OffsetCommitTopic {
                topic_id: topic,
                partitions: vec![OffsetCommitPartition {
                    partition: partition(number / GROUPS),
                    offset: Offset::new(number as i64),
                    leader_epoch: None,
                    metadata: String::new(),
                }],
            }],
        };
        (request, Vec::new())
    };
    pipeline.run(IN_FLIGHT, duration, request, |frame| {
        let response = OffsetCommitResponse::decode(&frame.metadata)?;
        let code = response.topics[0].partitions[0].error;
        ensure!(
            response.error == ErrorCode::None && code == ErrorCode::None,
            "{response:?}"
        );
        Ok(())
    })
}

fn produce(pipeline: &mut Pipeline, topic: TopicId, duration: Duration) -> anyhow::Result<f64> {
    let mut builder = BatchBuilder::new(Compression::None, 256);
    // As many bytes as the record of a commit.
    builder.append(Timestamp::now(), None, Some(&[7; 80]), &[])?;
    let batch = builder.finish(None);
    let partitions: Vec<[ProducePartition; 1]> = (0..PARTITIONS)
        .map(|index| {
            [ProducePartition {
                topic_id: topic,
                partition: PartitionIndex::new(index),
                leader_epoch: None,
                length: u32::try_from(batch.len()).expect("short"),
            }]
        })
        .collect();
    let request = |number: u64| {
        let request = ProduceRequest {
            acks: Acks::All,
            timeout_ms: 10_000,
            transactional_id: None,
            partitions: &partitions[number as usize % partitions.len()],
        };
        (request, batch.to_vec())
    };
    pipeline.run(IN_FLIGHT, duration, request, |frame| {
        let response = ProduceResponse::decode(&frame.metadata)?;
        let code = response.partitions[0].error;
        ensure!(code == ErrorCode::None, "produce: {code}");
        Ok(())
    })
}

fn partition(number: u64) -> PartitionIndex {
    PartitionIndex::new((number % PARTITIONS as u64) as i32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
