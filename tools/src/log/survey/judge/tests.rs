#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

/// A log of segments, each with its base offset and its batches: base offset, records, epoch.
type Segments<'a> = &'a [(i64, &'a [(i64, i32, i32)])];

fn log(segments: Segments<'_>) -> Vec<Seen> {
    let mut log = Vec::new();
    for (segment, (segment_base, batches)) in segments.iter().enumerate() {
        for (n, &(base_offset, records, epoch)) in batches.iter().enumerate() {
            log.push(Seen {
                segment,
                segment_base: Offset::new(*segment_base),
                position: 100 * n as u64,
                size: 100,
                base_offset,
                last_offset_delta: records - 1,
                epoch,
                follows: !log.is_empty(),
            });
        }
    }
    log
}

/// One segment of batches of ten records, epoch 4.
fn dense(batches: i64) -> Vec<Seen> {
    let batches: Vec<_> = (0..batches).map(|n| (10 * n, 10, 4)).collect();
    log(&[(0, &batches)])
}

fn judged_in_windows_of(window: usize, log: &[Seen]) -> Vec<Verdict> {
    let mut judge = Judge {
        window,
        ..Judge::new()
    };
    let mut verdicts = Vec::new();
    for seen in log {
        judge.hear(*seen);
        while let Some((_, verdict)) = judge.next() {
            verdicts.push(verdict);
        }
    }
    judge.end();
    verdicts.extend(std::iter::from_fn(|| judge.next()).map(|(_, verdict)| verdict));
    assert_eq!(verdicts.len(), log.len());
    verdicts
}

fn judged(log: &[Seen]) -> Vec<Verdict> {
    let all_at_once = judged_in_windows_of(WINDOW, log);
    // The decision does not depend on where the windows happen to lie.
    assert_eq!(judged_in_windows_of(16, log), all_at_once);
    all_at_once
}

fn stays(base_offset: i64, epoch: i32) -> Verdict {
    Verdict::Stays {
        base_offset: Offset::new(base_offset),
        epoch: LeaderEpoch::from_sentinel(epoch),
    }
}

fn goes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Goes(_))
}

/// What each batch says of itself is what becomes of it.
fn as_they_say(log: &[Seen]) -> Vec<Verdict> {
    log.iter()
        .map(|seen| stays(seen.base_offset, seen.epoch))
        .collect()
}

#[test]
fn what_is_in_order_stays_with_its_gaps() {
    let compacted = log(&[
        (0, &[(3, 2, 0), (40, 1, 0), (41, 7, 0)]),
        (100, &[(130, 1, -1)]),
        (200, &[]),
    ]);
    let mut expected = as_they_say(&compacted);
    // The last one has no epoch, which falls behind one that has.
    assert!(goes(&judged(&compacted)[3]));
    expected.pop();
    assert_eq!(judged(&compacted[..3]), expected);
    let long = dense(200);
    assert_eq!(judged(&long), as_they_say(&long));
}

/// One bit of a base offset turns, and everything behind the batch looked out of order.
#[test]
fn any_bit_of_any_base_offset_is_put_right() {
    let whole = dense(40);
    let expected = as_they_say(&whole);
    for batch in 0..whole.len() - 1 {
        for bit in 0..64 {
            let mut log = whole.clone();
            log[batch].base_offset ^= 1 << bit;
            let verdicts = judged(&log);
            assert_eq!(verdicts, expected, "batch {batch}, bit {bit}");
        }
    }
}

/// Nobody stands behind the last batch and says where it ended. A gap is no damage; offsets that
/// were there before are, and it alone goes.
#[test]
fn the_last_batch_of_a_log_is_not_put_right() {
    let whole = dense(20);
    let expected = as_they_say(&whole);
    for bit in 0..64 {
        let mut log = whole.clone();
        log[19].base_offset ^= 1 << bit;
        let verdicts = judged(&log);
        assert_eq!(verdicts[..19], expected[..19], "bit {bit}");
        let is_ahead = log[19].base_offset > whole[19].base_offset;
        let fits = is_ahead && log[19].base_offset < i64::from(i32::MAX);
        assert_eq!(goes(&verdicts[19]), !fits, "bit {bit}");
    }
}

#[test]
fn any_bit_of_any_epoch_is_put_right_where_its_neighbours_agree() {
    let whole = dense(40);
    let expected = as_they_say(&whole);
    for batch in 1..whole.len() - 1 {
        for bit in 0..32 {
            let mut log = whole.clone();
            log[batch].epoch ^= 1 << bit;
            assert_eq!(judged(&log), expected, "batch {batch}, bit {bit}");
        }
    }
    // Between two epochs it may be either's: only this one goes.
    let mut log = log(&[(0, &[(0, 1, 1), (1, 1, 1), (2, 1, 9), (3, 1, 2), (4, 1, 2)])]);
    let verdicts = judged(&log);
    assert!(goes(&verdicts[2]));
    assert_eq!(verdicts.iter().filter(|it| goes(it)).count(), 1);
    log[2].epoch = 2;
    assert_eq!(judged(&log), as_they_say(&log));
}

