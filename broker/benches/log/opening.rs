//! A start with many partitions and much data, of which nothing has to be replayed.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use corelog_broker::log::LogConfig;
use corelog_broker::runtime::{launch_shard, now, sleep};

use crate::rig::{append, folder, open, record, until_durable};
use crate::shard_options;

/// The argument with which this program calls itself, so that its memory is that of the start alone.
pub(crate) const CHILD: &str = "open-again";

const PARTITIONS: i32 = 10_000;
const BYTES_EACH: u64 = 10_000_000;

pub(crate) fn run() -> anyhow::Result<String> {
    let folder = folder()?;
    let root = folder.path().to_owned();
    let create = root.clone();
    launch_shard(shard_options(), move || create_all(create))?.join()??;
    for partition in 0..PARTITIONS {
        // As after a crash: room that was given and not used yet.
        let name = format!("data/topic-{partition}/{:020}.log", 0);
        let path = root.join(name);
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        file.set_len(BYTES_EACH)?;
    }
    let this = std::env::current_exe()?;
    let output = Command::new(this).arg(CHILD).arg(&root).output()?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

async fn create_all(root: PathBuf) -> anyhow::Result<()> {
    let rig = open(root, PARTITIONS, LogConfig::default()).await?;
    let batch = record(1024);
    for log in &rig.logs {
        append(log, &batch).await?;
    }
    for log in &rig.logs {
        until_durable(log, log.log_end_offset()).await;
    }
    rig.shard.close().await?;
    Ok(())
}

pub(crate) fn open_again(root: PathBuf) -> anyhow::Result<()> {
    let report = launch_shard(shard_options(), move || async move {
        let start = now();
        let rig = open(root, PARTITIONS, LogConfig::default()).await?;
        let seconds = (now() - start).as_secs_f64();
        let opened = resident_mebibytes()?;
        let batch = record(1024);
        for log in &rig.logs {
            append(log, &batch).await?;
        }
        for log in &rig.logs {
            until_durable(log, log.log_end_offset()).await;
        }
        rig.shard.checkpoint_now().await?;
        sleep(Duration::from_millis(100)).await;
        let used = resident_mebibytes()?;
        let open_files = rig.shard.stats().open_files;
        anyhow::Ok(format!(
            "opening: {PARTITIONS} partitions with {} GB in {seconds:.2} s, {opened} MiB resident; \
             {used} MiB after a record to each and a checkpoint, {open_files} files open",
            PARTITIONS as u64 * BYTES_EACH / 1_000_000_000,
        ))
    })?;
    println!("{}", report.join()??);
    Ok(())
}

fn resident_mebibytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = kibibytes
        .context("no VmRSS in /proc/self/status")?
        .parse()?;
    Ok(kibibytes >> 10)
}
