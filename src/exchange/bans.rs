//! Who is kept out: a worker that made too many faults, at its address, for a while and on all shards.
//!
//! Not so where somebody of the same name and address mines well, on whatever shard. Whoever bans tells the
//! others; one that has such a miner answers that it vouches for the name, and whoever banned passes that on.
//! So each shard hears of a ban and of its end from the same one, in that order. One on which somebody begins
//! to mine well only later tells all of it when the next one of that name comes, and whoever banned says it
//! once more.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Exchange, Letter, MinerToken};
use crate::exchange::miners::Miner;
use crate::proto::time::Now;
use crate::proto::worker_name::MinerAddress;

/// Workers that are kept out at a time, on one shard; past it whoever was first may come back first.
const KEPT_OUT_MAX: usize = 4096;

/// A worker that is kept out at its address.
#[derive(Clone, Copy, Debug)]
struct KeptOut {
    person: u64,
    until: Duration,
    /// Whether we have found it out, and not another shard.
    is_ours: bool,
    /// In which second somebody of its name and address was looked for who mines well: such may be many, and
    /// whoever is kept out may ask often.
    looked: Option<u32>,
}

/// Who is kept out, and for whom that is asked.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    kept_out: VecDeque<KeptOut>,
    /// The workers of all miners, each at its address: a ban looks at those of its name there, and at nobody
    /// else. Empty where nobody is ever banned.
    people: BTreeSet<(u64, MinerToken)>,
}

impl Bans {
    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Now) {
        self.kept_out.retain(|kept| kept.until > now.since_start);
    }
}

impl Exchange {
    /// Stands for the address of a miner, or its /64: the same number in all exchanges of a proxy.
    pub(super) fn home(&self, address: MinerAddress) -> u64 {
        self.people().hash_one(address.network())
    }

    /// Stands for a worker at home.
    pub(super) fn person(&self, worker: &str, home: u64) -> u64 {
        self.people().hash_one((worker, home))
    }

    const fn people(&self) -> foldhash::quality::FixedState {
        foldhash::quality::FixedState::with_seed(self.settings.authorize.people_seed)
    }

    /// Whether a worker is kept out. Where somebody of its name and address has begun to mine well since, it
    /// is not any more, on all shards.
    pub(super) fn is_kept_out(&mut self, now: Now, worker: &str, home: u64) -> bool {
        let person = self.person(worker, home);
        let mut kept_out = self.ledger.bans.kept_out.iter_mut();
        let is_he = |kept: &&mut KeptOut| kept.person == person && kept.until > now.since_start;
        let Some(kept) = kept_out.find(is_he) else {
            return false;
        };
        let second = Some(now.seconds());
        if std::mem::replace(&mut kept.looked, second) == second || !self.has_good_namesake(person)
        {
            return true;
        }
        self.let_in(person);
        let worker = worker.into();
        self.tell_all(&Letter::Vouched { worker, home });
        false
    }

    /// Whether somebody of this name and address mines well here.
    fn has_good_namesake(&self, person: u64) -> bool {
        let limits = &self.settings.limits.conduct;
        let is_well = |token| {
            let miner = self.miners.get(token);
            miner.is_some_and(|miner| miner.conduct.mines_well(limits))
        };
        let mut namesakes = self.ledger.bans.people.range(all_of(person));
        namesakes.any(|&(_, token)| is_well(token))
    }

    /// A miner has this worker from now on.
    pub(super) fn note_person(&mut self, token: MinerToken, worker: &str, home: u64) {
        if self.settings.limits.conduct.rejected_window > 0 {
            let person = self.person(worker, home);
            self.ledger.bans.people.insert((person, token));
        }
    }

    /// A miner is gone, and all its workers with it.
    pub(super) fn forget_people(&mut self, miner: &Miner) {
        if self.settings.limits.conduct.rejected_window > 0 {
            for worker in miner.session.workers() {
                let person = self.person(worker, miner.home);
                self.ledger.bans.people.remove(&(person, miner.token));
            }
        }
    }

    /// Keeps a worker out, unless somebody of the same name and address mines well here.
    pub(super) fn keep_out(
        &mut self,
        worker: &str,
        home: u64,
        until: Duration,
        is_ours: bool,
    ) -> bool {
        let person = self.person(worker, home);
        if self.has_good_namesake(person) {
            return false;
        }
        let kept_out = &mut self.ledger.bans.kept_out;
        if kept_out.len() >= KEPT_OUT_MAX {
            kept_out.pop_front();
        }
        kept_out.push_back(KeptOut {
            person,
            until,
            is_ours,
            looked: None,
        });
        self.counters.kept_out += 1;
        true
    }

    /// Another shard keeps a worker out. Where somebody of its name and address mines well here, none does:
    /// that shard is told, and tells the others, who so hear of it behind what it told them first.
    pub(super) fn handle_kept_out(
        &mut self,
        from: usize,
        worker: Box<str>,
        home: u64,
        until: Duration,
    ) {
        if !self.keep_out(&worker, home, until, false) {
            self.letters
                .push_back((from, Letter::Vouched { worker, home }));
        }
    }

    /// Nobody keeps it out any more. Says whether it was us who had found it out.
    fn let_in(&mut self, person: u64) -> bool {
        let kept_out = &mut self.ledger.bans.kept_out;
        let was_ours = kept_out
            .iter()
            .any(|kept| kept.person == person && kept.is_ours);
        kept_out.retain(|kept| kept.person != person);
        was_ours
    }

    /// A worker mines well on another shard.
    pub(super) fn handle_vouched(&mut self, worker: Box<str>, home: u64) {
        let person = self.person(&worker, home);
        let was_ours = self.let_in(person);
        if was_ours {
            self.tell_all(&Letter::Vouched { worker, home });
        }
    }
}

/// All miners of one worker at one address.
const fn all_of(person: u64) -> RangeInclusive<(u64, MinerToken)> {
    const fn token(number: u32) -> MinerToken {
        MinerToken {
            index: number,
            generation: number,
        }
    }
    (person, token(0))..=(person, token(u32::MAX))
}
