//! `meta.properties`: Kafka's file (`org.apache.kafka.metadata.properties`), with our format version.

use std::path::Path;

use corelog_protocol::{BrokerId, TopicId};

use super::DataDirError;
use crate::config::{BrokerConfig, is_cluster_id};

/// The version of Kafka's file.
const KAFKA_VERSION: &str = "1";

/// The version of what stands below the folder: journals, checkpoints, metadata.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Why the file cannot be used.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Unusable {
    NewerFormat {
        found: u32,
    },
    /// What is wrong, in words.
    Damaged(String),
}

/// What a data folder says about itself. Fixed at its first use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Properties {
    pub(super) cluster_id: String,
    pub(super) node_id: BrokerId,
    pub(super) directory_id: String,
}

impl Properties {
    /// Draws the ids of a new folder.
    pub(super) fn draw(broker_id: BrokerId, cluster_id: Option<&str>) -> Self {
        // Kafka's cluster and directory ids are UUIDs in the same spelling as its topic ids.
        let random_id = || TopicId::random().to_string();
        Self {
            cluster_id: cluster_id.map_or_else(random_id, str::to_owned),
            node_id: broker_id,
            directory_id: random_id(),
        }
    }

    pub(super) fn to_text(&self) -> String {
        format!(
            "# Written by Corelog at the first start in this folder. Do not edit.\n\
             version={KAFKA_VERSION}\n\
             cluster.id={}\n\
             node.id={}\n\
             directory.id={}\n\
             corelog.format.version={FORMAT_VERSION}\n",
            self.cluster_id, self.node_id, self.directory_id
        )
    }

    /// Reads what [`Properties::to_text`] wrote; keys that a later version added are left aside.
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let value = |name: &str| {
            text.lines()
                .map(str::trim)
                .filter(|line| !line.starts_with(['#', '!']))
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim())
                .ok_or_else(|| Unusable::Damaged(format!("`{name}` is missing")))
        };
        let invalid =
            |name: &str, value: &str| Unusable::Damaged(format!("`{name}` cannot be `{value}`"));
        // First the format, because a newer one may mean anything by the other keys.
        let format = value("corelog.format.version")?;
        match format.parse() {
            Ok(1..=FORMAT_VERSION) => {}
            Ok(found) if found > FORMAT_VERSION => return Err(Unusable::NewerFormat { found }),
            _ => return Err(invalid("corelog.format.version", format)),
        }
        let node = value("node.id")?;
        let node_id: i32 = node.parse().map_err(|_| invalid("node.id", node))?;
        let cluster_id = value("cluster.id")?;
        if !is_cluster_id(cluster_id) {
            return Err(invalid("cluster.id", cluster_id));
        }
        let version = value("version")?;
        if version != KAFKA_VERSION {
            return Err(invalid("version", version));
        }
        Ok(Self {
            cluster_id: cluster_id.to_owned(),
            node_id: BrokerId::try_from(node_id).map_err(|_| invalid("node.id", node))?,
            directory_id: value("directory.id")?.to_owned(),
        })
    }

    /// Refuses a folder that is not this broker's.
    pub(super) fn check(&self, folder: &Path, config: &BrokerConfig) -> Result<(), DataDirError> {
        let path = || folder.display().to_string();
        if self.node_id != config.broker_id {
            return Err(DataDirError::OtherBroker {
                path: path(),
                found: self.node_id,
                configured: config.broker_id,
            });
        }
        match &config.cluster_id {
            Some(configured) if *configured != self.cluster_id => Err(DataDirError::OtherCluster {
                path: path(),
                found: self.cluster_id.clone(),
                configured: configured.clone(),
            }),
            _ => Ok(()),
        }
    }
}
