//! The types a setting's value can have.

use std::fmt;

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit number between two bounds.
    Int {
        /// The smallest that is taken.
        min: i32,
        /// The largest that is taken.
        max: i32,
    },
    /// A 32-bit number between two bounds, or one special value outside them.
    IntOr {
        /// The special value.
        special: i32,
        /// The smallest of the others.
        min: i32,
        /// The largest of the others.
        max: i32,
    },
    /// A 64-bit number between two bounds.
    Long {
        /// The smallest that is taken.
        min: i64,
        /// The largest that is taken.
        max: i64,
    },
    /// A fraction between two bounds.
    Double {
        /// The smallest that is taken.
        min: f64,
        /// The largest that is taken.
        max: f64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any text.
    Text,
    /// Some of these words, each at most once, separated by commas; any words where none are named.
    List(&'static [&'static str]),
}

/// A value of one of the [`Kind`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of [`Kind::Int`], [`Kind::IntOr`] or [`Kind::Long`].
    Number(i64),
    /// Of [`Kind::Double`].
    Double(f64),
    /// Of [`Kind::OneOf`], spelled as the table spells it, or of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

impl Kind {
    /// Reads `text`. Surrounding blanks do not count.
    pub fn parse(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        match *self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            Self::Boolean => None,
            Self::Int { min, max } => number(text, min.into(), max.into()),
            Self::IntOr { special, min, max } => number(text, special.into(), special.into())
                .or_else(|| number(text, min.into(), max.into())),
            Self::Long { min, max } => number(text, min, max),
            Self::Double { min, max } => {
                let value = text.parse::<f64>().ok()?;
                (min..=max).contains(&value).then_some(Value::Double(value))
            }
            Self::OneOf(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Self::Text => Some(Value::Text(text.to_owned())),
            Self::List(allowed) => list(text, allowed),
        }
    }
}

fn number(text: &str, min: i64, max: i64) -> Option<Value> {
    let value = text.parse().ok()?;
    (min..=max).contains(&value).then_some(Value::Number(value))
}

fn list(text: &str, allowed: &[&str]) -> Option<Value> {
    let items = items(text);
    let known = |item: &&str| allowed.is_empty() || allowed.contains(item);
    let unique = |index: usize| !items[..index].contains(&items[index]);
    (items.iter().all(known) && (0..items.len()).all(unique))
        .then(|| Value::List(items.iter().map(|&item| item.to_owned()).collect()))
}

/// The items of a list's text.
pub(super) fn items(text: &str) -> Vec<&str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

impl fmt::Display for Kind {
    /// What is taken, as a phrase that fits after "it takes".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Boolean => f.write_str("true or false"),
            Self::Int { min, max } => range(f, min.into(), max.into(), i32::MAX.into()),
            Self::IntOr { special, min, max } => {
                write!(f, "a whole number from {min} to {max}, or {special}")
            }
            Self::Long { min, max } => range(f, min, max, i64::MAX),
            Self::Double { min, max } => write!(f, "a number from {min} to {max}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Text => f.write_str("any text"),
            Self::List([]) => f.write_str("a list separated by commas"),
            Self::List(words) => write!(f, "a list of {}", words.join(", ")),
        }
    }
}

fn range(f: &mut fmt::Formatter<'_>, min: i64, max: i64, unbounded: i64) -> fmt::Result {
    if max == unbounded {
        write!(f, "a whole number of at least {min}")
    } else {
        write!(f, "a whole number from {min} to {max}")
    }
}
