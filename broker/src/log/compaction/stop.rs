//! Why a compaction ended before its end.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::LogFailure;
use crate::log::segment::Segment;

#[derive(Debug)]
pub(super) enum Stop {
    /// The shard stops, the log directory has stopped, or the partition was deleted or cut.
    Ended,
    /// The log holds what cannot be read. It is not tried again until the broker is restarted.
    Uncleanable {
        path: PathBuf,
        position: u64,
        reason: String,
    },
    /// There is no room for the new segment. It is tried again later.
    DiskFull(PathBuf),
    /// A write, sync or rename failed.
    Failed(LogFailure),
}

impl Stop {
    pub(super) fn uncleanable(path: &Path, position: u64, reason: impl ToString) -> Stop {
        Stop::Uncleanable {
            path: path.to_owned(),
            position,
            reason: reason.to_string(),
        }
    }

    /// A segment's file does not open. One that left the log meanwhile is no longer to be compacted.
    pub(super) fn not_opened(segment: &Segment, error: &io::Error) -> Stop {
        match segment.is_retired() {
            true => Stop::Ended,
            false => Stop::uncleanable(segment.path(), 0, error),
        }
    }

    /// Of an operation that changes the disk.
    pub(super) fn failed(operation: &'static str, path: &Path, error: &io::Error) -> Stop {
        if error.kind() == io::ErrorKind::StorageFull {
            return Stop::DiskFull(path.to_owned());
        }
        Stop::Failed(LogFailure::new(operation, path, error))
    }
}

impl From<LogFailure> for Stop {
    /// The log directory has stopped and has said why.
    fn from(_: LogFailure) -> Stop {
        Stop::Ended
    }
}
