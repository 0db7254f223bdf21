//! Keeping web pages of others out.
//!
//! A browser lets any page send requests to addresses of the machine it runs on. Two checks tell such requests from those
//! of programs. The `Origin` header names the page's site: it has to be this machine's own or one that is allowed. The
//! `Host` header is what the browser believes it talks to: a page that has its own name resolve to this machine (DNS
//! rebinding) gives itself away there.

use std::net::{IpAddr, Ipv6Addr};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};

use crate::problem::{Kind, Problem};
use crate::settings::HttpSettings;

/// How long browsers may remember the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// What scripts may read of an answer beside its body.
const EXPOSED: &str = "Location, Retry-After, Millstream-Partition, Millstream-Offset, Millstream-Timestamp, Millstream-Key, Idempotent-Replayed";

const ANY: &str = "*";

/// Who is at home.
pub(crate) struct Guard {
    origins: Vec<String>,
    hosts: Vec<String>,
}

/// A request that may go on, and the page it comes from, if it is one.
#[derive(Debug)]
pub(crate) struct Pass {
    origin: Option<HeaderValue>,
}

impl Guard {
    pub(crate) fn new(settings: &HttpSettings) -> Guard {
        let lower = |names: &[String]| {
            names
                .iter()
                .map(|name| name.trim_end_matches('/').to_ascii_lowercase())
                .collect()
        };
        Guard {
            origins: lower(&settings.allowed_origins),
            hosts: lower(&settings.allowed_hosts),
        }
    }

    /// Refuses a request that a foreign page has made. `local` is the address it came in at.
    pub(crate) fn check<B>(&self, request: &Request<B>, local: IpAddr) -> Result<Pass, Problem> {
        self.check_host(request, local)?;
        let Some(origin) = one(request.headers(), &header::ORIGIN)? else {
            return Ok(Pass { origin: None });
        };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if self.is_allowed_origin(&text, local) {
            return Ok(Pass {
                origin: Some(origin.clone()),
            });
        }
        Err(Problem::new(
            Kind::FOREIGN_ORIGIN,
            format!(
                "pages of {text:?} may not use this server; start it with --http-allowed-origins {text} if they shall"
            ),
        ))
    }

    fn check_host<B>(&self, request: &Request<B>, local: IpAddr) -> Result<(), Problem> {
        let named = match request.uri().host() {
            Some(host) => host.to_owned(),
            None => match one(request.headers(), &header::HOST)? {
                Some(host) => host_of(host.to_str().unwrap_or_default()).to_owned(),
                // Only programs leave it out, and only HTTP/1.0 lets them.
                None if request.version() <= Version::HTTP_10 => return Ok(()),
                None => {
                    return Err(Problem::new(
                        Kind::BAD_HEADER,
                        "a request needs a Host header",
                    ));
                }
            },
        };
        let named = named.to_ascii_lowercase();
        if self.is_allowed_host(&named, local) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::FOREIGN_HOST,
            format!(
                "this server does not go by the name {named:?}; use its address, or start it with --http-allowed-hosts {named}"
            ),
        ))
    }

    fn is_allowed_host(&self, host: &str, local: IpAddr) -> bool {
        is_home(host, local)
            || self
                .hosts
                .iter()
                .any(|allowed| allowed == ANY || allowed == host)
    }

    fn is_allowed_origin(&self, origin: &str, local: IpAddr) -> bool {
        if self
            .origins
            .iter()
            .any(|allowed| allowed == ANY || allowed == origin)
        {
            return true;
        }
        let site = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        site.is_some_and(|site| self.is_allowed_host(host_of(site), local))
    }
}

/// Whether the name stands for this machine and cannot be made to by others.
fn is_home(host: &str, local: IpAddr) -> bool {
    if host == "localhost" {
        return true;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let Ok(address) = bare.parse::<IpAddr>() else {
        return false;
    };
    let canonical = |address: IpAddr| match address {
        IpAddr::V6(v6) => v6.to_canonical(),
        v4 @ IpAddr::V4(_) => v4,
    };
    address.is_loopback()
        || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
        || canonical(address) == canonical(local)
}

/// The host of `HOST` or `HOST:PORT`, brackets included.
fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

/// The one header of that name; two of them are an attempt to be understood differently by different readers.
fn one<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::new(
            Kind::BAD_HEADER,
            format!("a request has one {name} header, not several"),
        ));
    }
    Ok(first)
}

impl Pass {
    /// The answer to a browser that asks on behalf of a page whether it may send a request (CORS preflight).
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        self.origin.as_ref()?;
        if request.method() != Method::OPTIONS
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.permit(&mut response);
        let answer = response.headers_mut();
        answer.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        if headers.contains_key("access-control-request-private-network") {
            answer.insert(
                "access-control-allow-private-network",
                HeaderValue::from_static("true"),
            );
        }
        answer.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static(PREFLIGHT_SECONDS),
        );
        Some(response)
    }

    /// Lets the page read the answer.
    pub(crate) fn permit(&self, response: &mut Response) {
        let Some(origin) = &self.origin else {
            return;
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 5));

    fn check(guard: &Guard, headers: &[(&str, &str)]) -> Result<Pass, Kind> {
        let mut request = Request::builder().uri("/v1/topics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard
            .check(&request.body(()).unwrap(), LOCAL)
            .map_err(|problem| problem.kind)
    }

    fn guard(origins: &[&str], hosts: &[&str]) -> Guard {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Guard::new(&HttpSettings {
            allowed_origins: owned(origins),
            allowed_hosts: owned(hosts),
            ..HttpSettings::default()
        })
    }

    #[test]
    fn names_of_this_machine_are_home() {
        let guard = guard(&[], &[]);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.8.9.1",
            "[::1]",
            "[::1]:8080",
            "192.168.1.5:8080",
            "[::ffff:192.168.1.5]",
        ] {
            assert!(check(&guard, &[("host", host)]).is_ok(), "{host}");
        }
    }

    #[test]
    fn other_names_are_not() {
        let guard = guard(&[], &[]);
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.6",
            "",
            "[::2]:8080",
            "localhost.",
        ] {
            assert_eq!(
                check(&guard, &[("host", host)]).unwrap_err(),
                Kind::FOREIGN_HOST,
                "{host}"
            );
        }
        assert_eq!(check(&guard, &[]).unwrap_err(), Kind::BAD_HEADER);
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(&guard, &two).unwrap_err(), Kind::BAD_HEADER);
    }

    #[test]
    fn pages_of_others_are_refused_unless_allowed() {
        let closed = guard(&[], &[]);
        let from = |origin| [("host", "localhost:8080"), ("origin", origin)];
        for origin in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://192.168.1.5:8080",
        ] {
            assert!(check(&closed, &from(origin)).is_ok(), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "",
            "file://localhost",
            "http://localhost.evil.example",
            "localhost",
        ] {
            assert_eq!(
                check(&closed, &from(origin)).unwrap_err(),
                Kind::FOREIGN_ORIGIN,
                "{origin}"
            );
        }
        let open = guard(&["https://App.example/"], &["queue.internal"]);
        assert!(check(&open, &from("https://app.example")).is_ok());
        assert!(check(&open, &from("http://app.example")).is_err());
        assert!(check(&open, &[("host", "queue.internal:80")]).is_ok());
        assert!(check(&guard(&["*"], &["*"]), &[("host", "a"), ("origin", "null")]).is_ok());
    }
}
