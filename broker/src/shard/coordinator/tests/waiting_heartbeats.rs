//! A member with nothing to say leaves a heartbeat with the coordinator, and hears of a rebalance when
//! it is decided.

use std::time::Duration;

use corelog_protocol::{ErrorCode, PartitionIndex};

use super::{Broker, OFFSETS, Simulator, Storage, commit, group};
use crate::group::MemberId;
use crate::group::consumer::{
    Heartbeat, HeartbeatEpoch, HeartbeatReply, Partitions, TopicPartition,
};
use crate::group::coordinator::{Answer, Command};
use crate::metadata::OFFSETS_TOPIC;
use crate::partition::Refusal;
use crate::runtime::{Instant, Task, now, sleep, sleep_until, spawn};
use crate::shard::Router;

const INTERVAL: Duration = Duration::from_secs(5);
const SESSION: Duration = Duration::from_secs(45);
/// What a decision takes until it is durable, and more.
const SOON: Duration = Duration::from_millis(100);

/// A member of the group; it reads the only topic there is.
#[derive(Clone)]
struct Member {
    router: Router,
    name: &'static str,
}

impl Member {
    /// Joins, and says so again until it has as many partitions.
    async fn join(router: &Router, name: &'static str, partitions: usize) -> (Self, Partitions) {
        let member = Self {
            router: router.clone(),
            name,
        };
        let joined = member.say(HeartbeatEpoch::Join, Some(Partitions::new()));
        let reply = joined.await.unwrap();
        let assigned = reply.assignment.unwrap();
        assert_eq!(assigned.len(), partitions);
        (member, assigned)
    }

    fn heartbeat(&self, epoch: HeartbeatEpoch, owned: Option<Partitions>) -> Heartbeat {
        let joins = epoch == HeartbeatEpoch::Join;
        Heartbeat {
            member_id: MemberId::new(self.name),
            epoch,
            instance_id: None,
            rack_id: None,
            client_id: self.name.to_owned(),
            client_host: "127.0.0.1".to_owned(),
            rebalance_timeout_ms: joins.then_some(60_000),
            subscribed_topic_names: joins.then(|| [OFFSETS_TOPIC.to_owned()].into()),
            subscribed_topic_regex: None,
            server_assignor: None,
            owned,
        }
    }

    async fn send(
        &self,
        heartbeat: Heartbeat,
        patience: Duration,
    ) -> Result<HeartbeatReply, Refusal> {
        let command = Command::Heartbeat(heartbeat);
        let outcome = self.router.group(group(0), command, patience).await;
        match outcome.result? {
            Answer::Heartbeat(reply) => Ok(reply),
            other => panic!("a heartbeat was sent, and it says {other:?}"),
        }
    }

    async fn say(
        &self,
        epoch: HeartbeatEpoch,
        owned: Option<Partitions>,
    ) -> Result<HeartbeatReply, Refusal> {
        self.send(self.heartbeat(epoch, owned), Duration::ZERO)
            .await
    }

    /// Leaves a heartbeat with the coordinator. Tells the answer, and when it came.
    fn wait(&self, epoch: i32, patience: Duration) -> Task<(HeartbeatReply, Instant)> {
        let member = self.clone();
        spawn(async move {
            let heartbeat = member.heartbeat(HeartbeatEpoch::At(epoch), None);
            (member.send(heartbeat, patience).await.unwrap(), now())
        })
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition {
        topic_id: OFFSETS,
        partition: PartitionIndex::new(index),
    }
}

fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(Router) -> F + 'static) {
    let mut simulator = Simulator::new(11);
    let storage = Storage::simulated(simulator.disk());
    simulator.run(async move {
        let broker = Broker::start(storage).await.unwrap();
        test(broker.router()).await;
    });
}

