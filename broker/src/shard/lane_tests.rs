#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::rc::Rc;

use corelog_protocol::{ErrorCode, PartitionIndex, TopicId};

use super::lane::{Forwarded, Lane};
use super::message::ShardMessage;
use crate::log::TopicPartition;
use crate::partition::{DescribeOutcome, Outcome, Refusal};
use crate::runtime::{Mesh, MeshPort, Simulator, remote, yield_now};

/// A lane of `places` to the second of two shards, over mesh queues of `queue` messages.
fn lane(places: usize, queue: usize) -> (Rc<Lane>, MeshPort<ShardMessage>) {
    let mut ports = Mesh::new(2, queue);
    let there = ports.pop().unwrap();
    let here = Rc::new(ports.pop().unwrap());
    (Lane::new(here, Rc::default(), 1, places), there)
}

/// Asks about partition `number`, by which the other side knows the question.
fn ask(lane: &Rc<Lane>, number: i32) -> Forwarded<DescribeOutcome> {
    lane.send(|reply| ShardMessage::Describe {
        topic_partition: TopicPartition {
            topic_id: TopicId::ZERO,
            partition: PartitionIndex::new(number),
        },
        reply,
    })
}

async fn receive(there: &MeshPort<ShardMessage>) -> (i32, remote::ReplySender<DescribeOutcome>) {
    match there.recv().await {
        (
            0,
            ShardMessage::Describe {
                topic_partition,
                reply,
            },
        ) => (topic_partition.partition.get(), reply),
        other => panic!("unexpected {other:?}"),
    }
}

fn answer(reply: remote::ReplySender<DescribeOutcome>) {
    let refusal = Refusal::new(ErrorCode::NotLeaderOrFollower, "answered");
    reply.send(Outcome::refused(refusal, None)).unwrap();
}

fn simulate<Fut: Future<Output = ()>>(test: impl Fn() -> Fut) {
    for seed in 0..20 {
        Simulator::new(seed).run(test());
    }
}

#[test]
fn requests_arrive_in_the_order_they_were_handed_over_whatever_is_full() {
    // More requests than places, more places than the mesh's queue holds.
    simulate(|| async {
        let (lane, there) = lane(8, 2);
        let mut asked = Vec::new();
        for number in 0..30 {
            asked.push(ask(&lane, number));
        }
        for expected in 0..30 {
            let (number, reply) = receive(&there).await;
            assert_eq!(number, expected);
            answer(reply);
            // Answered places are given back when the answer is taken up.
            let outcome = asked.remove(0).await.unwrap();
            assert_eq!(outcome.error_code(), ErrorCode::NotLeaderOrFollower);
        }
    });
}

#[test]
fn no_more_requests_are_under_way_than_there_are_places() {
    simulate(|| async {
        let (lane, there) = lane(3, 16);
        let asked: Vec<_> = (0..3).map(|number| ask(&lane, number)).collect();
        assert!(lane.is_full());
        let one_more = ask(&lane, 3);
        for _ in 0..3 {
            receive(&there).await;
        }
        yield_now().await;
        assert!(there.try_recv().is_none(), "the fourth waits for a place");
        drop(asked);
        lane.room().await;
        assert_eq!(receive(&there).await.0, 3);
        drop(one_more);
    });
}

/// A connection that closes does not wait for its answers, but the other shard still works on
/// them: the places come back when it is done, not before.
#[test]
fn an_abandoned_request_gives_its_place_back_when_it_is_answered() {
    simulate(|| async {
        let (lane, there) = lane(1, 4);
        drop(ask(&lane, 0));
        let (_, reply) = receive(&there).await;
        yield_now().await;
        assert!(lane.is_full());
        // Nobody takes the answer up, but it frees the place.
        answer(reply);
        lane.room().await;
        assert!(!lane.is_full());
    });
}

#[test]
fn a_shard_that_is_gone_answers_nothing() {
    simulate(|| async {
        let (lane, there) = lane(4, 4);
        let asked = ask(&lane, 0);
        drop(there);
        assert!(asked.await.is_none());
        assert!(ask(&lane, 1).await.is_none());
    });
}
