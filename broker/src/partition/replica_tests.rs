#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use corelog_protocol::native::messages::DeleteUntil;
use corelog_protocol::record::{BatchBuilder, ProducerStamp};
use corelog_protocol::{
    Acks, Compression, Durability, ErrorCode, IsolationLevel, LeaderEpoch, Offset, Timestamp,
    TimestampType,
};

use super::append_rules::AppendRules;
use super::replica::{
    Answers, Appended, LogMarks, MAX_WAITING_FETCHES, MAX_WAITING_RETRIES, ReadDecision,
    ReadRequest, Replica, ReplicaConfig, Retry,
};
use super::request::{Produced, Refusal};
use crate::runtime::{Instant, now};

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
const EPOCH: LeaderEpoch = LeaderEpoch::new(5);

/// A replica over a log that only exists as marks. Whoever waits is known by a number.
struct Bench {
    replica: Replica<u32, u32>,
    log_end: i64,
    written: i64,
    synced: i64,
    clock: Instant,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let config = config(durability);
        let marks = LogMarks {
            log_start_offset: Offset::new(10),
            log_end_offset: Offset::new(100),
            durable_end_offset: Offset::new(100),
        };
        Self {
            replica: Replica::new(EPOCH, config, marks),
            log_end: 100,
            written: 100,
            synced: 100,
            clock: now(),
        }
    }

    fn after(&self, milliseconds: u64) -> Instant {
        self.clock + Duration::from_millis(milliseconds)
    }

    /// Appends `records` of 100 bytes each; `who` waits for a second.
    fn append(&mut self, who: u32, records: i64, acks: Acks) -> Answers<u32, u32> {
        let base = self.log_end;
        self.log_end += records;
        let appended = Appended {
            produced: Produced {
                base_offset: Offset::new(base),
                last_offset: Offset::new(self.log_end - 1),
                log_append_time: None,
            },
            bytes: records as u64 * 100,
        };
        let mut answers = Answers::default();
        let deadline = self.after(1000);
        self.replica
            .appended(appended, acks, deadline, who, &mut answers);
        answers
    }

    /// Tells the replica of the log as it is.
    fn advance(&mut self) -> Answers<u32, u32> {
        let durable = match self.replica.durability() {
            Durability::Memory => self.log_end,
            Durability::Written => self.written,
            Durability::Sync => self.synced,
        };
        let mut answers = Answers::default();
        self.replica.advance(
            LogMarks {
                log_start_offset: Offset::new(10),
                log_end_offset: Offset::new(self.log_end),
                durable_end_offset: Offset::new(durable),
            },
            &mut answers,
        );
        answers
    }

    fn synced_to(&mut self, offset: i64) -> Answers<u32, u32> {
        self.written = self.written.max(offset);
        self.synced = offset;
        self.advance()
    }

    fn read(&self, offset: i64) -> Result<ReadDecision, Refusal> {
        self.replica.check_read(read_at(offset), |_| None)
    }

    /// Where a read from 50 must stop.
    fn readable_end(&self) -> i64 {
        match self.read(50).unwrap() {
            ReadDecision::Read { until, .. } => until.get(),
            ReadDecision::Diverged { .. } => panic!("nothing diverged"),
        }
    }
}

fn config(durability: Durability) -> ReplicaConfig {
    ReplicaConfig {
        min_insync_replicas: 1,
        deletes: true,
        durability,
        rules: rules(),
    }
}

fn rules() -> AppendRules {
    AppendRules {
        max_batch_bytes: 1000,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compacted: false,
    }
}

fn read_at(offset: i64) -> ReadRequest {
    ReadRequest {
        leader_epoch: None,
        last_fetched_epoch: None,
        fetch_offset: Offset::new(offset),
        isolation: IsolationLevel::ReadUncommitted,
    }
}

fn answered(answers: &Answers<u32, u32>) -> Vec<(u32, ErrorCode)> {
    answers
        .produces
        .iter()
        .map(|(who, outcome)| (*who, outcome.error_code()))
        .collect()
}

fn batch_at(timestamp: Timestamp, key: Option<&[u8]>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 256);
    builder.append(timestamp, key, Some(b"value"), &[]).unwrap();
    builder.append(timestamp, key, Some(b"other"), &[]).unwrap();
    builder.finish(None).to_vec()
}

