//! What the log costs beside the appends themselves, on the real disk, as ratios in one run.
//!
//! `cargo bench -p corelog-broker --bench log [-- FIGURE]`, where FIGURE is one of
//!
//! * `partitions`: records a second at `sync` of 1,000 partitions that get 1 KiB records in turn,
//!   against one partition that gets them all, with as many records in flight;
//! * `checkpoints`: how long an append takes to be durable while checkpoints of 1,000 dirty partitions
//!   run, against the same load without;
//! * `deletion`: the same while a log start moves up and segments are deleted;
//! * `compaction`: bytes of a log that one core compacts in a second, and the same while it compacts;
//! * `opening`: how long 10,000 partitions with 100 GB (sparse) take to open, and their memory.
//!
//! The logs lie in the target folder, because the system's temporary directory may be memory, without
//! direct I/O.

mod checkpoints;
mod compaction;
mod deletion;
mod latency;
mod opening;
mod partitions;
mod rig;

use std::path::PathBuf;

use corelog_broker::runtime::{ExecutorOptions, launch_shard};

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|it| !it.starts_with('-'));
    let figure = arguments.next();
    if figure.as_deref() == Some(opening::CHILD) {
        let folder = arguments.next().expect("the folder to open");
        return opening::open_again(folder.into());
    }
    let is_wanted = |name: &str| figure.as_deref().is_none_or(|wanted| wanted == name);
    if is_wanted("partitions") {
        println!("{}", on_a_shard(partitions::run)?);
    }
    if is_wanted("checkpoints") {
        println!("{}", on_a_shard(checkpoints::run)?);
    }
    if is_wanted("deletion") {
        println!("{}", on_a_shard(deletion::run)?);
    }
    if is_wanted("compaction") {
        println!("{}", on_a_shard(compaction::run)?);
    }
    if is_wanted("opening") {
        println!("{}", opening::run()?);
    }
    Ok(())
}

/// Runs a figure on one core, in a folder that is deleted afterwards.
fn on_a_shard<F>(figure: impl FnOnce(PathBuf) -> F + Send + 'static) -> anyhow::Result<String>
where
    F: Future<Output = anyhow::Result<String>> + 'static,
{
    let folder = rig::folder()?;
    let root = folder.path().to_owned();
    launch_shard(shard_options(), move || figure(root))?.join()?
}

fn shard_options() -> ExecutorOptions {
    ExecutorOptions {
        cpu: Some(0),
        ..ExecutorOptions::default()
    }
}
