//! A clean stop ends whatever the shard still does.

use std::future::pending;
use std::time::Duration;

use super::rig::{small_options, start, storage};
use crate::log::{JournalOptions, LogConfig, LogOptions};
use crate::runtime::Simulator;

#[test]
fn nothing_is_written_after_a_clean_stop() {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        let storage = storage(&simulator);
        let options = LogOptions {
            journal: JournalOptions {
                files: 8,
                ..small_options().journal
            },
            ..small_options()
        };
        let rig = simulator.run(start(storage, options, &[LogConfig::default()]));
        // The journal's files behind the first are still being made: the stop comes at any moment.
        simulator.run_until(Duration::from_micros(seed * 100), pending::<()>());
        simulator.run(rig.shard.close()).unwrap();
        let (files, counters) = (disk.files(), disk.counters());
        simulator.run_until(Duration::from_secs(60), pending::<()>());
        assert_eq!(disk.files(), files, "seed {seed}");
        assert_eq!(disk.counters(), counters, "seed {seed}");
    }
}
