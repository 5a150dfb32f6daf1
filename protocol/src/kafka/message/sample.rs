//! Random contents of messages.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::TopicId;
use crate::kafka::Records;

/// What can be made up.
pub(in crate::kafka) trait Sample: Sized {
    /// Anything that the version can say.
    fn sample(random: &mut Random, version: i16) -> Self;

    /// Null, where it is one of the values.
    fn null() -> Option<Self> {
        None
    }
}

pub(in crate::kafka) struct Random(StdRng);

impl Random {
    pub(in crate::kafka) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(in crate::kafka) fn field<T: Sample>(&mut self, version: i16, may_be_null: bool) -> T {
        match T::null() {
            Some(null) if may_be_null && self.0.random_ratio(1, 3) => null,
            _ => T::sample(self, version),
        }
    }

    /// Turns bits, and writes lengths that nothing has.
    pub(in crate::kafka) fn damage(&mut self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        for _ in 0..self.0.random_range(1..4) {
            let at = self.0.random_range(0..bytes.len());
            bytes[at] = match self.0.random_range(0..3) {
                0 => 0xff,
                1 => 0x7f,
                _ => self.0.random(),
            };
        }
    }

    /// Of these numbers, rather the small ones; the large ones show where lengths take more bytes.
    fn count(&mut self, most: usize) -> usize {
        let most = if self.0.random_ratio(1, 20) { most } else { 3 };
        self.0.random_range(0..=most)
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Sample for $type {
            fn sample(random: &mut Random, _: i16) -> Self {
                random.0.random()
            }
        }
    )*};
}

numbers! { bool i8 i16 i32 i64 f64 }

impl Sample for TopicId {
    fn sample(random: &mut Random, _: i16) -> Self {
        Self::from_bytes(random.0.random())
    }
}

impl Sample for &str {
    fn sample(random: &mut Random, _: i16) -> Self {
        const TEXT: &str = "orders-payments-äöü-0123456789-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-\
                            abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-end";
        let length = random.count(TEXT.len());
        &TEXT[..TEXT.floor_char_boundary(length)]
    }
}

impl Sample for &[u8] {
    fn sample(random: &mut Random, _: i16) -> Self {
        const BYTES: &[u8] = &[7; 300];
        &BYTES[..random.count(BYTES.len())]
    }
}

impl Sample for Records<'_> {
    fn sample(random: &mut Random, version: i16) -> Self {
        Self::Here(Sample::sample(random, version))
    }

    fn null() -> Option<Self> {
        Some(Self::Null)
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(random: &mut Random, version: i16) -> Self {
        let count = random.count(20);
        (0..count).map(|_| T::sample(random, version)).collect()
    }
}

macro_rules! nullable {
    ($([$($generics:tt)*] $inner:ty;)*) => {$(
        impl<$($generics)*> Sample for Option<$inner> {
            fn sample(random: &mut Random, version: i16) -> Self {
                Some(Sample::sample(random, version))
            }

            fn null() -> Option<Self> {
                Some(None)
            }
        }
    )*};
}

nullable! {
    [] &str;
    [] &[u8];
    [T: Sample] Vec<T>;
    [T: Sample] Box<T>;
}

impl<T: Sample> Sample for Box<T> {
    fn sample(random: &mut Random, version: i16) -> Self {
        Self::new(T::sample(random, version))
    }
}
