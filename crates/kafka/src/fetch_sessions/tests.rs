use std::time::Duration;

use bytes::Bytes;
use millstream_kafka_wire::Records;
use millstream_kafka_wire::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use millstream_limits as limits;

use super::*;

const VERSION: i16 = 12;

fn request(session_id: i32, session_epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|&(partition, fetch_offset)| FetchPartition {
            partition,
            fetch_offset,
            ..Default::default()
        });
    let topic = FetchTopic {
        topic: "t".into(),
        partitions: partitions.collect(),
        ..Default::default()
    };
    FetchRequest {
        session_id,
        session_epoch,
        topics: vec![topic],
        ..Default::default()
    }
}

fn found(partition_index: i32, high_watermark: i64, records: &'static [u8]) -> PartitionData {
    PartitionData {
        partition_index,
        high_watermark,
        log_start_offset: 0,
        records: Some(Records::from(Bytes::from_static(records))),
        ..Default::default()
    }
}

fn indexes(turn: &Turn) -> Vec<i32> {
    turn.wanted
        .iter()
        .map(|(partition, _)| partition.index)
        .collect()
}

fn told(told: &Told) -> Vec<i32> {
    told.partitions
        .iter()
        .map(|(_, data)| data.partition_index)
        .collect()
}

/// Opens a session on partitions 0, 1 and 2, all at high watermark 10.
fn opened(sessions: &FetchSessions, now: Instant) -> i32 {
    let turn = sessions
        .begin(&request(0, 0, &[(0, 10), (1, 10), (2, 10)]), VERSION, now)
        .unwrap();
    let all = (0..3).map(|index| found(index, 10, b"")).collect();
    let response = sessions.finish(turn, all, now).unwrap();
    assert_eq!(told(&response), [0, 1, 2]);
    assert!(response.session_id > 0);
    response.session_id
}

#[test]
fn without_a_session_everything_is_told() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let turn = sessions
        .begin(&request(0, -1, &[(0, 5)]), VERSION, now)
        .unwrap();
    let response = sessions.finish(turn, vec![found(0, 5, b"")], now).unwrap();
    assert_eq!((response.session_id, told(&response)), (0, vec![0]));
}

#[test]
fn in_a_session_only_what_changed_is_told() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);

    let turn = sessions.begin(&request(id, 1, &[]), VERSION, now).unwrap();
    assert_eq!(indexes(&turn), [0, 1, 2]);
    let found_now = vec![
        found(0, 10, b""),
        found(1, 12, b"records"),
        found(2, 10, b""),
    ];
    let response = sessions.finish(turn, found_now, now).unwrap();
    assert_eq!((response.session_id, told(&response)), (id, vec![1]));

    // Partition 1 had records and is read last now; its new position is remembered.
    let turn = sessions
        .begin(&request(id, 2, &[(1, 12)]), VERSION, now)
        .unwrap();
    assert_eq!(indexes(&turn), [0, 2, 1]);
    assert_eq!(turn.wanted[2].1.offset, 12);
}

#[test]
fn an_error_is_told_until_it_is_gone_and_then_the_partition_is() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);
    let failing = || PartitionData {
        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ..found(1, -1, b"")
    };
    for epoch in 1..3 {
        let turn = sessions
            .begin(&request(id, epoch, &[]), VERSION, now)
            .unwrap();
        let response = sessions
            .finish(
                turn,
                vec![found(0, 10, b""), failing(), found(2, 10, b"")],
                now,
            )
            .unwrap();
        assert_eq!(told(&response), [1]);
    }
    let turn = sessions.begin(&request(id, 3, &[]), VERSION, now).unwrap();
    let found_now = (0..3).map(|index| found(index, 10, b"")).collect();
    assert_eq!(told(&sessions.finish(turn, found_now, now).unwrap()), [1]);
}

#[test]
fn partitions_are_added_and_forgotten() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);
    let mut change = request(id, 1, &[(7, 0)]);
    change.forgotten_topics_data = vec![ForgottenTopic {
        topic: "t".into(),
        partitions: vec![0, 2, 99],
        ..Default::default()
    }];
    let turn = sessions.begin(&change, VERSION, now).unwrap();
    assert_eq!(indexes(&turn), [1, 7]);
}

#[test]
fn a_session_without_partitions_ends() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);
    let mut change = request(id, 1, &[]);
    change.forgotten_topics_data = vec![ForgottenTopic {
        topic: "t".into(),
        partitions: vec![0, 1, 2],
        ..Default::default()
    }];
    let turn = sessions.begin(&change, VERSION, now).unwrap();
    assert_eq!(
        sessions.finish(turn, Vec::new(), now).unwrap().session_id,
        0
    );
    let gone = sessions
        .begin(&request(id, 2, &[]), VERSION, now)
        .unwrap_err();
    assert_eq!(gone, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn wrong_ids_epochs_and_namings_are_refused() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);
    let refused =
        |request: FetchRequest, version| sessions.begin(&request, version, now).unwrap_err();
    assert_eq!(
        refused(request(id + 1, 1, &[]), VERSION),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    assert_eq!(
        refused(request(id, 2, &[]), VERSION),
        ErrorCode::INVALID_FETCH_SESSION_EPOCH
    );
    assert_eq!(
        refused(request(id, 1, &[]), TOPIC_IDS_FROM),
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    );
    assert!(sessions.begin(&request(id, 1, &[]), VERSION, now).is_ok());
}

#[test]
fn a_final_epoch_closes_the_session() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);
    assert!(sessions.begin(&request(id, -1, &[]), VERSION, now).is_ok());
    let gone = sessions
        .begin(&request(id, 1, &[]), VERSION, now)
        .unwrap_err();
    assert_eq!(gone, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_turn_that_another_request_overtook_is_void() {
    let sessions = FetchSessions::new();
    let now = Instant::now();
    let id = opened(&sessions, now);
    let slow = sessions.begin(&request(id, 1, &[]), VERSION, now).unwrap();
    sessions.begin(&request(id, 2, &[]), VERSION, now).unwrap();
    let found_now = (0..3).map(|index| found(index, 10, b"")).collect();
    let void = sessions.finish(slow, found_now, now).unwrap_err();
    assert_eq!(void, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
}

#[test]
fn a_full_cache_evicts_what_is_idle_and_nothing_else() {
    let sessions = FetchSessions::new();
    let start = Instant::now();
    let ids: Vec<i32> = (0..limits::FETCH_SESSIONS_MAX)
        .map(|_| opened(&sessions, start))
        .collect();

    let open = |now| {
        let turn = sessions
            .begin(&request(0, 0, &[(0, 0)]), VERSION, now)
            .unwrap();
        sessions
            .finish(turn, vec![found(0, 0, b"")], now)
            .unwrap()
            .session_id
    };
    assert_eq!(open(start), 0, "no session is idle yet");

    let later = start + Duration::from_millis(limits::FETCH_SESSION_IDLE_MS_MIN);
    for &id in &ids[1..] {
        assert!(sessions.begin(&request(id, 1, &[]), VERSION, later).is_ok());
    }
    assert!(open(later) > 0);
    let evicted = sessions
        .begin(&request(ids[0], 1, &[]), VERSION, later)
        .unwrap_err();
    assert_eq!(evicted, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}
