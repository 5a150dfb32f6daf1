//! A segment's index files against its batches, while those go by.

use std::io;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use corelog_broker::log::inspect::{OffsetEntry, TimeEntry, offset_entries, time_entries};
use corelog_protocol::Offset;

use super::finding::{Finding, Findings};
use crate::log::batch_stream::Batch;
use crate::log::small_file::{LARGEST_INDEX, read_bounded};

/// Both indexes of one segment.
pub(crate) struct IndexCheck {
    base_offset: Offset,
    offsets: Peekable<IntoIter<OffsetEntry>>,
    times: Peekable<IntoIter<TimeEntry>>,
    index_path: PathBuf,
    time_path: PathBuf,
    mend: String,
    /// The largest timestamp of the batches that went by.
    largest_timestamp: i64,
    /// Damage of each file is told once: the rest follows from it.
    told: [bool; 2],
}

impl IndexCheck {
    /// Reads the index files of a segment. One that is not there is made when it is needed.
    pub(crate) fn load(
        segment: &Path,
        base_offset: Offset,
        mend: &str,
        findings: &mut Findings,
    ) -> IndexCheck {
        let mut check = IndexCheck {
            base_offset,
            offsets: Vec::new().into_iter().peekable(),
            times: Vec::new().into_iter().peekable(),
            index_path: segment.with_extension("index"),
            time_path: segment.with_extension("timeindex"),
            mend: mend.to_owned(),
            largest_timestamp: i64::MIN,
            told: [false; 2],
        };
        if let Some(bytes) = check.read(0, findings) {
            let (entries, rest) = offset_entries(&bytes);
            let entries = without_padding(entries.collect(), |entry: &OffsetEntry| {
                (entry.relative_offset, entry.position) == (0, 0)
            });
            check.check_whole(0, rest, findings);
            let ascends = |pair: &[OffsetEntry]| {
                pair[0].relative_offset < pair[1].relative_offset
                    && pair[0].position < pair[1].position
            };
            match entries.windows(2).position(|pair| !ascends(pair)) {
                Some(entry) => check.tell(0, findings, |it| it.not_ascending(0, entry, 8)),
                None => check.offsets = entries.into_iter().peekable(),
            }
        }
        if let Some(bytes) = check.read(1, findings) {
            let (entries, rest) = time_entries(&bytes);
            let entries = without_padding(entries.collect(), |entry: &TimeEntry| {
                (entry.timestamp, entry.relative_offset) == (0, 0)
            });
            check.check_whole(1, rest, findings);
            let ascends = |pair: &[TimeEntry]| {
                pair[0].timestamp < pair[1].timestamp
                    && pair[0].relative_offset <= pair[1].relative_offset
            };
            match entries.windows(2).position(|pair| !ascends(pair)) {
                Some(entry) => check.tell(1, findings, |it| it.not_ascending(1, entry, 12)),
                None => check.times = entries.into_iter().peekable(),
            }
        }
        check
    }

    fn path(&self, file: usize) -> &Path {
        [&self.index_path, &self.time_path][file]
    }

    fn read(&mut self, file: usize, findings: &mut Findings) -> Option<Vec<u8>> {
        match read_bounded(self.path(file), LARGEST_INDEX) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The active segment's is written when it is closed.
                None
            }
            Err(error) => {
                self.tell(file, findings, |it| {
                    Finding::damage(it.path(file), format!("it cannot be read: {error}"))
                });
                None
            }
        }
    }

    fn tell(
        &mut self,
        file: usize,
        findings: &mut Findings,
        finding: impl FnOnce(&Self) -> Finding,
    ) {
        if !std::mem::replace(&mut self.told[file], true) {
            findings.add(finding(self).mended_by(&self.mend));
        }
    }

    fn check_whole(&mut self, file: usize, rest: usize, findings: &mut Findings) {
        if rest > 0 {
            self.tell(file, findings, |it| {
                Finding::damage(
                    it.path(file),
                    format!("its last {rest} bytes are no whole entry"),
                )
            });
        }
    }

    fn not_ascending(&self, file: usize, entry: usize, entry_bytes: usize) -> Finding {
        Finding::damage(
            self.path(file),
            format!(
                "entry {} does not ascend behind the one before it",
                entry + 1
            ),
        )
        .at(((entry + 1) * entry_bytes) as u64)
    }

    /// A batch goes by.
    pub(crate) fn observe(&mut self, batch: &Batch, findings: &mut Findings) {
        while let Some(entry) = self
            .offsets
            .next_if(|entry| u64::from(entry.position) < batch.end())
        {
            let offset = self.base_offset.get() + i64::from(entry.relative_offset);
            let position = u64::from(entry.position);
            let problem = if position != batch.position {
                format!("it names byte {position} of the segment, where no batch begins")
            } else if offset < batch.base_offset().get() {
                format!(
                    "it names a batch of offsets from {} on",
                    batch.base_offset()
                )
            } else if offset < batch.last_offset().get() {
                format!("the batch it names ends at offset {}", batch.last_offset())
            } else {
                // Kafka names the last offset of all batches that came with one append.
                continue;
            };
            self.tell(0, findings, |it| {
                let what = format!("the entry for offset {offset} is wrong: {problem}");
                Finding::damage(&it.index_path, what).of_offset(offset)
            });
        }
        let max_timestamp = batch.header.max_timestamp.get();
        let last = batch.last_offset().get() - self.base_offset.get();
        while let Some(entry) = self
            .times
            .next_if(|entry| i64::from(entry.relative_offset) <= last)
        {
            let offset = self.base_offset.get() + i64::from(entry.relative_offset);
            let TimeEntry { timestamp, .. } = entry;
            let problem = if self.largest_timestamp > timestamp {
                format!("a record before it has {}", self.largest_timestamp)
            } else if offset < batch.base_offset().get() {
                continue; // compaction took the record
            } else if max_timestamp != timestamp {
                format!("its batch has {max_timestamp}")
            } else {
                continue;
            };
            self.tell(1, findings, |it| {
                let what = format!(
                    "the entry that says {timestamp} is the largest timestamp up to offset \
                     {offset} is wrong: {problem}"
                );
                Finding::damage(&it.time_path, what).of_offset(offset)
            });
        }
        self.largest_timestamp = self.largest_timestamp.max(max_timestamp);
    }

    /// The segment has ended at `end`.
    pub(crate) fn finish(mut self, end: u64, findings: &mut Findings) {
        if let Some(entry) = self.offsets.next() {
            self.tell(0, findings, |it| {
                let what = format!(
                    "an entry names byte {} of the segment, whose batches end at {end}",
                    entry.position
                );
                Finding::damage(&it.index_path, what)
            });
        }
        if let Some(entry) = self.times.next() {
            let offset = self.base_offset.get() + i64::from(entry.relative_offset);
            self.tell(1, findings, |it| {
                let what = format!("an entry names offset {offset}, behind the segment's end");
                Finding::damage(&it.time_path, what).of_offset(offset)
            });
        }
    }
}

/// Kafka gives the files of an active segment their full length, and cuts them at a clean stop.
fn without_padding<T>(mut entries: Vec<T>, is_padding: impl Fn(&T) -> bool) -> Vec<T> {
    while entries.last().is_some_and(&is_padding) {
        entries.pop();
    }
    entries
}
