//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use corelog_protocol::{Acks, Compression, Durability};

use crate::cores::CoreChoice;
use crate::quantity::ByteSize;
use crate::servers::Servers;

/// What the shares in the report are shares of.
const SHARES: &str = "\
Ceilings, measured in the same run on the same cores and disk:
  bare loop        receive, CRC-32C, direct write, ack: what a broker could do if partitions,
                   protocol and recovery cost nothing. At `written` it acks when the write
                   completed; at `sync` it flushes a group and acks that. Same frame size,
                   connections and frames in flight as the producers; same file state as the
                   broker's segments (batches from 64 KiB) or journal (smaller ones). Slices
                   of broker and bare loop alternate; medians are shown.
  loopback stream  one TCP connection from the broker's core to the clients' core: the ceiling
                   of consuming.
  round trip + write
                   the medians of a loopback round trip and of a 4 KiB write (with fdatasync at
                   `sync`): the least that a record's way to a consumer can take.

The exit code is 0 only if every record sent was acknowledged and came back as it was sent.";

/// Measure Corelog: throughput and latency, each as a share of what this
/// machine can do.
///
/// With no arguments a broker is started inside this process on a temporary
/// folder, this machine's own limits are measured on the same cores and disk,
/// and records are produced, read back and checked, in about 30 seconds.
#[derive(Debug, Parser)]
#[command(
    name = "corelog-bench",
    version,
    max_term_width = 100,
    after_long_help = SHARES,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Measure these brokers instead of an embedded one: HOST:PORT,... in Corelog's own protocol,
    /// kafka://HOST:PORT,... in Kafka's (if built with `--features kafka`)
    #[arg(long, value_name = "LIST")]
    pub(crate) brokers: Option<Servers>,

    /// Topic to use. An existing one is added to and left as it is; without
    /// this flag topics are created and deleted
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,

    /// Partitions of the topics created. Default: 1; 8 with --verify, and for a group at least 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) partitions: Option<i32>,

    /// Bytes of a record's value (32 B to 16 MiB). Default: 1 KiB; 128 B with --verify
    #[arg(long, value_name = "SIZE")]
    pub(crate) record_size: Option<ByteSize>,

    /// Records of each produce figure, instead of a duration
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,

    /// Seconds that the whole run shall take, about (3 to 3600)
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub(crate) duration: u64,

    /// Producers, each with connections of its own (1 to 1000)
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) producers: u16,

    /// Consumers that read the records back; the partitions are spread over them (1 to 1000)
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) consumers: u16,

    /// Batch size (1 KiB to 16 MiB). Default: 1 MiB, and a second pass with 64 KiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) batch_size: Option<ByteSize>,

    /// Milliseconds a producer waits for a batch to fill. Default: 5; 0 for latency
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) linger_ms: Option<u32>,

    /// Acknowledgement to wait for: all, 1 (the leader) or 0 (none)
    #[arg(long, default_value = "all", value_name = "ACKS")]
    pub(crate) acks: Acks,

    /// Durability of the topics created: sync, written or memory. Default:
    /// `written`, then `sync`
    #[arg(long, value_name = "LEVEL")]
    pub(crate) durability: Option<Durability>,

    /// Compression of the batches: none, gzip, snappy, lz4 or zstd. Values are
    /// random capital letters
    #[arg(long, default_value = "none", value_name = "CODEC")]
    pub(crate) compression: Compression,

    /// Records a second for the latency part, sent whether or not earlier ones
    /// returned and counted from the time each was due. Default: one record at
    /// a time. With --verify: of all producers together, 10,000 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) rate: Option<u64>,

    /// Find the highest rate at which the p99 stays within so many milliseconds as well (1 to 10000):
    /// records are sent when they are due, and count from then. Takes half as much time again, and a
    /// second at least for each rate that is tried
    #[arg(long, value_name = "MS", conflicts_with = "verify", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) knee: Option<u64>,

    /// Cores of the embedded broker: a number (2) or a list (0,2-3; `1,` for core 1). Default: 1
    #[arg(long, value_name = "CORES", conflicts_with = "brokers")]
    pub(crate) cores: Option<CoreChoice>,

    /// Cores of the clients, in the same form. Default: as many as the broker
    /// has, of those left
    #[arg(long, value_name = "CORES")]
    pub(crate) client_cores: Option<CoreChoice>,

    /// Verify instead of measuring: produce, read along in two groups, and prove
    /// that no acknowledged record is lost or doubled, that those of a key keep
    /// their order, and that groups process each at least once, and exactly once
    /// where they store offsets with their results
    #[arg(long, conflicts_with_all = ["topic", "records", "consumers", "batch_size", "linger_ms", "acks", "compression"])]
    pub(crate) verify: bool,

    /// Measure a consumer group of so many members as well (1 to 100): how fast it reads, beside
    /// consumers that need no group, and what one more member costs that joins and leaves. Needs
    /// more partitions than members, and half as much time again. With --verify: members of each
    /// group at the start, 4 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) group: Option<u16>,

    /// Keys of the records
    #[arg(long, requires = "verify", default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,

    /// Kill the broker (SIGKILL) and start it again, about every so many seconds
    #[arg(long, requires = "verify", conflicts_with = "brokers", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) kill_every: Option<u64>,

    /// Have a consumer join, leave, crash or stall, about every so many seconds
    #[arg(long, requires = "verify", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) churn_every: Option<u64>,

    /// What the moments of kills and churn come from. Default: drawn, and named in the report
    #[arg(long, requires = "verify", value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Form of the report
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub(crate) format: Format,

    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write the report with plots to this file as well: one page of HTML
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    pub(crate) html: Option<PathBuf>,

    /// Write the latencies to this file, as a log of HdrHistograms
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    pub(crate) histograms: Option<PathBuf>,

    /// Folder for the run's temporary folder: on the disk to be measured. Default: this one
    #[arg(
        long,
        default_value = ".",
        hide_default_value = true,
        value_name = "DIR",
        conflicts_with = "brokers"
    )]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare reports that were written with --format json: every figure beside
    /// each other, and as a ratio to the first
    Compare {
        /// The reports, that to compare with first
        #[arg(required = true, num_args = 2.., value_name = "FILE")]
        reports: Vec<PathBuf>,

        /// Write the comparison with plots to this file as well: one page of HTML
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["corelog-bench"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_help_tells_the_size_from_which_batches_bypass_the_journal() {
        let bypass = ByteSize(crate::embedded::journal_bypass_bytes());
        assert!(SHARES.contains(&format!("(batches from {bypass})")));
    }

    #[test]
    fn no_argument_is_needed() {
        let args = parse(&[]).unwrap();
        assert_eq!(
            (args.duration, args.record_size, args.partitions),
            (30, None, None)
        );
        assert_eq!(args.acks, Acks::All);
        assert_eq!(args.durability, None);
    }

    #[test]
    fn values_are_read_in_kafkas_spelling() {
        let args = parse(&[
            "--acks",
            "1",
            "--durability",
            "sync",
            "--compression",
            "lz4",
        ])
        .unwrap();
        assert_eq!(args.acks, Acks::Leader);
        assert_eq!(args.durability, Some(Durability::Sync));
        assert_eq!(args.compression, Compression::Lz4);
    }

    #[test]
    fn contradictions_and_values_out_of_range_are_refused() {
        let refused: [&[&str]; 15] = [
            &["--records", "10", "--duration", "10"],
            &["--records", "0"],
            &["--duration", "1"],
            &["--partitions", "0"],
            &["--brokers", "a:1", "--cores", "2"],
            &["--acks", "2"],
            &["--durability", "maybe"],
            &["--record-size", "big"],
            &["--cores", "0"],
            &["--kill-every", "5"],
            &["--group", "0"],
            &["--group", "101"],
            &["--keys", "4", "--group", "4"],
            &["--kill-every", "5", "--verify", "--brokers", "a:1"],
            &["--acks", "1", "--verify"],
        ];
        for arguments in refused {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.contains(arguments[0]), "{arguments:?}: {error}");
        }
    }
}
