//! One publisher to a thousand live subscribers in one process: deliveries a second.
//!
//! `cargo run --release -p millstream-broker --example live_fanout -- [subscribers] [records] [records in a publish]`

use std::time::Instant;

use bytes::Bytes;
use millstream_broker::live::{LiveItem, SubscribeSpec, Topics};
use millstream_broker::produce::NewMessage;
use millstream_broker::topics::NewTopic;
use millstream_broker::{Broker, BrokerSettings};
use millstream_env::Env;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let subscribers = arguments.next().transpose()?.unwrap_or(1_000);
    let records = arguments.next().transpose()?.unwrap_or(5_000);
    let at_once = arguments.next().transpose()?.unwrap_or(1);
    let directory = tempfile::tempdir()?;
    let broker = Broker::open(BrokerSettings::new(directory.path()), Env::real()).await?;
    let mut new = NewTopic::named("ticks");
    let memory = ("millstream.durability".into(), "memory".into());
    new.settings.extend([memory]);
    let topic = broker.create_topic(new).await?;
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        let spec = SubscribeSpec::to(Topics::Named("ticks".to_owned()));
        let mut subscription = broker.subscribe(spec).await?;
        readers.push(tokio::spawn(async move {
            let mut left = records;
            while left > 0 {
                match subscription.next().await {
                    LiveItem::Record(_) => left -= 1,
                    other => panic!("{other:?}"),
                }
            }
        }));
    }
    let message = NewMessage {
        value: Some(Bytes::from(vec![b'x'; 200])),
        ..NewMessage::default()
    };
    let messages = vec![message; at_once];
    let began = Instant::now();
    for _ in 0..records / at_once {
        broker.publish(&topic, &messages).await?;
    }
    for reader in readers {
        reader.await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let deliveries = (records * subscribers) as f64;
    println!("{:.0} deliveries/s", deliveries / seconds);
    broker.shutdown().await?;
    Ok(())
}
