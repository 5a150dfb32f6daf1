//! The fake broker's sockets, its script and what it has seen.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use corelog_client::{BrokerId, ClientConfig, ErrorCode, ShardId, TopicId};
use corelog_protocol::native::{
    ApiKey, EncodeMessage, Encoder, ErrorResponse, Frame, FrameKind, FrameLimits, HelloRequest,
    HelloResponse, Message, SubscribeCreditRequest, SubscribeRequest, SubscribeResponse,
    UnsubscribeRequest, UnsubscribeResponse, decode_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::coordinator::{Group, about_groups};
use crate::log::Topic;
use crate::{answers, topics};

pub(crate) const BROKER: BrokerId = BrokerId::new(7);
pub(crate) const SHARDS: u16 = 2;

/// A broker in this process. Dropping it closes its socket and its connections; its state goes with it.
pub(crate) struct FakeBroker {
    pub(crate) address: SocketAddr,
    state: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Counts changes of the logs and the script: held replies and waiting fetches look again.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) port: u16,
    pub(crate) topics: BTreeMap<String, Topic>,
    /// Given out so far.
    pub(crate) producer_ids: i64,
    pub(crate) script: Script,
    pub(crate) seen: Seen,
    pub(crate) group: Group,
    connections: Vec<AbortHandle>,
}

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Script {
    /// Answers to the next produce requests, one for each, for all of its partitions; nothing is appended.
    pub(crate) produce_errors: VecDeque<ErrorCode>,
    /// Batches above this are refused as too large.
    pub(crate) max_batch_bytes: Option<usize>,
    /// What `max_batch_bytes` is once a connection was lost after an append.
    pub(crate) max_batch_bytes_after_loss: Option<usize>,
    /// What Hello says a frame's payload may be, if it is not the default.
    pub(crate) max_payload: Option<u32>,
    /// The next produce requests are appended, and the connection is lost before the answer.
    pub(crate) lose_after_append: usize,
    /// The next requests that create, delete, alter or enlarge topics are carried out, and the connection is lost before the
    /// answer.
    pub(crate) lose_after_change: usize,
    /// Produce requests wait unanswered and unappended.
    pub(crate) hold_produce: bool,
    /// Hellos are refused with this.
    pub(crate) refuse_hello: Option<ErrorCode>,
    /// Answers of fetches and pushes, one for each, for all of their partitions.
    pub(crate) fetch_errors: VecDeque<ErrorCode>,
    /// One bit of each batch that is read is wrong.
    pub(crate) damage_reads: bool,
    /// Pushes beyond the credit.
    pub(crate) ignore_credit: bool,
    /// Tells clients that every partition is on shard 0.
    pub(crate) all_on_shard_0: bool,
}

/// What clients did.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) hellos: Vec<Option<ShardId>>,
    pub(crate) produce_requests: usize,
    pub(crate) largest_produce: usize,
    pub(crate) too_large: usize,
    pub(crate) produce_waiting: usize,
    pub(crate) most_produce_waiting: usize,
    pub(crate) misrouted: usize,
    /// Producers that went on under a higher epoch.
    pub(crate) raised_epochs: usize,
    pub(crate) metadata_requests: usize,
    /// Requests that create, delete, alter or enlarge topics.
    pub(crate) changes: usize,
    pub(crate) describe_configs: usize,
    pub(crate) subscribes: usize,
    pub(crate) credit_granted: u64,
    pub(crate) pushed: u64,
    /// Bytes of all answers to fetches and of all pushes.
    pub(crate) read: usize,
}

