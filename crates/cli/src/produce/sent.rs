//! What became of the records that were sent.

use std::collections::VecDeque;

use millstream_client::{ClientError, Delivery};

/// Records by what is known of them.
#[derive(Default)]
pub(super) struct Sent {
    /// In the order of their lines.
    on_the_way: VecDeque<OnTheWay>,
    /// How many are written.
    pub(super) written: u64,
    /// The size of their keys and values.
    pub(super) written_bytes: u64,
    /// How many are not, and will not be.
    pub(super) lost: u64,
    /// The line of the first of those, and why.
    pub(super) first_lost: Option<(u64, ClientError)>,
}

struct OnTheWay {
    line: u64,
    bytes: u64,
    delivery: Delivery,
}

impl Sent {
    /// One more is on its way: the record of `line`.
    pub(super) fn add(&mut self, line: u64, bytes: u64, delivery: Delivery) {
        self.on_the_way.push_back(OnTheWay {
            line,
            bytes,
            delivery,
        });
    }

    /// Takes in what is known by now, of all up to the first of which nothing is.
    pub(super) async fn settle_known(&mut self) {
        while let Some(record) = self.on_the_way.front()
            && record.delivery.is_done()
        {
            self.settle_first().await;
        }
    }

    /// Waits until everything is known.
    pub(super) async fn settle_all(&mut self) {
        while !self.on_the_way.is_empty() {
            self.settle_first().await;
        }
    }

    async fn settle_first(&mut self) {
        let Some(record) = self.on_the_way.pop_front() else {
            return;
        };
        match record.delivery.wait().await {
            Ok(_) => {
                self.written += 1;
                self.written_bytes += record.bytes;
            }
            Err(error) => {
                self.lost += 1;
                self.first_lost.get_or_insert((record.line, error));
            }
        }
    }
}
