//! What a reader of a live feed asks for.

use std::collections::BTreeMap;
use std::str::FromStr;

use millstream_broker::filter::{Filter, TopicPattern};
use millstream_broker::live::{ResumeToken, SlowPolicy, Start, SubscribeSpec, Topics};
use millstream_limits::{LIVE_BUFFER_BYTES_DEFAULT, LIVE_BUFFER_RECORDS_DEFAULT};
use millstream_record::{Offset, TimestampMs};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::{Kind, Problem};

/// What to follow, and how. `topic` and `pattern` may be given more than once.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "it describes what is read by hand, since parameters repeat"
)]
pub(crate) struct LiveQuery {
    /// A topic, which has to exist. The feed ends with it.
    topic: Option<Vec<String>>,
    /// All topics whose names match, those that are created later included: words between dots, `*` for one word, `#` for
    /// any number of them.
    pattern: Option<Vec<String>>,
    /// Only records whose headers and key match, as JSON.
    filter: Option<String>,
    /// Where to begin; `now` if left out.
    from: Option<Place>,
    /// Or with the first record that is not earlier than this, in milliseconds since the epoch.
    #[param(minimum = 0)]
    time: Option<i64>,
    /// Or with these offsets, as `PARTITION:OFFSET,...`; now in other partitions.
    offsets: Option<String>,
    /// What happens when the reader is slower than the topics; `block` if left out.
    slow: Option<Slow>,
    /// How many records wait for the reader before it counts as slow; 1,024 if left out.
    #[param(minimum = 1, maximum = 65_536)]
    buffer_records: Option<usize>,
    /// And how many bytes; 1,048,576 if left out.
    #[param(minimum = 1, maximum = 16_777_216)]
    buffer_bytes: Option<usize>,
    /// The same as the header Last-Event-ID, for clients that cannot set headers; also as `lastEventId`.
    last_event_id: Option<String>,
}

/// Where a feed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LiveFrom)]
pub(crate) enum Place {
    /// With what is published from now on.
    Now,
    /// With the first record there is.
    Earliest,
    /// With the latest record of each key, then everything that follows.
    LatestPerKey,
}

/// What happens when a reader is slower than its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SlowPolicy)]
pub(crate) enum Slow {
    /// It gets everything, late.
    Block,
    /// The oldest record that waits makes room.
    DropOldest,
    /// What comes is dropped.
    DropNewest,
    /// Of each key only the latest record waits.
    LatestPerKey,
    /// The feed ends.
    Disconnect,
}

/// What a reader asks for, whichever way it asked.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) topics: Vec<String>,
    pub(crate) patterns: Vec<String>,
    pub(crate) filter: Option<Filter>,
    pub(crate) from: Option<Place>,
    pub(crate) time: Option<i64>,
    pub(crate) offsets: Option<BTreeMap<u32, i64>>,
    /// Goes before any other place.
    pub(crate) position: Option<ResumeToken>,
    pub(crate) slow: Option<Slow>,
    pub(crate) buffer_records: Option<usize>,
    pub(crate) buffer_bytes: Option<usize>,
}

impl Wanted {
    /// What the broker is asked for.
    pub(crate) fn spec(self, credit: u64) -> Result<SubscribeSpec, Problem> {
        let start = self.start()?;
        let mut topics: Vec<Topics> = self.topics.into_iter().map(Topics::Named).collect();
        for pattern in &self.patterns {
            let pattern = TopicPattern::new(pattern)
                .map_err(|error| refused(format!("pattern {pattern:?}: {error}")))?;
            topics.push(Topics::Matching(pattern));
        }
        Ok(SubscribeSpec {
            topics,
            filter: self.filter,
            start,
            slow: match self.slow.unwrap_or(Slow::Block) {
                Slow::Block => SlowPolicy::Block,
                Slow::DropOldest => SlowPolicy::DropOldest,
                Slow::DropNewest => SlowPolicy::DropNewest,
                Slow::LatestPerKey => SlowPolicy::KeepLatest,
                Slow::Disconnect => SlowPolicy::Disconnect,
            },
            buffer_records: self.buffer_records.unwrap_or(LIVE_BUFFER_RECORDS_DEFAULT),
            buffer_bytes: self.buffer_bytes.unwrap_or(LIVE_BUFFER_BYTES_DEFAULT),
            credit,
        })
    }

    fn start(&self) -> Result<Start, Problem> {
        let named = [
            self.from.is_some(),
            self.time.is_some(),
            self.offsets.is_some(),
        ];
        if named.iter().filter(|is_named| **is_named).count() > 1 {
            return Err(refused("from, time and offsets exclude each other"));
        }
        if let Some(position) = &self.position {
            return Ok(Start::Resume(position.clone()));
        }
        if let Some(time) = self.time {
            return Ok(Start::Since(TimestampMs(time)));
        }
        if let Some(offsets) = &self.offsets {
            let offsets = offsets.iter();
            let places = offsets.map(|(partition, offset)| (*partition, Offset(*offset)));
            return Ok(Start::Offsets(places.collect()));
        }
        Ok(match self.from.unwrap_or(Place::Now) {
            Place::Now => Start::Now,
            Place::Earliest => Start::Earliest,
            Place::LatestPerKey => Start::LatestPerKey,
        })
    }
}

