//! What this machine lacks for the broker, and how to mend it.
//!
//! Run at the start, before the first executor, because glommio answers a missing capability by ending
//! the process; and by `corelog doctor`. Each finding is one sentence about the fact and one about the
//! remedy.

#![expect(
    unsafe_code,
    reason = "limits and file systems are asked by system calls"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use io_uring::{IoUring, Probe, opcode};

use super::buffer::BLOCK;

/// glommio refuses to start below this.
const LEAST_MEMLOCK: u64 = 512 << 10;

/// Below this a broker with many partitions and connections runs out of descriptors.
const LEAST_OPEN_FILES: u64 = 65_536;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    /// The broker runs, but slower or with lower limits.
    Warning,
    /// The broker cannot run.
    Blocker,
}

/// One fact about the machine, and what to do about it (empty when nothing is to be done).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub what: String,
    pub mend: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineReport {
    pub findings: Vec<Finding>,
}

impl MachineReport {
    pub fn blockers(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Blocker)
    }

    fn add(&mut self, severity: Severity, what: impl Into<String>, mend: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            what: what.into(),
            mend: mend.into(),
        });
    }
}

/// Looks at the kernel, the limits of this process, and the file system of an existing directory.
pub fn probe_machine(data_dir: &Path) -> MachineReport {
    let mut report = MachineReport::default();
    if let Ok(version) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        report.add(
            Severity::Info,
            format!("The kernel is Linux {}.", version.trim()),
            "",
        );
    }
    probe_rings(&mut report);
    probe_limits(&mut report);
    probe_directory(&mut report, data_dir);
    report
}

fn probe_rings(report: &mut MachineReport) {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => {
            let (what, mend) = explain_refusal(&error, setting.trim());
            report.add(Severity::Blocker, what, mend);
            return;
        }
    };
    // glommio sets up a polled ring on every executor, whether or not the device can be polled.
    let polled: io::Result<IoUring> = IoUring::builder().setup_iopoll().build(8);
    if let Err(error) = polled {
        report.add(
            Severity::Blocker,
            format!("The kernel refuses a polled ring (IORING_SETUP_IOPOLL): {error}."),
            "Use a kernel of 5.8 or later without a filter on io_uring.",
        );
    }
    let mut known = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut known) {
        report.add(
            Severity::Blocker,
            format!("The kernel does not tell which io_uring operations it has: {error}."),
            "Use a kernel of 5.8 or later.",
        );
        return;
    }
    let missing: Vec<&str> = NEEDED_OPERATIONS
        .iter()
        .filter(|(code, _)| !known.is_supported(*code))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        report.add(
            Severity::Info,
            "io_uring has every operation the broker needs.",
            "",
        );
    } else {
        report.add(
            Severity::Blocker,
            format!("The kernel's io_uring lacks {}.", missing.join(", ")),
            "Use a kernel of 5.8 or later.",
        );
    }
}

/// Why a ring was refused. `setting` is the value of `kernel.io_uring_disabled`, empty if the kernel
/// has none.
fn explain_refusal(error: &io::Error, setting: &str) -> (String, String) {
    match (error.raw_os_error(), setting) {
        (_, "2") => (
            "io_uring is switched off: sysctl kernel.io_uring_disabled is 2.".to_owned(),
            "Run `sysctl kernel.io_uring_disabled=0` and keep it in /etc/sysctl.d.".to_owned(),
        ),
        (Some(libc::EPERM), "1") => (
            "io_uring is allowed to a group only: sysctl kernel.io_uring_disabled is 1.".to_owned(),
            "Run `sysctl kernel.io_uring_disabled=0`, or add the broker's user to the group in \
             kernel.io_uring_group."
                .to_owned(),
        ),
        (Some(libc::EPERM | libc::EACCES), _) => (
            "io_uring is forbidden to this process, most likely by a container's seccomp filter."
                .to_owned(),
            "Allow the io_uring_setup, io_uring_enter and io_uring_register system calls in the \
             container's seccomp profile."
                .to_owned(),
        ),
        (Some(libc::ENOSYS), _) => (
            "The kernel has no io_uring.".to_owned(),
            "Use a kernel of 5.8 or later that is built with CONFIG_IO_URING.".to_owned(),
        ),
        (Some(libc::ENOMEM), _) => (
            "There is no locked memory left for a ring.".to_owned(),
            "Raise the memlock limit: `ulimit -l unlimited`, or LimitMEMLOCK=infinity in the unit."
                .to_owned(),
        ),
        _ => (
            format!("The kernel refuses an io_uring: {error}."),
            "Use a kernel of 5.8 or later without a filter on io_uring.".to_owned(),
        ),
    }
}

