//! Reading one file from front to back at the speed of the disk.
//!
//! A thread reads large aligned pieces past the page cache while the caller works on the one
//! before. Measured on a virtio disk: one such stream reaches what the disk gives, a second one
//! beside it adds nothing, so files are read one after the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Bytes of one read.
const READ_BYTES: usize = 4 << 20;
/// Pieces in memory: one being read, one ready, one with the caller.
const PIECES: usize = 3;
/// Direct reads start at multiples of this, in the file and in memory.
const ALIGNMENT: usize = 4096;

/// A file being read from front to back.
pub(crate) struct SequentialFile {
    pieces: Receiver<io::Result<Piece>>,
    used: Sender<Vec<u8>>,
}

/// Some bytes of the file.
pub(crate) struct Piece {
    memory: Vec<u8>,
    bytes: Range<usize>,
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.bytes.clone()]
    }
}

impl SequentialFile {
    /// Reads these bytes of the file, as far as there are any.
    pub(crate) fn open(path: &Path, range: Range<u64>) -> io::Result<SequentialFile> {
        let reader = Reader {
            file: open(path, true).or_else(|_| open(path, false))?,
            path: path.to_owned(),
        };
        let (sender, pieces) = sync_channel(1);
        let (used, free) = channel();
        for _ in 0..PIECES {
            // The receiver lives in this function.
            let _ = used.send(vec![0; READ_BYTES + ALIGNMENT]);
        }
        thread::Builder::new()
            .name("read".to_owned())
            .spawn(move || reader.run(range, &free, &sender))?;
        Ok(SequentialFile { pieces, used })
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Piece>> {
        self.pieces.recv().ok().transpose()
    }

    /// Gives a piece's memory back.
    pub(crate) fn done(&mut self, piece: Piece) {
        // The thread may have read everything.
        let _ = self.used.send(piece.memory);
    }
}

struct Reader {
    file: File,
    path: std::path::PathBuf,
}

impl Reader {
    /// Ends at the end of the range or the file, at an error, or when nobody listens any more.
    fn run(
        mut self,
        range: Range<u64>,
        free: &Receiver<Vec<u8>>,
        pieces: &SyncSender<io::Result<Piece>>,
    ) {
        let mut position = range.start;
        while position < range.end {
            let Ok(memory) = free.recv() else { return };
            let piece = self.read(memory, position, range.end);
            let bytes = match &piece {
                Ok(piece) if piece.is_empty() => return,
                Ok(piece) => piece.len() as u64,
                Err(_) => range.end, // nothing follows it
            };
            position += bytes;
            if pieces.send(piece).is_err() {
                return;
            }
        }
    }

    fn read(&mut self, mut memory: Vec<u8>, position: u64, end: u64) -> io::Result<Piece> {
        let aligned = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let skip = (position % ALIGNMENT as u64) as usize;
        let room = &mut memory[aligned..aligned + READ_BYTES];
        let at = position - skip as u64;
        let read = match self.file.read_at(room, at) {
            // Not every file system reads directly, and none from an odd position on.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.file = open(&self.path, false)?;
                self.file.read_at(room, at)?
            }
            other => other?,
        };
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let last = read.min(wanted).max(skip);
        Ok(Piece {
            bytes: aligned + skip..aligned + last,
            memory,
        })
    }
}

fn open(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn any_range_of_a_file_comes_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..9_000_001_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        for range in [
            0..9_000_001,
            5..100,
            4_096..4_096,
            4_194_300..8_400_000,
            10..99_000_000,
        ] {
            let mut file = SequentialFile::open(&path, range.clone()).unwrap();
            let mut read = Vec::new();
            while let Some(piece) = file.next().unwrap() {
                read.extend_from_slice(&piece);
                file.done(piece);
            }
            let end = usize::try_from(range.end).unwrap().min(bytes.len());
            let start = usize::try_from(range.start).unwrap();
            assert!(read == bytes[start..end], "{range:?}");
        }
    }
}
