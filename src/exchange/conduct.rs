//! How a miner behaves: how much it sends, and how much of it is wrong.
//!
//! **Pace.** Lines and shares of each miner have a rate, over ten seconds: shares that waited while a cable
//! was out may all come at once. A miner that sends too many lines is closed; shares that are too many are
//! refused.
//!
//! **Faults.** A share is the miner's own fault when it is malformed, a duplicate, above its target or for a
//! job that nobody ever gave, whether we find that or its pool. One that is late or lost is nobody's: it was
//! never looked at, and counts neither for its miner nor against it. A miner half of whose last shares are
//! its own fault is closed, and the worker under which most of them came is kept out at its address for a
//! while, on all shards of the proxy. Never so where more than a tenth of all miners are like that, or were
//! lately: then it is not theirs. And where others with the same name and address mine well, as behind one
//! address with one name for all, the miner is closed and nobody kept out.
//!
//! **All miners** are those of all shards. At its tick each shard tells the others how many of its miners are
//! over the ratio, where that changed; so each decides by what the others were a quarter of a second ago.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Fact, Letter, MinerToken, Settings};
use crate::exchange::bans::Bans;
use crate::exchange::miners::{Miner, Stage};
use crate::proto::job::JobId;
use crate::proto::share::Reject;
use crate::proto::time::Now;

/// Seconds over which a pace holds.
const PACE_SECONDS: u32 = 10;

/// Miners that were closed for their faults and are remembered, in all and of one address. No more of an
/// address count than it has miners.
const PARTED_MAX: usize = 4096;
const PARTED_OF_HOME_MAX: usize = 256;

/// One of so many miners may be over the ratio before nobody is closed for it.
const OVER_PARTS: u64 = 10;

/// So many more jobs than this exchange another one of the process may have given.
const OTHERS_LEAD_MAX: u32 = 1 << 16;

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
    /// The worker under which most of the faults came, by its place on the connection.
    suspect: u16,
    /// How much more of them came under it than under others.
    votes: u16,
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
    fn judge(&mut self, judgement: Judgement, limits: &ConductLimits) -> Option<bool> {
        let half = limits.rejected_window / 2;
        self.judged = self.judged.saturating_add(1);
        if let Judgement::Fault(worker) = judgement {
            self.faults = self.faults.saturating_add(1);
            self.vote(worker);
        }
        if self.judged < half {
            return None;
        }
        let faults = std::mem::take(&mut self.faults);
        self.judged = 0;
        // Whoever is at fault in the next half is soon ahead.
        self.votes = 0;
        let before = self.faults_before.replace(faults)?;
        let all = u32::from(faults) + u32::from(before);
        let max = 2 * u32::from(half) * u32::from(limits.rejected_percent_max);
        Some(all * 100 >= max)
    }

    /// A fault of this worker. Who has more than half of them is the suspect in the end (Boyer and Moore's
    /// majority vote), and where nobody has, one of those that have some.
    fn vote(&mut self, worker: u16) {
        if self.votes == 0 {
            self.suspect = worker;
        }
        if self.suspect == worker {
            self.votes = self.votes.saturating_add(1);
        } else {
            self.votes -= 1;
        }
    }

    /// Whether it is not over the ratio, and a share that was judged lately was good.
    pub(super) fn mines_well(&self, limits: &ConductLimits) -> bool {
        let half = limits.rejected_window / 2;
        let was_good = self.faults_before.is_some_and(|faults| faults < half);
        !self.over && (self.faults < self.judged || was_good)
    }
}

/// The place of a worker that nobody knows, or is to blame: its miner may be closed, and nobody is kept out.
pub(super) const NOBODY: u16 = u16::MAX;

/// What somebody found who looked at a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It counts.
    Good,
    /// It is wrong, by the fault of the worker at this place of its connection.
    Fault(u16),
}

/// A miner that was closed for its faults.
#[derive(Clone, Copy, Debug)]
struct Parted {
    at: Duration,
    home: u64,
}

/// How many miners of a shard are over the ratio, or were lately, and of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    over: u64,
    miners: u64,
}

/// What is kept of the conduct of all miners.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Miners of whose last shares too many were their own fault.
    over: u64,
    /// Workers that may not mine for a while.
    pub(super) bans: Bans,
    /// Miners that were closed for their faults lately.
    parted: VecDeque<Parted>,
    /// Those of them that count: see [`Exchange::count_parted`].
    parted_count: u64,
    /// By shard, what the others told.
    others: Vec<Standing>,
    /// What they know of us.
    told: Standing,
}

impl Ledger {
    /// Of one of so many shards.
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            others: vec![Standing::default(); shards as usize],
            ..Self::default()
        }
    }
}

