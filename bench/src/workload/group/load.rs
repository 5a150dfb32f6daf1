//! A steady load while members come and go. The partitions take turns, so that
//! each has new records all the time and a pause of its reader shows.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corelog_client::PartitionIndex;

use super::{Gathering, LOOK};
use crate::workload::client::Sender;
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
    sender: &mut Sender<'_>,
    topic: &str,
    number: u32,
    rate: f64,
    payloads: &mut Payloads,
    gathering: &Gathering,
) -> Result<Sent> {
    sender.prepare(topic).await?;
    while !gathering.is_going() && !gathering.is_broken_off() {
        tokio::time::sleep(LOOK).await;
    }
    let partitions = gathering.stretches.len().max(1) as u64;
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
            let partition = PartitionIndex::new(partition);
            sender.send(topic, Some(partition), value).await?;
        }
        sender.take_ready().await?;
        tokio::time::sleep(LOOK).await;
    }
    let elapsed = began.elapsed();
    sender.flush().await?;
    gathering.sending.fetch_sub(1, Ordering::AcqRel);
    Ok(Sent {
        records: sent,
        acknowledged: sender.acknowledged(),
        elapsed,
    })
}
