//! `docs/configuration.md`, made from the tables.

use super::layers::variable_name;
use super::{Allowed, BrokerConfig, Key, TopicConfig};

const HEAD: &str = "\
# Configuration

This page is generated from the tables in `broker/src/config`; a test fails when it differs.

A broker reads its settings from a TOML file (`--config FILE`), then from the environment, then
from its flags; the later one wins. A key may be written dotted or in tables:

```toml
listen = \"0.0.0.0:9190\"
log.retention.ms = \"3d\"

[journal]
file.bytes = \"256 MiB\"
```

The environment variable of a key is its name in capitals with `_` for `.`, after `CORELOG_`:
`log.segment.bytes` is `CORELOG_LOG_SEGMENT_BYTES`. A variable with that prefix that names no key
stops the start, except `CORELOG_CONFIG` (the file), `CORELOG_BROKERS` and `CORELOG_LOG` (read by the
command-line tools) and those that begin with `CORELOG_TEST_`.

The flags are `--data-dir`, `--listen`, `--kafka-listen`, `--http-listen`, `--cores`, `--broker-id`, and
`--set KEY=VALUE` for every key. `--print-config` shows what is in force.

Bytes are written as a number or with `KiB`, `MiB`, `GiB`, `TiB`; milliseconds as a number or with
`ms`, `s`, `min`, `h`, `d`; microseconds as a number or with `us`, `ms`, `s`. An unknown key and a
value out of range stop the start, with the key's name and its range.
";

const TOPICS: &str = "
## Topics

A topic's own settings, with Kafka's names. The broker setting beside each one gives topics that do
not set it their default; it has the same range.

Values that exclude each other are refused when one of them is set: `segment.bytes` below
`max.message.bytes`, `min.compaction.lag.ms` above `max.compaction.lag.ms`, and `retention.ms` or
`retention.bytes` on a topic whose `cleanup.policy` is `compact` alone. The broker's settings behind
the first two must agree as well. A topic that an older version let contradict itself is served all
the same.
";

/// The whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Broker\n");
    let broker = BrokerConfig::default();
    for key in BrokerConfig::KEYS {
        entry(&mut page, key, &broker);
    }
    page.push_str(TOPICS);
    let topic = TopicConfig::default();
    for key in TopicConfig::KEYS {
        entry(&mut page, key, &topic);
    }
    page
}

fn entry<C>(page: &mut String, key: &Key<C>, default: &C) {
    let default = match (key.get(default), key.allowed) {
        (text, _) if text.is_empty() => "not set".to_owned(),
        (text, Allowed::Bytes { .. }) => match text.parse() {
            Ok(bytes) if bytes >= 1024 => {
                format!("`{text}` ({})", super::ByteSize::bytes(bytes))
            }
            _ => format!("`{text}`"),
        },
        (text, _) => format!("`{text}`"),
    };
    let set_by = match key.broker_name {
        Some(name) => format!("- Broker setting: `{name}` (`{}`)\n", variable_name(name)),
        None => format!("- Variable: `{}`\n", variable_name(key.name)),
    };
    page.push_str(&format!(
        "\n### `{}`\n\n{}\n\n- Default: {default}\n- Allowed: {}\n{set_by}",
        key.name,
        key.explanation(),
        key.allowed,
    ));
}
