//! One compaction of one log: the shell around [`Round`].

use std::collections::BTreeSet;
use std::rc::Rc;

use corelog_protocol::record::BatchView;
use corelog_protocol::{Offset, Timestamp};

use super::cleaned::Output;
use super::key_map::KeyMap;
use super::plan::{ClosedSegment, CompactionConfig, GroupLimits, groups};
use super::rewrite::{Outcome, Round};
use super::scratch::Scratch;
use super::source::Source;
use super::stop::Stop;
use super::{first_dirty, swap};
use super::{is_over, spend};
use crate::log::canary::{Canary, is_planted};
use crate::log::partition_log::PartitionLog;
use crate::log::segment::{LARGEST_SEGMENT, Segment};
use crate::log::shard_log::Shared;
use crate::runtime::{Charge, unix_millis, yield_now};

/// Bytes of records gone over before the other tasks of the core run.
const TURN_BYTES: usize = 64 << 10;
/// A smaller map is waited for.
const SMALLEST_MAP: usize = 256 << 10;
/// Sources of one segment, all open at a time.
const LARGEST_GROUP: usize = 64;
/// Put behind a segment's base offset: the aborted transactions that end in it.
const ABORTED: &str = ".txnindex";

/// What is compacted, and by which rules.
pub(super) struct Job<'a> {
    pub(super) shared: &'a Shared,
    pub(super) log: &'a PartitionLog,
    pub(super) config: CompactionConfig,
    /// The closed segments that may be compacted, from the first of the log on.
    pub(super) segments: Vec<Rc<Segment>>,
    pub(super) closed: Vec<ClosedSegment>,
    pub(super) first_dirty: Offset,
    /// How often the log had been cut back when this was planned.
    pub(super) cuts: u64,
}

