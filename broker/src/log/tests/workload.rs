//! Appends from several tasks to several partitions, as a seed decides, until the machine stops.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::record::split_batches;
use corelog_protocol::{Durability, Offset};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Fault, Model};
use super::rig::{EPOCH, Rig, batch, small_options, start_any};
use crate::log::{LogConfig, LogOptions, PartitionLog};
pub(super) use crate::runtime::sim::seeds;
use crate::runtime::{Storage, sleep, spawn};

/// How the machine stops at the end of a round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    PowerCut,
    Kill,
}

/// What a seed decides before anything runs.
pub(super) struct Plan {
    pub(super) configs: Vec<LogConfig>,
    pub(super) options: LogOptions,
    pub(super) rounds: usize,
    /// Chance, in percent, that an append is large enough to bypass the journal.
    pub(super) large_percent: u32,
    /// Chance, in percent, that a segment is closed, the log start moved or the end cut back instead
    /// of an append.
    pub(super) rearranging_percent: u32,
}

pub(super) fn new_models(plan: &Plan) -> Vec<Rc<RefCell<Model>>> {
    plan.configs
        .iter()
        .map(|_| Rc::new(RefCell::new(Model::default())))
        .collect()
}

pub(super) fn plan(random: &mut StdRng, stop: Stop) -> Plan {
    let partitions = random.random_range(1..6);
    let configs = (0..partitions)
        .map(|_| LogConfig {
            durability: match (stop, random.random_range(0..4)) {
                (Stop::Kill, 0 | 1) => Durability::Written,
                _ => Durability::Sync,
            },
            segment_bytes: *[512 << 10, 600 << 10, 4 << 20]
                .get(random.random_range(0..3_usize))
                .unwrap(),
            segment_age: Duration::from_millis(*pick(random, &[20, 3_600_000])),
            file_delete_delay: Duration::from_millis(*pick(random, &[0, 10, 60_000])),
            ..LogConfig::default()
        })
        .collect();
    let mut options = small_options();
    options.journal.checkpoint_bytes = 1 << random.random_range(18..22);
    options.write_out_bytes = 1 << random.random_range(13..18);
    Plan {
        configs,
        options,
        rounds: random.random_range(1..5),
        large_percent: random.random_range(0..25),
        rearranging_percent: *pick(random, &[0, 5, 30]),
    }
}

fn pick<'a, T>(random: &mut StdRng, choices: &'a [T]) -> &'a T {
    &choices[random.random_range(0..choices.len())]
}

/// Nothing is suspect, and every log holds what its model says.
pub(super) async fn check_all(
    rig: &Rig,
    models: &[Rc<RefCell<Model>>],
    context: &str,
) -> Result<(), Fault> {
    check_served(rig, models, context).await?;
    match rig.suspects.first_key_value() {
        None => Ok(()),
        Some((index, reason)) => Err(Fault::Suspect(format!(
            "{context}, partition {index}: {reason}"
        ))),
    }
}

/// Every log that is open holds what its model says.
pub(super) async fn check_served(
    rig: &Rig,
    models: &[Rc<RefCell<Model>>],
    context: &str,
) -> Result<(), Fault> {
    for (&index, log) in &rig.logs {
        // A copy: the power may go while it is checked.
        let mut checked = models[index].borrow().clone();
        checked
            .check(log, &format!("{context}, partition {index}"))
            .await?;
        models[index].replace(checked);
    }
    Ok(())
}

pub(super) async fn round_of_appends(
    disk: &Storage,
    plan: &Plan,
    models: &[Rc<RefCell<Model>>],
    seed: u64,
    context: &str,
) -> Result<(), Fault> {
    let rig = start_any(disk.clone(), plan.options.clone(), &plan.configs).await;
    check_all(&rig, models, context).await?;
    let mut appenders = Vec::new();
    for (&index, log) in &rig.logs {
        let random = StdRng::seed_from_u64(seed ^ index as u64);
        let level = plan.configs[index].durability;
        let appender = append_for_ever(
            log.clone(),
            models[index].clone(),
            random,
            (plan.large_percent, plan.rearranging_percent),
        );
        appenders.push(spawn(appender));
        appenders.push(spawn(acknowledge(
            log.clone(),
            models[index].clone(),
            level,
        )));
    }
    for appender in appenders {
        appender.await;
    }
    Ok(())
}

