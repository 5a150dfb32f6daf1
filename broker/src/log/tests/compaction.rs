//! Compaction while records are appended and read, and the power goes, or the process dies, at any
//! moment.
//!
//! The story behind the two canaries: sources that are removed before what replaces them is on the
//! platter are lost with the power; and a log that remembers how far it was compacted before it was
//! has older records of a key in its clean part for good. When the key's tombstone has served its
//! time and goes, the deleted value is back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::record::{BatchBuilder, Header, split_batches};
use corelog_protocol::{Compression, Durability, Offset, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{EPOCH, Rig, small_options, start_any, storage};
use super::workload::{Stop, seeds};
use crate::log::canary::{Canary, plant};
use crate::log::{CompactionConfig, CompactionOptions, LogConfig, LogOptions, PartitionLog};
use crate::runtime::{Simulator, Storage, sleep, spawn};

const SEEDS: u64 = 60;
/// Milliseconds between the timestamps of a record and the next.
const TICK: i64 = 10;

/// What a compacted log must not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    /// The newest value of a key is not there, or the log is not served.
    #[error("lost: {0}")]
    Lost(String),
    /// A deleted value is there and its tombstone is not.
    #[error("back from the dead: {0}")]
    Back(String),
    /// A key has two records in the part that was compacted.
    #[error("not compacted: {0}")]
    NotCompacted(String),
    /// Other records, another order, or a read that fails.
    #[error("wrong: {0}")]
    Wrong(String),
}

#[derive(Clone, PartialEq, Eq)]
struct Sent {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Model {
    sent: Vec<Sent>,
    acknowledged: usize,
}

/// The records of a log that are there, by offset.
type Present = BTreeMap<usize, Sent>;

/// Reads from `from` to `until` and compares with what was sent.
async fn read(
    log: &PartitionLog,
    sent: &RefCell<Model>,
    from: usize,
    until: usize,
    max_bytes: usize,
) -> Result<Present, Fault> {
    let offset = |at: usize| Offset::new(i64::try_from(at).unwrap());
    let (mut present, mut at) = (Present::new(), from);
    while at < until {
        let read = log.read(offset(at), offset(until), max_bytes).await;
        let read = read.map_err(|error| Fault::Wrong(format!("offset {at}: {error}")))?;
        let bytes = read.to_bytes();
        if bytes.is_empty() {
            return Err(Fault::Wrong(format!("nothing to read at {at} of {until}")));
        }
        for batch in split_batches(&bytes) {
            let batch = batch.map_err(|error| Fault::Wrong(format!("at {at}: {error}")))?;
            batch
                .verify_crc()
                .map_err(|error| Fault::Wrong(format!("at {at}: {error}")))?;
            let next = usize::try_from(batch.next_offset().get()).unwrap();
            if next <= at {
                return Err(Fault::Wrong(format!("{batch:?} where {at} was expected")));
            }
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.map_err(|error| Fault::Wrong(error.to_string()))?;
                let place = usize::try_from(record.offset.get()).unwrap();
                let found = Sent {
                    key: record.key.unwrap_or_default().to_vec(),
                    value: record.value.map(<[u8]>::to_vec),
                };
                let same = sent.borrow().sent.get(place) == Some(&found)
                    && record.timestamp.get() == record.offset.get() * TICK
                    && record.headers.count() == place % 2;
                if !same {
                    return Err(Fault::Wrong(format!("record {place} is not what was sent")));
                }
                present.insert(place, found);
            }
            at = next;
        }
    }
    present.retain(|place, _| *place >= from);
    Ok(present)
}

/// What a start found must be what was acknowledged, as far as compaction leaves it.
async fn check(log: &PartitionLog, model: &RefCell<Model>, context: &str) -> Result<(), Fault> {
    let end = usize::try_from(log.log_end_offset().get()).unwrap();
    {
        let mut model = model.borrow_mut();
        if end < model.acknowledged {
            let acknowledged = model.acknowledged;
            return Err(Fault::Lost(format!(
                "{context}: {acknowledged} records were acknowledged and the log ends at {end}"
            )));
        }
        if end > model.sent.len() {
            return Err(Fault::Wrong(format!("{context}: it ends at {end}")));
        }
        model.sent.truncate(end);
        model.acknowledged = end;
    }
    let present = read(log, model, 0, end, 64 << 10).await?;
    let mut by_key: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (place, sent) in model.borrow().sent.iter().enumerate() {
        by_key.entry(sent.key.clone()).or_default().push(place);
    }
    let first_dirty = usize::try_from(log.compaction.first_dirty.get().get()).unwrap();
    for (key, places) in by_key {
        let newest = *places.last().unwrap();
        let is_tombstone = model.borrow().sent[newest].value.is_none();
        let left: Vec<_> = places
            .into_iter()
            .filter(|it| present.contains_key(it))
            .collect();
        let found = format!("{context}: key {key:?} has {left:?}, the newest is {newest}");
        match left.last() {
            Some(last) if *last == newest => {}
            None if is_tombstone => {}
            Some(_) if is_tombstone => return Err(Fault::Back(found)),
            _ => return Err(Fault::Lost(found)),
        }
        if left.iter().filter(|place| **place < first_dirty).count() > 1 {
            return Err(Fault::NotCompacted(format!(
                "{found}, clean below {first_dirty}"
            )));
        }
    }
    check_lookups(log, model, &present, end).await
}

