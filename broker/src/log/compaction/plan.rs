//! What to compact: which logs are due, which segments are read, which become one.
//!
//! Plain decisions; Kafka's rules (`LogCleanerManager`, `Cleaner.groupSegmentsBySize`).

use std::ops::Range;
use std::time::Duration;

use corelog_protocol::Offset;

/// A topic's settings for compaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionConfig {
    /// `min.cleanable.dirty.ratio`: a log is compacted when more than this share of its closed bytes
    /// was not compacted yet.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: a record stays as it is for at least so long.
    pub min_lag: Duration,
    /// `max.compaction.lag.ms`: a log is compacted, whatever its ratio, when a record is so old.
    pub max_lag: Option<Duration>,
    /// `delete.retention.ms`: how long a tombstone stays after it was compacted.
    pub delete_retention: Duration,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        CompactionConfig {
            min_dirty_ratio: 0.5,
            min_lag: Duration::ZERO,
            max_lag: None,
            delete_retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// A closed segment, as far as plans are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub(super) base: Offset,
    /// Where the next segment begins.
    pub(super) end: Offset,
    pub(super) bytes: u64,
    pub(super) index_bytes: u64,
    /// A list of aborted transactions lies beside it, under its name. It holds for the segment and for
    /// what else is put behind it, and would be lost if the segment were put behind another.
    pub(super) has_aborted: bool,
}

/// How much of a log was compacted, and how much could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dirtiness {
    pub(super) clean_bytes: u64,
    pub(super) dirty_bytes: u64,
}

impl Dirtiness {
    /// Of the segments that may be compacted; a segment that is compacted in part is dirty.
    pub(super) fn of(segments: &[ClosedSegment], first_dirty: Offset) -> Dirtiness {
        let bytes = |clean: bool| {
            segments
                .iter()
                .filter(|segment| (segment.end <= first_dirty) == clean)
                .map(|segment| segment.bytes)
                .sum()
        };
        Dirtiness {
            clean_bytes: bytes(true),
            dirty_bytes: bytes(false),
        }
    }

    /// The dirty share, from 0 to 1.
    pub(super) fn ratio(self) -> f64 {
        let all = self.clean_bytes + self.dirty_bytes;
        if all == 0 {
            return 0.0;
        }
        self.dirty_bytes as f64 / all as f64
    }

    /// Whether the log is compacted now. `oldest_dirty` is the timestamp of the first batch that was
    /// not compacted; batches without one do not make a log due.
    pub(super) fn is_due(
        self,
        config: &CompactionConfig,
        oldest_dirty: Option<i64>,
        now: i64,
    ) -> bool {
        if self.dirty_bytes == 0 {
            return false;
        }
        let too_old = match (config.max_lag, oldest_dirty) {
            (Some(lag), Some(oldest)) if oldest > 0 => oldest < before(now, lag),
            _ => false,
        };
        too_old || self.ratio() > config.min_dirty_ratio
    }
}

/// Whether a segment is still kept as it is by `min.compaction.lag.ms`; so are those behind it.
pub(super) fn is_too_young(config: &CompactionConfig, largest_timestamp: i64, now: i64) -> bool {
    !config.min_lag.is_zero() && largest_timestamp > before(now, config.min_lag)
}

fn before(now: i64, lag: Duration) -> i64 {
    now.saturating_sub(i64::try_from(lag.as_millis()).unwrap_or(i64::MAX))
}

/// What one segment may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupLimits {
    /// `segment.bytes`
    pub(super) bytes: u64,
    /// `segment.index.bytes`
    pub(super) index_bytes: u64,
    /// Files that are open at a time.
    pub(super) segments: usize,
}

