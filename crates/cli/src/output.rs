//! Printing: tables for people, JSON for programs, colour on a terminal only.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::Value;

/// How "error:" looks.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// How the heads of tables and sections look.
pub(crate) const HEAD: Style = Style::new().bold();

/// Whether an error is only that nobody reads the output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// An error and its causes in one line. Some errors say what caused them themselves: each cause is told once.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

/// Prints `value` as JSON, indented.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Prints a line, with whatever style it has if the output is a terminal.
pub(crate) fn print_line(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(anstream::stdout().lock(), "{line}")?;
    Ok(())
}

/// What was done to each of several things: a line for people as soon as it is done, or JSON of all of them in the end.
pub(crate) struct Outcomes {
    json: Option<Vec<Value>>,
}

impl Outcomes {
    /// None yet.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json: json.then(Vec::new),
        }
    }

    /// One more was done.
    pub(crate) fn add(&mut self, text: impl std::fmt::Display, outcome: Value) {
        match &mut self.json {
            Some(all) => all.push(outcome),
            None => eprintln!("{text}"),
        }
    }

    /// Ends as `ended` says. What was done before something failed is told all the same.
    pub(crate) fn end(self, ended: anyhow::Result<()>) -> anyhow::Result<()> {
        match self.json {
            Some(all) if ended.is_ok() || !all.is_empty() => print_json(&all)?,
            _ => {}
        }
        ended
    }
}

/// Columns of text, each as wide as its widest cell.
pub(crate) struct Table {
    heads: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    right: bool,
}

impl Table {
    /// A table with these columns; a title that begins with `>` stands over numbers.
    pub(crate) fn new(titles: &[&'static str]) -> Self {
        let head = |title: &&'static str| match title.strip_prefix('>') {
            Some(title) => Column { title, right: true },
            None => Column {
                title,
                right: false,
            },
        };
        Self {
            heads: titles.iter().map(head).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let width = |(at, head): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[at].chars().count());
            cells.chain([head.title.len()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = self.heads.iter().enumerate().map(width).collect();
        let mut out = anstream::stdout().lock();
        let titles: Vec<_> = self
            .heads
            .iter()
            .map(|head| head.title.to_owned())
            .collect();
        writeln!(out, "{HEAD}{}{HEAD:#}", self.line(&titles, &widths))?;
        for row in &self.rows {
            writeln!(out, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cell = |((head, cell), &width): ((&Column, &String), &usize)| {
            if head.right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        };
        let cells: Vec<_> = self.heads.iter().zip(cells).zip(widths).map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    }
}

/// `value`, or a dash where there is none.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A number of bytes as people say it.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", ">N"]);
        table.row(["a".to_owned(), "1".to_owned()]);
        table.row(["longer".to_owned(), "1234".to_owned()]);
        assert_eq!(table.line(&table.rows[0], &[6, 4]), "a          1");
        assert_eq!(table.line(&table.rows[1], &[6, 4]), "longer  1234");
    }

    #[test]
    fn each_cause_is_told_once() {
        let cause = || io::Error::other("the disk is gone");
        let silent = anyhow::Error::new(cause()).context("cannot read a");
        assert_eq!(with_causes(&silent), "cannot read a: the disk is gone");
        let telling =
            anyhow::Error::new(cause()).context("cannot read a: the disk is gone; mend it");
        assert_eq!(
            with_causes(&telling),
            "cannot read a: the disk is gone; mend it"
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
