//! The segments of one partition, in order.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use corelog_protocol::record::BatchView;
use corelog_protocol::{LeaderEpoch, Offset};
use serde::Serialize;

use super::finding::{Finding, Findings, Severity};
use super::index::IndexCheck;
use super::journal::Known;
use super::progress::Progress;
use crate::log::batch_search::{Search, find_batch};
use crate::log::batch_stream::{Batch, BatchStream, Broken};
use crate::log::headers::{self, HeaderCheck, Headers};
use crate::log::place::{PartitionFolder, SegmentFile};
use crate::log::sequential::SequentialFile;
use crate::log::small_file::{LARGEST_TEXT, epochs_contradicted, leader_epochs, read_bounded};
use crate::log::swap::{Fate, SettledLog, Swap};

/// The most that a batch is decompressed to.
const LARGEST_DECOMPRESSED: usize = 256 << 20;
/// A batch beyond this is not read record for record.
const LARGEST_BATCH: usize = 256 << 20;
/// Leader epochs remembered to compare with `leader-epoch-checkpoint`.
const MOST_EPOCHS: usize = 1 << 20;

/// Our compaction's; Kafka has one for all partitions, elsewhere.
const FIRST_DIRTY: &str = "cleaner-offset-checkpoint";

/// What went by.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Totals {
    pub(super) partitions: u64,
    pub(super) segments: u64,
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// Places where offsets are missing, as compaction leaves them.
    pub(super) gaps: u64,
}

/// Checks the segments of one partition.
pub(super) struct PartitionCheck<'a> {
    /// What our checkpoints and journals say of it.
    pub(super) known: Known<'a>,
    pub(super) mend: String,
    /// Of a lone file nobody knows whether it is the last one.
    pub(super) is_whole_log: bool,
    pub(super) read_records: bool,
    pub(super) findings: &'a mut Findings,
    pub(super) totals: &'a mut Totals,
    pub(super) progress: &'a Progress,
    pub(super) next_offset: Option<Offset>,
    pub(super) epoch: Option<LeaderEpoch>,
    /// Every epoch met, with its first and its next offset.
    pub(super) epochs: Vec<(LeaderEpoch, Offset, Offset)>,
    /// The last bytes of the segment before are no batch, or damaged: where it ended is not known.
    pub(super) end_is_lost: bool,
    /// Findings about segments.
    pub(super) told: u64,
    /// Only compaction leaves gaps inside a segment.
    pub(super) is_compacted: bool,
    /// Our compaction has been here. What it writes ends where its sources ended.
    pub(super) is_compacted_by_us: bool,
}

