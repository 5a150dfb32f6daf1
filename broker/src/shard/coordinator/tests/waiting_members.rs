//! Members of the classic protocol wait in their requests for each other, and for nobody who has gone.

use std::time::Duration;

use bytes::Bytes;
use corelog_protocol::ErrorCode;
use uuid::Uuid;

use super::{Broker, GROUPS, Simulator, Storage, commit, group};
use crate::group::MemberId;
use crate::group::classic::{
    Assignment, HeartbeatRequest, JoinRequest, Joined, Protocol, SyncRequest, Synced,
};
use crate::group::coordinator::{Answer, Command};
use crate::partition::Refusal;
use crate::runtime::{Task, now, sleep, spawn};
use crate::shard::Router;

const SESSION: Duration = Duration::from_secs(10);
/// Longer than the first member of a group waits for others.
const ROUND: Duration = Duration::from_secs(5);
/// What a decision takes until it is durable, and more.
const SOON: Duration = Duration::from_millis(100);

async fn ask(router: &Router, command: Command) -> Result<Answer, Refusal> {
    router.group(group(0), command, Duration::ZERO).await.result
}

/// Joins; as somebody new without an id.
fn join(router: &Router, member_id: Option<&MemberId>) -> Task<Result<Joined, Refusal>> {
    let router = router.clone();
    let request = JoinRequest {
        member_id: member_id.cloned(),
        instance_id: None,
        client_id: "a client".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: 6 * SESSION,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::new(),
        }],
        takes_member_id_first: false,
        knows_skip_assignment: true,
        reason: None,
    };
    spawn(async move {
        match ask(&router, Command::Join(request, Uuid::new_v4())).await? {
            Answer::Joined(joined) => Ok(joined),
            other => panic!("a member joins, and is told {other:?}"),
        }
    })
}

fn sync(
    router: &Router,
    joined: &Joined,
    shares: &[(&MemberId, &'static str)],
) -> Task<Result<Synced, Refusal>> {
    let router = router.clone();
    let shares = shares.iter();
    let request = SyncRequest {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: shares
            .map(|&(member_id, share)| Assignment {
                member_id: member_id.clone(),
                assignment: Bytes::from_static(share.as_bytes()),
            })
            .collect(),
    };
    spawn(async move {
        match ask(&router, Command::Sync(request)).await? {
            Answer::Synced(synced) => Ok(synced),
            other => panic!("a member asks for its share, and is told {other:?}"),
        }
    })
}

async fn heartbeat(router: &Router, joined: &Joined) -> Result<(), ErrorCode> {
    let request = HeartbeatRequest {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
    };
    let answer = ask(router, Command::ClassicHeartbeat(request)).await;
    answer.map(drop).map_err(|refusal| refusal.code)
}

/// Two members of one generation, the leader first. Neither has its share.
async fn two(router: &Router) -> [Joined; 2] {
    let joining = [join(router, None), join(router, None)];
    let mut members = Vec::new();
    for joining in joining {
        members.push(joining.await.unwrap());
    }
    members.sort_by_key(|it| it.leader.as_ref() != Some(&it.member_id));
    let members: [Joined; 2] = members.try_into().unwrap();
    assert_eq!(members.each_ref().map(|it| it.members.len()), [2, 0]);
    members
}

#[test]
fn who_stopped_listening_is_waited_for_no_longer_than_its_session() {
    let mut simulator = Simulator::new(12);
    let storage = Storage::simulated(simulator.disk());
    simulator.run(async move {
        let broker = Broker::start(storage).await.unwrap();
        let router = broker.router();
        let joining = join(&router, None);
        let alone = joining.await.unwrap();
        let share = [(&alone.member_id, "all")];
        assert_eq!(
            sync(&router, &alone, &share).await.unwrap().assignment,
            "all"
        );
        let gone = join(&router, None);
        sleep(SOON).await;
        gone.cancel().await;
        assert_eq!(
            heartbeat(&router, &alone).await,
            Err(ErrorCode::RebalanceInProgress)
        );
        // As in Kafka, it is a member all the same: nobody told the group that it went.
        let leader = join(&router, Some(&alone.member_id)).await.unwrap();
        assert_eq!((leader.generation, leader.members.len()), (2, 2));
        let began = now();
        let share = [(&leader.member_id, "half")];
        assert_eq!(
            sync(&router, &leader, &share).await.unwrap().assignment,
            "half"
        );
        while heartbeat(&router, &leader).await.is_ok() {
            sleep(SESSION / 20).await;
        }
        assert!((SESSION / 2..SESSION * 2).contains(&(now() - began)));
        let alone = join(&router, Some(&leader.member_id)).await.unwrap();
        assert_eq!((alone.generation, alone.members.len()), (3, 1));
    });
}

#[test]
fn members_who_wait_are_sent_away_when_a_change_is_not_recorded_and_meet_again() {
    let mut simulator = Simulator::new(13);
    let disk = simulator.disk();
    let storage = Storage::simulated(disk.clone());
    simulator.run(async move {
        let broker = Broker::start(storage).await.unwrap();
        let router = broker.router();
        let [leader, follower] = two(&router).await;
        let share = sync(&router, &follower, &[]);
        sleep(SOON).await;
        let used: u64 = disk.files().iter().map(|(_, len)| len).sum();
        disk.set_capacity(Some(used));
        // One of the groups beside it is in the same partition.
        for neighbour in 1..GROUPS {
            let mut offset = 1;
            while commit(&router, neighbour, offset).await.is_ok() {
                offset += 1;
                assert!(offset < 5_000, "the disk never fills up");
            }
        }
        let sent_away = share.await.unwrap_err();
        assert_eq!(sent_away.code, ErrorCode::CoordinatorNotAvailable);
        disk.set_capacity(None);
        sleep(ROUND).await;
        // The generation was never recorded: it had no shares.
        for member in [&leader, &follower] {
            assert_eq!(
                heartbeat(&router, member).await,
                Err(ErrorCode::UnknownMemberId)
            );
        }
        let [leader, follower] = two(&router).await;
        let waiting = sync(&router, &follower, &[]);
        let shares = [(&leader.member_id, "left"), (&follower.member_id, "right")];
        assert_eq!(
            sync(&router, &leader, &shares).await.unwrap().assignment,
            "left"
        );
        assert_eq!(waiting.await.unwrap().assignment, "right");
    });
}

#[test]
fn members_who_wait_are_sent_elsewhere_when_the_coordinator_closes() {
    async fn sent_away<T: 'static>(
        broker: &Broker,
        waiting: Task<Result<T, Refusal>>,
    ) -> Option<ErrorCode> {
        sleep(SOON).await;
        broker.shard.close_logs().await.unwrap();
        waiting.await.err().map(|refusal| refusal.code)
    }
    for waits_for_its_share in [true, false] {
        let mut simulator = Simulator::new(14);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async move {
            let broker = Broker::start(storage).await.unwrap();
            let router = broker.router();
            let [_, follower] = two(&router).await;
            let code = match waits_for_its_share {
                true => sent_away(&broker, sync(&router, &follower, &[])).await,
                false => sent_away(&broker, join(&router, None)).await,
            };
            assert_eq!(code, Some(ErrorCode::NotCoordinator));
        });
    }
}
