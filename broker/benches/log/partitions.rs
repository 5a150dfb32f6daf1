//! 1,000 partitions that get records in turn, against one.

use std::path::PathBuf;
use std::time::Duration;

use corelog_broker::log::LogConfig;

use crate::rig::{append_in_turn, median, open, record};

const PARTITIONS: i32 = 1000;
const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(1500);

pub(crate) async fn run(root: PathBuf) -> anyhow::Result<String> {
    let rig = open(root, 1 + PARTITIONS, LogConfig::default()).await?;
    let (one, many) = rig.logs.split_at(1);
    let batch = record(1024);
    // The first appends of a partition create its files.
    append_in_turn(many, &batch, SLICE).await?;
    append_in_turn(one, &batch, SLICE).await?;
    let (mut rates_one, mut rates_many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let rate_one = append_in_turn(one, &batch, SLICE).await?;
        let rate_many = append_in_turn(many, &batch, SLICE).await?;
        rates_one.push(rate_one);
        rates_many.push(rate_many);
        ratios.push(rate_many / rate_one);
    }
    rig.shard.close().await?;
    Ok(format!(
        "partitions: {:.0} records/s of 1 KiB at sync in {PARTITIONS} partitions, {:.0} in one: {:.0} %",
        median(rates_many),
        median(rates_one),
        100.0 * median(ratios),
    ))
}
