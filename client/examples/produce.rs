//! Sends the lines of its input, each as a record; what stands before a first tab is the record's key.
//!
//! ```text
//! printf 'ann\t2 apples\nbob\t1 pear\n' | cargo run -p corelog-client --example produce -- 127.0.0.1:9190 orders
//! ```
//!
//! Lines are sent without waiting for those before them, and written once and in order per key all the same. Each one's own
//! outcome is looked at: one that failed does not hide that others were written.

use std::io::BufRead;
use std::time::Duration;

use corelog_client::{ClientConfig, Delivery, Producer, ProducerMetrics, ProducerRecord};

/// Lines on their way at most: their deliveries lie in memory.
const MOST_UNDER_WAY: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, topic] = &arguments[..] else {
        anyhow::bail!("usage: produce HOST:PORT TOPIC");
    };
    let (metrics, failed) = produce(servers, topic, std::io::stdin().lock()).await?;
    println!(
        "{} records in {} batches, {} sent again; {}",
        metrics.records, metrics.batches, metrics.retries, metrics.latency
    );
    anyhow::ensure!(failed == 0, "{failed} lines may not have been written");
    Ok(())
}

/// Sends every line, and returns what the producer counted and how many lines failed.
pub(crate) async fn produce(
    servers: &str,
    topic: &str,
    lines: impl BufRead,
) -> anyhow::Result<(ProducerMetrics, usize)> {
    let config = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("linger.ms", 5)
        .set("compression.type", "lz4");
    let producer = Producer::new(&config).await?;
    let mut deliveries = Vec::new();
    let mut failed = 0;
    for line in lines.lines() {
        let line = line?;
        let record = ProducerRecord::to(topic);
        let record = match line.split_once('\t') {
            Some((key, value)) => record.key(key).value(value),
            None => record.value(&line),
        };
        // It waits only while `buffer.memory` is full.
        deliveries.push(producer.send(record).await?);
        if deliveries.len() == MOST_UNDER_WAY {
            failed += count_failed(&mut deliveries).await;
        }
    }
    failed += count_failed(&mut deliveries).await;
    producer.close(Duration::from_secs(30)).await?;
    Ok((producer.metrics(), failed))
}

async fn count_failed(deliveries: &mut Vec<Delivery>) -> usize {
    let mut failed = 0;
    for delivery in deliveries.drain(..) {
        if let Err(error) = delivery.await {
            eprintln!("{error}");
            failed += 1;
        }
    }
    failed
}
