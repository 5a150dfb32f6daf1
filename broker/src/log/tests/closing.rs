//! A clean stop ends whatever the shard still does.

use std::time::Duration;

use super::rig::{small_options, start, storage};
use crate::log::{JournalOptions, LogConfig, LogOptions};
use crate::runtime::{Simulator, sleep};

#[test]
fn nothing_is_written_after_a_clean_stop() {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        let storage = storage(&simulator);
        simulator.run(async {
            let options = LogOptions {
                journal: JournalOptions {
                    files: 8,
                    ..small_options().journal
                },
                ..small_options()
            };
            // The journal's files behind the first are still being made.
            let rig = start(storage, options, &[LogConfig::default()]).await;
            sleep(Duration::from_micros(seed * 100)).await;
            rig.shard.close().await.unwrap();
            let (files, counters) = (disk.files(), disk.counters());
            sleep(Duration::from_secs(60)).await;
            assert_eq!(disk.files(), files, "seed {seed}");
            assert_eq!(disk.counters(), counters, "seed {seed}");
        });
    }
}
