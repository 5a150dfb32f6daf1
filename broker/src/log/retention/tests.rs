#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::new(1_000_000);

/// Ten records a segment, 100 bytes each segment; the last one is active.
fn segments(count: usize) -> Vec<SegmentOverview> {
    (0..count)
        .map(|index| SegmentOverview {
            base_offset: Offset::new(index as i64 * 10),
            end_offset: Offset::new(index as i64 * 10 + 10),
            size_bytes: 100,
            is_closed: index + 1 < count,
        })
        .collect()
}

fn rules(max_age_ms: Option<u64>, max_bytes: Option<u64>) -> RetentionRules {
    RetentionRules {
        deletes: true,
        max_age: max_age_ms.map(Duration::from_millis),
        max_bytes,
    }
}

/// Applies rules to a log all of which is readable; `ages` are those of the segments' newest
/// records. Also returns how many of the segments were asked about.
fn apply(rules: RetentionRules, log: LogExtent<'_>, ages: &[Option<i64>]) -> (Retained, usize) {
    let mut asked = 0;
    let retained = rules
        .apply(log, NOW, async |segment| {
            asked += 1;
            let index = log.segments.iter().position(|it| it == segment).unwrap();
            ages[index].map(|age| Timestamp::new(NOW.get() - age))
        })
        .now_or_never()
        .unwrap();
    (retained, asked)
}

fn readable(segments: &[SegmentOverview]) -> LogExtent<'_> {
    LogExtent {
        segments,
        log_start: segments[0].base_offset,
        high_watermark: segments[segments.len() - 1].end_offset,
    }
}

fn start_after(rules: RetentionRules, segments: &[SegmentOverview], ages: &[i64]) -> (i64, bool) {
    let ages: Vec<Option<i64>> = ages.iter().copied().map(Some).collect();
    let (retained, _) = apply(rules, readable(segments), &ages);
    (retained.log_start.get(), retained.closes_active)
}

#[test]
fn segments_whose_newest_record_is_too_old_go() {
    let four = segments(4);
    let by_age = rules(Some(50), None);
    assert_eq!(start_after(by_age, &four, &[90, 51, 50, 0]), (20, false));
    assert_eq!(start_after(by_age, &four, &[50, 50, 50, 50]), (0, false));
}

/// A producer with a clock ahead must not have the log skip its segment and drop what is behind it.
#[test]
fn the_first_segment_that_stays_keeps_all_behind_it() {
    let four = segments(4);
    let by_age = rules(Some(50), None);
    assert_eq!(start_after(by_age, &four, &[90, -900, 90, 90]), (10, false));
    let unknown = [Some(90), None, Some(90), Some(90)];
    let (retained, asked) = apply(by_age, readable(&four), &unknown);
    assert_eq!(retained.log_start, Offset::new(10));
    assert_eq!(asked, 2, "what is behind the first that stays is not read");
}

#[test]
fn the_oldest_go_while_the_rest_still_is_as_much_as_may_be_kept() {
    let four = segments(4);
    let young = [0; 4];
    for (max_bytes, start) in [
        (401, 0),
        (400, 0),
        (301, 0),
        (300, 10),
        (299, 10),
        (200, 20),
    ] {
        let by_size = rules(None, Some(max_bytes));
        assert_eq!(
            start_after(by_size, &four, &young),
            (start, false),
            "{max_bytes}"
        );
    }
}

#[test]
fn age_and_size_each_let_go_what_the_other_would_keep() {
    let four = segments(4);
    let both = rules(Some(50), Some(250));
    assert_eq!(start_after(both, &four, &[0, 90, 0, 0]), (20, false));
    assert_eq!(start_after(both, &four, &[90, 0, 0, 0]), (10, false));
}

#[test]
fn the_active_segment_goes_when_all_of_it_is_to_go() {
    let two = segments(2);
    assert_eq!(
        start_after(rules(Some(50), None), &two, &[90, 90]),
        (20, true)
    );
    assert_eq!(start_after(rules(None, Some(0)), &two, &[0, 0]), (20, true));
    // A new one, in which nothing is, stays.
    let mut emptied = segments(2);
    emptied[1].size_bytes = 0;
    emptied[1].end_offset = emptied[1].base_offset;
    assert_eq!(
        start_after(rules(None, Some(0)), &emptied, &[0, 0]),
        (10, false)
    );
}

