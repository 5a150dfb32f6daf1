//! A batch: open while it fills, sealed from then on, and split where it turns out too large.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use corelog_protocol::Timestamp;
use corelog_protocol::record::{
    BatchBuilder, BatchView, Header, MAX_BATCH_BYTES, ProducerStamp, patch_producer,
};
use tokio::time::Instant;

use super::delivery::{Completion, Delivery, Written};
use super::memory::{Memory, Reservation};
use super::sequences::after;
use crate::config::ProducerSettings;
use crate::error::ProduceError;
use crate::record::{ProducerRecord, TopicPartition};

pub(super) struct OpenBatch {
    pub(super) number: u64,
    builder: Box<BatchBuilder>,
    pub(super) completion: Completion,
    pub(super) opened: Instant,
    reservation: Reservation,
    /// Its time to linger is over: it leaves as soon as it can, with whatever joins until then.
    pub(super) due: bool,
}

/// Why no batch was opened.
pub(super) enum NotOpened {
    WantsMemory(usize),
    Refused(ProduceError),
}

/// Where a new batch takes its memory from.
pub(super) struct Room<'a> {
    pub(super) memory: &'a Memory,
    /// What was waited for.
    pub(super) granted: &'a mut Option<Reservation>,
    /// The size of the partition's last batch: the next one tends to become as large, and is then never copied.
    pub(super) usual_bytes: usize,
}

impl Room<'_> {
    /// Memory for a batch that begins with `size` bytes, or how much is wanted.
    fn take(self, size: usize, settings: &ProducerSettings) -> Result<Reservation, usize> {
        let Self {
            memory,
            granted,
            usual_bytes,
        } = self;
        let wanted = memory.rounded(size);
        let usual = memory.rounded(usual_bytes.min(settings.batch_bytes).max(size));
        granted
            .take_if(|granted| granted.bytes() >= wanted)
            .or_else(|| memory.try_reserve(usual))
            .or_else(|| memory.try_reserve(wanted))
            .ok_or(wanted)
    }
}

/// What a batch of `size` bytes allocates: what it has reserved, but no more than it can fill.
fn allocated(reservation: &Reservation, size: usize, settings: &ProducerSettings) -> usize {
    reservation.bytes().min(settings.batch_bytes.max(size))
}

/// A batch that takes no more records.
pub(super) struct SealedBatch {
    number: u64,
    /// The index of its first record in the batch that it was split from; 0 for a whole one.
    first: u32,
    /// None while someone makes them, outside the lane's lock.
    pub(super) bytes: Option<Bytes>,
    pub(super) records: u32,
    pub(super) completion: Completion,
    pub(super) opened: Instant,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// Its numbers, where the producer is idempotent.
    pub(super) stamp: Option<ProducerStamp>,
    /// An attempt brought no clear answer: the batch may be in the log.
    pub(super) is_unknown: bool,
    /// What the last attempt met.
    pub(super) last_failure: Option<String>,
    /// Shared by the parts of one batch.
    reservation: Arc<Reservation>,
}

/// A full batch whose bytes are still to be made: compression and CRC happen outside the lane's lock.
pub(super) struct Unfinished {
    number: u64,
    builder: Box<BatchBuilder>,
    stamp: Option<ProducerStamp>,
}

impl OpenBatch {
    pub(super) fn with_record(
        number: u64,
        partition: &TopicPartition,
        record: &ProducerRecord<'_>,
        timestamp: Timestamp,
        settings: &ProducerSettings,
        room: Room<'_>,
    ) -> Result<(Self, Delivery), NotOpened> {
        let mut builder = Box::new(BatchBuilder::new(settings.compression, 0));
        let size = size_after(&builder, timestamp, record);
        check_size(size, settings, room.memory).map_err(NotOpened::Refused)?;
        let reservation = room.take(size, settings).map_err(NotOpened::WantsMemory)?;
        builder.make_room(allocated(&reservation, size, settings));
        let mut open = Self {
            number,
            builder,
            completion: Completion::new(partition.clone()),
            opened: Instant::now(),
            reservation,
            due: settings.linger.is_zero(),
        };
        let delivery = open.append(record, timestamp).map_err(NotOpened::Refused)?;
        Ok((open, delivery))
    }

    /// Bytes so far, uncompressed.
    pub(super) fn size(&self) -> usize {
        self.builder.size()
    }

