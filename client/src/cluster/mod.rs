//! The cluster as one client sees it: its metadata, and a connection to each (broker, shard) that is needed.
//!
//! A connection is opened when first asked for and again after it ended; only one attempt per address is under way, and
//! attempts back off. Metadata is an immutable image that is replaced as a whole: readers never wait.

mod image;
mod slot;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use corelog_protocol::native::{MetadataRequest, TopicSelector};
use rand::seq::SliceRandom;
use tokio::time::Instant;
use tracing::debug;

pub(crate) use image::{ClusterImage, Node, Topic};

use crate::backoff::Backoff;
use crate::config::ConnectionSettings;
use crate::connection::{Connection, Dial, Request};
use crate::error::{ConnectError, ConnectionError, RequestError};
use slot::ConnectionSlot;

pub(crate) struct Cluster {
    settings: ConnectionSettings,
    image: RwLock<Arc<ClusterImage>>,
    /// Held during a refresh, so that many who want news share one request.
    refreshing: tokio::sync::Mutex<()>,
    /// The topics that a refresh asks for.
    topics: Mutex<BTreeSet<Arc<str>>>,
    /// For metadata and admin requests: any shard of any broker, apart from the connections that carry records.
    control: ConnectionSlot,
    nodes: Mutex<HashMap<Node, Arc<ConnectionSlot>>>,
}

impl Cluster {
    /// Connects to any bootstrap server and learns the brokers, trying for `within`.
    pub(crate) async fn connect(
        settings: ConnectionSettings,
        within: Duration,
    ) -> Result<Arc<Self>, ConnectError> {
        let start = Instant::now();
        let cluster = Arc::new(Self {
            control: ConnectionSlot::new(settings.reconnect_backoff),
            settings,
            image: RwLock::new(Arc::new(ClusterImage::default())),
            refreshing: tokio::sync::Mutex::new(()),
            topics: Mutex::new(BTreeSet::new()),
            nodes: Mutex::new(HashMap::new()),
        });
        let mut backoff = Backoff::new(cluster.settings.retry_backoff);
        loop {
            let last = match cluster.refresh(0).await {
                Ok(_) => return Ok(cluster),
                Err(error) => error,
            };
            let wait = backoff.next_wait();
            if !last.is_retriable() || start.elapsed() + wait >= within {
                return Err(ConnectError::Unreachable {
                    servers: cluster.settings.bootstrap_servers.join(","),
                    waited: start.elapsed(),
                    last,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    /// The newest metadata known.
    pub(crate) fn image(&self) -> Arc<ClusterImage> {
        Arc::clone(&self.image.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes every refresh ask for this topic.
    pub(crate) fn track_topic(&self, name: &Arc<str>) {
        self.topics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(name));
    }

    /// Fetches metadata, unless someone else has brought an image newer than version `seen` meanwhile.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<Arc<ClusterImage>, RequestError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let current = self.image();
        if current.version > seen {
            return Ok(current);
        }
        let topics = {
            let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
            topics
                .iter()
                .map(|name| TopicSelector::Name(name.to_string()))
                .collect()
        };
        let response = self
            .call_any(&MetadataRequest {
                topics: Some(topics),
            })
            .await?;
        let image = Arc::new(current.updated(response));
        debug!(
            version = image.version,
            brokers = image.brokers.len(),
            topics = image.topics.len(),
            "metadata refreshed"
        );
        self.forget_brokers_not_in(&image);
        *self.image.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&image);
        Ok(image)
    }

    /// Sends a request to any broker.
    pub(crate) async fn call_any<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Response, RequestError> {
        self.any().await?.call(request).await
    }

    /// A connection to any broker.
    pub(crate) async fn any(&self) -> Result<Connection, ConnectionError> {
        let image = self.image();
        let mut dials: Vec<Dial> = image
            .brokers
            .values()
            .map(|broker| Dial {
                address: address_of(&broker.host, broker.port),
                cluster_id: Some(image.cluster_id.clone()),
                broker: Some(broker.id),
                shard: None,
            })
            .collect();
        let known: BTreeSet<String> = dials.iter().map(|dial| dial.address.clone()).collect();
        dials.extend(
            self.settings
                .bootstrap_servers
                .iter()
                .filter(|server| !known.contains(*server))
                .map(|server| Dial {
                    address: server.clone(),
                    cluster_id: image.known_cluster_id(),
                    broker: None,
                    shard: None,
                }),
        );
        dials.shuffle(&mut rand::rng());
        self.control.get(&dials, &self.settings).await
    }

    /// The connection to one shard of one broker.
    pub(crate) async fn node(&self, node: Node) -> Result<Connection, ConnectionError> {
        let image = self.image();
        let broker = image
            .brokers
            .get(&node.broker)
            .ok_or(ConnectionError::UnknownBroker {
                broker: node.broker,
            })?;
        let dial = Dial {
            address: address_of(&broker.host, broker.port),
            cluster_id: image.known_cluster_id(),
            broker: Some(node.broker),
            shard: Some(node.shard),
        };
        let slot =
            {
                let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(nodes.entry(node).or_insert_with(|| {
                    Arc::new(ConnectionSlot::new(self.settings.reconnect_backoff))
                }))
            };
        slot.get(&[dial], &self.settings).await
    }

    /// As [`node`](Self::node), of a broker that may be younger than this client's metadata.
    pub(crate) async fn reach(&self, node: Node) -> Result<Connection, RequestError> {
        match self.node(node).await {
            Err(ConnectionError::UnknownBroker { .. }) => {
                self.refresh(self.image().version).await?;
                Ok(self.node(node).await?)
            }
            connected => Ok(connected?),
        }
    }

    fn forget_brokers_not_in(&self, image: &ClusterImage) {
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|node, _| image.brokers.contains_key(&node.broker));
    }
}

/// Puts brackets around an IPv6 address.
fn address_of(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
