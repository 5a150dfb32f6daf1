//! The simulated disk, and what it may do to those who trust it.
//!
//! **Fault model.** A write changes what reads see when it completes, and reaches the platter for
//! certain when a `sync_data` of its file completes that was *submitted after* the write had completed.
//! A sync that was already under way does not cover it. The same holds for truncation and allocation. A
//! created, renamed or removed name is certain once a `sync_dir` of its directory covers it in the same
//! way; syncing a file does not save its name, and syncing a directory does not save the name of the
//! directory itself.
//!
//! When the **power goes**, each change that is not certain, in flight or complete, is independently
//! kept, dropped, or, if it is a write, torn at sectors of 512 bytes; a write may leave its growth of
//! the file behind without its bytes, or its bytes without the growth. Each uncovered change of names is
//! kept or lost. When the **process dies**, completed changes stay visible and uncertain, and those in
//! flight are kept, dropped or torn.
//!
//! Each operation takes a while drawn from the seed, so that operations under way together complete in
//! any order; now and then one takes very long. A write that fails by an injected fault may have
//! reached the disk in part. A failed sync makes nothing certain. What was certain is never damaged,
//! except by [`SimulatedDisk::flip_bit`]. Reads have no side effects and are never torn.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::super::backend::{self, Backend};
use super::super::sync::oneshot;
use super::image::{Change, Image};
use super::namespace::Namespace;

mod operations;

pub(in crate::runtime) use operations::SimulatedFile;

const BLOCK: u64 = 4096;

/// What a fault hook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Open,
    Read,
    Write,
    SyncData,
    Allocate,
    Truncate,
    SyncDirectory,
    CreateDirectory,
    Rename,
    Remove,
    List,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error (EIO).
    Device,
    /// The file system is full (ENOSPC).
    NoSpace,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::from_raw_os_error(match fault {
            Fault::Device => libc::EIO,
            Fault::NoSpace => libc::ENOSPC,
        })
    }
}

/// Operations that completed without an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounters {
    pub reads: u64,
    pub writes: u64,
    pub bytes_written: u64,
    pub syncs: u64,
    pub directory_syncs: u64,
}

type FaultHook = Box<dyn FnMut(Operation, &Path) -> Option<Fault>>;

#[derive(Default)]
struct Inode {
    /// What reads see.
    current: Image,
    /// What the platter holds for certain.
    durable: Image,
    /// Completed changes that no sync has covered, oldest first, with their sequence.
    pending: Vec<(u64, Change)>,
}

struct State {
    random: StdRng,
    namespace: Namespace,
    inodes: BTreeMap<u64, Inode>,
    /// Changes that were submitted and have not completed, with the file they belong to.
    in_flight: BTreeMap<u64, (u64, Change)>,
    next_inode: u64,
    /// Grows with every completed change; a sync covers the changes below its own start.
    next_sequence: u64,
    /// Grows with every crash; handles and operations of an earlier life have no effect.
    life: u64,
    capacity: Option<u64>,
    counters: DiskCounters,
    hook: Option<FaultHook>,
}

/// A disk in memory. A clone is the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Rc<RefCell<State>>);