async fn append_for_ever(
    log: Rc<PartitionLog>,
    model: Rc<RefCell<Model>>,
    mut random: StdRng,
    (large_percent, rearranging_percent): (u32, u32),
) {
    loop {
        if random.random_range(0..100) < rearranging_percent {
            rearrange(&log, &model, &mut random).await;
        } else {
            append_one(&log, &model, &mut random, large_percent).await;
        }
        if random.random_range(0..4) == 0 {
            sleep(Duration::from_micros(random.random_range(1..3000))).await;
        }
    }
}

async fn rearrange(log: &PartitionLog, model: &RefCell<Model>, random: &mut StdRng) {
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    match random.random_range(0..4) {
        0 => {
            log.roll_idle();
        }
        1 => {
            log.roll_if_due().await;
        }
        2 => {
            let to = random.random_range(start..=end);
            model.borrow_mut().log_start_asked = usize::try_from(to).unwrap();
            let moved = log.advance_log_start(Offset::new(to)).await.unwrap();
            assert_eq!(moved.get(), to);
            model.borrow_mut().log_start = usize::try_from(to).unwrap();
        }
        _ => {
            // Batches hold up to 20 records: where the cut ends is known only afterwards.
            let to = random.random_range(start.max(end - 100)..=end);
            let Some(to) = batch_start(log, to).await else {
                return;
            };
            model.borrow_mut().cutting_to = Some(to);
            let cut = log.truncate(Offset::new(i64::try_from(to).unwrap()));
            assert_eq!(usize::try_from(cut.await.unwrap().get()).unwrap(), to);
            model.borrow_mut().cut(to);
        }
    }
}

/// The first offset of the batch that holds `offset`; none at the log end, and where that batch begins
/// before the log start.
async fn batch_start(log: &PartitionLog, offset: i64) -> Option<usize> {
    let end = log.log_end_offset();
    let read = log.read(Offset::new(offset), end, 1).await.unwrap();
    let bytes = read.to_bytes();
    let first = split_batches(&bytes).next()?.unwrap().base_offset();
    let is_held = first >= log.log_start_offset();
    is_held.then(|| usize::try_from(first.get()).unwrap())
}

async fn append_one(
    log: &PartitionLog,
    model: &RefCell<Model>,
    random: &mut StdRng,
    large_percent: u32,
) {
    let large = random.random_range(0..100) < large_percent;
    let records = if large { 1 } else { random.random_range(1..20) };
    let values: Vec<Vec<u8>> = (0..records)
        .map(|_| {
            let length = if large {
                random.random_range(100_000..400_000)
            } else {
                random.random_range(0..1500)
            };
            let mut value = vec![random.random(); length];
            random.fill(&mut value[..length.min(64)]);
            value
        })
        .collect();
    let bytes = batch(&values, 1);
    model.borrow_mut().sent.extend(values);
    log.append(&bytes, log.log_end_offset(), EPOCH, None)
        .await
        .unwrap();
}

/// Appends to every log that is open, and waits until all of it is durable.
pub(super) async fn append_durably(
    rig: &Rig,
    models: &[Rc<RefCell<Model>>],
    random: &mut StdRng,
    appends: usize,
) {
    for (&index, log) in &rig.logs {
        for _ in 0..appends {
            append_one(log, &models[index], random, 10).await;
        }
        log.set_config(LogConfig::default()); // whatever it was: now it is `sync`
        while log.end_offset_at(Durability::Sync) < log.log_end_offset() {
            log.changed().await;
        }
        let mut model = models[index].borrow_mut();
        model.acknowledged = model.sent.len();
    }
}

async fn acknowledge(log: Rc<PartitionLog>, model: Rc<RefCell<Model>>, level: Durability) {
    loop {
        log.changed().await;
        let end = usize::try_from(log.end_offset_at(level).get()).unwrap();
        let mut model = model.borrow_mut();
        model.acknowledged = model.acknowledged.max(end);
    }
}
