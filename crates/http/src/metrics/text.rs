//! Prometheus's text format 0.0.4.

use std::fmt::{self, Display, Write};

use millstream_metrics::{BUCKETS_MAX, Reading};

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// What is told of each of several things: the metric's name, what it means, and where the figure is.
pub(super) type Column<T> = (&'static str, &'static str, fn(&T) -> u64);

/// A page under way.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// One metric of a page, to which samples are added.
#[derive(Debug)]
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

/// A value of a label, escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Page {
    /// A metric that goes up and down.
    pub(super) fn gauges(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// A metric that counts from the start of the process.
    pub(super) fn counters(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// A metric that is a distribution.
    pub(super) fn histograms(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// A gauge that there is once.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.gauges(name, help).sample(&[], value);
    }

    /// A counter that there is once.
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.counters(name, help).sample(&[], value);
    }

    /// A histogram that there is once.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, reading: &Reading) {
        self.histograms(name, help).histogram(&[], reading);
    }

    /// Metrics that go up and down, each with a sample for every row: the value of `label`, and what has the figures.
    pub(super) fn gauge_table<'r, T: 'r>(
        &mut self,
        columns: &[Column<T>],
        label: &'static str,
        rows: &(impl Iterator<Item = (&'r str, &'r T)> + Clone),
    ) {
        for (name, help, figure) in columns {
            let mut family = self.gauges(name, help);
            for (value, row) in rows.clone() {
                family.sample(&[(label, value)], figure(row));
            }
        }
    }

    /// The same for metrics that count from the start of the process.
    pub(super) fn counter_table<'r, T: 'r>(
        &mut self,
        columns: &[Column<T>],
        label: &'static str,
        rows: &(impl Iterator<Item = (&'r str, &'r T)> + Clone),
    ) {
        for (name, help, figure) in columns {
            let mut family = self.counters(name, help);
            for (value, row) in rows.clone() {
                family.sample(&[(label, value)], figure(row));
            }
        }
    }

    /// The page as text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        put(
            &mut self.0,
            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        );
        Family {
            page: &mut self.0,
            name,
        }
    }
}

impl Family<'_> {
    /// Adds one value.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds a distribution. What is beyond the last bucket is in the sum and in the count.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, reading: &Reading) {
        let per_unit = reading.bounds.per_unit as f64;
        let mut below = 0;
        for (bound, count) in reading.bounds.values.iter().zip(reading.buckets) {
            below += count;
            self.line("_bucket", labels, Some(*bound as f64 / per_unit), below);
        }
        below += reading.buckets[BUCKETS_MAX];
        self.line("_bucket", labels, Some(f64::INFINITY), below);
        self.line("_sum", labels, None, reading.sum as f64 / per_unit);
        self.line("_count", labels, None, below);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<f64>, value: impl Display) {
        self.page.push_str(self.name);
        self.page.push_str(suffix);
        let mut opening = '{';
        for (name, text) in labels {
            put(
                self.page,
                format_args!("{opening}{name}=\"{}\"", Escaped(text)),
            );
            opening = ',';
        }
        match bound {
            Some(bound) if bound.is_infinite() => {
                put(self.page, format_args!("{opening}le=\"+Inf\"}} {value}\n"));
            }
            Some(bound) => put(
                self.page,
                format_args!("{opening}le=\"{bound}\"}} {value}\n"),
            ),
            None if labels.is_empty() => put(self.page, format_args!(" {value}\n")),
            None => put(self.page, format_args!("}} {value}\n")),
        }
    }
}

/// Writing into a string cannot fail.
fn put(page: &mut String, text: fmt::Arguments<'_>) {
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use millstream_metrics::Histogram;

    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = Page::default();
        let mut family = page.gauges("m", "Help.");
        family.sample(&[("a", "x\"y\\z\n"), ("b", "ö")], 1.5);
        family.sample(&[], 2);
        let expected = "# HELP m Help.\n# TYPE m gauge\nm{a=\"x\\\"y\\\\z\\n\",b=\"ö\"} 1.5\nm 2\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn buckets_of_a_histogram_count_what_is_below_them() {
        let histogram = Histogram::of_times();
        for us in [10, 60, 10_000_001] {
            histogram.count(us);
        }
        let mut page = Page::default();
        page.histogram("h", "Help.", &histogram.read());
        let text = page.finish();
        for line in [
            "h_bucket{le=\"0.00005\"} 1",
            "h_bucket{le=\"0.0001\"} 2",
            "h_bucket{le=\"10\"} 2",
            "h_bucket{le=\"+Inf\"} 3",
            "h_sum 10.000071",
            "h_count 3",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
    }
}
