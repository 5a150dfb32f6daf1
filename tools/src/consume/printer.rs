//! Records as lines.
//!
//! They are written on a thread of their own: a reader of the output that stands still must hold up neither signals nor
//! the heartbeats of a group's member.

use std::io::{self, Write};
use std::time::Duration;

use corelog_client::ConsumerRecord;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::args::{ConsumeArguments, Format};

/// How long an interrupted command waits for lines that are being written, so that the last one comes whole.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(super) struct Printer {
    /// Lines that nobody writes yet.
    out: Vec<u8>,
    writing: Option<JoinHandle<io::Result<()>>>,
    format: Format,
    print_key: bool,
}

/// One record. Bytes that are not UTF-8 come as hexadecimal digits under another name.
#[derive(Serialize)]
struct Printed<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

impl Printer {
    pub(super) fn new(arguments: &ConsumeArguments, format: Format) -> Self {
        Self {
            out: Vec::new(),
            writing: None,
            format,
            print_key: arguments.print_key,
        }
    }

    pub(super) fn print(&mut self, record: &ConsumerRecord) -> anyhow::Result<()> {
        match self.format {
            Format::Text => {
                if self.print_key {
                    self.out
                        .write_all(record.key.as_deref().unwrap_or_default())?;
                    self.out.write_all(b"\t")?;
                }
                self.out
                    .write_all(record.value.as_deref().unwrap_or_default())?;
                self.out.write_all(b"\n")?;
            }
            Format::Json => {
                let key = record.key.as_deref().filter(|_| self.print_key);
                let value = record.value.as_deref();
                let printed = Printed {
                    topic: &record.topic,
                    partition: record.partition.get(),
                    offset: record.offset.get(),
                    timestamp: record.timestamp.get(),
                    key: key.and_then(text),
                    key_hex: key.and_then(hex),
                    value: value.and_then(text),
                    value_hex: value.and_then(hex),
                };
                serde_json::to_writer(&mut self.out, &printed)?;
                self.out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Writes what was printed, and returns when it has left the process. If that is given up, the writing goes on.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            let lines = std::mem::take(&mut self.out);
            self.writing = Some(tokio::task::spawn_blocking(move || {
                let mut out = io::stdout().lock();
                out.write_all(&lines)?;
                out.flush()
            }));
        }
        let Some(writing) = &mut self.writing else {
            return Ok(());
        };
        let written = writing.await;
        self.writing = None;
        written.map_err(io::Error::other)?
    }

    /// Gives lines that are being written a moment to leave the process.
    pub(super) async fn settle(&mut self) {
        if let Some(writing) = &mut self.writing {
            let _ = tokio::time::timeout(LAST_LINES, writing).await;
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Only for what is no text.
fn hex(bytes: &[u8]) -> Option<String> {
    if text(bytes).is_some() {
        return None;
    }
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
