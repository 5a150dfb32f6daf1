//! The sparse indexes of one segment: offset to position and timestamp to offset, in memory and
//! as the bytes of Kafka's `.index` and `.timeindex`.
//!
//! Indexes are caches. A lookup only says where to start hopping from batch to batch, so a missing
//! or short one costs time, never an answer; it is rebuilt from the batches when the segment is first
//! looked into. Entries follow Kafka's rule: one for the first
//! batch behind every `index.interval.bytes`, naming the batch's *last* offset and its position.

use corelog_protocol::Offset;

pub(super) const OFFSET_ENTRY_BYTES: usize = 8;
pub(super) const TIME_ENTRY_BYTES: usize = 12;

/// Both indexes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    base_offset: Offset,
    interval_bytes: u64,
    bytes_since_entry: u64,
    /// (last offset of the batch - base offset, position of the batch)
    offsets: Vec<(u32, u32)>,
    /// (largest timestamp so far, last offset of the batch that holds it - base offset)
    times: Vec<(i64, u32)>,
    largest_timestamp: Option<(i64, u32)>,
}

impl SegmentIndex {
    pub(crate) fn new(base_offset: Offset, interval_bytes: u64) -> SegmentIndex {
        SegmentIndex {
            base_offset,
            interval_bytes,
            bytes_since_entry: 0,
            offsets: Vec::new(),
            times: Vec::new(),
            largest_timestamp: None,
        }
    }

    /// Takes note of a batch appended at `position`.
    pub(crate) fn observe(
        &mut self,
        position: u64,
        size: usize,
        last_offset: Offset,
        max_timestamp: i64,
    ) {
        let relative = self.relative(last_offset);
        if self
            .largest_timestamp
            .is_none_or(|(largest, _)| max_timestamp > largest)
        {
            self.largest_timestamp = Some((max_timestamp, relative));
        }
        if self.bytes_since_entry > self.interval_bytes {
            let position = u32::try_from(position).expect("a segment is smaller than 2 GiB");
            self.offsets.push((relative, position));
            self.add_time_entry();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += size as u64;
    }

    /// The time entry that Kafka adds when a segment is closed.
    pub(crate) fn close(&mut self) {
        self.add_time_entry();
    }

    fn add_time_entry(&mut self) {
        let Some(entry) = self.largest_timestamp else {
            return;
        };
        if self.times.last().is_none_or(|last| entry.0 > last.0) {
            self.times.push(entry);
        }
    }

    /// Drops the entries, which the files hold, and goes on counting where it was.
    pub(crate) fn forget_entries(&mut self) {
        self.offsets = Vec::new();
        self.times = Vec::new();
    }

    /// Bytes that the entries take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<(u32, u32)>()
            + self.times.capacity() * size_of::<(i64, u32)>()
    }

    /// Adds what `older`, read from the files, knows about the bytes before the first one here.
    pub(crate) fn prepend(&mut self, older: &SegmentIndex) {
        let newer = std::mem::replace(self, older.clone());
        // Its last records may have the largest time, of which no entry speaks yet.
        self.add_time_entry();
        self.append(&newer);
    }

    /// Adds what `newer` knows about the bytes behind the last entry here.
    pub(crate) fn append(&mut self, newer: &SegmentIndex) {
        let last = self.offsets.last().copied();
        let behind =
            |entry: &&(u32, u32)| last.is_none_or(|last| entry.0 > last.0 && entry.1 > last.1);
        self.offsets.extend(newer.offsets.iter().filter(behind));
        // A part that began anew took its first timestamps for the largest; those below the ones
        // before it say nothing, and a lookup must never skip a record.
        let last = self.times.last().copied();
        let behind =
            |entry: &&(i64, u32)| last.is_none_or(|last| entry.0 > last.0 && entry.1 >= last.1);
        self.times.extend(newer.times.iter().filter(behind));
        if let Some(entry) = newer.largest_timestamp
            && self
                .largest_timestamp
                .is_none_or(|(largest, _)| entry.0 > largest)
        {
            self.largest_timestamp = Some(entry);
        }
        self.bytes_since_entry = newer.bytes_since_entry;
    }

