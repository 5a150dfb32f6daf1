//! Damage to bytes, by a seed that a failing test prints.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A generator whose seed `CORELOG_TEST_SEED` sets.
pub(crate) fn seeded() -> StdRng {
    let seed = match std::env::var("CORELOG_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 0x5eed,
    };
    println!("CORELOG_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Damages `bytes` in one to four ways.
pub(crate) fn damage(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..7) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 => bytes.truncate(at),
            3 => bytes.extend((0..random.random_range(0..64)).map(|_| random.random::<u8>())),
            4 => {
                let value = [0, 1, 8, i32::MAX, i32::MIN, -1, -2][random.random_range(0..7)];
                let word = if random.random() {
                    value.to_le_bytes()
                } else {
                    value.to_be_bytes()
                };
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
            5 => {
                let from = random.random_range(0..bytes.len());
                let length = random.random_range(0..=bytes.len() - at.max(from)).min(32);
                bytes.copy_within(from..from + length, at);
            }
            _ => drop(bytes.drain(at..bytes.len().min(at + random.random_range(0..16)))),
        }
    }
    bytes
}
