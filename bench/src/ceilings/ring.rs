//! One raw io_uring behind a safe face: what the ceilings are measured with.
//!
//! A buffer given to the kernel belongs to its operation until the completion
//! hands it back, so no caller can touch bytes that the kernel reads or
//! writes. Descriptors are shared handles that stay open as long as an
//! operation names them. Nothing here is tuned to Corelog: it is the shortest
//! way from a thread to the kernel that this machine offers.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The alignment that direct files ask of buffers, positions and lengths.
pub(crate) const BLOCK: usize = 4096;

/// A socket or file that operations may name.
pub(crate) type Handle = Arc<OwnedFd>;

#[derive(Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// Owned memory aligned for direct files; its length is a multiple of [`BLOCK`].
pub(crate) struct Buffer {
    blocks: Vec<Block>,
}

impl Buffer {
    /// Zeroed and touched, so that no page fault is measured later.
    pub(crate) fn new(length: usize) -> Self {
        assert!(length.is_multiple_of(BLOCK), "{length} is not whole blocks");
        let blocks = vec![Block::new_zeroed(); length / BLOCK];
        Self { blocks }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.blocks.as_bytes()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.blocks.as_mut_bytes()
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len() * BLOCK
    }
}

/// What became of one operation.
pub(crate) struct Completion {
    /// The number the caller gave with the operation.
    pub(crate) token: u64,
    /// Bytes moved, or the kernel's error.
    pub(crate) result: io::Result<usize>,
    /// The operation's buffer, owned by the caller again.
    pub(crate) buffer: Option<Buffer>,
}

struct Operation {
    token: u64,
    buffer: Option<Buffer>,
    handle: Handle,
}

/// A ring of one thread with at most `capacity` operations in flight.
pub(crate) struct Ring {
    uring: IoUring,
    operations: Vec<Option<Operation>>,
    free: Vec<usize>,
}

impl Ring {
    pub(crate) fn new(capacity: u32) -> io::Result<Self> {
        // Completions are worked off only when this thread asks for them
        // (Linux 6.1); older kernels refuse the flags and get a plain ring.
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(capacity)
            .or_else(|_| IoUring::new(capacity))?;
        let capacity = capacity as usize;
        Ok(Self {
            uring,
            operations: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).rev().collect(),
        })
    }

    /// Operations whose completion has not been taken yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.operations.len() - self.free.len()
    }

    /// Fills `range` of the buffer from a socket; may be short at its end of stream.
    pub(crate) fn receive(
        &mut self,
        socket: &Handle,
        mut buffer: Buffer,
        range: Range<usize>,
        token: u64,
    ) -> io::Result<()> {
        let (pointer, length) = pointer_to(buffer.bytes_mut(), range);
        let entry = opcode::Recv::new(fd(socket), pointer, length)
            .flags(libc::MSG_WAITALL)
            .build();
        self.start(entry, socket, Some(buffer), token)
    }

    /// Sends `range` of the buffer; completes when the socket took all of it.
    pub(crate) fn send(
        &mut self,
        socket: &Handle,
        mut buffer: Buffer,
        range: Range<usize>,
        token: u64,
    ) -> io::Result<()> {
        let (pointer, length) = pointer_to(buffer.bytes_mut(), range);
        let entry = opcode::Send::new(fd(socket), pointer, length)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.start(entry, socket, Some(buffer), token)
    }

    /// Writes the buffer's first `length` bytes at a position of a file.
    pub(crate) fn write(
        &mut self,
        file: &Handle,
        mut buffer: Buffer,
        length: usize,
        position: u64,
        token: u64,
    ) -> io::Result<()> {
        let (pointer, length) = pointer_to(buffer.bytes_mut(), 0..length);
        let entry = opcode::Write::new(fd(file), pointer, length)
            .offset(position)
            .build();
        self.start(entry, file, Some(buffer), token)
    }

    /// Reads the whole buffer from a position of a file.
    pub(crate) fn read(
        &mut self,
        file: &Handle,
        mut buffer: Buffer,
        position: u64,
        token: u64,
    ) -> io::Result<()> {
        let whole = 0..buffer.len();
        let (pointer, length) = pointer_to(buffer.bytes_mut(), whole);
        let entry = opcode::Read::new(fd(file), pointer, length)
            .offset(position)
            .build();
        self.start(entry, file, Some(buffer), token)
    }

    /// fdatasync: covers the writes that completed before it was started.
    pub(crate) fn sync_data(&mut self, file: &Handle, token: u64) -> io::Result<()> {
        let entry = opcode::Fsync::new(fd(file))
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        self.start(entry, file, None, token)
    }

    /// fallocate: allocates the range and extends the file's size over it.
    pub(crate) fn allocate(
        &mut self,
        file: &Handle,
        range: Range<u64>,
        token: u64,
    ) -> io::Result<()> {
        let entry = opcode::Fallocate::new(fd(file), range.end - range.start)
            .offset(range.start)
            .build();
        self.start(entry, file, None, token)
    }

    /// Hands what was started to the kernel and waits for a completion.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        loop {
            match self.uring.submit_and_wait(1) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next completion that has arrived, if any.
    pub(crate) fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        let index = usize::try_from(entry.user_data()).expect("an index of `operations`");
        let operation = self.operations[index]
            .take()
            .expect("an operation completes once");
        self.free.push(index);
        let result = match usize::try_from(entry.result()) {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
        };
        Some(Completion {
            token: operation.token,
            result,
            buffer: operation.buffer,
        })
    }

    /// Waits for the only operation in flight.
    pub(crate) fn complete_one(&mut self) -> io::Result<Completion> {
        assert_eq!(self.in_flight(), 1, "one operation is in flight");
        loop {
            self.wait()?;
            if let Some(completion) = self.next_completion() {
                return Ok(completion);
            }
        }
    }

    #[expect(
        unsafe_code,
        reason = "io_uring takes raw pointers; this is the one place that hands them over"
    )]
    fn start(
        &mut self,
        entry: squeue::Entry,
        handle: &Handle,
        buffer: Option<Buffer>,
        token: u64,
    ) -> io::Result<()> {
        if self.uring.submission().is_full() {
            self.uring.submit()?;
        }
        let index = self
            .free
            .pop()
            .expect("a ring has room for all its caller's operations");
        self.operations[index] = Some(Operation {
            token,
            buffer,
            handle: Arc::clone(handle),
        });
        let entry = entry.user_data(index as u64);
        // SAFETY: the entry points into the heap memory of `buffer` and names
        // the descriptor of `handle`. Both now rest in `operations` until
        // their completion was seen, or are leaked when the ring is dropped
        // before; moving a `Buffer` does not move its heap memory.
        unsafe { self.uring.submission().push(&entry) }
            .expect("room was made in the submission queue");
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Closing a ring does not wait for its operations: the kernel may
        // still use their memory, so it is given up. Only error paths get here.
        for operation in self.operations.drain(..).flatten() {
            std::mem::forget(operation.buffer);
            std::mem::forget(operation.handle);
        }
    }
}

