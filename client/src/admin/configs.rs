//! Settings of topics and brokers.

use corelog_protocol::ErrorCode;
use corelog_protocol::native::{
    AlterTopic, AlterTopicConfigsRequest, ConfigResourceDescription, DescribeConfigsRequest,
};

use super::{
    Admin, ConfigChange, ConfigDescription, ConfigResource, ConfigResourceKind, Repeat, accept,
    missing,
};
use crate::error::{AdminError, words};

impl Admin {
    /// Changes the configuration of one topic: all changes, or none.
    ///
    /// # Errors
    /// A change that is refused, or no answer within `default.api.timeout.ms`.
    pub async fn alter_topic_configs(
        &self,
        topic: &str,
        changes: &[ConfigChange],
    ) -> Result<(), AdminError> {
        let request = AlterTopicConfigsRequest {
            validate_only: false,
            topics: vec![AlterTopic {
                name: topic.to_owned(),
                changes: changes.to_vec(),
            }],
        };
        let response = self
            .call("altering a topic", &request, Repeat::Harmless)
            .await?;
        let answer = response
            .topics
            .into_iter()
            .find(|altered| altered.name == topic)
            .ok_or_else(|| missing("altering a topic", topic))?;
        accept(answer.error, &answer.error_message, topic)
    }

    /// Settings of topics and brokers: for each its value, where that comes from, its default, type and meaning. The
    /// results are in the order of the question.
    ///
    /// A broker's settings include those that give topics their defaults, and are read when it starts.
    ///
    /// # Errors
    /// No answer within `default.api.timeout.ms`, or a request that is refused as a whole. Per resource: one that does
    /// not exist, or a setting that it does not have.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<Vec<Result<Vec<ConfigDescription>, AdminError>>, AdminError> {
        const ACTION: &str = "describing settings";
        let mut described = Vec::with_capacity(resources.len());
        for some in resources.chunks(DescribeConfigsRequest::MAX_RESOURCES) {
            let request = DescribeConfigsRequest {
                resources: some.to_vec(),
            };
            let response = self.call(ACTION, &request, Repeat::Harmless).await?;
            // One that is asked about twice, for different settings, is told apart by the order alone.
            let mut answers = response.resources.into_iter();
            for resource in some {
                let answer = answers
                    .next()
                    .filter(|answer| answer.kind == resource.kind && answer.name == resource.name);
                let answer = answer.ok_or_else(|| missing_resource(ACTION, resource))?;
                described.push(settings(answer));
            }
        }
        Ok(described)
    }
}

fn settings(answer: ConfigResourceDescription) -> Result<Vec<ConfigDescription>, AdminError> {
    match answer.kind {
        _ if answer.error == ErrorCode::None => Ok(answer.configs),
        ConfigResourceKind::Topic => {
            accept(answer.error, &answer.error_message, &answer.name).map(|()| answer.configs)
        }
        ConfigResourceKind::Broker => Err(AdminError::Broker {
            broker: answer.name,
            code: answer.error,
            message: words(answer.error, answer.error_message.as_ref()),
        }),
    }
}

fn missing_resource(action: &'static str, resource: &ConfigResource) -> AdminError {
    match resource.kind {
        ConfigResourceKind::Topic => missing(action, &resource.name),
        ConfigResourceKind::Broker => AdminError::IncompleteAnswer {
            action,
            what: format!("broker {}", resource.name),
        },
    }
}
