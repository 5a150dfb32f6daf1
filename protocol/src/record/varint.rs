//! Kafka's variable-length integers: zigzag, seven bits a byte, low bits first.

use bytes::{BufMut, BytesMut};

/// Most bytes of a 32-bit varint.
pub(crate) const MAX_VARINT_BYTES: usize = 5;
/// Most bytes of a 64-bit varint.
pub(super) const MAX_VARLONG_BYTES: usize = 10;

/// How many bytes [`put_varint`] writes.
#[inline]
pub(super) fn varint_length(value: i32) -> usize {
    varlong_length(i64::from(value))
}

/// How many bytes [`put_varlong`] writes.
#[inline]
pub(super) fn varlong_length(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends a 32-bit varint. Zigzag keeps small numbers small, so it is the 64-bit one's prefix.
#[inline]
pub(super) fn put_varint(out: &mut BytesMut, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends a 64-bit varint.
#[inline]
pub(super) fn put_varlong(out: &mut BytesMut, value: i64) {
    put_unsigned(out, zigzag(value));
}

/// Appends a number as it is, without zigzag: Kafka's unsigned varint.
#[inline]
pub(crate) fn put_unsigned(out: &mut BytesMut, value: u64) {
    let mut rest = value;
    if rest < 0x80 {
        out.put_u8(rest as u8);
        return;
    }
    // One look at the output's capacity instead of one per byte.
    let mut bytes = [0; MAX_VARLONG_BYTES];
    let mut length = 0;
    while rest >= 0x80 {
        bytes[length] = rest as u8 | 0x80;
        length += 1;
        rest >>= 7;
    }
    bytes[length] = rest as u8;
    out.put_slice(&bytes[..=length]);
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// What a varint can be instead of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end within it.
    Truncated,
    /// It has more bits than the type it is read into.
    TooLong,
}

/// Takes a 32-bit varint off the front of `bytes`.
#[inline]
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<i32, VarintError> {
    let value = take_unsigned(bytes, MAX_VARINT_BYTES)?;
    let value = u32::try_from(value).map_err(|_| VarintError::TooLong)?;
    Ok((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// Takes a 64-bit varint off the front of `bytes`.
#[inline]
pub(super) fn take_varlong(bytes: &mut &[u8]) -> Result<i64, VarintError> {
    let value = take_unsigned(bytes, MAX_VARLONG_BYTES)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Takes an unsigned varint of at most `max_bytes` off the front of `bytes`.
#[inline]
pub(crate) fn take_unsigned(bytes: &mut &[u8], max_bytes: usize) -> Result<u64, VarintError> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(max_bytes).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if i == MAX_VARLONG_BYTES - 1 && bits > 1 {
            return Err(VarintError::TooLong);
        }
        value |= bits << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    if bytes.len() < max_bytes {
        Err(VarintError::Truncated)
    } else {
        Err(VarintError::TooLong)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn known_numbers_have_the_bytes_of_kafkas_guide() {
        let known: [(i64, &[u8]); 8] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ];
        for (value, bytes) in known {
            let mut out = BytesMut::new();
            put_varlong(&mut out, value);
            assert_eq!(&out[..], bytes, "{value}");
            assert_eq!(varlong_length(value), bytes.len());
            let mut rest = bytes;
            assert_eq!(take_varlong(&mut rest), Ok(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn lengths_and_numbers_agree_at_every_power_of_two() {
        for shift in 0..64 {
            for value in [
                1i64 << shift,
                (1i64 << shift).wrapping_sub(1),
                -(1 << (shift / 2)),
            ] {
                let mut out = BytesMut::new();
                put_varlong(&mut out, value);
                assert_eq!(out.len(), varlong_length(value));
                assert_eq!(take_varlong(&mut &out[..]), Ok(value));
                if let Ok(value) = i32::try_from(value) {
                    assert_eq!(out.len(), varint_length(value));
                    assert_eq!(take_varint(&mut &out[..]), Ok(value));
                }
            }
        }
    }

    #[test]
    fn a_number_of_too_many_bits_or_bytes_is_refused() {
        assert_eq!(
            take_varint(&mut &[0x80u8, 0x80][..]),
            Err(VarintError::Truncated)
        );
        assert_eq!(take_varint(&mut &[][..]), Err(VarintError::Truncated));
        assert_eq!(
            take_varint(&mut &[0x80u8; 5][..]),
            Err(VarintError::TooLong)
        );
        let mut out = BytesMut::new();
        put_varlong(&mut out, i64::from(i32::MAX) + 1);
        assert_eq!(take_varint(&mut &out[..]), Err(VarintError::TooLong));
        assert_eq!(
            take_varlong(&mut &[0x80u8; 11][..]),
            Err(VarintError::TooLong)
        );
        let tenth = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(take_varlong(&mut &tenth[..]), Err(VarintError::TooLong));
    }
}