#[test]
fn a_rebalance_reaches_those_who_wait_when_it_is_decided() {
    run(|router| async move {
        let (a, both) = Member::join(&router, "a", 2).await;
        let waiting = a.wait(1, INTERVAL);
        sleep(SOON).await;
        let began = now();
        let (b, nothing) = Member::join(&router, "b", 0).await;
        assert!(nothing.is_empty());
        let (told, at) = waiting.await;
        let kept = told.assignment.unwrap();
        assert_eq!(kept.len(), 1);
        assert!(at - began < SOON);
        // B waits for what A gives up, and has it as soon as A says so.
        let waiting = b.wait(2, INTERVAL);
        sleep(SOON).await;
        let began = now();
        a.say(HeartbeatEpoch::At(1), Some(kept.clone()))
            .await
            .unwrap();
        let (told, at) = waiting.await;
        assert_eq!(told.assignment, Some(&both - &kept));
        assert!(at - began < SOON);
    });
}

#[test]
fn a_heartbeat_with_nothing_to_hear_waits_as_long_as_it_says_and_no_longer_than_the_interval() {
    run(|router| async move {
        let (a, _) = Member::join(&router, "a", 2).await;
        for (patience, waited) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_secs(2), Duration::from_secs(2)),
            (Duration::from_secs(600), INTERVAL),
        ] {
            let began = now();
            let (told, at) = a.wait(1, patience).await;
            assert_eq!((told.member_epoch, told.assignment), (1, None));
            assert!(at - began >= waited && at - began < waited + SOON);
        }
    });
}

#[test]
fn a_member_that_says_something_ends_its_own_wait() {
    run(|router| async move {
        let (a, both) = Member::join(&router, "a", 2).await;
        let waiting = a.wait(1, INTERVAL);
        sleep(SOON).await;
        let began = now();
        a.say(HeartbeatEpoch::At(1), Some(both)).await.unwrap();
        let (told, at) = waiting.await;
        assert_eq!(told.assignment, None);
        assert!(at - began < SOON);
    });
}

#[test]
fn what_a_dead_member_held_goes_on_when_its_session_is_over() {
    run(|router| async move {
        let (a, both) = Member::join(&router, "a", 2).await;
        let (b, _) = Member::join(&router, "b", 0).await;
        let told = a.say(HeartbeatEpoch::At(1), None).await.unwrap();
        let kept = told.assignment.unwrap();
        a.say(HeartbeatEpoch::At(1), Some(kept)).await.unwrap();
        let died = now();
        // What A left behind waits on a connection that has closed, and is no sign of life.
        let left_behind = a.wait(2, INTERVAL);
        sleep(SOON).await;
        drop(left_behind);
        let mut epoch = 2;
        let taken = loop {
            let (told, at) = b.wait(epoch, INTERVAL).await;
            epoch = told.member_epoch;
            if told.assignment == Some(both.clone()) {
                break at;
            }
            assert!(at - died < 2 * SESSION, "nobody gets the partition");
        };
        assert!(taken - died >= SESSION - SOON);
        assert!(taken - died < SESSION + SOON, "{:?}", taken - died);
        assert_eq!(both, [partition(0), partition(1)].into());
        let gone = a.say(HeartbeatEpoch::At(2), None).await.unwrap_err();
        assert_eq!(gone.code, ErrorCode::UnknownMemberId);
    });
}

#[test]
fn a_member_that_falls_silent_is_put_out_though_commits_never_cease() {
    run(|router| async move {
        let (a, _) = Member::join(&router, "a", 2).await;
        let joined = now();
        let busy: Vec<_> = (1..4)
            .flat_map(|number| [number; 3])
            .map(|number| {
                let router = router.clone();
                spawn(async move {
                    for offset in 0.. {
                        commit(&router, number, offset).await.unwrap();
                    }
                })
            })
            .collect();
        sleep_until(joined + SESSION + Duration::from_secs(1)).await;
        let gone = a.say(HeartbeatEpoch::At(1), None).await.unwrap_err();
        assert_eq!(gone.code, ErrorCode::UnknownMemberId);
        drop(busy);
    });
}
