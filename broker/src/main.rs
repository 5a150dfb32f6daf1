//! The broker's process: reads the configuration, starts the broker, waits for a signal, stops it.
//!
//! Standard output carries only where the broker listens, once it does; everything else goes to
//! standard error. Exit codes: 0 after a clean stop, 1 when the broker could not start or stop, 2 when
//! the command line or the configuration is wrong.

mod arguments;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Context, Result};
use clap::Parser;
use corelog_broker::broker::Broker;
use corelog_broker::config::BrokerConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::arguments::Arguments;

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match arguments.configuration(std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => return complain(&error, MISUSED),
    };
    if arguments.print_config {
        return match io::stdout().write_all(config.to_toml().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.into(), FAILED),
        };
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, FAILED),
    }
}

fn run(config: BrokerConfig) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();

    // Before the start, so that a signal that arrives during it is not lost.
    let stop = listen_for_signals()?;
    let broker = Broker::start(config)?;
    let addresses = broker.addresses();
    let kafka = addresses.kafka.map(|kafka| format!("kafka {kafka}\n"));
    // A reader that is gone is no reason to stop.
    let _ = writeln!(
        io::stdout(),
        "native {}\n{}http {}",
        addresses.native,
        kafka.unwrap_or_default(),
        addresses.http
    );
    let name = stop.recv().context("the signal thread is gone")?;
    tracing::info!(signal = name, "stopping");
    broker.stop()?;
    tracing::info!("stopped");
    Ok(())
}

/// The first SIGTERM or SIGINT comes out of the channel; the second ends the process at once, for
/// those who cannot wait. Then the next start replays the journal, as after a crash.
fn listen_for_signals() -> Result<mpsc::Receiver<&'static str>> {
    let (arrived, signals) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    let wait = move || {
        runtime.block_on(async {
            let first = next_signal(&mut terminate, &mut interrupt).await;
            // Nobody listens any more when the broker could not start.
            let _ = arrived.send(first);
            next_signal(&mut terminate, &mut interrupt).await;
            eprintln!("corelog-broker: second signal, ending without a clean stop");
            std::process::exit(FAILED.into());
        });
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(signals)
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    // Every error's text holds those of its causes.
    eprintln!("corelog-broker: {error}");
    ExitCode::from(code)
}
