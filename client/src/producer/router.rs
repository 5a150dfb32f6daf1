//! Keeps the lanes pointed at their leaders: fetches metadata when somebody lacks it, and when it has grown old.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::debug;

use super::shared::Shared;
use crate::backoff::Backoff;

/// Runs until the producer is shut down.
pub(super) async fn run(shared: Arc<Shared>) {
    let settings = &shared.settings.connection;
    let mut backoff = Backoff::new(settings.retry_backoff);
    loop {
        let stale = Instant::now() + settings.metadata_max_age;
        tokio::select! {
            () = shared.metadata_wanted.notified() => {}
            () = tokio::time::sleep_until(stale) => {}
        }
        let seen = shared.cluster.image().version;
        match shared.cluster.refresh(seen).await {
            Ok(image) => {
                shared.route_all(&image);
                if !shared.has_leaderless_lanes() {
                    backoff.reset();
                }
            }
            Err(error) => {
                debug!(%error, "metadata could not be refreshed");
                shared.want_metadata();
            }
        }
        // Wishes that come meanwhile are kept, so that one refresh answers a burst of them.
        tokio::time::sleep(backoff.next_wait()).await;
    }
}
