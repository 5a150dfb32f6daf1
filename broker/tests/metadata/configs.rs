//! Settings of topics and of the broker are described, each with its source and its meaning.

use corelog_protocol::native::{
    ApiKey, ConfigDescription, ConfigResource, ConfigResourceDescription, ConfigSource, ConfigType,
    DescribeConfigsRequest, DescribeConfigsResponse, ErrorResponse, FrameKind,
};
use corelog_protocol::{BrokerId, ErrorCode};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, Connection, NewTopicBuilder};

fn describe(
    connection: &mut Connection,
    resources: Vec<ConfigResource>,
) -> Vec<ConfigResourceDescription> {
    let named = resources.clone();
    let response: DescribeConfigsResponse = connection.ask(&DescribeConfigsRequest { resources });
    for (described, resource) in response.resources.iter().zip(&named) {
        assert_eq!(
            (described.kind, &described.name),
            (resource.kind, &resource.name)
        );
    }
    assert_eq!(response.resources.len(), named.len());
    response.resources
}

fn of(resource: ConfigResource, keys: &[&str]) -> ConfigResource {
    ConfigResource {
        keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()),
        ..resource
    }
}

fn setting<'a>(described: &'a ConfigResourceDescription, name: &str) -> &'a ConfigDescription {
    assert_eq!(
        described.error,
        ErrorCode::None,
        "{:?}",
        described.error_message
    );
    let found = described
        .configs
        .iter()
        .find(|setting| setting.name == name);
    found.unwrap_or_else(|| panic!("{name} is not described"))
}

#[test]
fn every_setting_tells_its_source_and_its_meaning() {
    let folder = TempDir::new().unwrap();
    let settings = "broker.id = 7\nlog.retention.ms = \"1h\"\nlog.segment.bytes = \"2 MiB\"\n\
        group.consumer.assignors = [\"range\", \"uniform\"]\n";
    let broker = BrokerProcess::start_with(folder.path(), 2, settings);
    // Every shard tells the same.
    for shard in [0, 1] {
        let mut connection = broker.connect_to_shard(shard);
        let name = format!("tuned-{shard}");
        connection.create_topic(NewTopicBuilder::new(&name, 1).config("segment.bytes", "3 MiB"));
        let described = describe(
            &mut connection,
            vec![
                ConfigResource::topic(&name),
                ConfigResource::broker(BrokerId::new(7)),
            ],
        );
        let (topic, broker) = (&described[0], &described[1]);
        for (described, name, value, source, default) in [
            (
                topic,
                "segment.bytes",
                "3145728",
                ConfigSource::Topic,
                "1073741824",
            ),
            (
                topic,
                "retention.ms",
                "3600000",
                ConfigSource::Broker,
                "604800000",
            ),
            (topic, "durability", "sync", ConfigSource::Default, "sync"),
            (
                broker,
                "log.segment.bytes",
                "2097152",
                ConfigSource::Broker,
                "1073741824",
            ),
            (broker, "broker.id", "7", ConfigSource::Broker, "1"),
            (broker, "journal.files", "4", ConfigSource::Default, "4"),
            (
                broker,
                "group.consumer.assignors",
                "range,uniform",
                ConfigSource::Broker,
                "uniform,range",
            ),
        ] {
            let setting = setting(described, name);
            assert_eq!(setting.value, value, "{name}");
            assert_eq!(setting.source, source, "{name}");
            assert_eq!(setting.default_value, default, "{name}");
        }
        assert_eq!(
            setting(topic, "cleanup.policy").value_type,
            ConfigType::List
        );
        assert_eq!(
            setting(broker, "group.consumer.assignors").value_type,
            ConfigType::List
        );
        assert!(topic.configs.iter().all(|setting| !setting.read_only));
        assert!(broker.configs.iter().all(|setting| setting.read_only));
        for setting in topic.configs.iter().chain(&broker.configs) {
            let text = &setting.documentation;
            assert!(text.contains(". Allowed: "), "{}: {text}", setting.name);
        }
    }
}

#[test]
fn only_what_is_asked_for_is_described_and_what_is_unknown_is_named() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    connection.create_topic(NewTopicBuilder::new("there", 1));
    let there = || ConfigResource::topic("there");
    let this = || ConfigResource::broker(BrokerId::new(1));
    let many = vec!["segment.ms"; 1000];
    let described = describe(
        &mut connection,
        vec![
            of(there(), &["segment.ms", "durability", "segment.ms"]),
            of(there(), &[]),
            of(there(), &["segment.ms", "log.roll.ms"]),
            of(this(), &["log.roll.ms"]),
            of(this(), &["segment.ms"]),
            of(there(), &many),
            ConfigResource::topic("absent"),
            ConfigResource::broker(BrokerId::new(2)),
            ConfigResource {
                name: "one".to_owned(),
                ..this()
            },
        ],
    );
    let names: Vec<Vec<&str>> = described
        .iter()
        .map(|it| {
            it.configs
                .iter()
                .map(|setting| setting.name.as_str())
                .collect()
        })
        .collect();
    assert_eq!(names[0], ["durability", "segment.ms"]);
    assert_eq!(names[3], ["log.roll.ms"]);
    for empty in [1, 2, 4, 5, 6, 7, 8] {
        assert_eq!(names[empty], [""; 0]);
    }
    let errors: Vec<(ErrorCode, &str)> = described
        .iter()
        .map(|it| (it.error, it.error_message.as_deref().unwrap_or_default()))
        .collect();
    for (position, code, words) in [
        (0, ErrorCode::None, ""),
        (1, ErrorCode::None, ""),
        (
            2,
            ErrorCode::InvalidConfig,
            "`log.roll.ms` is not a topic setting",
        ),
        (3, ErrorCode::None, ""),
        (
            4,
            ErrorCode::InvalidConfig,
            "`segment.ms` is not a broker setting",
        ),
        (5, ErrorCode::InvalidRequest, "1000 settings are asked for"),
        (6, ErrorCode::UnknownTopicOrPartition, "no topic `absent`"),
        (7, ErrorCode::InvalidRequest, "this is broker 1"),
        (8, ErrorCode::InvalidRequest, "broker `one`"),
    ] {
        assert_eq!(
            errors[position].0, code,
            "{position}: {}",
            errors[position].1
        );
        assert!(errors[position].1.contains(words), "{}", errors[position].1);
    }
}

/// What one request may name fits a reply; one more is refused before it is described.
#[test]
fn a_request_names_a_bounded_number_of_resources() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 1);
    let mut connection = broker.connect();
    let most = DescribeConfigsRequest::MAX_RESOURCES;
    let this = ConfigResource::broker(BrokerId::new(1));
    let described = describe(&mut connection, vec![this.clone(); most]);
    assert!(described.iter().all(|it| it.error == ErrorCode::None));

    let resources = vec![this; most + 1];
    let id = connection.send(&DescribeConfigsRequest { resources }, &[]);
    let frame = connection.receive().expect("an answer");
    assert_eq!(frame.header.correlation_id, id);
    assert_eq!(frame.header.kind, FrameKind::Error);
    assert_eq!(frame.header.api, ApiKey::DescribeConfigs.code());
    let error = ErrorResponse::decode(&frame.metadata).unwrap();
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    assert!(
        error.message.contains("names 33 resources"),
        "{}",
        error.message
    );
}
