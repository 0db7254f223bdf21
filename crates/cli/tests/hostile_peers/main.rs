//! Peers that send what is no Kafka request, or what would cost too much, are refused or borne, in bounded memory; and
//! nobody next to them notices.

#[path = "../common/mod.rs"]
mod common;

mod batches;
mod bytes;
mod load;
mod neighbour;
