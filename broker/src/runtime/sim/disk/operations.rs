//! The simulated disk's operations, as `Storage` and `File` call them: submitted now, carried out after
//! a delay.

use std::io;
use std::path::{Path, PathBuf};

use super::super::super::fs::{DirEntry, OpenMode};
use super::super::image::Change;
use super::super::namespace::Entry;
use super::{Operation, SimulatedDisk};

/// A file that is open on a simulated disk.
pub(in crate::runtime) struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
    life: u64,
    path: PathBuf,
}

impl SimulatedDisk {
    pub(in crate::runtime) async fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<SimulatedFile> {
        let at = path.to_path_buf();
        let (inode, life) = self
            .operate(Operation::Open, path, move |state| {
                let inode = match (state.namespace.file(&at), mode) {
                    (Ok(_), OpenMode::CreateNew) => {
                        return Err(io::Error::from_raw_os_error(libc::EEXIST));
                    }
                    (Err(error), OpenMode::CreateNew | OpenMode::CreateOrOpen)
                        if error.kind() == io::ErrorKind::NotFound =>
                    {
                        state.create_inode(&at)?
                    }
                    (found, _) => found?,
                };
                Ok((inode, state.life))
            })
            .await?;
        Ok(SimulatedFile {
            disk: self.clone(),
            inode,
            life,
            path: path.to_path_buf(),
        })
    }

    pub(in crate::runtime) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let at = path.to_path_buf();
        self.operate(Operation::CreateDirectory, path, move |state| {
            let sequence = state.next_sequence();
            state.namespace.create_directories(&at, sequence)
        })
        .await
    }

    pub(in crate::runtime) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directory = self.0.borrow().namespace.directory(path)?;
        let covered = self.0.borrow().next_sequence;
        self.operate(Operation::SyncDirectory, path, move |state| {
            state.namespace.commit(directory, covered);
            state.counters.directory_syncs += 1;
            Ok(())
        })
        .await
    }

    pub(in crate::runtime) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, target) = (from.to_path_buf(), to.to_path_buf());
        self.operate(Operation::Rename, from, move |state| {
            let sequence = state.next_sequence();
            state.namespace.rename(&source, &target, sequence)
        })
        .await
    }

    pub(in crate::runtime) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let at = path.to_path_buf();
        self.operate(Operation::Remove, path, move |state| {
            let sequence = state.next_sequence();
            state.namespace.remove_file(&at, sequence)
        })
        .await
    }

    pub(in crate::runtime) async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let at = path.to_path_buf();
        self.operate(Operation::Remove, path, move |state| {
            let sequence = state.next_sequence();
            state.namespace.remove_directory(&at, sequence)
        })
        .await
    }

    pub(in crate::runtime) async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let at = path.to_path_buf();
        self.operate(Operation::List, path, move |state| {
            let entries = state.namespace.list(&at)?;
            Ok(entries
                .into_iter()
                .map(|(name, entry)| match entry {
                    Entry::File(inode) => DirEntry {
                        name,
                        is_dir: false,
                        len: state.inode(inode).current.len(),
                    },
                    Entry::Directory(_) => DirEntry {
                        name,
                        is_dir: true,
                        len: 0,
                    },
                })
                .collect())
        })
        .await
    }

    pub(in crate::runtime) async fn exists(&self, path: &Path) -> io::Result<bool> {
        let at = path.to_path_buf();
        self.operate(Operation::List, path, move |state| {
            match state.namespace.lookup(&at) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(in crate::runtime) fn free_space(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        let used = state.used();
        state
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(used))
    }
}

impl SimulatedFile {
    fn check_life(&self) -> io::Result<()> {
        if self.disk.0.borrow().life == self.life {
            return Ok(());
        }
        Err(io::Error::other("the file was opened before the crash"))
    }

    pub(in crate::runtime) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::runtime) fn len(&self) -> io::Result<u64> {
        self.check_life()?;
        Ok(self.disk.0.borrow_mut().inode(self.inode).current.len())
    }

    pub(in crate::runtime) fn links(&self) -> io::Result<u64> {
        self.check_life()?;
        Ok(self.disk.0.borrow().namespace.links(self.inode))
    }

    pub(in crate::runtime) async fn read_at(
        &self,
        position: u64,
        len: usize,
    ) -> io::Result<Vec<u8>> {
        self.check_life()?;
        let inode = self.inode;
        self.disk
            .operate(Operation::Read, &self.path, move |state| {
                state.counters.reads += 1;
                Ok(state.inode(inode).current.read(position, len))
            })
            .await
    }

    pub(in crate::runtime) async fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let written = bytes.len() as u64;
        let bytes = bytes.into();
        self.change(Operation::Write, Change::Write { position, bytes })
            .await?;
        let counters = &mut self.disk.0.borrow_mut().counters;
        counters.writes += 1;
        counters.bytes_written += written;
        Ok(())
    }

    pub(in crate::runtime) async fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        let end = position
            .checked_add(len)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.change(Operation::Allocate, Change::ExtendTo(end))
            .await
    }

    pub(in crate::runtime) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Operation::Truncate, Change::SetLen(len)).await
    }

    async fn change(&self, operation: Operation, change: Change) -> io::Result<()> {
        self.check_life()?;
        let inode = self.inode;
        let fault = self.disk.fault(operation, &self.path);
        let id = {
            let mut state = self.disk.0.borrow_mut();
            let id = state.next_sequence();
            state.in_flight.insert(id, (inode, change));
            id
        };
        self.disk
            .complete_later(operation, move |state| {
                let (_, change) = state
                    .in_flight
                    .remove(&id)
                    .expect("it is removed once, here");
                state.finish_change(inode, change, fault)
            })
            .await
    }

    pub(in crate::runtime) async fn sync_data(&self) -> io::Result<()> {
        self.check_life()?;
        let inode = self.inode;
        let covered = self.disk.0.borrow().next_sequence;
        self.disk
            .operate(Operation::SyncData, &self.path, move |state| {
                let file = state.inode(inode);
                for (sequence, change) in std::mem::take(&mut file.pending) {
                    if sequence < covered {
                        change.apply(&mut file.durable);
                    } else {
                        file.pending.push((sequence, change));
                    }
                }
                state.counters.syncs += 1;
                Ok(())
            })
            .await
    }
}
