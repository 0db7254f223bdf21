//! Frames that can be read, and frames that cannot.

use super::*;

fn parsed(text: &str) -> Frame {
    parse(&Bytes::copy_from_slice(text.as_bytes()), 1_000)
}

#[test]
fn frames_are_told_by_their_type() {
    let frame = parsed(r#"{"type":"ping","id":7}"#);
    assert_eq!(frame.id.as_deref(), Some("7"));
    assert!(matches!(frame.request, Ok(Request::Ping)));
    let frame = parsed(r#"{"id":"a","topic":"t","records":[{"value":"1"},{}],"type":"publish"}"#);
    assert_eq!(frame.id.as_deref(), Some("\"a\""));
    assert!(matches!(frame.request, Ok(Request::Publish { messages, .. }) if messages.len() == 2));
    let frame = parsed(
        r#"{"type":"subscribe","subscription":"s","topics":["t"],"offsets":{"0":4},"slow":"drop_oldest","credit":5}"#,
    );
    let Ok(Request::Subscribe { wanted, credit, .. }) = frame.request else {
        panic!("not understood")
    };
    assert_eq!((credit, wanted.offsets.unwrap()[&0]), (5, 4));
    let frame = parsed(r#"{"type":"nack","queue":"q","receipts":["r"],"delay_ms":0}"#);
    let Ok(Request::Settle { how, .. }) = frame.request else {
        panic!("not understood")
    };
    assert_eq!(how, How::Nack(Retry::Now));
}

#[test]
fn values_share_the_memory_of_the_frame() {
    let text = Bytes::from(r#"{"type":"publish","topic":"t","record":{"value":"a long text"}}"#);
    let Ok(Request::Publish { messages, .. }) = parse(&text, 0).request else {
        panic!("not understood")
    };
    let value = messages[0].value.as_ref().unwrap();
    assert!(text.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn what_cannot_be_read_is_refused_with_the_id_it_came_with() {
    for (text, id, said) in [
        ("", None, "EOF"),
        ("[]", None, "an object"),
        ("{\"type\":7}", None, "string"),
        ("{\"id\":1}", None, "type"),
        (r#"{"type":"ping","id":{}}"#, None, "an id is"),
        (r#"{"type":"sing","id":1}"#, Some("1"), "unsubscribe"),
        (r#"{"type":"publish","id":1}"#, Some("1"), "topic"),
        (
            r#"{"type":"publish","id":1,"topic":"t"}"#,
            Some("1"),
            "either",
        ),
        (
            r#"{"type":"publish","id":1,"topic":"t","record":{"valeu":1}}"#,
            Some("1"),
            "valeu",
        ),
        (
            r#"{"type":"publish","id":1,"topic":"t","records":[{},{"key":1}]}"#,
            Some("1"),
            "records[1]",
        ),
        (
            r#"{"type":"subscribe","id":1,"subscription":"","topics":["t"]}"#,
            Some("1"),
            "1 to",
        ),
        (
            r#"{"type":"subscribe","id":1,"subscription":"s","topic":"t"}"#,
            Some("1"),
            "topics",
        ),
        (
            r#"{"type":"consume","id":1,"subscription":"s","queue":"q"}"#,
            Some("1"),
            "credit",
        ),
        (
            r#"{"type":"consume","id":1,"subscription":"s","queue":"q","credit":1,"max":0}"#,
            Some("1"),
            "max is 0",
        ),
        (
            r#"{"type":"ack","id":1,"queue":"q","receipts":[],"delay_ms":1}"#,
            Some("1"),
            "only of nack",
        ),
        (
            r#"{"type":"credit","id":1,"subscription":"s","credit":-1}"#,
            Some("1"),
            "u64",
        ),
    ] {
        let frame = parsed(text);
        let Err(problem) = frame.request else {
            panic!("{text} was understood")
        };
        assert!(problem.detail.contains(said), "{text}: {}", problem.detail);
        assert_eq!(frame.id.as_deref(), id, "{text}");
    }
}
