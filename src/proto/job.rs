//! Work that a pool announced.

use crate::proto::target::Target;

/// A job as one pool link announced it, parsed just as far as a proxy must understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The pool's own id, as the JSON text it wrote (quotes included), for the shares that go back.
    pub pool_id: Box<[u8]>,
    /// Whether the pool tells miners to drop what they are doing. Not whether older jobs are dead.
    pub clean: bool,
    /// Everything of the job that is the same for all miners, between the id and the clean flag,
    /// as JSON text.
    pub body: Box<[u8]>,
    /// What followed the clean flag, as JSON text with its leading comma; empty for most pools.
    pub extra: Box<[u8]>,
    /// The target of its shares, where jobs themselves say so.
    pub target: Option<Target>,
}

/// The id that we give a job: unique across pools, links, shards and restarts, and at most eight
/// lower-case hex digits, since some firmware reads it as a number.
///
/// Its upper 24 bits count the jobs of one exchange, from the second of the process' start on; the lower
/// eight are the exchange's series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u32);

impl JobId {
    /// The id of this count in this series. The count goes round after 2^24.
    #[must_use]
    pub const fn new(count: u64, series: u8) -> Self {
        let [low, middle, high, ..] = count.to_le_bytes();
        Self(u32::from_be_bytes([high, middle, low, series]))
    }

    /// Which exchange gave it.
    #[must_use]
    pub const fn series(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// By how many ids it is ahead of this count; 0 where it is not. On the circle of 2^24 the half in front
    /// is ahead.
    #[must_use]
    pub const fn lead(self, count: u64) -> u32 {
        let lead = (self.0 & !0xff).wrapping_sub(Self::new(count, 0).0);
        if lead < 1 << 31 { lead >> 8 } else { 0 }
    }

    /// Reads an id that a miner sent back. `None` for what can't be one of ours.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 8 {
            return None;
        }
        let mut value = 0;
        for &digit in text {
            value = (value << 4) | char::from(digit).to_digit(16)?;
        }
        Some(Self(value))
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        for id in [0, 1, 0xabc, u32::MAX] {
            let text = JobId(id).to_string();
            assert!(text.len() <= 8);
            assert_eq!(JobId::parse(text.as_bytes()), Some(JobId(id)));
        }
        for bad in ["", "123456789", "xyz", "-1", " 1"] {
            assert_eq!(JobId::parse(bad.as_bytes()), None);
        }
    }

    #[test]
    fn an_id_says_which_series_it_is_of_and_how_far_ahead() {
        let count = 1_800_000_000;
        let id = JobId::new(count, 7);
        assert_eq!((id.series(), id.lead(count)), (7, 0));
        assert_eq!(JobId::new(count + 3, 7).lead(count), 3);
        assert_eq!(JobId::new(count - 3, 255).lead(count), 0, "it is behind");
        // The count goes round.
        let last = (1 << 24) - 1;
        assert_eq!(JobId::new(last + 2, 0).lead(last), 2);
        assert_eq!(JobId::new(last, 0).lead(last + 2), 0);
        assert_eq!(
            JobId::new(last + (1 << 23) - 1, 0).lead(last),
            (1 << 23) - 1
        );
        assert_eq!(JobId::new(last + (1 << 23), 0).lead(last), 0);
    }
}
