//! What a record holds, so that a reader can tell whether it is the one sent.
//!
//! ```text
//! value  0        8        16       20      24                     record size
//!        +--------+--------+--------+-------+--------------------------+
//!        |sequence|  due   |producer|CRC-32C| letters of the sequence  |
//!        +--------+--------+--------+-------+--------------------------+
//!        little-endian; the CRC covers the 20 bytes before it
//! ```
//!
//! The letters come from a pool made once, so that neither side pays for
//! random numbers: the producer patches the stamp into the next slot of its
//! pool and sends that, the reader compares with its own copy.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Bytes of the stamp in front of the letters.
pub(crate) const STAMP: usize = 24;

/// A pool is about this large: it stays in a core's cache.
const POOL_BYTES: usize = 256 << 10;

/// Every pool is made from this seed, so all hold the same letters.
const SEED: u64 = 0x0C04_E106;

/// What a record says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) producer: u32,
    /// Counts a producer's records from zero.
    pub(crate) sequence: u64,
    /// When the record should have been sent, after the run's [`Epoch`].
    pub(crate) due: Duration,
}

/// The moment that a run's stamps count from. All clients are in one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Record values of one size.
#[derive(Clone)]
pub(crate) struct Payloads {
    pool: Vec<u8>,
    size: usize,
    slots: usize,
}

impl Payloads {
    /// Values of `size` bytes: random capital letters, as Kafka's own load
    /// generator sends, which compress to about two thirds.
    pub(crate) fn new(size: usize) -> Self {
        assert!(size >= STAMP, "a value holds its stamp");
        let slots = (POOL_BYTES / size).max(1);
        let mut random = SmallRng::seed_from_u64(SEED);
        let pool = (0..size * slots)
            .map(|_| random.random_range(b'A'..=b'Z'))
            .collect();
        Self { pool, size, slots }
    }

    /// The value with this stamp.
    pub(crate) fn stamped(&mut self, stamp: Stamp) -> &[u8] {
        let start = self.start_of(stamp.sequence);
        let value = &mut self.pool[start..start + self.size];
        let due = u64::try_from(stamp.due.as_nanos()).unwrap_or(u64::MAX);
        value[..8].copy_from_slice(&stamp.sequence.to_le_bytes());
        value[8..16].copy_from_slice(&due.to_le_bytes());
        value[16..20].copy_from_slice(&stamp.producer.to_le_bytes());
        let crc = crc32c::crc32c(&value[..20]);
        value[20..STAMP].copy_from_slice(&crc.to_le_bytes());
        value
    }

    /// The stamp of a value that was read, if every byte of it is right.
    pub(crate) fn check(&self, value: &[u8]) -> Option<Stamp> {
        let (stamp, letters) = value.split_first_chunk::<STAMP>()?;
        let crc = u32::from_le_bytes(array(&stamp[20..]));
        if value.len() != self.size || crc != crc32c::crc32c(&stamp[..20]) {
            return None;
        }
        let sequence = u64::from_le_bytes(array(&stamp[..8]));
        let start = self.start_of(sequence);
        let sent = &self.pool[start + STAMP..start + self.size];
        (letters == sent).then(|| Stamp {
            producer: u32::from_le_bytes(array(&stamp[16..20])),
            sequence,
            due: Duration::from_nanos(u64::from_le_bytes(array(&stamp[8..16]))),
        })
    }

    fn start_of(&self, sequence: u64) -> usize {
        (sequence % self.slots as u64) as usize * self.size
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes
        .try_into()
        .expect("the stamp's fields have fixed places")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn stamp(sequence: u64) -> Stamp {
        Stamp {
            producer: 3,
            sequence,
            due: Duration::from_micros(1_234_567),
        }
    }

    #[test]
    fn a_value_tells_its_stamp() {
        for size in [STAMP, 100, 1024, POOL_BYTES + 1] {
            let mut payloads = Payloads::new(size);
            let reader = payloads.clone();
            for sequence in [0, 1, 255, 256, 1_000_000] {
                let value = payloads.stamped(stamp(sequence)).to_vec();
                assert_eq!(value.len(), size);
                assert_eq!(reader.check(&value), Some(stamp(sequence)));
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let mut payloads = Payloads::new(64);
        let reader = payloads.clone();
        let value = payloads.stamped(stamp(9)).to_vec();
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(reader.check(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_value_of_another_length_is_not_ours() {
        let mut payloads = Payloads::new(64);
        let value = payloads.stamped(stamp(9)).to_vec();
        let reader = Payloads::new(64);
        for length in [0, STAMP - 1, STAMP, 63] {
            assert_eq!(reader.check(&value[..length]), None);
        }
        assert_eq!(reader.check(&[&value[..], b"x"].concat()), None);
    }
}
