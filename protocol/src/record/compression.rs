//! The codecs, framed as Kafka frames them.
//!
//! Decompression is bounded by the caller's limit and takes memory as output appears, never by a
//! size that the compressed bytes claim. Output may be up to twice its own size while it grows.

use std::io::{Read, Write};

use bytes::{BufMut, BytesMut};
use zstd::zstd_safe;

use super::lz4_frame::{self, Lz4FrameError, Outcome};
use crate::Compression;

/// The start of snappy-java's stream framing: magic, version 1, compatible version 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Only the magic is checked on reading: snappy-java's versions have all been compatible.
const XERIAL_MAGIC_BYTES: usize = 8;
/// snappy-java's default block, which Kafka uses.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Snappy's longest copy makes 64 bytes of 3; a claim above this ratio is a lie.
const SNAPPY_MAX_EXPANSION: usize = 22;
/// Kafka's default level (`compression.zstd.level`).
const ZSTD_LEVEL: i32 = 3;
/// What zstd's output starts with; it then doubles.
const ZSTD_FIRST_BYTES: usize = 64 * 1024;
/// `ZSTD_error_dstSize_tooSmall`, one of the codes that zstd_errors.h declares stable. Codes are
/// returned negated.
const ZSTD_OUTPUT_TOO_SMALL: usize = 70_usize.wrapping_neg();

