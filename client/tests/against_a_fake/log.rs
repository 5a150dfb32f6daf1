//! The fake broker's topics, in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use corelog_client::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use corelog_protocol::record::{BatchView, patch_base_offset, split_batches};
use corelog_protocol::{ProducerEpoch, ProducerId, Sequence};

pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) configs: BTreeMap<String, String>,
}

pub(crate) struct Partition {
    pub(crate) batches: Vec<Bytes>,
    producers: HashMap<ProducerId, ProducerState>,
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
}

/// What a broker remembers of a producer: its epoch, and its last batches.
struct ProducerState {
    epoch: ProducerEpoch,
    /// The first sequence, the number of records and the first offset of each.
    batches: VecDeque<(Sequence, u32, Offset)>,
}

/// Batches that a broker remembers of each producer.
const REMEMBERED: usize = 5;

impl Topic {
    pub(crate) fn new(partitions: i32) -> Self {
        Self {
            id: TopicId::random(),
            partitions: (0..partitions).map(|_| Partition::new()).collect(),
            configs: BTreeMap::new(),
        }
    }

    /// Has so many partitions from now on; false if that is not more.
    pub(crate) fn grow(&mut self, partitions: i32) -> bool {
        let (now, wanted) = (self.partitions.len(), usize::try_from(partitions).unwrap());
        self.partitions
            .extend((now..wanted).map(|_| Partition::new()));
        wanted > now
    }

    pub(crate) fn partition(&mut self, index: PartitionIndex) -> Option<&mut Partition> {
        self.partitions
            .get_mut(usize::try_from(index.get()).unwrap())
    }
}

impl Partition {
    fn new() -> Self {
        Self {
            batches: Vec::new(),
            producers: HashMap::new(),
            log_start: Offset::ZERO,
            end: Offset::ZERO,
            leader_epoch: LeaderEpoch::ZERO,
        }
    }

    /// Appends what a produce carried and returns the first and last offset; those of the first time where it is a
    /// duplicate.
    pub(crate) fn append(&mut self, payload: &Bytes) -> Result<(Offset, Offset), ErrorCode> {
        let first = self.end;
        for batch in split_batches(payload) {
            let batch = batch.unwrap();
            batch.validate().unwrap();
            if let Some(known) = self.check_sequence(&batch)? {
                let last = known.get() + i64::from(batch.record_count()) - 1;
                return Ok((known, Offset::new(last)));
            }
            let mut bytes = BytesMut::from(batch.bytes());
            patch_base_offset(&mut bytes, self.end, self.leader_epoch);
            self.end = self
                .end
                .checked_add(i64::from(batch.record_count()))
                .unwrap();
            self.batches.push(bytes.freeze());
        }
        Ok((first, Offset::new(self.end.get() - 1)))
    }

    /// The first offset of a batch that is here already. Notes a new one, and refuses one that does not follow.
    fn check_sequence(&mut self, batch: &BatchView<'_>) -> Result<Option<Offset>, ErrorCode> {
        let Some(id) = batch.producer_id() else {
            return Ok(None);
        };
        let (epoch, sequence) = (
            batch.producer_epoch().unwrap(),
            batch.base_sequence().unwrap(),
        );
        let count = batch.record_count();
        let first = (sequence, count, self.end);
        let Some(producer) = self.producers.get_mut(&id) else {
            let batches = VecDeque::from([first]);
            self.producers.insert(id, ProducerState { epoch, batches });
            return Ok(None);
        };
        if epoch < producer.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if epoch > producer.epoch {
            if sequence != Sequence::ZERO {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            producer.epoch = epoch;
            producer.batches = VecDeque::from([first]);
            return Ok(None);
        }
        let mut batches = producer.batches.iter();
        if let Some((_, _, offset)) = batches.find(|it| (it.0, it.1) == (sequence, count)) {
            return Ok(Some(*offset));
        }
        let (last, records, _) = producer.batches.back().unwrap();
        if last.advance(i32::try_from(*records).unwrap()) != sequence {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        producer.batches.push_back(first);
        if producer.batches.len() > REMEMBERED {
            producer.batches.pop_front();
        }
        Ok(None)
    }

    /// Whole batches from the one that holds `offset`, up to about `max_bytes`; none if the offset is not in the log.
    pub(crate) fn read(&self, offset: Offset, max_bytes: usize) -> Option<Bytes> {
        if offset < self.log_start || offset > self.end {
            return None;
        }
        let mut bytes = BytesMut::new();
        for batch in &self.batches {
            let next = BatchView::parse(batch).unwrap().0.next_offset();
            if next > offset && (bytes.is_empty() || bytes.len() + batch.len() <= max_bytes) {
                bytes.extend_from_slice(batch);
            } else if next > offset {
                break;
            }
        }
        Some(bytes.freeze())
    }

    /// Drops everything below an offset, as retention does.
    pub(crate) fn cut_start(&mut self, log_start: Offset) {
        self.log_start = log_start;
        self.batches
            .retain(|batch| BatchView::parse(batch).unwrap().0.next_offset() > log_start);
    }

    pub(crate) fn first_at_or_after(&self, time: Timestamp) -> Option<(Offset, Timestamp)> {
        self.records()
            .into_iter()
            .find(|(_, timestamp, _)| *timestamp >= time)
            .map(|(offset, timestamp, _)| (offset, timestamp))
    }

    /// Every record's offset, time and value.
    pub(crate) fn records(&self) -> Vec<(Offset, Timestamp, String)> {
        let mut found = Vec::new();
        for batch in &self.batches {
            let (batch, _) = BatchView::parse(batch).unwrap();
            let mut scratch = Vec::new();
            for record in batch.records(&mut scratch, 1 << 20).unwrap() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
                found.push((record.offset, record.timestamp, value));
            }
        }
        found
    }
}
