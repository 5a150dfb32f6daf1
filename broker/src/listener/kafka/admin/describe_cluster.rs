//! DescribeCluster (KIP-700).

use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::messages::describe_cluster::DescribeClusterBroker;
use corelog_protocol::kafka::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::listener::close::Close;
use crate::listener::kafka::call::{Answer, Call};
use crate::listener::kafka::operations;

/// What can be asked (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(in crate::listener::kafka) fn answer(call: &Call) -> Result<Answer, Close> {
    let request: DescribeClusterRequest = call.decode()?;
    let (error, message) = match request.endpoint_type {
        BROKERS => (ErrorCode::None, None),
        CONTROLLERS => (
            ErrorCode::MismatchedEndpointType,
            Some("this is a broker: it tells of brokers"),
        ),
        _ => (
            ErrorCode::UnsupportedEndpointType,
            Some("there are brokers (1) and controllers (2)"),
        ),
    };
    if error.is_error() {
        return Ok(call.reply(&DescribeClusterResponse {
            error_code: call.code(error),
            error_message: message,
            endpoint_type: request.endpoint_type,
            ..Default::default()
        }));
    }
    let server = call.server();
    let nodes = &server.shared.nodes;
    let image = server.router.image();
    let brokers = nodes.all().map(|node| DescribeClusterBroker {
        broker_id: node.id,
        host: node.host,
        port: node.port_number(),
        rack: None,
        is_fenced: false,
    });
    Ok(call.reply(&DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: &image.cluster_id,
        controller_id: nodes.controller(),
        brokers: brokers.collect(),
        cluster_authorized_operations: operations::of_cluster(
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    }))
}
