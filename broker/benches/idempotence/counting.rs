//! Runs this program under callgrind.

use std::fmt;
use std::process::Command;

use anyhow::{Context, bail};

/// Batches of the short run, for batches of one record.
const BATCHES: u32 = 2_000;
/// How often the long run is as long.
const TIMES: u32 = 3;

/// One run.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) idempotent: bool,
    pub(crate) batches: u32,
    /// In each batch.
    pub(crate) records: u32,
}

impl Load {
    pub(crate) fn parse(idempotent: &str, batches: &str, records: &str) -> anyhow::Result<Self> {
        Ok(Self {
            idempotent: idempotent.parse()?,
            batches: batches.parse()?,
            records: records.parse()?,
        })
    }

    pub(crate) fn arguments(self) -> [String; 3] {
        [
            self.idempotent.to_string(),
            self.batches.to_string(),
            self.records.to_string(),
        ]
    }
}

/// Instructions a record.
pub(crate) struct Cost {
    without: f64,
    with: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = (self.with / self.without - 1.0) * 100.0;
        write!(f, "{:.0}, {:.0}: {more:+.1} %", self.without, self.with)
    }
}

/// Counts with batches of so many records.
pub(crate) fn cost(records: u32, arguments: impl Fn(Load) -> Vec<String>) -> anyhow::Result<Cost> {
    let batches = BATCHES / records.min(10);
    let of_a_record = |idempotent| -> anyhow::Result<f64> {
        let run = |batches| {
            let load = Load {
                idempotent,
                batches,
                records,
            };
            count(&arguments(load))
        };
        let (short, long) = (run(batches)?, run(batches * TIMES)?);
        let more_records = batches * (TIMES - 1) * records;
        Ok((long as f64 - short as f64) / f64::from(more_records))
    };
    Ok(Cost {
        without: of_a_record(false)?,
        with: of_a_record(true)?,
    })
}

/// Instructions within `measured`.
fn count(arguments: &[String]) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured*")
        .arg(std::env::current_exe()?)
        .args(arguments)
        .output()
        .context("cannot start valgrind: it has to be installed")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{arguments:?} under valgrind: {}: {said}", output.status);
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, collected) = collected.with_context(|| format!("callgrind tells no count: {said}"))?;
    Ok(collected.trim().parse()?)
}
