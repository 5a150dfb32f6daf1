//! Subscriptions by regular expression.
//!
//! Kafka 4 takes RE2's syntax, which knows neither look-around nor back-references and so matches
//! in linear time; crate `regex` is of the same family. A pattern must match a whole name.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::{GroupError, Topics};

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 8 * 1024;
/// What a compiled pattern may occupy: `(a{1000}){1000}` is short, too.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Compiles a pattern that a stranger sent.
pub(super) fn compile(pattern: &str) -> Result<Regex, GroupError> {
    let refused = |reason: String| GroupError::InvalidPattern {
        pattern: shortened(pattern),
        reason,
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(refused(format!(
            "a pattern has at most {PATTERN_BYTES_MAX} bytes"
        )));
    }
    let compiled = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| refused(error.to_string()))
    };
    // By itself first: `a)|(b` is not valid, although it becomes so within the parentheses. (A
    // comment at the end of a verbose pattern hides the parenthesis, and so is refused.)
    compiled(pattern)?;
    compiled(&format!(r"\A(?:{pattern})\z"))
}

/// The names of the topics that a pattern means. Internal topics are left out: `.*` would read the
/// offsets that it makes the group commit.
pub(super) fn resolve(pattern: &Regex, topics: &Topics) -> BTreeSet<String> {
    topics
        .iter()
        .filter(|(name, topic)| !topic.internal && pattern.is_match(name))
        .map(|(name, _)| name.to_string())
        .collect()
}

fn shortened(pattern: &str) -> String {
    pattern.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corelog_protocol::{ErrorCode, TopicId};

    use super::*;
    use crate::group::consumer::Topic;

    fn meant(pattern: &str, names: &[&str]) -> Vec<String> {
        let topic = |internal| Topic {
            id: TopicId::random(),
            partitions: 1,
            internal,
        };
        let topics = names
            .iter()
            .map(|name| (Arc::from(*name), topic(name.starts_with("__"))));
        let topics = Topics::new(1, topics);
        let pattern = compile(pattern).expect("valid");
        resolve(&pattern, &topics).into_iter().collect()
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert_eq!(meant("log", &["log", "logs", "my-log"]), ["log"]);
        assert_eq!(meant("a|bc", &["a", "ac", "bc", "abc"]), ["a", "bc"]);
        assert_eq!(meant("log.*", &["log", "logs", "my-log"]), ["log", "logs"]);
    }

    #[test]
    fn a_pattern_does_not_mean_internal_topics() {
        assert_eq!(meant(".*", &["__consumer_offsets", "log"]), ["log"]);
    }

    #[test]
    fn patterns_that_do_not_compile_or_grow_too_large_are_refused() {
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        for pattern in [
            "[",
            "a)|(b",
            r"(a)\1",
            "(?=a)",
            "(a{1000}){1000}",
            "(?x)a # b",
            &long,
        ] {
            let refused = compile(pattern).expect_err(pattern);
            assert_eq!(refused.code(), ErrorCode::InvalidRegularExpression);
        }
    }
}