/// Neighbours that become one segment each, in order: as many as fit if nothing is removed.
pub(super) fn groups(segments: &[ClosedSegment], limits: GroupLimits) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    while start < segments.len() {
        let (mut bytes, mut index_bytes) = (0, 0);
        let fits = segments[start..]
            .iter()
            .enumerate()
            .take_while(|(n, segment)| {
                bytes += segment.bytes;
                index_bytes += segment.index_bytes;
                let offsets = segment.end.get() - segments[start].base.get();
                *n == 0
                    || (!segment.has_aborted
                        && bytes <= limits.bytes
                        && index_bytes <= limits.index_bytes
                        && offsets <= i64::from(i32::MAX)
                        && *n < limits.segments)
            });
        let end = start + fits.count();
        groups.push(start..end);
        start = end;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(sizes: &[u64]) -> Vec<ClosedSegment> {
        let segment = |(n, bytes): (usize, &u64)| ClosedSegment {
            base: Offset::new(n as i64 * 100),
            end: Offset::new(n as i64 * 100 + 100),
            bytes: *bytes,
            index_bytes: 8,
            has_aborted: false,
        };
        sizes.iter().enumerate().map(segment).collect()
    }

    const LIMITS: GroupLimits = GroupLimits {
        bytes: 100,
        index_bytes: 1000,
        segments: 64,
    };

    #[test]
    fn the_dirty_ratio_is_that_of_bytes_not_compacted() {
        let segments = segments(&[10, 20, 30, 40]);
        let ratio = |first_dirty| Dirtiness::of(&segments, Offset::new(first_dirty)).ratio();
        assert_eq!(ratio(0), 1.0);
        assert_eq!(ratio(100), 0.9);
        assert_eq!(ratio(150), 0.9, "a segment compacted in part is dirty");
        assert_eq!(ratio(300), 0.4);
        assert_eq!(ratio(400), 0.0);
        assert_eq!(Dirtiness::of(&[], Offset::ZERO).ratio(), 0.0);
    }

    #[test]
    fn a_log_is_due_above_its_ratio_or_when_a_record_is_too_old() {
        let half = Dirtiness {
            clean_bytes: 50,
            dirty_bytes: 50,
        };
        let config = CompactionConfig::default();
        assert!(!half.is_due(&config, None, 1_000_000), "not above");
        let lower = CompactionConfig {
            min_dirty_ratio: 0.49,
            ..config.clone()
        };
        assert!(half.is_due(&lower, None, 1_000_000));
        let forced = CompactionConfig {
            max_lag: Some(Duration::from_secs(10)),
            ..config
        };
        assert!(half.is_due(&forced, Some(989_999), 1_000_000));
        assert!(!half.is_due(&forced, Some(990_000), 1_000_000));
        assert!(!half.is_due(&forced, Some(-1), 1_000_000), "no timestamp");
        let clean = Dirtiness {
            clean_bytes: 50,
            dirty_bytes: 0,
        };
        assert!(!clean.is_due(&forced, Some(1), 1_000_000), "nothing to do");
    }

    #[test]
    fn young_segments_stay_as_they_are() {
        let config = CompactionConfig {
            min_lag: Duration::from_secs(1),
            ..CompactionConfig::default()
        };
        assert!(is_too_young(&config, 9_001, 10_000));
        assert!(!is_too_young(&config, 9_000, 10_000));
        let none = CompactionConfig::default();
        assert!(
            !is_too_young(&none, i64::MAX, 10_000),
            "without a lag nothing is too young"
        );
    }

    #[test]
    fn neighbours_become_one_while_they_fit() {
        let sizes = [40, 40, 20, 1, 500, 60, 60];
        assert_eq!(
            groups(&segments(&sizes), LIMITS),
            [0..3, 3..4, 4..5, 5..6, 6..7]
        );
        assert!(groups(&[], LIMITS).is_empty());
    }

    #[test]
    fn a_group_keeps_within_offsets_indexes_and_files() {
        let mut far = segments(&[1, 1, 1]);
        far[2].end = Offset::new(i64::from(i32::MAX) + 1);
        assert_eq!(groups(&far, LIMITS), [0..2, 2..3]);
        let indexes = GroupLimits {
            index_bytes: 16,
            ..LIMITS
        };
        assert_eq!(groups(&segments(&[1, 1, 1]), indexes), [0..2, 2..3]);
        let files = GroupLimits {
            segments: 2,
            ..LIMITS
        };
        assert_eq!(groups(&segments(&[1; 5]), files), [0..2, 2..4, 4..5]);
        let mut aborted = segments(&[1; 5]);
        aborted[2].has_aborted = true;
        assert_eq!(groups(&aborted, LIMITS), [0..2, 2..5]);
    }
}
