use std::fmt;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl ByteSize {
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// The size as a length in memory. Corelog runs on 64-bit machines only.
    pub const fn as_usize(self) -> usize {
        const { assert!(size_of::<usize>() == 8) }
        self.0 as usize
    }

    /// Reads `1048576`, `1 MiB` or `1MiB`. Units are powers of 1024 and say so: `MB` is refused,
    /// because half of its readers take it for a million.
    pub(crate) fn parse(text: &str) -> Option<i64> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().ok()?;
        let unit = unit.trim();
        let scale = match unit {
            "" | "B" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|&(_, scale)| scale as i64)?,
        };
        number.checked_mul(scale)
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides the size, so that nothing is rounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, scale) in UNITS {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(f, "{} {name}", self.0 / scale);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(ByteSize::parse("1048588"), Some(1_048_588));
        assert_eq!(ByteSize::parse("64 MiB"), Some(64 << 20));
        assert_eq!(ByteSize::parse("4kib"), Some(4096));
        assert_eq!(ByteSize::parse("-1"), Some(-1));
        for refused in [
            "",
            "MiB",
            "1 MB",
            "1.5 GiB",
            "9223372036854775807 TiB",
            "1 MiB 2",
        ] {
            assert_eq!(ByteSize::parse(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn sizes_are_shown_without_rounding() {
        assert_eq!(ByteSize::mib(64).to_string(), "64 MiB");
        assert_eq!(ByteSize::bytes(1_048_588).to_string(), "1048588 bytes");
    }
}
