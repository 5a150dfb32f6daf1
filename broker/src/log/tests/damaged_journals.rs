//! Something damages the journal: a bit rots, a block holds other bytes, a file is gone. The bytes
//! were flushed and the records in them acknowledged.
//!
//! The story: a start found a flushed group damaged, logged it, went on with the next one, and wrote
//! a checkpoint that voided the journal. The partition whose last records stood in that group had no
//! gap that anything could notice. It was served without them, and the next append took their
//! offsets.
//!
//! So whatever is damaged where a later header or the checkpoint says that it was flushed: every
//! partition is suspect or holds every acknowledged record, the suspect ones stay so and are not
//! touched, and the others are served and take appends. The canaries take away one check each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::Fault;
use super::rig::{Rig, start_any, storage};
use super::workload::{
    Stop, append_durably, check_all, check_served, new_models, plan, round_of_appends, seeds,
};
use crate::log::canary::{Canary, plant};
use crate::log::checkpoint::{Checkpoint, checkpoint_path, start_checkpoint_path};
use crate::log::journal::format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::runtime::sim::SimulatedDisk;
use crate::runtime::{BLOCK, Simulator, Storage};
use corelog_protocol::ShardId;

const SEEDS: u64 = 400;

#[test]
fn damage_to_flushed_groups_loses_nothing_silently() {
    let (mut damaged, mut suspect, mut served) = (0, 0, 0);
    for seed in seeds(SEEDS) {
        let Some(end) = run_seed(seed).unwrap_or_else(|fault| panic!("{fault}")) else {
            continue;
        };
        damaged += 1;
        suspect += usize::from(end.suspects > 0);
        served += usize::from(end.suspects > 0 && end.served > 0);
    }
    // The test tests something: most seeds find a group to damage, and every outcome is there.
    assert!(damaged * 2 > seeds(SEEDS).len(), "{damaged} were damaged");
    assert!(suspect > 0, "no seed made a partition suspect");
    assert!(
        served > 0,
        "no seed served a partition beside a suspect one"
    );
}

#[test]
fn a_start_that_ignores_damaged_groups_is_caught() {
    assert_is_caught(Canary::DamagedGroupsIgnored);
}

#[test]
fn a_start_that_ignores_missing_groups_is_caught() {
    assert_is_caught(Canary::MissingGroupsIgnored);
}

#[test]
fn a_start_that_asks_not_whom_a_lost_group_named_is_caught() {
    assert_is_caught(Canary::DoubtsForgotten);
}

#[test]
fn a_start_that_forgets_suspects_is_caught() {
    assert_is_caught(Canary::SuspectsForgotten);
}

fn assert_is_caught(canary: Canary) {
    plant(Some(canary));
    let caught = (0..SEEDS).find(|&seed| matches!(run_seed(seed), Err(Fault::Lost(_))));
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed lost a record to {canary:?}"));
    run_seed(seed).unwrap_or_else(|fault| panic!("without the bug: {fault}"));
}

/// What became of the partitions of a seed.
struct Served {
    suspects: usize,
    served: usize,
}

/// How the broker ends before its journal is damaged.
#[derive(Debug, Clone, Copy)]
enum End {
    PowerCut,
    Kill,
    Close,
}

/// `None` when the seed left nothing to damage.
fn run_seed(seed: u64) -> Result<Option<Served>, Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let end = [End::PowerCut, End::Kill, End::Close][random.random_range(0..3)];
    let stop = match end {
        End::Kill => Stop::Kill,
        End::PowerCut | End::Close => Stop::PowerCut,
    };
    let plan = plan(&mut random, stop);
    let mut simulator = Simulator::new(seed);
    let disk = simulator.disk();
    let storage = storage(&simulator);
    let models = new_models(&plan);
    let context = format!("seed {seed}, {end:?}");

    let millis = random.random_range(5..150);
    let round = round_of_appends(&storage, &plan, &models, random.random(), &context);
    if let Some(Err(fault)) = simulator.run_until(Duration::from_millis(millis), round) {
        return Err(fault);
    }
    match end {
        End::PowerCut => simulator.crash(),
        End::Kill => simulator.kill(),
        End::Close => {
            simulator.crash();
            simulator.run(async {
                let rig = start_any(storage.clone(), plan.options.clone(), &plan.configs).await;
                check_all(&rig, &models, &context).await?;
                append_durably(&rig, &models, &mut random, 20).await;
                rig.shard.close().await.unwrap();
                Ok::<(), Fault>(())
            })?;
        }
    }

    let Some(damage) = Damage::choose(&disk, &mut random) else {
        return Ok(None);
    };
    let context = format!("{context}, {damage:?}");
    simulator.run(damage.inflict(&disk, &storage, &mut random));
    let (first, touched) = simulator.run(async {
        let rig = start_any(storage.clone(), plan.options.clone(), &plan.configs).await;
        check_served(&rig, &models, &context).await?;
        let touched = suspect_files(&disk, &rig);
        append_durably(&rig, &models, &mut random, 5).await;
        rig.shard.close().await.unwrap();
        assert!(
            touched == suspect_files(&disk, &rig),
            "{context}: a suspect partition was touched"
        );
        Ok::<_, Fault>((rig.suspects, touched))
    })?;
    simulator.run(async {
        let context = format!("{context}, second start");
        let rig = start_any(storage.clone(), plan.options.clone(), &plan.configs).await;
        check_served(&rig, &models, &context).await?;
        if rig.suspects != first {
            let change = format!("{context}: {first:?} became {:?}", rig.suspects);
            return Err(Fault::Suspect(change));
        }
        assert!(
            touched == suspect_files(&disk, &rig),
            "{context}: a suspect partition was touched"
        );
        rig.shard.close().await.unwrap();
        Ok(Some(Served {
            suspects: rig.suspects.len(),
            served: rig.logs.len(),
        }))
    })
}

