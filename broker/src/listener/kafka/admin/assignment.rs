//! Where a client wants a partition's replicas to be. With one broker in the cluster there is one place.

use corelog_protocol::ErrorCode;

use crate::listener::kafka::nodes::Nodes;
use crate::partition::Refusal;

/// As many as there are brokers.
pub(super) const REPLICAS: i16 = 1;

pub(super) fn check_replicas(nodes: &Nodes, replicas: &[i32]) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if let Some(unknown) = replicas.iter().find(|node| nodes.broker(**node).is_none()) {
        return refuse(format!("there is no broker {unknown}"));
    }
    match replicas.len() {
        1 => Ok(()),
        0 => refuse("a partition needs a replica".to_owned()),
        many => refuse(format!(
            "{many} replicas of a partition would be on the same broker"
        )),
    }
}
