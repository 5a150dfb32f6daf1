//! Fetch: record batches of many partitions, in sessions.
//!
//! How partitions are read and waited for is [`partition_reads`](crate::listener::partition_reads)'s; what a session is,
//! [`fetch_session`](super::fetch_session)'s.

use std::time::Duration;

use corelog_protocol::kafka::Records;
use corelog_protocol::kafka::messages::fetch::{
    EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use corelog_protocol::kafka::messages::{FetchRequest, FetchResponse};
use corelog_protocol::native::messages::FetchPartition;
use corelog_protocol::{ErrorCode, IsolationLevel, LeaderEpoch, Offset, PartitionIndex};

use super::call::{Answer, Call};
use super::fetch_session::{Asked, Fetch, Told};
use super::list_offsets::isolation_level;
use crate::listener::close::Close;
use crate::listener::flow::InFlight;
use crate::listener::partition_reads::{Appetite, PartitionReads};
use crate::metadata::MetadataImage;
use crate::partition::{FetchOutcome, FetchedData};

/// From this version on topics are named by their ids.
const FIRST_WITH_IDS: i16 = 13;

pub(super) async fn answer(mut call: Call, in_flight: &mut InFlight) -> Result<Answer, Close> {
    let (fetch, isolation, mut appetite) = {
        let request: FetchRequest<'_> = call.decode()?;
        let isolation = isolation_level(&call, request.isolation_level)?;
        let ids = &call.server().shared.last_session;
        let new_id = || {
            ids.set(ids.get().checked_add(1).unwrap_or(1));
            ids.get()
        };
        let begun = call.connection.sessions.borrow_mut().begin(
            &request,
            call.version >= FIRST_WITH_IDS,
            new_id,
        );
        match begun {
            Ok(fetch) => (fetch, isolation, appetite(&request)),
            Err(code) => {
                return Ok(call.reply(&FetchResponse {
                    error_code: call.code(code),
                    ..Default::default()
                }));
            }
        }
    };
    call.release_body();
    let image = call.server().router.image();
    let wanted: Vec<_> = fetch
        .partitions
        .iter()
        .map(|it| wanted(&image, it))
        .collect();
    if wanted.iter().any(Result::is_err) {
        // Waiting cannot improve the answer.
        appetite.max_wait = Duration::ZERO;
    }
    let reads = PartitionReads::new(
        call.server().router.clone(),
        wanted
            .iter()
            .filter_map(|it| it.as_ref().ok().copied())
            .collect(),
        isolation,
        appetite,
        &call.server().options,
    );
    in_flight.add_reply_bytes(reads.max_bytes());
    let under_way = call.read_under_way();
    let mut outcomes = reads.outcomes().await.into_iter();
    drop(under_way);
    let mut answered: Vec<_> = fetch
        .partitions
        .iter()
        .zip(wanted)
        .map(|(asked, wanted)| {
            let outcome = wanted.map(|_| outcomes.next().expect("one for each partition read"));
            partition_data(&call, asked.from.partition, isolation, outcome)
        })
        .collect();
    let told = answered
        .iter()
        .map(|(data, records)| (told(data), !records.is_empty()));
    let mut sessions = call.connection.sessions.borrow_mut();
    sessions.told(&fetch, told);
    drop(sessions);
    let records = answered.iter_mut();
    let records: Vec<_> = records
        .map(|(_, records)| std::mem::take(records))
        .collect();
    Ok(reply(&call, &fetch, answered, records))
}

fn appetite(request: &FetchRequest<'_>) -> Appetite {
    let at_least_0 = |number: i32| usize::try_from(number).unwrap_or(0);
    Appetite {
        min_bytes: at_least_0(request.min_bytes),
        max_bytes: at_least_0(request.max_bytes),
        max_wait: Duration::from_millis(at_least_0(request.max_wait_ms) as u64),
    }
}

/// What is to be read for a partition.
///
/// # Errors
/// Why nothing can be.
fn wanted(image: &MetadataImage, asked: &Asked) -> Result<FetchPartition, ErrorCode> {
    let from = &asked.from;
    let topic = match &*asked.topic {
        "" => image
            .topic_by_id(asked.topic_id)
            .ok_or(ErrorCode::UnknownTopicId)?,
        name => image
            .topic(name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?,
    };
    Ok(FetchPartition {
        topic_id: topic.id,
        partition: PartitionIndex::try_from(from.partition)
            .map_err(|_| ErrorCode::UnknownTopicOrPartition)?,
        leader_epoch: LeaderEpoch::from_sentinel(from.current_leader_epoch),
        last_fetched_epoch: LeaderEpoch::from_sentinel(from.last_fetched_epoch),
        fetch_offset: Offset::try_from(from.fetch_offset)
            .map_err(|_| ErrorCode::OffsetOutOfRange)?,
        max_bytes: u32::try_from(from.partition_max_bytes).unwrap_or(0),
    })
}

/// One partition's part of the answer, and its records.
fn partition_data(
    call: &Call,
    partition: i32,
    isolation: IsolationLevel,
    outcome: Result<FetchOutcome, ErrorCode>,
) -> (PartitionData<'static>, FetchedData) {
    let mut data = PartitionData {
        partition_index: partition,
        high_watermark: -1,
        // No transaction is ever aborted.
        aborted_transactions: (isolation == IsolationLevel::ReadCommitted).then(Vec::new),
        records: Records::Here(&[]),
        ..Default::default()
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(code) => {
            data.error_code = call.code(code);
            return (data, FetchedData::Empty);
        }
    };
    data.error_code = call.code(outcome.error_code());
    if let Some(marks) = outcome.marks {
        data.high_watermark = marks.high_watermark.get();
        data.last_stable_offset = marks.last_stable_offset.get();
        data.log_start_offset = marks.log_start_offset.get();
    }
    let Ok(fetched) = outcome.result else {
        return (data, FetchedData::Empty);
    };
    if let Some((epoch, end_offset)) = fetched.diverging_epoch {
        data.diverging_epoch = EpochEndOffset {
            epoch: epoch.get(),
            end_offset: end_offset.get(),
        };
    }
    if !fetched.data.is_empty() {
        data.records = Records::Apart(fetched.data.len());
    }
    (data, fetched.data)
}

fn told(data: &PartitionData<'_>) -> Option<Told> {
    // What went wrong is told again.
    (data.error_code == ErrorCode::None.code()).then_some(Told {
        high_watermark: data.high_watermark,
        log_start_offset: data.log_start_offset,
    })
}

fn reply(
    call: &Call,
    fetch: &Fetch,
    answered: Vec<(PartitionData<'static>, FetchedData)>,
    records: Vec<FetchedData>,
) -> Answer {
    let mut response = FetchResponse {
        session_id: fetch.session_id,
        ..Default::default()
    };
    for (asked, (data, _)) in fetch.partitions.iter().zip(answered) {
        let has_news = matches!(data.records, Records::Apart(_))
            || data.diverging_epoch != EpochEndOffset::default()
            || told(&data).is_none()
            || told(&data) != asked.told;
        if fetch.is_incremental && !has_news {
            continue;
        }
        match response.responses.last_mut() {
            Some(last) if *last.topic == *asked.topic && last.topic_id == asked.topic_id => {
                last.partitions.push(data);
            }
            _ => response.responses.push(FetchableTopicResponse {
                topic: &asked.topic,
                topic_id: asked.topic_id,
                partitions: vec![data],
            }),
        }
    }
    let records = records.into_iter().filter(|records| !records.is_empty());
    call.reply_with(&response, records.collect())
}