/// The segments of the partitions that are suspect.
fn suspect_files(disk: &SimulatedDisk, rig: &Rig) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let folders: Vec<String> = rig
        .suspects
        .keys()
        .map(|index| format!("data/topic-{index}"))
        .collect();
    disk.files()
        .into_iter()
        .filter(|(path, _)| folders.iter().any(|folder| path.starts_with(folder)))
        .map(|(path, _)| (path.clone(), disk.contents(&path)))
        .collect()
}

/// A group in a journal file.
struct Found {
    path: PathBuf,
    position: u64,
    header: GroupHeader,
}

impl Found {
    fn bytes(&self) -> u64 {
        GROUP_HEADER_BYTES as u64 + u64::from(self.header.body_length)
    }
}

/// What happens to the journal.
#[derive(Debug)]
enum Damage {
    Bit { path: PathBuf, position: u64 },
    Block { path: PathBuf, position: u64 },
    File { path: PathBuf },
}

impl Damage {
    /// A place that was flushed, as another group's header or the checkpoint says.
    fn choose(disk: &SimulatedDisk, random: &mut StdRng) -> Option<Damage> {
        let decode = |path: &Path| Checkpoint::decode(&disk.contents(path)?).ok();
        let start = decode(&start_checkpoint_path())?;
        let overlay = decode(&checkpoint_path(ShardId::new(0)))
            .filter(|overlay| overlay.generation == start.generation);
        let checkpointed = overlay.map_or(0, |overlay| overlay.flushed_sequence);
        let groups = groups(disk, &start);
        // What is known to be flushed without the groups that are about to be damaged.
        let flushed_without = |gone: &dyn Fn(&Found) -> bool| {
            let left = groups.iter().filter(|group| !gone(group));
            let told = left.map(|group| group.header.flushed_sequence).max();
            told.unwrap_or(0).max(checkpointed)
        };
        if random.random_range(0..6) == 0 {
            let mut paths: Vec<_> = groups.iter().map(|group| group.path.clone()).collect();
            paths.dedup();
            paths.retain(|path| {
                let inside = |group: &Found| group.path == *path;
                let last = groups.iter().filter(|group| inside(group));
                let last = last.map(|group| group.header.sequence).max();
                last.is_some_and(|last| last <= flushed_without(&inside))
            });
            let path = paths
                .get(random.random_range(0..paths.len().max(1)))?
                .clone();
            return Some(Damage::File { path });
        }
        let candidates: Vec<_> = groups
            .iter()
            .filter(|group| {
                let this = |other: &Found| other.header.sequence == group.header.sequence;
                group.header.sequence <= flushed_without(&this)
            })
            .collect();
        // The last ones more often: behind them nothing shows a gap.
        let recent = candidates.len().min(3);
        let among = if random.random() {
            recent
        } else {
            candidates.len()
        };
        let back = random.random_range(1..=among.max(1));
        let group = candidates.get(candidates.len().checked_sub(back)?)?;
        let path = group.path.clone();
        Some(match random.random_range(0..3) {
            0 => Damage::Bit {
                position: group.position + random.random_range(0..group.bytes()),
                path,
            },
            1 => Damage::Bit {
                position: group.position + random.random_range(0..GROUP_HEADER_BYTES as u64),
                path,
            },
            _ => {
                let blocks = group.bytes().div_ceil(BLOCK as u64);
                let position = group.position + random.random_range(0..blocks) * BLOCK as u64;
                Damage::Block { path, position }
            }
        })
    }

    async fn inflict(&self, disk: &SimulatedDisk, storage: &Storage, random: &mut StdRng) {
        match self {
            Damage::Bit { path, position } => {
                let bit = random.random_range(0..8);
                disk.flip_bit(path, *position, bit).unwrap();
            }
            Damage::Block { path, position } => {
                let mut bytes = disk.contents(path).unwrap();
                let at = usize::try_from(*position).unwrap();
                // Zeros, noise, or what another block holds: a write that never happened.
                match random.random_range(0..3) {
                    0 => bytes[at..at + BLOCK].fill(0),
                    1 => random.fill(&mut bytes[at..at + BLOCK]),
                    _ => {
                        let other = random.random_range(0..bytes.len() / BLOCK) * BLOCK;
                        bytes.copy_within(other..other + BLOCK, at);
                    }
                }
                disk.put(path, &bytes).unwrap();
            }
            Damage::File { path } => {
                storage.remove_file(path).await.unwrap();
                storage.sync_dir(path.parent().unwrap()).await.unwrap();
            }
        }
    }
}

/// The live groups of all journal files.
fn groups(disk: &SimulatedDisk, start: &Checkpoint) -> Vec<Found> {
    let mut found = Vec::new();
    for (path, _) in disk.files() {
        if path
            .extension()
            .is_none_or(|extension| extension != "journal")
        {
            continue;
        }
        let bytes = disk.contents(&path).unwrap();
        let mut last = 0;
        let mut position = 0;
        while position + GROUP_HEADER_BYTES <= bytes.len() {
            let header = GroupHeader::decode(&bytes[position..]).filter(|header| {
                header.generation == start.generation.number
                    && header.salt == start.generation.salt
                    && header.sequence > last
            });
            position += BLOCK;
            if let Some(header) = header {
                last = header.sequence;
                found.push(Found {
                    path: path.clone(),
                    position: (position - BLOCK) as u64,
                    header,
                });
            }
        }
    }
    found.sort_by_key(|group| group.header.sequence);
    found
}
