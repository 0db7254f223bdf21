//! Publishing, and waiting until the server has acknowledged all of it.

use std::time::{Duration, Instant};

use millstream_client::Producer;
use millstream_record::{NewRecord, TimestampMs};

use crate::flights::Flight;
use crate::{TOPIC, record_of};

/// Publishes the flights in their order and returns how long it took until the last was acknowledged.
pub(crate) async fn all(producer: &Producer, flights: &[Flight]) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    for flight in flights {
        let (key, value) = record_of(flight);
        let record = NewRecord {
            timestamp: TimestampMs::NONE,
            key: Some(key),
            value: Some(value),
            headers: &[],
        };
        producer.send(TOPIC, None, &record).await?;
    }
    producer.flush().await?;
    Ok(begun.elapsed())
}