fn batch() -> Vec<u8> {
    batch_at(NOW, Some(b"key"))
}

fn refused(rules: &AppendRules, batches: &[u8]) -> ErrorCode {
    rules.check(batches, NOW).unwrap_err().code
}

#[test]
fn a_produce_is_answered_when_the_topics_durability_is_reached() {
    let mut bench = Bench::new(Durability::Sync);
    assert_eq!(answered(&bench.append(1, 10, Acks::All)), []);
    bench.written = 110;
    assert_eq!(answered(&bench.advance()), [], "written is not synced");
    assert_eq!(answered(&bench.synced_to(109)), [], "one record is missing");
    let answers = bench.synced_to(110);
    assert_eq!(answered(&answers), [(1, ErrorCode::None)]);
    let outcome = &answers.produces[0].1;
    let produced = outcome.result.as_ref().unwrap();
    assert_eq!(produced.base_offset.get(), 100);
    assert_eq!(produced.last_offset.get(), 109);
    assert_eq!(outcome.marks.unwrap().high_watermark.get(), 110);
    assert_eq!(outcome.marks.unwrap().durability, Durability::Sync);
}

#[test]
fn one_advance_answers_all_that_it_satisfies_in_order() {
    let mut bench = Bench::new(Durability::Sync);
    for who in 1..=4 {
        assert_eq!(answered(&bench.append(who, 5, Acks::Leader)), []);
    }
    assert_eq!(
        answered(&bench.synced_to(115)),
        [
            (1, ErrorCode::None),
            (2, ErrorCode::None),
            (3, ErrorCode::None)
        ]
    );
    assert_eq!(answered(&bench.synced_to(120)), [(4, ErrorCode::None)]);
}

#[test]
fn without_acks_the_append_is_the_answer() {
    let mut bench = Bench::new(Durability::Sync);
    assert_eq!(
        answered(&bench.append(1, 5, Acks::None)),
        [(1, ErrorCode::None)]
    );
    assert_eq!(answered(&bench.synced_to(105)), []);
}

#[test]
fn reads_end_at_the_high_watermark_not_at_the_log_end() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 20, Acks::All);
    bench.written = 120;
    bench.advance();
    assert_eq!(bench.readable_end(), 100);
    bench.synced_to(107);
    assert_eq!(bench.readable_end(), 107);
    assert_eq!(
        bench.read(108).unwrap_err().code,
        ErrorCode::OffsetOutOfRange,
        "above the high watermark, below the log end"
    );
    let below = bench.read(9).unwrap_err();
    assert_eq!(below.code, ErrorCode::OffsetOutOfRange);
    assert_eq!(
        below.message,
        "offset 9 is outside the readable range 10 to 107"
    );
}

#[test]
fn raising_the_durability_holds_back_answers_but_takes_nothing_from_readers() {
    let mut bench = Bench::new(Durability::Written);
    bench.append(1, 10, Acks::All);
    bench.written = 110;
    assert_eq!(answered(&bench.advance()), [(1, ErrorCode::None)]);
    bench.append(2, 10, Acks::All);
    bench.replica.configure(config(Durability::Sync));
    bench.written = 120;
    assert_eq!(answered(&bench.advance()), [], "2 waits for the sync now");
    assert_eq!(bench.readable_end(), 110, "what was shown stays readable");
    assert_eq!(
        answered(&bench.synced_to(110)),
        [],
        "all before 2 is synced, 2 is not"
    );
    let answers = bench.synced_to(120);
    assert_eq!(answered(&answers), [(2, ErrorCode::None)]);
    assert_eq!(
        answers.produces[0].1.marks.unwrap().durability,
        Durability::Sync
    );
}

#[test]
fn lowering_the_durability_answers_those_who_have_that_much() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 10, Acks::All);
    bench.append(2, 10, Acks::All);
    bench.written = 110;
    assert_eq!(answered(&bench.advance()), []);
    bench.replica.configure(config(Durability::Written));
    assert_eq!(answered(&bench.advance()), [(1, ErrorCode::None)]);
}

