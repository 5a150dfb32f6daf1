//! Sizes as people write them, and numbers as people read them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A number of bytes: `1024`, `64KiB`, `1MiB` (also `64k`, `1m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct ByteSize(pub(crate) usize);

const UNITS: [(&str, usize); 9] = [
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let unit = UNITS.iter().find(|(suffix, _)| lower.ends_with(suffix));
        let (digits, factor) = match unit {
            Some((suffix, factor)) => (&lower[..lower.len() - suffix.len()], *factor),
            None => (&lower[..], 1),
        };
        digits
            .trim()
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size such as 1024, 64KiB or 1MiB"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => (bytes >> 20, "MiB"),
            bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => (bytes >> 10, "KiB"),
            bytes => (bytes, "B"),
        };
        out.pad(&format!("{number} {unit}"))
    }
}

/// Shows a whole number with its thousands apart: `1,234,567`.
pub(crate) struct Thousands(pub(crate) u64);

impl Thousands {
    /// Rounds to a whole number; negative numbers show as zero.
    pub(crate) fn of(number: f64) -> Self {
        Self(number.round().max(0.0) as u64)
    }
}

impl fmt::Display for Thousands {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.char_indices() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        out.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let read = |text: &str| text.parse::<ByteSize>().unwrap().0;
        assert_eq!(read("1024"), 1024);
        assert_eq!(read("64KiB"), 64 << 10);
        assert_eq!(read("64k"), 64 << 10);
        assert_eq!(read("1 MiB"), 1 << 20);
        assert_eq!(read("2mb"), 2_000_000);
        assert_eq!(read("7B"), 7);
        for refused in [
            "",
            "k",
            "-1",
            "1.5k",
            "1tib",
            "99999999999999999999",
            "99999999999999gib",
        ] {
            assert!(
                refused.parse::<ByteSize>().is_err(),
                "{refused:?} was accepted"
            );
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_whole_unit() {
        let shown = |bytes| ByteSize(bytes).to_string();
        assert_eq!(shown(1 << 20), "1 MiB");
        assert_eq!(shown(1024), "1 KiB");
        assert_eq!(shown(1000), "1000 B");
    }

    #[test]
    fn thousands_stand_apart() {
        let shown = |number| Thousands(number).to_string();
        assert_eq!(shown(0), "0");
        assert_eq!(shown(999), "999");
        assert_eq!(shown(1_000), "1,000");
        assert_eq!(shown(1_234_567), "1,234,567");
        assert_eq!(format!("{:>7}", Thousands::of(1_234.4)), "  1,234");
    }
}
