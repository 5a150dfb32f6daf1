//! Idempotent producers that try again: what was appended is answered where it stands, once it is as
//! durable as the first attempt had to become, and never appended again.

use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::record::{BatchBuilder, ProducerStamp};
use corelog_protocol::{
    Acks, Compression, Durability, ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, Sequence,
    Timestamp,
};

use super::{Rig, config, fetch, produce_bytes, simulate};
use crate::config::{ByteSize, TopicConfig};
use crate::partition::{ProduceCommand, ProduceOutcome};
use crate::runtime::sim::{Fault, Operation};

/// A batch of producer 5 at this epoch and sequence.
fn stamped(epoch: i16, sequence: i32, records: i32, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1024);
    let value = vec![b'x'; value_bytes];
    for _ in 0..records {
        let timestamp = Timestamp::new(crate::runtime::unix_millis());
        builder.append(timestamp, None, Some(&value), &[]).unwrap();
    }
    builder.finish(Some(ProducerStamp {
        id: ProducerId::new(5),
        epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
        transactional: false,
    }))
}

fn retriable(sequence: i32, records: i32) -> ProduceCommand {
    produce_bytes(stamped(0, sequence, records, 10))
}

/// First and last offset of what was produced.
fn offsets(outcome: &ProduceOutcome) -> (i64, i64) {
    let produced = outcome.result.as_ref().unwrap();
    (produced.base_offset.get(), produced.last_offset.get())
}

fn log_end(rig: &Rig) -> i64 {
    rig.partition.shared.log.log_end_offset().get()
}

#[test]
fn a_retry_of_a_batch_that_is_not_durable_yet_waits_for_it() {
    simulate("sync", |rig| async move {
        rig.partition.produce(retriable(0, 2)).await.result.unwrap();
        let syncs = rig.disk.counters().syncs;
        let command = retriable(2, 3);
        let first = rig.partition.produce(command.clone());
        let retry = rig.partition.produce(command.clone());
        // Whoever sent it first may be gone: the retry gets its own answer.
        drop(first);
        let outcome = retry.await;
        assert_eq!(offsets(&outcome), (2, 4));
        assert!(
            rig.disk.counters().syncs > syncs,
            "answered before the sync"
        );
        let synced = rig.partition.shared.log.end_offset_at(Durability::Sync);
        assert_eq!(synced.get(), 5);
        assert_eq!(log_end(&rig), 5, "one copy");
        assert_eq!(rig.metrics.produce_retries.get(), 1);
        assert_eq!(rig.metrics.produce_records.get(), 5);
    });
}

#[test]
fn a_retry_of_a_durable_batch_is_answered_at_once() {
    simulate("sync", |rig| async move {
        let command = retriable(0, 2);
        rig.partition.produce(command.clone()).await.result.unwrap();
        rig.partition.produce(retriable(2, 1)).await.result.unwrap();
        let before = rig.disk.counters();
        let outcome = rig.partition.produce(command).await;
        assert_eq!(offsets(&outcome), (0, 1));
        assert_eq!(rig.disk.counters(), before, "nothing was written");
        assert_eq!(log_end(&rig), 3);
    });
}

#[test]
fn when_the_log_fails_a_waiting_retry_is_refused_as_the_first_attempt_is() {
    simulate("sync", |rig| async move {
        // From here on nothing becomes durable: the sync never ends well.
        rig.disk.set_fault_hook(|operation, _| {
            (operation == Operation::SyncData).then_some(Fault::Device)
        });
        let command = retriable(0, 2);
        let first = rig.partition.produce(command.clone());
        let retry = rig.partition.produce(command.clone());
        for outcome in [first.await, retry.await] {
            assert_eq!(outcome.error_code(), ErrorCode::KafkaStorageError);
        }
        let late = rig.partition.produce(command).await;
        assert_eq!(late.error_code(), ErrorCode::KafkaStorageError);
    });
}

