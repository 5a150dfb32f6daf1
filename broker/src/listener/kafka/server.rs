//! The Kafka listener of one core.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use corelog_protocol::ShardId;

use super::connection::Connection;
use super::nodes::Nodes;
use crate::config::BrokerConfig;
use crate::listener::ReceiveBudget;
use crate::listener::options::ListenerOptions;
use crate::listener::server::{self, Origin, adopt, sweep};
use crate::runtime::{self, AcceptedSocket, Listener, Task};
use crate::shard::{ConnectionLimit, ConnectionPermit, HandedOff, Listening, Router};

/// What the Kafka connections of a core share.
pub(super) type Server = server::Server<Connection>;

pub(super) struct Shared {
    pub(super) nodes: Arc<Nodes>,
    /// The last fetch session's id.
    pub(super) last_session: Cell<i32>,
}

/// Kafka's protocol on one core. Cheap to clone.
#[derive(Clone)]
pub struct KafkaListener {
    server: Rc<Server>,
    /// They end with the last clone.
    _tasks: Rc<[Task<()>; 2]>,
}

impl KafkaListener {
    /// Starts to serve the connections that other cores hand to this one.
    pub fn start(
        router: Router,
        options: ListenerOptions,
        config: Arc<BrokerConfig>,
        receive_budget: Rc<ReceiveBudget>,
        nodes: Arc<Nodes>,
    ) -> Self {
        let shared = Shared {
            nodes,
            last_session: Cell::new(0),
        };
        let server = Rc::new(Server::new(router, options, config, receive_budget, shared));
        let tasks = [
            runtime::spawn(sweep(Rc::clone(&server))),
            runtime::spawn(adopt(Rc::clone(&server), Listening::Kafka)),
        ];
        Self {
            server,
            _tasks: Rc::new(tasks),
        }
    }

    /// Accepts the connections to a node of this broker until [`KafkaListener::stop`]. On one core of the broker; each
    /// connection goes to the next in turn of the node's cores. `limit` counts those of all listeners.
    pub async fn accept(&self, node: usize, listener: Listener, limit: Rc<ConnectionLimit>) {
        let server = &self.server;
        let shards: Vec<_> = server
            .shared
            .nodes
            .shards_of(node, server.router.shards())
            .collect();
        let mut turn = shards.iter().copied().cycle();
        let welcome = |socket| {
            if let Some((permit, refusal)) = server.admit(&limit) {
                let shard = turn.next().expect("a node has shards");
                match refusal {
                    None if shard != server.router.shard_id() => {
                        runtime::spawn(hand_off(Rc::clone(server), shard, socket, permit)).detach();
                    }
                    refusal => {
                        server.serve(socket, BytesMut::new(), permit, Origin::Accepted, refusal);
                    }
                }
            }
        };
        server.accept(listener, welcome).await;
    }

    /// Lets every connection finish what is under way, and returns when all are closed.
    pub async fn stop(&self) {
        self.server.stop().await;
    }
}

async fn hand_off(
    server: Rc<Server>,
    shard: ShardId,
    socket: AcceptedSocket,
    permit: ConnectionPermit,
) {
    let router = &server.router;
    router.metrics().connections_handed_off.increment();
    let handed_off = HandedOff {
        listening: Listening::Kafka,
        socket,
        bytes_read: BytesMut::new(),
        permit,
    };
    router.hand_off(shard, handed_off).await;
}
