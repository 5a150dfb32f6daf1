//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::group::arguments::GroupCommand;
use crate::log::arguments::LogCommand;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use corelog_client::{ClientConfig, Compression, DeleteUntil, Offset, SeekTo, Timestamp};

/// Manage a Corelog cluster, and write and read its topics.
#[derive(Debug, Parser)]
#[command(name = "corelog", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 something failed, 2 the command line is wrong.\n\
    CORELOG_LOG=debug shows what the client does."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Brokers to find the cluster by: host:port, several separated by commas.
    #[arg(
        long,
        global = true,
        env = "CORELOG_BROKERS",
        default_value = "127.0.0.1:9190",
        value_name = "HOST:PORT"
    )]
    pub(crate) brokers: String,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// A client setting by Kafka's name, for example `request.timeout.ms=5000`. May be repeated.
    #[arg(
        short = 'X',
        long = "client-setting",
        global = true,
        value_name = "NAME=VALUE"
    )]
    pub(crate) client_settings: Vec<Setting>,
}

impl Global {
    /// The client's settings: those of a command, then those of the command line.
    pub(crate) fn config(&self, defaults: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "corelog-cli");
        for (name, value) in defaults {
            config = config.set(*name, value);
        }
        for setting in &self.client_settings {
            config = config.set(&setting.name, &setting.value);
        }
        config
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document, or one per line where results keep coming.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, list, describe, delete and enlarge topics.
    Topic {
        #[command(subcommand)]
        command: TopicCommand,
    },
    /// Show the settings of topics and brokers, and change those of topics.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// List, describe and delete consumer groups, and let them go on elsewhere.
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Write the lines of stdin to a topic, one record a line.
    ///
    /// Prints partition and offset of each line as it is acknowledged, in the order of the lines. Goes on when a broker is
    /// lost and comes back: a line whose acknowledgement was lost may then stand in the topic twice. Ctrl-C stops reading,
    /// and waits for what was sent.
    Produce(ProduceArguments),
    /// Print the records of a topic, one value a line.
    ///
    /// Within a partition records come in order. Ctrl-C ends it. As a member of a group, it shares the topic with the others
    /// and commits what it has printed.
    Consume(ConsumeArguments),
    /// Read and check the files of a log, without a broker; Kafka's files too.
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Say what this machine lacks to run a broker, and how to mend it.
    ///
    /// Exits with 1 if a broker cannot run here.
    Doctor(DoctorArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic.
    Create {
        /// The topic's name.
        name: String,
        /// How many partitions [default: the broker's `num.partitions`].
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// How many brokers hold a copy [default: the broker's `default.replication.factor`].
        #[arg(long, value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic, for example `durability=written`. May be repeated.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configs: Vec<Setting>,
        /// Do nothing if the topic exists.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List all topics.
    List,
    /// Show partitions, offsets and settings of topics.
    Describe {
        /// The topics' names [default: all].
        names: Vec<String>,
    },
    /// Delete topics and all their records.
    Delete {
        /// The topics' names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Delete the oldest records of partitions, for good.
    DeleteRecords {
        /// The topic's name.
        name: String,
        /// The first offset to keep, or `end`: everything that can be read now goes.
        #[arg(long, value_name = "OFFSET")]
        before: Before,
        /// Only this partition. May be repeated [default: all].
        #[arg(long, value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
        partition: Vec<i32>,
    },
    /// Add partitions to a topic. Records with a key may go to another partition from then on.
    AddPartitions {
        /// The topic's name.
        name: String,
        /// How many partitions it shall have in all.
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
        count: i32,
        /// Only say whether it can be done.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show settings that somebody has changed, and who.
    Describe {
        #[command(flatten)]
        owner: ConfigOwner,
        /// Also the settings that have their default.
        #[arg(long)]
        all: bool,
        /// Say what each setting does.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Set settings of a topic: all of them, or none.
    Set {
        /// The topic's name.
        #[arg(long)]
        topic: String,
        /// The settings and their new values.
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<Setting>,
    },
    /// Return settings of a topic to what the broker gives it: all of them, or none.
    Unset {
        /// The topic's name.
        #[arg(long)]
        topic: String,
        /// The settings' names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Whose settings.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ConfigOwner {
    /// A topic, by its name.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// A broker, by its id.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) broker: Option<i32>,
}

/// Which records are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before(pub(crate) DeleteUntil);

impl FromStr for Before {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let until = match text {
            "end" => DeleteUntil::HighWatermark,
            _ => text
                .parse::<i64>()
                .ok()
                .and_then(|offset| Offset::try_from(offset).ok())
                .map(DeleteUntil::Offset)
                .ok_or("it must be `end` or an offset")?,
        };
        Ok(Self(until))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArguments {
    /// The topic's name.
    pub(crate) topic: String,
    /// Splits each line, at its first occurrence, into key and value.
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
    /// When a record counts as written: 0 once sent, 1 by the leader, all by every in-sync replica.
    #[arg(long, default_value = "all", value_parser = ["0", "1", "all"])]
    pub(crate) acks: String,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd.
    #[arg(long, default_value = "none")]
    pub(crate) compression: Compression,
    /// The partition for all records [default: by key, or spread].
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// Do not print the offsets.
    #[arg(long, short, action = ArgAction::SetTrue)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArguments {
    /// The topic's name.
    pub(crate) topic: String,
    /// Where to begin: `beginning`, `end`, an offset, or @ and a time in milliseconds since 1970.
    #[arg(long, default_value = "beginning", value_name = "PLACE")]
    pub(crate) from: From,
    /// Only this partition. May be repeated [default: all].
    #[arg(long, value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Vec<i32>,
    /// Read as a member of this group: from where it has come to, and only where it has not yet come to anything from
    /// --from, which is `beginning` or `end` then.
    #[arg(long, value_name = "GROUP", conflicts_with = "partition")]
    pub(crate) group: Option<String>,
    /// End after so many records.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_messages: Option<u64>,
    /// End where the partitions ended when this command began; in a group, those that this member has.
    #[arg(long)]
    pub(crate) exit_at_end: bool,
    /// Print each key and a tab before its value.
    #[arg(long)]
    pub(crate) print_key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// The folder that the broker's data will lie in, or the nearest one above it that exists.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("expected NAME=VALUE".to_owned()),
        }
    }
}

/// Where `consume` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct From(pub(crate) SeekTo);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seek = match text {
            "beginning" => Some(SeekTo::Beginning),
            "end" => Some(SeekTo::End),
            _ => match text.strip_prefix('@') {
                Some(time) => time
                    .parse()
                    .ok()
                    .map(|time| SeekTo::Timestamp(Timestamp::new(time))),
                None => text
                    .parse::<i64>()
                    .ok()
                    .and_then(|offset| Offset::try_from(offset).ok())
                    .map(SeekTo::Offset),
            },
        };
        seek.map(Self).ok_or_else(|| {
            "expected `beginning`, `end`, an offset, or @ and milliseconds since 1970".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn places_are_read() {
        let place = |text: &str| text.parse::<From>().map(|from| from.0);
        assert_eq!(place("beginning"), Ok(SeekTo::Beginning));
        assert_eq!(place("end"), Ok(SeekTo::End));
        assert_eq!(place("17"), Ok(SeekTo::Offset(Offset::new(17))));
        let time = SeekTo::Timestamp(Timestamp::new(1_700_000_000_000));
        assert_eq!(place("@1700000000000"), Ok(time));
        for wrong in ["", "-1", "@", "start", "@soon"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_of_the_command_line_come_last() {
        let cli = Cli::parse_from([
            "corelog",
            "topic",
            "list",
            "-X",
            "request.timeout.ms=5",
            "--brokers",
            "a:1",
        ]);
        let config = cli
            .global
            .config(&[("request.timeout.ms", "10".to_owned())]);
        assert_eq!(config.get("request.timeout.ms"), Some("5"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1"));
    }

    #[test]
    fn altering_nothing_is_refused() {
        let parses = |arguments: &[&str]| {
            let arguments = [&["corelog", "config"], arguments].concat();
            Cli::try_parse_from(arguments).is_ok()
        };
        assert!(!parses(&["set", "--topic", "t"]));
        assert!(!parses(&["set", "--topic", "t", "retention.ms"]));
        assert!(parses(&["set", "--topic", "t", "retention.ms=1", "a=b"]));
        assert!(!parses(&["unset", "--topic", "t"]));
        assert!(parses(&["unset", "--topic", "t", "retention.ms"]));
    }

    #[test]
    fn settings_are_shown_of_one_owner() {
        let parses = |arguments: &[&str]| {
            let arguments = [&["corelog", "config", "describe"], arguments].concat();
            Cli::try_parse_from(arguments).is_ok()
        };
        assert!(parses(&["--topic", "t", "--all"]));
        assert!(parses(&["--broker", "1", "-v"]));
        assert!(!parses(&[]));
        assert!(!parses(&["--topic", "t", "--broker", "1"]));
        assert!(!parses(&["--broker", "-1"]));
    }
}