/// What the parameters of a query ask for.
pub(super) fn read_query(parameters: Vec<(String, String)>) -> Result<Wanted, Problem> {
    let mut wanted = Wanted::default();
    for (name, value) in parameters {
        match name.as_str() {
            "topic" => wanted.topics.push(value),
            "pattern" => wanted.patterns.push(value),
            "filter" => {
                let filter = Filter::parse(&value);
                let filter = filter.map_err(|error| refused(format!("filter: {error}")))?;
                once(&mut wanted.filter, &name, filter)?;
            }
            "from" => once(&mut wanted.from, &name, word(&name, &value)?)?,
            "time" => once(&mut wanted.time, &name, number(&name, &value)?)?,
            "offsets" => once(&mut wanted.offsets, &name, offsets(&value)?)?,
            "slow" => once(&mut wanted.slow, &name, word(&name, &value)?)?,
            "buffer_records" => once(&mut wanted.buffer_records, &name, number(&name, &value)?)?,
            "buffer_bytes" => once(&mut wanted.buffer_bytes, &name, number(&name, &value)?)?,
            // The second name is what a common replacement of EventSource calls it.
            "last_event_id" | "lastEventId" if value.is_empty() => {}
            "last_event_id" | "lastEventId" => {
                let position = value.parse();
                let position = position.map_err(|error| refused(format!("{name}: {error}")))?;
                once(&mut wanted.position, &name, position)?;
            }
            _ => {
                return Err(refused(format!(
                    "there is no parameter {name:?}; there are topic, pattern, filter, from, time, offsets, slow, buffer_records, buffer_bytes and last_event_id"
                )));
            }
        }
    }
    if wanted.topics.is_empty() && wanted.patterns.is_empty() {
        return Err(refused(
            "say what to follow: topic=NAME, or pattern=orders.# for all topics that match, each as often as needed",
        ));
    }
    Ok(wanted)
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Kind::BAD_QUERY, detail)
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(refused(format!("{name} is given more than once"))),
    }
}

fn number<T: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, Problem> {
    value
        .parse()
        .map_err(|error| refused(format!("{name} is {value:?}: {error}")))
}

/// One of the words of an enumeration.
fn word<'a, T: Deserialize<'a>>(name: &str, value: &'a str) -> Result<T, Problem> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let deserializer: StrDeserializer<'a, Error> = value.into_deserializer();
    T::deserialize(deserializer).map_err(|error| refused(format!("{name}: {error}")))
}

/// `PARTITION:OFFSET,…`
fn offsets(text: &str) -> Result<BTreeMap<u32, i64>, Problem> {
    let place = |place: &str| {
        let (partition, offset) = place.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    let mut offsets = BTreeMap::new();
    for part in text.split(',') {
        let (partition, offset) = place(part).ok_or_else(|| {
            refused(format!(
                "offsets: {part:?} is not PARTITION:OFFSET; several are separated by commas, as 0:17,1:4"
            ))
        })?;
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &[(&str, &str)]) -> Result<SubscribeSpec, Problem> {
        let owned = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read_query(owned.collect())?.spec(1)
    }

    #[test]
    fn a_query_says_what_is_wanted() {
        let spec = read(&[
            ("topic", "a,b"),
            ("topic", "c"),
            ("pattern", "x.#"),
            ("filter", r#"{"header":"h"}"#),
            ("offsets", "0:17,3:4"),
            ("slow", "latest_per_key"),
            ("buffer_records", "5"),
        ])
        .unwrap();
        assert_eq!(spec.topics.len(), 3);
        assert!(matches!(&spec.topics[0], Topics::Named(name) if name == "a,b"));
        assert!(spec.filter.is_some());
        let offsets = vec![(0, Offset(17)), (3, Offset(4))];
        assert_eq!(spec.start, Start::Offsets(offsets));
        assert_eq!(spec.slow, SlowPolicy::KeepLatest);
        assert_eq!(spec.buffer_records, 5);
        let spec = read(&[("topic", "a")]).unwrap();
        assert_eq!((spec.start, spec.slow), (Start::Now, SlowPolicy::Block));
        let spec = read(&[("topic", "a"), ("from", "latest_per_key")]).unwrap();
        assert_eq!(spec.start, Start::LatestPerKey);
        let spec = read(&[("topic", "a"), ("time", "7")]).unwrap();
        assert_eq!(spec.start, Start::Since(TimestampMs(7)));
    }

    #[test]
    fn the_last_event_goes_before_any_other_place() {
        for name in ["last_event_id", "lastEventId"] {
            let place = "00000000000000aa/0:17";
            let spec = read(&[("topic", "a"), ("from", "earliest"), (name, place)]).unwrap();
            assert_eq!(spec.start, Start::Resume(place.parse().unwrap()));
            let spec = read(&[("topic", "a"), ("from", "earliest"), (name, "")]).unwrap();
            assert_eq!(spec.start, Start::Earliest);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_could() {
        for (parameters, said) in [
            (&[][..], "topic=NAME"),
            (&[("topics", "a")], "no parameter"),
            (&[("topic", "a"), ("from", "yesterday")], "earliest"),
            (&[("topic", "a"), ("from", "now"), ("time", "1")], "exclude"),
            (&[("topic", "a"), ("time", "soon")], "soon"),
            (&[("topic", "a"), ("offsets", "17")], "PARTITION:OFFSET"),
            (&[("topic", "a"), ("slow", "wait")], "drop_oldest"),
            (
                &[("topic", "a"), ("slow", "block"), ("slow", "block")],
                "more than once",
            ),
            (&[("topic", "a"), ("buffer_bytes", "-1")], "buffer_bytes"),
            (&[("topic", "a"), ("filter", "{")], "filter"),
            (&[("pattern", "a*")], "pattern"),
            (&[("topic", "a"), ("last_event_id", "12")], "position"),
        ] {
            let problem = read(parameters).unwrap_err();
            assert_eq!(problem.kind, Kind::BAD_QUERY);
            assert!(
                problem.detail.contains(said),
                "{parameters:?}: {}",
                problem.detail
            );
        }
    }
}
