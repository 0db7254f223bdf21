//! How many dead letters a step moves.

/// Fewer when they find no room, and more again once they do.
pub(super) struct Pace {
    /// How many may be moved altogether.
    left: u64,
    most: u64,
}

impl Pace {
    pub(super) fn new(left: u64) -> Self {
        Self { left, most: left }
    }

    /// How many the next step moves at most; 0 when all are moved that may be.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// There was no room for so many. Whether there may be for fewer.
    pub(super) fn slow_down(&mut self, going: u64) -> bool {
        let fewer = going / 2;
        if fewer > 0 {
            self.most = fewer;
        }
        fewer > 0
    }

    /// So many were moved.
    pub(super) fn go_on(&mut self, moved: u64) {
        self.left = self.left.saturating_sub(moved);
        self.most = self.most.saturating_mul(2).min(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_slows_down_where_there_is_no_room_and_recovers() {
        let mut pace = Pace::new(1_500);
        assert_eq!(pace.most(), 1_500);
        assert!(pace.slow_down(1_000));
        assert!(pace.slow_down(500));
        assert_eq!(pace.most(), 250);
        pace.go_on(250);
        assert_eq!(pace.most(), 500);
        pace.go_on(500);
        assert_eq!(pace.most(), 750, "all that are left");
        assert!(pace.slow_down(3));
        assert!(!pace.slow_down(1), "not even one");
        pace.go_on(1);
        assert_eq!(pace.most(), 2);
        pace.go_on(749);
        assert_eq!(pace.most(), 0);
    }
}
