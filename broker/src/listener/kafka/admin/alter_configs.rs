//! AlterConfigs, which replaces all that a topic sets, and IncrementalAlterConfigs (KIP-339), which changes it setting by
//! setting. The broker's own settings are those that it is started with.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs, incremental_alter_configs,
};

use super::in_place;
use super::settings::{self, Resource};
use crate::config::{ConfigDescription, ValueType};
use crate::controller::{AlterTopic, Command, ConfigChange, Outcome};
use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::topics::wrong_outcome;
use crate::partition::Refusal;

/// `AlterConfigOp.OpType` of Kafka.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(in crate::listener::kafka) async fn replace(call: &Call) -> Result<Answer, Close> {
    use alter_configs::AlterConfigsResourceResponse;
    let request: AlterConfigsRequest<'_> = call.decode()?;
    let image = call.server().router.image();
    let wishes = request.resources.iter().map(|resource| {
        let name = topic(call, resource.resource_type, resource.resource_name)?;
        let topic = settings::find(&image, name)?;
        let mut changes: Vec<_> = resource
            .configs
            .iter()
            .map(|config| Ok(set(config.name, some_value(config.name, config.value)?)))
            .collect::<Result<_, Refusal>>()?;
        let is_named = |name: &str| resource.configs.iter().any(|it| it.name == name);
        let unset = topic.configs.keys().filter(|name| !is_named(name));
        changes.extend(unset.map(|name| unset_setting(name)));
        Ok(AlterTopic {
            name: name.to_owned(),
            changes,
        })
    });
    let results = alter(call, wishes.collect(), request.validate_only).await;
    let responses = request.resources.iter().zip(&results);
    let responses = responses.map(|(resource, refusal)| AlterConfigsResourceResponse {
        error_code: code(call, refusal),
        error_message: message(refusal),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    Ok(call.reply(&AlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    }))
}

pub(in crate::listener::kafka) async fn incrementally(call: &Call) -> Result<Answer, Close> {
    use incremental_alter_configs::AlterConfigsResourceResponse;
    let request: IncrementalAlterConfigsRequest<'_> = call.decode()?;
    let image = call.server().router.image();
    let wishes = request.resources.iter().map(|resource| {
        let name = topic(call, resource.resource_type, resource.resource_name)?;
        let topic = settings::find(&image, name)?;
        let in_force = image.topic_defaults().describe(&topic.configs);
        let changes = resource
            .configs
            .iter()
            .map(|config| change(&in_force, config));
        Ok(AlterTopic {
            name: name.to_owned(),
            changes: changes.collect::<Result<_, _>>()?,
        })
    });
    let results = alter(call, wishes.collect(), request.validate_only).await;
    let responses = request.resources.iter().zip(&results);
    let responses = responses.map(|(resource, refusal)| AlterConfigsResourceResponse {
        error_code: code(call, refusal),
        error_message: message(refusal),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    Ok(call.reply(&IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    }))
}

/// The topic whose settings are to change.
fn topic<'a>(call: &Call, kind: i8, name: &'a str) -> Result<&'a str, Refusal> {
    match Resource::new(call, kind, name)? {
        Resource::Topic(name) => Ok(name),
        Resource::Broker => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "a broker's settings do not change while it runs: start it with others",
        )),
    }
}

/// What a resource's request became: why it was refused, if it was.
async fn alter(
    call: &Call,
    wishes: Vec<Result<AlterTopic, Refusal>>,
    validate_only: bool,
) -> Vec<Option<Refusal>> {
    let router = &call.server().router;
    let results = in_place(wishes, async |topics| {
        let command = Command::AlterTopicConfigs {
            topics,
            validate_only,
        };
        match router.control(command).await {
            Ok(Outcome::AlterTopicConfigs(results)) => Ok(results),
            other => Err(wrong_outcome(other)),
        }
    });
    results.await.into_iter().map(Result::err).collect()
}

fn code(call: &Call, refusal: &Option<Refusal>) -> i16 {
    let code = refusal.as_ref().map_or(ErrorCode::None, |it| it.code);
    call.code(code)
}

fn message(refusal: &Option<Refusal>) -> Option<&str> {
    refusal.as_ref().map(|it| &*it.message)
}

fn change(
    in_force: &[ConfigDescription],
    config: &incremental_alter_configs::AlterableConfig<'_>,
) -> Result<ConfigChange, Refusal> {
    let name = config.name;
    let value = || some_value(name, config.value);
    match config.config_operation {
        SET => Ok(set(name, value()?)),
        DELETE => Ok(unset_setting(name)),
        APPEND => {
            let (mut list, given) = (list(in_force, name)?, value()?);
            for item in items(given) {
                if !list.contains(&item) {
                    list.push(item);
                }
            }
            Ok(set(name, &list.join(",")))
        }
        SUBTRACT => {
            let (mut list, given) = (list(in_force, name)?, value()?);
            list.retain(|item| items(given).all(|it| it != *item));
            Ok(set(name, &list.join(",")))
        }
        other => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "there is no operation {other} on `{name}`: set is {SET}, delete {DELETE}, append {APPEND}, \
                 subtract {SUBTRACT}"
            ),
        )),
    }
}

/// The values of a setting that is a list.
fn list<'a>(in_force: &'a [ConfigDescription], name: &str) -> Result<Vec<&'a str>, Refusal> {
    let setting = in_force.iter().find(|it| it.name == name);
    match setting {
        Some(setting) if setting.value_type() == ValueType::List => {
            Ok(items(&setting.value).collect())
        }
        _ => Err(Refusal::new(
            ErrorCode::InvalidConfig,
            format!("`{name}` is no list: nothing can be appended to it or subtracted from it"),
        )),
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn some_value<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, Refusal> {
    value.ok_or_else(|| {
        Refusal::new(
            ErrorCode::InvalidConfig,
            format!("`{name}` is null: leave it out, or give it a value"),
        )
    })
}

fn set(name: &str, value: &str) -> ConfigChange {
    ConfigChange {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    }
}

fn unset_setting(name: &str) -> ConfigChange {
    ConfigChange {
        name: name.to_owned(),
        value: None,
    }
}