#[test]
fn produces_and_fetches_of_another_epoch_are_fenced() {
    let mut bench = Bench::new(Durability::Sync);
    let produce = |bench: &Bench, epoch| {
        let epoch = Some(LeaderEpoch::new(epoch));
        bench.replica.check_append(epoch, Acks::All, &batch(), NOW)
    };
    let fetch = |bench: &Bench, epoch| {
        let request = ReadRequest {
            leader_epoch: Some(LeaderEpoch::new(epoch)),
            ..read_at(50)
        };
        bench.replica.check_read(request, |_| None)
    };
    assert_eq!(
        produce(&bench, 4).unwrap_err().code,
        ErrorCode::FencedLeaderEpoch
    );
    assert_eq!(
        produce(&bench, 6).unwrap_err().code,
        ErrorCode::UnknownLeaderEpoch
    );
    assert_eq!(
        fetch(&bench, 4).unwrap_err().code,
        ErrorCode::FencedLeaderEpoch
    );
    assert_eq!(
        fetch(&bench, 6).unwrap_err().code,
        ErrorCode::UnknownLeaderEpoch
    );
    assert!(produce(&bench, 5).is_ok());
    bench.replica.lead(LeaderEpoch::new(6));
    assert!(produce(&bench, 6).is_ok());
    assert!(fetch(&bench, 6).is_ok());
    assert_eq!(
        produce(&bench, 5).unwrap_err().code,
        ErrorCode::FencedLeaderEpoch
    );
}

#[test]
fn acks_all_is_refused_while_too_few_replicas_are_in_sync() {
    let mut bench = Bench::new(Durability::Sync);
    bench.replica.configure(ReplicaConfig {
        min_insync_replicas: 2,
        ..config(Durability::Sync)
    });
    let produce = |acks| bench.replica.check_append(None, acks, &batch(), NOW);
    assert_eq!(
        produce(Acks::All).unwrap_err().code,
        ErrorCode::NotEnoughReplicas
    );
    assert!(
        produce(Acks::Leader).is_ok(),
        "only acks=all asks for others"
    );
}

#[test]
fn records_are_deleted_up_to_the_high_watermark_at_most() {
    let mut bench = Bench::new(Durability::Sync);
    let high_watermark = bench.readable_end();
    let check = |bench: &Bench, until| bench.replica.check_deletion(None, until);
    assert_eq!(
        check(&bench, DeleteUntil::HighWatermark).unwrap(),
        Offset::new(high_watermark)
    );
    let at = |offset| DeleteUntil::Offset(Offset::new(offset));
    assert!(check(&bench, at(0)).is_ok(), "nothing is left to delete");
    assert!(check(&bench, at(high_watermark)).is_ok());
    let refused = check(&bench, at(high_watermark + 1)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::OffsetOutOfRange);
    let range = format!("from 10 up to the high watermark {high_watermark}");
    assert!(refused.message.contains(&range), "{}", refused.message);

    bench.replica.configure(ReplicaConfig {
        deletes: false,
        ..config(Durability::Sync)
    });
    let refused = check(&bench, DeleteUntil::HighWatermark).unwrap_err();
    assert_eq!(refused.code, ErrorCode::PolicyViolation);
}

#[test]
fn a_reader_whose_log_parted_learns_where() {
    let bench = Bench::new(Durability::Sync);
    let read = |last_fetched: i32, offset: i64, leader_has: (i32, i64)| {
        let request = ReadRequest {
            last_fetched_epoch: Some(LeaderEpoch::new(last_fetched)),
            ..read_at(offset)
        };
        let has = (LeaderEpoch::new(leader_has.0), Offset::new(leader_has.1));
        bench.replica.check_read(request, |_| Some(has)).unwrap()
    };
    let diverged = |epoch, end| ReadDecision::Diverged {
        epoch: LeaderEpoch::new(epoch),
        end: Offset::new(end),
    };
    assert_eq!(
        read(4, 50, (3, 40)),
        diverged(3, 40),
        "the leader never saw epoch 4"
    );
    assert_eq!(
        read(4, 50, (4, 45)),
        diverged(4, 45),
        "the leader's epoch 4 ended before"
    );
    assert!(matches!(read(4, 50, (4, 50)), ReadDecision::Read { .. }));
}

