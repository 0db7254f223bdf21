//! `millstream produce`: lines or JSON objects become records.

mod input;
mod progress;
mod sent;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use millstream_client::{Acks, Client, Delivery, Producer, ProducerConfig};
use millstream_record::{Codec, Compression, Header, NewRecord, TimestampMs};
use serde::Serialize;
use tokio::io::{AsyncBufRead, BufReader};

use self::input::{Format, InputRecord, Reading};
use self::progress::Progress;
use self::sent::Sent;
use crate::connect::{Connect, block_on};
use crate::output::{grouped, print_json};

/// The fastest level of zstd, as Kafka has it.
const ZSTD_LEVEL_MIN: i32 = -131_072;

/// Arguments of `millstream produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
A JSON object a line may have: key, value, headers ([{\"key\": ..., \"value\": ...}]), partition, timestamp (milliseconds).
A value that is not text is written as JSON; key_base64 and value_base64 stand for bytes that are not text. It is what
`millstream consume --format json` prints.

A line that cannot be used or written ends it; the error says which, and how many records are written.

Examples:
  echo 'alice:one flat white' | millstream produce orders --key-separator :
  millstream produce orders --file orders.jsonl --format json --compression zstd
  millstream consume orders --format json | millstream produce copy --format json")]
pub(crate) struct Produce {
    #[command(flatten)]
    connect: Connect,
    /// The topic.
    topic: String,
    /// Read this file instead of the standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What a line is.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// What stands between key and value in a line; a line without it has no key.
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// The key of records that have none of their own.
    #[arg(long, short, value_name = "TEXT", conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header of every record; may be given more than once.
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// The partition; by the key if left out.
    #[arg(long, short, value_name = "N")]
    partition: Option<i32>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd.
    #[arg(long, short, default_value = "none", value_parser = parse_codec)]
    compression: Codec,
    /// The codec's level: 1 to 9 for gzip, 1 to 22 for zstd, or down to -131072 for speed; the others have none.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    compression_level: Option<i32>,
    /// When a record counts as written.
    #[arg(long, value_enum, default_value_t)]
    acks: AcksArgument,
    /// How much is sent together, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10)]
    batch_bytes: usize,
    /// How long a record may wait for others to be sent with.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = humantime::parse_duration)]
    linger: Duration,
    /// Print a summary as JSON at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum AcksArgument {
    /// As soon as it is sent.
    None,
    /// When the partition's leader has it.
    Leader,
    /// When all in-sync replicas have it.
    #[default]
    All,
}

impl From<AcksArgument> for Acks {
    fn from(argument: AcksArgument) -> Self {
        match argument {
            AcksArgument::None => Self::None,
            AcksArgument::Leader => Self::Leader,
            AcksArgument::All => Self::All,
        }
    }
}

#[derive(Serialize)]
struct Summary {
    topic: String,
    records: u64,
    bytes: u64,
    seconds: f64,
    /// The line that ended it, if it did not end as it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_line: Option<u64>,
}

impl Produce {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        check_level(self.compression())?;
        block_on(async {
            let client = self.connect.client().await?;
            match &self.file {
                None => {
                    self.produce(&client, BufReader::new(tokio::io::stdin()))
                        .await
                }
                Some(path) => {
                    let file = tokio::fs::File::open(path).await;
                    let file = file.with_context(|| format!("cannot read {}", path.display()))?;
                    self.produce(&client, BufReader::new(file)).await
                }
            }
        })
    }

    fn compression(&self) -> Compression {
        Compression {
            codec: self.compression,
            level: self.compression_level,
        }
    }

    async fn produce(
        &self,
        client: &Client,
        input: impl AsyncBufRead + Unpin,
    ) -> anyhow::Result<()> {
        let config = ProducerConfig {
            acks: self.acks.into(),
            compression: self.compression(),
            batch_bytes: self.batch_bytes,
            linger: self.linger,
            ..ProducerConfig::default()
        };
        let producer = Producer::start(client, config).await?;
        let mut reading = Reading::new(input, self.format, self.key_separator.clone());
        let mut sent = Sent::default();
        let mut progress = Progress::new();
        let started = Instant::now();
        let ended = self
            .send_all(&producer, &mut reading, &mut sent, &mut progress)
            .await;
        // Whatever ended it, what is on its way is seen to its end: each record that fails is found below.
        let _ = producer.flush().await;
        sent.settle_all().await;
        progress.finish();
        let (failed_line, ended) = match sent.first_lost.take() {
            Some((line, error)) => (Some(line), Err(error.into())),
            None => (ended.is_err().then(|| reading.line_number()), ended),
        };
        let printed = if self.json {
            print_json(&Summary {
                topic: self.topic.clone(),
                records: sent.written,
                bytes: sent.written_bytes,
                seconds: started.elapsed().as_secs_f64(),
                failed_line,
            })
        } else {
            Ok(())
        };
        ended.with_context(|| self.how_far(failed_line.unwrap_or_default(), &sent))?;
        printed
    }

    /// Sends every record there is, or up to the first that cannot be read or sent, or that is known to be lost.
    async fn send_all(
        &self,
        producer: &Producer,
        reading: &mut Reading<impl AsyncBufRead + Unpin>,
        sent: &mut Sent,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        while let Some(record) = reading.next().await? {
            let (bytes, delivery) = self.send(producer, &record).await?;
            sent.add(reading.line_number(), bytes, delivery);
            sent.settle_known().await;
            progress.count(bytes);
            producer.check()?;
        }
        Ok(())
    }

    /// How far it came before it failed at `line`.
    fn how_far(&self, line: u64, sent: &Sent) -> String {
        let done = match self.acks {
            AcksArgument::None => "sent",
            AcksArgument::Leader | AcksArgument::All => "written",
        };
        let lost = match sent.lost {
            0 | 1 => String::new(),
            lost => format!(" and {} given up", grouped(lost)),
        };
        let written = grouped(sent.written);
        format!("stopped at line {line} with {written} records {done}{lost}")
    }

    async fn send(
        &self,
        producer: &Producer,
        record: &InputRecord,
    ) -> anyhow::Result<(u64, Delivery)> {
        let given = self.headers.iter().map(|(key, value)| Header {
            key: key.as_bytes(),
            value: Some(value.as_bytes()),
        });
        let own = record.headers.iter().map(|(key, value)| Header {
            key,
            value: value.as_deref(),
        });
        let headers: Vec<_> = given.chain(own).collect();
        let new = NewRecord {
            timestamp: record.timestamp.map_or(TimestampMs::NONE, TimestampMs),
            key: record
                .key
                .as_deref()
                .or(self.key.as_deref().map(str::as_bytes)),
            value: record.value.as_deref(),
            headers: &headers,
        };
        let delivery = producer
            .send(&self.topic, record.partition.or(self.partition), &new)
            .await?;
        let bytes = new.key.map_or(0, <[u8]>::len) + new.value.map_or(0, <[u8]>::len);
        Ok((bytes as u64, delivery))
    }
}

/// Refuses a level that the codec does not have, rather than use another.
fn check_level(compression: Compression) -> anyhow::Result<()> {
    let Some(level) = compression.level else {
        return Ok(());
    };
    let codec = compression.codec;
    match codec {
        Codec::Gzip if (1..=9).contains(&level) => Ok(()),
        Codec::Gzip => {
            anyhow::bail!("gzip has the levels 1 to 9, so --compression-level cannot be {level}")
        }
        Codec::Zstd if (ZSTD_LEVEL_MIN..=22).contains(&level) => Ok(()),
        Codec::Zstd => anyhow::bail!(
            "zstd has the levels 1 to 22, and down to {ZSTD_LEVEL_MIN} for speed, so --compression-level cannot be {level}"
        ),
        Codec::None | Codec::Snappy | Codec::Lz4 => anyhow::bail!(
            "--compression {} has no levels: leave --compression-level out, or choose gzip or zstd",
            codec.name()
        ),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A codec by its name.
pub(crate) fn parse_codec(text: &str) -> Result<Codec, String> {
    Codec::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Codec::ALL.iter().map(|codec| codec.name()).collect();
        format!("not one of {}", names.join(", "))
    })
}
