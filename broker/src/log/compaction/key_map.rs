//! The newest offset of every key in the part of a log that is being compacted.
//!
//! A table of fixed size with open addressing. It holds a 128-bit keyed hash of a key in its place,
//! 24 bytes a key whatever the key's length. Two keys with one hash would count as one, and the older
//! one's record would be lost: with a secret that is drawn at every start and 2^32 keys in a map the
//! chance is below 2^-64, and nobody can look for such keys.

use corelog_protocol::Offset;

use super::key_hash::HashKey;

/// Bytes of one slot: the hash, and the offset plus one, so that zero is an empty slot.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

type Slot = [u64; 3];

/// The map has no room for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct KeyMap {
    key: HashKey,
    slots: Vec<Slot>,
    used: usize,
    limit: usize,
}

impl KeyMap {
    /// A map that takes at most `bytes`, and as many keys as fill `load_factor` of it; at least one.
    pub(super) fn new(bytes: usize, load_factor: f64, key: HashKey) -> KeyMap {
        let slots = (bytes / SLOT_BYTES).max(2);
        // A lookup ends at an empty slot, so there always is one.
        let limit = (slots as f64 * load_factor) as usize;
        KeyMap {
            key,
            slots: vec![[0; 3]; slots],
            used: 0,
            limit: limit.clamp(1, slots - 1),
        }
    }

    /// Bytes for a map that has room for `keys` keys.
    pub(super) fn bytes_for(keys: u64, load_factor: f64) -> u64 {
        let slots = (keys as f64 / load_factor).ceil() as u64;
        slots.saturating_add(2).saturating_mul(SLOT_BYTES as u64)
    }

    /// Notes that `key` has a record at `offset`, behind all that were noted before.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.key.hash(key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.used == self.limit {
                return Err(Full);
            }
            self.used += 1;
            slot[..2].copy_from_slice(&hash);
        }
        slot[2] = slot[2].max(offset.get().cast_unsigned() + 1);
        Ok(())
    }

    /// The newest offset noted for `key`.
    pub(super) fn newest(&self, key: &[u8]) -> Option<Offset> {
        let slot = &self.slots[self.find(self.key.hash(key))];
        let offset = slot[2].checked_sub(1)?;
        Some(Offset::new(offset.cast_signed()))
    }

    /// How full it is, of what it may take.
    pub(super) fn fill_percent(&self) -> u64 {
        (self.used * 100 / self.limit) as u64
    }

    /// The slot of this hash, or the empty one where it would go.
    fn find(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        let mut at = ((u128::from(hash[0]) * slots as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at += 1;
            if at == slots {
                at = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const KEY: HashKey = HashKey(7, 8);

    #[test]
    fn the_newest_offset_of_every_key_is_found() {
        let mut map = KeyMap::new(1000 * SLOT_BYTES, 0.9, KEY);
        let mut expected = BTreeMap::new();
        for offset in 0..5000_i64 {
            let key = (offset * 7919 % 800).to_string();
            if map.put(key.as_bytes(), Offset::new(offset)).is_ok() {
                expected.insert(key, offset);
            }
        }
        assert_eq!(expected.len(), 800);
        for (key, offset) in expected {
            assert_eq!(
                map.newest(key.as_bytes()),
                Some(Offset::new(offset)),
                "{key}"
            );
        }
        assert_eq!(map.newest(b"another"), None);
    }

    #[test]
    fn a_full_map_refuses_new_keys_and_follows_those_it_has() {
        let mut map = KeyMap::new(100 * SLOT_BYTES, 0.5, KEY);
        for n in 0..50_u8 {
            assert_eq!(map.put(&[n], Offset::new(i64::from(n))), Ok(()));
        }
        assert_eq!(map.fill_percent(), 100);
        assert_eq!(map.put(&[50], Offset::new(50)), Err(Full));
        assert_eq!(map.newest(&[50]), None);
        assert_eq!(map.put(&[7], Offset::new(51)), Ok(()));
        assert_eq!(map.newest(&[7]), Some(Offset::new(51)));
    }

    #[test]
    fn the_smallest_map_takes_one_key() {
        let mut map = KeyMap::new(0, 0.9, KEY);
        assert_eq!(map.put(b"a", Offset::new(0)), Ok(()));
        assert_eq!(map.put(b"b", Offset::new(1)), Err(Full));
        assert_eq!(map.newest(b"a"), Some(Offset::new(0)));
        assert_eq!(map.newest(b"b"), None);
    }

    #[test]
    fn a_map_sized_for_some_keys_takes_them() {
        for keys in [1, 2, 10, 1000, 4321] {
            let bytes = KeyMap::bytes_for(keys, 0.9);
            let mut map = KeyMap::new(usize::try_from(bytes).unwrap_or(0), 0.9, KEY);
            for n in 0..keys {
                assert_eq!(
                    map.put(&n.to_le_bytes(), Offset::new(1)),
                    Ok(()),
                    "{n} of {keys}"
                );
            }
        }
    }
}
