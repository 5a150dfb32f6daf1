//! The native listener of one core.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use corelog_protocol::native::Encoder;

use super::connection::Connection;
use crate::config::BrokerConfig;
use crate::listener::ReceiveBudget;
use crate::listener::options::ListenerOptions;
use crate::listener::server::{self, Origin, adopt, sweep};
use crate::runtime::{self, Listener, Task};
use crate::shard::{ConnectionLimit, Listening, Router};

/// What the native connections of a core share.
pub(super) type Server = server::Server<Connection>;

pub(super) struct Shared {
    /// One table builder for all connections: an idle one holds none.
    pub(super) encoder: RefCell<Encoder>,
}

/// The native dialect on one core. Cheap to clone.
#[derive(Clone)]
pub struct NativeListener {
    server: Rc<Server>,
    /// They end with the last clone.
    _tasks: Rc<[Task<()>; 2]>,
}

impl NativeListener {
    /// Starts to serve the connections that other cores hand to this one.
    pub fn start(
        router: Router,
        options: ListenerOptions,
        config: Arc<BrokerConfig>,
        receive_budget: Rc<ReceiveBudget>,
    ) -> Self {
        let shared = Shared {
            encoder: RefCell::new(Encoder::new(options.frame_limits.for_replies())),
        };
        let server = Rc::new(Server::new(router, options, config, receive_budget, shared));
        let tasks = [
            runtime::spawn(sweep(Rc::clone(&server))),
            runtime::spawn(adopt(Rc::clone(&server), Listening::Native)),
        ];
        Self {
            server,
            _tasks: Rc::new(tasks),
        }
    }

    /// Accepts connections until [`NativeListener::stop`]. On one core of the broker. `limit` counts those of all
    /// listeners.
    pub async fn accept(&self, listener: Listener, limit: Rc<ConnectionLimit>) {
        let server = &self.server;
        let welcome = |socket| {
            if let Some((permit, refusal)) = server.admit(&limit) {
                server.serve(socket, BytesMut::new(), permit, Origin::Accepted, refusal);
            }
        };
        server.accept(listener, welcome).await;
    }

    /// Tells every connection, lets it finish what is under way, and returns when all are closed.
    pub async fn stop(&self) {
        self.server.stop().await;
    }
}
