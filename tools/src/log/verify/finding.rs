//! What a check found.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Findings kept; the rest is only counted.
const LARGEST_LIST: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Something is not what it must be.
    Damage,
    /// Worth knowing, and no fault: the next start of a broker takes care of it.
    Note,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<i64>,
    pub(crate) what: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    pub(crate) fn damage(file: &Path, what: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Damage,
            file: file.to_owned(),
            position: None,
            offset: None,
            what: what.into(),
            mend: None,
        }
    }

    pub(crate) fn note(file: &Path, what: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Note,
            ..Finding::damage(file, what)
        }
    }

    pub(crate) fn at(mut self, position: u64) -> Finding {
        self.position = Some(position);
        self
    }

    pub(crate) fn of_offset(mut self, offset: i64) -> Finding {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn with_severity(mut self, severity: Severity) -> Finding {
        self.severity = severity;
        self
    }

    pub(crate) fn mended_by(mut self, command: &str) -> Finding {
        if self.severity == Severity::Damage {
            self.mend = Some(command.to_owned());
        }
        self
    }
}

/// All of a check, within a bound.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<Finding>,
    pub(crate) damages: u64,
    pub(crate) notes: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Damage => self.damages += 1,
            Severity::Note => self.notes += 1,
        }
        if self.list.len() < LARGEST_LIST {
            self.list.push(finding);
        }
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.damages + self.notes - self.list.len() as u64
    }
}
