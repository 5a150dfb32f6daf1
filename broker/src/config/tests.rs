#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::layers::{key_names, variable_name};
use super::*;

fn broker_with(key: &str, value: &str) -> Result<BrokerConfig, ConfigError> {
    let mut layers = ConfigLayers::new();
    layers.flag(key, value)?;
    layers.build()
}

/// What every kind of setting accepts at its edges.
fn edges(allowed: &Allowed) -> Vec<String> {
    let numbers = |min: i128, max: i128| vec![min.to_string(), max.to_string()];
    let mut edges = match *allowed {
        Allowed::Bytes {
            min,
            max,
            multiple_of,
            ..
        } => numbers(
            min.next_multiple_of(multiple_of).into(),
            (max - max % multiple_of).into(),
        ),
        Allowed::Millis { min, max, .. } | Allowed::Micros { min, max } => {
            numbers(min.into(), max.into())
        }
        Allowed::Integer { min, max, .. } => numbers(min.into(), max.into()),
        Allowed::Decimal { min, max } => vec![min.to_string(), max.to_string()],
        Allowed::Boolean => vec!["true".to_owned(), "false".to_owned()],
        Allowed::OneOf(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Allowed::AnyOf(words) => vec![words.join(","), words[0].to_owned()],
        Allowed::Ranked(words) => {
            let backwards: Vec<&str> = words.iter().rev().copied().collect();
            vec![
                words.join(","),
                backwards.join(", "),
                words[0].to_owned(),
                backwards[0].to_owned(),
            ]
        }
        Allowed::Text(_) => Vec::new(),
        Allowed::OptionalText(_) => vec![String::new()],
    };
    edges.extend(allowed.unlimited().map(|value| value.to_string()));
    edges
}

/// What every kind of setting refuses, next to its edges and far from them.
fn outside(allowed: &Allowed) -> Vec<String> {
    let numbers = |min: i128, max: i128| {
        let unlimited = allowed.unlimited().map(i128::from);
        [
            min - 1,
            max + 1,
            i128::from(i64::MIN),
            i128::from(i64::MAX) + 1,
        ]
        .into_iter()
        .filter(|number| Some(*number) != unlimited)
        .map(|number| number.to_string())
        .collect()
    };
    let mut outside: Vec<String> = match *allowed {
        Allowed::Bytes { min, max, .. } => numbers(min.into(), max.into()),
        Allowed::Millis { min, max, .. } | Allowed::Micros { min, max } => {
            numbers(min.into(), max.into())
        }
        Allowed::Integer { min, max, .. } => numbers(min.into(), max.into()),
        Allowed::Decimal { min, max } => {
            vec![
                (min - 0.1).to_string(),
                (max + 0.1).to_string(),
                "NaN".to_owned(),
            ]
        }
        Allowed::OptionalText(_) => return Vec::new(),
        Allowed::Text(_) => return vec![String::new()],
        Allowed::Ranked(words) => vec![
            format!("{0},{0}", words[0]),
            format!("{},no such value", words[0]),
            format!("{},", words[0]),
            ",".to_owned(),
            words[0].to_uppercase(),
        ],
        Allowed::Boolean | Allowed::OneOf(_) | Allowed::AnyOf(_) => Vec::new(),
    };
    outside.extend(["", "no such value", "1 MB", "-"].map(str::to_owned));
    outside
}

fn check_key<C: Default + Clone + PartialEq + std::fmt::Debug>(key: &Key<C>) {
    let defaults = C::default();
    let mut reread = C::default();
    key.set(&mut reread, &key.get(&defaults))
        .unwrap_or_else(|error| panic!("the default is out of range: {error}"));
    assert_eq!(
        reread, defaults,
        "the default of `{}` changes when read back",
        key.name
    );

    for value in edges(&key.allowed) {
        let mut config = C::default();
        key.set(&mut config, &value)
            .unwrap_or_else(|error| panic!("an edge is refused: {error}"));
        let mut again = C::default();
        key.set(&mut again, &key.get(&config)).unwrap();
        assert_eq!(config, again, "`{}` = `{value}` is not read back", key.name);
    }
    for value in outside(&key.allowed) {
        let mut config = C::default();
        let Err(refused) = key.set(&mut config, &value) else {
            panic!("`{}` accepts `{value}`", key.name);
        };
        assert_eq!(config, defaults, "a refused value changed `{}`", key.name);
        let message = refused.to_string();
        assert!(message.contains(&format!("`{}`", key.name)), "{message}");
        assert!(message.contains(&key.allowed.to_string()), "{message}");
    }
}

#[test]
fn every_key_takes_its_default_and_its_edges_and_refuses_what_lies_outside() {
    for key in BrokerConfig::KEYS {
        check_key(key);
    }
    for key in TopicConfig::KEYS {
        check_key(key);
    }
}

#[test]
fn every_topic_setting_has_a_broker_setting_of_the_same_range() {
    for key in TopicConfig::KEYS {
        let broker_name = key.broker_name.unwrap();
        for value in outside(&key.allowed) {
            let message = broker_with(broker_name, &value).unwrap_err().to_string();
            assert!(message.contains(&format!("`{broker_name}`")), "{message}");
            assert!(message.contains(&key.allowed.to_string()), "{message}");
        }
    }
}

#[test]
fn names_are_unique_and_no_key_is_the_table_of_another() {
    let names: Vec<&str> = key_names().collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len());
    let variables: BTreeSet<String> = names.iter().map(|name| variable_name(name)).collect();
    assert_eq!(names.len(), variables.len());
    for name in &names {
        let inside = format!("{name}.");
        let clash = names.iter().find(|other| other.starts_with(&inside));
        assert_eq!(clash, None, "TOML cannot hold both `{name}` and it");
    }
}