impl SimulatedDisk {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            // Not the executor's own stream: what the disk draws must not shift what tasks draw.
            random: StdRng::seed_from_u64(seed ^ 0xD15C_D15C_D15C_D15C),
            namespace: Namespace::new(),
            inodes: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_inode: 1,
            next_sequence: 1,
            life: 0,
            capacity: None,
            counters: DiskCounters::default(),
            hook: None,
        })))
    }

    /// Asks `hook` before each operation; a fault it returns is how that operation ends.
    pub fn set_fault_hook(&self, hook: impl FnMut(Operation, &Path) -> Option<Fault> + 'static) {
        self.0.borrow_mut().hook = Some(Box::new(hook));
    }

    /// Lets the `nth` operation of this kind from now on fail, counted from 1.
    pub fn fail_nth(&self, operation: Operation, nth: u64, fault: Fault) {
        let mut seen = 0;
        self.set_fault_hook(move |asked, _| {
            seen += u64::from(asked == operation);
            (asked == operation && seen == nth).then_some(fault)
        });
    }

    pub fn clear_faults(&self) {
        self.0.borrow_mut().hook = None;
    }

    /// Bytes that all files together may hold, each rounded up to 4 KiB; `None` is no limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.0.borrow_mut().capacity = capacity;
    }

    /// Damages one bit, on the platter too.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let inode = state.namespace.file(path)?;
        let file = state.inode(inode);
        file.current.flip_bit(position, bit);
        if position < file.durable.len() {
            file.durable.flip_bit(position, bit);
        }
        Ok(())
    }

    /// What a reader would see of a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.0.borrow_mut();
        let inode = state.namespace.file(path).ok()?;
        let image = &state.inode(inode).current;
        Some(image.read(0, usize::try_from(image.len()).ok()?))
    }

    /// What would be left of a file for certain if the power went now, were its name to survive.
    pub fn durable_contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.0.borrow_mut();
        let inode = state.namespace.file(path).ok()?;
        let image = &state.inode(inode).durable;
        Some(image.read(0, usize::try_from(image.len()).ok()?))
    }

    /// Every file with its length, sorted by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut state = self.0.borrow_mut();
        let files = state.namespace.files();
        files
            .into_iter()
            .map(|(path, inode)| (path, state.inode(inode).current.len()))
            .collect()
    }

    /// Gives a file another name, durably, as an operator does with `ln`.
    pub fn link(&self, path: &Path, other: &Path) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let sequence = state.next_sequence();
        let inode = state.namespace.file(path)?;
        state.namespace.link_file(other, inode, sequence)?;
        state.namespace.commit_all();
        Ok(())
    }

    /// Puts a file on the platter at once, with the directories above it: a fixture.
    pub fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let sequence = state.next_sequence();
        if let Some(parent) = path.parent() {
            state.namespace.create_directories(parent, sequence)?;
        }
        let inode = match state.namespace.file(path) {
            Ok(inode) => inode,
            Err(_) => state.create_inode(path)?,
        };
        state.namespace.commit_all();
        let file = state.inode(inode);
        file.pending.clear();
        file.durable = Image::default();
        file.durable.write(0, bytes);
        file.current = file.durable.clone();
        Ok(())
    }

    pub fn counters(&self) -> DiskCounters {
        self.0.borrow().counters
    }

    /// The power goes: see the fault model.
    pub fn power_cut(&self) {
        let mut state = self.0.borrow_mut();
        let State {
            random,
            inodes,
            in_flight,
            namespace,
            ..
        } = &mut *state;
        let mut uncertain: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        for (inode, change) in std::mem::take(in_flight).into_values() {
            // Any of those in flight may reach the platter before any other.
            let changes = uncertain.entry(inode).or_default();
            let index = random.next_u64() as usize % (changes.len() + 1);
            changes.insert(index, change);
        }
        for (id, inode) in inodes.iter_mut() {
            for (_, change) in std::mem::take(&mut inode.pending) {
                change.apply_damaged(&mut inode.durable, random);
            }
            for change in uncertain.remove(id).unwrap_or_default() {
                change.apply_damaged(&mut inode.durable, random);
            }
            inode.current = inode.durable.clone();
        }
        namespace.power_cut(random);
        let reachable: Vec<u64> = namespace
            .files()
            .into_iter()
            .map(|(_, inode)| inode)
            .collect();
        inodes.retain(|id, _| reachable.contains(id));
        state.life += 1;
    }

    /// The process dies and the machine lives on: see the fault model.
    pub fn process_death(&self) {
        let mut state = self.0.borrow_mut();
        for (id, change) in std::mem::take(&mut state.in_flight).into_values() {
            let sequence = state.next_sequence();
            let State { random, inodes, .. } = &mut *state;
            let inode = inodes.get_mut(&id).expect("an open file keeps its inode");
            let before = inode.current.clone();
            change.apply_damaged(&mut inode.current, random);
            if inode.current.len() != before.len() {
                inode
                    .pending
                    .push((sequence, Change::SetLen(inode.current.len())));
            }
            if let Change::Write { position, bytes } = &change {
                let kept = inode.current.read(*position, bytes.len());
                let bytes = kept.into();
                inode.pending.push((
                    sequence,
                    Change::Write {
                        position: *position,
                        bytes,
                    },
                ));
            }
        }
        state.life += 1;
    }

    /// Cuts off the handles of the life that ends.
    pub(super) fn detach_handles(&self) {
        self.0.borrow_mut().life += 1;
    }

    fn fault(&self, operation: Operation, path: &Path) -> Option<Fault> {
        // Taken out meanwhile, so that a hook may look at the disk.
        let mut hook = self.0.borrow_mut().hook.take()?;
        let fault = hook(operation, path);
        let mut state = self.0.borrow_mut();
        if state.hook.is_none() {
            state.hook = Some(hook);
        }
        fault
    }

    /// Carries out an operation after its delay, whether or not its caller still waits then.
    async fn operate<T: 'static>(
        &self,
        operation: Operation,
        path: &Path,
        action: impl FnOnce(&mut State) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        if let Some(fault) = self.fault(operation, path) {
            return self
                .complete_later(operation, move |_| Err(fault.into()))
                .await;
        }
        self.complete_later(operation, action).await
    }

    async fn complete_later<T: 'static>(
        &self,
        operation: Operation,
        action: impl FnOnce(&mut State) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let Backend::Simulated(core) = backend::expect_current() else {
            panic!("a simulated disk works only inside a simulation");
        };
        let (sender, completed) = oneshot::channel();
        let (delay, life) = {
            let mut state = self.0.borrow_mut();
            (state.delay(operation), state.life)
        };
        let disk = self.clone();
        core.run_at(core.now() + delay, move || {
            let mut state = disk.0.borrow_mut();
            if state.life == life {
                let result = action(&mut state);
                drop(state);
                // The caller may have lost interest.
                let _ = sender.send(result);
            }
        });
        completed
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the machine crashed")))
    }
}

