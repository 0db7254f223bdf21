//! The data set: a month of real flights, compressed into the binary. `demo/README.md` names its source and licence.

use std::io::Read;

use anyhow::Context;
use flate2::read::GzDecoder;

static COMPRESSED: &[u8] = include_bytes!("../../../demo/flights-2013-01.csv.gz");

/// The column of the aircraft's tail number.
const TAIL_NUMBER: usize = 3;
/// The columns that the summary needs.
const CARRIER: usize = 1;
const DEPARTURE_DELAY_MINUTES: usize = 8;

/// One flight, as its line of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flight(String);

impl Flight {
    pub(crate) fn from_line(line: &str) -> Self {
        Self(line.to_owned())
    }

    pub(crate) fn line(&self) -> &str {
        &self.0
    }

    pub(crate) fn aircraft(&self) -> &str {
        self.column(TAIL_NUMBER)
    }

    pub(crate) fn carrier(&self) -> &str {
        self.column(CARRIER)
    }

    /// Minutes; none for a flight that was cancelled.
    pub(crate) fn departure_delay_minutes(&self) -> Option<i64> {
        self.column(DEPARTURE_DELAY_MINUTES).parse().ok()
    }

    fn column(&self, number: usize) -> &str {
        self.0.split(',').nth(number).unwrap_or_default()
    }
}

/// All flights, in the order in which they left.
pub(crate) fn load() -> anyhow::Result<Vec<Flight>> {
    let mut csv = String::new();
    GzDecoder::new(COMPRESSED)
        .read_to_string(&mut csv)
        .context("the data set does not decompress")?;
    Ok(csv.lines().skip(1).map(Flight::from_line).collect())
}
