//! The producer's id and epoch: obtained before its first batch, raised where a partition needs it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use corelog_protocol::native::InitProducerIdRequest;
use corelog_protocol::{ErrorCode, ProducerEpoch, ProducerId};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::sequences::Identity;
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::error::{ProduceError, RequestError, words};

/// What the lanes share of it.
#[derive(Default)]
pub(super) struct IdentitySource {
    current: Mutex<Option<Identity>>,
    /// One asks for all.
    asking: tokio::sync::Mutex<()>,
    is_raising: AtomicBool,
}

impl IdentitySource {
    pub(super) fn current(&self) -> Option<Identity> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, identity: Identity) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }
}

impl Shared {
    /// Has the producer named, if it is idempotent, within `max.block.ms`.
    pub(super) async fn ensure_identity(&self) -> Result<(), ProduceError> {
        if !self.settings.idempotent || self.identity.current().is_some() {
            return Ok(());
        }
        let start = Instant::now();
        let mut backoff = Backoff::new(self.settings.connection.retry_backoff);
        let mut reason = "no broker answered".to_owned();
        loop {
            let left = self.settings.max_block.saturating_sub(start.elapsed());
            let asked = tokio::time::timeout(left, async {
                let _asking = self.identity.asking.lock().await;
                if self.identity.current().is_none() {
                    let identity = self.ask_for_identity(None).await?;
                    self.identity.set(identity);
                }
                Ok(())
            });
            let is_final = match asked.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => {
                    let error: RequestError = error;
                    reason = error.to_string();
                    !error.is_retriable()
                }
                // What was heard before says more than that the time is over.
                Err(_elapsed) => true,
            };
            let wait = backoff.next_wait();
            if is_final || start.elapsed() + wait >= self.settings.max_block {
                return Err(ProduceError::NoProducerId {
                    waited: start.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Begins to ask for an epoch above `old`, unless somebody asks already. Every lane is listed when it is there. False
    /// if there is one.
    pub(super) fn raise_epoch(self: &Arc<Self>, old: Identity) -> bool {
        if self.identity.current() != Some(old) {
            return false;
        }
        if self.identity.is_raising.swap(true, Ordering::AcqRel) {
            return true;
        }
        if self.identity.current() != Some(old) {
            // Whoever asked was done in between.
            self.identity.is_raising.store(false, Ordering::Release);
            return false;
        }
        let shared = Arc::downgrade(self);
        let backoff = Backoff::new(self.settings.connection.retry_backoff);
        self.keep_task(self.spawn(async move {
            let mut backoff = backoff;
            let mut current = Some((old.id, old.epoch));
            loop {
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                match shared.ask_for_identity(current).await {
                    Ok(identity) => {
                        debug!(id = %identity.id, epoch = %identity.epoch, "the producer goes on");
                        shared.identity.set(identity);
                        shared.identity.is_raising.store(false, Ordering::Release);
                        for lane in shared.lanes() {
                            shared.list(&lane);
                        }
                        return;
                    }
                    Err(error) => {
                        warn!(%error, "no new epoch for the producer yet");
                        // Another id serves as well where this one cannot go on.
                        if !error.is_retriable() {
                            current = None;
                        }
                    }
                }
                drop(shared);
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }));
        true
    }

    async fn ask_for_identity(
        &self,
        current: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<Identity, RequestError> {
        let request = InitProducerIdRequest { current };
        let response = self.cluster.call_any(&request).await?;
        if response.error != ErrorCode::None {
            return Err(RequestError::Broker {
                request: "InitProducerId",
                code: response.error,
                message: words(response.error, response.error_message),
            });
        }
        Ok(Identity {
            id: response.producer_id,
            epoch: response.producer_epoch,
        })
    }
}
