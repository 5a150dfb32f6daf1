//! Reading a closed segment from one end to the other, whole batches at a time, the next ones already
//! on their way.

use std::rc::Rc;

use corelog_protocol::record::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES};

use super::stop::Stop;
use super::{io_bytes, step_bytes};
use crate::log::segment::Segment;
use crate::log::shard_log::Shared;
use crate::runtime::{Charge, File, ReadBuffer, Task, spawn};

/// Whole batches that lie behind each other.
pub(super) struct Run {
    pub(super) position: u64,
    pub(super) bytes: ReadBuffer,
}

/// The batches of one segment.
pub(super) struct Source<'a> {
    shared: &'a Shared,
    segment: &'a Segment,
    file: Rc<File>,
    position: u64,
    /// The next bytes, on their way, and how many.
    ahead: Option<(Task<std::io::Result<ReadBuffer>>, usize)>,
    /// Room for what is read and for what is read ahead.
    _charge: Charge,
    /// Room for a batch that is larger than a step.
    large: Option<Charge>,
}

impl<'a> Source<'a> {
    /// From the batch at `position` on.
    pub(super) async fn open(
        shared: &'a Shared,
        segment: &'a Segment,
        position: u64,
    ) -> Result<Source<'a>, Stop> {
        let charge = shared
            .charge(&shared.memory.compaction, 2 * io_bytes(shared))
            .await
            .ok_or(Stop::Ended)?;
        let file = segment.file(&shared.storage).await;
        let file = file.map_err(|error| Stop::not_opened(segment, &error))?;
        Ok(Source {
            shared,
            segment,
            file,
            position,
            ahead: None,
            _charge: charge,
            large: None,
        })
    }

    /// The next batches; `None` at the end of the segment.
    pub(super) async fn next(&mut self) -> Result<Option<Run>, Stop> {
        self.large = None;
        let position = self.position;
        let left = self.segment.size() - position;
        if left == 0 {
            return Ok(None);
        }
        let (read, step) = match self.ahead.take() {
            Some((task, step)) => (task.await, step),
            None => {
                let step = self.step(left);
                (self.file.read_at(position, step).await, step)
            }
        };
        let mut buffer = self.check(read, step)?;
        let mut whole = whole_batches(&buffer);
        if whole == 0 {
            whole = self.first_size(&buffer, left)?;
            self.large = Some(
                self.shared
                    .charge(&self.shared.memory.compaction, whole)
                    .await
                    .ok_or(Stop::Ended)?,
            );
            let read = self.file.read_at(position, whole).await;
            buffer = self.check(read, whole)?;
        }
        self.position += whole as u64;
        self.read_ahead(left - whole as u64);
        Ok(Some(Run {
            position,
            bytes: buffer.slice(0..whole),
        }))
    }

    fn check(
        &self,
        read: std::io::Result<ReadBuffer>,
        expected: usize,
    ) -> Result<ReadBuffer, Stop> {
        let buffer = read.map_err(|error| self.uncleanable(error))?;
        if buffer.len() < expected {
            return Err(self.uncleanable(format!("the file ends {} bytes behind", buffer.len())));
        }
        Ok(buffer)
    }

    /// The size of a batch that does not fit a step.
    fn first_size(&self, buffer: &[u8], left: u64) -> Result<usize, Stop> {
        let size = batch_size(buffer).ok_or_else(|| self.uncleanable("not a record batch"))?;
        if size as u64 > left {
            return Err(self.uncleanable("a batch runs beyond the end of the segment"));
        }
        let limit = self.shared.memory.compaction.budget() / 4;
        if size > limit {
            return Err(self.uncleanable(format!(
                "a batch of {size} bytes is more than a quarter of the shard's memory"
            )));
        }
        Ok(size)
    }

    fn read_ahead(&mut self, left: u64) {
        if left == 0 {
            return;
        }
        let step = self.step(left);
        let (file, position) = (Rc::clone(&self.file), self.position);
        let task = spawn(async move { file.read_at(position, step).await });
        self.ahead = Some((task, step));
    }

    /// Bytes of the next read, of so many that are left.
    fn step(&self, left: u64) -> usize {
        step_bytes(self.shared).min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn uncleanable(&self, reason: impl ToString) -> Stop {
        Stop::uncleanable(self.segment.path(), self.position, reason)
    }
}

/// The size that the first bytes of a batch claim.
fn batch_size(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(8..BATCH_PREFIX_BYTES)?.try_into().ok()?;
    let size = usize::try_from(i32::from_be_bytes(length)).ok()? + BATCH_PREFIX_BYTES;
    (size >= BATCH_HEADER_BYTES).then_some(size)
}

/// How many of these bytes are whole batches.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(size) = batch_size(&bytes[whole..])
        && size <= bytes.len() - whole
    {
        whole += size;
    }
    whole
}