fn probe_limits(report: &mut MachineReport) {
    match limit(libc::RLIMIT_MEMLOCK) {
        Ok((soft, _)) if soft < LEAST_MEMLOCK => report.add(
            Severity::Blocker,
            format!("The memlock limit is {soft} bytes; executors need {LEAST_MEMLOCK}."),
            "Raise it: `ulimit -l unlimited`, or LimitMEMLOCK=infinity in the unit.",
        ),
        Ok((soft, _)) if soft != libc::RLIM_INFINITY => report.add(
            Severity::Warning,
            format!("The memlock limit is {soft} bytes; buffers beyond it are not registered."),
            "Raise it for a little more speed: `ulimit -l unlimited`, or LimitMEMLOCK=infinity.",
        ),
        Ok(_) => {}
        Err(error) => report.add(
            Severity::Warning,
            format!("The memlock limit is unknown: {error}."),
            "",
        ),
    }
    match limit(libc::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < LEAST_OPEN_FILES => report.add(
            Severity::Warning,
            format!(
                "This process may open {hard} files; many partitions or connections need more."
            ),
            format!("Raise the hard limit to {LEAST_OPEN_FILES}: `ulimit -Hn`, or LimitNOFILE."),
        ),
        Ok((_, hard)) => {
            report.add(
                Severity::Info,
                format!("This process may open {hard} files."),
                "",
            );
        }
        Err(error) => report.add(
            Severity::Warning,
            format!("The limit of open files is unknown: {error}."),
            "",
        ),
    }
}

fn probe_directory(report: &mut MachineReport, data_dir: &Path) {
    let shown = data_dir.display();
    if is_memory(data_dir) {
        report.add(
            Severity::Warning,
            format!("{shown} is in memory (tmpfs): nothing there survives a restart."),
            "Put the data directory on a disk.",
        );
        return;
    }
    match direct_round_trip(data_dir) {
        Ok(()) => {
            report.add(
                Severity::Info,
                format!("{shown} takes direct I/O of 4 KiB blocks."),
                "",
            );
        }
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => report.add(
            Severity::Blocker,
            format!("The file system of {shown} has no direct I/O (O_DIRECT)."),
            "Put the data directory on ext4 or xfs.",
        ),
        Err(error) => report.add(
            Severity::Blocker,
            format!("{shown} cannot be written and read directly: {error}."),
            "Give the broker's user an existing directory on a local disk with room.",
        ),
    }
}

/// Writes a block past the page cache and reads it back.
fn direct_round_trip(data_dir: &Path) -> io::Result<()> {
    let path = data_dir.join(format!(".direct-io-probe-{}", std::process::id()));
    let result = (|| {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)?;
        let mut memory = vec![0xA5; 2 * BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        let block = &mut memory[start..start + BLOCK];
        file.write_all_at(block, 0)?;
        block.fill(0);
        file.read_exact_at(block, 0)?;
        if block.iter().any(|byte| *byte != 0xA5) {
            return Err(io::Error::other(
                "it returned other bytes than were written",
            ));
        }
        Ok(())
    })();
    // It may never have come to exist.
    let _ = fs::remove_file(&path);
    result
}

fn is_memory(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends with a nul, and `stat` has room for the answer.
    if unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded and filled it.
    unsafe { stat.assume_init() }.f_type == libc::TMPFS_MAGIC
}

fn limit(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for the answer.
    if unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and filled it.
    let limit = unsafe { limit.assume_init() };
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Raises the number of files this process may open to the most it is allowed, and returns it.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let (soft, hard) = limit(libc::RLIMIT_NOFILE)?;
    if soft < hard {
        let raised = libc::rlimit {
            rlim_cur: hard,
            rlim_max: hard,
        };
        // SAFETY: the call reads `raised` and keeps no reference to it.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(hard)
}

/// What glommio requires at its start.
const NEEDED_OPERATIONS: [(u8, &str); 23] = [
    (opcode::Nop::CODE, "NOP"),
    (opcode::Readv::CODE, "READV"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::PollRemove::CODE, "POLL_REMOVE"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::RecvMsg::CODE, "RECVMSG"),
    (opcode::Timeout::CODE, "TIMEOUT"),
    (opcode::TimeoutRemove::CODE, "TIMEOUT_REMOVE"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::LinkTimeout::CODE, "LINK_TIMEOUT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Statx::CODE, "STATX"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Recv::CODE, "RECV"),
];

#[cfg(test)]
mod tests;
