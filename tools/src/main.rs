//! `corelog`: the operator's command line.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 something failed, 2 the command line is wrong.

mod acknowledgements;
mod args;
mod config;
mod consume;
mod doctor;
mod group;
mod interrupt;
mod lines;
mod log;
mod output;
mod produce;
mod table;
mod topic;

use std::process::ExitCode;

use clap::Parser;
use corelog_client::{ConfigError, ConnectError};
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("CORELOG_LOG").unwrap_or_else(|_| {
            // The commands report failures themselves.
            EnvFilter::new("error")
        }))
        .with_writer(std::io::stderr)
        .init();
    match run(&cli) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(cli.global.format, &error);
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Command::Doctor(arguments) = &cli.command {
        return doctor::run(arguments, cli.global.format);
    }
    if let Command::Log { command } = &cli.command {
        return log::run(command, cli.global.format);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        match &cli.command {
            Command::Topic { command } => topic::run(command, &cli.global).await,
            Command::Config { command } => config::run(command, &cli.global).await,
            Command::Group { command } => group::run(command, &cli.global).await,
            Command::Produce(arguments) => produce::run(arguments, &cli.global).await,
            Command::Consume(arguments) => consume::run(arguments, &cli.global).await,
            Command::Doctor(_) | Command::Log { .. } => unreachable!("it was run above"),
        }
    });
    // Lines that nobody takes are not waited for.
    runtime.shutdown_background();
    done
}

/// A setting given on the command line that the client does not take, or a path that no log lies in.
fn is_usage(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ConfigError>().is_some()
        || error.downcast_ref::<log::NotALog>().is_some()
        || matches!(
            error.downcast_ref::<ConnectError>(),
            Some(ConnectError::Config(_))
        )
}
