//! Lines of a dump: text for people, a JSON document each for programs.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::Format;

pub(super) struct Lines {
    format: Format,
    out: BufWriter<Stdout>,
    file: PathBuf,
    met_damage: bool,
}

#[derive(Serialize)]
struct Document<'a, T> {
    file: &'a Path,
    kind: &'static str,
    #[serde(flatten)]
    item: &'a T,
}

#[derive(Serialize)]
struct Remark<'a> {
    remark: &'a str,
}

impl Lines {
    pub(super) fn to_stdout(format: Format) -> Lines {
        Lines {
            format,
            out: BufWriter::new(io::stdout()),
            file: PathBuf::new(),
            met_damage: false,
        }
    }

    /// What follows is of this file.
    pub(super) fn begin(&mut self, file: &Path) -> io::Result<()> {
        self.file = file.to_owned();
        match self.format {
            Format::Text => writeln!(self.out, "{}:", file.display()),
            Format::Json => Ok(()),
        }
    }

    pub(super) fn item<T: Serialize + Display>(
        &mut self,
        kind: &'static str,
        item: &T,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => writeln!(self.out, "  {item}"),
            Format::Json => self.document(kind, item),
        }
    }

    pub(super) fn remark(&mut self, remark: &str) -> io::Result<()> {
        match self.format {
            Format::Text => writeln!(self.out, "  ({remark})"),
            Format::Json => self.document("remark", &Remark { remark }),
        }
    }

    /// Something that cannot be shown because it is not what it must be.
    pub(super) fn damage(&mut self, problem: &str) -> io::Result<()> {
        self.met_damage = true;
        match self.format {
            Format::Text => writeln!(self.out, "  DAMAGE: {problem}"),
            Format::Json => self.document("damage", &Remark { remark: problem }),
        }
    }

    pub(super) fn note_damage(&mut self) {
        self.met_damage = true;
    }

    fn document<T: Serialize>(&mut self, kind: &'static str, item: &T) -> io::Result<()> {
        let document = Document {
            file: &self.file,
            kind,
            item,
        };
        serde_json::to_writer(&mut self.out, &document)?;
        writeln!(self.out)
    }

    pub(super) fn met_damage(&self) -> bool {
        self.met_damage
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bytes as people read them: text where it is text, else in hexadecimal.
pub(super) fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("0x{hex}")
        }
    }
}
