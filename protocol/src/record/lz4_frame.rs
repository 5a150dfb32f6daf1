//! Reading the LZ4 frame format, block by block into the output.
//!
//! `lz4_flex` has a frame reader of its own, but that one reserves what the frame's header claims
//! (up to 12 MiB for an empty frame) and copies every block once more.
//!
//! Source: "LZ4 Frame Format Description" 1.6.4. Checksums within the frame are skipped: the
//! batch's CRC-32C covers the same bytes.

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
const VERSION: u8 = 0b01;
/// A back-reference reaches at most this far, over block boundaries when blocks are linked.
const WINDOW_BYTES: usize = 64 * 1024;
/// A compressed byte stands for at most this many: a run-length byte of 255.
const MAX_EXPANSION: usize = 255;

/// Why bytes are not an LZ4 frame.
#[derive(Debug, thiserror::Error)]
pub enum Lz4FrameError {
    /// The frame does not start with its magic.
    #[error("no frame magic")]
    Magic,
    /// The bytes end within the frame.
    #[error("the bytes end within the frame")]
    Truncated,
    /// The descriptor has another version, or a reserved bit set.
    #[error("descriptor {flags:#04x} {block:#04x} is not supported")]
    Descriptor {
        /// The FLG byte.
        flags: u8,
        /// The BD byte.
        block: u8,
    },
    /// The frame needs a dictionary, which Kafka never uses.
    #[error("the frame needs a dictionary")]
    Dictionary,
    /// A block is larger than the descriptor allows.
    #[error("a block of {length} bytes exceeds the frame's {limit}")]
    BlockTooLong {
        /// Bytes of the block.
        length: usize,
        /// Bytes that the descriptor allows.
        limit: usize,
    },
    /// A block is damaged.
    #[error("a block is damaged: {0}")]
    Block(#[from] lz4_flex::block::DecompressError),
}

/// What became of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    LimitExceeded,
}

struct Descriptor {
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    max_block: usize,
}

/// Decompresses the frames in `input`, one after the other, to the end of `out`, which grows to
/// `limit` bytes at most and never faster than the compressed bytes allow.
pub(super) fn decompress(
    mut input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<Outcome, Lz4FrameError> {
    while !input.is_empty() {
        let descriptor = read_descriptor(&mut input)?;
        let frame_start = out.len();
        if decompress_blocks(&mut input, &descriptor, frame_start, limit, out)?
            == Outcome::LimitExceeded
        {
            return Ok(Outcome::LimitExceeded);
        }
        if descriptor.content_checksum {
            take(&mut input, 4)?;
        }
    }
    Ok(Outcome::Complete)
}

fn read_descriptor(input: &mut &[u8]) -> Result<Descriptor, Lz4FrameError> {
    if take(input, 4)? != MAGIC {
        return Err(Lz4FrameError::Magic);
    }
    let &[flags, block] = take(input, 2)? else {
        return Err(Lz4FrameError::Truncated);
    };
    let block_size_id = block >> 4;
    let reserved = flags & 0b10 != 0 || block & 0b1000_1111 != 0;
    if flags >> 6 != VERSION || reserved || !(4..=7).contains(&block_size_id) {
        return Err(Lz4FrameError::Descriptor { flags, block });
    }
    if flags & 1 != 0 {
        return Err(Lz4FrameError::Dictionary);
    }
    if flags & (1 << 3) != 0 {
        // The content's size: only a claim.
        take(input, 8)?;
    }
    // The descriptor's checksum.
    take(input, 1)?;
    Ok(Descriptor {
        linked: flags & (1 << 5) == 0,
        block_checksums: flags & (1 << 4) != 0,
        content_checksum: flags & (1 << 2) != 0,
        // 64 KiB, 256 KiB, 1 MiB or 4 MiB.
        max_block: 1 << (8 + 2 * u32::from(block_size_id)),
    })
}

fn decompress_blocks(
    input: &mut &[u8],
    descriptor: &Descriptor,
    frame_start: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<Outcome, Lz4FrameError> {
    const UNCOMPRESSED: u32 = 1 << 31;
    loop {
        let word = take(input, 4)?;
        let word = u32::from_le_bytes(word.try_into().expect("four bytes were taken"));
        if word == 0 {
            return Ok(Outcome::Complete);
        }
        let length = (word & !UNCOMPRESSED) as usize;
        if length > descriptor.max_block {
            return Err(Lz4FrameError::BlockTooLong {
                length,
                limit: descriptor.max_block,
            });
        }
        let block = take(input, length)?;
        if descriptor.block_checksums {
            take(input, 4)?;
        }
        let room = limit - out.len();
        if word & UNCOMPRESSED != 0 {
            if length > room {
                return Ok(Outcome::LimitExceeded);
            }
            out.extend_from_slice(block);
            continue;
        }
        let start = out.len();
        let largest = descriptor
            .max_block
            .min(length.saturating_mul(MAX_EXPANSION));
        out.resize(start + largest.min(room), 0);
        let (before, target) = out.split_at_mut(start);
        let result = if descriptor.linked {
            let window = &before[frame_start.max(start.saturating_sub(WINDOW_BYTES))..];
            lz4_flex::block::decompress_into_with_dict(block, target, window)
        } else {
            lz4_flex::block::decompress_into(block, target)
        };
        match result {
            Ok(written) => out.truncate(start + written),
            Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < largest => {
                return Ok(Outcome::LimitExceeded);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Lz4FrameError> {
    input.split_off(..length).ok_or(Lz4FrameError::Truncated)
}
