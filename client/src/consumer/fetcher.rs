//! Brings batches of one node's partitions into the buffer: one task per (broker, shard), by asking or by subscribing.
//!
//! A fetcher works on a list of targets taken from the assignment. When the assignment changes it compares, and starts
//! anew if the list is another one. A connection or a leader that is lost sends its partitions back to the coordinator.

use std::sync::Arc;

use bytes::Bytes;
use corelog_protocol::native::{
    ApiKey, ApiVersionsRequest, FetchPartition, FetchPartitionResponse, FetchRequest,
    FetchResponse, Frame, SubscribeRequest,
};
use corelog_protocol::record::split_batches;
use corelog_protocol::{ErrorCode, LeaderEpoch, Offset};
use tokio::sync::watch;
use tracing::debug;

use super::assignment::FetchTarget;
use super::buffer::{Content, Portion, Window};
use super::coordinator::fail;
use super::shared::Shared;
use crate::cluster::Node;
use crate::config::FetchMode;
use crate::connection::Connection;
use crate::error::{ConsumeError, RequestError, words};

/// Most bytes of one node that wait in the buffer: enough for the next portion to be under way while one is polled,
/// little enough to stay near the core.
const WINDOW_BYTES: u32 = 8 << 20;

/// Why a fetcher stops what it is doing.
enum Stop {
    /// The assignment has changed: look at it again.
    Changed,
    /// The connection or the broker failed: the leaders must be looked up again.
    Failed(RequestError),
}

/// Runs until the consumer is closed.
pub(super) async fn run(node: Node, shared: Arc<Shared>) {
    let mut changes = shared.watch_changes();
    // One for all that this task ever fetches: what came before a change is still in memory after it.
    let window = Window::new();
    loop {
        changes.borrow_and_update();
        let targets = shared.assignment().targets(node);
        if targets.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut work = Work {
            shared: &shared,
            node,
            targets,
            window: Arc::clone(&window),
        };
        let version = shared.cluster.image().version;
        let stop = match shared.cluster.node(node).await {
            Ok(connection) => match shared.settings.fetch_mode {
                FetchMode::Fetch => work.fetch(&connection, &mut changes).await,
                FetchMode::Subscribe => work.subscribe(&connection, &mut changes).await,
            },
            Err(error) => Stop::Failed(error.into()),
        };
        if let Stop::Failed(error) = stop {
            debug!(%node, %error, "fetching stopped");
            let mut assignment = shared.assignment();
            for target in &work.targets {
                assignment.forget_route(&target.partition, &target.route, version);
            }
            drop(assignment);
            shared.attention.notify_one();
        }
    }
}

struct Work<'a> {
    shared: &'a Arc<Shared>,
    node: Node,
    targets: Vec<FetchTarget>,
    window: Arc<Window>,
}

