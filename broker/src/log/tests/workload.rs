//! Appends, reads, moves of the log start, cuts and compactions, from several tasks on several
//! partitions, as a seed decides, until the machine stops.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::record::{BatchView, split_batches};
use corelog_protocol::{Durability, Offset};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Fault, Model};
use super::rig::{EPOCH, Rig, keyed_batch, small_options, start_any};
use crate::log::checksums::{Checksums, EXTENSION};
use crate::log::segment::base_offset_of;
use crate::log::{CompactionConfig, LogConfig, LogOptions, PartitionLog};
pub(super) use crate::runtime::sim::seeds;
use crate::runtime::{Storage, sleep, spawn};

/// How the machine stops at the end of a round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    PowerCut,
    Kill,
}

impl Stop {
    /// What must be there afterwards is what has reached this level, whatever the topic's own is.
    fn survived_by(self) -> Durability {
        match self {
            Stop::PowerCut => Durability::Sync,
            Stop::Kill => Durability::Written,
        }
    }
}

/// What a seed decides before anything runs.
pub(super) struct Plan {
    stop: Stop,
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
    let model = |config: &LogConfig| Model {
        keys: config.compaction.as_ref().map(|_| Vec::new()),
        ..Model::default()
    };
    let models = plan.configs.iter().map(model);
    models.map(|model| Rc::new(RefCell::new(model))).collect()
}

pub(super) fn plan(random: &mut StdRng, stop: Stop) -> Plan {
    let partitions = random.random_range(1..6);
    let configs = (0..partitions).map(|_| log_config(random)).collect();
    let mut options = small_options();
    options.journal.checkpoint_bytes = 1 << random.random_range(18..22);
    options.write_out_bytes = 1 << random.random_range(13..18);
    options.compaction.map_bytes = 24 * random.random_range(4..400);
    Plan {
        stop,
        configs,
        options,
        rounds: random.random_range(1..5),
        large_percent: random.random_range(0..25),
        rearranging_percent: *pick(random, &[0, 5, 30]),
    }
}

fn log_config(random: &mut StdRng) -> LogConfig {
    use Durability::{Memory, Sync, Written};
    let is_compacted = random.random_range(0..4) == 0;
    LogConfig {
        durability: *pick(random, &[Sync, Sync, Written, Memory]),
        segment_bytes: match is_compacted {
            true => 40 << 10,
            false => *pick(random, &[512 << 10, 600 << 10, 4 << 20]),
        },
        segment_age: Duration::from_millis(*pick(random, &[20, 3_600_000])),
        file_delete_delay: Duration::from_millis(*pick(random, &[0, 10, 60_000])),
        flush_interval: *pick(random, &[None, Some(Duration::from_millis(5))]),
        flush_bytes: *pick(random, &[None, Some(50_000)]),
        compaction: is_compacted.then(|| CompactionConfig {
            min_dirty_ratio: 0.1,
            ..CompactionConfig::default()
        }),
        ..LogConfig::default()
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
    check_checksums(rig, context).await?;
    match rig.suspects.first_key_value() {
        None => Ok(()),
        Some((index, reason)) => Err(Fault::Suspect(format!(
            "{context}, partition {index}: {reason}"
        ))),
    }
}

thread_local! {
    /// Files of checksums that [`check_all`] compared with their segments, on this thread.
    pub(super) static CHECKSUMS_CHECKED: Cell<u64> = const { Cell::new(0) };
}

/// Closed segments hold what their checksums say.
async fn check_checksums(rig: &Rig, context: &str) -> Result<(), Fault> {
    for (index, log) in &rig.logs {
        let storage = &log.shared().unwrap().storage;
        for entry in storage.list(log.folder()).await.unwrap() {
            let path = log.folder().join(&entry.name);
            if path.extension().is_none_or(|it| it != EXTENSION) {
                continue;
            }
            let path = path.with_extension("log");
            let wrong = |problem: String| {
                let path = path.display();
                Fault::Wrong(format!("{context}, partition {index}, {path}: {problem}"))
            };
            let base = base_offset_of(path.file_name().unwrap().to_str().unwrap()).unwrap();
            let beside = path.with_extension(EXTENSION);
            let beside = match storage.read_file(&beside, 1 << 20).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue, // it is on its way out
                read => read.unwrap(),
            };
            let written = Checksums::decode(&beside, base).map_err(wrong)?;
            let segment = match storage.read_file(&path, 8 << 20).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue, // it is on its way out
                read => read.map_err(|error| wrong(error.to_string()))?,
            };
            let mut found = written.begin_same();
            let mut at = usize::try_from(written.covered_from()).unwrap();
            while let Ok((batch, _)) = BatchView::parse(&segment[at..]) {
                at += batch.size_in_bytes();
                found.observe(at as u64, batch.bytes());
            }
            if let Some((from, to)) = written.first_difference(&found) {
                return Err(wrong(format!("bytes {from} to {to} are others")));
            }
            CHECKSUMS_CHECKED.set(CHECKSUMS_CHECKED.get() + 1);
        }
    }
    Ok(())
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
        let mut random = StdRng::seed_from_u64(seed ^ index as u64);
        let level = plan.stop.survived_by();
        let reader = read_for_ever(log.clone(), models[index].clone(), random.random(), level);
        appenders.push(spawn(reader));
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
    appenders.push(spawn(compact_for_ever(&rig, plan.stop.survived_by())));
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

