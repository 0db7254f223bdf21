//! Reading records from lines of text or JSON.

use std::fmt;
use std::marker::PhantomData;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// What a line is.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Format {
    /// A value, or a key and a value.
    #[default]
    Lines,
    /// A JSON object.
    Json,
}

/// The longest line: a record at its largest, every byte of it escaped or in base64.
const LINE_BYTES_MAX: usize = 6 * millstream_limits::RECORD_BYTES_MAX;

/// A record as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InputRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub partition: Option<i32>,
    pub timestamp: Option<i64>,
}

/// Records, line by line.
pub(super) struct Reading<R> {
    input: R,
    format: Format,
    key_separator: Option<String>,
    line: Vec<u8>,
    line_number: u64,
}

impl<R: AsyncBufRead + Unpin> Reading<R> {
    pub(super) fn new(input: R, format: Format, key_separator: Option<String>) -> Self {
        Self {
            input,
            format,
            key_separator,
            line: Vec::new(),
            line_number: 0,
        }
    }

    /// The number of the line that was read last, or that could not be, from 1.
    pub(super) fn line_number(&self) -> u64 {
        self.line_number
    }

    /// The next record; none at the end. Empty lines are records in [`Format::Lines`], and skipped in [`Format::Json`].
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<InputRecord>> {
        loop {
            self.line.clear();
            self.line_number += 1;
            let mut bounded = (&mut self.input).take(LINE_BYTES_MAX as u64 + 1);
            if bounded
                .read_until(b'\n', &mut self.line)
                .await
                .context("cannot read the input")?
                == 0
            {
                return Ok(None);
            }
            if self.line.len() > LINE_BYTES_MAX {
                anyhow::bail!("it is longer than {LINE_BYTES_MAX} bytes");
            }
            let line = trim_end(&self.line);
            match self.format {
                Format::Lines => return Ok(Some(split_line(line, self.key_separator.as_deref()))),
                Format::Json if line.is_empty() => {}
                Format::Json => return parse_json(line).map(Some),
            }
        }
    }
}

/// The line without its end, of either kind.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_line(line: &[u8], separator: Option<&str>) -> InputRecord {
    let separator = separator.unwrap_or_default().as_bytes();
    let at = if separator.is_empty() {
        None
    } else {
        line.windows(separator.len())
            .position(|part| part == separator)
    };
    let (key, value) = match at {
        Some(at) => (Some(line[..at].to_vec()), &line[at + separator.len()..]),
        None => (None, line),
    };
    InputRecord {
        key,
        value: Some(value.to_vec()),
        ..InputRecord::default()
    }
}

/// A record's JSON form. Fields that only tell where a record was read from are let pass, so that what was read can be
/// written elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord {
    #[serde(default)]
    key: Option<Value>,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default, deserialize_with = "from_base64")]
    key_base64: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "from_base64")]
    value_base64: Option<Vec<u8>>,
    #[serde(default)]
    headers: Vec<Object<JsonHeader>>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default, rename = "topic")]
    _topic: Option<Value>,
    #[serde(default, rename = "offset")]
    _offset: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader {
    key: String,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default, deserialize_with = "from_base64")]
    value_base64: Option<Vec<u8>>,
}

/// What has to be written as an object. By itself serde takes an array for one, of the fields' values in their order.
#[derive(Debug)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD
        .decode(text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

fn parse_json(line: &[u8]) -> anyhow::Result<InputRecord> {
    let Object(record): Object<JsonRecord> =
        serde_json::from_slice(line).map_err(|error| without_line(&error))?;
    let header = |Object(header): Object<JsonHeader>| {
        let value = one_of("a header's value", header.value, header.value_base64)?;
        Ok((header.key.into_bytes(), value))
    };
    Ok(InputRecord {
        key: one_of("key", record.key, record.key_base64)?,
        value: one_of("value", record.value, record.value_base64)?,
        headers: record
            .headers
            .into_iter()
            .map(header)
            .collect::<anyhow::Result<_>>()?,
        partition: record.partition,
        timestamp: record.timestamp,
    })
}

/// What is wrong, and in which column. That it is in line 1 of one is left out, for the input has lines of its own.
fn without_line(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let what = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(what, _)| what);
    match error.column() {
        0 => anyhow::anyhow!("{what}"),
        column => anyhow::anyhow!("{what} at column {column}"),
    }
}

