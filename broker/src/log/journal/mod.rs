//! The commit journal's files: what their bytes mean, where the next group goes, and how to read
//! them back.

mod files;
pub(crate) mod format;
mod group;
mod scan;

pub(crate) use files::{JournalFiles, JournalSlot};
pub(crate) use group::{GroupBuilder, GroupStamp};
pub(crate) use scan::{ScannedBody, ScannedGroup, ScannedJournal, scan_shard_journals};
