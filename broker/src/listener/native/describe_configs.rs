//! DescribeConfigs: a topic's settings from the image, the broker's from what it was started with.

use corelog_protocol::ErrorCode;
use corelog_protocol::native::messages::{
    self, ConfigResource, ConfigResourceDescription, ConfigResourceKind, ConfigType,
    DescribeConfigsRequest, DescribeConfigsResponse,
};

use super::describe_topics::config_source;
use crate::config::{BrokerConfig, ConfigDescription, ValueType};
use crate::partition::Refusal;
use crate::shard::Router;

/// # Errors
/// The request names more resources than one reply can describe.
pub(super) fn answer(
    router: &Router,
    config: &BrokerConfig,
    request: DescribeConfigsRequest,
) -> Result<DescribeConfigsResponse, Refusal> {
    let (named, most) = (
        request.resources.len(),
        DescribeConfigsRequest::MAX_RESOURCES,
    );
    if named > most {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("the request names {named} resources, one may name {most}: ask in several"),
        ));
    }
    let resources = request
        .resources
        .into_iter()
        .map(|resource| describe(router, config, resource))
        .collect();
    Ok(DescribeConfigsResponse { resources })
}

fn describe(
    router: &Router,
    config: &BrokerConfig,
    resource: ConfigResource,
) -> ConfigResourceDescription {
    let described = settings(router, config, &resource);
    let described = described.and_then(|settings| select(settings, &resource));
    let (error, configs) = match described {
        Ok(configs) => (None, configs),
        Err(refusal) => (Some(refusal), Vec::new()),
    };
    ConfigResourceDescription {
        kind: resource.kind,
        name: resource.name,
        error: error
            .as_ref()
            .map_or(ErrorCode::None, |refusal| refusal.code),
        error_message: error.map(|refusal| refusal.message.into_owned()),
        configs: configs.into_iter().map(message).collect(),
    }
}

/// All settings of a resource.
fn settings(
    router: &Router,
    config: &BrokerConfig,
    resource: &ConfigResource,
) -> Result<Vec<ConfigDescription>, Refusal> {
    let name = &resource.name;
    match resource.kind {
        ConfigResourceKind::Topic => {
            let image = router.image();
            let topic = image.topic(name).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no topic `{name}`"),
                )
            })?;
            Ok(image.topic_defaults().describe(&topic.configs))
        }
        ConfigResourceKind::Broker => {
            let id = router.broker_id();
            if *name == id.to_string() {
                return Ok(config.describe());
            }
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("this is broker {id}, which does not know the settings of broker `{name}`"),
            ))
        }
    }
}

/// Those of the settings that were asked for.
fn select(
    mut settings: Vec<ConfigDescription>,
    resource: &ConfigResource,
) -> Result<Vec<ConfigDescription>, Refusal> {
    let Some(keys) = &resource.keys else {
        return Ok(settings);
    };
    // No more keys than there are settings: looking them up must not keep the core busy.
    if keys.len() > settings.len() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "{} settings are asked for, there are {}",
                keys.len(),
                settings.len()
            ),
        ));
    }
    let unknown = keys
        .iter()
        .find(|key| !settings.iter().any(|setting| setting.name == **key));
    if let Some(key) = unknown {
        let kind = match resource.kind {
            ConfigResourceKind::Topic => "topic",
            ConfigResourceKind::Broker => "broker",
        };
        return Err(Refusal::new(
            ErrorCode::InvalidConfig,
            format!("`{key}` is not a {kind} setting"),
        ));
    }
    settings.retain(|setting| keys.iter().any(|key| key == setting.name));
    Ok(settings)
}

fn message(setting: ConfigDescription) -> messages::ConfigDescription {
    messages::ConfigDescription {
        name: setting.name.to_owned(),
        source: config_source(setting.source),
        read_only: setting.read_only,
        value_type: match setting.value_type() {
            ValueType::Boolean => ConfigType::Boolean,
            ValueType::Text => ConfigType::Text,
            ValueType::Int => ConfigType::Int,
            ValueType::Long => ConfigType::Long,
            ValueType::Double => ConfigType::Double,
            ValueType::List => ConfigType::List,
        },
        documentation: setting.documentation(),
        value: setting.value,
        default_value: setting.default_value,
    }
}