/// The bytes of a field that can be given in two ways, but not in both.
fn one_of(
    name: &str,
    plain: Option<Value>,
    base64: Option<Vec<u8>>,
) -> anyhow::Result<Option<Vec<u8>>> {
    if plain.is_some() && base64.is_some() {
        anyhow::bail!("it has {name} twice, by itself and in base64");
    }
    Ok(base64.or(to_bytes(plain)))
}

/// Text as it is, null as nothing, anything else as JSON.
fn to_bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(
        input: &str,
        format: Format,
        separator: Option<&str>,
    ) -> anyhow::Result<Vec<InputRecord>> {
        let mut reading = Reading::new(input.as_bytes(), format, separator.map(str::to_owned));
        let mut records = Vec::new();
        while let Some(record) = reading.next().await? {
            records.push(record);
        }
        Ok(records)
    }

    fn record(key: Option<&str>, value: Option<&str>) -> InputRecord {
        let bytes = |text: &str| text.as_bytes().to_vec();
        InputRecord {
            key: key.map(bytes),
            value: value.map(bytes),
            ..InputRecord::default()
        }
    }

    #[tokio::test]
    async fn lines_are_values_or_keys_and_values() {
        let records = read("a\n\nb\r\nlast", Format::Lines, None).await.unwrap();
        let expected = ["a", "", "b", "last"].map(|value| record(None, Some(value)));
        assert_eq!(records, expected);
        let records = read("k::v::w\nno key\n::v\n", Format::Lines, Some("::"))
            .await
            .unwrap();
        let expected = [
            record(Some("k"), Some("v::w")),
            record(None, Some("no key")),
            record(Some(""), Some("v")),
        ];
        assert_eq!(records, expected);
    }

    #[tokio::test]
    async fn json_objects_say_all_there_is() {
        let line = r#"{"key":"k","value":{"a":1},"headers":[{"key":"h","value":"x"},{"key":"h","value":null}],
            "partition":2,"timestamp":5,"topic":"t","offset":9}"#
            .replace('\n', "");
        let records = read(&line, Format::Json, None).await.unwrap();
        let headers = vec![(b"h".to_vec(), Some(b"x".to_vec())), (b"h".to_vec(), None)];
        let expected = InputRecord {
            headers,
            partition: Some(2),
            timestamp: Some(5),
            ..record(Some("k"), Some(r#"{"a":1}"#))
        };
        assert_eq!(records, [expected]);
        let records = read(
            "{\"value\":null}\n\n{\"value_base64\":\"/w==\"}\n",
            Format::Json,
            None,
        )
        .await
        .unwrap();
        assert_eq!(records[0], record(None, None));
        assert_eq!(records[1].value.as_deref(), Some(&[0xff][..]));
    }

    #[tokio::test]
    async fn what_is_no_record_is_refused_and_its_line_known() {
        for (line, reason) in [
            (r#"{"valeu":1}"#, "valeu"),
            (r#"["kk","vv"]"#, "a JSON object"),
            ("[]", "a JSON object"),
            ("7", "a JSON object"),
            (r#"{"value":"v","headers":[["h","x"]]}"#, "a JSON object"),
            (r#"{"value":"v","value_base64":"/w=="}"#, "value twice"),
            (r#"{"key":"k","key_base64":"/w=="}"#, "key twice"),
            (
                r#"{"headers":[{"key":"h","value":"v","value_base64":"/w=="}]}"#,
                "value twice",
            ),
        ] {
            let input = format!("{{}}\n{line}\n");
            let mut reading = Reading::new(input.as_bytes(), Format::Json, None);
            reading.next().await.unwrap();
            let error = reading.next().await.unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{line}: {error:#}");
            assert_eq!(reading.line_number(), 2);
        }
    }
}
