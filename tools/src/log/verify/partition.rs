//! The segments of one partition, in order.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use corelog_broker::log::inspect::PartitionPlace;
use corelog_protocol::record::BatchView;
use corelog_protocol::{LeaderEpoch, Offset};
use serde::Serialize;

use super::finding::{Finding, Findings, Severity};
use super::index::IndexCheck;
use super::progress::Progress;
use crate::log::batch_search::{Search, find_batch};
use crate::log::batch_stream::{Batch, BatchStream, Broken};
use crate::log::place::{PartitionFolder, SegmentFile};
use crate::log::sequential::SequentialFile;
use crate::log::small_file::{LARGEST_TEXT, leader_epochs, read_bounded};

/// The most that a batch is decompressed to.
const LARGEST_DECOMPRESSED: usize = 256 << 20;
/// A batch beyond this is not read record for record.
const LARGEST_BATCH: usize = 256 << 20;
/// Leader epochs remembered to compare with `leader-epoch-checkpoint`.
const MOST_EPOCHS: usize = 1 << 20;

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
    /// Where our checkpoint says that the log stands.
    pub(super) place: Option<&'a PartitionPlace>,
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
}

impl PartitionCheck<'_> {
    pub(super) fn run(&mut self, folder: &PartitionFolder) {
        self.totals.partitions += 1;
        self.check_place(folder);
        let last = folder.segments.len().saturating_sub(1);
        for (number, segment) in folder.segments.iter().enumerate() {
            self.segment(segment, number == last);
        }
        self.leader_epochs(&folder.path);
    }

    /// What the checkpoint says of files.
    fn check_place(&mut self, folder: &PartitionFolder) {
        let Some(place) = self.place else { return };
        let active = folder
            .segments
            .iter()
            .find(|segment| segment.base_offset == place.segment_base);
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
        let first = folder.segments.first().map(|segment| segment.base_offset);
        if let Some(first) = first
            && first > place.log_start
        {
            let what = format!(
                "its first segment begins at offset {first}, and the log at {}",
                place.log_start
            );
            let finding = Finding::damage(&folder.path, what).of_offset(place.log_start.get());
            self.findings.add(finding.mended_by(&self.mend));
        }
    }

    /// What lies behind the checkpoint is the journal's to say.
    fn severity(&self, segment: &SegmentFile, position: u64) -> Severity {
        match self.place {
            Some(place)
                if (segment.base_offset, position) >= (place.segment_base, place.position) =>
            {
                Severity::Note
            }
            _ => Severity::Damage,
        }
    }

    fn tell(&mut self, segment: &SegmentFile, position: u64, what: String) {
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
            Some(next) if base > next => self.totals.gaps += 1,
            _ => {}
        }
        self.next_offset = Some(base);
        let mut index = IndexCheck::load(&segment.path, base, &self.mend, self.findings);
        let mut start = 0;
        let mut end = 0;
        while start < segment.bytes {
            let broken = match self.stream(segment, start, &mut index, &mut end) {
                Ok(None) => break,
                Ok(Some(broken)) => broken,
                Err(error) => {
                    self.tell(segment, end, format!("it cannot be read: {error}"));
                    return;
                }
            };
            match self.after(segment, &broken, is_last) {
                Some(position) => start = position,
                None => break,
            }
        }
        index.finish(end, self.findings);
    }

    /// Reads on from `start`, up to the end or to bytes that are no batch.
    fn stream(
        &mut self,
        segment: &SegmentFile,
        start: u64,
        index: &mut IndexCheck,
        end: &mut u64,
    ) -> std::io::Result<Option<Broken>> {
        let mut file = SequentialFile::open(&segment.path, start..segment.bytes)?;
        let mut stream = BatchStream::new(start, segment.bytes);
        while let Some(piece) = file.next()? {
            let fed = stream.feed(&piece, |batch| {
                self.batch(segment, batch);
                index.observe(batch, self.findings);
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
            if base == next {
                self.next_offset = Some(batch.next_offset());
            }
            return;
        }
        if base < next {
            let what =
                format!("a batch begins at offset {base}, and the one before ends at {next}");
            self.tell(segment, batch.position, what);
        }
        if base > next {
            self.totals.gaps += 1;
        }
        let widest = i64::from(i32::MAX);
        if batch.last_offset().get() - segment.base_offset.get() > widest {
            let what = format!(
                "offset {} is more than {widest} above the segment's first: no index can name it",
                batch.last_offset()
            );
            self.tell(segment, batch.position, what);
        }
        self.epoch_of(segment, batch);
        if batch.attributes().compression().is_none() {
            let what = format!("codec {} is unknown", batch.attributes().codec_id());
            self.tell(segment, batch.position, what);
        } else if self.read_records {
            self.records(segment, batch);
        }
        self.check_cut(segment, batch);
        self.next_offset = Some(batch.next_offset().max(next));
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
            return;
        }
        let Some(found) = epoch else { return };
        if epoch > self.epoch && self.epochs.len() < MOST_EPOCHS {
            self.epochs
                .push((found, batch.base_offset(), batch.next_offset()));
        } else if let Some(last) = self.epochs.last_mut() {
            last.2 = batch.next_offset();
        }
        self.epoch = epoch;
    }

    /// The checkpoint's cut lies between two batches, and it knows the offset there.
    fn check_cut(&mut self, segment: &SegmentFile, batch: &Batch) {
        let Some(place) = self.place else { return };
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

    /// What the bytes are that are no batch, and where the next one begins.
    fn after(&mut self, segment: &SegmentFile, broken: &Broken, is_last: bool) -> Option<u64> {
        let Broken { position, reason } = broken;
        let next = self.next_offset.unwrap_or(segment.base_offset);
        let left = segment.bytes - position;
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
            Ok(entries) => entries.iter().find_map(|&(epoch, start)| {
                // A later file may hold epochs of which no batch is left, or none was written yet.
                self.epochs.iter().find_map(|&(found, first, next)| {
                    if found == epoch && first < start {
                        Some(format!(
                            "it says that epoch {epoch} begins at offset {start}, and a batch of \
                             it at {first}"
                        ))
                    } else if found < epoch && next > start {
                        Some(format!(
                            "it says that epoch {epoch} begins at offset {start}, and epoch \
                             {found} goes on to {next}"
                        ))
                    } else {
                        None
                    }
                })
            }),
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
