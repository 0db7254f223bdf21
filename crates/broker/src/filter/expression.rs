//! The expression itself, and asking it.

use std::fmt;

use millstream_record::Record;

use super::number::decimal;

/// An expression on a record's key and headers. Made from JSON by [`Filter::parse`], which shows the form.
#[derive(Clone, PartialEq)]
pub struct Filter {
    pub(super) root: Node,
}

/// A part of the expression.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    /// All hold; true of none.
    All(Box<[Node]>),
    /// At least one holds; false of none.
    Any(Box<[Node]>),
    Not(Box<Node>),
    /// A condition on the key.
    Key(Condition),
    /// A condition on the values of the headers of one name: any of them that meets it will do.
    Header(Box<str>, Condition),
}

/// What is asked of a key or a header.
#[derive(Clone, PartialEq)]
pub(super) enum Condition {
    /// It is not there.
    Absent,
    /// It is there, and its value passes all tests; without a test its value may be missing.
    Passes(Box<[Test]>),
}

/// What is asked of a value.
#[derive(Clone, PartialEq)]
pub(super) enum Test {
    Equals(Literal),
    Prefix(Box<str>),
    In(Box<[Literal]>),
    Lt(f64),
    Le(f64),
    Gt(f64),
    Ge(f64),
}

/// What a value is compared with: text byte by byte, a number by its size.
#[derive(Clone, PartialEq)]
pub(super) enum Literal {
    Text(Box<str>),
    Number(f64),
}

impl Filter {
    /// Whether a record with this key and these headers is meant. `headers` begins a walk over names and values, and
    /// is called once for each condition on a header. Of several headers of one name, one that meets the condition is
    /// enough.
    pub fn matches<'a, I>(&self, key: Option<&[u8]>, headers: impl Fn() -> I) -> bool
    where
        I: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
        self.root.matches(key, &headers)
    }

    /// Whether `record` is meant.
    pub fn matches_record(&self, record: &Record) -> bool {
        self.matches(record.key.as_deref(), || {
            let headers = record.headers.iter();
            headers.map(|header| (header.key, header.value))
        })
    }
}

impl Node {
    fn matches<'a, I>(&self, key: Option<&[u8]>, headers: &impl Fn() -> I) -> bool
    where
        I: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(key, headers)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(key, headers)),
            Self::Not(node) => !node.matches(key, headers),
            Self::Key(condition) => match condition {
                Condition::Absent => key.is_none(),
                Condition::Passes(tests) => key.is_some() && passes(tests, key),
            },
            Self::Header(name, condition) => {
                let mut named = headers().filter(|(found, _)| *found == name.as_bytes());
                match condition {
                    Condition::Absent => named.next().is_none(),
                    Condition::Passes(tests) => named.any(|(_, value)| passes(tests, value)),
                }
            }
        }
    }
}

fn passes(tests: &[Test], value: Option<&[u8]>) -> bool {
    tests
        .iter()
        .all(|test| value.is_some_and(|value| test.passes(value)))
}

impl Test {
    fn passes(&self, value: &[u8]) -> bool {
        let number = |meets: fn(&f64, &f64) -> bool, bound: &f64| {
            decimal(value).is_some_and(|number| meets(&number, bound))
        };
        match self {
            Self::Equals(literal) => literal.equals(value),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::In(literals) => literals.iter().any(|literal| literal.equals(value)),
            Self::Lt(bound) => number(f64::lt, bound),
            Self::Le(bound) => number(f64::le, bound),
            Self::Gt(bound) => number(f64::gt, bound),
            Self::Ge(bound) => number(f64::ge, bound),
        }
    }
}

impl Literal {
    fn equals(&self, value: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.as_bytes() == value,
            Self::Number(number) => decimal(value) == Some(*number),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({self})")
    }
}