/// Why compressed records cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The output would be larger than the caller allows.
    #[error("decompressed records exceed the limit of {limit} bytes")]
    TooLarge {
        /// The caller's limit.
        limit: usize,
    },
    /// Not gzip, or damaged.
    #[error("gzip: {0}")]
    Gzip(#[source] std::io::Error),
    /// Not snappy, or damaged.
    #[error("snappy: {0}")]
    Snappy(#[from] snap::Error),
    /// The framing around snappy's blocks is damaged.
    #[error("snappy: block of {length} bytes where {available} are left")]
    SnappyBlock {
        /// Bytes of the block, as its framing says.
        length: i32,
        /// Bytes there are.
        available: usize,
    },
    /// Snappy claims an output that its input cannot give.
    #[error("snappy: {claimed} bytes cannot come from {input}")]
    SnappyClaim {
        /// Bytes of output claimed.
        claimed: usize,
        /// Bytes of input.
        input: usize,
    },
    /// Not LZ4, or damaged.
    #[error("lz4: {0}")]
    Lz4(#[from] Lz4FrameError),
    /// Not zstd, or damaged.
    #[error("zstd: {reason}")]
    Zstd {
        /// What zstd says.
        reason: &'static str,
    },
}

/// Decompresses `input` into `out`, whose contents it replaces.
///
/// # Errors
/// [`CompressionError::TooLarge`] when more than `limit` bytes would come out, or what is wrong
/// with the input. `out` then holds nothing of use.
pub fn decompress(
    codec: Compression,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    out.clear();
    match codec {
        Compression::None => {
            if input.len() > limit {
                return Err(CompressionError::TooLarge { limit });
            }
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => decompress_gzip(input, limit, out),
        Compression::Snappy => decompress_snappy(input, limit, out),
        Compression::Lz4 => match lz4_frame::decompress(input, limit, out)? {
            Outcome::Complete => Ok(()),
            Outcome::LimitExceeded => Err(CompressionError::TooLarge { limit }),
        },
        Compression::Zstd => decompress_zstd(input, limit, out),
    }
}

fn decompress_gzip(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    // One byte more than the limit tells "exactly" from "too much".
    flate2::bufread::MultiGzDecoder::new(input)
        .take((limit as u64).saturating_add(1))
        .read_to_end(out)
        .map_err(CompressionError::Gzip)?;
    if out.len() > limit {
        return Err(CompressionError::TooLarge { limit });
    }
    Ok(())
}

/// Reads both snappy-java's framing and a bare block, as Kafka's consumers do.
fn decompress_snappy(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    if !input.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        return decompress_snappy_block(input, limit, out);
    }
    let mut rest = input.get(XERIAL_HEADER.len()..).unwrap_or_default();
    while !rest.is_empty() {
        let available = rest.len().saturating_sub(4);
        let Some(length) = rest.split_off(..4) else {
            return Err(CompressionError::SnappyBlock {
                length: 4,
                available: rest.len(),
            });
        };
        let length = i32::from_be_bytes(length.try_into().expect("four bytes were taken"));
        let block = usize::try_from(length)
            .ok()
            .and_then(|n| rest.split_off(..n));
        let Some(block) = block else {
            return Err(CompressionError::SnappyBlock { length, available });
        };
        decompress_snappy_block(block, limit, out)?;
    }
    Ok(())
}

fn decompress_snappy_block(
    block: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let claimed = snap::raw::decompress_len(block)?;
    if claimed > limit - out.len() {
        return Err(CompressionError::TooLarge { limit });
    }
    if claimed > block.len().saturating_mul(SNAPPY_MAX_EXPANSION) {
        return Err(CompressionError::SnappyClaim {
            claimed,
            input: block.len(),
        });
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..])?;
    Ok(())
}

/// Decompresses in one call into a buffer that doubles until the output fits: unlike streaming,
/// this takes no window of the size that the frame's header claims (128 MiB at level 22).
fn decompress_zstd(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let mut context = zstd_safe::DCtx::create();
    let mut capacity = ZSTD_FIRST_BYTES
        .max(input.len().saturating_mul(4))
        .min(limit);
    loop {
        out.clear();
        out.reserve_exact(capacity);
        // zstd may use all of the capacity, which the allocator may have rounded up.
        match context.decompress(out, input) {
            Ok(_) if out.len() > limit => return Err(CompressionError::TooLarge { limit }),
            Ok(_) => return Ok(()),
            Err(ZSTD_OUTPUT_TOO_SMALL) if capacity < limit => {
                capacity = capacity.saturating_mul(2).min(limit);
            }
            Err(ZSTD_OUTPUT_TOO_SMALL) => return Err(CompressionError::TooLarge { limit }),
            Err(code) => {
                return Err(CompressionError::Zstd {
                    reason: zstd_safe::get_error_name(code),
                });
            }
        }
    }
}

/// Compresses batches with one codec, keeping the codec's state from one to the next.
pub(super) struct Compressor {
    codec: Compression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd_safe::CCtx<'static>>,
}

impl Compressor {
    pub(super) fn new(codec: Compression) -> Self {
        Self {
            codec,
            snappy: snap::raw::Encoder::new(),
            zstd: None,
        }
    }

    pub(super) fn codec(&self) -> Compression {
        self.codec
    }

    /// Appends `input`, compressed, to `out`.
    pub(super) fn compress(&mut self, input: &[u8], out: &mut BytesMut) {
        const IN_MEMORY: &str = "writing to memory does not fail";
        match self.codec {
            Compression::None => out.extend_from_slice(input),
            Compression::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(out.writer(), level);
                encoder.write_all(input).expect(IN_MEMORY);
                encoder.finish().expect(IN_MEMORY);
            }
            Compression::Snappy => self.compress_snappy(input, out),
            Compression::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder =
                    lz4_flex::frame::FrameEncoder::with_frame_info(info, out.writer());
                encoder.write_all(input).expect(IN_MEMORY);
                encoder.finish().expect(IN_MEMORY);
            }
            Compression::Zstd => self.compress_zstd(input, out),
        }
    }

    fn compress_snappy(&mut self, input: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(&XERIAL_HEADER);
        for block in input.chunks(XERIAL_BLOCK_BYTES) {
            let length_at = out.len();
            let start = length_at + 4;
            out.resize(start + snap::raw::max_compress_len(block.len()), 0);
            let written = self
                .snappy
                .compress(block, &mut out[start..])
                .expect("the output has the size that snappy asks for");
            out.truncate(start + written);
            let length = i32::try_from(written).expect("a block of 32 KiB stays small");
            out[length_at..start].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn compress_zstd(&mut self, input: &[u8], out: &mut BytesMut) {
        let start = out.len();
        out.resize(start + zstd_safe::compress_bound(input.len()), 0);
        let written = self
            .zstd
            .get_or_insert_with(zstd_safe::CCtx::create)
            .compress(&mut out[start..], input, ZSTD_LEVEL)
            .map_err(zstd_safe::get_error_name)
            .expect("the output has the size that zstd asks for");
        out.truncate(start + written);
    }
}
