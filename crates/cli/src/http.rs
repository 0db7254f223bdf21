//! What commands that speak HTTP have in common.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use millstream_client::http::{HttpClient, HttpError, Path};
use serde_json::{Map, Value};

/// How many of a list one request asks for.
const PAGE: u64 = 1_000;

/// Which server's HTTP API.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectHttp {
    /// The server's HTTP address.
    #[arg(
        long = "http",
        global = true,
        env = "MILLSTREAM_HTTP",
        default_value = "127.0.0.1:8080",
        value_name = "HOST:PORT",
        help_heading = "Server"
    )]
    address: String,
}

impl ConnectHttp {
    /// A client of that server.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(&self.address)
    }
}

/// How long to wait before connecting again: what the server asks readers of live feeds for.
pub(crate) const RECONNECT: Duration = Duration::from_secs(1);

/// An error of the HTTP client, with what to do where it does not say so itself.
pub(crate) fn told<T>(outcome: Result<T, HttpError>) -> anyhow::Result<T> {
    outcome.map_err(|error| match &error {
        HttpError::Connection { .. } => {
            let what = format!(
                "{error}; start a server with `millstream serve`, or name another with --http or MILLSTREAM_HTTP"
            );
            anyhow::Error::new(error).context(what)
        }
        _ => error.into(),
    })
}

/// Whether the same request may well succeed later.
pub(crate) fn may_pass(error: &HttpError) -> bool {
    match error {
        HttpError::Connection { .. } => true,
        HttpError::Refused(problem) => problem.status == 503,
        HttpError::Unexpected(_) => false,
    }
}

/// Everything in a list such as that of `queues`, page by page.
pub(crate) fn all(client: &HttpClient, what: &str) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let path = Path::new(&["v1", what])
            .query("max", &PAGE)
            .query_if("after", after);
        let mut page: Value = told(client.get(&path))?;
        let Some(Value::Array(some)) = page.get_mut(what).map(Value::take) else {
            anyhow::bail!("the server's answer has no {what} in it");
        };
        found.extend(some);
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// A setting as `NAME=VALUE`. Names are paths into a JSON object, with dots; values are JSON, or else text.
pub(crate) fn parse_assignment(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name.to_owned(), value))
        }
        _ => Err("not NAME=VALUE, such as retry.attempts_max=5".to_owned()),
    }
}

/// The object that assignments make.
pub(crate) fn object_of(assignments: &[(String, Value)]) -> anyhow::Result<Map<String, Value>> {
    let mut root = Map::new();
    for (path, value) in assignments {
        let mut names: Vec<&str> = path.split('.').collect();
        let last = names.pop().unwrap_or_default();
        let mut at = &mut root;
        for name in names {
            let inner = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
            at = inner
                .as_object_mut()
                .with_context(|| format!("{path}: {name} has a value of its own already"))?;
        }
        at.insert(last.to_owned(), value.clone());
    }
    Ok(root)
}

/// The bytes that a key or a value in an answer stands for: text, `{"base64": ..}`, or any JSON as it is written.
pub(crate) fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(object) if object.len() == 1 && object.contains_key("base64") => {
            object["base64"]
                .as_str()
                .and_then(|text| BASE64_STANDARD.decode(text).ok())
                .unwrap_or_default()
        }
        other => other.to_string().into_bytes(),
    }
}

/// A cell of a table.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(number) => crate::output::grouped(number),
            None => number.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn assignments_make_an_object() {
        let assignments: Vec<_> = [
            "retry.attempts_max=5",
            "retry.backoff=exponential",
            "priorities=true",
        ]
        .map(|text| parse_assignment(text).unwrap())
        .into();
        let object = object_of(&assignments).unwrap();
        let expected = json!({
            "retry": { "attempts_max": 5, "backoff": "exponential" },
            "priorities": true,
        });
        assert_eq!(Value::Object(object), expected);
        assert!(parse_assignment("retry").is_err());
        let twice = [
            parse_assignment("a=1").unwrap(),
            parse_assignment("a.b=1").unwrap(),
        ];
        assert!(object_of(&twice).is_err());
    }

    #[test]
    fn keys_and_values_are_bytes() {
        assert_eq!(bytes_of(&json!("text")), b"text");
        assert_eq!(bytes_of(&json!({ "base64": "/w==" })), [0xff]);
        assert_eq!(bytes_of(&json!({ "a": 1 })), b"{\"a\":1}");
        assert_eq!(bytes_of(&Value::Null), b"");
    }
}
