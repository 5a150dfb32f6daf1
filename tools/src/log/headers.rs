//! A segment's `.checksums` against its batches, while those go by: what their CRCs leave out.

use std::io;
use std::path::{Path, PathBuf};

use corelog_broker::log::inspect::{CHECKSUMS_EXTENSION, Checksums};
use zerocopy::IntoBytes;

use super::batch_stream::Batch;
use super::place::SegmentFile;
use super::small_file::{LARGEST_TEXT, read_bounded};

/// What the checksums of a segment say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Headers {
    /// Nothing: they are not there, or end before what they are asked about.
    #[default]
    AsWritten,
    /// A header in a batch between these two positions is not what was written.
    Changed { from: u64, to: u64 },
    /// The file of checksums cannot be used; completes "it is …".
    Unreadable(String),
}

/// The checksums of one segment.
pub(crate) struct HeaderCheck {
    /// As they were written, and those of the batches that went by.
    checksums: Result<Option<(Checksums, Checksums)>, String>,
}

/// Where the checksums of a segment lie.
pub(crate) fn path_of(segment: &Path) -> PathBuf {
    segment.with_extension(CHECKSUMS_EXTENSION)
}

impl HeaderCheck {
    /// Reads the checksums of a segment. Most segments of other brokers have none.
    pub(crate) fn load(segment: &SegmentFile) -> HeaderCheck {
        let checksums = match read_bounded(&path_of(&segment.path), LARGEST_TEXT) {
            Ok(bytes) if Checksums::is_of_later_format(&bytes) => Ok(None),
            Ok(bytes) => Checksums::decode(&bytes, segment.base_offset).map(|written| {
                let found = written.begin_same();
                Some((written, found))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("unreadable ({error})")),
        };
        HeaderCheck { checksums }
    }

    /// A batch goes by.
    pub(crate) fn observe(&mut self, batch: &Batch) {
        let Ok(Some((written, found))) = &mut self.checksums else {
            return;
        };
        // Of a file beyond what a segment may hold nothing is asked behind its limit.
        let is_covered = batch.position >= written.covered_from().max(found.covered_to());
        if is_covered && batch.end() <= u64::from(u32::MAX) {
            found.observe(batch.end(), batch.header.as_bytes());
        }
    }

    /// The segment has ended.
    pub(crate) fn finish(self) -> Headers {
        match self.checksums {
            Ok(None) => Headers::AsWritten,
            Ok(Some((written, found))) => match written.first_difference(&found) {
                None => Headers::AsWritten,
                Some((from, to)) => Headers::Changed { from, to },
            },
            Err(problem) => Headers::Unreadable(problem),
        }
    }
}