#[test]
fn a_fetch_waits_for_its_bytes_to_become_readable() {
    let mut bench = Bench::new(Durability::Sync);
    let ReadDecision::Read { readable_bytes, .. } = bench.read(100).unwrap() else {
        panic!("nothing diverged");
    };
    let deadline = bench.after(500);
    let mut wait = |bytes, who| {
        let wanted = readable_bytes + bytes;
        bench.replica.wait_for_bytes(wanted, deadline, who).unwrap()
    };
    wait(1, 1);
    wait(300, 2);
    let third = wait(300, 3);
    bench.append(9, 2, Acks::All);
    assert_eq!(bench.advance().fetches, [0u32; 0], "appended, not readable");
    assert_eq!(bench.synced_to(102).fetches, [1], "200 bytes are readable");
    bench.append(9, 1, Acks::All);
    bench.replica.forget_fetch(third);
    assert_eq!(bench.synced_to(103).fetches, [2], "3 has gone away");
}

#[test]
fn waits_end_at_their_deadlines() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 10, Acks::All);
    bench
        .replica
        .wait_for_bytes(1, bench.after(500), 7)
        .unwrap();
    assert_eq!(bench.replica.earliest_deadline(), Some(bench.after(500)));
    let expire = |bench: &mut Bench, milliseconds| {
        let mut answers = Answers::default();
        let time = bench.after(milliseconds);
        bench.replica.expire(time, &mut answers);
        answers
    };
    let answers = expire(&mut bench, 499);
    assert!(answers.fetches.is_empty() && answers.produces.is_empty());
    assert_eq!(expire(&mut bench, 500).fetches, [7]);
    assert_eq!(bench.replica.earliest_deadline(), Some(bench.after(1000)));
    assert_eq!(
        answered(&expire(&mut bench, 1000)),
        [(1, ErrorCode::RequestTimedOut)]
    );
    assert_eq!(bench.replica.earliest_deadline(), None);
    // The records are in the log all the same.
    assert_eq!(answered(&bench.synced_to(110)), []);
    assert_eq!(bench.readable_end(), 110);
}

#[test]
fn a_failed_log_refuses_waiting_produces_and_leaves_readers_alone() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 10, Acks::All);
    bench
        .replica
        .wait_for_bytes(1, bench.after(500), 7)
        .unwrap();
    let mut answers = Answers::default();
    let refusal = Refusal::new(ErrorCode::KafkaStorageError, "sync failed");
    bench
        .replica
        .refuse_waiting_produces(&refusal, &mut answers);
    assert_eq!(answered(&answers), [(1, ErrorCode::KafkaStorageError)]);
    assert!(answers.fetches.is_empty());
    assert_eq!(bench.readable_end(), 100);
}

#[test]
fn deletion_refuses_all_who_wait_and_all_who_come() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 10, Acks::All);
    bench
        .replica
        .wait_for_bytes(1, bench.after(500), 7)
        .unwrap();
    let mut answers = Answers::default();
    let refusal = Refusal::new(ErrorCode::UnknownTopicOrPartition, "the topic was deleted");
    bench.replica.close(refusal, &mut answers);
    assert_eq!(
        answered(&answers),
        [(1, ErrorCode::UnknownTopicOrPartition)]
    );
    assert_eq!(answers.fetches, [7]);
    assert_eq!(
        bench.read(50).unwrap_err().code,
        ErrorCode::UnknownTopicOrPartition
    );
    let produce = bench.replica.check_append(None, Acks::All, &batch(), NOW);
    assert_eq!(
        produce.unwrap_err().code,
        ErrorCode::UnknownTopicOrPartition
    );
    // An append that was on its way into the log when the topic was deleted.
    assert_eq!(
        answered(&bench.append(2, 1, Acks::All)),
        [(2, ErrorCode::UnknownTopicOrPartition)]
    );
}

#[test]
fn a_fetch_too_many_does_not_wait() {
    let mut bench = Bench::new(Durability::Sync);
    let deadline = bench.after(500);
    for who in 0..MAX_WAITING_FETCHES {
        let waits = bench.replica.wait_for_bytes(1, deadline, who as u32);
        assert!(waits.is_some());
    }
    assert!(bench.replica.wait_for_bytes(1, deadline, 0).is_none());
}

