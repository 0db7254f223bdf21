//! A place in a topic as it is written on the command line.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_client::{Client, OffsetSpec, TopicPartition};
use millstream_record::{Offset, TimestampMs};

/// The forms a place may have, for help texts.
pub(crate) const FORMS: &str = "\
Places in a topic:
  earliest               the first record there is
  latest                 the end: the next record to be written
  42                     offset 42
  -10                    10 records before the end of each partition
  5m, 2h30m, 7days       so long ago
  2026-01-31T12:00:00Z   that time (the time of day may be left out)
  @1767225600000         that time, in milliseconds since 1970";

/// A place in every partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The first record there is.
    Earliest,
    /// The end.
    Latest,
    /// An offset.
    Offset(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// The first record at this time or later.
    Time(TimestampMs),
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" | "beginning" | "start" => return Ok(Self::Earliest),
            "latest" | "end" => return Ok(Self::Latest),
            _ => {}
        }
        if let Some(millis) = text.strip_prefix('@') {
            let millis = millis
                .parse()
                .map_err(|_| format!("'{millis}' is not a number of milliseconds"))?;
            return Ok(Self::Time(TimestampMs(millis)));
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(if text.starts_with('-') {
                Self::BeforeEnd(-number)
            } else {
                Self::Offset(number)
            });
        }
        if let Ok(time) = humantime::parse_rfc3339_weak(text) {
            return Ok(Self::Time(to_millis(time)));
        }
        if let Ok(midnight) = humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")) {
            return Ok(Self::Time(to_millis(midnight)));
        }
        if let Ok(ago) = humantime::parse_duration(text) {
            let time = SystemTime::now()
                .checked_sub(ago)
                .ok_or("that is before time began")?;
            return Ok(Self::Time(to_millis(time)));
        }
        Err("not a place: use earliest, latest, an offset, -N, a time span such as 5m, or a time such as \
             2026-01-31T12:00:00Z"
            .to_owned())
    }
}

impl Point {
    /// The offset of this place in each of `partitions`, moved into what is there.
    pub(crate) async fn resolve(
        self,
        client: &Client,
        partitions: &[TopicPartition],
    ) -> anyhow::Result<BTreeMap<TopicPartition, Offset>> {
        let start = find(client, partitions, OffsetSpec::Earliest).await?;
        let end = find(client, partitions, OffsetSpec::Latest).await?;
        let within = |partition: &TopicPartition, offset: Offset| {
            offset.clamp(start[partition], end[partition].max(start[partition]))
        };
        Ok(match self {
            Self::Earliest => start,
            Self::Latest => end,
            Self::Offset(offset) => partitions
                .iter()
                .map(|it| (it.clone(), within(it, Offset(offset))))
                .collect(),
            Self::BeforeEnd(count) => partitions
                .iter()
                .map(|it| (it.clone(), within(it, end[it] - count)))
                .collect(),
            // Where no record is late enough, the end.
            Self::Time(time) => {
                let mut found = find(client, partitions, OffsetSpec::Since(time)).await?;
                for (partition, &end) in &end {
                    found.entry(partition.clone()).or_insert(end);
                }
                found
            }
        })
    }
}

/// The offset that `spec` finds in each partition; those in which it finds none are left out.
async fn find(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> anyhow::Result<BTreeMap<TopicPartition, Offset>> {
    let asked: Vec<_> = partitions
        .iter()
        .map(|partition| (partition.clone(), spec))
        .collect();
    let found = client.list_offsets(&asked).await?;
    Ok(found
        .into_iter()
        .filter_map(|(partition, found)| Some((partition, found.offset?)))
        .collect())
}

fn to_millis(time: SystemTime) -> TimestampMs {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(since_epoch.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Point, String> {
        text.parse()
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(parse("earliest"), Ok(Point::Earliest));
        assert_eq!(parse("latest"), Ok(Point::Latest));
        assert_eq!(parse("42"), Ok(Point::Offset(42)));
        assert_eq!(parse("-10"), Ok(Point::BeforeEnd(10)));
        assert_eq!(
            parse("@1767225600000"),
            Ok(Point::Time(TimestampMs(1_767_225_600_000)))
        );
        assert_eq!(
            parse("2026-01-01T00:00:00Z"),
            Ok(Point::Time(TimestampMs(1_767_225_600_000)))
        );
        assert_eq!(
            parse("2026-01-01"),
            Ok(Point::Time(TimestampMs(1_767_225_600_000)))
        );
    }

    #[test]
    fn a_span_is_counted_from_now() {
        let now = to_millis(SystemTime::now()).0;
        let Ok(Point::Time(time)) = parse("5m") else {
            panic!("a time")
        };
        assert!((now - 300_000 - time.0).abs() < 5_000);
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        for wrong in ["", "yesterday", "@x", "--"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
