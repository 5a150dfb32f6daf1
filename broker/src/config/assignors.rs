use std::fmt;

use super::Allowed;
use super::value::ConfigValue;

/// An assignor of consumer groups, by Kafka's names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Assignor {
    /// The same number of partitions for everybody, and as few moves as that allows.
    Uniform,
    /// Of every topic a range of neighbouring partitions, so that topics with the same number of
    /// partitions are cut at the same places; and as few moves as that allows.
    Range,
}

impl Assignor {
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range]
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// `group.consumer.assignors`: at least one, and none twice. Members choose among them; the first is
/// for groups of which no member asks for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignors(Vec<Assignor>);

impl Assignors {
    /// `None` without an assignor, and when one is named twice.
    pub fn new(assignors: Vec<Assignor>) -> Option<Self> {
        let is_first =
            |(position, assignor): (usize, &Assignor)| !assignors[..position].contains(assignor);
        let are_distinct = assignors.iter().enumerate().all(is_first);
        (are_distinct && !assignors.is_empty()).then_some(Self(assignors))
    }

    pub fn contains(&self, assignor: Assignor) -> bool {
        self.0.contains(&assignor)
    }

    /// The first.
    pub fn by_default(&self) -> Assignor {
        self.0[0]
    }
}

impl Default for Assignors {
    fn default() -> Self {
        Self(vec![Assignor::Uniform, Assignor::Range])
    }
}

/// Shows `uniform,range`.
impl fmt::Display for Assignors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|assignor| assignor.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl ConfigValue for Assignors {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        let named = text.split(',').map(|name| Assignor::from_name(name.trim()));
        Self::new(named.collect::<Option<_>>()?)
    }

    fn text(&self, _: &Allowed) -> String {
        self.to_string()
    }
}
