//! SIGTERM ends the broker in bounded time, whatever its clients do or fail to do.

use std::time::Duration;

use corelog_protocol::native::{FetchPartition, SubscribeRequest};
use corelog_protocol::{Acks, ErrorCode, IsolationLevel, Offset, PartitionIndex, TopicId};
use tempfile::TempDir;

use crate::harness::{
    BrokerProcess, Connection, NewTopicBuilder, Stranger, batch_of, frame, hello,
};

/// More than the buffers of both sockets hold.
const UNREAD_BYTES: usize = 32 << 20;
const VALUE_BYTES: usize = 900_000;

fn subscribe_to(connection: &mut Connection, topic_id: TopicId, offset: Offset) {
    let request = SubscribeRequest {
        credit_bytes: u64::MAX,
        max_push_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        partitions: vec![FetchPartition {
            topic_id,
            partition: PartitionIndex::ZERO,
            leader_epoch: None,
            last_fetched_epoch: None,
            fetch_offset: offset,
            max_bytes: 1 << 20,
        }],
    };
    connection.send(&request, &[]);
}

#[test]
fn clients_that_never_read_do_not_keep_the_broker_from_stopping() {
    let folder = TempDir::new().unwrap();
    let broker = BrokerProcess::start_with(folder.path(), 2, "shutdown.drain.ms = 500\n");
    let mut honest = broker.connect();
    let topic_id = honest.create_topic(NewTopicBuilder::new("events", 1));
    let value = "x".repeat(VALUE_BYTES);
    let large = batch_of([value.as_str()]);
    let mut acknowledged = 0;
    while acknowledged * VALUE_BYTES < UNREAD_BYTES {
        let answer = honest.produce(topic_id, 0, &large);
        assert_eq!(answer.error, ErrorCode::None, "{:?}", answer.error_message);
        acknowledged += 1;
    }
    let end = Offset::new(i64::try_from(acknowledged).unwrap());

    // Some of them reach the owner's shard, some are served by the other one.
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut fetching = broker.connect();
        for _ in 0..UNREAD_BYTES / VALUE_BYTES {
            fetching.send_fetch_up_to(1 << 20, topic_id, 0, Offset::ZERO);
        }
        let mut subscribed = broker.connect();
        subscribe_to(&mut subscribed, topic_id, Offset::ZERO);
        let mut waiting = broker.connect();
        waiting.send_fetch(topic_id, 0, end, Duration::from_secs(300));
        subscribe_to(&mut waiting, topic_id, end);
        let mut producing = broker.connect();
        for _ in 0..8 {
            producing.send_produce(Acks::All, topic_id, 0, &large);
        }
        silent.extend([fetching, subscribed, waiting, producing]);
    }
    let unfinished = [
        &[][..],
        &frame(0, &hello(), &[])[..10],
        &frame(0, &hello(), &[]),
    ]
    .map(|bytes| {
        let mut stranger = Stranger::connect(broker.native());
        stranger.send(bytes);
        stranger
    });
    // The produces that nobody awaits are there, so what was sent before them is under way.
    let readable = || {
        honest
            .fetch(topic_id, 0, end, Duration::ZERO)
            .0
            .high_watermark
    };
    crate::harness::until({
        let mut readable = readable;
        move || readable() > end
    });
    assert!(broker.stop().success());
    drop((silent, unfinished));

    let broker = BrokerProcess::start(&folder.path().join("data"), 1);
    let kept = broker.connect().read_all(topic_id, 0);
    assert!(
        kept.len() >= acknowledged,
        "{} of {acknowledged}",
        kept.len()
    );
}
