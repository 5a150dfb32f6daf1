//! `corelog log`: the files of a data folder, read without a broker. Kafka's folders too.
//!
//! Nothing here trusts a length that the bytes claim: files are read in pieces of a fixed size, and
//! what is kept in memory has a bound. Formats: `broker/docs/on_disk_format.md`.

pub(crate) mod arguments;
mod batch_search;
mod batch_stream;
mod dump;
mod headers;
mod place;
mod repair;
mod sequential;
mod small_file;
mod survey;
mod swap;
mod verify;

use std::process::ExitCode;

use arguments::LogCommand;

use crate::args::Format;

pub(crate) use place::NotALog;

pub(crate) fn run(command: &LogCommand, format: Format) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Dump(arguments) => dump::run(arguments, format),
        LogCommand::Verify(arguments) => verify::run(arguments, format),
        LogCommand::Repair(arguments) => repair::run(arguments, format),
    }
}
