//! Sending slices in calls of a bounded size.

use std::io::{self, IoSlice};

use super::flow::Flow;
use crate::runtime::WriteHalf;

/// What goes out in one call at most, unless a single slice is longer. The peer must take as much within the send
/// time-out.
pub(super) const BATCH_BYTES: usize = 1024 * 1024;
/// Linux takes at most this many slices in one call: `UIO_MAXIOV`, readv(2).
pub(super) const MAX_SLICES: usize = 1024;

/// Sends the slices in order, in calls of which each must get through within the send time-out.
///
/// # Errors
/// What the socket says.
pub(super) async fn send_slices(
    flow: &Flow,
    socket: &mut WriteHalf,
    slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    let mut rest = slices;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take(MAX_SLICES)
            .take_while(|slice| {
                let is_first = bytes == 0;
                bytes += slice.len();
                is_first || bytes <= BATCH_BYTES
            })
            .count();
        let (mut now, later) = rest.split_at_mut(count);
        flow.note_sending(true);
        while !now.is_empty() {
            let sent = socket.write_vectored(now).await?;
            flow.note_progress();
            IoSlice::advance_slices(&mut now, sent);
        }
        rest = later;
    }
    Ok(())
}
