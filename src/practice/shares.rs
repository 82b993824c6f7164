//! What can be wrong with a share, and the memory of the shares that came.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher},
};

use foldhash::fast::FixedState;

use super::{equihash::NONCE_LEN, jobs::NoJob, settings::RejectedShares};

/// The first thing that is wrong with a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotSubscribed,
    Unauthorized,
    UnknownJob,
    StaleJob,
    Parameters,
    Time,
    Nonce2,
    Nonce,
    VersionBits,
    Solution,
    Result,
    TimeOutOfRange,
    Duplicate,
    LowDifficulty,
    InvalidSolution,
}

impl Fault {
    pub(super) const fn code(self) -> i32 {
        match self {
            Self::NotSubscribed => 25,
            Self::Unauthorized => 24,
            Self::LowDifficulty => 23,
            Self::Duplicate => 22,
            Self::UnknownJob | Self::StaleJob => 21,
            Self::Parameters
            | Self::Time
            | Self::Nonce2
            | Self::Nonce
            | Self::VersionBits
            | Self::Solution
            | Self::Result
            | Self::TimeOutOfRange
            | Self::InvalidSolution => 20,
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NotSubscribed => "not subscribed",
            Self::Unauthorized => "unauthorized worker",
            Self::UnknownJob => "job not found",
            Self::StaleJob => "stale job",
            Self::Parameters => "incorrect number of parameters",
            Self::Time => "incorrect size of ntime",
            Self::Nonce2 => "incorrect size of nonce_2",
            Self::Nonce => "incorrect size of nonce",
            Self::VersionBits => "invalid version mask",
            Self::Solution => "incorrect size of solution",
            Self::Result => "incorrect size of result",
            Self::TimeOutOfRange => "ntime out of range",
            Self::Duplicate => "duplicate share",
            Self::LowDifficulty => "low difficulty share",
            Self::InvalidSolution => "invalid solution",
        }
    }

    pub(super) fn count(self, rejected: &mut RejectedShares) {
        *match self.code() {
            21 => &mut rejected.stale,
            22 => &mut rejected.duplicate,
            23 => &mut rejected.low_difficulty,
            24 => &mut rejected.unauthorized,
            25 => &mut rejected.not_subscribed,
            _ => &mut rejected.other,
        } += 1;
    }
}

impl From<NoJob> for Fault {
    fn from(missing: NoJob) -> Self {
        match missing {
            NoJob::Stale => Self::StaleJob,
            NoJob::Unknown => Self::UnknownJob,
        }
    }
}

/// The shares that were seen of this block, as far as there is room.
///
/// Of a share only 128 bits of its hash are kept, by which two shares are never confused in
/// practice. There are two halves: when the young one is full it becomes the old one, and what the
/// old one knew is forgotten.
pub(super) struct Remembered {
    young: HashSet<u128, FixedState>,
    old: HashSet<u128, FixedState>,
    half_max: usize,
    hashers: [FixedState; 2],
}

impl Remembered {
    pub(super) fn new(shares_max: usize, seed: u64) -> Self {
        let half_max = (shares_max / 2).max(1);
        Self {
            // Reserved at once: to move a million shares to a larger table would hold the pool up.
            young: HashSet::with_capacity_and_hasher(half_max, FixedState::default()),
            old: HashSet::default(),
            half_max,
            hashers: [FixedState::with_seed(seed), FixedState::with_seed(!seed)],
        }
    }

    /// False if the share was there.
    pub(super) fn insert(&mut self, job: u64, nonce: &[u8; NONCE_LEN], solution: &[u8]) -> bool {
        let [high, low] = self.hashers.each_ref().map(|hasher| {
            let mut hasher = hasher.build_hasher();
            hasher.write_u64(job);
            hasher.write(nonce);
            hasher.write(solution);
            hasher.finish()
        });
        let share = u128::from(high) << 64 | u128::from(low);
        if self.old.contains(&share) || self.young.contains(&share) {
            return false;
        }
        if self.young.len() >= self.half_max {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young.reserve(self.half_max);
        }
        self.young.insert(share)
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered")
            .field("shares", &(self.young.len() + self.old.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_remembered_by_its_job_nonce_and_solution() {
        let mut remembered = Remembered::new(100, 1);
        assert!(remembered.insert(1, &[0; NONCE_LEN], &[1, 2]));
        assert!(!remembered.insert(1, &[0; NONCE_LEN], &[1, 2]));
        assert!(remembered.insert(2, &[0; NONCE_LEN], &[1, 2]));
        assert!(remembered.insert(1, &[1; NONCE_LEN], &[1, 2]));
        assert!(remembered.insert(1, &[0; NONCE_LEN], &[1, 3]));
        remembered.clear();
        assert!(remembered.insert(1, &[0; NONCE_LEN], &[1, 2]));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_newest_half() {
        let mut remembered = Remembered::new(20, 1);
        for job in 0..1000 {
            assert!(remembered.insert(job, &[0; NONCE_LEN], &[]));
            assert!(remembered.young.len() + remembered.old.len() <= 20);
            for recent in job.saturating_sub(9)..=job {
                assert!(!remembered.insert(recent, &[0; NONCE_LEN], &[]));
            }
        }
        assert!(remembered.insert(1, &[0; NONCE_LEN], &[]), "long forgotten");
    }
}
