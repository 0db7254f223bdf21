//! One file, or folder, for each family of paths.

pub(crate) mod groups;
pub(crate) mod health;
pub(crate) mod live;
pub(crate) mod queues;
pub(crate) mod records;
pub(crate) mod routes;
pub(crate) mod socket;
pub(crate) mod topics;
