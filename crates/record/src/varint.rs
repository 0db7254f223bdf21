//! Zigzag varints, which every number inside a record is written as (Protocol Buffers' `sint32` and `sint64`).

/// Appends `value`, one to ten bytes.
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`put`] appends for `value`.
pub(crate) fn size_bytes(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

/// Reads a number of at most 32 bits from the front of `bytes`: the value and how many bytes it took.
pub(crate) fn take_i32(bytes: &[u8]) -> Option<(i32, usize)> {
    let (raw, used) = take(bytes, 5)?;
    let raw = u32::try_from(raw).ok()?;
    Some(((raw >> 1) as i32 ^ -((raw & 1) as i32), used))
}

/// Reads a number of at most 64 bits from the front of `bytes`: the value and how many bytes it took.
pub(crate) fn take_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let (raw, used) = take(bytes, 10)?;
    Some(((raw >> 1) as i64 ^ -((raw & 1) as i64), used))
}

/// The longest form of a 32-bit number.
pub(crate) const I32_BYTES_MAX: usize = 5;

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn take(bytes: &[u8], bytes_max: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if at == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_round_trip() {
        for value in [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::MAX,
            i64::MIN,
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), size_bytes(value), "{value}");
            assert_eq!(take_i64(&out), Some((value, out.len())));
            let narrow = i32::try_from(value).ok().map(|narrow| (narrow, out.len()));
            assert_eq!(take_i32(&out), narrow);
        }
    }

    #[test]
    fn overlong_and_unfinished_are_refused() {
        assert_eq!(take_i32(&[0x80; 5]), None);
        assert_eq!(take_i32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(take_i64(&[0xff; 10]), None);
        assert_eq!(
            take_i64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            None
        );
        assert_eq!(take_i64(&[0x80]), None);
        assert_eq!(take_i64(&[]), None);
    }
}