/// Offsets and timestamps in holes lead to the next record there is.
async fn check_lookups(
    log: &PartitionLog,
    model: &RefCell<Model>,
    present: &Present,
    end: usize,
) -> Result<(), Fault> {
    for from in (0..end).step_by(1 + end / 7) {
        let expected = present.range(from..).next();
        let read = read(log, model, from, end, 1).await?;
        if read.first_key_value() != expected {
            return Err(Fault::Wrong(format!(
                "a read from {from} finds another record"
            )));
        }
        let timestamp = Timestamp::new(i64::try_from(from).unwrap() * TICK);
        let found = log.find_timestamp(timestamp, log.log_end_offset()).await;
        let found = found.map_err(|error| Fault::Wrong(error.to_string()))?;
        let found = found.map(|(_, offset)| usize::try_from(offset.get()).unwrap());
        let expected = expected.map(|(place, _)| *place);
        if found != expected {
            return Err(Fault::Wrong(format!(
                "{timestamp} is found at {found:?} and is at {expected:?}"
            )));
        }
    }
    Ok(())
}

/// What a seed decides before anything runs.
struct Plan {
    configs: Vec<LogConfig>,
    options: LogOptions,
    keys: u32,
    rounds: usize,
}

fn plan(random: &mut StdRng) -> Plan {
    let configs = (0..random.random_range(1..3))
        .map(|_| LogConfig {
            segment_bytes: 1 << random.random_range(13..17),
            index_interval_bytes: 1 << random.random_range(6..13),
            compaction: Some(CompactionConfig {
                min_dirty_ratio: f64::from(random.random_range(0..5)) / 10.0,
                delete_retention: Duration::from_millis(random.random_range(0..2) * 20),
                ..CompactionConfig::default()
            }),
            ..LogConfig::default()
        })
        .collect();
    let mut options = small_options();
    options.open_files = random.random_range(1..8);
    options.compaction = CompactionOptions {
        map_bytes: 24 * random.random_range(4..100),
        io_bytes: 4096 << random.random_range(0..4),
        ..CompactionOptions::default()
    };
    Plan {
        configs,
        options,
        keys: random.random_range(2..60),
        rounds: random.random_range(1..5),
    }
}

async fn append_one(log: &PartitionLog, model: &RefCell<Model>, keys: u32, random: &mut StdRng) {
    let codecs = [Compression::None, Compression::Lz4, Compression::Snappy];
    let codec = codecs[random.random_range(0..codecs.len())];
    let mut builder = BatchBuilder::new(codec, 1024);
    for _ in 0..random.random_range(1..12) {
        let place = model.borrow().sent.len();
        let key = format!("key {}", random.random_range(0..keys)).into_bytes();
        let value = (random.random_range(0..4) > 0).then(|| {
            let mut value = vec![7; random.random_range(8..300)];
            random.fill(&mut value[..8]);
            value
        });
        let header = Header {
            key: "h",
            value: None,
        };
        let headers = &[header][..place % 2];
        let time = Timestamp::new(i64::try_from(place).unwrap() * TICK);
        builder
            .append(time, Some(&key), value.as_deref(), headers)
            .unwrap();
        model.borrow_mut().sent.push(Sent { key, value });
    }
    let batch = builder.finish(None);
    log.append(&batch, log.log_end_offset(), EPOCH, None)
        .await
        .unwrap();
}