#[test]
fn good_batches_are_counted_and_keep_their_timestamps() {
    let two = [batch(), batch()].concat();
    let checked = rules().check(&two, NOW).unwrap();
    assert_eq!(checked.records, 4);
    assert_eq!(checked.append_time, None);
    let stamping = AppendRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    let future = batch_at(NOW.saturating_add(i64::MAX / 2), Some(b"key"));
    let checked = stamping.check(&future, NOW).unwrap();
    assert_eq!(checked.append_time, Some(NOW));
}

#[test]
fn bad_batches_are_refused_for_what_they_are() {
    let rules = rules();
    assert_eq!(refused(&rules, &[]), ErrorCode::InvalidRecord);
    let mut flipped = batch();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&rules, &flipped), ErrorCode::CorruptMessage);
    let cut = &batch()[..80];
    assert_eq!(refused(&rules, cut), ErrorCode::CorruptMessage);
    let second_bad = [batch(), flipped].concat();
    assert_eq!(refused(&rules, &second_bad), ErrorCode::CorruptMessage);
    let small = AppendRules {
        max_batch_bytes: batch().len() - 1,
        ..rules.clone()
    };
    assert_eq!(refused(&small, &batch()), ErrorCode::MessageTooLarge);
    let exact = AppendRules {
        max_batch_bytes: batch().len(),
        ..rules
    };
    assert!(exact.check(&batch(), NOW).is_ok());
}

#[test]
fn a_transaction_that_nobody_keeps_is_refused_and_sequences_are_told_of() {
    let stamped = |transactional| {
        let mut builder = BatchBuilder::new(Compression::None, 256);
        builder.append(NOW, None, Some(b"value"), &[]).unwrap();
        let stamp = ProducerStamp {
            id: corelog_protocol::ProducerId::new(7),
            epoch: corelog_protocol::ProducerEpoch::new(0),
            base_sequence: corelog_protocol::Sequence::new(0),
            transactional,
        };
        builder.finish(Some(stamp)).to_vec()
    };
    assert_eq!(
        refused(&rules(), &stamped(true)),
        ErrorCode::InvalidTxnState
    );
    let checked = rules().check(&stamped(false), NOW).unwrap();
    assert!(checked.has_sequences);
    assert!(!rules().check(&batch(), NOW).unwrap().has_sequences);
}

#[test]
fn timestamps_outside_the_topics_range_are_refused() {
    let rules = AppendRules {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 2000,
        ..rules()
    };
    let at = |milliseconds| batch_at(NOW.saturating_add(milliseconds), Some(b"key"));
    assert!(rules.check(&at(-1000), NOW).is_ok());
    assert!(rules.check(&at(2000), NOW).is_ok());
    assert_eq!(refused(&rules, &at(-1001)), ErrorCode::InvalidTimestamp);
    assert_eq!(refused(&rules, &at(2001)), ErrorCode::InvalidTimestamp);
    let without = batch_at(Timestamp::NONE, Some(b"key"));
    assert!(rules.check(&without, NOW).is_ok());
}

/// A batch's header holds its first and its largest timestamp: an old record between two young ones
/// shows in neither.
#[test]
fn the_timestamp_of_every_record_counts() {
    let rules = AppendRules {
        timestamp_before_max_ms: 1000,
        ..rules()
    };
    for compression in [Compression::None, Compression::Zstd] {
        let batch = |timestamps: &[i64]| {
            let mut builder = BatchBuilder::new(compression, 256);
            for timestamp in timestamps {
                let timestamp = Timestamp::new(*timestamp);
                builder
                    .append(timestamp, None, Some(b"value"), &[])
                    .unwrap();
            }
            builder.finish(None).to_vec()
        };
        let now = NOW.get();
        assert!(rules.check(&batch(&[now, now - 1000, now]), NOW).is_ok());
        let without_time = [now, Timestamp::NONE.get(), now];
        assert!(rules.check(&batch(&without_time), NOW).is_ok());
        let old = batch(&[now, now - 1001, now]);
        let refusal = rules.check(&old, NOW).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidTimestamp);
        assert_eq!(
            refusal.message,
            format!(
                "record 1: timestamp {} is more than message.timestamp.before.max.ms=1000 before \
                 the broker's {now}",
                now - 1001
            )
        );
    }
}

