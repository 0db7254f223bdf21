//! Where `millstream tail` begins.

use std::str::FromStr;

use crate::point::Point;

/// How the query says that the latest record of each key comes first.
const LATEST_PER_KEY: &str = "latest_per_key";

/// A place, as the parameter of the query that says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parameter: &'static str,
    pub(super) value: String,
}

impl Place {
    /// Whether it is the latest record of each key.
    pub(super) fn is_latest_per_key(&self) -> bool {
        self.value == LATEST_PER_KEY
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = |parameter, value: &str| {
            Ok(Self {
                parameter,
                value: value.to_owned(),
            })
        };
        let is_offset = |byte: u8| byte.is_ascii_digit() || byte == b':' || byte == b',';
        match text {
            "now" => return place("from", "now"),
            "latest-per-key" => return place("from", LATEST_PER_KEY),
            _ if text.contains(':') && text.bytes().all(is_offset) => {
                return place("offsets", text);
            }
            _ => {}
        }
        match text.parse() {
            Ok(Point::Earliest) => place("from", "earliest"),
            Ok(Point::Latest) => place("from", "now"),
            Ok(Point::Time(time)) => place("time", &time.get().max(0).to_string()),
            Ok(Point::Offset(_) | Point::BeforeEnd(_)) | Err(_) => Err(
                "not a place: use now, earliest, latest-per-key, PARTITION:OFFSET such as 0:42, a time span such as 5m, \
                 or a time such as 2026-01-31T12:00:00Z"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for (text, parameter, value) in [
            ("now", "from", "now"),
            ("latest", "from", "now"),
            ("earliest", "from", "earliest"),
            ("latest-per-key", "from", "latest_per_key"),
            ("0:17,1:4", "offsets", "0:17,1:4"),
            ("@1767225600000", "time", "1767225600000"),
            ("2026-01-01T00:00:00Z", "time", "1767225600000"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.parameter, &*place.value), (parameter, value));
        }
        for wrong in ["", "yesterday", "42", "-10"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
    }
}