    /// The last offset of the batch that the last entry names, and its position.
    pub(crate) fn last_entry(&self) -> Option<(Offset, u64)> {
        let (relative, position) = self.offsets.last()?;
        Some((self.absolute(*relative), u64::from(*position)))
    }

    /// Where to start looking for `offset`: the position of a batch at or before it.
    pub(crate) fn position_before(&self, offset: Offset) -> u64 {
        if offset < self.base_offset {
            return 0;
        }
        let relative = self.relative(offset);
        let entries = self.offsets.partition_point(|entry| entry.0 <= relative);
        entries
            .checked_sub(1)
            .map_or(0, |last| u64::from(self.offsets[last].1))
    }

    /// Where to start looking for the first record at or after `timestamp`: an offset all of whose
    /// predecessors in this segment are older.
    pub(crate) fn offset_before_timestamp(&self, timestamp: i64) -> Offset {
        let entries = self.times.partition_point(|entry| entry.0 < timestamp);
        match entries.checked_sub(1) {
            Some(last) => self.absolute(self.times[last].1),
            None => self.base_offset,
        }
    }

    pub(crate) fn largest_timestamp(&self) -> Option<i64> {
        self.largest_timestamp.map(|(timestamp, _)| timestamp)
    }

    pub(crate) fn interval_bytes(&self) -> u64 {
        self.interval_bytes
    }

    pub(crate) fn offset_index_bytes(&self) -> u64 {
        (self.offsets.len() * OFFSET_ENTRY_BYTES) as u64
    }

