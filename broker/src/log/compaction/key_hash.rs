//! SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): a keyed hash for which nobody who
//! does not know the key can make two inputs meet.

/// A secret that keys the hash; drawn anew for every run of a broker.
#[derive(Clone, Copy)]
pub(super) struct HashKey(pub(super) u64, pub(super) u64);

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    fn take(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    fn finish(&mut self) -> u64 {
        for _ in 0..4 {
            self.round();
        }
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

impl HashKey {
    /// The hash of these bytes.
    #[inline]
    pub(super) fn hash(self, bytes: &[u8]) -> [u64; 2] {
        let HashKey(k0, k1) = self;
        let mut state = State {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.take(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length's low byte, as the function is defined.
        last[7] = bytes.len() as u8;
        state.take(u64::from_le_bytes(last));
        state.v2 ^= 0xee;
        let first = state.finish();
        state.v1 ^= 0xdd;
        [first, state.finish()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vectors of the reference implementation (`vectors.h`, `vectors_sip128`): the key is
    /// 00 01 .. 0f, the input 00 01 .. of growing length.
    #[test]
    fn the_reference_vectors_come_out() {
        let key = HashKey(
            u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]),
            u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15]),
        );
        let expected: [[u8; 16]; 3] = [
            [
                0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
                0x02, 0x93,
            ],
            [
                0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
                0xfc, 0x45,
            ],
            [
                0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6, 0x0a,
                0xff, 0xe4,
            ],
        ];
        for (length, expected) in expected.iter().enumerate() {
            let input: Vec<u8> = (0..length as u8).collect();
            let [first, second] = key.hash(&input);
            let bytes = [first.to_le_bytes(), second.to_le_bytes()].concat();
            assert_eq!(bytes, expected, "{length} bytes");
        }
    }

    #[test]
    fn every_byte_of_a_longer_key_counts() {
        let key = HashKey(1, 2);
        let input: Vec<u8> = (0..40).collect();
        let hash = key.hash(&input);
        for at in 0..input.len() {
            let mut other = input.clone();
            other[at] ^= 1;
            assert_ne!(key.hash(&other), hash, "byte {at}");
        }
        assert_ne!(HashKey(1, 3).hash(&input), hash);
    }
}
