//! Where each API is taken up.

use corelog_protocol::kafka::KafkaApi;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::call::{Answer, Call};
use super::sender::Finished;
use super::{
    api_versions, fetch, groups, init_producer_id, list_offsets, metadata, offset_for_leader_epoch,
    produce,
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
        KafkaApi::FindCoordinator => groups::find_coordinator(&call).await,
        KafkaApi::JoinGroup => groups::join(call).await,
        KafkaApi::SyncGroup => groups::sync(call).await,
        KafkaApi::Heartbeat => groups::heartbeat(&call).await,
        KafkaApi::LeaveGroup => groups::leave(&call).await,
        KafkaApi::OffsetCommit => groups::commit(&call).await,
        KafkaApi::OffsetFetch => groups::fetch(&call).await,
        KafkaApi::OffsetDelete => groups::delete_offsets(&call).await,
        KafkaApi::ListGroups => groups::list(&call).await,
        KafkaApi::DescribeGroups => groups::describe(&call).await,
        KafkaApi::DeleteGroups => groups::delete(&call).await,
        KafkaApi::ConsumerGroupHeartbeat => groups::consumer_heartbeat(&call).await,
        KafkaApi::ConsumerGroupDescribe => groups::describe_consumer(&call).await,
        api => unreachable!("{api:?} is not among the versions that are spoken"),
    }
}
