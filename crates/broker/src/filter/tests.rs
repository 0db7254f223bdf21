//! Filters and patterns against models that can be checked by eye, and what people may write.

use millstream_limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_NODES_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

type Pairs = Vec<(String, Option<String>)>;

fn asks(filter: &Filter, key: Option<&str>, headers: &[(&str, Option<&str>)]) -> bool {
    filter.matches(key.map(str::as_bytes), || {
        let pairs = headers.iter();
        pairs.map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes)))
    })
}

fn matches(filter: &str, key: Option<&str>, headers: &[(&str, Option<&str>)]) -> bool {
    let filter = Filter::parse(filter).unwrap();
    let back = Filter::parse(filter.to_string()).unwrap();
    assert_eq!(filter, back);
    asks(&filter, key, headers)
}

#[test]
fn each_test_does_what_it_says() {
    let eu = [("region", Some("eu")), ("amount", Some("100.5"))];
    assert!(matches(r#"{"header":"region","equals":"eu"}"#, None, &eu));
    assert!(!matches(r#"{"header":"region","equals":"us"}"#, None, &eu));
    assert!(matches(
        r#"{"header":"amount","gt":100,"le":100.5}"#,
        None,
        &eu
    ));
    assert!(!matches(r#"{"header":"amount","lt":100.5}"#, None, &eu));
    assert!(matches(r#"{"header":"amount","equals":100.50}"#, None, &eu));
    assert!(!matches(
        r#"{"header":"amount","equals":"100.50"}"#,
        None,
        &eu
    ));
    assert!(matches(
        r#"{"header":"region","in":["us","eu",7]}"#,
        None,
        &eu
    ));
    assert!(!matches(r#"{"header":"region","in":[]}"#, None, &eu));
    assert!(matches(r#"{"header":"region"}"#, None, &eu));
    assert!(matches(r#"{"header":"other","exists":false}"#, None, &eu));
    assert!(!matches(r#"{"header":"region","exists":false}"#, None, &eu));
    assert!(matches(
        r#"{"key":{"prefix":"user-"}}"#,
        Some("user-1"),
        &eu
    ));
    assert!(!matches(r#"{"key":{"prefix":"user-"}}"#, None, &eu));
    assert!(matches(r#"{"key":{"exists":false}}"#, None, &eu));
    assert!(matches(r#"{"key":{}}"#, Some(""), &eu));
    assert!(matches(r#"{"key":{"ge":7}}"#, Some("7"), &eu));
    assert!(matches(r#"{"not":{"any":[]}}"#, None, &eu));
    assert!(matches(r#"{"all":[]}"#, None, &eu));
}

#[test]
fn of_several_headers_of_one_name_one_has_to_pass_all_tests() {
    let two = [("n", Some("1")), ("n", None), ("n", Some("9"))];
    assert!(matches(r#"{"header":"n","equals":"9"}"#, None, &two));
    assert!(!matches(r#"{"header":"n","gt":2,"lt":8}"#, None, &two));
    assert!(matches(r#"{"header":"n"}"#, None, &[("n", None)]));
    assert!(!matches(
        r#"{"header":"n","equals":""}"#,
        None,
        &[("n", None)]
    ));
}

#[test]
fn only_decimal_text_is_a_number() {
    for (text, is_number) in [
        ("0", true),
        ("-1.5e3", true),
        ("+7", true),
        ("", false),
        (" 1", false),
        ("inf", false),
        ("NaN", false),
        ("1e999", false),
        ("0x10", false),
        ("1_000", false),
    ] {
        let any_number = r#"{"any":[{"header":"n","ge":0},{"header":"n","lt":0}]}"#;
        assert_eq!(
            matches(any_number, None, &[("n", Some(text))]),
            is_number,
            "{text:?}"
        );
    }
}

#[test]
fn what_is_not_a_filter_is_refused_with_what_would_be() {
    for (text, says) in [
        ("{", "not JSON"),
        ("[]", "a filter is an object"),
        ("{}", "all, any, not, header, key"),
        (r#"{"headr":"a"}"#, "this one has \"headr\""),
        (
            r#"{"header":"a","equal":"b"}"#,
            "equals, prefix, in, lt, le, gt, ge, exists",
        ),
        (
            r#"{"key":{"header":"a"}}"#,
            "unknown field \"header\" beside \"key\"",
        ),
        (r#"{"key":"a"}"#, "an object of tests"),
        (
            r#"{"all":[],"any":[]}"#,
            "unknown field \"any\" beside \"all\"",
        ),
        (r#"{"all":{}}"#, "a list of filters"),
        (r#"{"header":"a","gt":"7"}"#, "a number"),
        (r#"{"header":"a","in":"7"}"#, "a list of texts and numbers"),
        (r#"{"header":"a","equals":null}"#, "texts and numbers"),
        (r#"{"header":"a","exists":1}"#, "true or false"),
        (r#"{"header":"a","exists":false,"gt":1}"#, "stands alone"),
    ] {
        let error = Filter::parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_filter_is_bounded() {
    let nested = |depth: usize| {
        let value = json!({ "key": {} });
        (1..depth).fold(value, |inner, _| json!({ "not": inner }))
    };
    assert!(Filter::from_json(&nested(FILTER_DEPTH_MAX)).is_ok());
    assert_eq!(
        Filter::from_json(&nested(FILTER_DEPTH_MAX + 1)),
        Err(FilterError::TooDeep)
    );
    assert!(matches!(
        Filter::parse("{\"not\":".repeat(10_000)),
        Err(FilterError::TooLong(_) | FilterError::NotJson(_))
    ));
    let many = |values: usize| json!({ "key": { "in": vec![1; values] } });
    assert!(Filter::from_json(&many(FILTER_NODES_MAX - 2)).is_ok());
    assert_eq!(
        Filter::from_json(&many(FILTER_NODES_MAX - 1)),
        Err(FilterError::TooManyNodes)
    );
    let long = json!({ "header": "h".repeat(FILTER_BYTES_MAX + 1) });
    assert!(matches!(
        Filter::from_json(&long),
        Err(FilterError::TooLong(_))
    ));
    assert!(matches!(
        Filter::parse(" ".repeat(FILTER_BYTES_MAX + 1)),
        Err(FilterError::TooLong(_))
    ));
}

#[test]
fn a_pattern_is_checked() {
    assert_eq!(TopicPattern::new(""), Err(PatternError::Empty));
    assert!(
        matches!(TopicPattern::new("a.b*"), Err(PatternError::PartOfAWord(word)) if word == "b*")
    );
    assert!(matches!(
        TopicPattern::new("##"),
        Err(PatternError::PartOfAWord(_))
    ));
    assert!(matches!(
        TopicPattern::new(&"a".repeat(256)),
        Err(PatternError::TooLong(256))
    ));
    assert!(matches!(
        TopicPattern::new("a\n"),
        Err(PatternError::ControlCharacter('\n'))
    ));
    assert!(TopicPattern::new("a.b").unwrap().is_literal());
    assert!(!TopicPattern::new("a.*").unwrap().is_literal());
}

#[test]
fn patterns_match_whole_words() {
    let is = |pattern: &str, name: &str| TopicPattern::new(pattern).unwrap().matches(name);
    assert!(is("orders.*.eu", "orders.new.eu"));
    assert!(!is("orders.*.eu", "orders.eu"));
    assert!(!is("orders.*.eu", "orders.a.b.eu"));
    assert!(is("orders.#", "orders"));
    assert!(is("orders.#", "orders.a.b"));
    assert!(!is("orders.#", "orders2.a"));
    assert!(is("#", "anything.at.all"));
    assert!(is("#.eu", "eu"));
    assert!(is("#.a.#.b", "x.a.a.y.b.b"));
    assert!(is("a..b", "a..b"));
    assert!(is("a.*.b", "a..b"));
    assert!(!is("a", "a."));
}

/// The longest pattern against the longest name that nearly matches: what takes exponential time when done naively.
#[test]
fn a_hard_pattern_takes_no_time() {
    let pattern = TopicPattern::new(&"#.a.".repeat(63)[..251]).unwrap();
    let name = "a.".repeat(127) + "b";
    for _ in 0..1_000 {
        assert!(!pattern.matches(&name));
    }
}

fn literal() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[ab1]{0,2}".prop_map(|text| json!(text)),
        (-1i32..12).prop_map(|number| json!(number)),
    ]
}

fn tests() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let test = prop_oneof![
        literal().prop_map(|value| ("equals", value)),
        "[ab1]{0,1}".prop_map(|text| ("prefix", json!(text))),
        proptest::collection::vec(literal(), 0..3).prop_map(|list| ("in", json!(list))),
        (-1i32..12).prop_map(|number| ("lt", json!(number))),
        (-1i32..12).prop_map(|number| ("le", json!(number))),
        (-1i32..12).prop_map(|number| ("gt", json!(number))),
        (-1i32..12).prop_map(|number| ("ge", json!(number))),
        Just(("exists", json!(true))),
    ];
    prop_oneof![
        4 => proptest::collection::vec(test, 0..3)
            .prop_map(|tests| tests.into_iter().map(|(f, v)| (f.to_owned(), v)).collect()),
        1 => Just(std::iter::once(("exists".to_owned(), json!(false))).collect()),
    ]
}

fn expression() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        tests().prop_map(|tests| json!({ "key": tests })),
        ("[xy]", tests()).prop_map(|(name, mut tests)| {
            tests.insert("header".to_owned(), json!(name));
            Value::Object(tests)
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({ "all": list })),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({ "any": list })),
            inner.prop_map(|inner| json!({ "not": inner })),
        ]
    })
}

/// What the JSON means, read directly.
fn model(value: &Value, key: Option<&str>, headers: &Pairs) -> bool {
    let object = value.as_object().unwrap();
    if let Some(list) = object.get("all") {
        return list
            .as_array()
            .unwrap()
            .iter()
            .all(|v| model(v, key, headers));
    }
    if let Some(list) = object.get("any") {
        return list
            .as_array()
            .unwrap()
            .iter()
            .any(|v| model(v, key, headers));
    }
    if let Some(inner) = object.get("not") {
        return !model(inner, key, headers);
    }
    let (found, tests): (Vec<Option<&str>>, _) = match object.get("key") {
        Some(tests) => (
            key.into_iter().map(Some).collect(),
            tests.as_object().unwrap(),
        ),
        None => {
            let name = object["header"].as_str().unwrap();
            let named = headers.iter().filter(|(found, _)| found == name);
            (named.map(|(_, value)| value.as_deref()).collect(), object)
        }
    };
    if tests.get("exists") == Some(&json!(false)) {
        return found.is_empty();
    }
    found.iter().any(|value| {
        let asked = tests
            .iter()
            .filter(|(field, _)| *field != "header" && *field != "exists");
        asked.into_iter().all(|(field, wanted)| {
            value.is_some_and(|value| {
                let number = value.parse::<f64>().ok();
                let compare = |is: fn(&f64, &f64) -> bool| {
                    number.is_some_and(|number| is(&number, &wanted.as_f64().unwrap()))
                };
                let equals = |wanted: &Value| match wanted {
                    Value::String(text) => text == value,
                    wanted => number.is_some() && number == wanted.as_f64(),
                };
                match field.as_str() {
                    "equals" => equals(wanted),
                    "prefix" => value.starts_with(wanted.as_str().unwrap()),
                    "in" => wanted.as_array().unwrap().iter().any(equals),
                    "lt" => compare(f64::lt),
                    "le" => compare(f64::le),
                    "gt" => compare(f64::gt),
                    "ge" => compare(f64::ge),
                    _ => unreachable!("{field}"),
                }
            })
        })
    })
}

/// What a pattern means, word by word.
fn words_match(pattern: &[&str], name: &[&str]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"#", rest)) => (0..=name.len()).any(|taken| words_match(rest, &name[taken..])),
        Some((&word, rest)) => name.split_first().is_some_and(|(found, after)| {
            (word == "*" || word == *found) && words_match(rest, after)
        }),
    }
}

proptest! {
    #[test]
    fn a_filter_means_what_its_json_says(
        json in expression(),
        key in proptest::option::of("[ab1]{0,2}"),
        headers in proptest::collection::vec(("[xyz]", proptest::option::of("[ab1]{0,2}")), 0..4),
    ) {
        let filter = Filter::parse(json.to_string()).unwrap();
        let pairs: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        let expected = model(&json, key.as_deref(), &headers);
        prop_assert_eq!(asks(&filter, key.as_deref(), &pairs), expected);
        let back: Filter = serde_json::from_value(serde_json::to_value(&filter).unwrap()).unwrap();
        prop_assert_eq!(back, filter);
    }

    #[test]
    fn a_pattern_means_what_its_words_say(
        pattern in proptest::collection::vec("[ab*#]|", 1..7),
        name in proptest::collection::vec("[ab]|", 1..8),
    ) {
        let (pattern, name) = (pattern.join("."), name.join("."));
        prop_assume!(!pattern.is_empty() && !name.is_empty());
        let expected = words_match(
            &pattern.split('.').collect::<Vec<_>>(),
            &name.split('.').collect::<Vec<_>>(),
        );
        prop_assert_eq!(TopicPattern::new(&pattern).unwrap().matches(&name), expected);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,80}") {
        let _ = Filter::parse(&text);
        if let Ok(pattern) = TopicPattern::new(&text) {
            prop_assert!(!pattern.is_literal() || pattern.matches(&text));
        }
    }
}
