//! 1,000 partitions that get records in turn, against one.

use std::path::PathBuf;
use std::time::Duration;

use corelog_broker::log::{LogConfig, LogOptions};

use crate::rig::{append_in_turn, median, open, open_with, record};

const PARTITIONS: i32 = 1000;
const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(1000);

pub(crate) async fn run(root: PathBuf) -> anyhow::Result<String> {
    let rig = open(root.join("all"), 1 + PARTITIONS, LogConfig::default()).await?;
    let (one, many) = rig.logs.split_at(1);
    // Where one partition brings much, its records go straight to the segment. Without that, what is
    // left is the price of spreading them.
    let no_bypass = LogOptions {
        bypass_bytes: 8 << 20,
        ..LogOptions::default()
    };
    let journaled = open_with(root.join("journaled"), 1, LogConfig::default(), no_bypass).await?;
    let batch = record(1024);
    // The first appends of a partition create its files.
    append_in_turn(many, &batch, SLICE).await?;
    let mut rates = [const { Vec::new() }; 3];
    let mut ratios = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let rate_many = append_in_turn(many, &batch, SLICE).await?;
        let rate_one = append_in_turn(one, &batch, SLICE).await?;
        let rate_journaled = append_in_turn(&journaled.logs, &batch, SLICE).await?;
        for (rates, rate) in rates.iter_mut().zip([rate_many, rate_one, rate_journaled]) {
            rates.push(rate);
        }
        ratios[0].push(rate_many / rate_one);
        ratios[1].push(rate_many / rate_journaled);
    }
    rig.shard.close().await?;
    journaled.shard.close().await?;
    let [many, one, journaled] = rates.map(median);
    let [of_one, of_journaled] = ratios.map(median);
    Ok(format!(
        "partitions: {many:.0} records/s of 1 KiB at sync in {PARTITIONS} partitions; {one:.0} in one: \
         {:.0} %; {journaled:.0} in one through the journal: {:.0} %",
        100.0 * of_one,
        100.0 * of_journaled,
    ))
}