    pub(super) fn size_after(&self, timestamp: Timestamp, record: &ProducerRecord<'_>) -> usize {
        size_after(&self.builder, timestamp, record)
    }

    /// Reserves memory for a batch that grows to `size`, or says how much is wanted. It doubles where it can, so that
    /// little is copied on the way to `batch.size`.
    pub(super) fn make_room(
        &mut self,
        size: usize,
        settings: &ProducerSettings,
        memory: &Memory,
        granted: &mut Option<Reservation>,
    ) -> Result<(), usize> {
        if size <= self.reservation.bytes() {
            return Ok(());
        }
        if let Some(granted) = granted.take() {
            self.reservation.absorb(granted);
        }
        let held = self.reservation.bytes();
        let doubled = (2 * held).min(settings.batch_bytes).max(size);
        let wanted = memory.rounded(size).saturating_sub(held);
        let more = memory
            .try_reserve(memory.rounded(doubled).saturating_sub(held))
            .or_else(|| memory.try_reserve(wanted))
            .ok_or(wanted)?;
        self.reservation.absorb(more);
        self.builder
            .make_room(allocated(&self.reservation, size, settings));
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        record: &ProducerRecord<'_>,
        timestamp: Timestamp,
    ) -> Result<Delivery, ProduceError> {
        let index = self
            .builder
            .append(timestamp, record.key, record.value, record.headers)
            .map_err(|error| ProduceError::Unencodable {
                reason: error.to_string(),
            })?;
        let index = u32::try_from(index).expect("offset deltas count from 0");
        Ok(Delivery::new(self.completion.outcome(), index, timestamp))
    }

    pub(super) fn records(&self) -> u32 {
        self.builder.record_count()
    }

    pub(super) fn seal(self, stamp: Option<ProducerStamp>) -> (SealedBatch, Unfinished) {
        let sealed = SealedBatch {
            number: self.number,
            first: 0,
            bytes: None,
            records: self.builder.record_count(),
            completion: self.completion,
            opened: self.opened,
            attempts: 0,
            stamp,
            is_unknown: false,
            last_failure: None,
            reservation: Arc::new(self.reservation),
        };
        let unfinished = Unfinished {
            number: self.number,
            builder: self.builder,
            stamp,
        };
        (sealed, unfinished)
    }
}

impl Unfinished {
    /// Compresses the records and computes the CRC.
    pub(super) fn finish(mut self) -> (u64, Bytes) {
        (self.number, self.builder.finish(self.stamp))
    }
}

impl SealedBatch {
    pub(super) fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// What batches and their parts are ordered by.
    pub(super) fn place(&self) -> (u64, u32) {
        (self.number, self.first)
    }

    /// Takes the finished bytes. A codec can have added to them: the larger of both is what counts.
    pub(super) fn set_bytes(&mut self, bytes: Bytes) {
        if let Some(reservation) = Arc::get_mut(&mut self.reservation) {
            reservation.cover(bytes.len());
        }
        self.bytes = Some(bytes);
    }

    /// Gives the batch other numbers. It must be finished, and not in the log under its old ones.
    pub(super) fn renumber(&mut self, stamp: ProducerStamp) {
        let mut bytes = BytesMut::from(&self.bytes.take().expect("the batch is finished")[..]);
        patch_producer(&mut bytes, stamp);
        self.bytes = Some(bytes.freeze());
        self.stamp = Some(stamp);
        self.is_unknown = false;
    }

    /// Gives the memory back and tells every record's sender what became of it.
    pub(super) fn settle(self, result: Result<Written, ProduceError>) {
        drop(self.reservation);
        self.completion.settle(result);
    }

