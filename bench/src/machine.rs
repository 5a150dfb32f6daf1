//! The machine a run was made on, and how busy its cores were meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

/// A run during which the hypervisor took more than this share of the CPU is
/// said to be disturbed.
pub(crate) const STEAL_WORTH_SAYING: f64 = 0.02;

/// So is one during which other processes took more than this share. What the
/// kernel does on a run's behalf, outside of its threads, is less.
pub(crate) const OTHERS_WORTH_SAYING: f64 = 0.15;

/// What a reader needs to know to compare two reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: Option<String>,
    pub(crate) kernel: String,
    /// The frequency governor of the first core, where there is one.
    pub(crate) governor: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    /// What the run's files were on: device and file system.
    #[serde(default)]
    pub(crate) disk: Option<String>,
}

impl Machine {
    /// `folder`: where the run's files were, if they were here.
    pub(crate) fn observe(folder: Option<&Path>) -> Self {
        let governor = line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: field_of("/proc/cpuinfo", "model name"),
            kernel: line_of("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into()),
            governor,
            memory_bytes: field_of("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map(|kib| kib * 1024),
            disk: folder.and_then(disk_of),
        }
    }
}

/// `/dev/vda (ext4)`, from the line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) with the folder's device number.
fn disk_of(folder: &Path) -> Option<String> {
    let device = fs::metadata(folder).ok()?.dev();
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounted(&mounts, &number)
}

fn mounted(mounts: &str, number: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        if mount.split(' ').nth(2)? != number {
            return None;
        }
        let mut fields = file_system.split(' ');
        let (kind, source) = (fields.next()?, fields.next()?);
        Some(format!("{source} ({kind})"))
    })
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The first `name : value` of a file.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The counters of `/proc/stat` at one moment.
pub(crate) struct CpuTimes {
    /// Of all cores together, then of each; in ticks.
    all: Ticks,
    cores: Vec<(usize, Ticks)>,
    /// Ticks that this process ran.
    own: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    total: u64,
    idle: u64,
    steal: u64,
}

impl CpuTimes {
    /// Nothing but zeros where `/proc/stat` cannot be read.
    pub(crate) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/stat"), &read("/proc/self/stat"))
    }

    fn parse(text: &str, own: &str) -> Self {
        let mut all = Ticks::default();
        let mut cores = Vec::new();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("cpu") else {
                continue;
            };
            let (name, counters) = rest.split_once(' ').unwrap_or((rest, ""));
            match name.parse() {
                Ok(core) => cores.push((core, Ticks::parse(counters))),
                Err(_) => all = Ticks::parse(counters),
            }
        }
        let own = own_ticks(own);
        Self { all, cores, own }
    }

    /// The share of all cores' time since `earlier` that the hypervisor took.
    pub(crate) fn steal_since(&self, earlier: &Self) -> f64 {
        let total = self.all.total.saturating_sub(earlier.all.total);
        share(self.all.steal.saturating_sub(earlier.all.steal), total)
    }

    /// The share of all cores' time since `earlier` that neither this process
    /// nor the hypervisor used, and that was not idle either.
    pub(crate) fn others_since(&self, earlier: &Self) -> f64 {
        let since = |of: fn(&Self) -> u64| of(self).saturating_sub(of(earlier));
        let used = since(|times| times.all.total - times.all.idle - times.all.steal);
        let others = used.saturating_sub(since(|times| times.own));
        share(others, since(|times| times.all.total))
    }

    /// The share of the named cores' time since `earlier` that was not idle.
    pub(crate) fn busy_since(&self, earlier: &Self, cores: &[usize]) -> f64 {
        let sum = |times: &Self, what: fn(&Ticks) -> u64| -> u64 {
            let named = times.cores.iter().filter(|(core, _)| cores.contains(core));
            named.map(|(_, ticks)| what(ticks)).sum()
        };
        let since = |what| sum(self, what).saturating_sub(sum(earlier, what));
        let total = since(|ticks| ticks.total);
        share(total.saturating_sub(since(|ticks| ticks.idle)), total)
    }
}

impl Ticks {
    /// user nice system idle iowait irq softirq steal guest guest_nice (proc_stat(5)).
    fn parse(counters: &str) -> Self {
        let counters: Vec<u64> = counters
            .split_whitespace()
            .map_while(|counter| counter.parse().ok())
            .collect();
        let of = |index: usize| counters.get(index).copied().unwrap_or(0);
        Self {
            // Guest time is part of user time already.
            total: counters.iter().take(8).sum(),
            idle: of(3) + of(4),
            steal: of(7),
        }
    }
}

/// utime and stime of `/proc/self/stat` (proc_pid_stat(5)): the twelfth and
/// thirteenth field behind the name, which may hold blanks.
fn own_ticks(stat: &str) -> u64 {
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_between_two_moments() {
        let before = "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 50 0 50 400 0 0 0 0 0 0\n\
                      cpu1 50 0 50 400 0 0 0 0 0 0\nintr 1 2 3\n";
        let after = "cpu  160 0 120 890 10 0 0 20 0 0\ncpu0 100 0 60 430 0 0 0 10 0 0\n\
                     cpu1 60 0 60 460 10 0 0 10 0 0\nintr 1 2 3\n";
        let own = |ticks: u64| format!("7 (a ) b) S 1 7 7 0 -1 4 9 0 0 0 {ticks} 10 0 0 20 0");
        let before = CpuTimes::parse(before, &own(0));
        let after = CpuTimes::parse(after, &own(50));
        assert!((after.steal_since(&before) - 0.1).abs() < 1e-9);
        assert!((after.busy_since(&before, &[0]) - 0.7).abs() < 1e-9);
        assert!((after.busy_since(&before, &[1]) - 0.3).abs() < 1e-9);
        assert!((after.busy_since(&before, &[0, 1]) - 0.5).abs() < 1e-9);
        assert!((after.others_since(&before) - 0.15).abs() < 1e-9);
    }

    #[test]
    fn the_disk_is_that_of_the_mount_with_the_device() {
        let mounts = "22 1 8:2 / / rw,relatime shared:1 - xfs /dev/sda2 rw\n\
                      31 22 254:0 / /data rw shared:9 master:1 - ext4 /dev/vda rw,discard\n";
        assert_eq!(mounted(mounts, "254:0").as_deref(), Some("/dev/vda (ext4)"));
        assert_eq!(mounted(mounts, "8:2").as_deref(), Some("/dev/sda2 (xfs)"));
        assert_eq!(mounted(mounts, "8:1"), None);
    }

    #[test]
    fn a_kernel_that_tells_nothing_gives_zero() {
        let nothing = CpuTimes::parse("", "");
        assert_eq!(nothing.steal_since(&nothing), 0.0);
        assert_eq!(nothing.others_since(&nothing), 0.0);
        assert_eq!(nothing.busy_since(&nothing, &[0]), 0.0);
    }
}
