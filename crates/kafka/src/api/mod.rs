//! The handlers, one file per family of APIs.
//!
//! A handler is an `async fn(Arc<Call>, Request) -> Response` that the table in [`crate::dispatch`] names. It turns the
//! request into calls of the broker and their results into the response, and decides nothing about data itself.

pub(crate) mod broker_configs;
pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod log_dirs;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod producers;
pub(crate) mod resolve;
pub(crate) mod topics;
pub(crate) mod versions;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// How many replicas every partition has.
pub(crate) const REPLICATION_FACTOR: i16 = 1;

/// What a request that did not ask for the allowed operations gets.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// Splits a request's items into those that are named once, which are `Ok`, and the names that occur more than once,
/// each of which is one `Err`, in the order of the request.
fn named_once<T, K: Clone + Eq + Hash>(items: Vec<T>, name: impl Fn(&T) -> K) -> Vec<Result<T, K>> {
    let mut counts = HashMap::new();
    for item in &items {
        *counts.entry(name(item)).or_insert(0_usize) += 1;
    }
    let mut split = Vec::with_capacity(items.len());
    for item in items {
        let name = name(&item);
        match counts.get_mut(&name) {
            Some(1) => split.push(Ok(item)),
            // The first of several: the name is told once.
            Some(count) if *count > 1 => {
                *count = 0;
                split.push(Err(name));
            }
            _ => {}
        }
    }
    split
}

/// A request's items, each once: one whose name was there before is left out, so that no answer tells the same thing again
/// and again. Kafka answers each repeat of some; clients send none.
fn without_repeats<T, K: Eq + Hash>(
    items: Vec<T>,
    name: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    let mut seen = HashSet::new();
    items
        .into_iter()
        .filter(move |item| seen.insert(name(item)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_named_twice_is_told_once() {
        let split = super::named_once(vec!["a", "b", "a", "c", "a"], |item| *item);
        assert_eq!(split, [Err("a"), Ok("b"), Ok("c")]);
    }

    #[test]
    fn what_is_named_again_is_left_out() {
        let once = super::without_repeats(vec!["a", "b", "a", "c", "a"], |item| *item);
        assert_eq!(once.collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
