//! An idempotent producer promises that each of its batches stands in the log once, in order,
//! however often it was sent; the promise is easily lost in a corner: a retry behind a raised epoch,
//! a produce appended in part, a sequence that begins anew at zero. Random producers look into the
//! corners; planted bugs prove that they see what lies there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use corelog_protocol::record::{BatchBuilder, ProducerStamp, split_batches};
use corelog_protocol::{
    Compression, ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Held, judge};
use crate::log::Producers;
use crate::partition::canary::{Canary, plant};
use crate::runtime::sim::seeds_for_steps;

/// Random steps in all, unless `CORELOG_TEST_STEPS` says how many.
const STEPS: u64 = 18_000;
const STEPS_OF_SEED: u64 = 300;
const PRODUCERS: i64 = 3;
/// Batches that a producer may have under way, and so may have to send again.
const IN_FLIGHT: usize = 5;

/// A batch as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    id: i64,
    epoch: i16,
    sequence: i32,
    records: i32,
}

impl Sent {
    fn next_sequence(self) -> i32 {
        Sequence::new(self.sequence).advance(self.records).get()
    }

    fn encode(self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None, 1024);
        for _ in 0..self.records {
            builder
                .append(Timestamp::new(1), None, Some(b"x"), &[])
                .unwrap();
        }
        let stamp = ProducerStamp {
            id: ProducerId::new(self.id),
            epoch: ProducerEpoch::new(self.epoch),
            base_sequence: Sequence::new(self.sequence),
            transactional: false,
        };
        builder.finish(Some(stamp)).to_vec()
    }
}

fn sent(id: i64, epoch: i16, sequence: i32, records: i32) -> Sent {
    Sent {
        id,
        epoch,
        sequence,
        records,
    }
}

fn encode(batches: &[Sent]) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.encode()).collect()
}

/// A log as far as a leader's judgement needs one.
#[derive(Default)]
struct Log {
    producers: Producers,
    batches: Vec<(Sent, i64)>,
    end: i64,
}

impl Log {
    /// Produces as a leader does. `only` cuts an append short after so many batches, as a full disk
    /// does. Returns the base offset, or the error.
    fn produce(&mut self, batches: &[Sent], only: usize) -> Result<i64, ErrorCode> {
        let bytes = encode(batches);
        let held = judge(&mut self.producers, &bytes).map_err(|refusal| refusal.code)?;
        let (first, from) = match held {
            Held::All(held) => return Ok(held.base_offset.get()),
            Held::First { held, rest_from } => (Some(held.base_offset.get()), rest_from),
            Held::Nothing => (None, 0),
        };
        let base = first.unwrap_or(self.end);
        let rest: Vec<_> = split_batches(&bytes[from..]).map(Result::unwrap).collect();
        let new = &batches[batches.len() - rest.len()..];
        for (batch, sent) in rest.iter().zip(new).take(only) {
            let base_offset = Offset::new(self.end);
            self.producers.note(batch.header(), base_offset, 0);
            self.batches.push((*sent, self.end));
            self.end += i64::from(sent.records);
        }
        match rest.len() > only {
            true => Err(ErrorCode::KafkaStorageError),
            false => Ok(base),
        }
    }

    fn holds(&self, batch: Sent) -> bool {
        self.batches.iter().any(|(held, _)| *held == batch)
    }

    fn offset_of(&self, batch: Sent) -> Option<i64> {
        let found = self.batches.iter().find(|(held, _)| *held == batch);
        found.map(|(_, offset)| *offset)
    }

    /// Every producer's batches follow each other without a gap, epochs never fall, and none stands
    /// there twice.
    fn check(&self) -> Result<(), Fault> {
        let mut last: BTreeMap<i64, Sent> = BTreeMap::new();
        for &(batch, _) in &self.batches {
            if let Some(before) = last.insert(batch.id, batch) {
                if batch.epoch < before.epoch {
                    return Err(Fault::NotFenced(batch));
                }
                let expected = match batch.epoch == before.epoch {
                    true => before.next_sequence(),
                    false => 0,
                };
                let held = self.batches.iter().filter(|(held, _)| *held == batch);
                if held.count() > 1 {
                    return Err(Fault::Twice(batch));
                }
                if batch.sequence != expected {
                    return Err(Fault::Gap(batch));
                }
            }
        }
        Ok(())
    }
}

/// What a cheating leader is convicted of.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    Twice(Sent),
    Gap(Sent),
    NotFenced(Sent),
    WrongAnswer(Vec<Sent>, Result<i64, ErrorCode>),
}