impl FakeBroker {
    pub(crate) async fn start(topics: &[(&str, i32)]) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changes: watch::Sender::new(0),
        });
        for (name, partitions) in topics {
            let topic = Topic::new(*partitions);
            shared.state().topics.insert((*name).to_owned(), topic);
        }
        let mut broker = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: shared,
            listening: None,
        };
        broker.listen().await;
        broker
    }

    /// Listens, on the same port as before if there was one.
    pub(crate) async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.state.state().port = self.address.port();
        let shared = Arc::clone(&self.state);
        self.listening = Some(tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let task = tokio::spawn(serve(socket, Arc::clone(&shared)));
                shared.state().connections.push(task.abort_handle());
            }
        }));
    }

    /// Closes the socket and every connection; the logs stay.
    pub(crate) async fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _aborted = listening.await;
        }
        self.drop_connections();
    }

    pub(crate) fn drop_connections(&self) {
        self.state.state().lose_connections();
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.state()
    }

    /// Changes the script or the logs, and lets whoever waits look again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.state());
        self.state.changed();
    }

    /// Waits until the state is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&State) -> bool) {
        let mut changes = self.state.changes.subscribe();
        while !wanted(&self.state.state()) {
            changes.changed().await.unwrap();
        }
    }

    /// Waits until a client that refreshes its metadata now and then must have what is true now.
    pub(crate) async fn until_metadata_is_fresh(&self) {
        // The first of them may be answered already.
        let wanted = self.state().seen.metadata_requests + 2;
        self.until(|state| state.seen.metadata_requests >= wanted)
            .await;
    }

    /// Every value in one partition, in order.
    pub(crate) fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        self.state().topics[topic].partitions[partition]
            .records()
            .into_iter()
            .map(|(_, _, value)| value)
            .collect()
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig::new()
            .set("bootstrap.servers", self.address)
            .set("retry.backoff.ms", 5)
            .set("retry.backoff.max.ms", 20)
            .set("reconnect.backoff.ms", 5)
            .set("reconnect.backoff.max.ms", 20)
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        self.drop_connections();
    }
}

impl Shared {
    /// Also after a failed assertion about it, so that the failure is told and not the lock.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl State {
    pub(crate) fn lose_connections(&mut self) {
        for connection in self.connections.drain(..) {
            connection.abort();
        }
    }

    pub(crate) fn topic_by_id(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.values_mut().find(|topic| topic.id == id)
    }
}

/// Where a partition lives.
pub(crate) fn shard_of(partition: i32) -> ShardId {
    ShardId::new(u16::try_from(partition).unwrap() % SHARDS)
}

/// One connection's way out.
#[derive(Clone)]
pub(crate) struct Outlet {
    frames: mpsc::UnboundedSender<(BytesMut, Bytes)>,
}

impl Outlet {
    /// Loses what it is given.
    fn nowhere() -> Self {
        let (frames, _) = mpsc::unbounded_channel();
        Self { frames }
    }

    pub(crate) fn reply<M: EncodeMessage>(&self, to: &Frame, message: &M, payload: Bytes) {
        self.send(
            FrameKind::Response,
            to.header.correlation_id,
            message,
            payload,
        );
    }

    pub(crate) fn send<M: EncodeMessage>(
        &self,
        kind: FrameKind,
        correlation_id: u32,
        message: &M,
        payload: Bytes,
    ) {
        let mut head = BytesMut::new();
        Encoder::default()
            .frame(kind, correlation_id, message, payload.len(), &mut head)
            .unwrap();
        // The connection may be gone.
        let _ = self.frames.send((head, payload));
    }

    pub(crate) fn refuse(&self, to: &Frame, code: ErrorCode, message: &str) {
        let mut head = BytesMut::new();
        let error = ErrorResponse {
            code,
            message: message.to_owned(),
        };
        Encoder::default()
            .error_frame(to.header.api, to.header.correlation_id, &error, &mut head)
            .unwrap();
        // The connection may be gone.
        let _ = self.frames.send((head, Bytes::new()));
    }
}

