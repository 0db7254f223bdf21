use super::*;

fn given(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Given {
    let owned = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    Given {
        flags: owned(flags),
        environment: owned(environment),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn error(given: &Given) -> String {
    load(given).unwrap_err().to_string()
}

#[test]
fn nothing_given_is_the_defaults_on_loopback() {
    let settings = load(&given(&[], &[("HOME", "/root")])).unwrap();
    assert_eq!(settings.kafka_addr.to_string(), "127.0.0.1:9092");
    assert!(settings.remarks.is_empty());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = file(
        "default-partitions = 2\nlog = \"debug\"\nmemory-budget = \"64MiB\"\nauto-create-topics = false\n",
    );
    let path = file.path().to_str().unwrap();
    let environment = [
        ("MILLSTREAM_CONFIG", path),
        ("MILLSTREAM_DEFAULT_PARTITIONS", "3"),
        ("MILLSTREAM_LOG", "warn"),
    ];
    let settings = load(&given(&[("default-partitions", "4")], &environment)).unwrap();
    assert_eq!(settings.broker.default_partitions, 4);
    assert_eq!(settings.log, "warn");
    assert_eq!(settings.broker.slot.memory_budget_bytes, 64 << 20);
    assert!(!settings.broker.auto_create_topics);
}

#[test]
fn a_wrong_key_is_told_with_the_nearest_right_one() {
    let file = file("datadir = \"x\"");
    let path = file.path().to_str().unwrap();
    let message = error(&given(&[("config", path)], &[]));
    assert!(message.contains("unknown setting datadir in"), "{message}");
    assert!(message.contains("did you mean data-dir?"), "{message}");
    let message = error(&given(&[], &[("MILLSTREAM_KAFKA_ADRR", "x")]));
    assert!(
        message.contains("did you mean MILLSTREAM_KAFKA_ADDR?"),
        "{message}"
    );
    let message = error(&given(&[("kafka-advertise", "x")], &[]));
    assert!(
        message.contains("--kafka-advertise") && message.contains("--kafka-advertised?"),
        "{message}"
    );
}

#[test]
fn variables_of_others_are_passed_over_and_named() {
    let settings = load(&given(&[], &[("MILLSTREAM_SERVICE_HOST", "10.0.0.1")])).unwrap();
    assert!(settings.remarks[0].contains("MILLSTREAM_SERVICE_HOST"));
}

#[test]
fn variables_of_the_command_lines_clients_are_no_settings() {
    let clients = [
        ("MILLSTREAM_SERVER", "127.0.0.1:9092"),
        ("MILLSTREAM_HTTP", "127.0.0.1:8080"),
    ];
    let settings = load(&given(&[], &clients)).unwrap();
    assert!(settings.remarks.is_empty(), "{:?}", settings.remarks);
    let message = error(&given(&[], &[("MILLSTREAM_HTTPADDR", "127.0.0.1:8080")]));
    assert!(
        message.contains("did you mean MILLSTREAM_HTTP_ADDR?"),
        "{message}"
    );
}

#[test]
fn session_timeouts_leave_something_between_them() {
    let message = error(&given(
        &[
            ("group-min-session-timeout-ms", "60000"),
            ("group-max-session-timeout-ms", "10000"),
        ],
        &[],
    ));
    assert_eq!(
        message,
        "group-min-session-timeout-ms is 60000 and group-max-session-timeout-ms only 10000: nothing is between them"
    );
}

#[test]
fn values_that_cannot_work_are_refused_with_what_can() {
    for (key, value, taken) in [
        ("memory-budget", "64KiB", "at least 64MiB"),
        ("memory-budget", "512", "at least 64MiB"),
        ("read-memory", "128", "at least 2MiB"),
        ("kafka-receive-memory", "128", "at least 2MiB"),
        ("http-receive-memory", "16MiB", "at least 32MiB"),
        ("kafka-connection-idle-ms", "0", "from 1"),
        ("http-connection-idle-ms", "0", "from 1"),
        ("journal-file-size", "1", "at least 2MiB"),
        ("journal-file-size", "2097153", "a multiple of 4KiB"),
    ] {
        let message = error(&given(&[(key, value)], &[]));
        assert!(
            message.starts_with(&format!("--{key} on the command line cannot be"))
                && message.contains(taken),
            "{message}"
        );
    }
}

#[test]
fn a_bad_value_says_what_would_be_taken() {
    let message = error(&given(&[("kafka-addr", "nonsense")], &[]));
    assert!(
        message.contains("--kafka-addr") && message.contains("HOST:PORT"),
        "{message}"
    );
    let message = error(&given(&[], &[("MILLSTREAM_DEFAULT_PARTITIONS", "0")]));
    assert!(
        message.contains("MILLSTREAM_DEFAULT_PARTITIONS in the environment"),
        "{message}"
    );
    let file = file("memory-budget = [1]");
    let message = error(&given(&[("config", file.path().to_str().unwrap())], &[]));
    assert!(message.contains("takes one value"), "{message}");
}

#[test]
fn a_named_file_has_to_be_there_and_be_toml() {
    let message = error(&given(&[("config", "/nowhere/millstream.toml")], &[]));
    assert!(message.contains("--config"), "{message}");
    let file = file("data-dir = ");
    let message = error(&given(&[("config", file.path().to_str().unwrap())], &[]));
    assert!(message.contains("is not TOML"), "{message}");
}

#[test]
fn every_default_can_be_given_as_it_is_shown() {
    for setting in SETTINGS {
        if let Some(value) = setting.default() {
            let mut settings = ServeSettings::default();
            (setting.set)(&mut settings, &value)
                .unwrap_or_else(|reason| panic!("{setting:?}: {reason}"));
            assert_eq!((setting.get)(&settings), Some(value), "{setting:?}");
        }
    }
}

#[test]
fn every_setting_is_in_a_group_that_is_shown_and_has_a_key_of_its_own() {
    let mut keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), SETTINGS.len());
    assert!(
        SETTINGS
            .iter()
            .all(|setting| table::Group::ALL.contains(&setting.group))
    );
}