/// A producer that keeps its own count.
#[derive(Clone)]
struct Client {
    id: i64,
    epoch: i16,
    sequence: i32,
    /// What the log took of this epoch, the newest last.
    taken: Vec<Sent>,
    over: Vec<Sent>,
}

impl Client {
    fn next(&self, random: &mut StdRng) -> Sent {
        sent(
            self.id,
            self.epoch,
            self.sequence,
            random.random_range(1..4),
        )
    }

    fn took(&mut self, batch: Sent) {
        self.sequence = batch.next_sequence();
        self.taken.push(batch);
    }

    fn raise_epoch(&mut self) {
        self.over.append(&mut self.taken);
        (self.epoch, self.sequence) = (self.epoch + 1, 0);
    }
}

fn run_seed(seed: u64) -> Result<(), Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut log = Log::default();
    let mut clients: Vec<Client> = (0..PRODUCERS)
        .map(|id| Client {
            id,
            epoch: 0,
            // Some come close to the largest sequence, where counting begins anew.
            sequence: *[0, i32::MAX - 20].get(random.random_range(0..2)).unwrap(),
            taken: Vec::new(),
            over: Vec::new(),
        })
        .collect();
    for _ in 0..STEPS_OF_SEED {
        let client = &mut clients[random.random_range(0..PRODUCERS as usize)];
        step(&mut log, client, &mut random)?;
        log.check()?;
    }
    Ok(())
}

fn step(log: &mut Log, client: &mut Client, random: &mut StdRng) -> Result<(), Fault> {
    let convict = |batches: &[Sent], answer| Err(Fault::WrongAnswer(batches.to_vec(), answer));
    match random.random_range(0..100) {
        // The next batches, one or several in a produce, of which a full disk may take a part. Then
        // it is sent again, whole.
        0..45 => {
            let mut ahead = client.clone();
            let count = random.random_range(1..4);
            let mut batches = Vec::new();
            for _ in 0..count {
                let batch = ahead.next(random);
                ahead.took(batch);
                batches.push(batch);
            }
            let end = log.end;
            let only = match random.random_bool(0.3) {
                true => random.random_range(0..count),
                false => count,
            };
            let mut answer = log.produce(&batches, only);
            if only < count && answer == Err(ErrorCode::KafkaStorageError) {
                answer = log.produce(&batches, count);
            }
            if answer != Ok(end) {
                return convict(&batches, answer);
            }
            *client = ahead;
        }
        // A retry of what may be under way.
        45..70 => {
            let retriable = client.taken.len().min(IN_FLIGHT);
            if retriable == 0 {
                return Ok(());
            }
            let back = random.random_range(1..=retriable);
            let batch = client.taken[client.taken.len() - back];
            let answer = log.produce(&[batch], 1);
            // Who took it for new put it into the log: that is found there.
            if answer != log.offset_of(batch).ok_or(ErrorCode::None) {
                log.check()?;
                return convict(&[batch], answer);
            }
        }
        // Records are missing before it.
        70..80 => {
            let mut batch = client.next(random);
            let gap = random.random_range(1..100);
            batch.sequence = Sequence::new(batch.sequence).advance(gap).get();
            let answer = log.produce(&[batch], 1);
            // Without anything to compare it with, any sequence is the first one.
            if log.holds(batch) && client.taken.is_empty() && client.over.is_empty() {
                client.took(batch);
                return Ok(());
            }
            log.check()?;
            if answer != Err(ErrorCode::OutOfOrderSequenceNumber) {
                return convict(&[batch], answer);
            }
        }
        // The same records in other batches are no retry.
        80..85 => {
            if let Some(batch) = client.taken.last() {
                let longer = sent(batch.id, batch.epoch, batch.sequence, batch.records + 1);
                let answer = log.produce(&[longer], 1);
                if answer != Err(ErrorCode::OutOfOrderSequenceNumber) {
                    return convict(&[longer], answer);
                }
            }
        }
        // One that was taken for dead: an old batch, or what would have come next.
        85..93 => {
            if let Some(batch) = client.over.last().copied() {
                // Until the new epoch has a batch in the log, the old one stands.
                if client.taken.is_empty() {
                    return Ok(());
                }
                let next = sent(batch.id, batch.epoch, batch.next_sequence(), 1);
                let batch = *[batch, next].get(random.random_range(0..2)).unwrap();
                let answer = log.produce(&[batch], 1);
                log.check()?;
                if answer != Err(ErrorCode::InvalidProducerEpoch) {
                    return convict(&[batch], answer);
                }
            }
        }
        _ => {
            if !client.taken.is_empty() {
                client.raise_epoch();
            }
        }
    }
    Ok(())
}