#[test]
fn the_built_in_configuration_is_valid() {
    assert_eq!(
        ConfigLayers::new().build().unwrap(),
        BrokerConfig::default()
    );
}

#[test]
fn later_layers_win() {
    let mut layers = ConfigLayers::new();
    layers
        .file(
            "c.toml",
            r#"
            data.dir = "/a"
            listen = "127.0.0.1:1"
            log.segment.bytes = "2 MiB"
            cores = [0, 1]
            [log.retention]
            ms = "3d"
            "#,
        )
        .unwrap();
    let environment = [
        ("CORELOG_DATA_DIR", "/b"),
        ("CORELOG_LISTEN", "127.0.0.1:2"),
        ("CORELOG_TEST_ROUNDS", "7"),
        ("CORELOG_CONFIG", "c.toml"),
        ("PATH", "/bin"),
    ];
    layers
        .environment(environment.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .unwrap();
    layers.flag("listen", "127.0.0.1:3").unwrap();
    let config = layers.build().unwrap();
    assert_eq!(config.data_dir, Path::new("/b"));
    assert_eq!(config.listen, ListenAddress::new("127.0.0.1", 3));
    assert_eq!(config.cores, Cores::List(vec![0, 1]));
    assert_eq!(config.topic_defaults.segment_bytes, ByteSize::mib(2));
    assert_eq!(
        config.topic_defaults.retention_ms,
        Some(Duration::from_secs(3 * 86_400))
    );
}

#[test]
fn a_refusal_says_where_the_value_stands() {
    let mut layers = ConfigLayers::new();
    let refused = layers.file("c.toml", "[journal]\nfiles = 1").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "c.toml: `journal.files` cannot be `1`: it must be an integer from 2 to 64"
    );
    let refused = layers
        .environment([("CORELOG_CORES".to_owned(), "none".to_owned())])
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "CORELOG_CORES: `cores` cannot be `none`: it must be `all`, a number from 1 to 1024, \
         or a list such as `0,2-3`"
    );
}

