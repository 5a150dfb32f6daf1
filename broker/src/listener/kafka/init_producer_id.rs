//! InitProducerId: an id and an epoch for an idempotent producer (KIP-98, KIP-360).

use corelog_protocol::kafka::messages::{InitProducerIdRequest, InitProducerIdResponse};
use corelog_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use super::call::{Answer, Call};
use crate::listener::close::Close;

pub(super) async fn answer(call: &Call) -> Result<Answer, Close> {
    let request: InitProducerIdRequest<'_> = call.decode()?;
    let given = match current(&request) {
        Ok(current) => {
            let given = call.server().router.init_producer_id(current).await;
            given.map_err(|refusal| refusal.code)
        }
        Err(code) => Err(code),
    };
    let response = match given {
        Ok((id, epoch)) => InitProducerIdResponse {
            producer_id: id.get(),
            producer_epoch: epoch.get(),
            ..Default::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: call.code(code),
            producer_epoch: -1,
            ..Default::default()
        },
    };
    Ok(call.reply(&response))
}

/// The id and epoch that the producer has, if it has them.
///
/// # Errors
/// One comes without the other; or the producer wants transactions. Of the answers to that, this one makes every client
/// give up, as it shall until there are transactions.
fn current(
    request: &InitProducerIdRequest<'_>,
) -> Result<Option<(ProducerId, ProducerEpoch)>, ErrorCode> {
    if request.transactional_id.is_some() {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let id = ProducerId::from_sentinel(request.producer_id);
    let epoch = ProducerEpoch::from_sentinel(request.producer_epoch);
    match (id, epoch) {
        (Some(id), Some(epoch)) => Ok(Some((id, epoch))),
        (None, None) => Ok(None),
        _ => Err(ErrorCode::InvalidRequest),
    }
}
