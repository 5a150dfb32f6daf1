//! What became of the lines sent, reported in their order.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Instant;

use corelog_client::{Delivery, Offset, ProduceError, RecordMetadata};
use futures_util::FutureExt;
use serde::Serialize;

use crate::args::Format;

/// Failed lines that are named one by one.
const MAX_NAMED_FAILURES: u64 = 20;

pub(crate) struct Acknowledgements {
    quiet: bool,
    format: Format,
    out: BufWriter<io::StdoutLock<'static>>,
    sent: VecDeque<(u64, Delivery)>,
    settled: Option<Result<RecordMetadata, ProduceError>>,
    acknowledged: u64,
    failed: u64,
    start: Instant,
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    line: u64,
    topic: &'a str,
    partition: i32,
    offset: Option<i64>,
}

impl Acknowledgements {
    pub(crate) fn new(quiet: bool, format: Format) -> Self {
        Self {
            quiet,
            format,
            out: BufWriter::with_capacity(64 << 10, io::stdout().lock()),
            sent: VecDeque::new(),
            settled: None,
            acknowledged: 0,
            failed: 0,
            start: Instant::now(),
        }
    }

    pub(crate) fn wait_for(&mut self, line: u64, delivery: Delivery) {
        self.sent.push_back((line, delivery));
    }

    /// Lines not yet reported.
    pub(crate) fn waiting(&self) -> usize {
        self.sent.len()
    }

    /// Resolves when the oldest line is settled; `report_settled` then reports it.
    pub(crate) async fn oldest_settled(&mut self) {
        if self.settled.is_none()
            && let Some((_, delivery)) = self.sent.front_mut()
        {
            self.settled = Some(delivery.await);
        }
    }

    /// Reports the lines that are settled, without waiting.
    pub(crate) fn report_settled(&mut self) -> anyhow::Result<()> {
        while self.oldest_settled().now_or_never().is_some() && self.settled.is_some() {
            self.report_oldest()?;
        }
        self.out.flush()?;
        Ok(())
    }

    /// Waits for every line, and reports it.
    pub(crate) async fn report_all(&mut self) -> anyhow::Result<()> {
        while !self.sent.is_empty() {
            self.oldest_settled().await;
            self.report_oldest()?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn report_oldest(&mut self) -> anyhow::Result<()> {
        let (Some(result), Some((line, _))) = (self.settled.take(), self.sent.pop_front()) else {
            return Ok(());
        };
        match result {
            Ok(written) => {
                self.acknowledged += 1;
                if !self.quiet {
                    self.print(line, &written)?;
                }
            }
            Err(error) => {
                self.failed += 1;
                if self.failed <= MAX_NAMED_FAILURES {
                    crate::output::tell(format_args!(
                        "corelog: line {line} was not acknowledged: {error}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, line: u64, written: &RecordMetadata) -> anyhow::Result<()> {
        let partition = written.partition.get();
        match (self.format, written.offset) {
            (Format::Text, Some(offset)) => writeln!(self.out, "{partition}\t{offset}")?,
            (Format::Text, None) => writeln!(self.out, "{partition}\t-")?,
            (Format::Json, offset) => {
                let acknowledged = Acknowledged {
                    line,
                    topic: &written.topic,
                    partition,
                    offset: offset.map(Offset::get),
                };
                serde_json::to_writer(&mut self.out, &acknowledged)?;
                writeln!(self.out)?;
            }
        }
        Ok(())
    }

    /// Sums up; a success only if every line was acknowledged.
    pub(crate) fn end(&mut self) -> anyhow::Result<ExitCode> {
        self.out.flush()?;
        let unknown = self.sent.len();
        crate::output::tell(format_args!(
            "corelog: {} lines acknowledged, {} failed, {unknown} unknown, in {:.1} s",
            self.acknowledged,
            self.failed,
            self.start.elapsed().as_secs_f64()
        ));
        Ok(if self.failed == 0 && unknown == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        })
    }
}
