//! Records: publishing them, one or many, in several forms, and reading them back.
//!
//! A publish is told apart by its content type: JSON in `message.rs`, CloudEvents in `cloudevents.rs`, and any other
//! body as the value of one record in `raw.rs`. All become [`NewMessage`](millstream_broker::produce::NewMessage)s.

mod cloudevents;
pub(crate) mod message;
pub(crate) mod publish;
mod raw;
mod read;
pub(crate) mod schema;

pub(crate) use publish::{__path_publish, publish, write_published};
pub(crate) use read::{__path_by_key, __path_read, __path_trim, by_key, read, trim};
