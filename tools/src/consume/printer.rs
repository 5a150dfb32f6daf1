//! Records as lines.

use std::io::{self, BufWriter, Write};

use corelog_client::ConsumerRecord;
use serde::Serialize;

use crate::args::{ConsumeArguments, Format};

pub(super) struct Printer {
    out: BufWriter<io::StdoutLock<'static>>,
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
            out: BufWriter::with_capacity(256 << 10, io::stdout().lock()),
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

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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
