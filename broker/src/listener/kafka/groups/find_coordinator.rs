//! FindCoordinator.

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::find_coordinator::Coordinator;
use corelog_protocol::kafka::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use crate::listener::close::Close;
use crate::listener::groups::group_id;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::kafka::nodes::Node;
use crate::partition::Refusal;

/// Kinds of keys (`FindCoordinatorRequest.CoordinatorType`).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// From this version on one request names several keys.
const FIRST_WITH_MANY: i16 = 4;

pub(in crate::listener::kafka) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: FindCoordinatorRequest<'_> = call.decode()?;
    let keys = match call.version {
        FIRST_WITH_MANY.. => &request.coordinator_keys[..],
        _ => &[request.key],
    };
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        found.push(find(call, request.key_type, key).await);
    }
    let mut coordinators = keys.iter().zip(&found).map(|(key, found)| {
        let (node, error, message) = match found {
            Ok(node) => (*node, ErrorCode::None, None),
            Err(refusal) => (NOBODY, refusal.code, Some(&*refusal.message)),
        };
        Coordinator {
            key,
            node_id: node.id,
            host: node.host,
            port: node.port_number(),
            error_code: call.code(error),
            error_message: message,
        }
    });
    Ok(call.reply(&match call.version {
        FIRST_WITH_MANY.. => FindCoordinatorResponse {
            coordinators: coordinators.collect(),
            ..Default::default()
        },
        _ => {
            let only = coordinators.next().expect("one key was asked for");
            FindCoordinatorResponse {
                error_code: only.error_code,
                error_message: only.error_message,
                node_id: only.node_id,
                host: only.host,
                port: only.port,
                ..Default::default()
            }
        }
    }))
}

const NOBODY: Node<'static> = Node {
    id: -1,
    host: "",
    port: None,
};

async fn find<'a>(call: &'a Call, key_type: i8, key: &str) -> Result<Node<'a>, Refusal> {
    match key_type {
        GROUP => {}
        // What makes every client give up, until there are transactions.
        TRANSACTION => {
            return Err(Refusal::new(
                ErrorCode::TransactionalIdAuthorizationFailed,
                "this broker does not take transactions: leave out transactional.id",
            ));
        }
        other => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("there are no coordinators of kind {other} here"),
            ));
        }
    }
    let server = call.server();
    let place = server.router.coordinator(&group_id(key)?).await?;
    let nodes = &server.shared.nodes;
    let id = nodes.of(place.broker, place.shard);
    nodes.all().find(|node| node.id == id).ok_or_else(|| {
        Refusal::new(
            ErrorCode::CoordinatorNotAvailable,
            format!(
                "broker {} has no listener for Kafka's protocol",
                place.broker
            ),
        )
    })
}