fn fd(handle: &Handle) -> types::Fd {
    types::Fd(handle.as_raw_fd())
}

/// Where `range` of the bytes lies, for the kernel; panics outside of them.
fn pointer_to(bytes: &mut [u8], range: Range<usize>) -> (*mut u8, u32) {
    let part = &mut bytes[range];
    let length = u32::try_from(part.len()).expect("one operation moves less than 4 GiB");
    (part.as_mut_ptr(), length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn file_with_blocks(blocks: u8) -> (tempfile::NamedTempFile, Handle) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (1..=blocks).flat_map(|n| [n; BLOCK]).collect();
        std::fs::write(file.path(), bytes).unwrap();
        let handle = Arc::new(OwnedFd::from(file.reopen().unwrap()));
        (file, handle)
    }

    #[test]
    fn a_buffer_is_aligned_and_zeroed() {
        let buffer = Buffer::new(3 * BLOCK);
        assert_eq!(buffer.len(), 3 * BLOCK);
        assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK), 0);
        assert!(buffer.bytes().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_read_returns_the_buffer_with_the_files_bytes() {
        let (_file, handle) = file_with_blocks(3);
        let mut ring = Ring::new(4).unwrap();
        ring.read(&handle, Buffer::new(BLOCK), BLOCK as u64, 7)
            .unwrap();
        let completion = ring.complete_one().unwrap();
        assert_eq!(completion.token, 7);
        assert_eq!(completion.result.unwrap(), BLOCK);
        assert_eq!(completion.buffer.unwrap().bytes(), [2; BLOCK]);
        assert_eq!(ring.in_flight(), 0);
    }

    #[test]
    fn an_error_of_the_kernel_is_the_operations_result() {
        let (_file, handle) = file_with_blocks(1);
        let readable = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let mut ring = Ring::new(4).unwrap();
        ring.write(&readable, Buffer::new(BLOCK), BLOCK, 0, 1)
            .unwrap();
        let refused = ring.complete_one().unwrap();
        assert_eq!(
            refused.result.unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
        assert!(refused.buffer.is_some());
        ring.sync_data(&handle, 2).unwrap();
        assert!(ring.complete_one().unwrap().result.is_ok());
    }
}
