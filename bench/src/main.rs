//! `corelog-bench`: measures Corelog, and the machine beneath it.

mod args;
mod broker_metrics;
mod ceilings;
mod cores;
mod embedded;
mod interrupt;
mod latency;
mod machine;
mod plan;
mod progress;
mod quantity;
mod report;
mod scratch;
mod suite;
mod workload;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Args, Format};
use embedded::Embedded;
use plan::Plan;
use report::Report;
use scratch::Scratch;
use suite::Suite;

fn main() -> ExitCode {
    let args = Args::parse();
    // The embedded broker and the clients log; only what needs attention is shown.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    match run(&args) {
        Ok(report) if report.interrupted => ExitCode::from(interrupt::EXIT_CODE),
        Ok(report) if report.verdict.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(_) if interrupt::requested() => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            eprintln!("corelog-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Report> {
    let plan = Plan::new(args, &cores::available())?;
    interrupt::watch()?;
    let report = match &plan.brokers {
        Some(brokers) => Suite::new(&plan, brokers.clone(), None).run()?,
        None => run_embedded(&plan)?,
    };
    show(args, &report)?;
    Ok(report)
}

/// Measures a broker of this process, which goes with all its files at the end.
fn run_embedded(plan: &Plan) -> Result<Report> {
    let scratch = Scratch::create(&plan.data_dir)?;
    interrupt::remove_at_exit(scratch.path());
    let broker = Embedded::start(plan, scratch.join("broker"))?;
    let report = Suite::new(plan, broker.servers(), Some(&scratch)).run();
    let figures = broker.figures();
    // The broker ends before its folder does, whatever became of the run.
    let stopped = broker.stop();
    let mut report = report?;
    stopped?;
    match figures {
        Ok(figures) => report.broker = Some(figures),
        Err(error) => tracing::warn!("the report lacks the broker's own figures: {error:#}"),
    }
    Ok(report)
}

fn show(args: &Args, report: &Report) -> Result<()> {
    let text = match args.format {
        Format::Text => report.to_text(),
        Format::Json => report.to_json().context("cannot write JSON")? + "\n",
    };
    match &args.output {
        Some(path) => fs::write(path, text)
            .with_context(|| format!("cannot write the report to {}", path.display())),
        None => io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write the report"),
    }
}
