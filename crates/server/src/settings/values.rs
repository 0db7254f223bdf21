//! Reading and writing the values of settings.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// A size in bytes: a whole number, with `KiB`, `MiB`, `GiB` or `TiB` behind it if wanted.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let refused = || "it takes a size, such as 1048576, 64MiB or 2GiB".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(refused()),
    };
    number
        .checked_shl(shift)
        .filter(|bytes| bytes >> shift == number)
        .ok_or_else(refused)
}

/// A size of at least `least`: below, what it is for cannot work.
pub(super) fn bytes_from(text: &str, least: u64) -> Result<u64, String> {
    let size = bytes(text)?;
    if size < least {
        return Err(format!("it takes at least {}", show_bytes(least)));
    }
    Ok(size)
}

/// A size as short as it can be said exactly.
pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units
        .iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((shift, name)) => format!("{}{name}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// A number of milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    milliseconds_from(text, 0)
}

/// A number of milliseconds, at least `least`.
pub(super) fn milliseconds_from(text: &str, least: u64) -> Result<Duration, String> {
    number(text, least..=u64::MAX).map(Duration::from_millis)
}

/// A whole number within a range.
pub(super) fn number<N>(text: &str, range: std::ops::RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    let taken = text.parse().ok().filter(|number| range.contains(number));
    taken.ok_or_else(|| {
        format!(
            "it takes a whole number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

/// `true` or `false`.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| "it takes true or false".to_owned())
}

/// Texts with commas between them.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) {
        return Err("it takes one or more texts with commas between them".to_owned());
    }
    Ok(parts)
}

/// The same as it would be written; nothing if there are none.
pub(super) fn show_list(parts: &[String]) -> Option<String> {
    (!parts.is_empty()).then(|| parts.join(","))
}

/// Anything that says itself why it refuses.
pub(super) fn parsed<T>(text: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_said_again() {
        for (text, value) in [
            ("0", 0),
            ("1000", 1000),
            ("64MiB", 64 << 20),
            ("1 gib", 1 << 30),
            ("3k", 3 << 10),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
            assert_eq!(bytes(&show_bytes(value)), Ok(value), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "99999999999TiB", "1 parsec"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(show_bytes(512 << 20), "512MiB");
    }

    #[test]
    fn sizes_keep_to_their_bound() {
        assert_eq!(bytes_from("64MiB", 64 << 20), Ok(64 << 20));
        let refused = bytes_from("64KiB", 64 << 20).unwrap_err();
        assert_eq!(refused, "it takes at least 64MiB");
        assert!(bytes_from("much", 0).unwrap_err().contains("a size"));
    }

    #[test]
    fn numbers_keep_to_their_range() {
        assert_eq!(number("3", 1..=4), Ok(3));
        assert!(number("0", 1..=4).unwrap_err().contains("from 1 to 4"));
        assert!(number::<u32>("x", 1..=4).is_err());
    }
}