/// Compacts whatever needs it, below what would survive.
fn compact_for_ever(rig: &Rig, level: Durability) -> impl Future<Output = ()> + use<> {
    let shard = rig.shard.clone();
    let logs: Vec<_> = rig.logs.values().cloned().collect();
    async move {
        loop {
            let readable = |id| {
                let log = logs.iter().find(|log| log.id() == id)?;
                Some(log.end_offset_at(level))
            };
            shard.compact_next(readable).await.unwrap();
            sleep(Duration::from_millis(3)).await;
        }
    }
}

/// Reads from anywhere in the log: what comes is what was sent.
async fn read_for_ever(
    log: Rc<PartitionLog>,
    model: Rc<RefCell<Model>>,
    seed: u64,
    level: Durability,
) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        sleep(Duration::from_micros(random.random_range(1..5000))).await;
        let (start, end) = (log.log_start_offset(), log.end_offset_at(level));
        if start >= end {
            continue;
        }
        let from = Offset::new(random.random_range(start.get()..end.get()));
        let cuts = model.borrow().cuts;
        let read = log.read(from, end, random.random_range(1..200_000)).await;
        let model = model.borrow();
        if model.cuts != cuts || model.cutting_to.is_some() || log.log_start_offset() > from {
            continue; // it read what is no longer there
        }
        let bytes = read.unwrap_or_else(|error| panic!("a read from {from}: {error}"));
        assert!(
            !bytes.is_empty(),
            "a read from {from} to {end} gives nothing"
        );
        let at = usize::try_from(from.get()).unwrap();
        let compared = model.compare(at, &bytes.to_bytes());
        compared.unwrap_or_else(|(at, problem)| panic!("a read from {from}: {at}: {problem}"));
    }
}

async fn rearrange(log: &PartitionLog, model: &RefCell<Model>, random: &mut StdRng) {
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    // A cut below what superseded a record would leave its key without any.
    let is_compacted = model.borrow().keys.is_some();
    match random.random_range(0..if is_compacted { 3 } else { 4 }) {
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
    let is_compacted = model.borrow().keys.is_some();
    let large = !is_compacted && random.random_range(0..100) < large_percent;
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
    let keys: Option<Vec<u8>> =
        is_compacted.then(|| values.iter().map(|_| random.random_range(0..20)).collect());
    let bytes = keyed_batch(&values, keys.as_deref(), 1);
    {
        let mut model = model.borrow_mut();
        model.sent.extend(values);
        if let (Some(all), Some(new)) = (&mut model.keys, keys) {
            all.extend(new);
        }
    }
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
