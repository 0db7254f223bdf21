//! What is left in the end, and where everything went.

use std::time::Duration;

use millstream_broker::queues::{ConsumerId, ReceiveSpec};
use millstream_broker::streams::FetchSpec;
use millstream_broker::{Broker, headers};

use crate::model::{ATTEMPTS_MAX, End};
use crate::world::{CONSUMERS, PATIENCE, World, id_of, in_time, number, seen, text};

impl World {
    /// Starts on a disk that works, and takes all that is left.
    pub(crate) async fn drain(&mut self) -> Result<(), String> {
        let life = self.begin().await;
        let life = life.map_err(|error| format!("cannot begin: {error}"))?;
        for consumer in 0..CONSUMERS {
            life.queue.consumer_gone(ConsumerId(consumer));
        }
        let mut drained = Vec::new();
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let spec = ReceiveSpec {
                consumer: ConsumerId(77),
                max: 50,
                visibility_ms: 60_000,
                wait: Duration::from_millis(20),
            };
            let (received, _) = in_time("draining", life.queue.receive(spec))
                .await?
                .map_err(text)?;
            for one in &received {
                let id = id_of(one)?;
                self.model.delivered(seen(id, one, &life))?;
                drained.push(id);
            }
            let receipts: Vec<_> = received.iter().map(|one| one.receipt).collect();
            let answers = in_time("draining", life.queue.ack(&receipts))
                .await?
                .map_err(text)?;
            if answers.iter().any(Result::is_err) {
                return Err(format!("what was just received is refused: {answers:?}"));
            }
            for one in &received {
                self.model.item(id_of(one)?).end = End::Acknowledged;
            }
            let depth = life.queue.describe().map_err(text)?.depth;
            if depth.open == 0 {
                break;
            }
            if tokio::time::Instant::now() > patience {
                return Err(format!("stuck with {depth:?}"));
            }
        }
        // The last letters are certain once they are durable.
        in_time("stopping", life.broker.shutdown())
            .await?
            .map_err(text)?;
        drop(life);
        self.disk.kill();
        let life = self.begin().await?;
        let dead = dead_letters(&life.broker).await?;
        self.fate.drained += drained.len() as u64;
        self.fate.dead += dead.len() as u64;
        self.say(|| format!("{drained:?} were left, {dead:?} are dead"));
        self.model.settle(&drained, &dead)?;
        match life.queue.describe().map_err(text)?.depth.open {
            0 => Ok(()),
            open => Err(format!("{open} messages came back after all were done")),
        }
    }
}

/// The numbers of the messages in the dead-letter topic, each with all that has to be said of it.
async fn dead_letters(broker: &Broker) -> Result<Vec<u64>, String> {
    let topic = broker
        .topic("work.dead")
        .ok_or("there is no dead-letter topic")?;
    let partition = topic.partition(0).ok_or("it has no partition")?;
    let offsets = partition.offsets();
    let (mut at, mut ids) = (offsets.log_start, Vec::new());
    while at < offsets.last_stable {
        let fetched = broker.fetch(FetchSpec::of(&partition, at)).await.remove(0);
        for batch in fetched.result.map_err(text)?.batches() {
            let batch = batch.map_err(text)?;
            for record in batch.records(1 << 24) {
                let record = record.map_err(text)?;
                at = record.offset.next();
                if record.offset < offsets.log_start {
                    continue;
                }
                let value = record.value.as_deref().unwrap_or_default();
                let said = |name: &str| {
                    let mut all = record.headers.iter();
                    let header = all.find(|header| header.key == name.as_bytes());
                    let value = header.and_then(|header| header.value).unwrap_or_default();
                    String::from_utf8_lossy(value).into_owned()
                };
                let attempts: u32 = said(headers::DEAD_LETTER_ATTEMPTS).parse().unwrap_or(0);
                let is_told = said(headers::DEAD_LETTER_QUEUE) == "work"
                    && ["attempts", "rejected"].contains(&&*said(headers::DEAD_LETTER_REASON))
                    && (1..=ATTEMPTS_MAX).contains(&attempts);
                let id = number(value)?;
                if !is_told {
                    return Err(format!("the dead letter of {id} says too little"));
                }
                ids.push(id);
            }
        }
    }
    Ok(ids)
}
