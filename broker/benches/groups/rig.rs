//! A broker of one core, on a folder in the target folder: the system's temporary directory may be
//! memory, without direct I/O.

use std::time::Duration;

use corelog_broker::broker::Broker;
use corelog_broker::config::{BrokerConfig, Cores, ListenAddress};
use corelog_client::{Admin, ClientConfig, NewTopic, TopicId};

/// Short, so that a death is noticed while one waits.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

pub(crate) struct Rig {
    pub(crate) broker: Broker,
    _folder: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let broker = Broker::start(BrokerConfig {
            data_dir: folder.path().to_owned(),
            listen: ListenAddress::new("127.0.0.1", 0),
            kafka_listen: None,
            http_listen: ListenAddress::new("127.0.0.1", 0),
            cores: Cores::Count(1),
            group_consumer_session_timeout: SESSION_TIMEOUT,
            group_consumer_min_session_timeout: SESSION_TIMEOUT,
            ..BrokerConfig::default()
        })?;
        Ok(Self {
            broker,
            _folder: folder,
        })
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let servers = self.broker.addresses().native.to_string();
        ClientConfig::new().set("bootstrap.servers", servers)
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        partitions: i32,
        durability: &str,
    ) -> anyhow::Result<TopicId> {
        let admin = Admin::new(&self.config()).await?;
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication_factor: None,
            configs: vec![("durability".to_owned(), durability.to_owned())],
        };
        let created = admin.create_topics(&[topic]).await?;
        let created = created.into_iter().next();
        Ok(created.expect("one was asked for")?.id)
    }
}
