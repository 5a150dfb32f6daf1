//! Kafka's rules for the names of topics (`org.apache.kafka.common.internals.Topic`).

use crate::metadata::TOPIC_NAME_BYTES_MAX;

/// What is wrong with the name, in words.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a topic's name must not be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("a topic cannot be named `{name}`"));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(format!(
            "a topic's name has at most {TOPIC_NAME_BYTES_MAX} characters, this one has {}",
            name.len()
        ));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|&c| !legal(c)) {
        Some(illegal) => Err(format!(
            "a topic's name consists of ASCII letters, digits, `.`, `_` and `-`; found {illegal:?}"
        )),
        None => Ok(()),
    }
}

/// The name as metric systems see it, which do not tell `.` from `_`: two topics must not share it.
pub(super) fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// True for names that can collide with another one.
pub(super) fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        let longest = "a".repeat(249);
        for legal in ["orders", "a.b_c-D9", "...", "_", &longest] {
            assert_eq!(check_name(legal), Ok(()), "{legal}");
        }
        let too_long = "a".repeat(250);
        for illegal in ["", ".", "..", "a/b", "a b", "é", "a\0", "a:b", &too_long] {
            assert!(check_name(illegal).is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("a-b"));
        assert!(may_collide("a.b") && may_collide("_") && !may_collide("a-b"));
    }
}
