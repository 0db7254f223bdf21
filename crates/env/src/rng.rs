//! Randomness.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngCore;

/// Gives random numbers.
pub trait Rng: Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The machine's randomness, fit for identifiers that must not be guessed.
#[derive(Debug, Clone, Copy)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that asks for unrepeatable randomness"
    )]
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// Numbers that follow from a seed (`SplitMix64`), the same on every machine and in every release.
#[derive(Debug)]
pub struct SeededRng {
    state: AtomicU64,
}

impl SeededRng {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }

    /// A number below `bound`, which is not 0. The bias is far below what a test could notice.
    pub fn below(&self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// True once in `odds` calls on average.
    pub fn one_in(&self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

impl Rng for SeededRng {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self
            .state
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_sequence() {
        let take = |seed| {
            let rng = SeededRng::new(seed);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }
}
