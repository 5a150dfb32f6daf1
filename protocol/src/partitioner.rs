//! Kafka's choice of a partition for a key, so that every client sends a key to the same place.

use crate::PartitionIndex;

/// The 32-bit MurmurHash2 of Kafka's Java client (`Utils.murmur2`), seed 0x9747b28c.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java computes with `int`; lengths above u32 wrap there as they do here.
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash as i32
}

/// The partition of a key among `partitions`: murmur2 with the sign bit cleared, modulo.
///
/// # Panics
/// If `partitions` is not at least 1.
pub fn partition_for_key(key: &[u8], partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has at least one partition");
    PartitionIndex::new((murmur2(key) & i32::MAX) % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_unit_test() {
        // org.apache.kafka.common.utils.UtilsTest.testMurmur2
        let known: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (input, hash) in known {
            assert_eq!(murmur2(input), hash, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit_and_not_its_sign() {
        // abs() would give 973_932_308 % 8 = 4.
        assert_eq!(partition_for_key(b"21", 8), PartitionIndex::new(4));
        // 0x7fffffff & -973932308 = 1173551340; % 7 = 1173551340 mod 7.
        assert_eq!(
            partition_for_key(b"21", 7).get(),
            (1_173_551_340_i64 % 7) as i32
        );
    }
}
