//! The command line of `corelog group`.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use corelog_client::{PartitionIndex, TopicPartition, parse_iso_duration};

use super::STATES;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List all groups.
    List {
        /// Only groups in this state. May be repeated.
        #[arg(long, value_parser = STATES.map(|(name, _)| name))]
        state: Vec<String>,
    },
    /// Show members, partitions, committed offsets and lag of groups.
    Describe {
        /// The groups' names [default: all].
        names: Vec<String>,
    },
    /// Delete groups without members, and what they have committed.
    Delete {
        /// The groups' names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Forget what a group has committed of topics that none of its members subscribes to.
    DeleteOffsets {
        /// The group's name.
        group: String,
        /// A topic, or some partitions of it as in `orders:0,2`. May be repeated.
        #[arg(long = "topic", required = true, value_name = "TOPIC[:PARTITIONS]")]
        topics: Vec<Scope>,
    },
    /// Say where a group without members would go on, and let it go on there with --execute.
    ///
    /// An offset that the log does not hold becomes the nearest one that it does.
    ResetOffsets(ResetArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ResetArguments {
    /// The group's name. It need not exist yet.
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) of: ResetScope,
    #[command(flatten)]
    pub(crate) to: ResetTo,
    /// Commit the new offsets instead of only showing them.
    #[arg(long)]
    pub(crate) execute: bool,
}

/// Of which partitions.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetScope {
    /// A topic, or some partitions of it as in `orders:0,2`. May be repeated.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]")]
    pub(crate) topics: Vec<Scope>,
    /// Every partition of which the group has committed an offset.
    #[arg(long)]
    pub(crate) all_topics: bool,
}

/// To where.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// The oldest record.
    #[arg(long)]
    to_earliest: bool,
    /// Behind the newest record.
    #[arg(long)]
    to_latest: bool,
    /// What is committed, within what the log holds.
    #[arg(long)]
    to_current: bool,
    /// This offset.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// The first record at or after this time, in milliseconds since 1970.
    #[arg(long, value_name = "MILLISECONDS")]
    to_timestamp: Option<i64>,
    /// The first record that is not older than this, as in `PT1H30M` or `P7D`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    by_duration: Option<Duration>,
    /// This many records on from what is committed, back if negative.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

/// Where a group shall go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Timestamp(i64),
    Age(Duration),
    Shift(i64),
}

impl ResetTo {
    pub(crate) fn target(&self) -> Target {
        let flags = [
            (self.to_earliest, Target::Earliest),
            (self.to_latest, Target::Latest),
            (self.to_current, Target::Current),
        ];
        flags
            .into_iter()
            .find_map(|(given, target)| given.then_some(target))
            .or(self.to_offset.map(Target::Offset))
            .or(self.to_timestamp.map(Target::Timestamp))
            .or(self.by_duration.map(Target::Age))
            .or(self.shift_by.map(Target::Shift))
            .unwrap_or_else(|| unreachable!("the command line demands one of them"))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_iso_duration(text)
        .ok_or_else(|| "expected an ISO 8601 duration, such as PT1H30M or P7D".to_owned())
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) topic: String,
    /// None: all of them.
    pub(crate) partitions: Option<Vec<i32>>,
}

impl Scope {
    /// The partitions that it names.
    pub(crate) fn named(&self) -> Option<impl Iterator<Item = TopicPartition> + '_> {
        let partitions = self.partitions.as_ref()?;
        Some(
            partitions
                .iter()
                .map(|index| TopicPartition::new(self.topic.as_str(), PartitionIndex::new(*index))),
        )
    }
}

impl FromStr for Scope {
    type Err = String;

    /// No topic's name holds a colon.
    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partitions) = match text.split_once(':') {
            None => (text, None),
            Some((topic, list)) => {
                let partitions = list.split(',').map(|index| {
                    let index = index.parse().ok().filter(|index: &i32| *index >= 0);
                    index.ok_or(
                        "expected the numbers of partitions behind the colon, as in orders:0,2",
                    )
                });
                (topic, Some(partitions.collect::<Result<_, _>>()?))
            }
        };
        if topic.is_empty() {
            return Err("expected a topic, or partitions as in orders:0,2".to_owned());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partitions,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn scopes_are_topics_or_some_of_their_partitions() {
        let scope = |topic: &str, partitions: Option<&[i32]>| Scope {
            topic: topic.to_owned(),
            partitions: partitions.map(<[i32]>::to_vec),
        };
        assert_eq!("orders".parse(), Ok(scope("orders", None)));
        assert_eq!("orders:3".parse(), Ok(scope("orders", Some(&[3]))));
        assert_eq!("orders:0,2".parse(), Ok(scope("orders", Some(&[0, 2]))));
        for wrong in ["", ":1", "orders:", "orders:a", "orders:-1", "orders:1,"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }

    fn target(arguments: &[&str]) -> Option<Target> {
        let start = ["corelog", "group", "reset-offsets", "g", "--topic", "t"];
        let cli = Cli::try_parse_from([&start, arguments].concat()).ok()?;
        let Command::Group {
            command: GroupCommand::ResetOffsets(arguments),
        } = cli.command
        else {
            unreachable!("that is the command");
        };
        Some(arguments.to.target())
    }

    #[test]
    fn offsets_are_reset_to_one_place() {
        assert_eq!(target(&["--to-earliest"]), Some(Target::Earliest));
        assert_eq!(target(&["--to-latest"]), Some(Target::Latest));
        assert_eq!(target(&["--to-current"]), Some(Target::Current));
        assert_eq!(target(&["--to-offset", "7"]), Some(Target::Offset(7)));
        assert_eq!(target(&["--to-timestamp", "9"]), Some(Target::Timestamp(9)));
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(target(&["--by-duration", "P1D"]), Some(Target::Age(day)));
        assert_eq!(target(&["--shift-by", "-5"]), Some(Target::Shift(-5)));
        for wrong in [
            &[][..],
            &["--to-earliest", "--to-latest"],
            &["--to-offset", "-1"],
            &["--by-duration", "1h"],
            &["--to-latest", "--all-topics"],
        ] {
            assert_eq!(target(wrong), None, "{wrong:?}");
        }
    }
}
