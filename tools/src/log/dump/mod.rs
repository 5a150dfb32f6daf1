//! `corelog log dump`: what each file holds, a line for each thing in it.

mod journal;
mod lines;
mod segment;
mod small;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corelog_broker::log::inspect::base_offset_of;

use self::lines::Lines;
use super::arguments::DumpArguments;
use super::place::{NotALog, Place};
use crate::args::Format;

pub(super) fn run(arguments: &DumpArguments, format: Format) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::to_stdout(format);
    for path in &arguments.paths {
        match Place::find(path)? {
            Place::File(path) => {
                if !dump(&path, arguments, &mut lines)? {
                    return Err(NotALog::new(&path, "is no file of a log").into());
                }
            }
            Place::Partition(folder) => {
                let segments = folder.segments.iter().map(|segment| &segment.path);
                dump_all(segments.chain(&folder.others), arguments, &mut lines)?;
            }
            Place::Data(folder) => {
                dump_all(folder.journal.iter(), arguments, &mut lines)?;
                for partition in &folder.partitions {
                    let segments = partition.segments.iter().map(|segment| &segment.path);
                    dump_all(segments.chain(&partition.others), arguments, &mut lines)?;
                }
            }
        }
    }
    lines.finish()?;
    Ok(ExitCode::from(u8::from(lines.met_damage())))
}

fn dump_all<'a>(
    paths: impl Iterator<Item = &'a PathBuf>,
    arguments: &DumpArguments,
    lines: &mut Lines,
) -> anyhow::Result<()> {
    for path in paths.filter(|path| path.is_file()) {
        if !dump(path, arguments, lines)? {
            lines.begin(path)?;
            lines.remark("not a file that can be shown")?;
        }
    }
    Ok(())
}

/// `false` when the file's name says nothing.
fn dump(path: &Path, arguments: &DumpArguments, lines: &mut Lines) -> anyhow::Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match &*extension {
        "log" if base_offset_of(&name).is_some() => segment::dump(path, arguments, lines)?,
        "index" => small::offset_index(path, lines)?,
        "timeindex" => small::time_index(path, lines)?,
        "checkpoint" => small::checkpoint(path, lines)?,
        "blocks" => small::blocks(path, lines)?,
        "journal" => journal::dump(path, lines)?,
        "metadata" | "properties" => small::text(path, lines)?,
        // `leader-epoch-checkpoint`, and Kafka's like `recovery-point-offset-checkpoint`.
        _ if name.ends_with("-checkpoint") => small::text(path, lines)?,
        _ => return Ok(false),
    }
    Ok(true)
}
