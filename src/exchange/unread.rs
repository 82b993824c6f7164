//! What waits for miners that take no bytes, all of them together.
//!
//! The bound of one miner's outbox is wide, for a machine that hangs for a moment; ten thousand that never
//! read would fill the memory within it. So there is a second bound, on the sum. Whoever is to be told more
//! while it is reached is closed where it has as much waiting as the average, so those go first that hold
//! the most, and a miner with a reply or two outlives a crowd that hoards.

/// The miners that take no bytes, and what waits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    miners: usize,
    bytes: usize,
}

impl Unread {
    /// Bytes that wait for all of them.
    #[must_use]
    pub(crate) const fn bytes(self) -> usize {
        self.bytes
    }

    /// One more takes no bytes from now on.
    pub(crate) const fn begin(&mut self) {
        self.miners += 1;
    }

    /// So many bytes more wait for one of them.
    pub(crate) const fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// One of them, for whom so many bytes waited, takes them again or is gone.
    pub(crate) const fn end(&mut self, bytes: usize) {
        self.miners -= 1;
        self.bytes -= bytes;
    }

    /// Whether one of them, for whom so many bytes wait, has to go, where `bytes_max` may wait for all.
    #[must_use]
    pub(crate) const fn is_too_much(self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes > bytes_max && bytes.saturating_mul(self.miners) >= self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_most_goes_first_and_who_has_little_stays() {
        let mut unread = Unread::default();
        for bytes in [100, 5000, 900] {
            unread.begin();
            unread.grow(bytes);
        }
        assert!(!unread.is_too_much(5000, 6000), "all of it fits");
        assert!(!unread.is_too_much(100, 5999));
        assert!(!unread.is_too_much(900, 5999));
        assert!(unread.is_too_much(5000, 5999));
        unread.end(5000);
        assert_eq!(unread.bytes(), 1000);
        assert!(unread.is_too_much(900, 999) && !unread.is_too_much(100, 999));
    }

    #[test]
    fn one_alone_has_the_most() {
        let mut unread = Unread::default();
        unread.begin();
        unread.grow(7);
        assert!(unread.is_too_much(7, 6));
        unread.end(7);
        assert_eq!(unread, Unread::default());
    }
}
