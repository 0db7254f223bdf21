//! What the stream of flights says, for people.

use std::collections::BTreeMap;

use crate::ledger::Ledger;

/// How many carriers the table shows.
const CARRIERS_SHOWN: usize = 6;

#[derive(Debug, Default)]
struct Carrier {
    flights: usize,
    departed: i64,
    delay_minutes: i64,
}

impl Carrier {
    fn cancelled(&self) -> usize {
        self.flights - self.departed as usize
    }

    fn mean_delay_minutes(&self) -> f64 {
        self.delay_minutes as f64 / self.departed.max(1) as f64
    }
}

/// Prints how punctual the busiest carriers were.
pub(crate) fn print(ledger: &Ledger) {
    let mut carriers: BTreeMap<&str, Carrier> = BTreeMap::new();
    for flight in ledger.flights() {
        let carrier = carriers.entry(flight.carrier()).or_default();
        carrier.flights += 1;
        if let Some(delay) = flight.departure_delay_minutes() {
            carrier.departed += 1;
            carrier.delay_minutes += delay;
        }
    }
    let mut carriers: Vec<_> = carriers.into_iter().collect();
    carriers.sort_by_key(|(_, carrier)| std::cmp::Reverse(carrier.flights));

    println!();
    println!(
        "{} flights of {} aircraft left New York in January 2013. The busiest carriers:",
        ledger.len(),
        ledger.aircraft()
    );
    println!("  carrier   flights   cancelled   mean departure delay");
    for (name, carrier) in carriers.into_iter().take(CARRIERS_SHOWN) {
        println!(
            "  {name:<7} {:>9} {:>11} {:>18.1} min",
            carrier.flights,
            carrier.cancelled(),
            carrier.mean_delay_minutes()
        );
    }
}