/// Appends, acknowledges, reads and compacts until the machine stops.
async fn work(rig: &Rig, models: &[Rc<RefCell<Model>>], plan: &Plan, seed: u64) -> Fault {
    let fault: Rc<RefCell<Option<Fault>>> = Rc::default();
    for (&index, log) in &rig.logs {
        let (log, model, keys) = (log.clone(), models[index].clone(), plan.keys);
        let mut random = StdRng::seed_from_u64(seed ^ index as u64);
        spawn({
            let (log, model, mut random) = (log.clone(), model.clone(), random.clone());
            async move {
                loop {
                    append_one(&log, &model, keys, &mut random).await;
                    sleep(Duration::from_micros(random.random_range(1..2000))).await;
                }
            }
        })
        .detach();
        spawn({
            let (log, model) = (log.clone(), model.clone());
            async move {
                loop {
                    log.changed().await;
                    let end = log.end_offset_at(Durability::Sync).get();
                    let mut model = model.borrow_mut();
                    model.acknowledged = model.acknowledged.max(usize::try_from(end).unwrap());
                }
            }
        })
        .detach();
        let fault = fault.clone();
        spawn(async move {
            loop {
                let until = model.borrow().acknowledged;
                let from = random.random_range(0..=until);
                let max_bytes = random.random_range(1..20_000);
                if let Err(found) = read(&log, &model, from, until, max_bytes).await {
                    *fault.borrow_mut() = Some(found);
                    return;
                }
                sleep(Duration::from_micros(random.random_range(1..5000))).await;
            }
        })
        .detach();
    }
    loop {
        if let Some(fault) = fault.borrow().clone() {
            return fault;
        }
        compact_once(rig).await;
        sleep(Duration::from_millis(1)).await;
    }
}

async fn compact_once(rig: &Rig) -> bool {
    let durable = |id| {
        let log = rig.logs.values().find(|log| log.id() == id)?;
        Some(log.end_offset_at(Durability::Sync))
    };
    rig.shard.compact_next(durable).await.unwrap()
}

async fn start_checked(
    disk: &Storage,
    plan: &Plan,
    models: &[Rc<RefCell<Model>>],
    context: &str,
) -> Result<Rig, Fault> {
    let rig = start_any(disk.clone(), plan.options.clone(), &plan.configs).await;
    if let Some((index, reason)) = rig.suspects.first_key_value() {
        return Err(Fault::Lost(format!(
            "{context}, partition {index}: {reason}"
        )));
    }
    for (&index, log) in &rig.logs {
        check(
            log,
            &models[index],
            &format!("{context}, partition {index}"),
        )
        .await?;
    }
    Ok(rig)
}

/// Runs one seed; returns how many records compaction removed in all.
fn run_seed(seed: u64, stop: Stop) -> Result<usize, Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let plan = plan(&mut random);
    let mut simulator = Simulator::new(seed);
    let disk = storage(&simulator);
    let models: Vec<Rc<RefCell<Model>>> = plan.configs.iter().map(|_| Rc::default()).collect();
    for round in 0..plan.rounds {
        let context = format!("seed {seed}, {stop:?}, round {round}");
        let millis = random.random_range(1..400);
        let workload_seed = random.random();
        let round = async {
            let rig = start_checked(&disk, &plan, &models, &context).await?;
            Err::<(), _>(work(&rig, &models, &plan, workload_seed).await)
        };
        if let Some(Err(fault)) = simulator.run_until(Duration::from_millis(millis), round) {
            return Err(fault);
        }
        match stop {
            Stop::PowerCut => simulator.crash(),
            Stop::Kill => simulator.kill(),
        }
    }
    simulator.run(async {
        let context = format!("seed {seed}, {stop:?}, at the end");
        let rig = start_checked(&disk, &plan, &models, &context).await?;
        let mut removed = 0;
        for (&index, log) in &rig.logs {
            let end = models[index].borrow().sent.len();
            removed += end - read(log, &models[index], 0, end, 64 << 10).await?.len();
        }
        rig.shard.close().await.unwrap();
        Ok(removed)
    })
}

#[test]
fn no_crash_during_a_compaction_loses_a_value_or_brings_one_back() {
    let mut removed = 0;
    for seed in seeds(SEEDS) {
        for stop in [Stop::PowerCut, Stop::Kill] {
            removed += run_seed(seed, stop).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        }
    }
    assert!(removed > 0, "nothing was compacted");
}

#[test]
fn sources_removed_before_the_new_segment_is_durable_are_caught() {
    let lost = |fault: &Fault| matches!(fault, Fault::Lost(_) | Fault::Wrong(_));
    assert_is_caught(Canary::SourcesRemovedBeforeSwap, lost);
}

#[test]
fn a_log_said_to_be_compacted_before_it_is_is_caught() {
    let back = |fault: &Fault| matches!(fault, Fault::Back(_) | Fault::NotCompacted(_));
    assert_is_caught(Canary::FirstDirtyBeforeSwap, back);
}

/// Some seed shows the fault with the planted bug and none without it.
fn assert_is_caught(canary: Canary, is_its_fault: impl Fn(&Fault) -> bool) {
    plant(Some(canary));
    let shows = |seed: &u64| run_seed(*seed, Stop::PowerCut).is_err_and(|it| is_its_fault(&it));
    let caught = (0..SEEDS).find(shows);
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed shows {canary:?}"));
    assert!(run_seed(seed, Stop::PowerCut).is_ok(), "without the bug");
}

mod edges;