impl Work<'_> {
    fn window_bytes(&self) -> u64 {
        u64::from(WINDOW_BYTES.min(self.shared.settings.fetch_max_bytes))
    }

    /// True if the assignment still wants exactly this.
    fn is_wanted(&self) -> bool {
        let now = self.shared.assignment().targets(self.node);
        now.len() == self.targets.len()
            && now
                .iter()
                .zip(&self.targets)
                .all(|(now, then)| now.is_same_stream(then))
    }

    async fn changed(&self, changes: &mut watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            if !self.is_wanted() {
                return;
            }
        }
    }

    fn partitions(&self) -> Vec<FetchPartition> {
        self.targets
            .iter()
            .map(|target| FetchPartition {
                topic_id: target.route.topic_id,
                partition: target.partition.partition,
                leader_epoch: target.route.leader_epoch,
                last_fetched_epoch: target.last_fetched_epoch,
                fetch_offset: target.offset,
                max_bytes: self.shared.settings.max_partition_fetch_bytes,
            })
            .collect()
    }

    /// Asks for one portion after the other, as long as there is room for it.
    async fn fetch(&mut self, connection: &Connection, changes: &mut watch::Receiver<u64>) -> Stop {
        let settings = &self.shared.settings;
        loop {
            while self.window.held() >= self.window_bytes() {
                tokio::select! {
                    () = self.window.changed() => {}
                    () = self.changed(changes) => return Stop::Changed,
                }
            }
            let request = FetchRequest {
                max_wait_ms: u32::try_from(settings.fetch_max_wait.as_millis()).unwrap_or(u32::MAX),
                min_bytes: settings.fetch_min_bytes,
                max_bytes: settings.fetch_max_bytes,
                isolation: settings.isolation,
                partitions: self.partitions(),
            };
            let timeout = settings.connection.request_timeout + settings.fetch_max_wait;
            let pending = match connection.send_within(&request, Vec::new(), timeout) {
                Ok(pending) => pending,
                Err(error) => return Stop::Failed(error.into()),
            };
            let reply = tokio::select! {
                reply = pending.wait() => reply,
                () = self.changed(changes) => return Stop::Changed,
            };
            let taken = match reply {
                Ok(frame) => self.take(connection, ApiKey::Fetch, &frame),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return Stop::Failed(error);
            }
            if !self.is_wanted() {
                return Stop::Changed;
            }
        }
    }

    /// Lets the broker push, and grants it credit as portions are polled: what it may still push and what waits in the
    /// buffer are together the window.
    async fn subscribe(
        &mut self,
        connection: &Connection,
        changes: &mut watch::Receiver<u64>,
    ) -> Stop {
        let settings = &self.shared.settings;
        let window_bytes = as_signed(self.window_bytes());
        let least_grant = (window_bytes / 4).max(1);
        let mut credit = loop {
            let room = window_bytes - as_signed(self.window.held());
            if room >= least_grant {
                break room;
            }
            tokio::select! {
                () = self.window.changed() => {}
                () = self.changed(changes) => return Stop::Changed,
            }
        };
        let request = SubscribeRequest {
            credit_bytes: credit.unsigned_abs(),
            max_push_bytes: settings.max_partition_fetch_bytes,
            isolation: settings.isolation,
            partitions: self.partitions(),
        };
        let mut subscription = match connection.subscribe(&request) {
            Ok((subscription, accepted)) => match accepted.wait().await {
                Ok(_) => subscription,
                Err(error) => return Stop::Failed(error),
            },
            Err(error) => return Stop::Failed(error.into()),
        };
        let quiet = settings.connection.request_timeout;
        loop {
            let pushed = tokio::select! {
                pushed = tokio::time::timeout(quiet, subscription.next()) => pushed,
                () = self.window.changed() => {
                    let room = window_bytes - as_signed(self.window.held()) - credit;
                    if room >= least_grant {
                        if let Err(error) = subscription.grant(room.unsigned_abs()) {
                            return Stop::Failed(error.into());
                        }
                        credit += room;
                    }
                    continue;
                }
                () = self.changed(changes) => {
                    return match subscription.end().await {
                        Ok(()) => Stop::Changed,
                        Err(error) => Stop::Failed(error),
                    };
                }
            };
            let result = match pushed {
                Ok(Ok(frame)) => {
                    // The last push may exceed the credit by a part: a batch is never split.
                    credit -= as_signed(frame.payload.len() as u64);
                    self.take(connection, ApiKey::Subscribe, &frame)
                }
                Ok(Err(error)) => Err(error.into()),
                // Silence may be an idle partition or a broker that is gone without a word: ask.
                Err(_elapsed) => connection.call(&ApiVersionsRequest {}).await.map(drop),
            };
            if let Err(error) = result {
                return Stop::Failed(error);
            }
        }
    }

    /// Puts the batches of a reply or a push into the buffer.
    fn take(
        &mut self,
        connection: &Connection,
        api: ApiKey,
        frame: &Frame,
    ) -> Result<(), RequestError> {
        let response: FetchResponse = connection.decode(api, &frame.metadata)?;
        let parts = response
            .split_payload(&frame.payload)
            .map_err(|error| connection.malformed(api, &error))?;
        for (answer, bytes) in parts {
            let position = self
                .targets
                .iter()
                .position(|target| target.id() == (answer.topic_id, answer.partition));
            if let Some(position) = position {
                self.take_partition(position, answer, bytes);
            }
        }
        Ok(())
    }

    fn take_partition(&mut self, position: usize, answer: &FetchPartitionResponse, bytes: Bytes) {
        let shared = self.shared;
        let target = &mut self.targets[position];
        if let Some(hint) = answer.hint {
            let node = Node {
                broker: hint.broker,
                shard: hint.shard,
            };
            shared
                .assignment()
                .reroute(&target.partition, &target.route, node);
            shared.changed();
        }
        if answer.error != ErrorCode::None {
            refuse(shared, target, answer);
            return;
        }
        if let Some((_, end_offset)) = answer.diverging_epoch {
            stop_with(shared, target, Content::Truncated(end_offset));
            return;
        }
        let checked = check_batches(&bytes, target.offset, shared.settings.check_crcs);
        if checked.bytes > 0 {
            target.offset = checked.next_offset;
            target.last_fetched_epoch = checked.epoch.or(target.last_fetched_epoch);
            shared.assignment().fetched(
                &target.partition,
                target.generation,
                target.offset,
                target.last_fetched_epoch,
            );
            shared.buffer.push(Portion {
                partition: target.partition.clone(),
                generation: target.generation,
                content: Content::Batches {
                    hold: Some(self.window.hold(bytes.len())),
                    bytes: bytes.slice(..checked.bytes),
                },
            });
        }
        if let Some(reason) = checked.damage {
            let error = ConsumeError::Corrupt {
                partition: target.partition.clone(),
                offset: target.offset,
                reason,
            };
            fail(shared, target.partition.clone(), target.generation, error);
            shared.changed();
        }
    }
}