impl Ledger {
    /// A miner was closed for its faults. Of one address so many are remembered, and of all.
    fn part(&mut self, gone: Parted) {
        let of_home = self.parted.iter().filter(|it| it.home == gone.home);
        if of_home.count() >= PARTED_OF_HOME_MAX {
            return;
        }
        if self.parted.len() >= PARTED_MAX {
            self.parted.pop_front();
        }
        self.parted.push_back(gone);
        self.parted_count += 1;
    }
}

impl Exchange {
    /// A share of this worker was refused here.
    pub(super) fn judge_refused(
        &mut self,
        now: Now,
        token: MinerToken,
        worker: u16,
        reject: Reject,
    ) {
        let is_fault = matches!(
            reject,
            Reject::Malformed(_) | Reject::Duplicate | Reject::VersionBits | Reject::JobNeverGiven
        );
        // Any other was never looked at, or nobody knows what would have become of it.
        if !is_fault {
            return;
        }
        // Who rolls bits that its pool grants no more is well again when it comes back and asks for them.
        let worker = match reject {
            Reject::VersionBits => NOBODY,
            _ => worker,
        };
        self.judge_miner(now, token, Judgement::Fault(worker));
    }

    /// Counts a share that was judged, here or by a pool.
    pub(super) fn judge_miner(&mut self, now: Now, token: MinerToken, judgement: Judgement) {
        let limits = &self.settings.limits.conduct;
        if limits.rejected_window == 0 {
            return;
        }
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        // One that is closed already is not closed once more for what comes of its last shares.
        if matches!(miner.stage, Stage::Leaving(..)) {
            return;
        }
        let Some(over) = miner.conduct.judge(judgement, limits) else {
            return;
        };
        let was_over = std::mem::replace(&mut miner.conduct.over, over);
        self.ledger.over = self.ledger.over + u64::from(over) - u64::from(was_over);
        if over {
            self.part_with(now, token);
        }
    }

    /// A miner is gone, and no more over the ratio.
    pub(super) fn forget_conduct(&mut self, miner: &Miner) {
        self.ledger.over -= u64::from(miner.conduct.over);
        self.forget_people(miner);
    }

    /// Closes a miner for its faults, unless too many miners are like it.
    fn part_with(&mut self, now: Now, token: MinerToken) {
        let own = self.conduct_standing();
        let others = &self.ledger.others;
        let over = own.over + others.iter().map(|other| other.over).sum::<u64>();
        let all = own.miners + others.iter().map(|other| other.miners).sum::<u64>();
        if over * OVER_PARTS > all {
            self.counters.faults_excused += 1;
            return;
        }
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let home = miner.home;
        let worker: Option<Box<str>> = miner
            .session
            .worker_at(miner.conduct.suspect)
            .map(Into::into);
        let at = now.since_start;
        self.ledger.part(Parted { at, home });
        let until = at + self.settings.limits.conduct.rejected_ban;
        let kept_out = worker.as_ref().is_some_and(|worker| {
            let kept_out = self.keep_out(worker, home, until, true);
            if kept_out {
                self.tell_all(&Letter::KeptOut {
                    worker: worker.clone(),
                    home,
                    until,
                });
            }
            kept_out
        });
        self.fact(Fact::TooManyFaults {
            miner: token,
            worker,
            kept_out,
        });
        self.close_miner(token, CloseHow::Graceful, CloseReason::TooManyFaults);
    }

    /// How our own miners are.
    const fn conduct_standing(&self) -> Standing {
        // Those that were closed for it count on, or one after the other all would be.
        let parted = self.ledger.parted_count;
        Standing {
            over: self.ledger.over + parted,
            miners: self.counters.mining + parted,
        }
    }

    /// Another shard told how its miners are.
    pub(super) fn handle_conduct(&mut self, from: usize, over: u64, miners: u64) {
        if let Some(other) = self.ledger.others.get_mut(from) {
            *other = Standing { over, miners };
        }
    }

    /// Forgets those whose time is over, and tells the other shards how our miners are where that changed.
    pub(super) fn tick_conduct(&mut self, now: Now) {
        if self.settings.limits.conduct.rejected_window == 0 {
            return;
        }
        let ban = self.settings.limits.conduct.rejected_ban;
        let parted = &mut self.ledger.parted;
        while parted.front().is_some_and(|it| now.since(it.at) >= ban) {
            parted.pop_front();
        }
        self.ledger.bans.expire(now);
        self.ledger.parted_count = self.count_parted();
        let standing = self.conduct_standing();
        if self.settings.part.1 > 1 && self.ledger.told != standing {
            self.ledger.told = standing;
            let Standing { over, miners } = standing;
            self.tell_all(&Letter::Conduct { over, miners });
        }
    }

