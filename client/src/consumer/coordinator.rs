//! Keeps the assignment workable: looks up positions and leaders, and starts a fetcher per node that leads a partition.

use std::sync::Arc;
use std::time::Duration;

use corelog_protocol::native::OffsetQuery;
use tokio::time::Instant;
use tracing::debug;

use super::buffer::{Content, Portion};
use super::fetcher;
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::cluster::ClusterImage;
use crate::error::ConsumeError;
use crate::leaders::check_exists;
use crate::offsets::list_offsets_each;
use crate::record::TopicPartition;

/// How long one round of looking up positions may take before seeks that came meanwhile have their turn.
const LOOK_UP_ROUND: Duration = Duration::from_secs(1);

/// Runs until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let settings = &shared.settings.connection;
    let mut backoff = Backoff::new(settings.retry_backoff);
    let mut refreshed: Option<Instant> = None;
    loop {
        let found = look_up_positions(&shared).await;
        let stale = refreshed.map_or_else(Instant::now, |at| at + settings.metadata_max_age);
        let routed = find_leaders(&shared, stale, &mut refreshed).await;
        let nodes = shared.assignment().nodes();
        shared.start_fetchers(&nodes, |node| {
            tokio::spawn(fetcher::run(node, Arc::clone(&shared))).abort_handle()
        });
        if found && routed {
            backoff.reset();
            let stale = refreshed.unwrap_or_else(Instant::now) + settings.metadata_max_age;
            tokio::select! {
                () = shared.attention.notified() => {}
                () = tokio::time::sleep_until(stale) => {}
            }
        } else {
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

/// Asks the leaders for positions that are given by place or time. True if none is left to ask for.
async fn look_up_positions(shared: &Arc<Shared>) -> bool {
    let seeking = shared.assignment().seeking();
    if seeking.is_empty() {
        return true;
    }
    let queries: Vec<(TopicPartition, OffsetQuery)> = seeking
        .iter()
        .map(|(partition, _, query)| (partition.clone(), *query))
        .collect();
    let isolation = shared.settings.isolation;
    let mut found = list_offsets_each(&shared.cluster, &queries, isolation, LOOK_UP_ROUND).await;
    let mut complete = true;
    for (partition, generation, query) in seeking {
        match found.remove(&partition) {
            Some(Ok(Some(listed))) => {
                let mut assignment = shared.assignment();
                assignment.found(&partition, generation, listed.offset);
            }
            // No record is that young: go on with the next one to come.
            Some(Ok(None)) if query != OffsetQuery::Latest => {
                shared.assignment().seek_end(&partition, generation);
                complete = false;
            }
            Some(Err(ConsumeError::NoSuchPartition { .. }))
                if shared.assignment().is_of_a_group(&partition) =>
            {
                complete = false;
            }
            Some(Err(error)) if !error.is_retriable() => {
                fail(shared, partition, generation, error);
            }
            Some(Ok(None) | Err(_)) | None => complete = false,
        }
    }
    shared.changed();
    complete
}

/// Points the partitions at their leaders, with new metadata where the present one is old or has proved wrong. True if
/// every partition that is read has one.
async fn find_leaders(
    shared: &Arc<Shared>,
    stale: Instant,
    refreshed: &mut Option<Instant>,
) -> bool {
    let settings = &shared.settings.connection;
    let image = shared.cluster.image();
    let old = Instant::now() >= stale && refreshed.is_some();
    if !old {
        if !shared.assignment().lacks_routes() {
            return true;
        }
        let routed = {
            let mut assignment = shared.assignment();
            assignment.trusts(image.version) && assignment.route(&image)
        };
        if routed {
            shared.changed();
            return true;
        }
    }
    if let Some(refreshed) = *refreshed {
        // Leaders that keep being wrong must not make this a storm of requests.
        tokio::time::sleep_until(refreshed + settings.retry_backoff.first).await;
    }
    match shared.cluster.refresh(image.version).await {
        Ok(image) => {
            *refreshed = Some(Instant::now());
            let routed = shared.assignment().route(&image);
            report_missing(shared, &image);
            shared.changed();
            routed
        }
        Err(error) => {
            debug!(%error, "metadata could not be refreshed");
            false
        }
    }
}

/// Tells the caller of partitions that the cluster does not have. Of those of a group the group's coordinator will know.
fn report_missing(shared: &Arc<Shared>, image: &ClusterImage) {
    let reading = shared.assignment().reading();
    for (partition, generation) in reading {
        if let Err(error) = check_exists(image, &partition)
            && !shared.assignment().is_of_a_group(&partition)
        {
            fail(shared, partition, generation, error);
        }
    }
}

/// Sets a partition aside and lets `poll` say why.
pub(super) fn fail(
    shared: &Shared,
    partition: TopicPartition,
    generation: u64,
    error: ConsumeError,
) {
    shared.assignment().stop(&partition, generation);
    shared.buffer.push(Portion {
        partition,
        generation,
        content: Content::Failed(error),
    });
}
