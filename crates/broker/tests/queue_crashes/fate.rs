//! What happened, counted.

use std::ops::AddAssign;

/// What happened, counted: to tell that a test tests something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) composed: u64,
    pub(crate) rejected: u64,
    pub(crate) redriven: u64,
    pub(crate) dead: u64,
    pub(crate) drained: u64,
    pub(crate) unclear: u64,
    pub(crate) refused_full: u64,
    pub(crate) failures: u64,
    pub(crate) cut_off: u64,
    pub(crate) kills: u64,
    pub(crate) clean: u64,
    pub(crate) old_receipts: u64,
    pub(crate) repeated: u64,
    pub(crate) behind_keys: u64,
    pub(crate) delayed: u64,
    pub(crate) expired: u64,
    pub(crate) preferred: u64,
}

impl AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.acknowledged += other.acknowledged;
        self.composed += other.composed;
        self.rejected += other.rejected;
        self.redriven += other.redriven;
        self.dead += other.dead;
        self.drained += other.drained;
        self.unclear += other.unclear;
        self.refused_full += other.refused_full;
        self.failures += other.failures;
        self.cut_off += other.cut_off;
        self.kills += other.kills;
        self.clean += other.clean;
        self.old_receipts += other.old_receipts;
        self.repeated += other.repeated;
        self.behind_keys += other.behind_keys;
        self.delayed += other.delayed;
        self.expired += other.expired;
        self.preferred += other.preferred;
    }
}

impl Fate {
    /// That the seeds between them saw everything they are there for.
    pub fn check_coverage(&self) {
        let seen = [
            ("acknowledged messages", self.acknowledged),
            ("acknowledgements with a publish", self.composed),
            ("redriven messages", self.redriven),
            ("dead letters", self.dead),
            ("messages left over", self.drained),
            ("requests without an answer", self.unclear),
            ("refusals for want of room", self.refused_full),
            ("failures of the store", self.failures),
            ("ends in the middle of something", self.cut_off),
            ("kills", self.kills),
            ("stops in order", self.clean),
            ("receipts of an earlier life", self.old_receipts),
            ("messages that repeat an id", self.repeated),
            ("messages behind others of their key", self.behind_keys),
            ("delayed messages", self.delayed),
            ("expired messages", self.expired),
            ("messages that went first", self.preferred),
        ];
        for (what, count) in seen {
            assert!(count > 0, "no seed saw any {what}");
        }
    }
}
