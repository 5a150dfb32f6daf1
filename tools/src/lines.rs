//! Reads the lines of stdin on a thread of its own, because reading a terminal or a pipe blocks.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// What is read at a time.
const READ_BYTES: usize = 128 << 10;
/// Portions waiting: reading stops while the producer is behind.
const PORTIONS: usize = 8;
/// The longest line: more than any topic's `max.message.bytes` is likely to allow, and a bound on what a file without
/// line ends makes this process hold.
const MAX_LINE_BYTES: usize = 256 << 20;

/// Some whole lines, without their line ends.
pub(crate) type Portion = io::Result<Vec<Bytes>>;

/// Starts reading; the channel ends with the input. The thread may stay blocked in a read until the process ends.
pub(crate) fn read_stdin() -> io::Result<mpsc::Receiver<Portion>> {
    let (sender, receiver) = mpsc::channel(PORTIONS);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read(io::stdin().lock(), &sender, MAX_LINE_BYTES))?;
    Ok(receiver)
}

fn read(mut input: impl Read, sender: &mpsc::Sender<Portion>, max_line_bytes: usize) {
    let mut buffer = BytesMut::new();
    let mut searched = 0;
    loop {
        let filled = buffer.len();
        buffer.resize(filled + READ_BYTES, 0);
        let portion = match input.read(&mut buffer[filled..]) {
            Ok(0) => {
                buffer.truncate(filled);
                if !buffer.is_empty() {
                    // The last line has no line end. The receiver may be gone.
                    let _ = sender.blocking_send(Ok(vec![buffer.freeze()]));
                }
                return;
            }
            Ok(count) => {
                buffer.truncate(filled + count);
                let lines = take_lines(&mut buffer, &mut searched);
                if buffer.len() > max_line_bytes {
                    Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a line is longer than {max_line_bytes} bytes"),
                    ))
                } else {
                    Ok(lines)
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                buffer.truncate(filled);
                continue;
            }
            Err(error) => Err(error),
        };
        let failed = portion.is_err();
        let empty = portion.as_ref().is_ok_and(Vec::is_empty);
        if !empty && sender.blocking_send(portion).is_err() || failed {
            return;
        }
    }
}

/// Splits whole lines off; `searched` bytes of the buffer are known to hold no line end.
fn take_lines(buffer: &mut BytesMut, searched: &mut usize) -> Vec<Bytes> {
    let Some(last) = buffer[*searched..].iter().rposition(|byte| *byte == b'\n') else {
        *searched = buffer.len();
        return Vec::new();
    };
    let whole = buffer.split_to(*searched + last + 1).freeze();
    *searched = buffer.len();
    let text = &whole[..whole.len() - 1];
    text.split(|byte| *byte == b'\n')
        .map(|line| whole.slice_ref(line))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn lines_of(input: &'static [u8], step: usize, limit: usize) -> io::Result<Vec<Bytes>> {
        let (sender, mut receiver) = mpsc::channel(1000);
        read(Trickle(input, step), &sender, limit);
        drop(sender);
        let mut lines = Vec::new();
        while let Some(portion) = receiver.blocking_recv() {
            lines.extend(portion?);
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        for step in [1, 2, 3, 7, 1000] {
            let lines = lines_of(b"one\n\nthree\r\n\xff\xfe\nlast", step, 100).unwrap();
            assert_eq!(
                lines,
                [&b"one"[..], b"", b"three\r", b"\xff\xfe", b"last"],
                "{step} bytes at a time"
            );
        }
        assert_eq!(lines_of(b"", 5, 100).unwrap(), Vec::<Bytes>::new());
        assert_eq!(lines_of(b"\n", 5, 100).unwrap(), [Bytes::new()]);
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_limit() {
        let error = lines_of(b"0123456789012345", 4, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(lines_of(b"012345678\n01234567\n", 4, 10).unwrap().len(), 2);
    }
}