#[test]
fn every_batch_stands_in_the_log_once_and_in_order_however_often_it_is_sent() {
    for seed in seeds_for_steps(STEPS, STEPS_OF_SEED) {
        run_seed(seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
    }
}

#[test]
fn a_leader_that_accepts_a_gap_is_caught() {
    assert_is_caught(Canary::SequenceGapAccepted, |f| matches!(f, Fault::Gap(_)));
}

#[test]
fn a_leader_that_forgets_the_fence_is_caught() {
    assert_is_caught(Canary::FenceForgotten, |f| matches!(f, Fault::NotFenced(_)));
}

#[test]
fn a_leader_that_appends_a_retry_is_caught() {
    assert_is_caught(Canary::DuplicateAppended, |f| matches!(f, Fault::Twice(_)));
}

/// Some seed shows the fault with the planted bug, and not without it.
fn assert_is_caught(canary: Canary, is_caught: impl Fn(&Fault) -> bool) {
    plant(Some(canary));
    let caught = (0..100).find(|seed| run_seed(*seed).is_err_and(|fault| is_caught(&fault)));
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed caught {canary:?}"));
    assert_eq!(run_seed(seed), Ok(()), "without the bug");
}

#[test]
fn a_producer_without_a_past_may_begin_anywhere() {
    let mut log = Log::default();
    assert_eq!(log.produce(&[sent(1, 7, 500, 2)], 1), Ok(0));
    assert_eq!(log.produce(&[sent(1, 7, 502, 1)], 1), Ok(2));
}

#[test]
fn a_new_epoch_begins_at_sequence_zero() {
    let mut log = Log::default();
    log.produce(&[sent(1, 0, 0, 3)], 1).unwrap();
    let refused = log.produce(&[sent(1, 1, 3, 1)], 1);
    assert_eq!(refused, Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(log.produce(&[sent(1, 1, 0, 1)], 1), Ok(3));
    assert_eq!(
        log.produce(&[sent(1, 4, 0, 1)], 1),
        Ok(4),
        "epochs may be skipped"
    );
}

#[test]
fn a_batch_older_than_the_last_five_is_out_of_order() {
    let mut log = Log::default();
    for number in 0..6 {
        log.produce(&[sent(1, 0, number, 1)], 1).unwrap();
    }
    assert_eq!(log.produce(&[sent(1, 0, 1, 1)], 1), Ok(1));
    let refused = log.produce(&[sent(1, 0, 0, 1)], 1);
    assert_eq!(refused, Err(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn a_refusal_names_the_producer_and_what_was_to_come() {
    let mut log = Log::default();
    log.produce(&[sent(9, 2, 0, 3)], 1).unwrap();
    let refused = judge(&mut log.producers, &encode(&[sent(9, 2, 5, 1)])).unwrap_err();
    assert_eq!(
        refused.message,
        "the batch of producer 9 (epoch 2) begins at sequence 5 and 3 is to come next in this \
         partition: records before it are missing, or it is older than the last five batches"
    );
    let refused = judge(&mut log.producers, &encode(&[sent(9, 1, 3, 1)])).unwrap_err();
    assert_eq!(
        refused.message,
        "epoch 1 of producer 9 is over: epoch 2 has taken its place in this partition"
    );
}

#[test]
fn a_gap_within_a_produce_refuses_all_of_it() {
    let mut log = Log::default();
    let refused = log.produce(&[sent(1, 0, 0, 2), sent(1, 0, 3, 1)], 2);
    assert_eq!(refused, Err(ErrorCode::OutOfOrderSequenceNumber));
    let twice = log.produce(&[sent(1, 0, 0, 2), sent(1, 0, 0, 2)], 2);
    assert_eq!(twice, Err(ErrorCode::OutOfOrderSequenceNumber));
    let fenced = log.produce(&[sent(1, 1, 0, 2), sent(1, 0, 0, 2)], 2);
    assert_eq!(fenced, Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(log.end, 0);
    let both = [sent(1, 0, 0, 2), sent(2, 0, 0, 1), sent(1, 0, 2, 1)];
    assert_eq!(log.produce(&both, 3), Ok(0));
}

#[test]
fn a_retry_behind_what_is_new_is_refused() {
    let mut log = Log::default();
    log.produce(&[sent(1, 0, 0, 2)], 1).unwrap();
    let refused = log.produce(&[sent(2, 0, 0, 1), sent(1, 0, 0, 2)], 2);
    assert_eq!(refused, Err(ErrorCode::InvalidRecord));
    let whole = [sent(1, 0, 0, 2), sent(2, 0, 0, 1)];
    assert_eq!(log.produce(&whole, 2), Ok(0), "the first part is there");
    assert_eq!(log.end, 3);
}