#[test]
fn unknown_keys_are_refused_in_every_layer() {
    let mut layers = ConfigLayers::new();
    let refused = layers.flag("log.segment.byte", "1").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "command line: there is no setting `log.segment.byte`; did you mean `log.segment.bytes`?"
    );
    let refused = layers.file("c.toml", "[listen]\nport = 1").unwrap_err();
    assert!(matches!(refused, ConfigError::UnknownKey { key, .. } if key == "listen.port"));
    let refused = layers
        .environment([("CORELOG_LISTENS".to_owned(), "x".to_owned())])
        .unwrap_err();
    assert!(matches!(
        refused,
        ConfigError::UnknownKey {
            nearest: Some("listen"),
            ..
        }
    ));
    let refused = layers.file("c.toml", "listen = 2026-01-01").unwrap_err();
    assert!(matches!(refused, ConfigError::NotAValue { key, .. } if key == "listen"));
    let refused = layers.file("c.toml", "listen =").unwrap_err();
    assert!(refused.to_string().starts_with("c.toml: "), "{refused}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let mut layers = ConfigLayers::new();
    layers.flag("socket.request.max.bytes", "1 MiB").unwrap();
    layers.flag("message.max.bytes", "2 MiB").unwrap();
    let refused = layers.build().unwrap_err().to_string();
    assert_eq!(
        refused,
        "message.max.bytes (2097152) must not be above socket.request.max.bytes (1048576)"
    );
    let config = BrokerConfig {
        journal_files: 1,
        ..BrokerConfig::default()
    };
    let refused = config.validate().unwrap_err().to_string();
    assert!(refused.contains("`journal.files`"), "{refused}");
    assert!(broker_with("cluster.id", "a b").is_err());
    let shown_as_nodes = |id| broker_of(&[("broker.id", id), ("kafka.shard.listeners", "true")]);
    assert!(shown_as_nodes("2097151").is_ok());
    assert!(shown_as_nodes("2097152").is_err());
    assert!(broker_of(&[("broker.id", "2097152")]).is_ok());
}

fn broker_of(settings: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
    let mut layers = ConfigLayers::new();
    for (key, value) in settings {
        layers.flag(key, value)?;
    }
    layers.build()
}

#[test]
fn groups_have_kafkas_defaults() {
    let config = BrokerConfig::default();
    let default = |name| BrokerConfig::key(name).unwrap().get(&config);
    for (name, value) in [
        ("group.consumer.assignors", "uniform,range"),
        ("group.consumer.heartbeat.interval.ms", "5000"),
        ("group.consumer.max.heartbeat.interval.ms", "15000"),
        ("group.consumer.max.session.timeout.ms", "60000"),
        ("group.consumer.min.heartbeat.interval.ms", "5000"),
        ("group.consumer.min.session.timeout.ms", "45000"),
        ("group.consumer.session.timeout.ms", "45000"),
        ("group.initial.rebalance.delay.ms", "3000"),
        ("group.max.session.timeout.ms", "1800000"),
        ("group.max.size", "2147483647"),
        ("group.min.session.timeout.ms", "6000"),
    ] {
        assert_eq!(default(name), value, "{name}");
    }
}

