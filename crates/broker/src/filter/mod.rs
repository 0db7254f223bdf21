//! Saying which records are meant: a [`Filter`] on a record's key and headers, and a [`TopicPattern`] on names of topics.
//!
//! Both are written by people, in JSON and in words, and checked against bounds when they are made; asking them costs no
//! memory and a bounded time. They know nothing of cursors: queues, routes and live subscriptions all use the same two.

mod error;
mod expression;
mod json;
mod number;
mod pattern;
#[cfg(test)]
mod tests;

pub use error::FilterError;
pub use expression::Filter;
pub use pattern::{PatternError, TopicPattern};
