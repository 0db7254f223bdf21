//! What a route is, and how it is written down.

use bytes::{BufMut, Bytes, BytesMut};
use millstream_catalog::TopicName;
use millstream_limits::{ROUTE_NAME_BYTES_MAX, ROUTE_TARGETS_MAX};
use millstream_record::TimestampMs;
use serde::{Deserialize, Serialize};

use super::error::{RouteEntryError, RouteProblem};
use crate::error::BrokerError;
use crate::filter::{Filter, TopicPattern};
use crate::keys;

const FORMAT: u8 = 1;

/// Where the records of a route come from.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteSource {
    /// One topic.
    Topic(TopicName),
    /// Every topic whose name matches, those that are created later too.
    Pattern(TopicPattern),
}

impl RouteSource {
    /// Whether what is published to the topic of that name is the route's.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Topic(name) => name.as_str() == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }
}

impl std::fmt::Display for RouteSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => name.fmt(f),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

/// A route to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRoute {
    /// Its name, unlike any other route's.
    pub name: String,
    /// Where the records come from.
    pub source: RouteSource,
    /// Which of them it takes; all of them without one.
    pub filter: Option<Filter>,
    /// The topics it leads to.
    pub targets: Vec<String>,
}

/// A route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Where the records come from.
    pub source: RouteSource,
    /// Which of them it takes; all of them without one.
    pub filter: Option<Filter>,
    /// The topics it leads to, no topic twice.
    pub targets: Vec<TopicName>,
    /// When it was made.
    pub created: TimestampMs,
}

/// How a route is written down.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    filter: Option<Filter>,
    targets: Vec<String>,
    created_ms: i64,
}

impl Route {
    /// Takes `new` if it is a route by itself.
    pub(super) fn check(new: NewRoute, now: TimestampMs) -> Result<Self, BrokerError> {
        if new.name.is_empty() || new.name.len() > ROUTE_NAME_BYTES_MAX {
            return Err(RouteProblem::NameLength(new.name.len()).into());
        }
        if let Some(control) = new.name.chars().find(|c| c.is_control()) {
            return Err(RouteProblem::NameCharacter(control).into());
        }
        if new.targets.is_empty() || new.targets.len() > ROUTE_TARGETS_MAX {
            return Err(RouteProblem::TargetCount(new.targets.len()).into());
        }
        let mut targets = Vec::with_capacity(new.targets.len());
        for target in &new.targets {
            let target = TopicName::new(target)?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(Self {
            name: new.name,
            source: new.source,
            filter: new.filter,
            targets,
            created: now,
        })
    }

    /// Where in the state table the route of that name is.
    pub(super) fn key(name: &str) -> Bytes {
        Bytes::from([keys::ROUTES, name.as_bytes()].concat())
    }

    pub(super) fn encode(&self) -> Bytes {
        let (topic, pattern) = match &self.source {
            RouteSource::Topic(name) => (Some(name.to_string()), None),
            RouteSource::Pattern(pattern) => (None, Some(pattern.to_string())),
        };
        let stored = Stored {
            topic,
            pattern,
            filter: self.filter.clone(),
            targets: self.targets.iter().map(ToString::to_string).collect(),
            created_ms: self.created.0,
        };
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_slice(&serde_json::to_vec(&stored).expect("texts and numbers have a JSON form"));
        out.freeze()
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, RouteEntryError> {
        let name = key
            .strip_prefix(keys::ROUTES)
            .and_then(|name| std::str::from_utf8(name).ok())
            .ok_or_else(|| RouteEntryError::damaged("?", "its name is not text"))?;
        let damaged = |why: &dyn ToString| RouteEntryError::damaged(name, &why.to_string());
        let (format, body) = value.split_first().ok_or_else(|| damaged(&"it is empty"))?;
        if *format > FORMAT {
            return Err(RouteEntryError::Newer {
                route: name.to_owned(),
                format: *format,
            });
        }
        let stored: Stored = serde_json::from_slice(body).map_err(|error| damaged(&error))?;
        let topic = |name: &str| TopicName::new(name).map_err(|error| damaged(&error));
        let source = match (&stored.topic, &stored.pattern) {
            (Some(name), None) => RouteSource::Topic(topic(name)?),
            (None, Some(pattern)) => {
                RouteSource::Pattern(TopicPattern::new(pattern).map_err(|error| damaged(&error))?)
            }
            _ => return Err(damaged(&"it has not one source")),
        };
        Ok(Self {
            name: name.to_owned(),
            source,
            filter: stored.filter,
            targets: stored
                .targets
                .iter()
                .map(|name| topic(name))
                .collect::<Result<_, _>>()?,
            created: TimestampMs(stored.created_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> NewRoute {
        NewRoute {
            name: "to the shops".to_owned(),
            source: RouteSource::Pattern(TopicPattern::new("orders.#").unwrap()),
            filter: Some(Filter::parse(r#"{"header": "region", "equals": "eu"}"#).unwrap()),
            targets: vec!["a".to_owned(), "b".to_owned(), "a".to_owned()],
        }
    }

    #[test]
    fn a_route_comes_back_as_it_was_written() {
        let pattern = Route::check(new(), TimestampMs(5)).unwrap();
        assert_eq!(pattern.targets.len(), 2, "a topic counts once");
        let topic = Route {
            source: RouteSource::Topic(TopicName::new("*").unwrap()),
            filter: None,
            ..pattern.clone()
        };
        for route in [pattern, topic] {
            let key = Route::key(&route.name);
            assert_eq!(Route::decode(&key, &route.encode()), Ok(route));
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        let refused = |change: &dyn Fn(&mut NewRoute)| {
            let mut route = new();
            change(&mut route);
            Route::check(route, TimestampMs(5)).is_err()
        };
        assert!(refused(&|route| route.name.clear()));
        assert!(refused(
            &|route| route.name = "x".repeat(ROUTE_NAME_BYTES_MAX + 1)
        ));
        assert!(refused(&|route| route.name.push('\n')));
        assert!(refused(&|route| route.targets.clear()));
        assert!(refused(&|route| route.targets.push(String::new())));
        assert!(refused(
            &|route| route.targets = vec!["t".to_owned(); ROUTE_TARGETS_MAX + 1]
        ));
    }

    #[test]
    fn a_damaged_or_newer_entry_is_told_apart() {
        let route = Route::check(new(), TimestampMs(5)).unwrap();
        let key = Route::key(&route.name);
        let mut value = route.encode().to_vec();
        value[0] = FORMAT + 1;
        assert!(matches!(
            Route::decode(&key, &value),
            Err(RouteEntryError::Newer { .. })
        ));
        value[0] = FORMAT;
        for cut in 0..value.len() {
            let decoded = Route::decode(&key, &value[..cut]);
            assert!(
                matches!(decoded, Err(RouteEntryError::Damaged { .. })),
                "{cut}"
            );
        }
    }
}