#[test]
fn the_times_of_consumer_groups_lie_between_their_bounds() {
    for (key, value, refusal) in [
        (
            "group.consumer.session.timeout.ms",
            "44999",
            "group.consumer.session.timeout.ms (44999) must lie between \
             group.consumer.min.session.timeout.ms (45000) and \
             group.consumer.max.session.timeout.ms (60000)",
        ),
        (
            "group.consumer.session.timeout.ms",
            "60001",
            "group.consumer.session.timeout.ms (60001) must lie between \
             group.consumer.min.session.timeout.ms (45000) and \
             group.consumer.max.session.timeout.ms (60000)",
        ),
        (
            "group.consumer.min.session.timeout.ms",
            "60001",
            "group.consumer.min.session.timeout.ms (60001) must not be above \
             group.consumer.max.session.timeout.ms (60000)",
        ),
        (
            "group.consumer.heartbeat.interval.ms",
            "4999",
            "group.consumer.heartbeat.interval.ms (4999) must lie between \
             group.consumer.min.heartbeat.interval.ms (5000) and \
             group.consumer.max.heartbeat.interval.ms (15000)",
        ),
        (
            "group.consumer.heartbeat.interval.ms",
            "15001",
            "group.consumer.heartbeat.interval.ms (15001) must lie between \
             group.consumer.min.heartbeat.interval.ms (5000) and \
             group.consumer.max.heartbeat.interval.ms (15000)",
        ),
        (
            "group.consumer.max.heartbeat.interval.ms",
            "4999",
            "group.consumer.min.heartbeat.interval.ms (5000) must not be above \
             group.consumer.max.heartbeat.interval.ms (4999)",
        ),
        (
            "group.min.session.timeout.ms",
            "1800001",
            "group.min.session.timeout.ms (1800001) must not be above \
             group.max.session.timeout.ms (1800000)",
        ),
    ] {
        let refused = broker_with(key, value).unwrap_err().to_string();
        assert_eq!(refused, refusal);
    }
    for (key, value) in [
        ("group.consumer.session.timeout.ms", "60000"),
        ("group.consumer.min.session.timeout.ms", "1"),
        ("group.consumer.max.session.timeout.ms", "45000"),
        ("group.consumer.heartbeat.interval.ms", "15000"),
        ("group.min.session.timeout.ms", "1800000"),
    ] {
        broker_with(key, value).unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
    }
    // A heartbeat as rare as the session is long would come too late.
    let session = [
        ("group.consumer.session.timeout.ms", "5000"),
        ("group.consumer.min.session.timeout.ms", "5000"),
    ];
    assert_eq!(
        broker_of(&session).unwrap_err().to_string(),
        "group.consumer.heartbeat.interval.ms (5000) must be below \
         group.consumer.session.timeout.ms (5000)"
    );
}

#[test]
fn assignors_are_known_and_named_once() {
    for refused in ["", "sticky", "uniform,sticky", "range,range", "uniform,"] {
        let error = broker_with("group.consumer.assignors", refused).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "command line: `group.consumer.assignors` cannot be `{refused}`: it must be one or \
                 more of `uniform`, `range`, separated by commas, none of them twice"
            )
        );
    }
    let both = broker_with("group.consumer.assignors", "range, uniform").unwrap();
    let both = both.group_consumer_assignors;
    assert_eq!(both.by_default(), Assignor::Range);
    assert!(both.contains(Assignor::Uniform));

    let mut layers = ConfigLayers::new();
    let list = "group.consumer.assignors = [\"range\"]";
    layers.file("c.toml", list).unwrap();
    let range = layers.build().unwrap().group_consumer_assignors;
    assert_eq!(range.by_default(), Assignor::Range);
    assert!(!range.contains(Assignor::Uniform));
    let none = ConfigLayers::new().file("c.toml", "group.consumer.assignors = []");
    assert!(matches!(none, Err(ConfigError::Invalid { .. })), "{none:?}");
}

/// Sets `explicit` on a topic, of which `changed` just now, and returns the refusal.
fn disagreement(explicit: &[(&str, &str)], changed: &[&str]) -> Option<String> {
    let explicit: BTreeMap<String, String> = explicit
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let config = TopicConfig::default().with_explicit(&explicit).unwrap();
    let checked = config.check_agreement(&explicit, |name| changed.contains(&name));
    checked.err().map(|found| found.to_string())
}

#[test]
fn a_segment_smaller_than_a_batch_is_refused_in_terms_of_what_was_set() {
    let small_segment = [("segment.bytes", "65536")];
    assert_eq!(
        disagreement(&small_segment, &["segment.bytes"]).unwrap(),
        "`segment.bytes` cannot be `65536`: it must be a number of bytes from 1048588 to \
         2147483647, because `max.message.bytes` is `1048588`"
    );
    let both = [("segment.bytes", "65536"), ("max.message.bytes", "65537")];
    assert_eq!(
        disagreement(&both, &["max.message.bytes"]).unwrap(),
        "`max.message.bytes` cannot be `65537`: it must be a number of bytes from 0 to 65536, \
         because `segment.bytes` is `65536`"
    );
    let agreeing = [("segment.bytes", "65536"), ("max.message.bytes", "65536")];
    let all = ["segment.bytes", "max.message.bytes"];
    assert_eq!(disagreement(&agreeing, &all), None);
}

