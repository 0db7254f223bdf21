//! What a listener counts of its clients.

mod support;

use millstream_kafka_wire::ErrorCode;
use support::{Served, batch, fetch_request};
use tokio::io::AsyncWriteExt;

fn answered(served: &Served, name: &str) -> u64 {
    let protocols = served.broker.protocols();
    let mut operations = protocols[0].operations().iter();
    let operation = operations.find(|operation| operation.name() == name);
    operation.unwrap().took().read().total()
}

#[tokio::test]
async fn requests_are_counted_by_what_they_are_and_connections_while_they_last() {
    let served = Served::start().await;
    served.memory_topic("t", 1).await;
    let counts = served.broker.protocols().remove(0);
    assert_eq!(counts.name(), "kafka");
    let accepted = counts.accepted.get();
    let mut client = served.client().await;
    for _ in 0..3 {
        let produced = client.produce("t", 0, batch(&["value"])).await;
        assert_eq!(produced.error_code, ErrorCode::NONE);
    }
    client.call(&fetch_request("t", 0), 11).await;
    assert_eq!(answered(&served, "Produce"), 3);
    assert_eq!(answered(&served, "Fetch"), 1);
    assert_eq!(answered(&served, "JoinGroup"), 0);
    assert!(counts.received_bytes.get() > 3 * batch(&["value"]).len() as u64);
    assert!(counts.sent_bytes.get() > 0);
    assert_eq!(counts.accepted.get(), accepted + 1);
    assert_eq!(counts.open.get(), 1);

    drop(client);
    let mut garbage = served.raw().await;
    garbage.write_all(&[0xff; 64]).await.unwrap();
    support::closed(&mut garbage).await;
    while counts.open.get() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(counts.dropped.get(), 1);
}
