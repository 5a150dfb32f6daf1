//! Where the answer to a produce goes: to a task of this core, or back over the mesh.

use super::request::ProduceOutcome;
use crate::runtime::{oneshot, remote};

#[derive(Debug)]
pub(crate) enum ProduceReply {
    Local(oneshot::Sender<ProduceOutcome>),
    Forwarded(remote::ReplySender<ProduceOutcome>),
}

impl ProduceReply {
    /// Answers. Nobody listening any more is no error: the connection closed meanwhile.
    pub(crate) fn send(self, outcome: ProduceOutcome) {
        let _ = match self {
            Self::Local(sender) => sender.send(outcome),
            Self::Forwarded(sender) => sender.send(outcome),
        };
    }
}