/// More than one bit is no accident of one bit: the batch may belong elsewhere.
#[test]
fn a_batch_of_another_place_goes_alone() {
    for claimed in [0, 30, 1 << 40 | 7, i64::MAX, -1] {
        let whole = dense(40);
        let mut log = whole.clone();
        log[20].base_offset = claimed;
        let verdicts = judged(&log);
        let mut expected = as_they_say(&whole);
        expected[20] = verdicts[20];
        assert!(goes(&verdicts[20]), "{claimed}");
        assert_eq!(verdicts, expected, "{claimed}");
    }
}

#[test]
fn several_wrong_offsets_leave_the_others_in_service() {
    let whole = dense(60);
    let mut log = whole.clone();
    let wrong = [5, 6, 20, 40, 41, 42];
    for (n, batch) in wrong.into_iter().enumerate() {
        log[batch].base_offset ^= 1 << (62 - n);
    }
    let verdicts = judged(&log);
    for (n, verdict) in verdicts.iter().enumerate() {
        let says = stays(whole[n].base_offset, 4);
        // Only one whose neighbours are both right is put right.
        let expected_to_go = [5, 6, 40, 41, 42].contains(&n);
        assert_eq!(goes(verdict), expected_to_go, "batch {n}");
        assert!(goes(verdict) || *verdict == says, "batch {n}");
    }
}

/// Where bytes are lost beside it, or a gap was left, nothing says that it stands in its place.
#[test]
fn a_batch_beside_a_hole_is_not_put_right() {
    let mut lost_before = dense(20);
    lost_before[9].follows = false;
    lost_before[9].base_offset ^= 1 << 40;
    let mut lost_behind = dense(20);
    lost_behind[10].follows = false;
    lost_behind[9].base_offset ^= 1 << 40;
    let mut gap_behind = dense(20);
    for seen in &mut gap_behind[10..] {
        seen.base_offset += 5;
    }
    gap_behind[9].base_offset ^= 1 << 40;
    for log in [lost_before, lost_behind, gap_behind] {
        let verdicts = judged(&log);
        assert!(goes(&verdicts[9]));
        assert_eq!(verdicts.iter().filter(|it| goes(it)).count(), 1);
    }
}

#[test]
fn the_names_of_segments_bound_their_batches() {
    let whole = log(&[
        (0, &[(0, 10, 0), (10, 10, 0)]),
        (20, &[(20, 10, 0), (30, 10, 0)]),
        (40, &[(40, 10, 0), (50, 10, 0)]),
    ]);
    let expected = as_they_say(&whole);
    for (batch, bit) in [(0, 50), (1, 2), (2, 3), (3, 63), (4, 33)] {
        let mut log = whole.clone();
        log[batch].base_offset ^= 1 << bit;
        assert_eq!(judged(&log), expected, "batch {batch}");
    }
}

/// Two files have changed their names. Their batches are whole, and each would fill the other's
/// place exactly; with other offsets they would be served as other records.
#[test]
fn batches_of_swapped_files_are_never_given_other_offsets() {
    let swapped = log(&[
        (0, &[(0, 4, 0), (4, 4, 0)]),
        (8, &[(24, 8, 0)]),
        (16, &[(16, 4, 0), (20, 4, 0)]),
        (24, &[(8, 8, 0)]),
        (32, &[(32, 4, 0), (36, 4, 0)]),
    ]);
    let verdicts = judged(&swapped);
    let says = as_they_say(&swapped);
    for (n, verdict) in verdicts.iter().enumerate() {
        assert!(goes(verdict) || *verdict == says[n], "batch {n}");
    }
    assert!(goes(&verdicts[5]), "below its segment");
}

/// The longer run wins, not the first one.
#[test]
fn of_segments_that_overlap_the_longer_run_stays() {
    let early: Vec<_> = [0, 10, 900, 910, 920].map(|base| (base, 10, 0)).into();
    let late: Vec<_> = (2..30).map(|n| (10 * n, 10, 0)).collect();
    let verdicts = judged(&log(&[(0, &early), (20, &late)]));
    assert!(verdicts[2..5].iter().all(goes));
    assert_eq!(verdicts.iter().filter(|it| goes(it)).count(), 3);

    let long: Vec<_> = (0..30).map(|n| (10 * n, 10, 0)).collect();
    let short: Vec<_> = (10..14).map(|n| (10 * n + 5, 10, 0)).collect();
    let verdicts = judged(&log(&[(0, &long), (105, &short)]));
    assert!(verdicts[30..].iter().all(goes));
    assert_eq!(verdicts.iter().filter(|it| goes(it)).count(), 4);
}

#[test]
fn memory_has_a_bound() {
    let mut judge = Judge::new();
    let one = dense(1)[0];
    for n in 0..10 * WINDOW as i64 {
        judge.hear(Seen {
            base_offset: 10 * n,
            position: n.unsigned_abs(),
            follows: n > 0,
            ..one
        });
        assert!(judge.undecided.len() < WINDOW);
        while judge.next().is_some() {}
    }
}