#[test]
fn a_retry_waits_for_the_durability_of_the_topic_as_it_is_then() {
    simulate("memory", |rig| async move {
        let command = retriable(0, 2);
        rig.partition.produce(command.clone()).await.result.unwrap();
        let synced = || {
            rig.partition
                .shared
                .log
                .end_offset_at(Durability::Sync)
                .get()
        };
        rig.partition.update(LeaderEpoch::new(3), &config("sync"));
        let outcome = rig.partition.produce(command).await;
        assert_eq!(offsets(&outcome), (0, 1));
        assert_eq!(synced(), 2);
    });
}

#[test]
fn without_acks_a_retry_is_answered_before_it_is_durable() {
    simulate("sync", |rig| async move {
        let command = ProduceCommand {
            acks: Acks::None,
            ..retriable(0, 2)
        };
        rig.partition.produce(command.clone()).await.result.unwrap();
        let outcome = rig.partition.produce(command).await;
        assert_eq!(offsets(&outcome), (0, 1));
        assert_eq!(log_end(&rig), 2);
    });
}

#[test]
fn gaps_and_epochs_that_are_over_are_refused_and_the_next_batch_is_taken() {
    simulate("sync", |rig| async move {
        rig.partition.produce(retriable(0, 2)).await.result.unwrap();
        let gap = rig.partition.produce(retriable(3, 1)).await;
        assert_eq!(gap.error_code(), ErrorCode::OutOfOrderSequenceNumber);
        let raised = produce_bytes(stamped(1, 0, 1, 10));
        rig.partition.produce(raised).await.result.unwrap();
        let over = rig.partition.produce(retriable(2, 1)).await;
        assert_eq!(over.error_code(), ErrorCode::InvalidProducerEpoch);
        let next = rig.partition.produce(produce_bytes(stamped(1, 1, 1, 10)));
        assert_eq!(offsets(&next.await), (3, 3));
    });
}

/// The answer to a retry says when the leader stamped the records, not when they came again.
#[test]
fn a_retry_is_answered_with_the_time_of_the_first_append() {
    simulate("sync", |rig| async move {
        let config = TopicConfig {
            message_timestamp_type: corelog_protocol::TimestampType::LogAppendTime,
            ..config("sync")
        };
        rig.partition.update(LeaderEpoch::new(3), &config);
        let command = retriable(0, 1);
        let first = rig.partition.produce(command.clone()).await.result.unwrap();
        assert!(first.log_append_time.is_some());
        crate::runtime::sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.partition.produce(command).await.result, Ok(first));
    });
}

/// The disk is full half-way through a produce of three batches: the first one is in the log. Sent again
/// when there is room, the others follow it, and the answer names them all.
#[test]
fn what_a_full_disk_cut_short_is_completed_by_its_retry() {
    simulate("sync", |rig| async move {
        let config = TopicConfig {
            segment_bytes: ByteSize::mib(1),
            max_message_bytes: ByteSize::kib(800),
            ..config("sync")
        };
        rig.partition.update(LeaderEpoch::new(3), &config);
        let batches = [(0, 2), (2, 1), (3, 1)]
            .map(|(sequence, records)| stamped(0, sequence, records, 700_000 / records as usize));
        let command = produce_bytes(Bytes::from(batches.concat()));
        let mut segments = 0;
        rig.disk.set_fault_hook(move |operation, path| {
            let is_segment = path.extension().is_some_and(|it| it == "log");
            segments += usize::from(operation == Operation::Allocate && is_segment);
            (operation == Operation::Allocate && is_segment && segments > 1)
                .then_some(Fault::NoSpace)
        });
        let refused = rig.partition.produce(command.clone()).await;
        assert_eq!(refused.error_code(), ErrorCode::KafkaStorageError);
        assert_eq!(log_end(&rig), 2, "the first batch is there");
        rig.disk.clear_faults();
        let outcome = rig.partition.produce(command.clone()).await;
        assert_eq!(offsets(&outcome), (0, 3));
        assert_eq!(log_end(&rig), 4);
        let again = rig.partition.produce(command).await;
        assert_eq!(offsets(&again), (0, 3));
        assert_eq!(log_end(&rig), 4);
        let read = rig.partition.fetch(fetch(0, Duration::ZERO)).await;
        assert!(!read.result.unwrap().data.is_empty());
    });
}
