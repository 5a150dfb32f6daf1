//! Where each API is taken up.

use corelog_protocol::kafka::KafkaApi;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::call::{Answer, Call};
use super::sender::Finished;
use super::{
    api_versions, fetch, init_producer_id, list_offsets, metadata, offset_for_leader_epoch, produce,
};
use crate::listener::close::Close;
use crate::listener::flow::InFlight;

/// Starts what a request asks for. A produce has its places in its partitions' lines when this returns.
pub(super) fn start(call: Call, mut in_flight: InFlight) -> LocalBoxFuture<'static, Finished> {
    if call.api == KafkaApi::Produce {
        let answer = produce::start(call);
        return answer
            .map(|answer| Finished { answer, in_flight })
            .boxed_local();
    }
    let carry_out = async move {
        let answer = carry_out(call, &mut in_flight).await;
        Finished {
            answer: answer.unwrap_or_else(Answer::Close),
            in_flight,
        }
    };
    carry_out.boxed_local()
}

async fn carry_out(call: Call, in_flight: &mut InFlight) -> Result<Answer, Close> {
    match call.api {
        KafkaApi::ApiVersions => api_versions::answer(&call),
        KafkaApi::Metadata => metadata::answer(&call).await,
        KafkaApi::Fetch => fetch::answer(call, in_flight).await,
        KafkaApi::ListOffsets => list_offsets::answer(&call).await,
        KafkaApi::OffsetForLeaderEpoch => offset_for_leader_epoch::answer(&call).await,
        KafkaApi::InitProducerId => init_producer_id::answer(&call).await,
        api => unreachable!("{api:?} is not among the versions that are spoken"),
    }
}
