//! The settings of a consumer in a group.

use std::time::Duration;

use super::keys::Keys;
use super::settings::MAX_MS;
use super::{ClientConfig, ConfigError, ConsumerSettings, Role};

/// Settings of a [`GroupConsumer`](crate::GroupConsumer).
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    pub(crate) consumer: ConsumerSettings,
    pub(crate) group_id: String,
    pub(crate) instance_id: Option<String>,
    /// The assignor wanted; none: the group's.
    pub(crate) assignor: Option<String>,
    pub(crate) rack: Option<String>,
    /// How often positions are committed by themselves, if they are.
    pub(crate) auto_commit: Option<Duration>,
    pub(crate) max_poll_interval: Duration,
}

impl GroupSettings {
    pub(crate) fn read(config: &ClientConfig) -> Result<Self, ConfigError> {
        let mut keys = Keys::of(config);
        let consumer = ConsumerSettings::read_keys(&mut keys)?;
        let group_id = name(&mut keys, "group.id")?;
        let instance_id = name(&mut keys, "group.instance.id")?;
        // Programs of Kafka's clients choose this one by name. There is no other here.
        keys.choice("group.protocol", (), &[("consumer", ())])?;
        let assignor = name(&mut keys, "group.remote.assignor")?;
        let rack = name(&mut keys, "client.rack")?;
        let automatic = keys.choice(
            "enable.auto.commit",
            true,
            &[("true", true), ("false", false)],
        )?;
        let interval = keys.millis("auto.commit.interval.ms", 5_000, 1..=MAX_MS)?;
        let settings = Self {
            consumer,
            group_id: group_id.ok_or(ConfigError::MissingValue { name: "group.id" })?,
            instance_id,
            assignor,
            rack,
            auto_commit: automatic.then_some(interval),
            max_poll_interval: keys.millis("max.poll.interval.ms", 300_000, 1..=MAX_MS)?,
        };
        keys.finish(Role::GroupConsumer)?;
        Ok(settings)
    }
}

/// A name, which is not empty where it is given.
fn name(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    match keys.text(key) {
        Some("") => Err(ConfigError::InvalidValue {
            name: key,
            value: String::new(),
            expected: "a name, or no such setting".to_owned(),
        }),
        text => Ok(text.map(str::to_owned)),
    }
}
