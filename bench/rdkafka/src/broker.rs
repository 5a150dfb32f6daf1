//! A broker of its own for the run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

pub(crate) struct BrokerProcess {
    child: Child,
    kafka: String,
    native: String,
    _folder: tempfile::TempDir,
}

impl BrokerProcess {
    pub(crate) fn start(binary: &Path, cores: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(".")?;
        let mut child = Command::new(binary)
            .args(["--cores", cores, "--data-dir"])
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--kafka-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started: build it first", binary.display()))?;
        let stdout = child.stdout.take().context("the broker's output")?;
        let (mut kafka, mut native) = (None, None);
        for line in BufReader::new(stdout).lines() {
            match line?.split_once(' ') {
                Some(("kafka", address)) => kafka = Some(address.to_owned()),
                Some(("native", address)) => native = Some(address.to_owned()),
                _ => {}
            }
            if kafka.is_some() && native.is_some() {
                break;
            }
        }
        Ok(Self {
            child,
            kafka: kafka.context("the broker did not start")?,
            native: native.context("the broker did not start")?,
            _folder: folder,
        })
    }

    pub(crate) fn kafka(&self) -> &str {
        &self.kafka
    }

    pub(crate) fn native(&self) -> &str {
        &self.native
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// What a process has taken of processors so far (`proc(5)`: utime and stime, in ticks of 10 ms).
pub(crate) fn cpu_of(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|it| it.parse::<u64>()).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
