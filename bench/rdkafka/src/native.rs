//! The native client, with the same settings.

use std::time::Duration;

use anyhow::ensure;
use corelog_client::{
    ClientConfig, Consumer, PartitionIndex, Producer, ProducerRecord, TopicPartition,
};

use crate::Load;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn produce(servers: &str, load: &Load) -> anyhow::Result<()> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("acks", "all")
        .set("linger.ms", 5)
        .set("batch.size", load.batch_size)
        .set("buffer.memory", 64 << 20);
    let producer = Producer::new(&config).await?;
    for _ in 0..load.records {
        let record = ProducerRecord::to(&load.topic).value(&load.value);
        // An outcome that nobody waits for shows in the metrics.
        drop(producer.send(record).await?);
    }
    producer.close(PATIENCE).await?;
    let metrics = producer.metrics();
    ensure!(
        metrics.records == load.records as u64,
        "{} of {} records were acknowledged",
        metrics.records,
        load.records
    );
    Ok(())
}

pub(crate) async fn consume(servers: &str, load: &Load) -> anyhow::Result<()> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("auto.offset.reset", "earliest")
        .set("max.poll.records", 10_000)
        .set("max.partition.fetch.bytes", 8 << 20);
    let mut consumer = Consumer::new(&config).await?;
    let partition = TopicPartition::new(load.topic.as_str(), PartitionIndex::new(0));
    consumer.assign(&[partition]).await?;
    let mut read = 0;
    while read < load.records {
        let records = consumer.poll(PATIENCE).await?;
        ensure!(
            !records.is_empty(),
            "{read} of {} records came",
            load.records
        );
        for record in &records {
            ensure!(
                record
                    .value
                    .as_ref()
                    .is_some_and(|it| it.len() == load.value.len()),
                "record {read} is not what was sent"
            );
            read += 1;
        }
    }
    Ok(())
}
