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
mod servers;
mod suite;
mod timeline;
mod verify;
mod workload;

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Args, Command, Format};
use embedded::{Embedded, Options};
use plan::Plan;
use report::Report;
use report::compare::{Comparison, Run};
use scratch::Scratch;
use servers::Servers;
use suite::Suite;
use verify::{VerifyPlan, VerifyReport};

fn main() -> ExitCode {
    if let Some(code) = verify::serve_if_called() {
        return code;
    }
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
    if let Some(Command::Compare { reports, html }) = &args.command {
        return match compare(reports, html.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    if args.verify {
        return match run_verification(&args) {
            Ok(report) if report.is_good() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => failed(&error),
        };
    }
    match run(&args) {
        Ok(report) if report.interrupted => ExitCode::from(interrupt::EXIT_CODE),
        Ok(report) if report.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if interrupt::requested() {
        return ExitCode::from(interrupt::EXIT_CODE);
    }
    eprintln!("corelog-bench: {error:#}");
    ExitCode::FAILURE
}

fn compare(reports: &[PathBuf], html: Option<&Path>) -> Result<()> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let report = serde_json::from_str(&text)
            .with_context(|| format!("{name} is no report of a run with --format json"))?;
        anyhow::Ok(Run { name, report })
    };
    let runs = reports.iter().map(read).collect::<Result<_>>()?;
    let comparison = Comparison::new(runs)?;
    let html = Extra::create(html)?;
    print!("{}", comparison.to_text());
    html.write(|out| Ok(out.write_all(comparison.to_html()?.as_bytes())?))
}

fn run_verification(args: &Args) -> Result<VerifyReport> {
    let plan = VerifyPlan::new(args, &cores::available())?;
    interrupt::watch()?;
    let report = verify::run(plan)?;
    let text = match args.format {
        Format::Text => report.to_text(),
        Format::Json => report.to_json().context("cannot write JSON")? + "\n",
    };
    show(args, &text)?;
    Ok(report)
}

fn run(args: &Args) -> Result<Report> {
    let plan = Plan::new(args, &cores::available())?;
    let html = Extra::create(args.html.as_deref())?;
    let histograms = Extra::create(args.histograms.as_deref())?;
    interrupt::watch()?;
    let report = match &plan.brokers {
        Some(brokers) => Suite::new(&plan, brokers.clone(), None).run()?,
        None => run_embedded(&plan)?,
    };
    let text = match args.format {
        Format::Text => report.to_text(),
        Format::Json => report.to_json().context("cannot write JSON")? + "\n",
    };
    show(args, &text)?;
    html.write(|out| Ok(out.write_all(report::html::page(&report)?.as_bytes())?))?;
    histograms.write(|out| report::histograms::write(&report, out))?;
    Ok(report)
}

/// Measures a broker of this process, which goes with all its files at the end.
fn run_embedded(plan: &Plan) -> Result<Report> {
    let scratch = Scratch::create(&plan.data_dir)?;
    interrupt::remove_at_exit(scratch.path());
    let options = Options::new(scratch.join("broker"), plan.cores.broker.clone());
    let broker = Embedded::start(options)?;
    let report = Suite::new(plan, Servers::Native(broker.servers()), Some(&scratch)).run();
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

/// A file beside the report, made before the run: that it cannot be written is no news for its end.
struct Extra<'a>(Option<(&'a Path, File)>);

impl<'a> Extra<'a> {
    fn create(path: Option<&'a Path>) -> Result<Self> {
        let create = |path: &'a Path| {
            let file = File::create(path);
            let file = file.with_context(|| format!("cannot write to {}", path.display()))?;
            anyhow::Ok((path, file))
        };
        Ok(Self(path.map(create).transpose()?))
    }

    fn write(self, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
        let Some((path, mut file)) = self.0 else {
            return Ok(());
        };
        write(&mut file).with_context(|| format!("cannot write to {}", path.display()))
    }
}

fn show(args: &Args, text: &str) -> Result<()> {
    match &args.output {
        Some(path) => fs::write(path, text)
            .with_context(|| format!("cannot write the report to {}", path.display())),
        None => io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write the report"),
    }
}
