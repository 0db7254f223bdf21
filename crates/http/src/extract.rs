//! Parts of a request, with refusals as problem documents.

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// Parameters of the path.
pub(crate) struct InPath<T>(pub(crate) T);

/// Parameters of the query. A parameter that is not known is refused, and so is one that is no text.
pub(crate) struct InQuery<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(value)| InPath(value))
            .map_err(|rejection| Problem::new(Kind::BAD_PATH, rejection.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What is not UTF-8 would be replaced without a word.
        let text = parts.uri.query().unwrap_or_default();
        if let Some(parameter) = text.split('&').find(|parameter| !is_text(parameter)) {
            let detail =
                format!("{parameter:?} is not UTF-8; escape the bytes of UTF-8 text, as %C3%A9");
            return Err(Problem::new(Kind::BAD_QUERY, detail));
        }
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(value)| InQuery(value))
            .map_err(|rejection| Problem::new(Kind::BAD_QUERY, rejection.body_text()))
    }
}

/// Whether a part of a query is text once its percent-encoding is undone.
fn is_text(part: &str) -> bool {
    let escaped = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let byte = (first == b'%').then(|| escaped(after.get(..2)?)).flatten();
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    std::str::from_utf8(&bytes).is_ok()
}
