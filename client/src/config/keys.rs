//! Reads typed values out of a [`ClientConfig`] and remembers which names were asked for: a name left over at the end is
//! one that this client does not have.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{ClientConfig, ConfigError, Role};

pub(super) struct Keys<'a> {
    config: &'a ClientConfig,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(config: &'a ClientConfig) -> Self {
        Self {
            config,
            known: Vec::with_capacity(32),
        }
    }

    /// The names asked for so far.
    pub(super) fn into_names(self) -> Vec<&'static str> {
        self.known
    }

    /// The text given for a name, if any.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        self.config.get(name).map(str::trim)
    }

    /// A whole number within a range.
    pub(super) fn number<N>(
        &mut self,
        name: &'static str,
        default: N,
        range: RangeInclusive<N>,
    ) -> Result<N, ConfigError>
    where
        N: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.parse::<N>()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| ConfigError::InvalidValue {
                name,
                value: text.to_owned(),
                expected: format!("a whole number from {} to {}", range.start(), range.end()),
            })
    }

    /// A time in milliseconds within a range.
    pub(super) fn millis(
        &mut self,
        name: &'static str,
        default_ms: u64,
        range_ms: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.number(name, default_ms, range_ms)
            .map(Duration::from_millis)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        choices
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                ConfigError::InvalidValue {
                    name,
                    value: text.to_owned(),
                    expected: format!("one of {}", words.join(", ")),
                }
            })
    }

    /// Refuses names that nobody asked for.
    pub(super) fn finish(mut self, role: Role) -> Result<(), ConfigError> {
        self.known.sort_unstable();
        for (name, _) in self.config.iter() {
            if self.known.binary_search(&name).is_err() {
                return Err(ConfigError::UnknownName {
                    name: name.to_owned(),
                    role: role.to_string(),
                    known: self.known.join(", "),
                });
            }
        }
        Ok(())
    }
}
