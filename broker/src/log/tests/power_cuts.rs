//! The power goes while records are appended, again and again. A record that was acknowledged at
//! `sync` must be there afterwards, once, in order, with its bytes; nothing must be there that was
//! never sent. The same for the death of the process, where `written` counts too.
//!
//! The story behind the two canaries: a broker that acknowledges before the flush, and one that
//! recycles its journal before the segments are synced, pass every test that does not cut the
//! power at the right moment. These seeds do.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::Durability;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Fault, Model};
use super::rig::{EPOCH, Rig, batch, small_options, start_any, storage};
use crate::log::canary::{Canary, plant};
use crate::log::{LogConfig, LogOptions, PartitionLog};
use crate::runtime::{Simulator, sleep, spawn};

const SEEDS: u64 = 500;

/// How the machine stops at the end of a round.
#[derive(Debug, Clone, Copy)]
enum Stop {
    PowerCut,
    Kill,
}

/// How many seeds to run: more when `CORELOG_TEST_SEEDS` says so.
fn seeds() -> u64 {
    std::env::var("CORELOG_TEST_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(SEEDS)
}

fn first_seed() -> u64 {
    std::env::var("CORELOG_TEST_FIRST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0)
}

#[test]
fn no_power_cut_takes_an_acknowledged_record() {
    for seed in first_seed()..first_seed() + seeds() {
        run_seed(seed, Stop::PowerCut).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn no_death_of_the_process_takes_a_written_record() {
    for seed in 0..seeds() / 2 {
        run_seed(seed, Stop::Kill).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

#[test]
fn a_log_without_flushes_is_caught() {
    assert_is_caught(Canary::FlushRemoved);
}

#[test]
fn a_log_that_recycles_its_journal_too_early_is_caught() {
    assert_is_caught(Canary::RecycleBeforeSegmentSync);
}

/// Some seed loses acknowledged records with the planted bug and none without it.
fn assert_is_caught(canary: Canary) {
    let lost = |seed: &u64| matches!(run_seed(*seed, Stop::PowerCut), Err(Fault::Lost(_)));
    plant(Some(canary));
    let caught = (0..SEEDS).find(lost);
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed lost a record to {canary:?}"));
    assert_eq!(run_seed(seed, Stop::PowerCut), Ok(()), "without the bug");
}

/// What a seed decides before anything runs.
struct Plan {
    configs: Vec<LogConfig>,
    options: LogOptions,
    rounds: usize,
    /// Chance, in percent, that an append is large enough to bypass the journal.
    large_percent: u32,
}

fn plan(random: &mut StdRng, stop: Stop) -> Plan {
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
    }
}

fn run_seed(seed: u64, stop: Stop) -> Result<(), Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let plan = plan(&mut random, stop);
    let mut simulator = Simulator::new(seed);
    let disk = storage(&simulator);
    let models: Vec<_> = plan
        .configs
        .iter()
        .map(|_| Rc::new(RefCell::new(Model::default())))
        .collect();
    for round in 0..plan.rounds {
        let context = format!("seed {seed}, {stop:?}, round {round}");
        let millis = random.random_range(1..200);
        let workload_seed = random.random();
        let round = round_of_appends(&disk, &plan, &models, workload_seed, &context);
        if let Some(Err(fault)) = simulator.run_until(Duration::from_millis(millis), round) {
            return Err(fault);
        }
        match stop {
            Stop::PowerCut => simulator.crash(),
            Stop::Kill => simulator.kill(),
        }
    }
    simulator.run(async {
        let rig = start_any(disk.clone(), plan.options.clone(), &plan.configs).await;
        check_all(&rig, &models, &format!("seed {seed}, {stop:?}, at the end")).await?;
        rig.shard.close().await.unwrap();
        Ok(())
    })
}

async fn check_all(rig: &Rig, models: &[Rc<RefCell<Model>>], context: &str) -> Result<(), Fault> {
    for (&index, log) in &rig.logs {
        // A copy: the power may go while it is checked.
        let mut checked = models[index].borrow().clone();
        checked
            .check(log, &format!("{context}, partition {index}"))
            .await?;
        models[index].replace(checked);
    }
    match rig.suspects.first_key_value() {
        None => Ok(()),
        Some((index, reason)) => Err(Fault::Suspect(format!(
            "{context}, partition {index}: {reason}"
        ))),
    }
}

async fn round_of_appends(
    disk: &crate::runtime::Storage,
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
            plan.large_percent,
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
    large_percent: u32,
) {
    loop {
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
        if random.random_range(0..4) == 0 {
            sleep(Duration::from_micros(random.random_range(1..3000))).await;
        }
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