#[test]
fn a_compacted_topic_wants_a_key_on_every_record() {
    let compacted = AppendRules {
        compacted: true,
        ..rules()
    };
    assert!(compacted.check(&batch(), NOW).is_ok());
    let keyless = batch_at(NOW, None);
    assert_eq!(refused(&compacted, &keyless), ErrorCode::InvalidRecord);
    assert!(rules().check(&keyless, NOW).is_ok());
}

fn retry_of(base: i64, last: i64, durable_end: i64, acks: Acks, deadline: Instant) -> Retry {
    Retry {
        held: Produced {
            base_offset: Offset::new(base),
            last_offset: Offset::new(last),
            log_append_time: None,
        },
        durable_end: Offset::new(durable_end),
        acks,
        deadline,
    }
}

#[test]
fn retries_are_answered_when_what_they_repeat_is_durable() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 5, Acks::All);
    bench.append(2, 5, Acks::All);
    let deadline = bench.after(1000);
    let mut answers = Answers::default();
    for (who, base) in [(11, 100), (12, 105), (13, 100)] {
        let retry = retry_of(base, base + 4, 100, Acks::All, deadline);
        bench.replica.retried(retry, who, &mut answers);
    }
    assert_eq!(answered(&answers), []);
    assert!(bench.replica.has_waiting_produces());
    let first = bench.synced_to(105);
    let codes = [
        (1, ErrorCode::None),
        (11, ErrorCode::None),
        (13, ErrorCode::None),
    ];
    assert_eq!(answered(&first), codes);
    let offsets: Vec<i64> = first
        .produces
        .iter()
        .map(|(_, outcome)| outcome.result.as_ref().unwrap().base_offset.get())
        .collect();
    assert_eq!(offsets, [100; 3]);
    assert_eq!(
        answered(&bench.synced_to(110)),
        [(2, ErrorCode::None), (12, ErrorCode::None)]
    );
    assert!(!bench.replica.has_waiting_produces());
}

#[test]
fn a_retry_waits_until_its_own_deadline() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 5, Acks::All);
    let mut answers = Answers::default();
    let retry = retry_of(100, 104, 100, Acks::All, bench.after(10));
    bench.replica.retried(retry, 11, &mut answers);
    assert_eq!(bench.replica.earliest_deadline(), Some(bench.after(10)));
    bench.replica.expire(bench.after(9), &mut answers);
    assert_eq!(answered(&answers), []);
    bench.replica.expire(bench.after(10), &mut answers);
    assert_eq!(answered(&answers), [(11, ErrorCode::RequestTimedOut)]);
    assert_eq!(answered(&bench.synced_to(105)), [(1, ErrorCode::None)]);
}

#[test]
fn as_many_retries_wait_as_may_and_a_closing_replica_refuses_them() {
    let mut bench = Bench::new(Durability::Sync);
    bench.append(1, 5, Acks::All);
    let retry = retry_of(100, 104, 100, Acks::All, bench.after(1000));
    let mut answers = Answers::default();
    for who in 0..MAX_WAITING_RETRIES {
        let who = u32::try_from(who).unwrap();
        bench.replica.retried(retry, who, &mut answers);
    }
    assert_eq!(answered(&answers), []);
    bench.replica.retried(retry, 77_777, &mut answers);
    assert_eq!(answered(&answers), [(77_777, ErrorCode::RequestTimedOut)]);
    let gone = Refusal::new(ErrorCode::UnknownTopicOrPartition, "gone");
    let mut refused = Answers::default();
    bench.replica.close(gone, &mut refused);
    assert_eq!(refused.produces.len(), 1 + MAX_WAITING_RETRIES);
    let mut late = Answers::default();
    bench.replica.retried(retry, 5, &mut late);
    assert_eq!(answered(&late), [(5, ErrorCode::UnknownTopicOrPartition)]);
}
