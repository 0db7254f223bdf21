//! Reading request bodies: bounded in size, in time, and in what all of them hold together.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequest;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use millstream_limits as limits;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::app::App;
use crate::problem::{Kind, Problem};

/// One permit stands for this many bytes.
const UNIT_BYTES: usize = 1 << 10;

/// A buffer is reserved up to this size on the word of a length alone.
const RESERVED_BYTES_MAX: usize = 1 << 20;

/// After a body is refused, so much more of it is read: a peer that is still sending does not look for an answer.
const DISCARDED_BYTES_MAX: usize = 4 << 20;

/// And for so long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The memory of all bodies.
pub(crate) struct BodyBudget {
    units: Arc<Semaphore>,
}

impl BodyBudget {
    pub(crate) fn new(bytes: usize) -> BodyBudget {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize >> 3);
        BodyBudget {
            units: Arc::new(Semaphore::new(units)),
        }
    }

    /// Claims memory, waiting for it if it must.
    pub(crate) async fn claim(
        &self,
        bytes: usize,
        room: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Problem> {
        let units = bytes.div_ceil(UNIT_BYTES) as u32;
        let claimed = match Arc::clone(&self.units).try_acquire_many_owned(units) {
            Ok(claimed) => claimed,
            Err(_) => self.wait_for(units).await?,
        };
        match room {
            Some(room) => room.merge(claimed),
            None => *room = Some(claimed),
        }
        Ok(())
    }

    async fn wait_for(&self, units: u32) -> Result<OwnedSemaphorePermit, Problem> {
        let waiting = Arc::clone(&self.units).acquire_many_owned(units);
        let patience = Duration::from_millis(limits::HTTP_RECEIVE_WAIT_MS);
        match timeout(patience, waiting).await {
            Ok(Ok(claimed)) => Ok(claimed),
            _ => Err(Problem::new(
                Kind::OVERLOADED,
                "other requests hold all the memory there is for bodies (http-receive-memory); try again",
            )),
        }
    }
}

/// A whole body, with the memory it holds and the headers it came with.
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    pub(crate) headers: HeaderMap,
    room: Option<OwnedSemaphorePermit>,
}

impl Payload {
    /// The memory the body holds, for whoever keeps parts of it for longer than this.
    pub(crate) fn take_room(&mut self) -> impl Send + 'static {
        self.room.take()
    }

    /// The media type of the body, in lower case and without parameters; empty if none is given.
    pub(crate) fn media_type(&self) -> String {
        let value = self.headers.get(header::CONTENT_TYPE);
        let text = value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.json_in_place()
    }

    /// The body as JSON, which borrows from the body.
    pub(crate) fn json_in_place<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        let media_type = self.media_type();
        if !media_type.is_empty() && !is_json(&media_type) {
            return Err(Problem::new(
                Kind::UNSUPPORTED_MEDIA_TYPE,
                format!("the body is {media_type}; send application/json"),
            ));
        }
        serde_json::from_slice(&self.bytes)
            .map(|Object(value)| value)
            .map_err(|error| bad_json(&error))
    }

    /// The body as JSON; what is there by default if there is no body.
    pub(crate) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.bytes.is_empty() {
            return Ok(T::default());
        }
        self.json()
    }
}

/// What is written as an object. By themselves structures would be read from arrays too, field by field.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

/// Whether it is JSON or something written in it.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

/// What is wrong with JSON, and where.
pub(crate) fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::new(Kind::BAD_JSON, format!("the body cannot be read: {error}"))
}

impl FromRequest<Arc<App>> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, mut body) = request.into_parts();
        let mut room = None;
        let read = match check_encoding(&parts.headers) {
            Ok(()) => read(app, &mut body, &mut room).await,
            Err(problem) => Err(problem),
        };
        match read {
            Ok(bytes) => Ok(Payload {
                bytes,
                headers: parts.headers,
                room,
            }),
            Err(problem) => {
                drop(room);
                discard(&mut body).await;
                Err(problem)
            }
        }
    }
}

/// Refuses a body that is not what it stands for: as it is, it would be stored without what says how to undo that.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match encodings.find(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(encoding) => Err(Problem::new(
            Kind::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the body is encoded ({}); send it as it is, without Content-Encoding",
                String::from_utf8_lossy(encoding.as_bytes())
            ),
        )),
    }
}

async fn read(
    app: &App,
    body: &mut Body,
    room: &mut Option<OwnedSemaphorePermit>,
) -> Result<Bytes, Problem> {
    let told_bytes = body.size_hint().lower() as usize;
    check_size(told_bytes)?;
    let began = Instant::now();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let have_bytes = first.len() + rest.len();
        let deadline = began + limits::http_body_time(have_bytes);
        let Ok(frame) = timeout_at(deadline, body.frame()).await else {
            return Err(Problem::new(
                Kind::BODY_TOO_SLOW,
                "the body did not come in time; send it faster, or less at once",
            ));
        };
        let data = match frame {
            None => break,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                // Trailers, which mean nothing here.
                Err(_) => continue,
            },
            Some(Err(error)) => {
                return Err(Problem::new(
                    Kind::BAD_REQUEST,
                    format!("the body cannot be read: {error}"),
                ));
            }
        };
        check_size(have_bytes + data.len())?;
        app.bodies.claim(data.len(), room).await?;
        if have_bytes == 0 {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(told_bytes.clamp(
                have_bytes + data.len(),
                RESERVED_BYTES_MAX.max(have_bytes + data.len()),
            ));
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

fn check_size(bytes: usize) -> Result<(), Problem> {
    if bytes <= limits::HTTP_BODY_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::new(
        Kind::TOO_LARGE,
        format!(
            "the body is larger than the {} bytes that are taken; send less at once",
            limits::HTTP_BODY_BYTES_MAX
        ),
    ))
}

/// Reads on for a moment, so that a peer which is still sending comes to read its answer.
async fn discard(body: &mut Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    let _ = timeout(DISCARD_TIME, reading).await;
}