impl PartitionCheck<'_> {
    pub(super) fn run(&mut self, folder: &PartitionFolder) {
        self.totals.partitions += 1;
        self.is_compacted_by_us = folder.path.join(FIRST_DIRTY).exists();
        let closed_end = self.known.place.map(|place| place.segment_base);
        let log = SettledLog::of(folder, closed_end).unwrap_or_else(|error| {
            let what = format!("what compaction left in it cannot be read: {error}");
            self.findings.add(Finding::damage(&folder.path, what));
            SettledLog {
                segments: folder.segments.clone(),
                swaps: Vec::new(),
            }
        });
        for swap in &log.swaps {
            self.swap(swap);
        }
        self.check_place(folder, &log.segments);
        let last = log.segments.len().saturating_sub(1);
        for (number, segment) in log.segments.iter().enumerate() {
            self.segment(segment, number == last);
        }
        self.end(folder, log.segments.last());
        self.leader_epochs(&folder.path);
    }

    /// A segment that waits to take the place of others.
    fn swap(&mut self, swap: &Swap) {
        let path = &swap.file.path;
        let damaged = |problem: &str, rest: &str| {
            let what = format!("compaction wrote it to replace other segments: {problem}; {rest}");
            Finding::damage(path, what)
        };
        let finding = match &swap.fate {
            Fate::Completes { end } => {
                let what = format!(
                    "compaction wrote it to replace the segments below offset {end}; the next \
                     start does that"
                );
                Finding::note(path, what)
            }
            Fate::IsNotNeeded { problem } => damaged(problem, "they are all there"),
            Fate::IsTheSegment { problem } => damaged(problem, "not all of them are there"),
        };
        self.findings.add(finding.mended_by(&self.mend));
    }

    /// What the checkpoint says of files.
    fn check_place(&mut self, folder: &PartitionFolder, segments: &[SegmentFile]) {
        let Some(place) = self.known.place else {
            return;
        };
        let mut active = segments.iter();
        let active = active.find(|segment| segment.base_offset == place.segment_base);
        let held = active.map_or(0, |segment| segment.bytes);
        if held < place.position {
            let path = folder
                .path
                .join(format!("{:020}.log", place.segment_base.get()));
            let what = format!(
                "it is shorter than the {} bytes that the checkpoint says it holds ({})",
                place.position,
                active.map_or("it is missing".to_owned(), |it| format!(
                    "{} bytes",
                    it.bytes
                ))
            );
            let finding = Finding::damage(&path, what).at(held);
            self.findings.add(finding.mended_by(&self.mend));
        }
        let first = segments.first().map(|segment| segment.base_offset);
        let log_start = self.known.log_start();
        if let (Some(first), Some(log_start)) = (first, log_start)
            && first > log_start
        {
            let what = format!("its first segment begins at offset {first}, and the log at ");
            let finding = if self.known.may_begin_later() {
                let rest = "by the checkpoint; what the journal said of it later is lost";
                Finding::note(&folder.path, format!("{what}{log_start} {rest}"))
            } else {
                Finding::damage(&folder.path, format!("{what}{log_start}"))
            };
            let finding = finding.of_offset(log_start.get());
            self.findings.add(finding.mended_by(&self.mend));
        }
    }

    /// What lies behind the checkpoint is the journal's to say.
    fn severity(&self, segment: &SegmentFile, position: u64) -> Severity {
        let is_behind = self.known.place.is_some_and(|place| {
            (segment.base_offset, position) >= (place.segment_base, place.position)
        });
        match is_behind || self.known.is_for_the_replay() {
            true => Severity::Note,
            false => Severity::Damage,
        }
    }

    fn tell(&mut self, segment: &SegmentFile, position: u64, what: String) {
        self.told += 1;
        let severity = self.severity(segment, position);
        let mut finding = Finding::damage(&segment.path, what)
            .at(position)
            .with_severity(severity);
        if let Some(next) = self.next_offset {
            finding = finding.of_offset(next.get());
        }
        self.findings.add(finding.mended_by(&self.mend));
    }

    pub(super) fn segment(&mut self, segment: &SegmentFile, is_last: bool) {
        self.totals.segments += 1;
        self.totals.bytes += segment.bytes;
        let base = segment.base_offset;
        match self.next_offset {
            Some(next) if base < next => {
                let what = format!("it begins at offset {base}, and the one before ends at {next}");
                self.tell(segment, 0, what);
            }
            Some(next) if base > next => {
                self.totals.gaps += 1;
                if !self.end_is_lost {
                    self.hole(&segment.path, next, base);
                }
            }
            _ => {}
        }
        self.next_offset = Some(base);
        self.end_is_lost = false;
        let told = self.told;
        let mut index = IndexCheck::load(&segment.path, base, &self.mend, self.findings);
        let mut headers = HeaderCheck::load(segment);
        let mut start = 0;
        let mut end = 0;
        while start < segment.bytes {
            let broken = match self.stream(segment, start, (&mut index, &mut headers), &mut end) {
                Ok(None) => break,
                Ok(Some(broken)) => broken,
                Err(error) => {
                    self.tell(segment, end, format!("it cannot be read: {error}"));
                    self.end_is_lost = true;
                    return;
                }
            };
            match self.after(segment, &broken, is_last) {
                Some(position) => start = position,
                None => break,
            }
        }
        index.finish(end, self.findings);
        match headers.finish() {
            Headers::AsWritten => {}
            Headers::Unreadable(problem) => {
                let severity = self.severity(segment, 0);
                let what = format!("it is {problem}");
                let finding = Finding::damage(&headers::path_of(&segment.path), what);
                let finding = finding.with_severity(severity);
                self.findings.add(finding.mended_by(&self.mend));
            }
            // What else was said of the segment is the same damage, and says more.
            Headers::Changed { .. } if self.told > told => {}
            Headers::Changed { from, to } => {
                let what = format!(
                    "the base offset, the leader epoch or the length of a batch between here and \
                     byte {to} is not what was written"
                );
                self.tell(segment, from, what);
            }
        }
    }

    /// Reads on from `start`, up to the end or to bytes that are no batch.
    fn stream(
        &mut self,
        segment: &SegmentFile,
        start: u64,
        (index, headers): (&mut IndexCheck, &mut HeaderCheck),
        end: &mut u64,
    ) -> std::io::Result<Option<Broken>> {
        let mut file = SequentialFile::open(&segment.path, start..segment.bytes)?;
        let mut stream = BatchStream::new(start, segment.bytes);
        while let Some(piece) = file.next()? {
            let fed = stream.feed(&piece, |batch| {
                self.batch(segment, batch);
                headers.observe(batch);
                if !batch.is_out_of_range() {
                    index.observe(batch, self.findings);
                }
                *end = batch.end();
            });
            self.progress.add(piece.len());
            file.done(piece);
            if let Err(broken) = fed {
                return Ok(Some(broken));
            }
        }
        Ok(stream.finish().err())
    }

    fn batch(&mut self, segment: &SegmentFile, batch: &Batch) {
        self.totals.batches += 1;
        self.totals.records += u64::from(batch.header.records_count.get().unsigned_abs());
        let (base, next) = (
            batch.base_offset(),
            self.next_offset.unwrap_or(Offset::ZERO),
        );
        if !batch.is_intact() {
            let what = format!(
                "the CRC of the batch of offsets {base} to {} is {:#010x}, its bytes give {:#010x}",
                batch.last_offset(),
                batch.header.crc.get(),
                batch.crc
            );
            self.tell(segment, batch.position, what);
            // Its header may be what is damaged.
            self.end_is_lost = base != next;
            if base == next {
                self.next_offset = Some(batch.next_offset());
            }
            return;
        }
        let widest = i64::from(i32::MAX);
        let relative = batch.last_offset().get() - segment.base_offset.get();
        if batch.is_out_of_range() || relative > widest {
            let what = format!(
                "a batch begins at offset {}, and no index of its segment can name offsets beyond \
                 {widest} above the segment's first",
                batch.header.base_offset.get()
            );
            self.tell(segment, batch.position, what);
            self.end_is_lost = true;
            return;
        }
        self.end_is_lost = false;
        if base < next {
            let what =
                format!("a batch begins at offset {base}, and the one before ends at {next}");
            self.tell(segment, batch.position, what);
        }
        if base > next {
            self.totals.gaps += 1;
            self.is_compacted = true;
        }
        self.epoch_of(segment, batch);
        if batch.attributes().compression().is_none() {
            let what = format!("codec {} is unknown", batch.attributes().codec_id());
            self.tell(segment, batch.position, what);
        } else if self.read_records {
            self.records(segment, batch);
        }
        self.check_cut(segment, batch);
        // One of the two is wrong, and only the next ones can tell which: from here on it is this
        // one's word that counts, so that one wrong offset is told once.
        self.next_offset = Some(batch.next_offset());
    }

    fn epoch_of(&mut self, segment: &SegmentFile, batch: &Batch) {
        let epoch = batch.epoch();
        if epoch < self.epoch {
            let name = |epoch: Option<LeaderEpoch>| epoch.map_or(-1, LeaderEpoch::get);
            let what = format!(
                "leader epoch {} follows epoch {}",
                name(epoch),
                name(self.epoch)
            );
            self.tell(segment, batch.position, what);
            // As with offsets: one wrong epoch is told once.
            self.epoch = epoch;
            return;
        }
        self.epoch = epoch;
        let Some(found) = epoch else { return };
        let room = self.epochs.len() < MOST_EPOCHS;
        match self.epochs.last_mut() {
            Some(last) if last.0 == found => last.2 = batch.next_offset(),
            Some(last) if last.0 > found => {}
            _ if room => self
                .epochs
                .push((found, batch.base_offset(), batch.next_offset())),
            _ => {}
        }
    }

    /// The checkpoint's cut lies between two batches, and it knows the offset there.
    fn check_cut(&mut self, segment: &SegmentFile, batch: &Batch) {
        let Some(place) = self.known.place else {
            return;
        };
        if segment.base_offset != place.segment_base {
            return;
        }
        let what = if batch.position < place.position && place.position < batch.end() {
            format!(
                "the checkpoint says that {} bytes are whole, which ends inside a batch",
                place.position
            )
        } else if batch.end() == place.position && batch.next_offset() != place.next_offset {
            format!(
                "the checkpoint says that the log ends at offset {}, and the batches at {}",
                place.next_offset,
                batch.next_offset()
            )
        } else {
            return;
        };
        self.tell(segment, batch.position, what);
    }

    fn records(&mut self, segment: &SegmentFile, batch: &Batch) {
        if batch.size > LARGEST_BATCH {
            let what = format!(
                "the records of a batch of {} bytes were not read",
                batch.size
            );
            let finding = Finding::note(&segment.path, what).at(batch.position);
            self.findings.add(finding);
            return;
        }
        if let Err(problem) = read_records(&segment.path, batch) {
            let what = format!("the records of a batch cannot be read: {problem}");
            self.tell(segment, batch.position, what);
        }
    }

    /// Offsets are missing between two segments, or before where the checkpoint says the log goes
    /// on.
    fn hole(&mut self, file: &Path, from: Offset, to: Offset) {
        let by_the_journal = "the journal says what belongs there";
        // Of what we close, each segment ends where the next one begins, cleaned or not.
        let (to, is_damage, why) = match self.known.place {
            Some(place) if from < place.segment_base => {
                let to = to.min(place.segment_base);
                if self.is_compacted && !self.is_compacted_by_us {
                    let why = "another broker compacted it, or a segment is not there";
                    (to, false, why)
                } else {
                    let why = "a segment is not there, which only a backup can bring back";
                    (to, true, why)
                }
            }
            Some(_) => (to, false, by_the_journal),
            None if self.known.is_for_the_replay() => (to, false, by_the_journal),
            None => {
                let why = "compaction left nothing of them, or a segment is not there";
                (to, false, why)
            }
        };
        let what = format!("the offsets from {from} up to {to} are missing before it: {why}");
        let finding = match is_damage {
            true => Finding::damage(file, what),
            false => Finding::note(file, what),
        };
        self.findings.add(finding.of_offset(from.get()));
    }

    /// The log goes on where the checkpoint says, in a segment that may have no file yet.
    fn end(&mut self, folder: &PartitionFolder, last: Option<&SegmentFile>) {
        let (Some(place), Some(last), Some(next)) = (self.known.place, last, self.next_offset)
        else {
            return;
        };
        let is_closed = last.base_offset < place.segment_base;
        if is_closed && place.position == 0 && next < place.segment_base && !self.end_is_lost {
            let path = folder
                .path
                .join(format!("{:020}.log", place.segment_base.get()));
            self.hole(&path, next, place.segment_base);
        }
    }

    /// What the bytes are that are no batch, and where the next one begins.
    fn after(&mut self, segment: &SegmentFile, broken: &Broken, is_last: bool) -> Option<u64> {
        let Broken { position, reason } = broken;
        let next = self.next_offset.unwrap_or(segment.base_offset);
        let left = segment.bytes - position;
        self.end_is_lost = true;
        let found = find_batch(&segment.path, position + 1..segment.bytes, next);
        match found {
            Ok(Search::Batch(at)) => {
                let what = format!("{} bytes are no batch: {reason}", at - position);
                self.tell(segment, *position, what);
                return Some(at);
            }
            Ok(Search::GaveUp) => {
                let what = format!("{left} bytes are no batches, or too many: {reason}");
                self.tell(segment, *position, what);
            }
            Err(error) => self.tell(segment, *position, format!("it cannot be read: {error}")),
            Ok(Search::Nothing) if is_last && all_zero(&segment.path, *position, left) => {
                let what = format!("{left} bytes at its end were allocated and never written");
                let finding = Finding::note(&segment.path, what).at(*position);
                self.findings.add(finding);
            }
            Ok(Search::Nothing) if is_last && self.is_whole_log => {
                let what = format!("{left} bytes at its end are torn: {reason}");
                self.tell(segment, *position, what);
            }
            Ok(Search::Nothing) => {
                let what = format!("its last {left} bytes are no batch: {reason}");
                self.tell(segment, *position, what);
            }
        }
        None
    }

    /// Kafka's `leader-epoch-checkpoint` against the batches.
    fn leader_epochs(&mut self, folder: &Path) {
        let path = folder.join("leader-epoch-checkpoint");
        let bytes = match read_bounded(&path, LARGEST_TEXT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let finding = Finding::damage(&path, format!("it cannot be read: {error}"));
                self.findings.add(finding.mended_by(&self.mend));
                return;
            }
        };
        let problem = match leader_epochs(&bytes) {
            Err(problem) => Some(problem),
            Ok(entries) => epochs_contradicted(&entries, &self.epochs),
        };
        if let Some(problem) = problem {
            let finding = Finding::damage(&path, problem);
            self.findings.add(finding.mended_by(&self.mend));
        }
    }
}

fn read_records(path: &Path, batch: &Batch) -> Result<(), String> {
    let mut bytes = vec![0; batch.size];
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.read_exact_at(&mut bytes, batch.position)
        .map_err(|error| error.to_string())?;
    let (view, _) = BatchView::parse(&bytes).map_err(|error| error.to_string())?;
    let mut scratch = Vec::new();
    let records = view.records(&mut scratch, LARGEST_DECOMPRESSED);
    let mut count = 0;
    for record in records.map_err(|error| error.to_string())? {
        record.map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == view.record_count() {
        Ok(())
    } else {
        let said = view.record_count();
        Err(format!("its header says {said} and it holds {count}"))
    }
}

fn all_zero(path: &Path, position: u64, bytes: u64) -> bool {
    let all_zero = || -> std::io::Result<bool> {
        let mut file = SequentialFile::open(path, position..position + bytes)?;
        while let Some(piece) = file.next()? {
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            file.done(piece);
        }
        Ok(true)
    };
    all_zero().unwrap_or(false)
}
