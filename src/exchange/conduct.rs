//! How a miner behaves: how much it sends, and how much of it is wrong.
//!
//! **Pace.** Lines and shares of each miner have a rate, over ten seconds: shares that waited while a cable
//! was out may all come at once. A miner that sends too many lines is closed; shares that are too many are
//! refused.
//!
//! **Faults.** A share is the miner's own fault when it is malformed, a duplicate or above its target,
//! whether we find that or its pool. One that is late or lost is nobody's. A miner half of whose last shares
//! are its own fault is closed, and its first worker kept out at its address for a while. Never so where more
//! than a tenth of all miners are like that, or were lately: then it is not theirs. And where others with the
//! same name and address mine well, as behind one address with one name for all, the miner is closed and
//! nobody kept out.

use std::hash::BuildHasher;
use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Fact, Letter, MinerToken};
use crate::exchange::miners::Miner;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::worker_name::MinerAddress;

/// Seconds over which a pace holds.
const PACE_SECONDS: u32 = 10;

/// Workers that are kept out at a time, on one shard; past it whoever was first may come back first.
const KEPT_OUT_MAX: usize = 4096;

/// So many of ten miners may be over the ratio before nobody is closed for it.
const OVER_PARTS: u64 = 10;

/// What a miner may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConductLimits {
    /// Lines in a second; 0 is no bound.
    pub messages_per_second_max: u32,
    /// Shares in a second; 0 is no bound.
    pub shares_per_second_max: u32,
    /// Shares over which faults are counted; 0 counts none.
    pub rejected_window: u16,
    /// So many of a hundred of these close the miner.
    pub rejected_percent_max: u8,
    /// How long it is kept out then.
    pub rejected_ban: Duration,
}

impl Default for ConductLimits {
    /// Those of the config but for the paces, which are off.
    fn default() -> Self {
        Self {
            messages_per_second_max: 0,
            shares_per_second_max: 0,
            rejected_window: 500,
            rejected_percent_max: 50,
            rejected_ban: Duration::from_secs(600),
        }
    }
}

/// What is kept of one miner's conduct.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conduct {
    /// The second for which the two below hold.
    second: u32,
    /// Lines that were sent, less those that its pace has worked off since.
    messages: u32,
    /// Shares.
    shares: u32,
    /// Shares of this half of the window that were judged.
    judged: u16,
    /// Those of them that were its own fault.
    faults: u16,
    /// Of the half before; none is known until there was one.
    faults_before: Option<u16>,
    /// Whether too many of the last whole window were.
    over: bool,
}

impl Conduct {
    /// Counts a line. Says whether it is within the pace.
    #[inline]
    pub(crate) fn message(&mut self, second: u32, limits: &ConductLimits) -> bool {
        let rate = limits.messages_per_second_max;
        if rate == 0 {
            return true;
        }
        self.work_off(second, limits);
        self.messages = self.messages.saturating_add(1);
        self.messages <= rate.saturating_mul(PACE_SECONDS)
    }

    /// Counts a share. Says whether it is within the pace; one that is not takes up no more of it.
    #[inline]
    pub(crate) fn share(&mut self, second: u32, limits: &ConductLimits) -> bool {
        let rate = limits.shares_per_second_max;
        if rate == 0 {
            return true;
        }
        self.work_off(second, limits);
        let is_within = self.shares < rate.saturating_mul(PACE_SECONDS);
        self.shares += u32::from(is_within);
        is_within
    }

    #[inline]
    fn work_off(&mut self, second: u32, limits: &ConductLimits) {
        if second == self.second {
            return;
        }
        let passed = second.wrapping_sub(self.second);
        self.second = second;
        let off = |sent: u32, rate: u32| sent.saturating_sub(passed.saturating_mul(rate));
        self.messages = off(self.messages, limits.messages_per_second_max);
        self.shares = off(self.shares, limits.shares_per_second_max);
    }

    /// Counts a share that was judged. Gives whether its faults are too many where a window has just ended.
    #[inline]
    fn judge(&mut self, is_fault: bool, limits: &ConductLimits) -> Option<bool> {
        let half = limits.rejected_window / 2;
        self.judged = self.judged.saturating_add(1);
        self.faults = self.faults.saturating_add(u16::from(is_fault));
        if self.judged < half {
            return None;
        }
        let faults = std::mem::take(&mut self.faults);
        self.judged = 0;
        let before = self.faults_before.replace(faults)?;
        let all = u32::from(faults) + u32::from(before);
        let max = 2 * u32::from(half) * u32::from(limits.rejected_percent_max);
        Some(all * 100 >= max)
    }
}

/// A worker that is kept out at its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptOut {
    person: u64,
    until: Duration,
}

impl Exchange {
    /// Stands for a worker at an address: the same number in all exchanges of a proxy.
    pub(super) fn person(&self, worker: &str, address: MinerAddress) -> u64 {
        let seed = self.settings.authorize.people_seed;
        foldhash::quality::FixedState::with_seed(seed).hash_one((worker, address))
    }

    /// Whether a worker is kept out.
    pub(super) fn is_kept_out(&mut self, now: Now, person: u64) -> bool {
        if self.kept_out.is_empty() {
            return false;
        }
        self.kept_out.retain(|kept| kept.until > now.since_start);
        self.kept_out.iter().any(|kept| kept.person == person)
    }

    /// A share was refused here.
    pub(super) fn judge_refused(&mut self, now: Now, token: MinerToken, reject: Reject) {
        match reject {
            Reject::Malformed(_) | Reject::Duplicate | Reject::VersionBits => {
                self.judge_miner(now, token, true);
            }
            Reject::UnknownJob => self.judge_miner(now, token, false),
            // It was never looked at, or nobody knows what would have become of it.
            _ => {}
        }
    }

