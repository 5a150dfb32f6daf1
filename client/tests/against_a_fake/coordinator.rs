//! The fake broker as the coordinator of one group with one member: it assigns what a test says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use corelog_client::{ErrorCode, Offset, PartitionIndex, ShardId, TopicId};
use corelog_protocol::native::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Coordinator,
    DeleteGroupsRequest, DeleteGroupsResponse, DeletedGroup, DescribeGroupsRequest,
    DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, Frame,
    GroupDescription, GroupKind, GroupMember, GroupState, ListGroupsResponse, ListedGroup, Message,
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitTopicResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetDeleteTopicResponse, OffsetFetchPartitionResponse,
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchTopicResponse, OffsetPartitionError,
    TopicPartitions,
};

use crate::fake::{BROKER, Outlet, Shared, State};

/// Where the coordinator is at first.
pub(crate) const HOME: ShardId = ShardId::new(1);

pub(crate) struct Group {
    /// The member's, 0 while it is not in the group.
    pub(crate) epoch: i32,
    /// Which partitions of the topic `orders` the member should have.
    pub(crate) assigned: Vec<i32>,
    pub(crate) committed: BTreeMap<i32, i64>,
    pub(crate) shard: ShardId,
    pub(crate) heartbeat_errors: VecDeque<ErrorCode>,
    pub(crate) commit_errors: VecDeque<ErrorCode>,
    pub(crate) partition_errors: VecDeque<ErrorCode>,
    pub(crate) fetch_errors: VecDeque<ErrorCode>,
    /// Answers of the next requests to describe or delete the group.
    pub(crate) admin_errors: VecDeque<ErrorCode>,
    /// The next deletion of the group is carried out, and its answer lost.
    pub(crate) lose_after_delete: bool,
    /// Commits wait for their answers.
    pub(crate) hold_commits: bool,
    /// What the member did, in order.
    pub(crate) events: Vec<String>,
    pub(crate) lookups: usize,
    pub(crate) heartbeats: usize,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            epoch: 0,
            assigned: Vec::new(),
            committed: BTreeMap::new(),
            shard: HOME,
            heartbeat_errors: VecDeque::new(),
            commit_errors: VecDeque::new(),
            partition_errors: VecDeque::new(),
            fetch_errors: VecDeque::new(),
            admin_errors: VecDeque::new(),
            lose_after_delete: false,
            hold_commits: false,
            events: Vec::new(),
            lookups: 0,
            heartbeats: 0,
        }
    }
}

