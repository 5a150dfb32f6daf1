//! A steady load while members come and go. The partitions take turns, so that
//! each has new records all the time and a pause of its reader shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corelog_client::{PartitionIndex, Producer, ProducerRecord};

use super::{Gathering, LOOK};
use crate::workload::deliveries::Deliveries;
use crate::workload::payload::{Epoch, Payloads, Stamp};

/// What a producer of the load has sent.
pub(crate) struct Sent {
    pub(crate) records: u64,
    pub(crate) acknowledged: u64,
    /// How long the load lasted.
    pub(crate) elapsed: Duration,
}

/// Sends so many records a second from the gathering of all members on until
/// the load is over.
pub(crate) async fn send(
    producer: &Producer,
    topic: &str,
    number: u32,
    rate: f64,
    payloads: &mut Payloads,
    gathering: &Gathering,
) -> Result<Sent> {
    let known = producer.partitions_for(topic).await;
    known.context("no metadata of the topic")?;
    while !gathering.is_going() && !gathering.is_broken_off() {
        tokio::time::sleep(LOOK).await;
    }
    let partitions = gathering.stretches.len().max(1) as u64;
    let progress = AtomicU64::new(0);
    let mut deliveries = Deliveries::new(&progress, payloads.size() as u64);
    let (began, epoch) = (Instant::now(), Epoch::now());
    let mut sent = 0;
    while !gathering.over.load(Ordering::Acquire) && !gathering.is_broken_off() {
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        while sent < due {
            let value = payloads.stamped(Stamp {
                producer: number,
                sequence: sent,
                due: epoch.elapsed(),
            });
            let partition = i32::try_from((u64::from(number) + sent) % partitions)
                .context("fewer partitions than 2^31")?;
            gathering.sent.fetch_add(1, Ordering::AcqRel);
            sent += 1;
            let record = ProducerRecord::to(topic)
                .partition(PartitionIndex::new(partition))
                .value(value);
            let delivery = producer.send(record).await;
            deliveries.push(delivery.context("a record was refused")?);
        }
        deliveries.take_ready().await?;
        tokio::time::sleep(LOOK).await;
    }
    let elapsed = began.elapsed();
    producer
        .flush()
        .await
        .context("the last records were not acknowledged")?;
    deliveries.take_all().await?;
    gathering.sending.fetch_sub(1, Ordering::AcqRel);
    Ok(Sent {
        records: sent,
        acknowledged: deliveries.acknowledged(),
        elapsed,
    })
}
