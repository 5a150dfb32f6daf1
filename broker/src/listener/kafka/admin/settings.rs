//! Settings as Kafka's messages have them.

use corelog_protocol::ErrorCode;

use crate::config::{ValueSource, ValueType};
use crate::listener::kafka::call::Call;
use crate::metadata::{MetadataImage, TopicImage};
use crate::partition::Refusal;

/// What has settings: the numbers are those of Kafka's `ConfigResource.Type`.
pub(super) enum Resource<'a> {
    Topic(&'a str),
    /// This broker.
    Broker,
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

impl<'a> Resource<'a> {
    /// # Errors
    /// It is nothing that has settings here.
    pub(super) fn new(call: &Call, kind: i8, name: &'a str) -> Result<Self, Refusal> {
        match kind {
            TOPIC => Ok(Self::Topic(name)),
            BROKER => {
                let nodes = &call.server().shared.nodes;
                let broker = name.parse().ok().and_then(|id| nodes.broker(id));
                broker.map(|_| Self::Broker).ok_or_else(|| {
                    let message = match name {
                        "" => "settings for all brokers are not kept by the cluster: each broker is started \
                               with its own"
                            .to_owned(),
                        name => format!("there is no broker `{name}`"),
                    };
                    Refusal::new(ErrorCode::InvalidRequest, message)
                })
            }
            kind => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!(
                    "there are no settings of resource type {kind}: topics (2) and brokers (4) have some"
                ),
            )),
        }
    }
}

pub(super) fn find<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a TopicImage, Refusal> {
    image.topic(name).map(|topic| &**topic).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic `{name}`"),
        )
    })
}

/// `ConfigSource` of Kafka's `DescribeConfigsResponse`.
pub(super) fn source(source: ValueSource) -> i8 {
    match source {
        ValueSource::Topic => 1,
        ValueSource::Broker => 4,
        ValueSource::Default => 5,
    }
}

/// `ConfigType` of Kafka's `DescribeConfigsResponse`.
pub(super) fn value_type(value_type: ValueType) -> i8 {
    match value_type {
        ValueType::Boolean => 1,
        ValueType::Text => 2,
        ValueType::Int => 3,
        ValueType::Long => 5,
        ValueType::Double => 6,
        ValueType::List => 7,
    }
}
