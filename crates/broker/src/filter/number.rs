//! Numbers in headers and keys, which are decimal text.

/// Reads `bytes` as a decimal number such as `42`, `-1.5` or `2e3`. Nothing else is one: no spaces, no `inf`, no `nan`.
///
/// Numbers are 64-bit floating point, exact for whole numbers up to 2^53.
pub(super) fn decimal(bytes: &[u8]) -> Option<f64> {
    /// Longer than any number that a program writes.
    const DIGITS_MAX: usize = 64;
    let begins = matches!(bytes.first(), Some(b'0'..=b'9' | b'+' | b'-' | b'.'));
    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if !begins || bytes.len() > DIGITS_MAX || !bytes.iter().all(plain) {
        return None;
    }
    let number: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}
