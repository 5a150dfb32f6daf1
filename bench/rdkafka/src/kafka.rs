//! librdkafka, set for throughput.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use crate::Load;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Count(Arc<[AtomicUsize; 2]>);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn produce(servers: &str, load: &Load) -> anyhow::Result<()> {
    let count = Count::default();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("acks", "all")
        // With idempotence it sends a batch only when the one before is out, whatever may be in flight.
        .set("enable.idempotence", "false")
        .set("queue.buffering.backpressure.threshold", "10")
        .set("max.in.flight.requests.per.connection", "5")
        .set("linger.ms", "5")
        .set("batch.size", load.batch_size.to_string())
        .set("batch.num.messages", "1000000")
        .set("message.max.bytes", (2 * load.batch_size).to_string())
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("socket.nagle.disable", "true");
    set(&mut config, load);
    let producer: ThreadedProducer<Count> = config.create_with_context(count.clone())?;
    for number in 0..load.records {
        let partition = (number * load.partitions / load.records) as i32;
        let mut record = BaseRecord::<(), [u8]>::to(&load.topic)
            .partition(partition)
            .payload(&load.value[..]);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    producer.flush(PATIENCE)?;
    let [written, failed] = [0, 1].map(|it| count.0[it].load(Ordering::Relaxed));
    ensure!(
        written == load.records,
        "{written} of {} records were acknowledged, {failed} failed",
        load.records
    );
    Ok(())
}

pub(crate) fn consume(servers: &str, load: &Load) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "8388608")
        .set("fetch.max.bytes", "52428800")
        .set("fetch.wait.max.ms", "100")
        .set("queued.max.messages.kbytes", "65536")
        .set("fetch.queue.backoff.ms", "1")
        .set("check.crcs", "true");
    set(&mut config, load);
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..load.partitions {
        partitions.add_partition_offset(&load.topic, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    for read in 0..load.records {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => ensure!(
                message
                    .payload()
                    .is_some_and(|it| it.len() == load.value.len()),
                "record {read} is not what was sent"
            ),
            Some(Err(error)) => return Err(error.into()),
            None => bail!("{read} of {} records came", load.records),
        }
    }
    Ok(())
}

fn set(config: &mut ClientConfig, load: &Load) {
    for (key, value) in load.settings.iter().filter_map(|it| it.split_once('=')) {
        config.set(key, value);
    }
}