    /// How many of those that were closed count: of one address as many as it has miners, and one at least.
    /// Else whoever comes back under ever new names would soon be a tenth of all, and nobody closed.
    fn count_parted(&self) -> u64 {
        let parted = &self.ledger.parted;
        if parted.len() < 2 {
            return parted.len() as u64;
        }
        // By home, how many were closed and how many are here.
        let mut homes: HashMap<u64, (u64, u64), _> = HashMap::with_hasher(self.hasher.clone());
        for gone in parted {
            homes.entry(gone.home).or_default().0 += 1;
        }
        for miner in self.miners.iter().filter(|miner| miner.counted) {
            if let Some((_, here)) = homes.get_mut(&miner.home) {
                *here += 1;
            }
        }
        let counts = homes.values().map(|&(gone, here)| gone.min(here.max(1)));
        counts.sum()
    }
}

/// Whether no exchange of ours can have given this id, where this one has given so many by now. Ids of
/// earlier runs of the process lie behind, as long as jobs came slower than one each second.
pub(super) fn was_never_given(id: JobId, settings: &Settings, sequence: u64) -> bool {
    let count = settings.start_unix_seconds.wrapping_add(sequence);
    let lead_max = if id.series() == settings.series {
        0
    } else {
        OTHERS_LEAD_MAX
    };
    id.lead(count) > lead_max
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Judgement = Judgement::Fault(0);

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
            faults
                .map(|fault| if fault { FAULT } else { Judgement::Good })
                .map(|judgement| conduct.judge(judgement, &LIMITS))
                .collect()
        };
        let end = |verdicts: Vec<Option<bool>>| verdicts.last().copied().flatten();
        assert_eq!(end(judge("xxxxx")), None, "there is no whole window yet");
        assert_eq!(end(judge(".....")), Some(true), "five of ten");
        assert_eq!(end(judge("xxxx.")), Some(false), "four of ten");
        assert_eq!(end(judge("....x")), Some(true), "five of ten");
        assert_eq!(judge("....").last(), Some(&None));
    }

    #[test]
    fn who_has_most_of_the_faults_is_the_suspect() {
        let suspect = |workers: &[u16]| {
            let mut conduct = Conduct::default();
            for &worker in workers {
                conduct.vote(worker);
            }
            conduct.suspect
        };
        assert_eq!(suspect(&[3, 3, 3]), 3);
        assert_eq!(suspect(&[0, 0, 1, 1, 1]), 1);
        assert_eq!(suspect(&[5, 0, 5, 1, 5, 2, 5]), 5);
    }

    #[test]
    fn who_was_never_judged_mines_no_better_than_who_is_always_wrong() {
        let mut conduct = Conduct::default();
        assert!(!conduct.mines_well(&LIMITS));
        for _ in 0..9 {
            conduct.judge(FAULT, &LIMITS);
        }
        assert!(!conduct.mines_well(&LIMITS));
        conduct.judge(Judgement::Good, &LIMITS);
        let mut conduct = Conduct::default();
        conduct.judge(Judgement::Good, &LIMITS);
        assert!(conduct.mines_well(&LIMITS));
        for _ in 0..4 {
            conduct.judge(FAULT, &LIMITS);
        }
        conduct.judge(FAULT, &LIMITS);
        assert!(
            conduct.mines_well(&LIMITS),
            "it was good in the half before"
        );
    }

    #[test]
    fn a_job_id_that_nobody_gave_is_known() {
        let settings = |series| Settings {
            part: (0, 1),
            series,
            start_unix_seconds: 1_800_000_000,
            seed: 1,
            pools: Vec::new(),
            slot_width: crate::proto::extranonce::SlotWidth::Auto,
            miners_per_link: 1,
            links_max: 1,
            standby: false,
            pass_through_agents: Vec::new(),
            pool_links: crate::exchange::PoolLinks::PerShard,
            job_exchange: None,
            authorize: crate::exchange::Authorize::default(),
            share_reply: crate::exchange::ShareReply::Pool,
            keep_warm: false,
            limits: crate::exchange::Limits::default(),
        };
        let own = settings(3);
        let id = |count: u64, series| JobId::new(1_800_000_000 + count, series);
        for given in [
            id(0, 3),
            id(7, 3),
            id(40_000, 4),
            JobId::new(1_799_990_000, 9),
        ] {
            assert!(!was_never_given(given, &own, 7), "{given}");
        }
        for made_up in [id(8, 3), id(80_000, 4)] {
            assert!(was_never_given(made_up, &own, 7), "{made_up}");
        }
    }
}
