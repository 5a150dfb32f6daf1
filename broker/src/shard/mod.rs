//! Everything one core owns, and the way from a request to the partition it is about.
//!
//! A shard is one thread's worth of broker: partitions, their log and journal, buffers, metrics
//! and the connections its listener serves. All of it is `Rc` and `Cell`; other cores reach it
//! only through the mesh ([`message::ShardMessage`]), and it reaches them only through its lanes
//! (`lane::Lane`), which are bounded.
//!
//! Listeners hold a [`Router`]. Which shard owns a partition is computed from its id and the
//! number of shards ([`crate::metadata::shard_of`]); it is stored nowhere.
//!
//! The shard follows the metadata: for each image it deletes, updates and opens its partitions
//! (`ownership`), and only then acknowledges the image, so that whoever created a topic finds it
//! on every shard.

mod compaction;
mod connection_limit;
mod coordinator;
mod groups;
mod hand_offs;
mod housekeeping;
mod lane;
#[cfg(test)]
mod lane_tests;
mod message;
mod ownership;
#[cfg(test)]
mod ownership_tests;
mod partitions;
mod pending_produce;
mod producer_ids;
mod router;
mod serve;
mod snapshot;
mod state;

pub use connection_limit::{ConnectionLimit, ConnectionPermit};
pub(crate) use groups::OffsetsTopicOptions;
pub use groups::{CoordinatorPlace, GroupOutcome};
pub use message::{HandedOff, Listening, ShardMessage, StopPhase, StopReport};
pub use pending_produce::{Crowded, PendingProduce};
pub use router::Router;
pub(crate) use serve::StopRequest;
pub(crate) use state::ShardParts;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::controller::ControllerHandle;
use crate::log::{LogError, Recovered};
use crate::metadata::MetadataImage;
use crate::runtime::latest::Subscriber;
use crate::runtime::{queue, spawn};
use state::ShardState;

/// One shard, as the broker starts and stops it.
pub(crate) struct Shard(Rc<ShardState>);

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> Self {
        Self(ShardState::new(parts))
    }

    pub(crate) fn router(&self) -> Router {
        Router {
            shard: Rc::clone(&self.0),
        }
    }

    /// Makes this the shard where the controller lives.
    pub(crate) fn host_controller(&self, controller: ControllerHandle) {
        self.0.host_controller(controller);
    }

    /// Opens the partitions that `image` gives to this shard, as the start found them.
    pub(crate) async fn open_partitions(&self, image: Arc<MetadataImage>, recovered: &Recovered) {
        self.0.apply(image, Some(recovered)).await;
    }

    /// Follows the metadata from now on, and tells the controller of each image when all that it
    /// changes here is done.
    pub(crate) fn follow(&self, images: Subscriber<MetadataImage>) {
        let shard = Rc::clone(&self.0);
        spawn(async move { shard.follow(images).await }).detach();
    }

    /// Compacts logs in the background, looking for work after every `backoff` without any.
    pub(crate) fn compact_logs(&self, backoff: Duration) {
        spawn(compaction::compact_logs(Rc::clone(&self.0), backoff)).detach();
    }

    /// Has every partition's old segments looked at once in `interval`, until the logs close.
    pub(crate) fn keep_house(&self, interval: Duration) {
        self.0.keep_house(interval);
    }

    /// Serves the other shards and the control thread. The steps of the broker's stop come out.
    pub(crate) fn serve(&self) -> queue::Receiver<StopRequest> {
        let (stops, stop_requests) = queue::bounded(1);
        spawn(serve::serve(Rc::clone(&self.0), stops)).detach();
        stop_requests
    }

    /// Closes every partition, then the log; everything taken before is answered.
    pub(crate) async fn close_logs(&self) -> Result<(), LogError> {
        self.0.close_logs().await
    }

    /// Nothing of this shard starts a task any more: its executor is about to end.
    pub(crate) fn end(&self) {
        self.0.close_lanes();
    }
}
