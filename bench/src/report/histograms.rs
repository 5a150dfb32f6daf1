//! The latencies of a run as a log of HdrHistograms (version 1.3 of the interval log format), which HdrHistogram's own
//! tools read: one line for each figure, in nanoseconds.

use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::{Result, anyhow};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::Report;

/// Writes the log.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(report: &Report, out: impl Write) -> Result<()> {
    let mut out = BufWriter::new(out);
    let mut serializer = V2DeflateSerializer::new();
    let started = Duration::from_secs(report.started_unix_s);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("nanoseconds")
        .add_comment(&report.command)
        .with_start_time(std::time::UNIX_EPOCH + started)
        .begin_log_with(&mut out, &mut serializer)?;
    for recording in &report.recordings {
        let tag = tag(&recording.what);
        let written = log.write_histogram(
            recording.latencies.histogram(),
            recording.began,
            recording.took,
            Tag::new(&tag),
        );
        written.map_err(|error| anyhow!("{}: {error:?}", recording.what))?;
    }
    out.flush()?;
    Ok(())
}

/// A tag is one word without commas.
fn tag(what: &str) -> String {
    let words = what.split(|letter: char| letter == ',' || letter.is_whitespace());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::Recording;
    use super::super::text::tests::report;
    use super::*;
    use crate::latency::Latencies;

    #[test]
    fn what_is_written_is_read_again() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(250));
        let mut report = report();
        report.recordings.push(Recording {
            what: "produce, sync, 1 MiB".to_owned(),
            began: Duration::from_secs(3),
            took: Duration::from_secs(2),
            latencies,
        });
        let mut log = Vec::new();
        write(&report, &mut log).unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&log).map(Result::unwrap).collect();
        let intervals: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        assert_eq!(intervals.len(), 1);
        assert_eq!(intervals[0].tag().unwrap().as_str(), "produce-sync-1-MiB");
        assert_eq!(intervals[0].duration(), Duration::from_secs(2));
    }
}
