//! What the fake broker answers to each request.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use corelog_client::{
    Acks, Durability, ErrorCode, Offset, PartitionIndex, ShardId, Timestamp, TopicId, TopicSelector,
};
use corelog_protocol::native::{
    AlterTopicConfigsRequest, AlterTopicConfigsResponse, AlteredTopic, ApiKey, ApiVersionsResponse,
    BrokerInfo, CreateTopicsRequest, CreateTopicsResponse, CreatedTopic, DeleteTopicsRequest,
    DeleteTopicsResponse, DeletedTopic, FetchPartition, FetchPartitionResponse, FetchRequest,
    FetchResponse, Frame, FrameKind, ListOffsetsPartitionResponse, ListOffsetsRequest,
    ListOffsetsResponse, Message, MetadataRequest, MetadataResponse, OffsetQuery,
    PartitionMetadata, ProducePartitionResponse, ProduceRequest, ProduceResponse, RouteHint,
    SubscribeRequest, TopicMetadata,
};
use tokio::sync::watch;

use crate::fake::{BROKER, Lost, Outlet, SHARDS, Shared, State, shard_of};
use crate::log::Topic;

pub(crate) fn produce(
    frame: &Frame,
    shard: ShardId,
    outlet: &Outlet,
    shared: &Arc<Shared>,
) -> Result<(), Lost> {
    {
        let mut state = shared.state();
        state.seen.produce_requests += 1;
        if state.script.hold_produce {
            // Later requests of this connection are read meanwhile, so that a test sees how many come.
            state.seen.produce_waiting += 1;
            let waiting = state.seen.produce_waiting;
            state.seen.most_produce_waiting = state.seen.most_produce_waiting.max(waiting);
            drop(state);
            let (frame, outlet, shared) = (frame.clone(), outlet.clone(), Arc::clone(shared));
            tokio::spawn(async move {
                let mut changes = shared.watch();
                while shared.state().script.hold_produce {
                    changes.changed().await.unwrap();
                }
                shared.state().seen.produce_waiting -= 1;
                let response = append(&frame, shard, &mut shared.state());
                outlet.reply(&frame, &response, Bytes::new());
                shared.changed();
            });
            return Ok(());
        }
        if let Some(code) = state.script.produce_errors.pop_front() {
            let request = ProduceRequest::decode(&frame.metadata).unwrap();
            let partitions = request
                .partitions()
                .map(|it| ProducePartitionResponse::refused(it.topic_id, it.partition, code, None));
            let response = ProduceResponse {
                partitions: partitions.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
            return Ok(());
        }
    }
    let response = append(frame, shard, &mut shared.state());
    let mut state = shared.state();
    if state.script.lose_after_append > 0 {
        state.script.lose_after_append -= 1;
        return Err(Lost);
    }
    let request = ProduceRequest::decode(&frame.metadata).unwrap();
    if request.acks != Acks::None {
        outlet.reply(frame, &response, Bytes::new());
    }
    Ok(())
}

fn append(frame: &Frame, shard: ShardId, state: &mut State) -> ProduceResponse {
    let request = ProduceRequest::decode(&frame.metadata).unwrap();
    let mut partitions = Vec::new();
    for (wanted, bytes) in request.split_payload(&frame.payload).unwrap() {
        let home = shard_of(wanted.partition.get());
        let misrouted = home != shard;
        state.seen.misrouted += usize::from(misrouted);
        let mut answer = ProducePartitionResponse::refused(
            wanted.topic_id,
            wanted.partition,
            ErrorCode::UnknownTopicId,
            None,
        );
        if let Some(topic) = state.topic_by_id(wanted.topic_id)
            && let Some(log) = topic.partition(wanted.partition)
        {
            (answer.base_offset, answer.last_offset) = log.append(&bytes);
            answer.error = ErrorCode::None;
            answer.hint = misrouted.then_some(RouteHint {
                broker: BROKER,
                shard: home,
            });
        }
        partitions.push(answer);
    }
    ProduceResponse { partitions }
}

/// Reads what there is of the partitions asked for.
fn read(
    state: &mut State,
    wanted: &[FetchPartition],
    max_bytes: usize,
) -> (FetchResponse, Bytes, bool) {
    let mut payload = BytesMut::new();
    let mut partitions = Vec::new();
    let mut urgent = false;
    let scripted = state.script.fetch_errors.pop_front();
    for part in wanted {
        let (id, index) = (part.topic_id, part.partition);
        let mut answer =
            FetchPartitionResponse::refused(id, index, ErrorCode::UnknownTopicId, None);
        let damage = state.script.damage_reads;
        if let Some(code) = scripted {
            answer.error = code;
        } else if let Some(log) = state
            .topic_by_id(id)
            .and_then(|topic| topic.partition(index))
        {
            answer.high_watermark = log.end;
            answer.log_start_offset = log.log_start;
            let room = max_bytes
                .saturating_sub(payload.len())
                .min(usize::try_from(part.max_bytes).unwrap());
            match log.read(part.fetch_offset, room) {
                Some(bytes) => {
                    answer.error = ErrorCode::None;
                    answer.length = u32::try_from(bytes.len()).unwrap();
                    let at = payload.len();
                    payload.extend_from_slice(&bytes);
                    if damage && !bytes.is_empty() {
                        payload[at + bytes.len() - 1] ^= 1;
                    }
                }
                None => answer.error = ErrorCode::OffsetOutOfRange,
            }
        }
        urgent |= answer.error != ErrorCode::None;
        partitions.push(answer);
    }
    (FetchResponse { partitions }, payload.freeze(), urgent)
}

pub(crate) async fn fetch(frame: &Frame, outlet: &Outlet, shared: &Shared) {
    let request = FetchRequest::decode(&frame.metadata).unwrap();
    let wait = std::time::Duration::from_millis(u64::from(request.max_wait_ms));
    let deadline = tokio::time::Instant::now() + wait;
    let mut changes = shared.watch();
    loop {
        let (response, payload, urgent) = read(
            &mut shared.state(),
            &request.partitions,
            usize::try_from(request.max_bytes).unwrap(),
        );
        let enough = payload.len() >= usize::try_from(request.min_bytes).unwrap();
        let over = tokio::time::Instant::now() >= deadline;
        if enough || urgent || over {
            outlet.reply(frame, &response, payload);
            return;
        }
        // Out of time is looked at above.
        let _ = tokio::time::timeout_at(deadline, changes.changed()).await;
    }
}

/// Pushes what comes, one partition after the other, within the credit.
pub(crate) async fn push(
    request: SubscribeRequest,
    id: u32,
    mut credit: watch::Receiver<u64>,
    outlet: Outlet,
    shared: Arc<Shared>,
) {
    let mut wanted = request.partitions;
    let mut pushed = 0u64;
    let mut changes = shared.watch();
    loop {
        let may_push = pushed < *credit.borrow() || shared.state().script.ignore_credit;
        let mut moved = false;
        for part in wanted.clone().iter().filter(|_| may_push) {
            let most = usize::try_from(request.max_push_bytes).unwrap();
            let (response, payload, urgent) =
                read(&mut shared.state(), std::slice::from_ref(part), most);
            if payload.is_empty() && !urgent {
                continue;
            }
            moved = true;
            pushed += payload.len() as u64;
            shared.state().seen.pushed = pushed;
            let next = corelog_protocol::record::split_batches(&payload)
                .filter_map(Result::ok)
                .last()
                .map(|batch| batch.next_offset());
            match next {
                Some(next) if !urgent => {
                    let mine = wanted.iter_mut().find(|other| {
                        (other.topic_id, other.partition) == (part.topic_id, part.partition)
                    });
                    mine.unwrap().fetch_offset = next;
                }
                // A partition with an error is pushed no more.
                _ => wanted.retain(|other| other != part),
            }
            outlet.send(FrameKind::Push, id, &response, payload);
            if pushed >= *credit.borrow() {
                break;
            }
        }
        shared.changed();
        changes.borrow_and_update();
        if !moved {
            tokio::select! {
                _ = changes.changed() => {}
                granted = credit.changed() => if granted.is_err() { return },
            }
        } else {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn about_topics(api: ApiKey, frame: &Frame, outlet: &Outlet, shared: &Shared) {
    let mut state = shared.state();
    let metadata = &frame.metadata;
    match api {
        ApiKey::Metadata => {
            state.seen.metadata_requests += 1;
            let request = MetadataRequest::decode(metadata).unwrap();
            outlet.reply(frame, &describe(&request, &state), Bytes::new());
        }
        ApiKey::ApiVersions => {
            let response = ApiVersionsResponse {
                software: "fake".to_owned(),
                apis: Vec::new(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(metadata).unwrap();
            outlet.reply(frame, &list_offsets(&request, &mut state), Bytes::new());
        }
        ApiKey::CreateTopics => {
            let request = CreateTopicsRequest::decode(metadata).unwrap();
            outlet.reply(frame, &create(&request, &mut state), Bytes::new());
        }
        ApiKey::DeleteTopics => {
            let request = DeleteTopicsRequest::decode(metadata).unwrap();
            let topics = request.topics.into_iter().map(|topic| {
                let name = name_of(topic);
                let found = state.topics.remove(&name).is_some();
                DeletedTopic {
                    name: Some(name),
                    id: None,
                    error: error_unless(found, ErrorCode::UnknownTopicOrPartition),
                    error_message: None,
                }
            });
            let response = DeleteTopicsResponse {
                topics: topics.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        ApiKey::AlterTopicConfigs => {
            let request = AlterTopicConfigsRequest::decode(metadata).unwrap();
            let topics = request.topics.into_iter().map(|altered| {
                let topic = state.topics.get_mut(&altered.name);
                let found = topic.is_some();
                if let Some(topic) = topic {
                    for change in altered.changes {
                        match change.value {
                            Some(value) => topic.configs.insert(change.name, value),
                            None => topic.configs.remove(&change.name),
                        };
                    }
                }
                AlteredTopic {
                    name: altered.name,
                    error: error_unless(found, ErrorCode::UnknownTopicOrPartition),
                    error_message: None,
                }
            });
            let response = AlterTopicConfigsResponse {
                topics: topics.collect(),
            };
            outlet.reply(frame, &response, Bytes::new());
        }
        other => outlet.refuse(frame, ErrorCode::UnsupportedVersion, &other.to_string()),
    }
}

fn name_of(topic: TopicSelector) -> String {
    match topic {
        TopicSelector::Name(name) => name,
        TopicSelector::Id(id) => id.to_string(),
    }
}

fn error_unless(good: bool, code: ErrorCode) -> ErrorCode {
    if good { ErrorCode::None } else { code }
}

fn describe(request: &MetadataRequest, state: &State) -> MetadataResponse {
    let names: Vec<String> = match &request.topics {
        Some(topics) => topics.iter().cloned().map(name_of).collect(),
        None => state.topics.keys().cloned().collect(),
    };
    MetadataResponse {
        cluster_id: "fake".to_owned(),
        controller: Some(BROKER),
        metadata_offset: 1,
        metadata_epoch: 1,
        brokers: vec![BrokerInfo {
            id: BROKER,
            host: "127.0.0.1".to_owned(),
            port: state.port,
            shards: SHARDS,
        }],
        topics: names
            .into_iter()
            .map(|name| {
                let topic = state.topics.get(&name);
                let all_on_shard_0 = state.script.all_on_shard_0;
                TopicMetadata {
                    error: error_unless(topic.is_some(), ErrorCode::UnknownTopicOrPartition),
                    id: topic.map_or(TopicId::ZERO, |topic| topic.id),
                    name,
                    durability: Durability::Sync,
                    internal: false,
                    partitions: topic.map_or_else(Vec::new, |topic| leaders(topic, all_on_shard_0)),
                }
            })
            .collect(),
    }
}

fn leaders(topic: &Topic, all_on_shard_0: bool) -> Vec<PartitionMetadata> {
    (0..)
        .zip(&topic.partitions)
        .map(|(index, partition)| PartitionMetadata {
            error: ErrorCode::None,
            index: PartitionIndex::new(index),
            leader: Some(BROKER),
            leader_shard: if all_on_shard_0 {
                ShardId::new(0)
            } else {
                shard_of(index)
            },
            leader_epoch: partition.leader_epoch,
            replicas: vec![BROKER],
            in_sync_replicas: vec![BROKER],
        })
        .collect()
}

fn list_offsets(request: &ListOffsetsRequest, state: &mut State) -> ListOffsetsResponse {
    let partitions = request.partitions.iter().map(|wanted| {
        let mut answer = ListOffsetsPartitionResponse::refused(
            wanted.topic_id,
            wanted.partition,
            ErrorCode::UnknownTopicId,
            None,
        );
        let topic = state.topic_by_id(wanted.topic_id);
        if let Some(log) = topic.and_then(|topic| topic.partition(wanted.partition)) {
            answer.error = ErrorCode::None;
            let found: Option<(Offset, Option<Timestamp>)> = match wanted.query {
                OffsetQuery::Earliest => Some((log.log_start, None)),
                OffsetQuery::Latest => Some((log.end, None)),
                OffsetQuery::Timestamp(time) => log
                    .first_at_or_after(time)
                    .map(|(offset, time)| (offset, Some(time))),
            };
            answer.offset = found.map(|(offset, _)| offset);
            answer.timestamp = found.and_then(|(_, time)| time);
        }
        answer
    });
    ListOffsetsResponse {
        partitions: partitions.collect(),
    }
}

fn create(request: &CreateTopicsRequest, state: &mut State) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|new| {
        let mut topic = Topic::new(new.partitions.unwrap_or(1));
        topic.configs.extend(new.configs.iter().cloned());
        let id = topic.id;
        let free = !state.topics.contains_key(&new.name);
        if free {
            state.topics.insert(new.name.clone(), topic);
        }
        CreatedTopic {
            name: new.name.clone(),
            id,
            error: error_unless(free, ErrorCode::TopicAlreadyExists),
            error_message: None,
            partitions: new.partitions.unwrap_or(1),
            replication_factor: 1,
            configs: Vec::new(),
        }
    });
    CreateTopicsResponse {
        topics: topics.collect(),
    }
}