    /// Counts a share that was judged, here or by a pool.
    pub(super) fn judge_miner(&mut self, now: Now, token: MinerToken, is_fault: bool) {
        let limits = &self.settings.limits.conduct;
        if limits.rejected_window == 0 {
            return;
        }
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let Some(over) = miner.conduct.judge(is_fault, limits) else {
            return;
        };
        let was_over = std::mem::replace(&mut miner.conduct.over, over);
        self.miners_over = self.miners_over + u64::from(over) - u64::from(was_over);
        if over {
            self.part_with(now, token);
        }
    }

    /// A miner is gone, and no more over the ratio.
    pub(super) fn forget_conduct(&mut self, conduct: Conduct) {
        self.miners_over -= u64::from(conduct.over);
    }

    /// Closes a miner for its faults, unless too many miners are like it.
    fn part_with(&mut self, now: Now, token: MinerToken) {
        // Those that were closed for it count on, or one after the other all would be.
        let ban = self.settings.limits.conduct.rejected_ban;
        while self.parted.front().is_some_and(|&at| now.since(at) >= ban) {
            self.parted.pop_front();
        }
        let parted = self.parted.len() as u64;
        let (over, all) = (self.miners_over + parted, self.miners.len() as u64 + parted);
        if over * OVER_PARTS > all {
            self.counters.faults_excused += 1;
            return;
        }
        self.parted.push_back(now.since_start);
        let Some(person) = self.miners.get_mut(token).map(|miner| miner.person) else {
            return;
        };
        let until = now.since_start + ban;
        let kept_out = self.keep_out(person, until);
        if kept_out {
            self.tell_all(&Letter::KeptOut { person, until });
        }
        self.fact(Fact::TooManyFaults {
            miner: token,
            kept_out,
        });
        self.close_miner(token, CloseHow::Graceful, CloseReason::TooManyFaults);
    }

    /// Keeps a worker out, unless somebody of the same name and address mines well here.
    pub(super) fn keep_out(&mut self, person: u64, until: Duration) -> bool {
        let is_well = |miner: &Miner| miner.person == person && !miner.conduct.over;
        let authorized = |miner: &&Miner| miner.session.is_authorized();
        if self.miners.iter().filter(authorized).any(is_well) {
            return false;
        }
        if self.kept_out.len() >= KEPT_OUT_MAX {
            self.kept_out.pop_front();
        }
        self.kept_out.push_back(KeptOut { person, until });
        self.counters.kept_out += 1;
        true
    }
}

/// Whether a pool's rejection says that the miner is at fault: 22 and 23, or 20 where its text does not say
/// that the share came late or that the pool could not look at it. Some pools say 20 of everything.
pub(super) fn is_own_fault(code: i64, text: &str) -> bool {
    const NOT_ITS_OWN: [&str; 9] = [
        "stale",
        "not found",
        "expired",
        "old",
        "time",
        "busy",
        "unavailable",
        "again",
        "internal",
    ];
    match code {
        22 | 23 => true,
        20 => {
            let text = text.to_ascii_lowercase();
            let is_bare = text == "rejected by the pool";
            !is_bare && !NOT_ITS_OWN.iter().any(|word| text.contains(word))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConductLimits = ConductLimits {
        messages_per_second_max: 5,
        shares_per_second_max: 2,
        rejected_window: 10,
        rejected_percent_max: 50,
        rejected_ban: Duration::from_secs(60),
    };

    #[test]
    fn a_burst_of_ten_seconds_passes_and_the_pace_holds_after_it() {
        let mut conduct = Conduct::default();
        let mut passed = |second, tried: u32| -> u32 {
            (0..tried)
                .map(|_| u32::from(conduct.share(second, &LIMITS)))
                .sum()
        };
        assert_eq!(passed(100, 30), 20);
        assert_eq!(passed(101, 30), 2);
        assert_eq!(passed(104, 30), 6);
        assert_eq!(passed(1000, 30), 20);
    }

    #[test]
    fn lines_have_a_pace_of_their_own() {
        let mut conduct = Conduct::default();
        assert!((0..50).all(|_| conduct.message(1, &LIMITS)));
        assert!(!conduct.message(1, &LIMITS));
        assert!(conduct.share(1, &LIMITS));
        let off = ConductLimits::default();
        assert!((0..1000).all(|_| conduct.message(1, &off) && conduct.share(1, &off)));
    }

    #[test]
    fn faults_are_counted_over_whole_windows() {
        let mut conduct = Conduct::default();
        let mut judge = |faults: &str| -> Vec<Option<bool>> {
            let faults = faults.bytes().map(|byte| byte == b'x');
            faults.map(|fault| conduct.judge(fault, &LIMITS)).collect()
        };
        let end = |verdicts: Vec<Option<bool>>| verdicts.last().copied().flatten();
        assert_eq!(end(judge("xxxxx")), None, "there is no whole window yet");
        assert_eq!(end(judge(".....")), Some(true), "five of ten");
        assert_eq!(end(judge("xxxx.")), Some(false), "four of ten");
        assert_eq!(end(judge("....x")), Some(true), "five of ten");
        assert_eq!(judge("....").last(), Some(&None));
    }

    #[test]
    fn what_a_pool_calls_late_is_nobodys_fault() {
        assert!(is_own_fault(22, "duplicate share"));
        assert!(is_own_fault(23, "low difficulty"));
        assert!(is_own_fault(20, "invalid solution"));
        for (code, text) in [
            (21, "job not found"),
            (20, "Stale"),
            (20, "Job not found"),
            (20, "Rejected by the pool"),
            (20, "Timed out"),
            (24, "unauthorized"),
            (-1, "params"),
        ] {
            assert!(!is_own_fault(code, text), "{code} {text}");
        }
    }
}