    /// Makes two batches of one that has several records. The records' deliveries follow their part.
    pub(super) fn split(self, bytes: &Bytes) -> Vec<Self> {
        let (batch, _) = BatchView::parse(bytes).expect("this producer built it");
        let compression = batch.compression().expect("this producer built it");
        let mut scratch = Vec::new();
        let records = batch
            .records(&mut scratch, MAX_BATCH_BYTES)
            .expect("this producer built it");
        let half = self.records.div_ceil(2);
        let mut builders = [
            BatchBuilder::new(compression, bytes.len() / 2),
            BatchBuilder::new(compression, bytes.len() / 2),
        ];
        for (index, record) in (0..).zip(records) {
            let record = record.expect("this producer built it");
            let headers: Vec<Header<'_>> = record.headers.collect();
            builders[usize::from(index >= half)]
                .append(record.timestamp, record.key, record.value, &headers)
                .expect("half a batch is smaller than the batch");
        }
        let partition = self.completion.partition();
        // Together the parts have the numbers that the whole had: it is not in the log.
        let stamps = [0, half].map(|first| {
            self.stamp.map(|stamp| ProducerStamp {
                base_sequence: after(stamp.base_sequence, first),
                ..stamp
            })
        });
        let parts: Vec<Self> = builders
            .iter_mut()
            .zip([0, half])
            .zip(stamps)
            .filter(|((builder, _), _)| !builder.is_empty())
            .map(|((builder, first), stamp)| Self {
                number: self.number,
                first: self.first + first,
                records: builder.record_count(),
                bytes: Some(builder.finish(stamp)),
                completion: Completion::new(partition.clone()),
                opened: self.opened,
                attempts: 0,
                stamp,
                is_unknown: false,
                last_failure: None,
                reservation: Arc::clone(&self.reservation),
            })
            .collect();
        let first = self.first;
        self.completion.split(
            parts
                .iter()
                .map(|part| (part.first - first, &part.completion)),
        );
        parts
    }
}

fn size_after(builder: &BatchBuilder, timestamp: Timestamp, record: &ProducerRecord<'_>) -> usize {
    builder.estimated_size_after(timestamp, record.key, record.value, record.headers)
}

/// A record that can never be sent is refused at once.
fn check_size(
    size: usize,
    settings: &ProducerSettings,
    memory: &Memory,
) -> Result<(), ProduceError> {
    for (setting, limit) in [
        ("max.request.size", settings.max_request_bytes),
        ("buffer.memory", memory.limit()),
    ] {
        if size > limit {
            return Err(ProduceError::RecordTooLarge {
                size,
                limit,
                setting,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use corelog_protocol::PartitionIndex;

    use super::*;
    use crate::config::ClientConfig;
    use crate::producer::memory::STEP_BYTES;

    const BATCH_BYTES: usize = 1 << 20;

    fn settings() -> ProducerSettings {
        let config = ClientConfig::new()
            .set("bootstrap.servers", "127.0.0.1:9")
            .set("batch.size", BATCH_BYTES);
        ProducerSettings::read(&config).unwrap()
    }

    fn open(memory: &Memory, usual_bytes: usize, value: &str) -> OpenBatch {
        let partition = TopicPartition::new("orders", PartitionIndex::new(0));
        let record = ProducerRecord::to("orders").value(value);
        let room = Room {
            memory,
            granted: &mut None,
            usual_bytes,
        };
        let time = Timestamp::new(7);
        OpenBatch::with_record(0, &partition, &record, time, &settings(), room)
            .unwrap_or_else(|_| panic!("there is room"))
            .0
    }

    #[test]
    fn a_batch_never_allocates_more_than_it_has_reserved() {
        let (settings, memory) = (settings(), Memory::new(4 << 20));
        let value = "x".repeat(1000);
        let record = ProducerRecord::to("orders").value(&value);
        let time = Timestamp::new(7);
        let mut batch = open(&memory, 0, &value);
        assert_eq!(memory.in_use(), STEP_BYTES);
        let mut capacities = vec![batch.builder.capacity()];
        loop {
            let size = batch.size_after(time, &record);
            if size > BATCH_BYTES {
                break;
            }
            batch
                .make_room(size, &settings, &memory, &mut None)
                .unwrap();
            drop(batch.append(&record, time).unwrap());
            let capacity = batch.builder.capacity();
            assert!(capacity <= memory.in_use(), "{capacity} bytes");
            if capacities.last() != Some(&capacity) {
                capacities.push(capacity);
            }
        }
        let doubling: Vec<usize> = (0..7).map(|step| STEP_BYTES << step).collect();
        assert_eq!(capacities, doubling);
    }

    #[test]
    fn a_batch_begins_with_what_the_last_one_took_if_there_is_room() {
        let memory = Memory::new(BATCH_BYTES + STEP_BYTES);
        let first = open(&memory, BATCH_BYTES, "v");
        assert_eq!(first.builder.capacity(), BATCH_BYTES);
        let second = open(&memory, BATCH_BYTES, "v");
        assert_eq!(second.builder.capacity(), STEP_BYTES);
        assert_eq!(memory.in_use(), memory.limit());
        drop((first, second));
        assert_eq!(memory.in_use(), 0);
    }
}