impl State {
    fn next_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes
            .get_mut(&inode)
            .expect("an inode lives as long as the disk's life")
    }

    fn create_inode(&mut self, path: &Path) -> io::Result<u64> {
        let inode = self.next_inode;
        let sequence = self.next_sequence();
        self.namespace.link_file(path, inode, sequence)?;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        Ok(inode)
    }

    fn finish_change(&mut self, id: u64, change: Change, fault: Option<Fault>) -> io::Result<()> {
        let sequence = self.next_sequence();
        let len = self.inode(id).current.len();
        let growth = round_up(change.len_after(len)).saturating_sub(round_up(len));
        if growth > 0
            && self
                .capacity
                .is_some_and(|capacity| self.used() + growth > capacity)
        {
            return Err(Fault::NoSpace.into());
        }
        let State { random, inodes, .. } = self;
        let inode = inodes.get_mut(&id).expect("an open file keeps its inode");
        match fault {
            None => {
                change.apply(&mut inode.current);
                inode.pending.push((sequence, change));
                Ok(())
            }
            Some(Fault::NoSpace) => Err(Fault::NoSpace.into()),
            Some(fault @ Fault::Device) => {
                if let Change::Write { position, bytes } = &change {
                    change.apply_damaged(&mut inode.current, random);
                    let bytes = inode.current.read(*position, bytes.len()).into();
                    let position = *position;
                    inode
                        .pending
                        .push((sequence, Change::Write { position, bytes }));
                }
                Err(fault.into())
            }
        }
    }

    fn used(&mut self) -> u64 {
        let files = self.namespace.files();
        files
            .into_iter()
            .map(|(_, inode)| round_up(self.inode(inode).current.len()))
            .sum()
    }

    fn delay(&mut self, operation: Operation) -> Duration {
        let (least, spread) = match operation {
            Operation::Write | Operation::Allocate | Operation::Truncate => (20, 300),
            Operation::SyncData | Operation::SyncDirectory => (80, 1_000),
            _ => (10, 150),
        };
        let micros = least + self.random.next_u64() % spread;
        let slow = self.random.next_u32().is_multiple_of(50);
        Duration::from_micros(if slow { micros * 20 } else { micros })
    }
}

fn round_up(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK
}