#[test]
fn compaction_lags_must_leave_a_time_to_compact() {
    let lags = [
        ("min.compaction.lag.ms", "1001"),
        ("max.compaction.lag.ms", "1000"),
    ];
    assert_eq!(
        disagreement(&lags, &["min.compaction.lag.ms"]).unwrap(),
        "`min.compaction.lag.ms` cannot be `1001`: it must be milliseconds from 0 to 1000, \
         because `max.compaction.lag.ms` is `1000`"
    );
    assert_eq!(
        disagreement(&lags, &["max.compaction.lag.ms"]).unwrap(),
        "`max.compaction.lag.ms` cannot be `1000`: it must be milliseconds from 1001 to \
         9223372036854775806, or 9223372036854775807 for no limit, because \
         `min.compaction.lag.ms` is `1001`"
    );
    // No limit is above every lag.
    let unlimited = [("min.compaction.lag.ms", "9223372036854775806")];
    assert_eq!(disagreement(&unlimited, &["min.compaction.lag.ms"]), None);
}

#[test]
fn a_topic_that_is_only_compacted_takes_no_retention() {
    for (name, value) in [("retention.ms", "1000"), ("retention.bytes", "0")] {
        let compacted = [("cleanup.policy", "compact"), (name, value)];
        assert_eq!(
            disagreement(&compacted, &[name]).unwrap(),
            format!(
                "`{name}` cannot be `{value}`: it must be -1 or not set, because \
                 `cleanup.policy` is `compact`"
            )
        );
        assert_eq!(
            disagreement(&compacted, &["cleanup.policy"]).unwrap(),
            format!(
                "`cleanup.policy` cannot be `compact`: it must be `delete` or \
                 `compact,delete`, because `{name}` is `{value}`"
            )
        );
        let both = [("cleanup.policy", "compact,delete"), (name, value)];
        assert_eq!(disagreement(&both, &["cleanup.policy", name]), None);
        let unlimited = [("cleanup.policy", "compact"), (name, "-1")];
        assert_eq!(disagreement(&unlimited, &["cleanup.policy", name]), None);
    }
    // The broker's default retention is nothing that the topic asked for.
    let inherited = [("cleanup.policy", "compact")];
    assert_eq!(disagreement(&inherited, &["cleanup.policy"]), None);
}

/// A topic of an older version may hold values that exclude each other. Its other settings can
/// still be changed, and one of the two can be taken away.
#[test]
fn an_old_contradiction_hinders_only_changes_of_its_own_settings() {
    let old = [("segment.bytes", "65536")];
    assert_eq!(disagreement(&old, &["flush.ms"]), None);
    assert_eq!(disagreement(&[], &["segment.bytes"]), None);
}

#[test]
fn a_brokers_defaults_for_topics_must_agree() {
    let refused = broker_with("log.segment.bytes", "64 KiB").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`log.segment.bytes` cannot be `65536`: it must be a number of bytes from 1048588 to \
         2147483647, because `message.max.bytes` is `1048588`"
    );
}

