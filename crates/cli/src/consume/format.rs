//! How a record is printed.

use std::io::{self, Write};
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millstream_client::TopicPartition;
use millstream_record::{Header, Record};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A way to print records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value and a line end.
    Plain,
    /// A JSON object a line.
    Json,
    /// Text with parts of the record in it, and a line end.
    Template(Vec<Piece>),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            template if template.contains('{') => parse_template(template).map(Self::Template),
            _ => Err(
                "not plain, json or a template with at least one of {key}, {value} and the like"
                    .to_owned(),
            ),
        }
    }
}

fn parse_template(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        if at > 0 {
            pieces.push(Piece::Text(unescape(&rest[..at])));
        }
        let (name, after) = rest[at + 1..].split_once('}').ok_or("a { has no }")?;
        pieces.push(match name {
            "topic" => Piece::Topic,
            "partition" => Piece::Partition,
            "offset" => Piece::Offset,
            "timestamp" => Piece::Timestamp,
            "key" => Piece::Key,
            "value" => Piece::Value,
            "headers" => Piece::Headers,
            other => {
                return Err(format!(
                    "there is no {{{other}}}: use topic, partition, offset, timestamp, key, value or headers"
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(unescape(rest)));
    }
    Ok(pieces)
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

impl Format {
    /// Writes one record.
    pub(super) fn write(
        &self,
        out: &mut impl Write,
        partition: &TopicPartition,
        record: &Record,
    ) -> io::Result<()> {
        match self {
            Self::Plain => out.write_all(record.value.as_deref().unwrap_or_default())?,
            Self::Json => serde_json::to_writer(&mut *out, &JsonRecord { partition, record })?,
            Self::Template(pieces) => {
                for piece in pieces {
                    piece.write(out, partition, record)?;
                }
            }
        }
        out.write_all(b"\n")
    }
}

impl Piece {
    fn write(
        &self,
        out: &mut impl Write,
        partition: &TopicPartition,
        record: &Record,
    ) -> io::Result<()> {
        match self {
            Self::Text(text) => out.write_all(text.as_bytes()),
            Self::Topic => out.write_all(partition.topic.as_bytes()),
            Self::Partition => write!(out, "{}", partition.partition),
            Self::Offset => write!(out, "{}", record.offset),
            Self::Timestamp => write!(out, "{}", record.timestamp),
            Self::Key => out.write_all(record.key.as_deref().unwrap_or(b"null")),
            Self::Value => out.write_all(record.value.as_deref().unwrap_or(b"null")),
            Self::Headers => {
                for (at, header) in record.headers.iter().enumerate() {
                    if at > 0 {
                        out.write_all(b",")?;
                    }
                    out.write_all(header.key)?;
                    out.write_all(b"=")?;
                    out.write_all(header.value.unwrap_or(b"null"))?;
                }
                Ok(())
            }
        }
    }
}

/// A record as JSON: `key` and `value` are text or null, `key_base64` and `value_base64` stand for bytes that are no text.
struct JsonRecord<'a> {
    partition: &'a TopicPartition,
    record: &'a Record,
}

impl Serialize for JsonRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", &*self.partition.topic)?;
        map.serialize_entry("partition", &self.partition.partition)?;
        map.serialize_entry("offset", &self.record.offset.0)?;
        map.serialize_entry("timestamp", &self.record.timestamp.0)?;
        serialize_bytes(&mut map, "key", "key_base64", self.record.key.as_deref())?;
        serialize_bytes(
            &mut map,
            "value",
            "value_base64",
            self.record.value.as_deref(),
        )?;
        if !self.record.headers.is_empty() {
            map.serialize_entry(
                "headers",
                &self
                    .record
                    .headers
                    .iter()
                    .map(JsonHeader)
                    .collect::<Vec<_>>(),
            )?;
        }
        map.end()
    }
}

struct JsonHeader<'a>(Header<'a>);

impl Serialize for JsonHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &String::from_utf8_lossy(self.0.key))?;
        serialize_bytes(&mut map, "value", "value_base64", self.0.value)?;
        map.end()
    }
}

fn serialize_bytes<M: SerializeMap>(
    map: &mut M,
    text_name: &'static str,
    base64_name: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        Some(Err(bytes)) => map.serialize_entry(base64_name, &BASE64_STANDARD.encode(bytes)),
        Some(Ok(text)) => map.serialize_entry(text_name, text),
        None => map.serialize_entry(text_name, &None::<&str>),
    }
}

#[cfg(test)]
mod tests {
    use millstream_record::{Headers, Offset, TimestampMs};

    use super::*;

    fn printed(format: &str, key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> String {
        let record = Record {
            offset: Offset(7),
            timestamp: TimestampMs(1_000),
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Headers::new(&[
                Header {
                    key: b"a",
                    value: Some(b"1"),
                },
                Header {
                    key: b"b",
                    value: None,
                },
            ]),
        };
        let mut out = Vec::new();
        let format: Format = format.parse().unwrap();
        format
            .write(&mut out, &TopicPartition::new("t", 3), &record)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_is_the_value() {
        assert_eq!(printed("plain", Some(b"k"), Some(b"v")), "v\n");
        assert_eq!(printed("plain", None, None), "\n");
    }

    #[test]
    fn templates_put_parts_in_place() {
        let template = "{topic}/{partition}@{offset}\\t{key}={value} {timestamp} [{headers}]";
        assert_eq!(
            printed(template, Some(b"k"), None),
            "t/3@7\tk=null 1000 [a=1,b=null]\n"
        );
        assert!("{nothing}".parse::<Format>().is_err());
        assert!("{key".parse::<Format>().is_err());
        assert!("fancy".parse::<Format>().is_err());
    }

    #[test]
    fn json_tells_text_from_bytes() {
        let expected = r#"{"topic":"t","partition":3,"offset":7,"timestamp":1000,"key":null,"value_base64":"/w==","headers":[{"key":"a","value":"1"},{"key":"b","value":null}]}"#;
        assert_eq!(
            printed("json", None, Some(&[0xff])),
            format!("{expected}\n")
        );
    }
}
