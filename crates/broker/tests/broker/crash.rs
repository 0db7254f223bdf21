//! What a kill leaves, and what readers are told who had seen more.

use std::time::Duration;

use millstream_broker::streams::{FetchPart, Isolation, OffsetQuery};

use super::*;

fn reopened(server: &Server) -> PartitionHandle {
    server.broker.topic("a").unwrap().partition(0).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there() {
    for kind in [KINDS[0], KINDS[1]] {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        let (id, _) = server.broker.init_producer_id().await.unwrap();
        for sequence in 0..20 {
            server
                .append(
                    &partition,
                    batch_by(id, 0, sequence, &[&sequence.to_string()]),
                )
                .await
                .unwrap();
        }
        server
            .broker
            .alter_topic(partition.topic().id(), &[set("segment.ms", "5000")])
            .await
            .unwrap();

        let crashed = server.crashed().await;
        let after = reopened(&crashed);
        let expected: Vec<_> = (0..20).map(|n: i32| n.to_string()).collect();
        assert_eq!(crashed.values(&after, 0).await, expected);
        assert_eq!(after.topic().current(), partition.topic().current());
        let again = crashed
            .append(&after, batch_by(id, 0, 19, &["19"]))
            .await
            .unwrap();
        assert_eq!((again.base_offset, again.duplicate), (Offset(19), true));
        assert_ne!(crashed.broker.init_producer_id().await.unwrap().0, id);
        assert_eq!(crashed.broker.cluster_id(), server.broker.cluster_id());
    }
}

#[tokio::test]
async fn the_leadership_is_a_new_one() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.publish(&partition, &["0", "1"]).await;
    let before = partition.offsets().leader_epoch;

    let crashed = server.crashed().await;
    let partition = reopened(&crashed);
    let after = partition.offsets().leader_epoch;
    assert!(after > before);
    crashed.publish(&partition, &["2"]).await;
    let fetch = async |part: FetchPart| {
        let spec = FetchSpec {
            parts: vec![part],
            ..FetchSpec::of(&partition, Offset(0))
        };
        crashed.broker.fetch(spec).await.remove(0).result
    };
    let part = |from| FetchPart::of(&partition, Offset(from), 1 << 20);
    let fenced = fetch(FetchPart {
        leader_epoch: Some(before),
        ..part(2)
    })
    .await;
    assert!(matches!(fenced, Err(BrokerError::FencedLeaderEpoch { .. })));

    // Whoever read up to the end of the old leadership has lost nothing; whoever read further is told where to go back to.
    let end = crashed
        .broker
        .epoch_end(&partition, before, Some(after))
        .unwrap()
        .unwrap();
    assert_eq!((end.epoch, end.end), (before, Offset(2)));
    assert!(
        fetch(FetchPart {
            last_fetched_epoch: Some(before),
            ..part(2)
        })
        .await
        .unwrap()
        .diverging
        .is_none()
    );
    let beyond = fetch(FetchPart {
        last_fetched_epoch: Some(before),
        ..part(3)
    })
    .await
    .unwrap();
    assert_eq!(beyond.diverging, Some(end));

    let first = crashed
        .broker
        .offset_at(
            &partition,
            OffsetQuery::Earliest,
            None,
            Isolation::default(),
        )
        .await;
    assert_eq!(first.unwrap().unwrap().leader_epoch, before);
    let latest = crashed
        .broker
        .offset_at(&partition, OffsetQuery::Latest, None, Isolation::default())
        .await;
    assert_eq!(latest.unwrap().unwrap().leader_epoch, after);
}

#[tokio::test]
async fn a_reader_of_a_memory_topic_is_told() {
    let server = Server::start().await;
    let partition = server.partition("a", KINDS[2]).await;
    server.publish(&partition, &["0", "1", "2"]).await;
    let before = partition.offsets();

    let crashed = server.crashed().await;
    let partition = reopened(&crashed);
    let after = partition.offsets();
    assert!(after.leader_epoch > before.leader_epoch);
    assert!(
        after.log_start >= before.log_end,
        "an offset would be used twice"
    );
    let told = crashed.fetch(&partition, 3).await;
    let is_end = after.log_end == Offset(3);
    assert!(
        is_end || matches!(told, Err(BrokerError::OffsetOutOfRange { .. })),
        "{told:?}"
    );
    crashed.publish(&partition, &["3"]).await;
    let waited = FetchSpec::of(&partition, after.log_start).waiting(Duration::from_secs(10));
    let fetched = crashed.broker.fetch(waited).await.remove(0).result.unwrap();
    assert_eq!(values(&fetched), ["3"]);
}

#[tokio::test]
async fn a_deleted_topic_stays_deleted() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.publish(&partition, &["0"]).await;
    server
        .broker
        .delete_topic(partition.topic().id())
        .await
        .unwrap();
    server.partition("a", &[]).await;
    let crashed = server.crashed().await;
    assert_eq!(crashed.broker.topics().len(), 1);
    assert!(crashed.values(&reopened(&crashed), 0).await.is_empty());
}
