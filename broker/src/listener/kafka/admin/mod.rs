//! The APIs of administration: topics, their settings and records, and what the cluster consists of.
//!
//! What they change goes to the controller, which answers when every core goes by it; the time-outs of these requests have
//! nothing to bound.

mod alter_configs;
mod assignment;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod settings;

pub(super) use alter_configs::{
    incrementally as alter_configs_incrementally, replace as alter_configs,
};
pub(super) use create_partitions::answer as create_partitions;
pub(super) use create_topics::answer as create_topics;
pub(super) use delete_records::answer as delete_records;
pub(super) use delete_topics::answer as delete_topics;
pub(super) use describe_cluster::answer as describe_cluster;
pub(super) use describe_configs::answer as describe_configs;
pub(super) use describe_log_dirs::answer as describe_log_dirs;
pub(super) use describe_producers::answer as describe_producers;
pub(super) use describe_topic_partitions::answer as describe_topic_partitions;

use crate::controller::TopicError;
use crate::partition::Refusal;

/// Has those of the wishes carried out that make sense, all with one command, and puts every outcome in its place.
async fn in_place<W, T>(
    wishes: Vec<Result<W, Refusal>>,
    carry_out: impl AsyncFnOnce(Vec<W>) -> Result<Vec<Result<T, TopicError>>, Refusal>,
) -> Vec<Result<T, Refusal>> {
    let mut sensible = Vec::with_capacity(wishes.len());
    let places: Vec<Result<(), Refusal>> = wishes
        .into_iter()
        .map(|wish| wish.map(|wish| sensible.push(wish)))
        .collect();
    if sensible.is_empty() {
        return places
            .into_iter()
            .filter_map(|it| Some(Err(it.err()?)))
            .collect();
    }
    let mut outcomes = match carry_out(sensible).await {
        Ok(outcomes) => Ok(outcomes.into_iter()),
        Err(refusal) => Err(refusal),
    };
    let places = places.into_iter().filter_map(|place| {
        Some(match (place, &mut outcomes) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), Err(refusal)) => Err(refusal.clone()),
            (Ok(()), Ok(outcomes)) => outcomes.next()?.map_err(refusal),
        })
    });
    places.collect()
}

fn refusal(error: TopicError) -> Refusal {
    Refusal::new(error.code, error.message)
}
