//! Finding offsets, and deleting records.

use millstream_broker::streams::{DeleteBefore, EpochEnd, FoundOffset, Isolation, OffsetQuery};
use millstream_record::LeaderEpoch;

use super::*;

async fn found(
    server: &Server,
    partition: &PartitionHandle,
    query: OffsetQuery,
) -> Option<(i64, i64)> {
    let found = server
        .broker
        .offset_at(partition, query, None, Isolation::default())
        .await
        .unwrap();
    found.map(
        |FoundOffset {
             offset, timestamp, ..
         }| (offset.0, timestamp.0),
    )
}

#[tokio::test]
async fn an_empty_partition_has_ends_and_no_records() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        assert_eq!(
            found(&server, &partition, OffsetQuery::Earliest).await,
            Some((0, -1))
        );
        assert_eq!(
            found(&server, &partition, OffsetQuery::Latest).await,
            Some((0, -1))
        );
        assert_eq!(
            found(&server, &partition, OffsetQuery::MaxTimestamp).await,
            None
        );
        assert_eq!(
            found(&server, &partition, OffsetQuery::Since(TimestampMs(0))).await,
            None
        );
    }
}

#[tokio::test]
async fn records_are_found_by_time() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        for (timestamp, values) in [
            (100, &["0", "1"][..]),
            (50, &["2"]),
            (300, &["3"]),
            (300, &["4"]),
            (200, &["5"]),
        ] {
            server
                .append(&partition, batch_at(TimestampMs(timestamp), values))
                .await
                .unwrap();
        }
        assert_eq!(
            found(&server, &partition, OffsetQuery::Latest).await,
            Some((6, -1))
        );
        assert_eq!(
            found(&server, &partition, OffsetQuery::MaxTimestamp).await,
            Some((3, 300))
        );
        for (since, expected) in [
            (0, Some((0, 100))),
            (100, Some((0, 100))),
            (101, Some((3, 300))),
            (300, Some((3, 300))),
            (301, None),
        ] {
            assert_eq!(
                found(&server, &partition, OffsetQuery::Since(TimestampMs(since))).await,
                expected,
                "since {since}"
            );
        }
    }
}

#[tokio::test]
async fn a_query_with_a_wrong_epoch_is_refused() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    let current = partition.offsets().leader_epoch;
    let query = async |epoch: i32| {
        let epoch = Some(LeaderEpoch(epoch));
        server
            .broker
            .offset_at(&partition, OffsetQuery::Latest, epoch, Isolation::default())
            .await
    };
    assert_eq!(
        query(current.0).await.unwrap().unwrap().leader_epoch,
        current
    );
    assert!(matches!(
        query(current.0 + 1).await,
        Err(BrokerError::UnknownLeaderEpoch { .. })
    ));
    assert!(matches!(
        query(current.0 - 1).await,
        Err(BrokerError::FencedLeaderEpoch { .. })
    ));
}

#[tokio::test]
async fn a_leadership_ends_where_the_log_does() {
    let server = Server::start().await;
    let partition = server.partition("a", &[]).await;
    server.publish(&partition, &["x", "y"]).await;
    let epoch = partition.offsets().leader_epoch;
    let end = |epoch: i32| {
        server
            .broker
            .epoch_end(&partition, LeaderEpoch(epoch), None)
            .unwrap()
    };
    assert_eq!(
        end(epoch.0),
        Some(EpochEnd {
            epoch,
            end: Offset(2)
        })
    );
    assert_eq!(end(epoch.0 + 1), None);
    assert_eq!(end(-1), None);
}

#[tokio::test]
async fn deleted_records_are_out_of_range() {
    for kind in KINDS {
        let server = Server::start().await;
        let partition = server.partition("a", kind).await;
        server.publish(&partition, &["0", "1", "2", "3"]).await;
        let delete = async |before| server.broker.delete_records(&partition, before).await;
        let at = |offset| DeleteBefore::Offset(Offset(offset));

        assert_eq!(delete(at(2)).await.unwrap(), Offset(2));
        assert_eq!(server.values(&partition, 2).await, ["2", "3"]);
        let old = server.fetch(&partition, 1).await.unwrap_err();
        assert!(
            matches!(
                old,
                BrokerError::OffsetOutOfRange {
                    log_start: Offset(2),
                    ..
                }
            ),
            "{old}"
        );
        assert_eq!(
            found(&server, &partition, OffsetQuery::Earliest).await,
            Some((2, -1))
        );

        assert_eq!(
            delete(at(1)).await.unwrap(),
            Offset(2),
            "what is gone is gone"
        );
        for outside in [-1, 5] {
            assert!(matches!(
                delete(at(outside)).await,
                Err(BrokerError::OffsetOutOfRange { .. })
            ));
        }
        assert_eq!(
            delete(DeleteBefore::HighWatermark).await.unwrap(),
            Offset(4)
        );
        assert!(server.values(&partition, 4).await.is_empty());
        server.publish(&partition, &["4"]).await;
        assert_eq!(server.values(&partition, 4).await, ["4"]);
    }
}

#[tokio::test]
async fn only_compaction_deletes_from_a_compacted_topic() {
    let server = Server::start().await;
    let partition = server
        .partition("a", &[("cleanup.policy", "compact")])
        .await;
    server.publish(&partition, &["0"]).await;
    let refused = server
        .broker
        .delete_records(&partition, DeleteBefore::HighWatermark)
        .await;
    assert!(matches!(refused, Err(BrokerError::CompactedTopic)));
    server
        .broker
        .alter_topic(
            partition.topic().id(),
            &[set("cleanup.policy", "compact,delete")],
        )
        .await
        .unwrap();
    assert_eq!(
        server
            .broker
            .delete_records(&partition, DeleteBefore::HighWatermark)
            .await
            .unwrap(),
        Offset(1)
    );
}
