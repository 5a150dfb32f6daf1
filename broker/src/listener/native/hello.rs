//! Hello: who is there, what it speaks, and which core serves it.
//!
//! The accepting core reads the Hello. If another core is to serve the connection, the socket
//! goes there with every byte read so far, and that core reads the Hello again and answers it.

use std::rc::Rc;

use corelog_protocol::ErrorCode;
use corelog_protocol::ShardId;
use corelog_protocol::native::messages::{HelloRequest, HelloResponse};
use corelog_protocol::native::{ApiKey, FrameKind, Message};

use super::api_versions::MESSAGE_VERSION;
use super::connection::Connection;
use super::framing::Frame;
use super::outbox::{Outgoing, Reply};
use super::request::refuse;
use super::server::Server;
use crate::listener::close::Close;
use crate::listener::server::Origin;
use crate::partition::Refusal;

/// What becomes of a connection after its first frame.
pub(super) enum Greeting {
    /// This core serves it; the response is in the outbox.
    Here,
    HandOff(ShardId),
}

/// Judges the first frame.
///
/// # Errors
/// Why the connection ends.
pub(super) fn greet(
    connection: &Rc<Connection>,
    frame: &Frame,
    origin: Origin,
) -> Result<Greeting, Close> {
    let header = &frame.header;
    if header.kind != FrameKind::Request {
        return Err(Close::NotARequest(header.kind));
    }
    if header.api_key() != Some(ApiKey::Hello) {
        return Err(Close::HelloExpected { api: header.api });
    }
    let server = &connection.server;
    let hello = HelloRequest::decode(&frame.metadata)
        .map_err(refuse)
        .and_then(|hello| check(server, hello))
        .map_err(Close::HelloRefused)?;
    let serving = match origin {
        Origin::HandedOff => server.router.shard_id(),
        Origin::Accepted => server.place(hello.shard),
    };
    if serving != server.router.shard_id() {
        return Ok(Greeting::HandOff(serving));
    }
    connection.set_client_id(hello.client_id);
    let limits = server.options.frame_limits;
    let response = HelloResponse {
        version: MESSAGE_VERSION,
        features: 0,
        cluster_id: server.router.image().cluster_id.to_string(),
        broker_id: server.router.broker_id(),
        shard: serving,
        shards: server.router.shards(),
        max_frame_metadata: limits.max_metadata,
        max_frame_payload: limits.max_payload,
    };
    connection.outbox.push(Outgoing::new(
        (header.api, header.correlation_id),
        Reply::Hello(response),
        None,
    ));
    Ok(Greeting::Here)
}

/// Refuses a client that speaks other versions or means another broker.
fn check(server: &Server, hello: HelloRequest) -> Result<HelloRequest, Refusal> {
    if !(hello.min_version..=hello.max_version).contains(&MESSAGE_VERSION) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            format!(
                "this broker speaks version {MESSAGE_VERSION} of the messages, the client \
                 versions {} to {}",
                hello.min_version, hello.max_version
            ),
        ));
    }
    let image = server.router.image();
    if let Some(expected) = &hello.cluster_id
        && **expected != *image.cluster_id
    {
        return Err(Refusal::new(
            ErrorCode::InconsistentClusterId,
            format!("this is cluster {}, not {expected}", image.cluster_id),
        ));
    }
    let broker_id = server.router.broker_id();
    if let Some(expected) = hello.broker_id
        && expected != broker_id
    {
        return Err(Refusal::new(
            ErrorCode::RebootstrapRequired,
            format!("this is broker {broker_id}, not {expected}"),
        ));
    }
    if let Some(mechanism) = &hello.auth_mechanism {
        return Err(Refusal::new(
            ErrorCode::UnsupportedSaslMechanism,
            format!("this broker has no authentication, so not {mechanism:?} either"),
        ));
    }
    Ok(hello)
}
