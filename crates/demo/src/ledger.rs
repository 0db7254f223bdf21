//! What a group has seen: each aircraft's flights in the order in which they came.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use millstream_record::Record;

use crate::flights::Flight;

/// Each aircraft's flights in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    flights: BTreeMap<String, Vec<Flight>>,
}

impl Ledger {
    /// Enters a record that was read.
    pub(crate) fn enter(&mut self, record: &Record) -> anyhow::Result<()> {
        let key = record
            .key
            .as_deref()
            .context("a flight without an aircraft")?;
        let value = record.value.as_deref().context("a flight without a line")?;
        let aircraft = std::str::from_utf8(key)?.to_owned();
        let flight = Flight::from_line(std::str::from_utf8(value)?);
        self.flights.entry(aircraft).or_default().push(flight);
        Ok(())
    }

    /// Adds what was read later, or of other aircraft.
    pub(crate) fn absorb(&mut self, later: Ledger) {
        for (aircraft, flights) in later.flights {
            self.flights.entry(aircraft).or_default().extend(flights);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.flights.values().map(Vec::len).sum()
    }

    pub(crate) fn aircraft(&self) -> usize {
        self.flights.len()
    }

    pub(crate) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.values().flatten()
    }

    /// Checks that these are exactly the flights published, in the published order for each aircraft.
    pub(crate) fn verify(&self, group: &str, published: &[Flight]) -> anyhow::Result<()> {
        let mut expected: BTreeMap<&str, Vec<&Flight>> = BTreeMap::new();
        for flight in published {
            expected.entry(flight.aircraft()).or_default().push(flight);
        }
        ensure!(
            self.len() == published.len(),
            "group `{group}` read {} flights of {}",
            self.len(),
            published.len()
        );
        for (aircraft, flights) in expected {
            let read = self
                .flights
                .get(aircraft)
                .map(Vec::as_slice)
                .unwrap_or_default();
            ensure!(
                read.iter().eq(flights),
                "group `{group}` read the flights of {aircraft} in another order than they were published"
            );
        }
        Ok(())
    }
}
