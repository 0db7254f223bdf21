//! A client of the HTTP API: requests that wait for their answer, and answers that come line by line.
//!
//! Calls block; run them where that holds nobody up.

use std::fmt::Write;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

/// What a path segment or a query value leaves as it is: RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// Why a call did not succeed.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No connection could be made, or it ended.
    #[error("cannot talk to {address}: {reason}")]
    Connection {
        /// The address.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The server refused, and says why.
    #[error("{0}")]
    Refused(Problem),
    /// What came is not what the API says.
    #[error("the server's answer cannot be understood: {0}; is it a Millstream of this version?")]
    Unexpected(String),
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What kind of problem, for programs.
    #[serde(default)]
    pub code: String,
    /// What kind of problem, for people.
    #[serde(default)]
    pub title: String,
    /// What happened, and what to do.
    #[serde(default)]
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.detail.is_empty(), self.title.is_empty()) {
            (false, _) => f.write_str(&self.detail),
            (true, false) => f.write_str(&self.title),
            (true, true) => write!(f, "the server answered {}", self.status),
        }
    }
}

/// A client of one server's HTTP API. Connections are kept and used again.
#[derive(Debug, Clone)]
pub struct HttpClient {
    agent: Agent,
    address: String,
}

/// A path with its query, escaped piece by piece.
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
    has_query: bool,
}

impl Path {
    /// A path of these segments.
    pub fn new(segments: &[&str]) -> Self {
        let mut text = String::new();
        for segment in segments {
            text.push('/');
            text.extend(utf8_percent_encode(segment, RESERVED));
        }
        Self {
            text,
            has_query: false,
        }
    }

    /// The same with another part of the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &impl ToString) -> Self {
        let separator = if self.has_query { '&' } else { '?' };
        let value = value.to_string();
        let _ = write!(
            self.text,
            "{separator}{name}={}",
            utf8_percent_encode(&value, RESERVED)
        );
        self.has_query = true;
        self
    }

    /// The same with another part of the query, if there is a value.
    #[must_use]
    pub fn query_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, &value),
            None => self,
        }
    }
}

impl HttpClient {
    /// A client of the server at `address`, `HOST:PORT`. Connects when it is first used.
    pub fn new(address: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("millstream-cli/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: Agent::new_with_config(config),
            address: address.to_owned(),
        }
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks for something.
    pub fn get<T: DeserializeOwned>(&self, path: &Path) -> Result<T, HttpError> {
        self.call("GET", path, None::<&()>)
    }

    /// Sends a JSON body.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<T, HttpError> {
        self.call("POST", path, Some(body))
    }