fn as_signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How far a portion is sound.
struct Checked {
    bytes: usize,
    next_offset: Offset,
    epoch: Option<LeaderEpoch>,
    damage: Option<String>,
}

/// Reads the headers of a portion's batches: they must follow each other and pass their CRC.
fn check_batches(bytes: &Bytes, from: Offset, check_crcs: bool) -> Checked {
    let mut checked = Checked {
        bytes: 0,
        next_offset: from,
        epoch: None,
        damage: None,
    };
    for batch in split_batches(bytes) {
        let sound = batch.and_then(|batch| {
            if check_crcs {
                batch.verify_crc()?;
            }
            Ok(batch)
        });
        let batch = match sound {
            Ok(batch) => batch,
            Err(error) => {
                checked.damage = Some(error.to_string());
                break;
            }
        };
        // The first batch may begin before the offset asked for, and compaction leaves gaps; nothing goes back.
        let goes_back = checked.bytes > 0 && batch.base_offset() < checked.next_offset;
        if goes_back || batch.next_offset() <= checked.next_offset {
            checked.damage = Some(format!(
                "offsets {} to {} come after {}",
                batch.base_offset(),
                batch.last_offset(),
                checked.next_offset
            ));
            break;
        }
        checked.bytes += batch.size_in_bytes();
        checked.next_offset = batch.next_offset();
        checked.epoch = batch.partition_leader_epoch();
    }
    checked
}

/// Acts on a partition's error: look for the leader again, or let `poll` decide.
fn refuse(shared: &Shared, target: &FetchTarget, answer: &FetchPartitionResponse) {
    let code = answer.error;
    if code == ErrorCode::OffsetOutOfRange {
        stop_with(shared, target, Content::OutOfRange(target.offset));
    } else if code.is_retriable() {
        debug!(partition = %target.partition, %code, "the leader is looked up again");
        let version = shared.cluster.image().version;
        shared
            .assignment()
            .forget_route(&target.partition, &target.route, version);
        shared.changed();
    } else {
        let error = ConsumeError::Broker {
            partition: target.partition.clone(),
            code,
            message: words(code, answer.error_message.as_ref()),
        };
        fail(shared, target.partition.clone(), target.generation, error);
        shared.changed();
    }
}

/// Sets a partition aside until `poll` has come to this point.
fn stop_with(shared: &Shared, target: &FetchTarget, content: Content) {
    shared
        .assignment()
        .stop(&target.partition, target.generation);
    shared.buffer.push(Portion {
        partition: target.partition.clone(),
        generation: target.generation,
        content,
    });
    shared.changed();
}