impl Job<'_> {
    /// Compacts from the first dirty offset on, as far as the key map reaches.
    pub(super) async fn run(mut self) -> Result<(), Stop> {
        self.find_aborted().await?;
        let end = self.closed.last().map_or(self.first_dirty, |last| last.end);
        let (map, _charge) = self.take_map(end).await?;
        let now = Timestamp::new(unix_millis());
        let mut round = Round::new(map, self.first_dirty, now, self.config.delete_retention);
        let mut turn = Turn::default();
        let mut scratch = Scratch::take(self.shared).await?;
        self.note_keys(&mut round, end, &mut scratch, &mut turn)
            .await?;
        let fill = round.map().fill_percent();
        self.shared.compaction.map_fill_percent.set(fill);
        if is_planted(Canary::FirstDirtyBeforeSwap) {
            self.remember(round.end()).await?;
        }
        let reached = self.closed.iter().take_while(|it| it.base < round.end());
        let reached = reached.count();
        let limits = {
            let config = &self.log.state.borrow().config;
            GroupLimits {
                bytes: config.segment_bytes.min(LARGEST_SEGMENT),
                index_bytes: config.segment_index_bytes,
                segments: LARGEST_GROUP,
            }
        };
        for group in groups(&self.closed[..reached], limits) {
            self.rewrite(&mut round, &self.segments[group], &mut scratch, &mut turn)
                .await?;
        }
        self.remember(round.end()).await
    }

    /// Looks which segments have a list of aborted transactions, `<base>.txnindex`. Nothing here writes
    /// one; a folder that was taken over may hold some.
    async fn find_aborted(&mut self) -> Result<(), Stop> {
        let folder = self.log.folder();
        let entries = self.shared.storage.list(folder).await;
        let entries = entries.map_err(|error| {
            tracing::warn!(path = %folder.display(), "not compacted now: {error}");
            Stop::Ended
        })?;
        let names = entries.iter().map(|entry| entry.name.as_str());
        let bases = names.filter_map(|name| name.strip_suffix(ABORTED)?.parse().ok());
        let bases: BTreeSet<_> = bases.filter_map(Offset::from_sentinel).collect();
        for closed in &mut self.closed {
            closed.has_aborted = bases.contains(&closed.base);
        }
        Ok(())
    }

    /// A map with room for every offset there is, or as much as the configuration and the memory
    /// allow.
    async fn take_map(&self, end: Offset) -> Result<(KeyMap, Charge), Stop> {
        let shared = self.shared;
        let options = &shared.options.compaction;
        let offsets = u64::try_from(end.distance_from(self.first_dirty)).unwrap_or(0);
        let wanted = KeyMap::bytes_for(offsets, options.map_load_factor);
        let allowed = options.map_bytes.min(shared.memory.compaction.budget() / 4);
        let mut bytes = usize::try_from(wanted).unwrap_or(usize::MAX).min(allowed);
        // What is not there now is not waited for: a smaller map only takes more rounds.
        let charge = loop {
            match shared.memory.compaction.charge(bytes) {
                Ok(charge) => break charge,
                Err(_) if bytes > SMALLEST_MAP => bytes /= 2,
                Err(_) => {
                    break shared
                        .charge(&shared.memory.compaction, bytes)
                        .await
                        .ok_or(Stop::Ended)?;
                }
            }
        };
        let key = shared.compaction.key;
        Ok((KeyMap::new(bytes, options.map_load_factor, key), charge))
    }

    /// The first pass: the newest offset of every key in the dirty section.
    async fn note_keys(
        &self,
        round: &mut Round,
        end: Offset,
        scratch: &mut Scratch<'_>,
        turn: &mut Turn,
    ) -> Result<(), Stop> {
        for (segment, closed) in self.segments.iter().zip(&self.closed) {
            if closed.end <= self.first_dirty {
                continue;
            }
            self.shared.load_index(segment).await;
            let from = segment.index.borrow().position_before(self.first_dirty);
            let mut source = Source::open(self.shared, segment, from).await?;
            while let Some(run) = source.next().await? {
                let mut rest = &run.bytes[..];
                while !rest.is_empty() {
                    let position = run.position + (run.bytes.len() - rest.len()) as u64;
                    let (batch, after) = read_batch(segment, position, rest)?;
                    let noted = scratch
                        .with(round, &batch, |round, limit| round.note(&batch, limit))
                        .await?
                        .map_err(|error| Stop::uncleanable(segment.path(), position, error))?;
                    if !noted {
                        return Ok(());
                    }
                    rest = after;
                    turn.took(batch.size_in_bytes()).await;
                }
                scratch.settle(round);
                self.step(run.bytes.len()).await?;
            }
        }
        round.noted_all(end);
        Ok(())
    }

    /// The second pass over neighbours that become one segment.
    async fn rewrite(
        &self,
        round: &mut Round,
        sources: &[Rc<Segment>],
        scratch: &mut Scratch<'_>,
        turn: &mut Turn,
    ) -> Result<(), Stop> {
        if sources.iter().all(|source| source.size() == 0) {
            return Ok(());
        }
        let largest = sources.iter().map(|source| source.size()).sum();
        let interval = self.log.state.borrow().config.index_interval_bytes;
        let mut output = Output::new(self.shared, self.log, &sources[0], largest, interval);
        let filled = self.fill(round, sources, &mut output, scratch, turn);
        let finished = match filled.await {
            Ok(()) => output.finish().await,
            Err(stop) => Err(stop),
        };
        match finished {
            Ok(Some(cleaned)) => {
                let swapped = swap::swap(self.shared, self.log, sources, cleaned).await;
                // Nobody else could meanwhile.
                self.log.retire_below_log_start(self.shared);
                swapped
            }
            Ok(None) => Ok(()),
            Err(stop) => Err(output.abandon(stop).await),
        }
    }

    async fn fill(
        &self,
        round: &mut Round,
        sources: &[Rc<Segment>],
        output: &mut Output<'_>,
        scratch: &mut Scratch<'_>,
        turn: &mut Turn,
    ) -> Result<(), Stop> {
        // Empty ones may follow, in a folder that was taken over.
        let last = sources.iter().rposition(|source| source.size() > 0);
        if sources.len() > 1 {
            output.begin().await?;
        }
        let mut out = Vec::new();
        for (n, segment) in sources.iter().enumerate() {
            let mut source = Source::open(self.shared, segment, 0).await?;
            while let Some(run) = source.next().await? {
                let mut rest = &run.bytes[..];
                while !rest.is_empty() {
                    let position = run.position + (run.bytes.len() - rest.len()) as u64;
                    let (batch, after) = read_batch(segment, position, rest)?;
                    let ends = position + batch.size_in_bytes() as u64 == segment.size();
                    let is_last = ends && Some(n) == last;
                    let outcome = scratch
                        .with(round, &batch, |round, limit| {
                            out.clear();
                            round.rewrite(&batch, is_last, limit, &mut out)
                        })
                        .await?
                        .map_err(|error| Stop::uncleanable(segment.path(), position, error))?;
                    match outcome {
                        Outcome::Unchanged => output.push(&batch).await?,
                        Outcome::Gone => output.begin().await?,
                        Outcome::Rewritten => {
                            output.begin().await?;
                            let (rewritten, _) = BatchView::parse(&out)
                                .map_err(|error| self.not_a_batch(segment, position, &error))?;
                            output.push(&rewritten).await?;
                        }
                    }
                    rest = after;
                    turn.took(batch.size_in_bytes()).await;
                }
                if scratch.settle(round) {
                    out = Vec::new();
                }
                self.step(run.bytes.len()).await?;
            }
        }
        Ok(())
    }

    fn not_a_batch(&self, segment: &Segment, position: u64, error: &dyn std::error::Error) -> Stop {
        let reason = format!("what is left of it is no batch: {error}");
        Stop::uncleanable(segment.path(), position, reason)
    }

    /// Accounts for what was read, and ends when the log does.
    async fn step(&self, bytes: usize) -> Result<(), Stop> {
        let shared = self.shared;
        shared.count(|stats| stats.compaction_read_bytes += bytes as u64);
        let is_over = || is_over(shared, self.log) || self.log.state.borrow().cuts != self.cuts;
        spend(shared, bytes as u64, is_over).await;
        match is_over() {
            true => Err(Stop::Ended),
            false => Ok(()),
        }
    }

    async fn remember(&self, end: Offset) -> Result<(), Stop> {
        let folder = self.log.folder();
        let _nobody_cuts = self.log.rearranging.acquire(1).await;
        if self.log.state.borrow().cuts != self.cuts {
            return Err(Stop::Ended);
        }
        let written = first_dirty::write(&self.shared.storage, folder, end).await;
        written.map_err(|error| Stop::failed("write", folder, &error))?;
        self.log.compaction.first_dirty.set(end);
        Ok(())
    }
}

/// Lets the other tasks run every so often.
#[derive(Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    async fn took(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= TURN_BYTES {
            self.bytes = 0;
            yield_now().await;
        }
    }
}

fn read_batch<'a>(
    segment: &Segment,
    position: u64,
    bytes: &'a [u8],
) -> Result<(BatchView<'a>, &'a [u8]), Stop> {
    let read = BatchView::parse(bytes).and_then(|(batch, rest)| {
        batch.verify_crc()?;
        Ok((batch, rest))
    });
    read.map_err(|error| Stop::uncleanable(segment.path(), position, error))
}
