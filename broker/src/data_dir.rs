//! The data folder: who may use it, and what it says about itself.
//!
//! Plain blocking file calls, before any executor starts and after all have ended.
//!
//! ```text
//! DIR/.lock            held while a broker runs; holds its process id
//! DIR/meta.properties  cluster, broker and directory ids, format version (Kafka's file)
//! DIR/ports.json       where the running broker listens
//! DIR/metadata/        the metadata log and its snapshot
//! DIR/journal/         the shards' commit journals
//! DIR/data/            a folder per partition
//! ```

mod properties;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use corelog_protocol::BrokerId;
use serde::Serialize;

pub(crate) use self::properties::FORMAT_VERSION;
use self::properties::{Properties, Unusable};
use crate::config::BrokerConfig;

const LOCK: &str = ".lock";
const META: &str = "meta.properties";
const PORTS: &str = "ports.json";

/// The folders that are never empty once a broker has kept something.
const KEPT: [&str; 3] = ["metadata", "journal", "data"];

/// A folder that this process alone may use, until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    properties: Properties,
    /// The lock ends when this is closed, however the process ends.
    _lock: File,
}

/// Where a running broker listens, as `ports.json` says it.
#[derive(Clone, Copy, Serialize, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The native protocol.
    pub native: SocketAddr,
    /// Kafka's protocol, if it is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<SocketAddr>,
    /// `/metrics` and `/health`.
    pub http: SocketAddr,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        what: &'static str,
        path: String,
        source: io::Error,
    },
    #[error(
        "data folder `{path}` is in use by process {}: stop that broker, or choose another folder \
         with --data-dir",
        pid.as_deref().unwrap_or("unknown")
    )]
    InUse { path: String, pid: Option<String> },
    #[error(
        "`{path}` is missing although the folder was used before (there is `{found}`): restore the \
         file, or choose another folder with --data-dir"
    )]
    MetaMissing { path: String, found: String },
    #[error("`{path}` cannot be used: {reason}")]
    Meta { path: String, reason: String },
    #[error(
        "data folder `{path}` was written in format {found}, this broker knows formats up to \
         {newest}: start a newer broker"
    )]
    NewerFormat {
        path: String,
        found: u32,
        newest: u32,
    },
    #[error(
        "data folder `{path}` belongs to broker {found}, but `broker.id` is {configured}: set it to \
         {found}, or choose another folder with --data-dir"
    )]
    OtherBroker {
        path: String,
        found: BrokerId,
        configured: BrokerId,
    },
    #[error(
        "data folder `{path}` belongs to cluster `{found}`, but `cluster.id` is `{configured}`: \
         unset it, or choose another folder with --data-dir"
    )]
    OtherCluster {
        path: String,
        found: String,
        configured: String,
    },
}

impl DataDir {
    /// Creates or opens the folder, takes its lock, and checks that it is this broker's.
    pub fn open(config: &BrokerConfig) -> Result<Self, DataDirError> {
        let path = &config.data_dir;
        fs::create_dir_all(path).map_err(failed("create", path))?;
        let path = fs::canonicalize(path).map_err(failed("find", path))?;
        let lock = lock(&path)?;
        let properties = match read_bounded(&path.join(META))? {
            Some(text) => Properties::parse(&text).map_err(|unusable| match unusable {
                Unusable::NewerFormat { found } => DataDirError::NewerFormat {
                    path: path.display().to_string(),
                    found,
                    newest: FORMAT_VERSION,
                },
                Unusable::Damaged(reason) => DataDirError::Meta {
                    path: path.join(META).display().to_string(),
                    reason,
                },
            })?,
            None => found(&path, config)?,
        };
        properties.check(&path, config)?;
        // A broker that was killed left its ports behind.
        remove_if_there(&path.join(PORTS))?;
        Ok(Self {
            path,
            properties,
            _lock: lock,
        })
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn cluster_id(&self) -> &str {
        &self.properties.cluster_id
    }

    /// The id that this folder drew when it was first used.
    pub fn directory_id(&self) -> &str {
        &self.properties.directory_id
    }

    /// Writes `ports.json`: from now on, clients are served.
    pub fn write_ports(&self, ports: &Ports) -> Result<(), DataDirError> {
        let mut json = serde_json::to_string(ports).expect("addresses always become JSON");
        json.push('\n');
        replace(&self.path, PORTS, json.as_bytes())
    }

    /// Removes `ports.json` and gives the lock back.
    pub fn close(self) -> Result<(), DataDirError> {
        remove_if_there(&self.path.join(PORTS))
    }
}

/// A data folder that no broker may start in, until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks a folder that a broker used before, for work on its files.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] while a broker runs there.
    pub fn take(folder: &Path) -> Result<FolderLock, DataDirError> {
        Ok(FolderLock {
            _file: lock(folder)?,
        })
    }
}

fn lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The one who holds the lock may be writing its number at this moment.
            let read = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
            let pid = pid.trim();
            return Err(DataDirError::InUse {
                path: folder.display().to_string(),
                pid: (read.is_ok() && !pid.is_empty()).then(|| pid.to_owned()),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    let pid = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| file.write_all(pid.as_bytes()))
        .map_err(failed("write", &path))?;
    Ok(file)
}

/// The first start in this folder: draws its ids.
fn found(folder: &Path, config: &BrokerConfig) -> Result<Properties, DataDirError> {
    for name in KEPT {
        let kept = folder.join(name);
        let mut entries = match fs::read_dir(&kept) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("list", &kept)(error)),
        };
        if entries.next().is_some() {
            return Err(DataDirError::MetaMissing {
                path: folder.join(META).display().to_string(),
                found: name.to_owned(),
            });
        }
    }
    let properties = Properties::draw(config.broker_id, config.cluster_id.as_deref());
    replace(folder, META, properties.to_text().as_bytes())?;
    // The folder's own name must be as durable as what is kept in it.
    if let Some(parent) = folder.parent() {
        sync(parent)?;
    }
    Ok(properties)
}

/// Puts a small file in place so that after a crash the old or the new one is there, whole.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
    let path = folder.join(name);
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary).map_err(failed("create", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(failed("replace", &path))?;
    sync(folder)
}

fn sync(folder: &Path) -> Result<(), DataDirError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", folder))
}

fn remove_if_there(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The text of a small file, if it is there.
fn read_bounded(path: &Path) -> Result<Option<String>, DataDirError> {
    const MAX_BYTES: u64 = 64 << 10;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut text = String::new();
    file.take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(failed("read", path))?;
    Ok(Some(text))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.display().to_string();
    move |source| DataDirError::Io { what, path, source }
}
