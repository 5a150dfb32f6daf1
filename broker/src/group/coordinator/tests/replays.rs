//! Whatever was decided, a coordinator that is built from the log knows it too.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{Rig, commit, go_on, join, load, member, partition};
use crate::group::consumer::HeartbeatEpoch;
use crate::group::coordinator::*;
use crate::runtime::sim::seeds_for_steps;

/// Random steps in all, unless `CORELOG_TEST_STEPS` says how many.
const STEPS: u64 = 9_000;
const STEPS_OF_SEED: u64 = 150;

/// The newest record of every key, in their order: what compaction leaves of a log, at the least.
fn compacted(log: &[(Bytes, Option<Bytes>)]) -> Vec<(Bytes, Option<Bytes>)> {
    let newest: HashMap<&Bytes, usize> = log
        .iter()
        .enumerate()
        .map(|(place, (key, _))| (key, place))
        .collect();
    let kept = log.iter().enumerate();
    kept.filter(|(place, (key, value))| newest[key] == *place && value.is_some())
        .map(|(_, record)| record.clone())
        .collect()
}

/// Everything that can be asked of every group.
fn shown(rig: &mut Rig) -> Vec<String> {
    let names = rig.names();
    let shown = names.iter().map(|name| {
        let described = rig.ask(name, Command::Describe);
        format!("{name}: {described:?} {:?}", rig.committed(name))
    });
    shown.collect()
}

#[test]
fn a_rebuilt_coordinator_knows_all_that_was_decided() {
    for seed in seeds_for_steps(STEPS, STEPS_OF_SEED) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut rig = Rig::with(CoordinatorConfig {
            offsets_retention: Duration::from_secs(300),
            offsets_retention_check_interval: Duration::from_secs(60),
            ..CoordinatorConfig::default()
        });
        let mut epochs: HashMap<(usize, usize), i32> = HashMap::new();
        for _ in 0..STEPS_OF_SEED {
            step(&mut rig, &mut random, &mut epochs);
            if random.random_ratio(1, 10) {
                let before = shown(&mut rig);
                let log = match random.random() {
                    true => compacted(&rig.log),
                    false => rig.log.clone(),
                };
                rig.coordinator = load(&rig.config, &log);
                rig.coordinator.loaded(rig.now);
                assert_eq!(shown(&mut rig), before, "seed {seed}");
            }
        }
    }
}

fn step(rig: &mut Rig, random: &mut StdRng, epochs: &mut HashMap<(usize, usize), i32>) {
    let who @ (group, number) = (random.random_range(0..3), random.random_range(0..3));
    let (group, name) = (format!("g{group}"), format!("m{number}"));
    let topics = [&["orders"][..], &["payments"], &["orders", "payments"]];
    match random.random_range(0..10) {
        0..=4 => {
            let heartbeat = match epochs.get(&who) {
                None => join(&name, topics[random.random_range(0..3)]),
                Some(epoch) if random.random_ratio(1, 6) => {
                    let leave = go_on(&name, HeartbeatEpoch::Leave, None);
                    let _ = epoch;
                    leave
                }
                Some(epoch) => go_on(&name, HeartbeatEpoch::At(*epoch), Some(Default::default())),
            };
            match rig.heartbeat(&group, heartbeat) {
                Ok(reply) if reply.member_epoch > 0 => {
                    epochs.insert(who, reply.member_epoch);
                }
                _ => {
                    epochs.remove(&who);
                }
            }
        }
        5..=7 => {
            let topic = ["orders", "payments"][random.random_range(0..2)];
            let offset = commit(
                topic,
                random.random_range(0..3),
                random.random_range(0..1000),
            );
            let by = match epochs.get(&who) {
                Some(epoch) => member(&name, *epoch),
                None => Claim::default(),
            };
            let _ = rig.commit(&group, by, &[offset]);
        }
        8 => {
            let partitions = vec![partition(random.random_range(0..3))];
            let topics = vec![("orders".to_owned(), partitions)];
            let command = match random.random() {
                true => Command::DeleteOffsets { topics },
                false => Command::Delete,
            };
            let _ = rig.ask(&group, command);
        }
        _ => rig.turn_clock(Duration::from_secs(random.random_range(1..40))),
    }
}
