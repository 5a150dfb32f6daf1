//! `kafka.shard.listeners`: each core is a node with a port of its own, and a client that goes by that needs no hop.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, FindCoordinatorResponse, MetadataResponse,
    create_topics::CreatableTopic,
};
use corelog_protocol::kafka::{KafkaApi, KafkaMessage};
use tempfile::TempDir;

use super::KafkaClient;
use super::client::{fetch_of, metadata_of, produce_of};
use crate::harness::{BrokerProcess, batch_of};

const PARTITIONS: i32 = 8;

#[test]
fn requests_that_go_to_the_node_of_their_partition_need_no_hop() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 2, "kafka.shard.listeners = true\n");
    let mut first = KafkaClient::connect(broker.kafka());
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "orders",
            num_partitions: PARTITIONS,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    first.ask(KafkaApi::CreateTopics, 5, &request);
    let body = first.ask(KafkaApi::Metadata, 12, &metadata_of("orders"));
    let metadata = MetadataResponse::decode(&body, 12).unwrap();
    let nodes: BTreeMap<i32, SocketAddr> = metadata
        .brokers
        .iter()
        .map(|node| {
            (
                node.node_id,
                format!("{}:{}", node.host, node.port).parse().unwrap(),
            )
        })
        .collect();
    // Broker 1, times 1024, and the number of the core.
    assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), [1024, 1025]);
    assert_ne!(nodes[&1024], nodes[&1025]);
    let topic = &metadata.topics[0];
    let leaders: Vec<(i32, i32)> = topic
        .partitions
        .iter()
        .map(|it| (it.partition_index, it.leader_id))
        .collect();
    let on_both = [1024, 1025].map(|node| leaders.iter().any(|(_, leader)| *leader == node));
    assert_eq!(on_both, [true, true], "{leaders:?}");
    let hops = || broker.metrics().total("corelog_mesh_hops_total");
    let before = hops();
    let mut clients: BTreeMap<i32, KafkaClient> = nodes
        .iter()
        .map(|(node, address)| (*node, KafkaClient::connect(*address)))
        .collect();
    let batch = batch_of(["value"]);
    let mut send = |partition: i32, leader: i32| {
        let client = clients.get_mut(&leader).unwrap();
        let asked = client.send(
            KafkaApi::Produce,
            9,
            &produce_of(-1, "orders", partition, &batch),
        );
        assert_eq!(client.produced(asked).error, ErrorCode::None);
        let mut request = fetch_of("orders", topic.topic_id, 0);
        request.topics[0].partitions[0].partition = partition;
        let (error, read) = client.fetch_in(12, &request);
        assert_eq!((error, read.len() >= batch.len()), (ErrorCode::None, true));
    };
    for &(partition, leader) in &leaders {
        send(partition, leader);
    }
    assert_eq!(hops() - before, 0.0);
    // Who asks the wrong node is served all the same, with a hop.
    let (partition, leader) = leaders[0];
    send(partition, 2049 - leader);
    assert!(hops() - before > 0.0);
    // A coordinator is one of the nodes.
    let request = FindCoordinatorRequest {
        coordinator_keys: vec!["billing"],
        ..Default::default()
    };
    let body = first.ask(KafkaApi::FindCoordinator, 4, &request);
    let found = FindCoordinatorResponse::decode(&body, 4).unwrap();
    assert!(nodes.contains_key(&found.coordinators[0].node_id));
}
