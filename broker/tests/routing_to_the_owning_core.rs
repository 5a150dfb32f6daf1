//! A client that knows the owner of a partition talks straight to the owning core; one that does
//! not is served all the same, at the price of a hop.

use std::time::Duration;

use corelog_protocol::{ErrorCode, Offset};
use tempfile::TempDir;

use crate::harness::{BrokerProcess, NewTopicBuilder, batch_of};

const PARTITIONS: i32 = 64;

#[test]
fn requests_to_the_owning_shard_make_no_hop_and_both_shards_get_their_share() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut shards = [broker.connect_to_shard(0), broker.connect_to_shard(1)];
    for (wanted, connection) in (0..).zip(&shards) {
        assert_eq!(connection.hello.shard.get(), wanted);
        assert_eq!(connection.hello.shards, 2);
    }
    let topic_id = shards[0].create_topic(NewTopicBuilder::new("spread", PARTITIONS));
    let topic = shards[0].topic("spread");
    assert_eq!(topic.partitions.len(), PARTITIONS as usize);
    let hops_before = broker.metrics().total("corelog_mesh_hops_total");
    for partition in &topic.partitions {
        let owner = &mut shards[usize::from(partition.leader_shard.get())];
        let index = partition.index.get();
        let value = format!("to {index}");
        let produced = owner.produce(topic_id, index, &batch_of([value.as_str()]));
        assert_eq!(
            produced.error,
            ErrorCode::None,
            "{:?}",
            produced.error_message
        );
        assert_eq!(produced.hint, None);
        let read = owner.read_all(topic_id, index);
        assert_eq!(read, [(Offset::ZERO, value)]);
    }
    let metrics = broker.metrics();
    assert_eq!(metrics.total("corelog_mesh_hops_total") - hops_before, 0.0);
    let total = metrics.total("corelog_produce_bytes_total");
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        let share = metrics.sum("corelog_produce_bytes_total", shard) / total;
        assert!(share >= 0.3, "{shard} got {share} of the bytes");
    }
}

#[test]
fn a_misrouted_request_makes_one_hop_and_is_answered_with_a_hint() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut shards = [broker.connect_to_shard(0), broker.connect_to_shard(1)];
    let topic_id = shards[0].create_topic(NewTopicBuilder::new("astray", 2));
    for partition in shards[0].topic("astray").partitions {
        let owner = partition.leader_shard;
        let wrong = &mut shards[usize::from(1 - owner.get())];
        let index = partition.index.get();

        let hops = broker.metrics().total("corelog_mesh_hops_total");
        let produced = wrong.produce(topic_id, index, &batch_of(["astray"]));
        assert_eq!(
            produced.error,
            ErrorCode::None,
            "{:?}",
            produced.error_message
        );
        let hint = produced.hint.expect("the right shard");
        assert_eq!(hint.shard, owner);
        assert_eq!(hint.broker, wrong.hello.broker_id);
        assert_eq!(
            broker.metrics().total("corelog_mesh_hops_total") - hops,
            1.0
        );

        let (fetched, payload) = wrong.fetch(topic_id, index, Offset::ZERO, Duration::ZERO);
        assert_eq!(fetched.error, ErrorCode::None);
        assert_eq!(fetched.hint, Some(hint));
        assert_eq!(crate::harness::values_in(&payload).len(), 1);
        assert_eq!(
            broker.metrics().total("corelog_mesh_hops_total") - hops,
            2.0
        );

        let right = &mut shards[usize::from(owner.get())];
        assert_eq!(right.read_all(topic_id, index).len(), 1);
    }
}

#[test]
fn a_misrouted_fetch_waits_on_the_other_shard() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start(folder.path(), 2);
    let mut admin = broker.connect();
    let topic_id = admin.create_topic(NewTopicBuilder::new("far", 1));
    let owner = admin.topic("far").partitions[0].leader_shard.get();
    let mut far = broker.connect_to_shard(1 - owner);
    let reader = std::thread::spawn(move || {
        far.fetch(topic_id, 0, Offset::ZERO, Duration::from_secs(20))
            .1
    });
    let mut near = broker.connect_to_shard(owner);
    near.produce(topic_id, 0, &batch_of(["over there"]));
    let payload = reader.join().unwrap();
    assert_eq!(
        crate::harness::values_in(&payload),
        [(Offset::ZERO, "over there".to_owned())]
    );
}
