//! DescribeConfigs: a topic's settings from the image, the broker's from what it was started with.

use std::collections::BTreeMap;

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use corelog_protocol::kafka::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::settings::{self, Resource};
use crate::config::{ConfigDescription, ValueSource};
use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::partition::Refusal;
use crate::runtime::yield_now;

/// What one request is told of. All settings of so many, with what they are for, make some 20 MB.
const RESOURCES_MAX: usize = 2000;

/// A setting, and what it would be if the topic did not set it.
struct Setting {
    is: ConfigDescription,
    without: Option<ConfigDescription>,
    documentation: Option<String>,
}

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DescribeConfigsRequest<'_> = call.decode()?;
    let mut described = Vec::with_capacity(request.resources.len());
    for (number, resource) in request.resources.iter().enumerate() {
        described.push(match number {
            ..RESOURCES_MAX => describe(call, resource, request.include_documentation),
            _ => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("one request is told of {RESOURCES_MAX} resources: ask in several"),
            )),
        });
        yield_now().await;
    }
    let results = request.resources.iter().zip(&described);
    let results = results.map(|(resource, described)| {
        let (settings, refusal) = match described {
            Ok(settings) => (settings.as_slice(), None),
            Err(refusal) => (&[][..], Some(refusal)),
        };
        let settings = settings.iter();
        DescribeConfigsResult {
            error_code: refusal.map_or(ErrorCode::None.code(), |it| call.code(it.code)),
            error_message: refusal.map(|it| &*it.message),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs: settings
                .map(|it| result(it, request.include_synonyms))
                .collect(),
        }
    });
    Ok(call.reply(&DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }))
}

fn describe(
    call: &Call,
    resource: &DescribeConfigsResource<'_>,
    with_documentation: bool,
) -> Result<Vec<Setting>, Refusal> {
    let server = call.server();
    let (settings, without) =
        match Resource::new(call, resource.resource_type, resource.resource_name)? {
            Resource::Broker => (server.config.describe(), Vec::new()),
            Resource::Topic(name) => {
                let image = server.router.image();
                let topic = settings::find(&image, name)?;
                let defaults = image.topic_defaults();
                (
                    defaults.describe(&topic.configs),
                    defaults.describe(&BTreeMap::new()),
                )
            }
        };
    let mut without = without.into_iter();
    let settings = settings.into_iter().map(|is| Setting {
        documentation: with_documentation.then(|| is.documentation()),
        without: without.next(),
        is,
    });
    // Keys that nobody knows are passed over, as Kafka does it.
    let keys = resource.configuration_keys.as_deref();
    let is_asked = |it: &Setting| keys.is_none_or(|keys| keys.contains(&it.is.name));
    Ok(settings.filter(is_asked).collect())
}

fn result(setting: &Setting, with_synonyms: bool) -> DescribeConfigsResourceResult<'_> {
    let is = &setting.is;
    DescribeConfigsResourceResult {
        name: is.name,
        value: Some(&is.value),
        read_only: is.read_only,
        config_source: settings::source(is.source),
        is_sensitive: false,
        synonyms: match with_synonyms {
            true => synonyms(setting).collect(),
            false => Vec::new(),
        },
        config_type: settings::value_type(is.value_type()),
        documentation: setting.documentation.as_deref(),
    }
}

/// Where the value comes from, and what would be in its place, in turn.
fn synonyms(setting: &Setting) -> impl Iterator<Item = DescribeConfigsSynonym<'_>> {
    let is = &setting.is;
    let broker = setting.without.as_ref().unwrap_or(is);
    let by_topic = (is.source == ValueSource::Topic).then_some((is.name, &is.value, is.source));
    let by_broker = (broker.source == ValueSource::Broker).then_some((
        broker.broker_name,
        &broker.value,
        broker.source,
    ));
    let by_default = Some((broker.broker_name, &is.default_value, ValueSource::Default));
    let synonyms = [by_topic, by_broker, by_default].into_iter().flatten();
    synonyms.map(|(name, value, source)| DescribeConfigsSynonym {
        name,
        value: Some(value),
        source: settings::source(source),
    })
}