/// Answers what is about groups; false if the request is not.
pub(crate) fn about_groups(
    api: ApiKey,
    frame: &Frame,
    shard: ShardId,
    outlet: &Outlet,
    shared: &Arc<Shared>,
) -> bool {
    let metadata = &frame.metadata;
    let mut state = shared.state();
    let is_elsewhere = state.group.shard != shard;
    match api {
        ApiKey::FindCoordinator => {
            state.group.lookups += 1;
            let request = FindCoordinatorRequest::decode(metadata).unwrap();
            let coordinators = request.groups.into_iter().map(|group| Coordinator {
                group,
                error: ErrorCode::None,
                error_message: None,
                broker: BROKER,
                shard: state.group.shard,
            });
            let response = FindCoordinatorResponse {
                coordinators: coordinators.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::ConsumerGroupHeartbeat => {
            let request = ConsumerGroupHeartbeatRequest::decode(metadata).unwrap();
            let response = if is_elsewhere {
                ConsumerGroupHeartbeatResponse::refused(ErrorCode::NotCoordinator, None)
            } else {
                heartbeat(&request, &mut state)
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::OffsetCommit => {
            let request = OffsetCommitRequest::decode(metadata).unwrap();
            let response = if is_elsewhere {
                OffsetCommitResponse::refused(ErrorCode::NotCoordinator, None)
            } else {
                commit(&request, &mut state)
            };
            let (frame, outlet, shared) = (frame.clone(), outlet.clone(), Arc::clone(shared));
            tokio::spawn(async move {
                let mut changes = shared.watch();
                while shared.state().group.hold_commits {
                    changes.changed().await.unwrap();
                }
                outlet.reply(&frame, &response, Bytes::new());
            });
        }
        ApiKey::OffsetFetch => {
            let request = OffsetFetchRequest::decode(metadata).unwrap();
            let response = if is_elsewhere {
                OffsetFetchResponse::refused(ErrorCode::NotCoordinator, None)
            } else {
                fetch(&request, &mut state)
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::ListGroups => {
            let group = ListedGroup {
                group: "billing".to_owned(),
                kind: GroupKind::Consumer,
                state: GroupState::Stable,
            };
            let error = state.group.admin_errors.pop_front();
            let response = ListGroupsResponse {
                error: error.unwrap_or(ErrorCode::None),
                error_message: None,
                groups: vec![group],
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::DescribeGroups => {
            let request = DescribeGroupsRequest::decode(metadata).unwrap();
            let groups = request.groups.into_iter();
            let response = DescribeGroupsResponse {
                groups: groups
                    .map(|group| match refusal(is_elsewhere, &mut state.group) {
                        Some(code) => GroupDescription::refused(group, code, None),
                        None => describe(group, &state),
                    })
                    .collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::DeleteGroups => {
            let request = DeleteGroupsRequest::decode(metadata).unwrap();
            let groups = request.groups.into_iter();
            let response = DeleteGroupsResponse {
                groups: groups
                    .map(|group| DeletedGroup {
                        error: refusal(is_elsewhere, &mut state.group).unwrap_or(ErrorCode::None),
                        error_message: None,
                        group,
                    })
                    .collect(),
            };
            state.group.events.push("deletes the group".to_owned());
            if std::mem::take(&mut state.group.lose_after_delete) {
                state.lose_connections();
            } else {
                outlet.reply(frame, &response, Bytes::new());
            }
        }
        ApiKey::OffsetDelete => {
            let request = OffsetDeleteRequest::decode(metadata).unwrap();
            let response = if is_elsewhere {
                OffsetDeleteResponse::refused(ErrorCode::NotCoordinator, None)
            } else {
                forget(&request, &mut state.group)
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        _ => return false,
    }
    true
}

fn refusal(is_elsewhere: bool, group: &mut Group) -> Option<ErrorCode> {
    match is_elsewhere {
        true => Some(ErrorCode::NotCoordinator),
        false => group.admin_errors.pop_front(),
    }
}

fn describe(group: String, state: &State) -> GroupDescription {
    let has = vec![TopicPartitions {
        topic_id: state.topics["orders"].id,
        partitions: state
            .group
            .assigned
            .iter()
            .map(|index| PartitionIndex::new(*index))
            .collect(),
    }];
    // One of a topic that is gone.
    let gone = TopicPartitions {
        topic_id: TopicId::from_bytes([9; 16]),
        partitions: vec![PartitionIndex::ZERO],
    };
    let member = GroupMember {
        member_id: "m".to_owned(),
        epoch: 3,
        topic_names: vec!["orders".to_owned()],
        target: [&has[..], &[gone]].concat(),
        assigned: has,
        ..GroupMember::default()
    };
    GroupDescription {
        state: GroupState::Reconciling,
        epoch: 4,
        members: vec![member],
        ..GroupDescription::refused(group, ErrorCode::None, None)
    }
}

fn forget(request: &OffsetDeleteRequest, group: &mut Group) -> OffsetDeleteResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let error = group.partition_errors.pop_front();
            if error.is_none() {
                group.committed.remove(&partition.get());
            }
            OffsetPartitionError {
                partition: *partition,
                error: error.unwrap_or(ErrorCode::None),
                error_message: None,
            }
        });
        OffsetDeleteTopicResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
        }
    });
    OffsetDeleteResponse {
        topics: topics.collect(),
        ..OffsetDeleteResponse::refused(ErrorCode::None, None)
    }
}

fn heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    state: &mut State,
) -> ConsumerGroupHeartbeatResponse {
    let topic_id = state.topics["orders"].id;
    let group = &mut state.group;
    group.heartbeats += 1;
    if let Some(owned) = &request.owned {
        let owned = owned.iter().flat_map(|topic| &topic.partitions);
        let owned: Vec<String> = owned.map(ToString::to_string).collect();
        let event = format!("epoch {} owns [{}]", request.member_epoch, owned.join(" "));
        // A member that tries again says the same again.
        if group.events.last() != Some(&event) {
            group.events.push(event);
        }
    } else if request.member_epoch < 0 {
        group
            .events
            .push(format!("leaves with {}", request.member_epoch));
    }
    if let Some(code) = group.heartbeat_errors.pop_front() {
        group.epoch = 0;
        return ConsumerGroupHeartbeatResponse::refused(code, Some("so there".to_owned()));
    }
    if request.member_epoch == 0 {
        group.epoch = 1;
    }
    ConsumerGroupHeartbeatResponse {
        member_epoch: if request.member_epoch < 0 {
            request.member_epoch
        } else {
            group.epoch
        },
        heartbeat_interval_ms: 10,
        session_timeout_ms: 10_000,
        assignment: Some(vec![TopicPartitions {
            topic_id,
            partitions: group
                .assigned
                .iter()
                .map(|index| PartitionIndex::new(*index))
                .collect(),
        }]),
        ..ConsumerGroupHeartbeatResponse::refused(ErrorCode::None, None)
    }
}

fn commit(request: &OffsetCommitRequest, state: &mut State) -> OffsetCommitResponse {
    let group = &mut state.group;
    // An administrator says none.
    let epoch = request.member.as_ref().map(|member| member.epoch);
    let offsets: BTreeSet<String> = request
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|it| format!("{}@{}", it.partition, it.offset))
        .collect();
    let offsets: Vec<String> = offsets.into_iter().collect();
    group.events.push(match epoch {
        Some(epoch) => format!("epoch {epoch} commits [{}]", offsets.join(" ")),
        None => format!("somebody commits [{}]", offsets.join(" ")),
    });
    if let Some(code) = group.commit_errors.pop_front() {
        return OffsetCommitResponse::refused(code, Some("so there".to_owned()));
    }
    if epoch.is_some_and(|epoch| epoch != group.epoch) {
        return OffsetCommitResponse::refused(ErrorCode::StaleMemberEpoch, None);
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|it| {
            let error = group.partition_errors.pop_front();
            if error.is_none() {
                group.committed.insert(it.partition.get(), it.offset.get());
            }
            OffsetPartitionError {
                partition: it.partition,
                error: error.unwrap_or(ErrorCode::None),
                error_message: None,
            }
        });
        OffsetCommitTopicResponse {
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..OffsetCommitResponse::refused(ErrorCode::None, None)
    }
}

fn fetch(request: &OffsetFetchRequest, state: &mut State) -> OffsetFetchResponse {
    let group = &mut state.group;
    if let Some(code) = group.fetch_errors.pop_front() {
        return OffsetFetchResponse::refused(code, None);
    }
    let all = || {
        vec![TopicPartitions {
            topic_id: state.topics["orders"].id,
            partitions: group
                .committed
                .keys()
                .copied()
                .map(PartitionIndex::new)
                .collect(),
        }]
    };
    let asked = request.topics.clone().unwrap_or_else(all);
    let topics = asked.iter().map(|topic| OffsetFetchTopicResponse {
        topic_id: topic.topic_id,
        name: "orders".to_owned(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetFetchPartitionResponse {
                partition: *partition,
                error: ErrorCode::None,
                error_message: None,
                offset: group
                    .committed
                    .get(&partition.get())
                    .map(|offset| Offset::new(*offset)),
                leader_epoch: None,
                metadata: String::new(),
            })
            .collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        ..OffsetFetchResponse::refused(ErrorCode::None, None)
    }
}