#[test]
fn a_topic_takes_its_own_settings_before_the_brokers() {
    let config = broker_with("log.retention.ms", "1h").unwrap();
    let explicit = BTreeMap::from([("segment.bytes".to_owned(), "65536".to_owned())]);
    let topic = config.topic_defaults.with_explicit(&explicit).unwrap();
    assert_eq!(topic.segment_bytes, ByteSize::kib(64));
    assert_eq!(topic.retention_ms, Some(Duration::from_secs(3600)));

    let described = config.topic_defaults.describe(&explicit);
    assert_eq!(described.len(), TopicConfig::KEYS.len());
    let of = |name| {
        let found = described.iter().find(|entry| entry.name == name).unwrap();
        (found.value.as_str(), found.source)
    };
    assert_eq!(of("segment.bytes"), ("65536", ValueSource::Topic));
    assert_eq!(of("retention.ms"), ("3600000", ValueSource::Broker));
    assert_eq!(of("retention.bytes"), ("-1", ValueSource::Default));
    assert_eq!(of("durability"), ("sync", ValueSource::Default));
}

/// The types that Kafka documents for settings of these names.
#[test]
fn settings_have_kafkas_types() {
    let described = TopicConfig::default().describe(&BTreeMap::new());
    let broker = BrokerConfig::default().describe();
    let type_of = |name| {
        let mut all = described.iter().chain(&broker);
        let found = all.find(|entry| entry.name == name);
        found.unwrap_or_else(|| panic!("{name}")).value_type()
    };
    for (name, expected) in [
        ("cleanup.policy", ValueType::List),
        ("compression.type", ValueType::Text),
        ("connections.max.idle.ms", ValueType::Long),
        ("fetch.max.bytes", ValueType::Int),
        ("flush.messages", ValueType::Long),
        ("group.consumer.assignors", ValueType::List),
        ("group.max.size", ValueType::Int),
        ("index.interval.bytes", ValueType::Int),
        ("log.cleaner.backoff.ms", ValueType::Long),
        ("log.cleaner.enable", ValueType::Boolean),
        ("max.message.bytes", ValueType::Int),
        ("message.timestamp.type", ValueType::Text),
        ("min.cleanable.dirty.ratio", ValueType::Double),
        ("min.insync.replicas", ValueType::Int),
        ("num.partitions", ValueType::Int),
        ("preallocate", ValueType::Boolean),
        ("retention.bytes", ValueType::Long),
        ("retention.ms", ValueType::Long),
        ("segment.bytes", ValueType::Int),
        ("socket.request.max.bytes", ValueType::Int),
    ] {
        assert_eq!(type_of(name), expected, "{name}");
    }
}

#[test]
fn a_description_tells_value_default_source_and_meaning() {
    let config = broker_with("log.segment.bytes", "2 MiB").unwrap();
    let explicit = BTreeMap::from([("segment.bytes".to_owned(), "1048576".to_owned())]);
    let of_topic = config.topic_defaults.describe(&explicit);
    let topic = of_topic
        .iter()
        .find(|it| it.name == "segment.bytes")
        .unwrap();
    let of_broker = config.describe();
    let broker = of_broker
        .iter()
        .find(|it| it.name == "log.segment.bytes")
        .unwrap();
    assert_eq!(
        (&*topic.value, topic.source),
        ("1048576", ValueSource::Topic)
    );
    assert_eq!(
        (&*broker.value, broker.source),
        ("2097152", ValueSource::Broker)
    );
    for description in [topic, broker] {
        assert_eq!(description.default_value, "1073741824");
        assert_eq!(
            description.documentation(),
            "A segment file is closed, and the next one started, before it would grow past this. \
             Allowed: a number of bytes from 16384 to 2147483647."
        );
    }
    assert!(!topic.read_only, "it can be altered");
    assert!(of_broker.iter().all(|description| description.read_only));
}

#[test]
fn a_broker_describes_every_setting_it_can_be_given() {
    let described = BrokerConfig::default().describe();
    let names: Vec<&str> = described.iter().map(|entry| entry.name).collect();
    assert_eq!(names, key_names().collect::<Vec<_>>());
    for description in described {
        assert_eq!(description.source, ValueSource::Default);
        assert_eq!(description.value, description.default_value);
        let documentation = description.documentation();
        assert!(documentation.contains(". Allowed: "), "{documentation}");
    }
}

