//! A consumer group: how fast it reads, beside consumers that need none, and
//! what it costs that a member joins or leaves.
//!
//! Records are written once. Then plain consumers and a new group read them in
//! turn, each doing the same with every record, and the medians are compared.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result};

use super::slice::Slice;
use super::throughput::LINGER_MS;
use super::{Suite, median};
use crate::interrupt;
use crate::plan::{GroupPlan, Part};
use crate::report::{Group, RateCeiling, Rebalance, Throughput};
use crate::workload::clients;
use crate::workload::consume::{Consumed, Stretch};
use crate::workload::group::Gathering;
use crate::workload::group::change::{Change, conduct};
use crate::workload::group::load::{Sent, send};
use crate::workload::group::member::Member;
use crate::workload::ledger::{Ledger, Verdict};
use crate::workload::payload::Payloads;
use crate::workload::session::Topic;

/// The load comes in small batches to every partition.
const LOAD_BATCH: usize = 64 << 10;

/// What one client of the load came back with.
enum Outcome {
    Sent(Sent),
    Read(Ledger),
    Changed(Option<Change>),
}

impl Suite<'_> {
    /// `part` tells how what the group reads is written.
    pub(super) fn measure_group(&mut self, plan: &GroupPlan, part: &Part) -> Result<Option<Group>> {
        if interrupt::requested() {
            return Ok(None);
        }
        let topic = self.topic(part.durability, plan.partitions)?;
        let read = self.read_in_turn(plan, part, &topic)?;
        self.delete(&topic)?;
        let Some((throughput, mut verdict)) = read else {
            return Ok(None);
        };
        // A new one, in which nothing stands that a member could take for the load.
        let topic = self.topic(part.durability, plan.partitions)?;
        let rebalance = self.rebalance_under_load(plan, &topic, &mut verdict)?;
        self.delete(&topic)?;
        Ok(Some(Group {
            members: plan.members,
            partitions: usize::try_from(topic.partitions).unwrap_or(0),
            throughput,
            rebalance,
            verdict,
        }))
    }

    /// The group's figure, with that of plain consumers as its ceiling.
    fn read_in_turn(
        &mut self,
        plan: &GroupPlan,
        part: &Part,
        topic: &Topic,
    ) -> Result<Option<(Throughput, Verdict)>> {
        let written = Part {
            slices: 1,
            slice: plan.written,
            ..part.clone()
        };
        let expected = plan.written.expected();
        let before = self.ends(topic)?;
        self.progress.step("produce, for a group", expected);
        let produced = self.produce_all(&written, topic)?;
        let sent: Vec<u64> = produced.iter().map(|part| part.sent).collect();
        let acknowledged = produced.iter().map(|part| part.acknowledged).sum();
        let stretches = self.written_since(&before, sent.iter().sum())?;

        let (mut plain, mut slices) = (Vec::new(), Vec::new());
        let mut verdict = Verdict::default();
        for number in 0..plan.slices {
            // A B, B A, …: what is read first leaves the machine as it likes.
            for is_group in [number % 2 == 1, number % 2 == 0] {
                let who = if is_group { "group" } else { "plain consumers" };
                let name = format!("read by {who}, slice {}", number + 1);
                self.progress.step(name, expected);
                let (slice, ledger) = match is_group {
                    true => self.read_as_group(plan, &topic.name, &stretches)?,
                    false => self.read_all(&stretches)?,
                };
                if interrupt::requested() {
                    return Ok(None);
                }
                let read = ledger.verdict(&sent, acknowledged);
                if is_group {
                    verdict.add(read);
                    slices.push(slice);
                } else {
                    // What is read again and again was sent once.
                    if number == 0 {
                        self.verdict.add(read);
                    }
                    plain.push(slice);
                }
            }
        }
        let members = plan.members;
        let plural = if members == 1 { "" } else { "s" };
        let what = format!("{members} member{plural}, from the beginning");
        let plain: Vec<f64> = plain.iter().map(|it| it.transfer.mb_per_s()).collect();
        let name = match self.plan.consumers {
            1 => "plain consumer",
            _ => "plain consumers",
        };
        let mut figure = self.figure(what, &slices, |reached| {
            Some(RateCeiling::new(name, median(plain.clone()), reached))
        });
        figure.ceiling_slices_mb_per_s = plain;
        // The cores were watched while the members came and left, too.
        figure.busy = None;
        Ok(Some((figure, verdict)))
    }

    /// One slice: a new group reads the stretches once.
    fn read_as_group(
        &self,
        plan: &GroupPlan,
        topic: &str,
        stretches: &[Stretch],
    ) -> Result<(Slice, Ledger)> {
        let gathering = &Gathering::new(plan.members, stretches, 0);
        let payloads = &Payloads::new(self.plan.record_size);
        let (session, progress) = (&self.session, self.progress.bytes());
        let group = &session.new_group();
        let (results, observed) = self.watched(|| {
            clients::run(&self.plan.cores, plan.members, |number| {
                let attendance = gathering.attendance();
                async move {
                    let consumer = session.group_consumer(group).await?;
                    let member = Member::new(consumer, number, gathering, payloads, progress);
                    let read = member.attend(topic).await?;
                    attendance.done();
                    Ok(read)
                }
            })
        })?;
        self.delete_group(group)?;
        let mut all = Ledger::default();
        results.iter().for_each(|(_, ledger)| all.merge(ledger));
        let consumed: Vec<&Consumed> = results.iter().map(|(consumed, _)| consumed).collect();
        Ok((Slice::of_consumers(&consumed, observed), all))
    }

    /// `None` if it was interrupted. What the group read is added to `verdict`.
    fn rebalance_under_load(
        &self,
        plan: &GroupPlan,
        topic: &Topic,
        verdict: &mut Verdict,
    ) -> Result<Option<Rebalance>> {
        self.progress
            .step("a member joins and leaves", plan.stretch * 4);
        let ends = self.ends(topic)?;
        let gathering = Gathering::new(plan.members, &ends, self.plan.producers);
        let outcomes = self.load_and_change(plan, &topic.name, &gathering)?;
        if interrupt::requested() {
            return Ok(None);
        }
        let mut ledger = Ledger::default();
        let (mut sent, mut acknowledged, mut change) = (Vec::new(), 0, None);
        let mut records_per_s = 0.0;
        for outcome in &outcomes {
            match outcome {
                Outcome::Sent(theirs) => {
                    sent.push(theirs.records);
                    acknowledged += theirs.acknowledged;
                    records_per_s += theirs.records as f64 / theirs.elapsed.as_secs_f64().max(1e-9);
                }
                Outcome::Read(seen) => ledger.merge(seen),
                Outcome::Changed(noticed) => change = *noticed,
            }
        }
        let read = ledger.verdict(&sent, acknowledged);
        verdict.add(read);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        Ok(change.map(|change| Rebalance {
            rate: plan.rate,
            records_per_s,
            joining_us: micros(change.joining),
            leaving_us: micros(change.leaving),
            longest_pause_us: change.longest_pause.map(micros),
            longest_pause_before_us: change.calm_pause.map(micros),
            records: read.sent,
            delivered_twice: read.duplicated,
        }))
    }

    /// Producers are the first tasks, so that their numbers count from zero;
    /// then come the members, the newcomer, and who has it come and go.
    fn load_and_change(
        &self,
        plan: &GroupPlan,
        topic: &str,
        gathering: &Arc<Gathering>,
    ) -> Result<Vec<Outcome>> {
        let (producers, members) = (self.plan.producers, plan.members);
        let rate = plan.rate as f64 / producers as f64;
        let linger_ms = self.plan.linger_ms.unwrap_or(LINGER_MS);
        let payloads = &Payloads::new(self.plan.record_size);
        let (session, progress) = (&self.session, self.progress.bytes());
        let group = &session.new_group();
        let outcomes = clients::run(&self.plan.cores, producers + members + 2, |task| {
            let attendance = gathering.attendance();
            async move {
                let outcome = if task < producers {
                    let unseen = AtomicU64::new(0);
                    let sender = session.sender(LOAD_BATCH, linger_ms, &unseen);
                    let mut sender = sender.await?;
                    let number = u32::try_from(task).context("fewer producers than 2^32")?;
                    let mut payloads = payloads.clone();
                    let sent =
                        send(&mut sender, topic, number, rate, &mut payloads, gathering).await?;
                    sender.close().await?;
                    Outcome::Sent(sent)
                } else if task <= producers + members {
                    let number = task - producers;
                    let consumer = session.group_consumer(group).await?;
                    let member = Member::new(consumer, number, gathering, payloads, progress);
                    let (_, ledger) = match number < members {
                        true => member.attend(topic).await?,
                        false => member.come_and_go(topic).await?,
                    };
                    Outcome::Read(ledger)
                } else {
                    Outcome::Changed(conduct(gathering, plan.stretch).await?)
                };
                attendance.done();
                Ok(outcome)
            }
        })?;
        self.delete_group(group)?;
        Ok(outcomes)
    }

    /// Members that were interrupted may not have left: then the group stays until its offsets expire.
    fn delete_group(&self, group: &str) -> Result<()> {
        if interrupt::requested() {
            return Ok(());
        }
        let session = &self.session;
        clients::run_one(&self.plan.cores, || session.delete_group(group))
    }
}