    /// Sends a request, with a JSON body if there is one, and reads the JSON that it is answered with. An answer without
    /// a body is `null`.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &Path,
        body: Option<&impl Serialize>,
    ) -> Result<T, HttpError> {
        let mut response = self.send(method, path, "application/json", body)?;
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.broken(&error))?;
        let text = if body.is_empty() { b"null" } else { &body[..] };
        serde_json::from_slice(text).map_err(|error| HttpError::Unexpected(error.to_string()))
    }

    /// Asks for something that comes line by line for as long as the connection lasts. When nothing at all comes for as
    /// long as `silence`, it counts as broken.
    pub fn lines(
        &self,
        path: &Path,
        accept: &str,
        headers: &[(&str, &str)],
        silence: Duration,
    ) -> Result<impl Iterator<Item = io::Result<String>> + use<>, HttpError> {
        let mut request = Request::get(self.url(path)).header("accept", accept);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(())
            .map_err(|error| HttpError::Unexpected(error.to_string()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_per_read(Some(silence))
            .build();
        let response = self
            .agent
            .run(request)
            .map_err(|error| self.broken(&error))?;
        let response = self.checked(response)?;
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    fn send(
        &self,
        method: &str,
        path: &Path,
        accept: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Body>, HttpError> {
        let request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("accept", accept);
        let invalid = |error: ureq::http::Error| HttpError::Unexpected(error.to_string());
        let response = match body {
            Some(body) => {
                let body = serde_json::to_vec(body)
                    .map_err(|error| HttpError::Unexpected(error.to_string()))?;
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body).map_err(invalid)?)
            }
            None => self.agent.run(request.body(()).map_err(invalid)?),
        };
        self.checked(response.map_err(|error| self.broken(&error))?)
    }

    fn checked(&self, mut response: Response<Body>) -> Result<Response<Body>, HttpError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response
            .body_mut()
            .read_to_vec()
            .map_err(|error| self.broken(&error))?;
        match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) => Err(HttpError::Refused(Problem {
                status: status.as_u16(),
                ..problem
            })),
            Err(_) => Err(HttpError::Unexpected(format!("status {status}"))),
        }
    }

    fn url(&self, path: &Path) -> String {
        format!("http://{}{}", self.address, path.text)
    }

    fn broken(&self, error: &ureq::Error) -> HttpError {
        HttpError::Connection {
            address: self.address.clone(),
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use serde_json::{Value, json};

    use super::*;

    /// A server that answers one request with `answer`, and gives what it was asked.
    fn answering(answer: &'static str) -> (HttpClient, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = HttpClient::new(&listener.local_addr().unwrap().to_string());
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let length = peer.read(&mut asked).unwrap();
            peer.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked[..length].to_vec()).unwrap()
        });
        (client, server)
    }

    #[test]
    fn paths_are_escaped_piece_by_piece() {
        let path = Path::new(&["v1", "queues", "a/b c?"])
            .query("filter", &"x&y")
            .query_if("max", None::<u32>)
            .query_if("wait_ms", Some(5));
        assert_eq!(path.text, "/v1/queues/a%2Fb%20c%3F?filter=x%26y&wait_ms=5");
    }

    #[test]
    fn an_answer_is_read_and_its_absence_is_null() {
        let (client, server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\":[1]}");
        let answer: Value = client
            .post(&Path::new(&["x"]), &json!({ "b": true }))
            .unwrap();
        assert_eq!(answer, json!({ "a": [1] }));
        assert!(server.join().unwrap().starts_with("POST /x HTTP/1.1\r\n"));

        let (client, _server) = answering("HTTP/1.1 204 No Content\r\n\r\n");
        client.get::<()>(&Path::new(&["x"])).unwrap();
    }

    #[test]
    fn a_refusal_says_what_the_server_says() {
        let (client, _server) = answering(
            "HTTP/1.1 404 Not Found\r\ncontent-length: 60\r\n\r\n\
             {\"code\":\"unknown-queue\",\"detail\":\"no such queue; create it\"}  ",
        );
        let refused = client.get::<Value>(&Path::new(&["x"])).unwrap_err();
        assert_eq!(refused.to_string(), "no such queue; create it");
        let HttpError::Refused(problem) = refused else {
            panic!("{refused}")
        };
        assert_eq!((problem.status, &*problem.code), (404, "unknown-queue"));
    }

    #[test]
    fn lines_come_one_by_one() {
        let (client, _server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\none\ntwo\n");
        let lines = client
            .lines(
                &Path::new(&["x"]),
                "text/event-stream",
                &[],
                Duration::from_secs(60),
            )
            .unwrap();
        assert_eq!(
            lines.map(Result::unwrap).collect::<Vec<_>>(),
            ["one", "two"]
        );
    }

    #[test]
    fn a_server_that_falls_silent_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = HttpClient::new(&listener.local_addr().unwrap().to_string());
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\none\n";
            peer.write_all(head).unwrap();
            // Neither sends anything more nor closes, until the client does.
            let mut asked = Vec::new();
            let _ = peer.read_to_end(&mut asked);
        });
        let silence = Duration::from_millis(200);
        let mut lines = client
            .lines(&Path::new(&["x"]), "text/event-stream", &[], silence)
            .unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "one");
        assert!(lines.next().unwrap().is_err());
        drop(lines);
        server.join().unwrap();
    }

    #[test]
    fn nobody_there_is_said_with_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = HttpClient::new(&address)
            .get::<Value>(&Path::new(&["x"]))
            .unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
