//! Millstream inside a program, without a server: publish a few records, then read them back.
//!
//! `cargo run -p millstream-broker --example embedded [DIRECTORY]`

use std::error::Error;
use std::path::Path;

use millstream_broker::streams::FetchSpec;
use millstream_broker::{Broker, BrokerSettings};
use millstream_env::Env;
use millstream_record::{BatchBuilder, Codec, NewRecord, Offset, TimestampMs};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "millstream-data".to_owned());
    for line in publish_and_read(Path::new(&directory)).await? {
        println!("{line}");
    }
    Ok(())
}

/// Publishes two records to a topic in `directory`, and returns what the topic holds, a line for each record.
pub(crate) async fn publish_and_read(directory: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let broker = Broker::open(BrokerSettings::new(directory), Env::real()).await?;
    let topic = broker.ensure_topic("greetings").await?;
    let partition = topic
        .partition(0)
        .ok_or("a topic has at least one partition")?;

    let mut batch = BatchBuilder::new(Codec::Zstd);
    for greeting in ["good morning", "good evening"] {
        let (key, value) = (Some(&b"en"[..]), Some(greeting.as_bytes()));
        batch.append(&NewRecord {
            timestamp: TimestampMs::NONE,
            key,
            value,
            headers: &[],
        });
    }
    let batch = batch.build().ok_or("a batch has at least one record")?;
    let written = broker.append(&partition, batch.bytes)?.durable().await?;
    println!(
        "on the disk: offsets {} to {}",
        written.base_offset, written.last_offset
    );

    let mut lines = Vec::new();
    for part in broker.fetch(FetchSpec::of(&partition, Offset::ZERO)).await {
        for batch in part.result?.batches() {
            for record in batch?.records(1 << 20) {
                let record = record?;
                let value = record.value.unwrap_or_default();
                lines.push(format!(
                    "{}: {}",
                    record.offset,
                    String::from_utf8_lossy(&value)
                ));
            }
        }
    }
    broker.shutdown().await?;
    Ok(lines)
}
