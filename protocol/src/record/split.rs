//! A payload of several batches, one after the other.

use super::batch_error::BatchError;
use super::view::BatchView;

/// Iterates over the batches that `payload` holds one after the other.
///
/// The iterator ends after the last batch or after the first error.
pub fn split_batches(payload: &[u8]) -> SplitBatches<'_> {
    SplitBatches { rest: payload }
}

/// See [`split_batches`].
#[derive(Clone, Debug)]
pub struct SplitBatches<'a> {
    rest: &'a [u8],
}

impl<'a> SplitBatches<'a> {
    /// The bytes not yet iterated over; empty after an error.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for SplitBatches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match BatchView::parse(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for SplitBatches<'_> {}