#[test]
fn nothing_goes_that_cannot_be_read_yet() {
    let four = segments(4);
    let log = LogExtent {
        high_watermark: Offset::new(29),
        ..readable(&four)
    };
    let (retained, _) = apply(rules(Some(50), None), log, &[Some(90); 4]);
    assert_eq!(retained.log_start, Offset::new(20));
}

#[test]
fn files_that_wait_for_their_removal_count_no_more() {
    let four = segments(4);
    let log = LogExtent {
        log_start: Offset::new(25),
        ..readable(&four)
    };
    // 200 bytes are left: one of two segments would have to go to hold 100.
    let (retained, _) = apply(rules(None, Some(101)), log, &[Some(0); 4]);
    assert_eq!(retained.log_start, Offset::new(25));
    let (retained, _) = apply(rules(None, Some(100)), log, &[Some(0); 4]);
    assert_eq!(retained.log_start, Offset::new(30));
}

#[test]
fn a_topic_that_is_only_compacted_keeps_all_and_no_segment_is_read() {
    let four = segments(4);
    let compacted = RetentionRules {
        deletes: false,
        ..rules(Some(0), Some(0))
    };
    let (retained, asked) = apply(compacted, readable(&four), &[Some(90); 4]);
    assert_eq!(retained.log_start, Offset::ZERO);
    assert_eq!(asked, 0);
    let (_, asked) = apply(rules(None, None), readable(&four), &[Some(90); 4]);
    assert_eq!(asked, 0);
}

prop_compose! {
    /// A log of up to 12 segments with their newest records' ages, its start and high watermark
    /// anywhere in it.
    fn any_log()(
        sizes in proptest::collection::vec((0_i64..20, 0_u64..1000, proptest::option::of(-200_i64..200)), 1..12),
        start in 0.0..=1.0_f64,
        readable in 0.0..=1.0_f64,
    ) -> (Vec<SegmentOverview>, Vec<Option<i64>>, Offset, Offset) {
        let mut next = 0;
        let count = sizes.len();
        let mut segments = Vec::new();
        let mut ages = Vec::new();
        for (index, (records, bytes, age)) in sizes.into_iter().enumerate() {
            segments.push(SegmentOverview {
                base_offset: Offset::new(next),
                end_offset: Offset::new(next + records),
                size_bytes: if records == 0 { 0 } else { bytes + 61 },
                is_closed: index + 1 < count,
            });
            next += records;
            ages.push(age);
        }
        let within = |share: f64, from: i64| from + ((next - from) as f64 * share) as i64;
        let log_start = within(start, 0);
        let high_watermark = within(readable, log_start);
        (segments, ages, Offset::new(log_start), Offset::new(high_watermark))
    }
}

proptest! {
    /// Whatever the log and the rules: the start never moves back, never beyond the high watermark,
    /// only to the end of a segment; each segment that went was too old or too much; and doing it
    /// once leaves nothing to do.
    #[test]
    fn only_what_the_rules_name_goes(
        (segments, ages, log_start, high_watermark) in any_log(),
        max_age_ms in proptest::option::of(0_u64..200),
        max_bytes in proptest::option::of(0_u64..3000),
    ) {
        let rules = rules(max_age_ms, max_bytes);
        let log = LogExtent { segments: &segments, log_start, high_watermark };
        let (retained, _) = apply(rules, log, &ages);
        let start = retained.log_start;
        prop_assert!(log_start <= start && start <= high_watermark);
        if start == log_start {
            prop_assert!(!retained.closes_active);
            return Ok(());
        }
        prop_assert!(segments.iter().any(|segment| segment.end_offset == start));
        let ends_active = start == segments[segments.len() - 1].end_offset;
        prop_assert!(!retained.closes_active || ends_active);
        for (index, segment) in segments.iter().enumerate() {
            let gone = log_start < segment.end_offset && segment.end_offset <= start;
            if !gone || segment.size_bytes == 0 {
                continue;
            }
            let rest: u64 = segments[index + 1..].iter().map(|it| it.size_bytes).sum();
            let too_much = max_bytes.is_some_and(|max| rest >= max);
            let too_old = max_age_ms
                .zip(ages[index])
                .is_some_and(|(max, age)| age > 0 && age as u64 > max);
            prop_assert!(too_much || too_old, "segment {index} had to stay");
        }
        if !retained.closes_active {
            let again = LogExtent { log_start: start, ..log };
            prop_assert_eq!(apply(rules, again, &ages).0, retained);
        }
    }
}
