//! How each type of setting is read from text and written back.

use std::path::PathBuf;
use std::time::Duration;

use corelog_protocol::{BrokerId, Durability, TimestampType};

use super::allowed::LONGEST_MILLIS;
use super::{Allowed, ByteSize};

/// A type that a row of a configuration table can have.
pub(crate) trait ConfigValue: Sized {
    /// Reads `text`; `None` when it is not one of the allowed values.
    fn parse(text: &str, allowed: &Allowed) -> Option<Self>;

    /// Writes the value so that `parse` reads the same value back.
    fn text(&self, allowed: &Allowed) -> String;
}

impl ConfigValue for ByteSize {
    fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
        let number = allowed.number(text)?;
        Some(Self::bytes(u64::try_from(number).ok()?))
    }

    fn text(&self, _: &Allowed) -> String {
        self.get().to_string()
    }
}

impl ConfigValue for Duration {
    fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
        let number = u64::try_from(allowed.number(text)?).ok()?;
        Some(match allowed {
            Allowed::Micros { .. } => Self::from_micros(number),
            _ => Self::from_millis(number.min(LONGEST_MILLIS)),
        })
    }

    fn text(&self, allowed: &Allowed) -> String {
        match allowed {
            Allowed::Micros { .. } => self.as_micros().to_string(),
            _ => self.as_millis().to_string(),
        }
    }
}

macro_rules! integer_values {
    ($($integer:ty),+) => {$(
        impl ConfigValue for $integer {
            fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
                Self::try_from(allowed.number(text)?).ok()
            }

            fn text(&self, _: &Allowed) -> String {
                self.to_string()
            }
        }
    )+};
}

integer_values!(u16, u32, i32, u64, usize);

impl ConfigValue for BrokerId {
    fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
        Self::try_from(i32::parse(text, allowed)?).ok()
    }

    fn text(&self, _: &Allowed) -> String {
        self.get().to_string()
    }
}

impl ConfigValue for f64 {
    fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
        let Allowed::Decimal { min, max } = *allowed else {
            return None;
        };
        let number: Self = text.trim().parse().ok()?;
        (min..=max).contains(&number).then_some(number)
    }

    fn text(&self, _: &Allowed) -> String {
        self.to_string()
    }
}

impl ConfigValue for bool {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        text.trim().parse().ok()
    }

    fn text(&self, _: &Allowed) -> String {
        self.to_string()
    }
}

impl ConfigValue for String {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn text(&self, _: &Allowed) -> String {
        self.clone()
    }
}

impl ConfigValue for PathBuf {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn text(&self, _: &Allowed) -> String {
        self.display().to_string()
    }
}

/// `None` is the value that stands for "no limit", or the empty text.
impl<T: ConfigValue> ConfigValue for Option<T> {
    fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
        if allowed.unlimited().is_some() && allowed.number(text) == allowed.unlimited() {
            return Some(None);
        }
        if matches!(allowed, Allowed::OptionalText(_)) && text.trim().is_empty() {
            return Some(None);
        }
        T::parse(text, allowed).map(Some)
    }

    fn text(&self, allowed: &Allowed) -> String {
        match self {
            Some(value) => value.text(allowed),
            None => allowed
                .unlimited()
                .map(|value| value.to_string())
                .unwrap_or_default(),
        }
    }
}

macro_rules! named_values {
    ($($named:ty),+) => {$(
        impl ConfigValue for $named {
            fn parse(text: &str, _: &Allowed) -> Option<Self> {
                text.trim().parse().ok()
            }

            fn text(&self, _: &Allowed) -> String {
                self.name().to_owned()
            }
        }
    )+};
}

named_values!(Durability, TimestampType);
