use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use corelog_broker::config::{BrokerConfig, ConfigLayers};

/// Corelog's broker: a durable, partitioned log, one shard per core.
///
/// Settings come from the configuration file, then from environment variables, then from the flags
/// below; the later one wins. `log.segment.bytes` is CORELOG_LOG_SEGMENT_BYTES in the environment and
/// `--set log.segment.bytes=...` on the command line; broker/docs/configuration.md lists them all.
#[derive(Parser, Debug)]
#[command(
    name = "corelog-broker",
    version,
    max_term_width = 100,
    // A wrapper's flags can be overridden by appending others.
    args_override_self = true,
    after_help = "Stops cleanly on SIGTERM and SIGINT; a second signal ends it at once.\n\
                  RUST_LOG sets what is logged to standard error (default: info).\n\n\
                  Exit codes: 0 clean stop, 1 could not start or stop, 2 wrong usage or settings."
)]
pub(crate) struct Arguments {
    /// TOML file to read settings from
    #[arg(long, value_name = "FILE", env = "CORELOG_CONFIG")]
    config: Option<PathBuf>,

    /// Folder that holds everything the broker keeps [default: corelog-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Where clients connect; port 0 picks a free one [default: 127.0.0.1:9190]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Where Kafka's clients connect; port 0 picks a free one, empty serves none [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    kafka_listen: Option<String>,

    /// Where /metrics and /health are served; port 0 picks a free one [default: 127.0.0.1:9191]
    #[arg(long, value_name = "HOST:PORT")]
    http_listen: Option<String>,

    /// Cores that run a shard each: `all`, a number, or a list such as `0,2-3` [default: all]
    #[arg(long, value_name = "CORES")]
    cores: Option<String>,

    /// Number of this broker in its cluster; fixed at the first start in a folder [default: 1]
    #[arg(long, value_name = "ID")]
    broker_id: Option<String>,

    /// Any setting by its name; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    settings: Vec<(String, String)>,

    /// Print all settings in force as TOML, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Arguments {
    /// The configuration of file, environment and flags.
    pub(crate) fn configuration(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<BrokerConfig> {
        let mut layers = ConfigLayers::new();
        if let Some(path) = &self.config {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| anyhow!("cannot read the configuration file `{name}`: {error}"))?;
            layers.file(&name, &text)?;
        }
        let mut texts = Vec::new();
        for (name, value) in variables {
            // A name that is not text is not one of ours.
            let Some(name) = name.to_str().filter(|name| name.starts_with("CORELOG_")) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => texts.push((name.to_owned(), value)),
                Err(value) => bail!("{name}: {value:?} is not UTF-8"),
            }
        }
        layers.environment(texts)?;
        let flags = [
            ("data.dir", &self.data_dir),
            ("listen", &self.listen),
            ("kafka.listen", &self.kafka_listen),
            ("http.listen", &self.http_listen),
            ("cores", &self.cores),
            ("broker.id", &self.broker_id),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                layers.flag(key, value)?;
            }
        }
        for (key, value) in &self.settings {
            layers.flag(key, value)?;
        }
        Ok(layers.build()?)
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    fn configuration(flags: &[&str], variables: &[(&str, &str)]) -> Result<BrokerConfig> {
        let flags = ["corelog-broker"].iter().chain(flags);
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Arguments::parse_from(flags).configuration(variables)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_environment_and_both_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("corelog.toml");
        std::fs::write(&file, "data.dir = '/a'\nlisten = 'a:1'\nbroker.id = 3\n").unwrap();
        let config = configuration(
            &["--config", file.to_str().unwrap(), "--listen", "c:3"],
            &[("CORELOG_LISTEN", "b:2"), ("CORELOG_DATA_DIR", "/b")],
        )
        .unwrap();
        assert_eq!(config.listen.to_string(), "c:3");
        assert_eq!(config.data_dir, Path::new("/b"));
        assert_eq!(config.broker_id.get(), 3);
    }

    #[test]
    fn the_last_of_a_repeated_flag_wins_and_every_set_counts() {
        let sets = ["--set", "journal.files=3", "--set", "num.partitions=2"];
        let flags = ["--listen", "a:1", "--broker-id", "4", "--listen", "b:2"];
        let config = configuration(&[&sets[..], &flags[..]].concat(), &[]).unwrap();
        assert_eq!(config.listen.to_string(), "b:2");
        assert_eq!(config.broker_id.get(), 4);
        assert_eq!((config.journal_files, config.num_partitions), (3, 2));
    }

    #[test]
    fn any_key_can_be_set_and_a_bad_one_is_named() {
        let config = configuration(&["--set", "num.partitions=8"], &[]).unwrap();
        assert_eq!(config.num_partitions, 8);
        let refused = configuration(&["--set", "num.partitions=0"], &[]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "command line: `num.partitions` cannot be `0`: it must be an integer from 1 to 10000"
        );
        let refused = configuration(&["--config", "/nowhere/c.toml"], &[]).unwrap_err();
        assert!(refused.to_string().contains("`/nowhere/c.toml`"));
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same_settings() {
        let config = configuration(
            &["--cores", "0,", "--set", "log.retention.ms=3d"],
            &[("CORELOG_CLUSTER_ID", "mine")],
        )
        .unwrap();
        let mut layers = ConfigLayers::new();
        layers.file("printed", &config.to_toml()).unwrap();
        assert_eq!(layers.build().unwrap(), config);
    }
}
