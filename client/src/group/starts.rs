//! Finds out where to begin with partitions that the coordinator gave this member: the topic's name, and the offset that
//! the group has committed. Apart from `poll`, so that one with a short time-out finds it done.

use std::collections::HashMap;
use std::sync::Arc;

use corelog_protocol::native::{MetadataRequest, TopicSelector};
use corelog_protocol::{ErrorCode, TopicId};
use tracing::{debug, warn};

use super::holdings::{IdPartition, Start};
use super::offsets::{Unfetched, fetch_once};
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::error::RequestError;

/// Runs until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(shared.cluster.settings().retry_backoff);
    let mut changes = shared.watch();
    loop {
        changes.borrow_and_update();
        let (member, wanted) = {
            let membership = shared.membership();
            (membership.member(), membership.holdings.without_start())
        };
        if wanted.is_empty() || member.is_none() {
            backoff.reset();
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let found = find_some(&shared, member, &wanted).await;
        let is_complete = found.len() == wanted.len();
        if !found.is_empty() {
            shared.change(|membership| {
                for (id, round, start) in found {
                    membership.holdings.found_start(id, round, start);
                }
            });
        }
        if !is_complete {
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

/// What can be found out now.
async fn find_some(
    shared: &Shared,
    member: Option<corelog_protocol::native::MemberEpoch>,
    wanted: &[(IdPartition, u64)],
) -> Vec<(IdPartition, u64, Start)> {
    let names = match names_of(&shared.cluster, wanted).await {
        Ok(names) => names,
        Err(error) => {
            debug!(%error, "the names of topics are not known yet");
            return Vec::new();
        }
    };
    // A topic without a name has been deleted: the coordinator will take it back.
    let known: Vec<IdPartition> = wanted
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| names.contains_key(&id.topic_id))
        .collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut fetched = match fetch_once(shared, member, &known).await {
        Ok(fetched) => fetched,
        Err(Unfetched::Again(reason)) => {
            debug!(reason, "committed offsets are not known yet");
            return Vec::new();
        }
        Err(Unfetched::Never(error)) => {
            warn!(%error, "committed offsets are not to be had");
            shared.change(|membership| membership.fail(error));
            return Vec::new();
        }
    };
    for (id, (code, message)) in &fetched.refused {
        debug!(?id, %code, message, "the committed offset is not known yet");
    }
    wanted
        .iter()
        .filter_map(|(id, round)| {
            let start = Start {
                topic: Arc::clone(names.get(&id.topic_id)?),
                committed: fetched.found.remove(id)?,
            };
            Some((*id, *round, start))
        })
        .collect()
}

/// The names of topics: from the metadata at hand, or else from a broker.
async fn names_of(
    cluster: &Cluster,
    wanted: &[(IdPartition, u64)],
) -> Result<HashMap<TopicId, Arc<str>>, RequestError> {
    let image = cluster.image();
    let mut names: HashMap<TopicId, Arc<str>> = image
        .topics
        .values()
        .map(|topic| (topic.id, Arc::clone(&topic.name)))
        .collect();
    let mut unknown: Vec<TopicId> = wanted
        .iter()
        .map(|(id, _)| id.topic_id)
        .filter(|id| !names.contains_key(id))
        .collect();
    unknown.dedup();
    if unknown.is_empty() {
        return Ok(names);
    }
    let request = MetadataRequest {
        topics: Some(unknown.into_iter().map(TopicSelector::Id).collect()),
    };
    let response = cluster.call_any(&request).await?;
    for topic in response.topics {
        if topic.error == ErrorCode::None {
            names.insert(topic.id, topic.name.as_str().into());
        }
    }
    Ok(names)
}
