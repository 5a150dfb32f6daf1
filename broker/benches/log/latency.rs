//! How long single appends to one partition take to be durable, while something else goes on.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::Context;
use corelog_broker::log::PartitionLog;
use corelog_broker::runtime::{now, spawn};

use crate::rig::{append, record, until_durable};

/// Latencies in microseconds.
#[derive(Default)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let index = (self.0.len() as f64 * share) as usize;
        self.0[index.min(self.0.len() - 1)]
    }
}

/// Appends to `probe`, one record at a time, for as long as `other` runs.
pub(crate) async fn while_running<T>(
    probe: &Rc<PartitionLog>,
    other: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Latencies, T)> {
    let ended = Rc::new(Cell::new(false));
    let appender = spawn({
        let (probe, ended, batch) = (Rc::clone(probe), Rc::clone(&ended), record(1024));
        async move {
            let mut latencies = Latencies::default();
            while !ended.get() || latencies.0.is_empty() {
                let start = now();
                let end = append(&probe, &batch).await?;
                until_durable(&probe, end).await;
                latencies.0.push((now() - start).as_secs_f64() * 1e6);
            }
            anyhow::Ok(latencies)
        }
    });
    let result = other.await;
    ended.set(true);
    let latencies = appender.await.context("the probe")?;
    Ok((latencies, result?))
}
