//! Opens a connection: resolve, connect, Hello.

use std::net::SocketAddr;
use std::sync::Arc;

use corelog_protocol::native::{FrameLimits, HelloRequest, HelloResponse};
use corelog_protocol::{BrokerId, ShardId};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::Connection;
use crate::config::ConnectionSettings;
use crate::error::{ConnectionError, RequestError};

/// The versions of the native protocol that this client speaks.
const NATIVE_VERSIONS: std::ops::RangeInclusive<u16> = 1..=1;

/// Whom to call.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// `host:port`.
    pub(crate) address: String,
    /// Who must answer, if known.
    pub(crate) cluster_id: Option<String>,
    /// Who must answer, if known.
    pub(crate) broker: Option<BrokerId>,
    /// The shard to be handed to; any if none is named.
    pub(crate) shard: Option<ShardId>,
}

/// Opens a connection within `socket.connection.setup.timeout.ms`.
pub(crate) async fn dial(
    dial: &Dial,
    settings: &ConnectionSettings,
) -> Result<(Connection, HelloResponse), ConnectionError> {
    let within = settings.setup_timeout;
    match tokio::time::timeout(within, open(dial, settings)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ConnectionError::SetupTimeout {
            address: dial.address.clone(),
            waited: within,
        }),
    }
}

async fn open(
    dial: &Dial,
    settings: &ConnectionSettings,
) -> Result<(Connection, HelloResponse), ConnectionError> {
    let socket = connect(&dial.address, settings).await?;
    let connection = Connection::start(socket, dial.address.clone(), settings.request_timeout);
    let hello = HelloRequest {
        min_version: *NATIVE_VERSIONS.start(),
        max_version: *NATIVE_VERSIONS.end(),
        features: 0,
        client_id: settings.client_id.clone(),
        client_software: concat!("corelog-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        cluster_id: dial.cluster_id.clone(),
        broker_id: dial.broker,
        shard: dial.shard,
        auth_mechanism: None,
        auth_token: Vec::new(),
    };
    let answer = connection.call(&hello).await.map_err(|error| match error {
        RequestError::Connection(error) => error,
        RequestError::Broker { code, message, .. } => ConnectionError::Refused {
            address: dial.address.clone(),
            code,
            message,
        },
    })?;
    check_peer(dial, &answer)?;
    connection.set_send_limits(FrameLimits {
        max_metadata: answer.max_frame_metadata,
        max_payload: answer.max_frame_payload,
    });
    Ok((connection, answer))
}

/// The broker checks this too; here it also catches one that is older than the check.
fn check_peer(dial: &Dial, answer: &HelloResponse) -> Result<(), ConnectionError> {
    let wrong = |expected: String, found: String| {
        Err(ConnectionError::WrongPeer {
            address: dial.address.clone(),
            expected,
            found,
        })
    };
    if !NATIVE_VERSIONS.contains(&answer.version) {
        return wrong(
            format!("a native protocol version of {NATIVE_VERSIONS:?}"),
            format!("version {}", answer.version),
        );
    }
    if let Some(expected) = &dial.cluster_id
        && *expected != answer.cluster_id
    {
        return wrong(
            format!("cluster {expected}"),
            format!("cluster {}", answer.cluster_id),
        );
    }
    if let Some(expected) = dial.broker
        && expected != answer.broker_id
    {
        return wrong(
            format!("broker {expected}"),
            format!("broker {}", answer.broker_id),
        );
    }
    // Another shard than the wanted one is no error: a broker restarted with fewer cores forwards and gives hints.
    Ok(())
}

async fn connect(
    address: &str,
    settings: &ConnectionSettings,
) -> Result<TcpStream, ConnectionError> {
    let addresses = lookup_host(address)
        .await
        .map_err(|error| ConnectionError::Resolve {
            address: address.to_owned(),
            source: Arc::new(error),
        })?;
    let mut last = None;
    for candidate in addresses {
        match connect_one(candidate, settings).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => ConnectionError::Socket {
            address: address.to_owned(),
            action: "connect",
            source: Arc::new(error),
        },
        None => ConnectionError::Resolve {
            address: address.to_owned(),
            source: Arc::new(std::io::ErrorKind::NotFound.into()),
        },
    })
}

async fn connect_one(
    address: SocketAddr,
    settings: &ConnectionSettings,
) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    // Frames are written whole: waiting for more to send would only add latency.
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}
