//! `corelog doctor`: what this machine lacks to run a broker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corelog_broker::runtime::{Severity, probe_machine};
use serde::Serialize;

use crate::args::{DoctorArguments, Format};
use crate::output;

#[derive(Serialize)]
struct Report {
    data_dir: PathBuf,
    can_run: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    severity: &'static str,
    what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mend: String,
}

pub(crate) fn run(arguments: &DoctorArguments, format: Format) -> anyhow::Result<ExitCode> {
    let data_dir = nearest_existing(&arguments.data_dir);
    let machine = probe_machine(&data_dir);
    let can_run = machine.blockers().next().is_none();
    let report = Report {
        data_dir,
        can_run,
        findings: machine
            .findings
            .into_iter()
            .map(|finding| Finding {
                severity: name_of(finding.severity),
                what: finding.what,
                mend: finding.mend,
            })
            .collect(),
    };
    output::print(format, &report, |out| {
        for finding in &report.findings {
            writeln!(out, "{:8} {}", finding.severity, finding.what)?;
            if !finding.mend.is_empty() {
                writeln!(out, "{:8} -> {}", "", finding.mend)?;
            }
        }
        let verdict = if can_run {
            "A broker can run here."
        } else {
            "A broker cannot run here until the blockers are mended."
        };
        writeln!(out, "{verdict}")
    })?;
    Ok(if can_run {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn name_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "ok",
        Severity::Warning => "warning",
        Severity::Blocker => "blocker",
    }
}

/// The folder itself need not exist yet; its file system does.
fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .map_or_else(|| PathBuf::from("/"), Path::to_owned)
}
