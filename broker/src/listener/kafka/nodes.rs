//! The brokers as Kafka's clients see them.
//!
//! They know brokers, not cores. With `kafka.shard.listeners`, each core (or group of cores) of a broker is shown as a node
//! of its own, with a port of its own: a client that sends each request to the node that leads its partition then sends it
//! to the core that owns it. Nothing outside of this dialect knows such nodes.

use corelog_protocol::{BrokerId, PartitionIndex, ShardId, TopicId};

use crate::config::{BrokerConfig, KAFKA_NODES_PER_BROKER};
use crate::metadata::{MetadataImage, shard_of};

/// How this broker's cores are shown.
#[derive(Clone, Debug)]
pub struct Nodes {
    broker: BrokerId,
    host: String,
    /// What clients are told, one for each node.
    ports: Vec<u16>,
    /// False: the broker is one node, under its own id.
    per_shard: bool,
}

/// A broker, as Metadata names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) id: i32,
    pub(super) host: &'a str,
    /// None: nobody is there.
    pub(super) port: Option<u16>,
}

impl Node<'_> {
    /// The port as messages have it.
    pub(super) fn port_number(&self) -> i32 {
        self.port.map_or(-1, i32::from)
    }
}

impl Nodes {
    /// `listening`: the port of each node, as [`Nodes::count`] says how many there are.
    pub fn new(config: &BrokerConfig, listening: &[u16]) -> Self {
        let ports = match config.kafka_advertised_port {
            0 => listening.to_vec(),
            first => (first..=u16::MAX).take(listening.len()).collect(),
        };
        Self {
            broker: config.broker_id,
            host: config.kafka_advertised_host().to_owned(),
            ports,
            per_shard: config.kafka_shard_listeners,
        }
    }

    /// How many nodes a broker with so many shards is shown as.
    pub fn count(config: &BrokerConfig, shards: u16) -> u16 {
        match config.kafka_shard_listeners {
            true => shards.min(config.kafka_shard_nodes_max),
            false => 1,
        }
    }

    /// The node behind which a broker's shard is.
    pub(super) fn of(&self, broker: BrokerId, shard: ShardId) -> i32 {
        match self.per_shard {
            true => {
                let nodes = i32::try_from(self.ports.len()).expect("ports are 16 bits");
                broker.get() * KAFKA_NODES_PER_BROKER + i32::from(shard.get()) % nodes
            }
            false => broker.get(),
        }
    }

    /// The shards behind a node, by its number on this broker.
    pub(super) fn shards_of(&self, node: usize, shards: u16) -> impl Iterator<Item = ShardId> {
        (0..shards)
            .skip(node)
            .step_by(self.ports.len())
            .map(ShardId::new)
    }

    /// The node of a broker that has a partition: the one with the core that owns it there.
    pub(super) fn of_partition(
        &self,
        image: &MetadataImage,
        topic: TopicId,
        partition: PartitionIndex,
        broker: BrokerId,
    ) -> i32 {
        let shards = image.brokers.get(&broker).map_or(1, |it| it.shards);
        self.of(broker, shard_of(topic, partition, shards))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Node<'_>> {
        (0..).zip(&self.ports).map(|(number, &port)| Node {
            id: self.of(self.broker, ShardId::new(number)),
            host: &self.host,
            port: Some(port),
        })
    }

    /// The broker that a node belongs to.
    pub(super) fn broker(&self, node: i32) -> Option<BrokerId> {
        self.all().any(|it| it.id == node).then_some(self.broker)
    }

    /// The node that answers what concerns the cluster as a whole.
    pub(super) fn controller(&self) -> i32 {
        self.of(self.broker, ShardId::new(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(config: BrokerConfig, listening: &[u16]) -> Nodes {
        Nodes::new(
            &BrokerConfig {
                broker_id: BrokerId::new(3),
                ..config
            },
            listening,
        )
    }

    #[test]
    fn a_broker_is_one_node_under_its_own_id() {
        let nodes = nodes(BrokerConfig::default(), &[9092]);
        assert_eq!(nodes.of(BrokerId::new(3), ShardId::new(7)), 3);
        let all: Vec<_> = nodes
            .all()
            .map(|it| (it.id, it.host, it.port_number()))
            .collect();
        assert_eq!(all, [(3, "127.0.0.1", 9092)]);
    }

    #[test]
    fn with_shard_listeners_each_shard_is_a_node() {
        let config = BrokerConfig {
            kafka_shard_listeners: true,
            kafka_shard_nodes_max: 2,
            kafka_advertised_port: 7000,
            ..BrokerConfig::default()
        };
        assert_eq!(Nodes::count(&config, 1), 1);
        assert_eq!(Nodes::count(&config, 5), 2);
        let nodes = nodes(config, &[9092, 9093]);
        let id = |shard| nodes.of(BrokerId::new(3), ShardId::new(shard));
        assert_eq!([id(0), id(1), id(2), id(4)], [3072, 3073, 3072, 3072]);
        assert_eq!(nodes.broker(3073), Some(BrokerId::new(3)));
        assert_eq!([nodes.broker(3), nodes.broker(3074)], [None, None]);
        let all: Vec<_> = nodes.all().map(|it| (it.id, it.port_number())).collect();
        assert_eq!(all, [(3072, 7000), (3073, 7001)]);
        let behind: Vec<_> = nodes.shards_of(1, 5).map(ShardId::get).collect();
        assert_eq!(behind, [1, 3]);
    }
}
