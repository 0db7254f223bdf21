//! What was measured, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output::{HEAD, bytes, grouped, print_json, print_line};

/// Times of many events.
pub(super) struct Times {
    microseconds: Histogram<u64>,
}

impl Times {
    pub(super) fn new() -> Self {
        // Three digits, from a microsecond to an hour.
        let microseconds =
            Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order");
        Self { microseconds }
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.microseconds
            .saturating_record((time.as_micros() as u64).max(1));
    }

    fn percentiles(&self) -> Percentiles {
        let milliseconds = |microseconds: u64| microseconds as f64 / 1_000.0;
        let at = |quantile| milliseconds(self.microseconds.value_at_quantile(quantile));
        Percentiles {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: milliseconds(self.microseconds.max()),
            mean_ms: self.microseconds.mean() / 1_000.0,
            count: self.microseconds.len(),
        }
    }
}

#[derive(Serialize)]
struct Percentiles {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    mean_ms: f64,
    count: u64,
}

/// The outcome of a measurement.
#[derive(Serialize)]
pub(super) struct Report {
    records: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    megabytes_per_second: f64,
    /// What the times below are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    times_of: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Percentiles>,
}

impl Report {
    pub(super) fn new(records: u64, bytes: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        Self {
            records,
            bytes,
            seconds,
            records_per_second: records as f64 / seconds,
            megabytes_per_second: bytes as f64 / 1e6 / seconds,
            times_of: None,
            times: None,
        }
    }

    /// Adds times.
    #[must_use]
    pub(super) fn times(mut self, of: &'static str, times: &Times) -> Self {
        self.times_of = Some(of);
        self.times = Some(times.percentiles());
        self
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let line =
            |name: &str, text: String| print_line(format_args!("{HEAD}{name:<12}{HEAD:#}{text}"));
        line("records", grouped(self.records))?;
        line("bytes", bytes(self.bytes))?;
        line("time", format!("{:.3} s", self.seconds))?;
        let rate = grouped(self.records_per_second.round() as u64);
        line(
            "rate",
            format!("{rate} records/s, {:.1} MB/s", self.megabytes_per_second),
        )?;
        if let (Some(of), Some(times)) = (self.times_of, &self.times) {
            let text = format!(
                "p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}, mean {:.2} ({} measured)",
                times.p50_ms,
                times.p90_ms,
                times.p99_ms,
                times.p999_ms,
                times.max_ms,
                times.mean_ms,
                grouped(times.count),
            );
            line(of, text)?;
        }
        Ok(())
    }
}
