//! The command line of `corelog log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print what files hold: batches, records, indexes, checkpoints, journals.
    ///
    /// PATH is a data folder (Kafka's too), the folder of a partition, or one file.
    Dump(DumpArguments),
    /// Check every batch, index and checkpoint, at the speed of the disk.
    ///
    /// PATH is a data folder (Kafka's too), the folder of a partition, or one file. Exits with 0 when all is well, 1 when
    /// something is damaged: each damage is named with its file, its place and the command that mends it. Reads only;
    /// while a broker runs in the folder, the ends of its logs move.
    Verify(VerifyArguments),
    /// Say what would mend a folder, and do it with --apply.
    ///
    /// Writes wrong indexes anew, cuts torn ends, turns back a bit that turned in a base offset or a leader epoch, takes
    /// damaged segments out of service and keeps their whole batches. No byte is deleted: everything that leaves its place
    /// goes to `quarantine/` in the data folder. What a broker acknowledged is given up only with --accept. Refused while a
    /// broker runs in the folder. Exits with 0 when all is mended, 1 when something is left to do. One that was interrupted
    /// is run again.
    Repair(RepairArguments),
}

#[derive(Debug, Args)]
pub(crate) struct DumpArguments {
    /// What to print.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Print the records of each batch too: keys, values, headers, control records.
    #[arg(long, alias = "print-data-log")]
    pub(crate) records: bool,
    /// Of segments, only batches that end at this offset or behind it.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub(crate) from_offset: i64,
    /// Of each segment, at most so many batches.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_batches: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArguments {
    /// A data folder (Kafka's too, while Kafka is stopped), or the folder of a partition.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Only this partition, by its folder's name, such as `events-0`. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) partition: Vec<String>,
    /// Serve a suspect partition with what its segments verifiably hold. What the broker acknowledged beyond that is lost to
    /// its clients.
    #[arg(long)]
    pub(crate) accept: bool,
    /// Do it. Without this nothing is changed.
    #[arg(long)]
    pub(crate) apply: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// What to check.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Decompress and read every record too. Slower: it takes the CPU's time, not the disk's.
    #[arg(long)]
    pub(crate) records: bool,
}
