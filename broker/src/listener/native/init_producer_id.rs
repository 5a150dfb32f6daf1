//! InitProducerId: an id and an epoch for an idempotent producer (KIP-98, KIP-360).

use std::rc::Rc;

use corelog_protocol::native::messages::{InitProducerIdRequest, InitProducerIdResponse};
use corelog_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use super::server::Server;

pub(super) async fn answer(
    server: Rc<Server>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match server.router.init_producer_id(request.current).await {
        Ok((producer_id, producer_epoch)) => InitProducerIdResponse {
            error: ErrorCode::None,
            error_message: None,
            producer_id,
            producer_epoch,
        },
        Err(refusal) => {
            server.note_error(refusal.code);
            InitProducerIdResponse {
                error: refusal.code,
                error_message: Some(refusal.message.into_owned()),
                producer_id: ProducerId::ZERO,
                producer_epoch: ProducerEpoch::ZERO,
            }
        }
    }
}
