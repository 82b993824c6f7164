//! Stretches of a run that are counted apart from the rest.

use std::time::Duration;

/// Two stretches of time, each with its begin and its end; by default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Windows([(Duration, Duration); 2]);

impl Windows {
    /// Two of this length, which begin at these times.
    pub(crate) fn new(begins: [Duration; 2], len: Duration) -> Self {
        Self(begins.map(|begin| (begin, begin + len)))
    }

    /// The same, so much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.map(|(begin, end)| (begin + time, end + time)))
    }

    /// Whether some of this time lies in one of them: a wait is counted that began before, or ended behind.
    pub(crate) fn meet(self, from: Duration, until: Duration) -> bool {
        let mut all = self.0.into_iter();
        all.any(|(begin, end)| begin < end && from < end && until >= begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_if_some_of_it_lies_in_a_window() {
        let millis = Duration::from_millis;
        let windows = Windows::new([millis(10), millis(50)], millis(20)).after(millis(1000));
        for (from, until, meets) in [
            (0, 1009, false),
            (0, 1010, true),
            (1015, 1020, true),
            (1029, 1040, true),
            (1030, 1049, false),
            (1035, 1055, true),
            (1000, 2000, true),
            (1070, 2000, false),
        ] {
            assert_eq!(windows.meet(millis(from), millis(until)), meets, "{from}");
        }
        let none = Windows::default().after(millis(1000));
        assert!(!none.meet(millis(0), millis(5000)));
    }
}