#[test]
fn kafkas_way_to_say_never_is_understood() {
    let explicit = BTreeMap::from([("segment.ms".to_owned(), i64::MAX.to_string())]);
    let topic = TopicConfig::default().with_explicit(&explicit).unwrap();
    assert!(topic.segment_ms > Duration::from_secs(290 * 365 * 86_400));
    let far = std::time::SystemTime::now().checked_add(topic.segment_ms);
    assert!(far.is_some());
}

#[test]
fn topic_settings_are_stored_in_kafkas_spelling() {
    assert_eq!(
        TopicConfig::canonical("retention.ms", "7d").unwrap(),
        "604800000"
    );
    assert_eq!(
        TopicConfig::canonical("segment.bytes", "1 MiB").unwrap(),
        "1048576"
    );
    assert_eq!(
        TopicConfig::canonical("cleanup.policy", "delete, compact").unwrap(),
        "compact,delete"
    );
    assert_eq!(
        TopicConfig::canonical("flush.ms", "9223372036854775807").unwrap(),
        "9223372036854775807"
    );
    assert_eq!(
        TopicConfig::canonical("compression.type", "zstd")
            .unwrap_err()
            .to_string(),
        "`compression.type` cannot be `zstd`: it must be `producer`"
    );
    assert_eq!(
        TopicConfig::canonical("segment.size", "1")
            .unwrap_err()
            .to_string(),
        "`segment.size` is not a topic setting"
    );
}

/// Set `CORELOG_TEST_REGENERATE=1` to write the page anew.
#[test]
fn the_documentation_matches_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = document::page();
    if std::env::var_os("CORELOG_TEST_REGENERATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "docs/configuration.md differs from the tables: run this test with \
         CORELOG_TEST_REGENERATE=1"
    );
}

proptest! {
    /// Whatever a stranger writes, it is taken and read back as the same value, or refused.
    #[test]
    fn any_text_is_refused_or_read_back(value in any_value()) {
        for key in BrokerConfig::KEYS {
            let mut config = BrokerConfig::default();
            if key.set(&mut config, &value).is_ok() {
                let mut again = BrokerConfig::default();
                key.set(&mut again, &key.get(&config)).unwrap();
                prop_assert_eq!(&config, &again);
            } else {
                prop_assert_eq!(&config, &BrokerConfig::default());
            }
        }
        for key in TopicConfig::KEYS {
            let mut config = TopicConfig::default();
            if key.set(&mut config, &value).is_ok() {
                let mut again = TopicConfig::default();
                key.set(&mut again, &key.get(&config)).unwrap();
                prop_assert_eq!(&config, &again);
            }
        }
    }

    /// A number is accepted exactly when it lies in the key's range.
    #[test]
    fn numbers_are_accepted_within_the_range_only(number: i64) {
        for key in TopicConfig::KEYS {
            let expected = match key.allowed {
                Allowed::Bytes { min, max, .. } | Allowed::Millis { min, max, .. } => {
                    u64::try_from(number).is_ok_and(|n| (min..=max).contains(&n))
                }
                Allowed::Integer { min, max, .. } => (min..=max).contains(&number),
                _ => continue,
            } || key.allowed.unlimited() == Some(number);
            let outcome = key.set(&mut TopicConfig::default(), &number.to_string());
            prop_assert_eq!(outcome.is_ok(), expected, "{} = {}", key.name, number);
        }
    }

    #[test]
    fn any_file_is_taken_or_refused_without_a_panic(text in "\\PC{0,200}") {
        let _ = ConfigLayers::new().file("c.toml", &text);
    }
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        "-?[0-9]{1,20} ?(|ms|s|min|h|d|us|B|KiB|MiB|GiB|TiB)",
        "[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{0,4})?",
        "(delete|compact|sync|true|all|CreateTime)(,(delete|compact))?",
        "(uniform|range)(, ?(uniform|range)){0,2}",
        "[a-z0-9:\\[\\]]{0,12}:[0-9]{0,6}",
    ]
}
