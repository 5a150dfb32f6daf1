//! The control thread: HTTP for people and monitoring, off the path of every record.
//!
//! One thread with a tokio runtime of its own serves `/metrics` (Prometheus text) and `/health`. It
//! owns nothing of the shards: each request asks them for a snapshot and waits for a bounded time, so
//! that a shard that hangs shows up as silent instead of hanging the request too.

mod health;
mod listener;
mod snapshots;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use corelog_protocol::ShardId;
use tokio::sync::oneshot;

use self::listener::BoundedListener;
use self::snapshots::Snapshots;
use crate::metrics::{ShardSnapshot, encode};
use crate::runtime::remote::ReplyReceiver;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a stop waits for requests under way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The running control thread. Dropped, it stops.
pub struct Control {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Serves on `listener` until [`Control::stop`]. `ask` hands a shard the request for its snapshot
    /// and returns where the answer comes; it must not block, and returns `None` when the shard's
    /// queue is full.
    pub fn start(
        listener: TcpListener,
        shards: usize,
        ask: impl Fn(ShardId) -> Option<ReplyReceiver<ShardSnapshot>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let snapshots = Arc::new(Snapshots::new(shards, ask));
        let (stop, stopped) = oneshot::channel();
        let listener = {
            let _inside = runtime.enter();
            BoundedListener::new(tokio::net::TcpListener::from_std(listener)?)
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listener, snapshots, stopped));
                // Connections that outlive the grace are dropped with the runtime.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what is under way, for a bounded time, and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Dropping the sender is the signal.
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread had panicked");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(
    listener: BoundedListener,
    snapshots: Arc<Snapshots>,
    stopped: oneshot::Receiver<()>,
) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .with_state(snapshots);
    let (graceful, begins) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = stopped.await;
        drop(graceful);
    });
    let grace_over = async {
        let _ = begins.await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = server => {
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            }
        }
        () = grace_over => {}
    }
}

async fn metrics(State(snapshots): State<Arc<Snapshots>>) -> impl IntoResponse {
    let collected = snapshots.collect().await;
    let text = encode(collected.shards, &collected.silent);
    ([(CONTENT_TYPE, OPENMETRICS)], text)
}

async fn health(State(snapshots): State<Arc<Snapshots>>) -> impl IntoResponse {
    let health = health::judge(&snapshots.collect().await);
    let status = if health.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        health.to_json(),
    )
}
