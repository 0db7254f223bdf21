//! Transcripts of one partition: what goes out, what comes back, and what goes out then.

use std::sync::Arc;
use std::time::Duration;

use millstream_record::{
    BatchBuilder, Codec, NewRecord, Offset, ProducerEpoch, ProducerId, TimestampMs,
};

use super::*;
use crate::admin::offsets::TopicPartition;

const IDENTITY: Identity = Identity {
    id: ProducerId(9),
    epoch: ProducerEpoch(0),
};

fn batch(id: u64, records: i32) -> Outgoing {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..records {
        builder.append(&NewRecord {
            timestamp: TimestampMs(0),
            key: None,
            value: None,
            headers: &[],
        });
    }
    Outgoing::encode(WaitingBatch {
        id,
        content: Content::Records(builder),
        outcome: Arc::new(Outcome::new(TopicPartition::new("t", 0))),
        reserved_bytes: 0,
        since: Instant::now(),
    })
    .unwrap()
}

fn refusal(code: ErrorCode) -> Fate {
    Err(ClientError::refused(code, "write", None::<&str>))
}

fn send(lane: &mut Lane, id: u64, records: i32) -> Outgoing {
    assert!(lane.is_open());
    lane.next(|| Some(batch(id, records))).unwrap()
}

fn resend(lane: &mut Lane) -> Outgoing {
    assert!(lane.is_open());
    lane.next(|| panic!("what failed goes first")).unwrap()
}

fn sequence(outgoing: &Outgoing) -> i32 {
    outgoing.header.base_sequence.0
}

fn finished(finished: Option<Finished>) -> Fate {
    finished.expect("the batch is finished").1
}

/// A lane whose first batch, of one record, was accepted.
fn known_lane() -> Lane {
    let mut lane = Lane::new(Some(IDENTITY));
    let first = send(&mut lane, 0, 1);
    assert_eq!(sequence(&first), 0);
    assert!(!lane.is_open(), "the first batch goes alone");
    finished(lane.answered(first, Ok(None), None)).unwrap();
    lane
}

#[test]
fn sequences_are_consecutive() {
    let mut lane = known_lane();
    let sent: Vec<_> = (1..4).map(|id| send(&mut lane, id, 10)).collect();
    assert_eq!(sent.iter().map(sequence).collect::<Vec<_>>(), [1, 11, 21]);
    for outgoing in sent {
        assert!(finished(lane.answered(outgoing, Ok(Some(Offset(5))), None)).is_ok());
    }
    assert!(lane.is_open());
}

#[test]
fn failures_go_out_again_in_order_before_anything_new() {
    let mut lane = known_lane();
    let first = send(&mut lane, 1, 10);
    let second = send(&mut lane, 2, 10);
    assert!(
        lane.answered(first, refusal(ErrorCode::NOT_LEADER_OR_FOLLOWER), None)
            .is_none()
    );
    assert!(!lane.is_open());
    let answer = refusal(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(lane.answered(second, answer, None).is_none());

    let first = resend(&mut lane);
    assert_eq!(sequence(&first), 1);
    assert!(!lane.is_open());
    finished(lane.answered(first, Ok(None), None)).unwrap();
    let second = resend(&mut lane);
    assert_eq!(sequence(&second), 11);
    finished(lane.answered(second, Ok(None), None)).unwrap();
    assert_eq!(sequence(&send(&mut lane, 3, 1)), 21);
}

#[test]
fn a_refused_batch_leaves_no_gap() {
    let mut lane = known_lane();
    let first = send(&mut lane, 1, 10);
    let refused = send(&mut lane, 2, 10);
    let third = send(&mut lane, 3, 10);
    finished(lane.answered(first, Ok(None), None)).unwrap();
    finished(lane.answered(refused, refusal(ErrorCode::MESSAGE_TOO_LARGE), None)).unwrap_err();
    assert!(!lane.is_open());
    let answer = refusal(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(lane.answered(third, answer, None).is_none());

    let third = resend(&mut lane);
    assert_eq!(sequence(&third), 11);
    finished(lane.answered(third, Ok(None), None)).unwrap();
    assert_eq!(sequence(&send(&mut lane, 3, 1)), 21);
}

#[test]
fn a_duplicate_is_a_success() {
    let mut lane = Lane::new(Some(IDENTITY));
    let outgoing = send(&mut lane, 0, 1);
    let answer = refusal(ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert_eq!(
        finished(lane.answered(outgoing, answer, None)).unwrap(),
        None
    );
}

#[test]
fn a_server_that_lost_the_sequence_breaks_the_lane() {
    let mut lane = Lane::new(Some(IDENTITY));
    let outgoing = send(&mut lane, 0, 1);
    let answer = refusal(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    finished(lane.answered(outgoing, answer, None)).unwrap_err();
    assert!(lane.broken().is_some());
}

#[test]
fn out_of_time_ends_retries_and_an_idempotent_lane() {
    let expired = ClientError::DeliveryTimedOut {
        after: Duration::ZERO,
        last: String::new(),
    };
    for (identity, broken) in [(None, false), (Some(IDENTITY), true)] {
        let mut lane = Lane::new(identity);
        let outgoing = send(&mut lane, 0, 1);
        let answer = refusal(ErrorCode::REQUEST_TIMED_OUT);
        finished(lane.answered(outgoing, answer, Some(expired.clone()))).unwrap_err();
        assert_eq!(lane.broken().is_some(), broken);
    }
}

#[test]
fn without_identity_batches_have_no_numbers() {
    let mut lane = Lane::new(None);
    let outgoing = send(&mut lane, 0, 1);
    assert_eq!(outgoing.header.producer_id, ProducerId::NONE);
    finished(lane.answered(outgoing, refusal(ErrorCode::MESSAGE_TOO_LARGE), None)).unwrap_err();
    assert!(lane.is_open());
}
