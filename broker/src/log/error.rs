//! What can go wrong with a log, an enum per operation.

use std::io;
use std::path::{Path, PathBuf};

use corelog_protocol::Offset;

use super::TopicPartition;

/// Why a log directory stopped accepting writes. It stays stopped until the broker is restarted:
/// after a failed write or sync nobody knows what the disk holds, and a second sync that succeeds
/// proves nothing about the pages the first one lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} of {} failed: {reason}; the log directory accepts no writes until the broker is restarted", .path.display())]
pub struct LogFailure {
    /// What was being done, such as "write" or "sync".
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The error of the operating system.
    pub reason: String,
}

impl LogFailure {
    pub(crate) fn new(operation: &'static str, path: &Path, error: &io::Error) -> LogFailure {
        LogFailure {
            operation,
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Opening, deleting or closing a log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log directory has stopped.
    #[error(transparent)]
    Stopped(#[from] LogFailure),
    /// A file or folder could not be used.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// The folder belongs to another topic.
    #[error("{} belongs to topic id {found}, not {expected}: move it away or restore the metadata it belongs to; to take over what it holds for the new topic, remove its partition.metadata and restart the broker", .path.display())]
    ForeignFolder {
        /// The partition's folder.
        path: PathBuf,
        /// The id that `partition.metadata` names.
        found: String,
        /// The id that the metadata names.
        expected: String,
    },
    /// The folder's segments are not what they should be. Nothing of them was changed.
    #[error("the log of {topic_partition} is suspect: {reason}")]
    Suspect {
        /// The partition.
        topic_partition: TopicPartition,
        /// What was found.
        reason: String,
    },
}

impl LogError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io {
            operation,
            path,
            source,
        }
    }
}

/// An append was refused; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log directory has stopped.
    #[error(transparent)]
    Stopped(#[from] LogFailure),
    /// The file system has no room for these bytes. Reads go on, and appends do when there is room.
    #[error("no space left for {} ({bytes} more bytes); free some or add a disk", .path.display())]
    DiskFull {
        /// The segment.
        path: PathBuf,
        /// How much was asked for.
        bytes: u64,
    },
    /// A batch does not fit a segment.
    #[error("a batch of {bytes} bytes does not fit segment.bytes={limit}")]
    TooLarge {
        /// The batch's size.
        bytes: usize,
        /// The topic's `segment.bytes`.
        limit: u64,
    },
    /// The bytes are not whole batches, or offsets do not follow the log end.
    #[error("not whole record batches: {0}")]
    Malformed(String),
    /// The partition was deleted meanwhile.
    #[error("the partition was deleted")]
    Deleted,
}

/// The log start was not moved, or the end not cut back.
#[derive(Debug, thiserror::Error)]
pub enum RearrangeError {
    /// The log directory has stopped.
    #[error(transparent)]
    Stopped(#[from] LogFailure),
    /// The offset is not in the log.
    #[error(
        "offset {asked} is outside the log, which holds {log_start} up to, but not including, {log_end}"
    )]
    OutOfRange {
        /// The offset asked for.
        asked: Offset,
        /// The first offset held.
        log_start: Offset,
        /// The log end.
        log_end: Offset,
    },
    /// The place could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The partition was deleted meanwhile.
    #[error("the partition was deleted")]
    Deleted,
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error(
        "offset {asked} is outside the log, which holds {log_start} up to, but not including, {log_end}"
    )]
    OutOfRange {
        /// The offset asked for.
        asked: Offset,
        /// The first offset held.
        log_start: Offset,
        /// The log end.
        log_end: Offset,
    },
    /// The bytes on disk are not what was written.
    #[error("{} is corrupt at byte {position}: {reason}", .path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What was found.
        reason: String,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The start could not establish what the logs hold.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A file could not be used.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A checkpoint that must exist is missing or damaged. Treating it as empty would throw
    /// acknowledged records away.
    #[error("the checkpoint {} is {problem}; restore it from a backup of the data folder, or move the folder away to start empty", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// "missing", or what is wrong with it.
        problem: String,
    },
}

impl RecoveryError {
    pub(crate) fn io(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> RecoveryError {
        let path = path.to_owned();
        move |source| RecoveryError::Io {
            operation,
            path,
            source,
        }
    }
}
