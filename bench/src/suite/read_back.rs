//! Reading every slice back from its beginning: the check that nothing was
//! lost, and the figure of consuming what has left the broker's memory.

use anyhow::Result;

use super::Suite;
use super::slice::Slice;
use crate::interrupt;
use crate::report::{RateCeiling, Throughput};
use crate::workload::clients;
use crate::workload::consume::{Consumed, Stretch, read_back, share_out};
use crate::workload::ledger::Ledger;
use crate::workload::payload::Payloads;

impl Suite<'_> {
    /// Reads the stretches with all consumers and notes how fast it went.
    pub(super) fn read_back_all(&mut self, stretches: &[Stretch]) -> Result<Ledger> {
        let (slice, ledger) = self.read_all(stretches)?;
        if !interrupt::requested() {
            self.read_back.push(slice);
        }
        Ok(ledger)
    }

    /// Reads the stretches with all consumers.
    pub(super) fn read_all(&self, stretches: &[Stretch]) -> Result<(Slice, Ledger)> {
        let consumers = self.plan.consumers.min(stretches.len());
        let payloads = &Payloads::new(self.plan.record_size);
        let (session, progress) = (&self.session, self.progress.bytes());
        let (results, observed) = self.watched(|| {
            clients::run(&self.plan.cores, consumers, |number| {
                let mine = share_out(stretches, number, consumers);
                async move {
                    let mut receiver = session.receiver().await?;
                    read_back(&mut receiver, &mine, payloads, progress).await
                }
            })
        })?;
        let mut all = Ledger::default();
        results.iter().for_each(|(_, ledger)| all.merge(ledger));
        let consumed: Vec<&Consumed> = results.iter().map(|(consumed, _)| consumed).collect();
        Ok((Slice::of_consumers(&consumed, observed), all))
    }

    /// The figure that all slices give together.
    pub(super) fn consumed_from_the_beginning(&self) -> Option<Throughput> {
        if self.read_back.is_empty() {
            return None;
        }
        let what = "consume from the beginning".to_owned();
        Some(self.figure(what, &self.read_back, |reached| {
            let ceilings = self.ceilings.as_ref()?;
            let read = ceilings.sequential_read_mb_per_s;
            if read < ceilings.loopback_stream_mb_per_s {
                Some(RateCeiling::new("direct sequential read", read, reached))
            } else {
                self.loopback_ceiling(reached)
            }
        }))
    }
}
