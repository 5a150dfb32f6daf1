//! The directories of the simulated disk, as programs see them and as the platter holds them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use rand::RngCore;
use rand::rngs::StdRng;

const ROOT: u64 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(u64),
    Directory(u64),
}

type Directories = BTreeMap<u64, BTreeMap<String, Entry>>;

/// One atomic change of names: what it removes and what it adds. A rename is both.
#[derive(Debug, Clone)]
struct NameChange {
    sequence: u64,
    removed: Vec<(u64, String)>,
    added: Vec<(u64, String, Entry)>,
}

impl NameChange {
    fn apply(&self, directories: &mut Directories) {
        for (directory, name) in &self.removed {
            directories.entry(*directory).or_default().remove(name);
        }
        for (directory, name, entry) in &self.added {
            directories
                .entry(*directory)
                .or_default()
                .insert(name.clone(), *entry);
        }
    }

    fn touches(&self, directory: u64) -> bool {
        self.removed
            .iter()
            .any(|(touched, _)| *touched == directory)
            || self.added.iter().any(|(touched, ..)| *touched == directory)
    }
}

#[derive(Debug)]
pub(super) struct Namespace {
    current: Directories,
    durable: Directories,
    /// Changes that no sync of their directory has covered, oldest first.
    pending: Vec<NameChange>,
    next_directory: u64,
}

fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let name = name.to_str().ok_or_else(|| os_error(libc::EINVAL))?;
                names.push(name.to_owned());
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(os_error(libc::EINVAL)),
        }
    }
    Ok(names)
}

impl Namespace {
    pub(super) fn new() -> Self {
        let root = Directories::from([(ROOT, BTreeMap::new())]);
        Self {
            current: root.clone(),
            durable: root,
            pending: Vec::new(),
            next_directory: ROOT + 1,
        }
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<Entry> {
        let mut entry = Entry::Directory(ROOT);
        for name in names(path)? {
            let Entry::Directory(directory) = entry else {
                return Err(os_error(libc::ENOTDIR));
            };
            entry = self
                .entries(directory)
                .get(&name)
                .copied()
                .ok_or_else(|| os_error(libc::ENOENT))?;
        }
        Ok(entry)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.lookup(path)? {
            Entry::File(inode) => Ok(inode),
            Entry::Directory(_) => Err(os_error(libc::EISDIR)),
        }
    }

    pub(super) fn directory(&self, path: &Path) -> io::Result<u64> {
        match self.lookup(path)? {
            Entry::Directory(directory) => Ok(directory),
            Entry::File(_) => Err(os_error(libc::ENOTDIR)),
        }
    }

    fn entries(&self, directory: u64) -> &BTreeMap<String, Entry> {
        &self.current[&directory]
    }

    /// The directory that holds the path's last name, and that name.
    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names(path)?;
        let name = names.pop().ok_or_else(|| os_error(libc::EINVAL))?;
        let parent: PathBuf = names.iter().collect();
        Ok((self.directory(&parent)?, name))
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    pub(super) fn link_file(&mut self, path: &Path, inode: u64, sequence: u64) -> io::Result<()> {
        let (directory, name) = self.parent(path)?;
        if self.entries(directory).contains_key(&name) {
            return Err(os_error(libc::EEXIST));
        }
        self.change(NameChange {
            sequence,
            removed: Vec::new(),
            added: vec![(directory, name, Entry::File(inode))],
        });
        Ok(())
    }

    pub(super) fn create_directories(&mut self, path: &Path, sequence: u64) -> io::Result<()> {
        let mut directory = ROOT;
        for name in names(path)? {
            directory = match self.entries(directory).get(&name) {
                Some(Entry::Directory(existing)) => *existing,
                Some(Entry::File(_)) => return Err(os_error(libc::ENOTDIR)),
                None => {
                    let created = self.next_directory;
                    self.next_directory += 1;
                    self.current.insert(created, BTreeMap::new());
                    self.durable.insert(created, BTreeMap::new());
                    self.change(NameChange {
                        sequence,
                        removed: Vec::new(),
                        added: vec![(directory, name, Entry::Directory(created))],
                    });
                    created
                }
            };
        }
        Ok(())
    }

    /// As rename(2): a file that is in the way is replaced, a directory must be empty.
    pub(super) fn rename(&mut self, from: &Path, to: &Path, sequence: u64) -> io::Result<()> {
        let (from_directory, from_name) = self.parent(from)?;
        let (to_directory, to_name) = self.parent(to)?;
        let entry = self.lookup(from)?;
        match (entry, self.entries(to_directory).get(&to_name)) {
            (Entry::Directory(_), Some(Entry::File(_))) => return Err(os_error(libc::ENOTDIR)),
            (Entry::File(_), Some(Entry::Directory(_))) => return Err(os_error(libc::EISDIR)),
            (Entry::Directory(_), Some(Entry::Directory(target)))
                if !self.entries(*target).is_empty() =>
            {
                return Err(os_error(libc::ENOTEMPTY));
            }
            _ => {}
        }
        self.change(NameChange {
            sequence,
            removed: vec![(from_directory, from_name)],
            added: vec![(to_directory, to_name, entry)],
        });
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path, sequence: u64) -> io::Result<()> {
        self.file(path)?;
        let removed = vec![self.parent(path)?];
        self.change(NameChange {
            sequence,
            removed,
            added: Vec::new(),
        });
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &Path, sequence: u64) -> io::Result<()> {
        let directory = self.directory(path)?;
        if !self.entries(directory).is_empty() {
            return Err(os_error(libc::ENOTEMPTY));
        }
        let removed = vec![self.parent(path)?];
        self.change(NameChange {
            sequence,
            removed,
            added: Vec::new(),
        });
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, Entry)>> {
        let directory = self.directory(path)?;
        Ok(self
            .entries(directory)
            .iter()
            .map(|(name, entry)| (name.clone(), *entry))
            .collect())
    }

    /// Every file that can be reached, with its path.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        let mut directories = vec![(PathBuf::new(), ROOT)];
        while let Some((path, directory)) = directories.pop() {
            for (name, entry) in self.entries(directory) {
                match entry {
                    Entry::File(inode) => files.push((path.join(name), *inode)),
                    Entry::Directory(inner) => directories.push((path.join(name), *inner)),
                }
            }
        }
        files.sort();
        files
    }

    /// How many names a file has.
    pub(super) fn links(&self, inode: u64) -> u64 {
        let entries = self.current.values().flat_map(BTreeMap::values);
        entries
            .filter(|entry| **entry == Entry::File(inode))
            .count() as u64
    }

    /// Makes the changes of a directory durable that were complete before `sequence`.
    pub(super) fn commit(&mut self, directory: u64, sequence: u64) {
        let (covered, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| change.sequence < sequence && change.touches(directory));
        self.pending = rest;
        let covered: Vec<NameChange> = covered;
        for change in covered {
            change.apply(&mut self.durable);
        }
    }

    /// Makes every change durable, for tests that prepare a disk.
    pub(super) fn commit_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// Keeps or loses each change that no sync covered.
    pub(super) fn power_cut(&mut self, random: &mut StdRng) {
        for change in std::mem::take(&mut self.pending) {
            if random.next_u32().is_multiple_of(2) {
                change.apply(&mut self.durable);
            }
        }
        self.current = self.durable.clone();
    }
}