/// What one connection has come to.
pub(crate) struct Session {
    pub(crate) shard: ShardId,
    subscriptions: BTreeMap<u32, (watch::Sender<u64>, JoinHandle<()>)>,
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let (mut read, mut write) = socket.into_split();
    let (frames, mut outgoing) = mpsc::unbounded_channel::<(BytesMut, Bytes)>();
    let outlet = Outlet { frames };
    let writing = async move {
        while let Some((head, payload)) = outgoing.recv().await {
            if write.write_all(&head).await.is_err() || write.write_all(&payload).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut session = Session {
            shard: ShardId::new(0),
            subscriptions: BTreeMap::new(),
        };
        let mut buffer = BytesMut::new();
        loop {
            while let Some(frame) = decode_frame(&mut buffer, &FrameLimits::default()).unwrap() {
                if handle(frame, &mut session, &outlet, &shared).await.is_err() {
                    return;
                }
            }
            if read.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// The script wants the connection to end.
pub(crate) struct Lost;

async fn handle(
    frame: Frame,
    session: &mut Session,
    outlet: &Outlet,
    shared: &Arc<Shared>,
) -> Result<(), Lost> {
    match frame.header.api_key().unwrap() {
        ApiKey::Hello => hello(&frame, session, outlet, shared),
        ApiKey::Produce => answers::produce(&frame, session.shard, outlet, shared)?,
        ApiKey::Fetch => {
            let (outlet, shared) = (outlet.clone(), Arc::clone(shared));
            tokio::spawn(async move { answers::fetch(&frame, &outlet, &shared).await });
        }
        ApiKey::Subscribe => {
            let request = SubscribeRequest::decode(&frame.metadata).unwrap();
            outlet.reply(&frame, &SubscribeResponse {}, Bytes::new());
            shared.state().seen.subscribes += 1;
            shared.state().seen.credit_granted += request.credit_bytes;
            let credit = watch::Sender::new(request.credit_bytes);
            let id = frame.header.correlation_id;
            let pushing = answers::push(
                request,
                id,
                credit.subscribe(),
                outlet.clone(),
                Arc::clone(shared),
            );
            session
                .subscriptions
                .insert(id, (credit, tokio::spawn(pushing)));
        }
        ApiKey::SubscribeCredit => {
            let request = SubscribeCreditRequest::decode(&frame.metadata).unwrap();
            shared.state().seen.credit_granted += request.bytes;
            if let Some((credit, _)) = session.subscriptions.get(&request.subscription) {
                credit.send_modify(|credit| *credit += request.bytes);
            }
        }
        ApiKey::Unsubscribe => {
            let request = UnsubscribeRequest::decode(&frame.metadata).unwrap();
            if let Some((_, pushing)) = session.subscriptions.remove(&request.subscription) {
                pushing.abort();
            }
            outlet.reply(&frame, &UnsubscribeResponse {}, Bytes::new());
        }
        api @ (ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::AlterTopicConfigs
        | ApiKey::CreatePartitions) => {
            let lose = {
                let mut state = shared.state();
                state.seen.changes += 1;
                let lose = state.script.lose_after_change > 0;
                state.script.lose_after_change -= usize::from(lose);
                lose
            };
            if lose {
                topics::about_topics(api, &frame, &Outlet::nowhere(), shared);
                return Err(Lost);
            }
            topics::about_topics(api, &frame, outlet, shared);
        }
        api if about_groups(api, &frame, session.shard, outlet, shared) => {}
        api => topics::about_topics(api, &frame, outlet, shared),
    }
    shared.changed();
    Ok(())
}

fn hello(frame: &Frame, session: &mut Session, outlet: &Outlet, shared: &Shared) {
    let request = HelloRequest::decode(&frame.metadata).unwrap();
    let mut state = shared.state();
    state.seen.hellos.push(request.shard);
    if let Some(code) = state.script.refuse_hello {
        outlet.refuse(frame, code, "not today");
        return;
    }
    session.shard = request.shard.unwrap_or(ShardId::new(0));
    let response = HelloResponse {
        version: 1,
        features: 0,
        cluster_id: "fake".to_owned(),
        broker_id: BROKER,
        shard: session.shard,
        shards: SHARDS,
        max_frame_metadata: 1 << 20,
        max_frame_payload: state.script.max_payload.unwrap_or(100 << 20),
    };
    outlet.reply(frame, &response, Bytes::new());
}
