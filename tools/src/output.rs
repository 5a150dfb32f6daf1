//! Printing results and errors.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use corelog_client::AdminError;
use serde::Serialize;

use crate::args::Format;

/// Prints one result: a JSON document, or what `text` writes.
pub(crate) fn print<T: Serialize>(
    format: Format,
    result: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => text(&mut out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, result)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Prints an error with its causes to stderr.
pub(crate) fn print_error(format: Format, error: &anyhow::Error) {
    let text = chain(error);
    match format {
        Format::Text => tell(format_args!("corelog: {text}")),
        Format::Json => tell(serde_json::json!({ "error": text })),
    }
}

/// Writes a line to stderr. Whoever does not read it any more is no reason to end.
pub(crate) fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit code of a command that has printed what it did: a reader of its output that has had enough hides no failure.
pub(crate) fn finish(printed: anyhow::Result<()>, code: ExitCode) -> anyhow::Result<ExitCode> {
    match printed {
        Err(error) if !is_broken_pipe(&error) => Err(error),
        _ => Ok(code),
    }
}

/// Causes that the message before them already tells are left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// What was done, and what failed.
pub(crate) fn split<T>(
    results: impl IntoIterator<Item = Result<T, AdminError>>,
) -> (Vec<T>, Vec<AdminError>) {
    let mut done = Vec::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(result) => done.push(result),
            Err(error) => failures.push(error),
        }
    }
    (done, failures)
}

/// Prints what failed; the rest was done.
pub(crate) fn report(failures: &[AdminError], format: Format) -> ExitCode {
    for failure in failures {
        print_error(format, &anyhow::Error::new(failure.clone()));
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// Whoever read our output has had enough: `corelog consume t | head`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|error| error.io_error_kind() == Some(ErrorKind::BrokenPipe))
    })
}
