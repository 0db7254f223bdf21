use super::*;

fn parsed(body: &str) -> Vec<NewMessage> {
    parse(&Bytes::copy_from_slice(body.as_bytes()), 1_000).unwrap()
}

fn refused(body: &str) -> Problem {
    parse(&Bytes::copy_from_slice(body.as_bytes()), 1_000).unwrap_err()
}

fn value(body: &str) -> Option<Bytes> {
    parsed(body).remove(0).value
}

#[test]
fn values_stand_for_what_they_look_like() {
    for (json, bytes) in [
        (r#""text""#, &b"text"[..]),
        (r#""""#, b""),
        (r#""a\n\"\u00e9""#, "a\n\"é".as_bytes()),
        (r#"{"base64":"AP8="}"#, b"\x00\xff"),
        (r#"{ "base64" : "" }"#, b""),
        (
            r#"{"base64":"AP8=","more":1}"#,
            br#"{"base64":"AP8=","more":1}"#,
        ),
        (r#"{"a": [1, 2.50]}"#, br#"{"a": [1, 2.50]}"#),
        ("12.50", b"12.50"),
        ("true", b"true"),
        ("[]", b"[]"),
    ] {
        let body = format!("{{\"value\": {json} }}");
        assert_eq!(value(&body).as_deref(), Some(bytes), "{json}");
    }
    assert_eq!(value(r#"{"value":null}"#), None);
    assert_eq!(value("{}"), None);
}

#[test]
fn values_share_the_memory_of_the_body() {
    let body = Bytes::from(r#"{"value":"a long enough text"}"#);
    let value = parse(&body, 0).unwrap().remove(0).value.unwrap();
    assert!(body.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn a_record_says_where_and_when() {
    let body = r#"{"key":"k","headers":{"b":"1","a":["2",null,{"base64":"/w=="}]},"timestamp":5,"partition":3,
        "priority":9,"delay_ms":500,"expires_at":7000,"id":"seven"}"#;
    let message = parsed(body).remove(0);
    assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(message.partition, Some(3));
    assert_eq!(message.timestamp, Some(TimestampMs(5)));
    let headers: Vec<_> = message
        .headers
        .iter()
        .map(|(name, value)| (&name[..], value.as_deref()))
        .collect();
    let expected: Vec<(&[u8], Option<&[u8]>)> = vec![
        (b"b", Some(b"1")),
        (b"a", Some(b"2")),
        (b"a", None),
        (b"a", Some(b"\xff")),
        (b"millstream.priority", Some(b"9")),
        (b"millstream.deliver-at", Some(b"1500")),
        (b"millstream.expires-at", Some(b"7000")),
        (b"millstream.id", Some(b"seven")),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn batches_are_told_by_their_only_member() {
    assert_eq!(parsed(r#" { "records" : [{"value":"a"},{}] }"#).len(), 2);
    assert!(parsed(r#"{"records":[]}"#).is_empty());
    let problem = refused(r#"{"records":[{},{"key":1}]}"#);
    assert!(
        problem.detail.starts_with("records[1]: key is 1"),
        "{problem:?}"
    );
    assert_eq!(
        refused(r#"{"records":[{}],"value":1}"#).kind,
        Kind::BAD_JSON
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    for (body, said) in [
        ("", "EOF"),
        ("{\"value\":", "EOF"),
        ("[]", "expected"),
        ("7", "expected"),
        ("{\"valeu\":1}", "unknown field `valeu`"),
        ("{\"key\":7}", "key is 7"),
        ("{\"key\":{\"base64\":\"?\"}}", "key is"),
        ("{\"value\":{\"base64\":\"?\"}}", "not base64"),
        ("{\"headers\":{\"a\":1}}", "header \"a\" is 1"),
        ("{\"headers\":[]}", "an object of headers"),
        ("{\"value\":1,\"value\":2}", "duplicate field"),
        ("{\"priority\":300}", "u8"),
        ("{\"records\":[[]]}", "an object"),
        ("{\"priority\":10}", "from 0 to 9"),
        ("{\"timestamp\":-1}", "before the epoch"),
        ("{\"delay_ms\":1,\"deliver_at\":2}", "exclude"),
        ("{\"value\":\"\\ud800\"}", "surrogate"),
    ] {
        let problem = refused(body);
        assert!(problem.detail.contains(said), "{body}: {problem:?}");
    }
    let bytes = Bytes::from_static(b"{\"value\":\"\xff\"}");
    assert_eq!(parse(&bytes, 0).unwrap_err().kind, Kind::BAD_JSON);
}
