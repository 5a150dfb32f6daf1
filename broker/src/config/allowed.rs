use std::fmt;

use super::ByteSize;

/// What a key accepts; shown in refusals and in the documentation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Allowed {
    /// A number of bytes, `min` to `max` inclusive. `unlimited`, where present, is the one number
    /// outside the range that stands for "no limit": Kafka writes it as -1 or as 2^63-1.
    Bytes {
        min: u64,
        max: u64,
        multiple_of: u64,
        unlimited: Option<i64>,
    },
    /// A duration in milliseconds.
    Millis {
        min: u64,
        max: u64,
        unlimited: Option<i64>,
    },
    /// A duration in microseconds.
    Micros {
        min: u64,
        max: u64,
    },
    Integer {
        min: i64,
        max: i64,
        unlimited: Option<i64>,
    },
    Decimal {
        min: f64,
        max: f64,
    },
    Boolean,
    /// Exactly one of these words.
    OneOf(&'static [&'static str]),
    /// One or more of these words, separated by commas.
    AnyOf(&'static [&'static str]),
    /// As `AnyOf`, but the order counts, so that none stands there twice.
    Ranked(&'static [&'static str]),
    /// Free text, described.
    Text(&'static str),
    /// As `Text`, and the empty text stands for "not set".
    OptionalText(&'static str),
}

/// The longest duration that a setting becomes: 2^63-1 ns, about 292 years. Longer ones mean the same
/// to anyone, and adding this one to a clock does not overflow.
pub(crate) const LONGEST_MILLIS: u64 = i64::MAX as u64 / 1_000_000;

const MILLIS_UNITS: [(&str, i64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const MICROS_UNITS: [(&str, i64); 3] = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];

impl Allowed {
    pub(crate) const fn bytes(min: ByteSize, max: ByteSize) -> Self {
        Self::Bytes {
            min: min.get(),
            max: max.get(),
            multiple_of: 1,
            unlimited: None,
        }
    }

    pub(crate) const fn blocks(min: ByteSize, max: ByteSize) -> Self {
        Self::Bytes {
            min: min.get(),
            max: max.get(),
            multiple_of: 4096,
            unlimited: None,
        }
    }

    pub(crate) const fn millis(min: u64, max: u64) -> Self {
        Self::Millis {
            min,
            max,
            unlimited: None,
        }
    }

    pub(crate) const fn integer(min: i64, max: i64) -> Self {
        Self::Integer {
            min,
            max,
            unlimited: None,
        }
    }

    /// Also takes `value`, outside the range, as "no limit".
    pub(crate) const fn or_unlimited(self, value: i64) -> Self {
        match self {
            Self::Bytes {
                min,
                max,
                multiple_of,
                ..
            } => Self::Bytes {
                min,
                max,
                multiple_of,
                unlimited: Some(value),
            },
            Self::Millis { min, max, .. } => Self::Millis {
                min,
                max,
                unlimited: Some(value),
            },
            Self::Integer { min, max, .. } => Self::Integer {
                min,
                max,
                unlimited: Some(value),
            },
            _ => panic!("only numbers have a value that stands for no limit"),
        }
    }

    pub(crate) const fn unlimited(&self) -> Option<i64> {
        match self {
            Self::Bytes { unlimited, .. }
            | Self::Millis { unlimited, .. }
            | Self::Integer { unlimited, .. } => *unlimited,
            _ => None,
        }
    }

    /// The number that `text` writes, if it is one of those allowed.
    pub(crate) fn number(&self, text: &str) -> Option<i64> {
        let number = match self {
            Self::Bytes { .. } => ByteSize::parse(text),
            Self::Millis { .. } => parse_with_unit(text, &MILLIS_UNITS),
            Self::Micros { .. } => parse_with_unit(text, &MICROS_UNITS),
            _ => text.trim().parse().ok(),
        }?;
        if self.unlimited() == Some(number) {
            return Some(number);
        }
        let allowed = match *self {
            Self::Bytes {
                min,
                max,
                multiple_of,
                ..
            } => u64::try_from(number)
                .is_ok_and(|n| (min..=max).contains(&n) && n.is_multiple_of(multiple_of)),
            Self::Millis { min, max, .. } | Self::Micros { min, max } => {
                u64::try_from(number).is_ok_and(|n| (min..=max).contains(&n))
            }
            Self::Integer { min, max, .. } => (min..=max).contains(&number),
            _ => false,
        };
        allowed.then_some(number)
    }
}

fn parse_with_unit(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    let unit = unit.trim();
    let scale = match unit {
        "" => 1,
        _ => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(scale)
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes {
                min,
                max,
                multiple_of,
                ..
            } => {
                write!(f, "a number of bytes from {min} to {max}")?;
                if multiple_of > 1 {
                    write!(f, " that is a multiple of {multiple_of}")?;
                }
            }
            Self::Millis { min, max, .. } => write!(f, "milliseconds from {min} to {max}")?,
            Self::Micros { min, max } => write!(f, "microseconds from {min} to {max}")?,
            Self::Integer { min, max, .. } => write!(f, "an integer from {min} to {max}")?,
            Self::Decimal { min, max } => write!(f, "a number from {min} to {max}")?,
            Self::Boolean => f.write_str("true or false")?,
            Self::OneOf([word]) => write!(f, "`{word}`")?,
            Self::OneOf(words) => write!(f, "one of `{}`", words.join("`, `"))?,
            Self::AnyOf(words) => write!(
                f,
                "one or more of `{}`, separated by commas",
                words.join("`, `")
            )?,
            Self::Ranked(words) => write!(
                f,
                "one or more of `{}`, separated by commas, none of them twice",
                words.join("`, `")
            )?,
            Self::Text(what) => f.write_str(what)?,
            Self::OptionalText(what) => write!(f, "{what}, or empty")?,
        }
        match self.unlimited() {
            Some(value) => write!(f, ", or {value} for no limit"),
            None => Ok(()),
        }
    }
}
