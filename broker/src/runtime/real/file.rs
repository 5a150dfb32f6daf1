//! A file opened with `O_DIRECT`.

#![expect(
    unsafe_code,
    reason = "asks a descriptor that glommio owns for its length"
)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, ReadResult};

use super::super::buffer::BLOCK;
use super::super::fs::{MAX_IO, MAX_READ, at};
use super::super::read_buffer::ReadBuffer;
use super::blocking::counted;
use super::gate::gated;

pub(in crate::runtime) struct DirectFile {
    file: DmaFile,
    path: PathBuf,
}

/// The system's error inside glommio's, whose own text is for debugging.
pub(super) fn plain(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.into(),
    }
}

impl DirectFile {
    pub(super) fn new(file: DmaFile, path: PathBuf) -> Self {
        Self { file, path }
    }

    pub(in crate::runtime) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes bytes that are all of a block of memory. Up to [`MAX_IO`] of them go to the kernel as they
    /// are; more, and the rest of a short write, go through copies, because glommio writes whole buffers
    /// only. So does memory of a pool that was made outside this executor.
    pub(in crate::runtime) async fn write_memory(
        &self,
        memory: Option<Rc<DmaBuffer>>,
        bytes: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let buffer = match memory {
            Some(buffer) if bytes.len() <= MAX_IO => buffer,
            _ => return self.write_copied(bytes, position).await,
        };
        assert!(
            buffer.as_ptr() == bytes.as_ptr(),
            "the bytes are the memory's own"
        );
        assert!(
            buffer.len() == bytes.len(),
            "the bytes are all of the memory"
        );
        let written = gated(self.file.write_rc_at(buffer, position))
            .await
            .map_err(plain)?;
        if written == bytes.len() {
            return Ok(());
        }
        let written = whole_blocks(written)?;
        self.write_copied(&bytes[written..], position + written as u64)
            .await
    }

    pub(in crate::runtime) async fn write_copied(
        &self,
        bytes: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let part = &bytes[done..bytes.len().min(done + MAX_IO)];
            let buffer = Rc::new(self.copy(part));
            let written = gated(self.file.write_rc_at(buffer, position + done as u64))
                .await
                .map_err(plain)?;
            done += if written == part.len() {
                written
            } else {
                whole_blocks(written)?
            };
        }
        Ok(())
    }

    fn copy(&self, bytes: &[u8]) -> DmaBuffer {
        let mut buffer = self.file.alloc_dma_buffer(bytes.len());
        let target = buffer.as_mut_ptr();
        // SAFETY: the buffer is new and has room for these bytes; writing through the pointer does not
        // look at the memory, which nobody has initialised.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        buffer
    }

    pub(in crate::runtime) async fn read_at(
        &self,
        position: u64,
        len: usize,
    ) -> io::Result<ReadBuffer> {
        let lead = (position % BLOCK as u64) as usize;
        let wanted = lead.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        if wanted <= MAX_READ {
            let read = self.read_blocks(position - lead as u64, wanted).await?;
            return Ok(clip(read, lead, len));
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let from = position + bytes.len() as u64;
            let lead = (from % BLOCK as u64) as usize;
            let part = (len - bytes.len()).min(MAX_READ - lead);
            let read = self.read_blocks(from - lead as u64, lead + part).await?;
            let got = clip(read, lead, part);
            bytes.extend_from_slice(&got);
            if got.len() < part {
                break;
            }
        }
        Ok(ReadBuffer::from_bytes(bytes.into()))
    }

    /// Reads the blocks that hold `len` bytes from a block's start. A read that comes back short at a
    /// whole block is tried again where it ended, since only the end of the file may cut it.
    async fn read_blocks(&self, position: u64, len: usize) -> io::Result<ReadBuffer> {
        let size = len.next_multiple_of(BLOCK);
        let read = gated(self.file.read_at_aligned(position, size))
            .await
            .map_err(plain)?;
        if read.len() >= len || read.is_empty() || !read.len().is_multiple_of(BLOCK) {
            return Ok(ReadBuffer::from_direct(read));
        }
        let mut bytes = read.to_vec();
        while bytes.len() < len {
            let more: ReadResult = gated(
                self.file
                    .read_at_aligned(position + bytes.len() as u64, size - bytes.len()),
            )
            .await
            .map_err(plain)?;
            bytes.extend_from_slice(&more);
            if more.is_empty() || !more.len().is_multiple_of(BLOCK) {
                break;
            }
        }
        Ok(ReadBuffer::from_bytes(bytes.into()))
    }

    pub(in crate::runtime) async fn sync_data(&self) -> io::Result<()> {
        gated(self.file.fdatasync()).await.map_err(plain)
    }

    pub(in crate::runtime) async fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        let end = position
            .checked_add(len)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        gated(self.file.pre_allocate(end, false))
            .await
            .map_err(plain)
    }

    pub(in crate::runtime) async fn truncate(&self, len: u64) -> io::Result<()> {
        counted(gated(self.file.truncate(len))).await.map_err(plain)
    }

    pub(in crate::runtime) fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    pub(in crate::runtime) fn links(&self) -> io::Result<u64> {
        Ok(self.metadata()?.nlink())
    }

    /// Asks the descriptor: glommio's own way goes by the path, which a rename makes wrong.
    fn metadata(&self) -> io::Result<std::fs::Metadata> {
        // SAFETY: the descriptor is open as long as `self.file`, and `ManuallyDrop` leaves it open.
        let file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.file.as_raw_fd()) });
        file.metadata()
    }

    pub(in crate::runtime) async fn close(self) -> io::Result<()> {
        let path = self.path;
        gated(self.file.close())
            .await
            .map_err(|error| at("close", &path, &plain(error)))
    }
}

/// How much of a short write counts: the whole blocks, so that the rest can be written directly. None
/// at all would repeat for ever.
fn whole_blocks(written: usize) -> io::Result<usize> {
    let whole = written - written % BLOCK;
    if whole == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(whole)
}

/// What lies at `lead..lead + len`, as far as it was read.
fn clip(read: ReadBuffer, lead: usize, len: usize) -> ReadBuffer {
    let start = lead.min(read.len());
    let end = (lead + len).min(read.len());
    read.slice(start..end)
}