    /// The bytes of the `.index` file.
    pub(crate) fn encode_offsets(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY_BYTES);
        for (relative, position) in &self.offsets {
            bytes.extend_from_slice(&relative.to_be_bytes());
            bytes.extend_from_slice(&position.to_be_bytes());
        }
        bytes
    }

    /// The bytes of the `.timeindex` file.
    pub(crate) fn encode_times(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_ENTRY_BYTES);
        for (timestamp, relative) in &self.times {
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&relative.to_be_bytes());
        }
        bytes
    }

    /// Reads both files back. `None` when they contradict themselves or the segment, whose valid
    /// bytes end at `segment_bytes`: then they are rebuilt.
    pub(crate) fn decode(
        base_offset: Offset,
        interval_bytes: u64,
        segment_bytes: u64,
        offsets: &[u8],
        times: &[u8],
    ) -> Option<SegmentIndex> {
        let mut index = SegmentIndex::new(base_offset, interval_bytes);
        let (entries, []) = offsets.as_chunks::<OFFSET_ENTRY_BYTES>() else {
            return None;
        };
        for entry in entries {
            let [a, b, c, d, e, f, g, h] = *entry;
            let relative = u32::from_be_bytes([a, b, c, d]);
            let position = u32::from_be_bytes([e, f, g, h]);
            let ascends = index
                .offsets
                .last()
                .is_none_or(|last| relative > last.0 && position > last.1);
            if !ascends || u64::from(position) >= segment_bytes || relative > i32::MAX as u32 {
                return None;
            }
            index.offsets.push((relative, position));
        }
        let (entries, []) = times.as_chunks::<TIME_ENTRY_BYTES>() else {
            return None;
        };
        for entry in entries {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *entry;
            let timestamp = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let relative = u32::from_be_bytes([i, j, k, l]);
            if index
                .times
                .last()
                .is_some_and(|last| timestamp <= last.0 || relative < last.1)
            {
                return None;
            }
            index.times.push((timestamp, relative));
        }
        index.largest_timestamp = index.times.last().copied();
        index.bytes_since_entry =
            segment_bytes - index.offsets.last().map_or(0, |last| u64::from(last.1));
        Some(index)
    }

    fn relative(&self, offset: Offset) -> u32 {
        let relative = offset.get().saturating_sub(self.base_offset.get());
        u32::try_from(relative).unwrap_or(u32::MAX)
    }

    fn absolute(&self, relative: u32) -> Offset {
        Offset::new(self.base_offset.get() + i64::from(relative))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn ten_batches() -> SegmentIndex {
        let mut index = SegmentIndex::new(Offset::new(1000), 4096);
        for batch in 0..10_i64 {
            let last_offset = Offset::new(1000 + batch * 5 + 4);
            index.observe(batch as u64 * 3000, 3000, last_offset, 50_000 + batch * 10);
        }
        index
    }

    #[test]
    fn an_entry_is_made_for_the_first_batch_behind_every_interval() {
        // 3,000-byte batches: the third is the first with more than 4,096 bytes since the start.
        let index = ten_batches();
        assert_eq!(index.encode_offsets()[..8], [0, 0, 0, 14, 0, 0, 0x17, 0x70]);
        assert_eq!(index.offset_index_bytes(), 4 * 8);
    }

    #[test]
    fn a_lookup_never_starts_behind_the_offset_asked_for() {
        let index = ten_batches();
        for offset in 1000..1050 {
            let position = index.position_before(Offset::new(offset));
            let first_offset_there = 1000 + i64::try_from(position / 3000).unwrap() * 5;
            assert!(
                first_offset_there <= offset,
                "offset {offset} position {position}"
            );
            assert!(
                offset - first_offset_there < 15,
                "offset {offset} position {position}"
            );
        }
    }

    #[test]
    fn a_timestamp_lookup_never_skips_a_record() {
        let index = ten_batches();
        for batch in 0..10_u64 {
            let timestamp = 50_000 + i64::try_from(batch).unwrap() * 10;
            let first_offset_there = i64::try_from(batch).unwrap() * 5 + 1000;
            assert!(index.offset_before_timestamp(timestamp).get() <= first_offset_there);
        }
        assert_eq!(index.offset_before_timestamp(0), Offset::new(1000));
    }

    #[test]
    fn later_records_with_earlier_timestamps_hide_none_before_them() {
        let mut older = ten_batches();
        older.close();
        let mut index = SegmentIndex::new(Offset::new(1000), 4096);
        for batch in 10..20_i64 {
            let last_offset = Offset::new(1000 + batch * 5 + 4);
            index.observe(batch as u64 * 3000, 3000, last_offset, 500 + batch);
        }
        index.prepend(&older);
        // The record of 50,050 stands at 1025; everything behind 1050 is older than it.
        assert!(index.offset_before_timestamp(50_050).get() <= 1025);
        assert_eq!(index.largest_timestamp(), Some(50_090));
        assert_eq!(index.last_entry(), Some((Offset::new(1094), 54_000)));
    }

    #[test]
    fn a_part_that_goes_on_with_earlier_times_hides_no_record() {
        let mut older = SegmentIndex::new(Offset::new(0), 0);
        older.observe(0, 100, Offset::new(5), 100);
        older.observe(100, 100, Offset::new(6), 100);
        // No entry speaks of it: the next batch would make one.
        older.observe(200, 100, Offset::new(9), 150);
        older.times.retain(|entry| entry.0 < 150);
        let mut newer = SegmentIndex::new(Offset::new(0), 0);
        newer.observe(300, 100, Offset::new(12), 120);
        newer.observe(400, 100, Offset::new(13), 121);
        newer.prepend(&older);
        assert!(newer.offset_before_timestamp(130) <= Offset::new(9));
        assert_eq!(newer.largest_timestamp(), Some(150));
    }

    #[test]
    fn files_come_back_and_contradictions_are_refused() {
        let mut index = ten_batches();
        index.close();
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        let decode = |offsets: &[u8], times: &[u8], size| {
            SegmentIndex::decode(Offset::new(1000), 4096, size, offsets, times)
        };
        let back = decode(&offsets, &times, 30_000).unwrap();
        assert_eq!((&back.offsets, &back.times), (&index.offsets, &index.times));
        assert_eq!(
            decode(&offsets[1..], &times, 30_000),
            None,
            "not whole entries"
        );
        assert_eq!(
            decode(&offsets, &times, 10_000),
            None,
            "a position behind the segment's end"
        );
        let swapped = [&offsets[8..16], &offsets[..8]].concat();
        assert_eq!(
            decode(&swapped, &times, 30_000),
            None,
            "positions that descend"
        );
    }
}
