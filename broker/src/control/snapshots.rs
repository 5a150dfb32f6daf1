use std::time::Duration;

use corelog_protocol::ShardId;
use futures_util::future::join_all;

use crate::metrics::ShardSnapshot;
use crate::runtime::remote::ReplyReceiver;

/// A shard that has not answered after this long is called silent. A busy shard answers within
/// milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type Ask = dyn Fn(ShardId) -> Option<ReplyReceiver<ShardSnapshot>> + Send + Sync;

/// Asks every shard for its counts.
pub(super) struct Snapshots {
    shards: u16,
    ask: Box<Ask>,
}

/// What came back.
pub(super) struct Collected {
    pub(super) shards: Vec<ShardSnapshot>,
    /// Shards that did not answer in time.
    pub(super) silent: Vec<ShardId>,
}

impl Snapshots {
    pub(super) fn new(
        shards: usize,
        ask: impl Fn(ShardId) -> Option<ReplyReceiver<ShardSnapshot>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shards: u16::try_from(shards).expect("a broker has at most 1024 shards"),
            ask: Box::new(ask),
        }
    }

    pub(super) async fn collect(&self) -> Collected {
        let answers = (0..self.shards).map(ShardId::new).map(async |shard| {
            let answer = (self.ask)(shard).ok_or(shard)?;
            match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Ok(snapshot)) => Ok(snapshot),
                Ok(Err(_)) | Err(_) => Err(shard),
            }
        });
        let mut collected = Collected {
            shards: Vec::new(),
            silent: Vec::new(),
        };
        for answer in join_all(answers).await {
            match answer {
                Ok(snapshot) => collected.shards.push(snapshot),
                Err(shard) => collected.silent.push(shard),
            }
        }
        collected
    }
}
