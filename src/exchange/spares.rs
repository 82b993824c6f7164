//! Links that no miner works on yet, or any more: the way to the next pool, and back.
//!
//! While miners work for a pool that is not the most preferred one, a *probe* stands at a better one: a
//! link like any other, with a real handshake and real jobs. Once it has been up for long enough it
//! serves, and the link whose miners it got *retires*: it stays until their shares are answered.
//!
//! ```text
//!            dialled        well for stable_for           nobody is left
//! (none) ──▶ Probe ───────▶ Serving ───────────▶ Retiring ──▶ (none)
//!              └─ lost: the next of the better pools, with backoff
//! ```
//!
//! When a link is lost a link to the *next* pool is dialled in the same way, while the lost session may
//! still be resumed. If it is not, the miners move to whatever stands ready; with `standby` there is such
//! a link all the time.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::{Command, Exchange, Fact, HostSays, LinkEnd, LinkKey};
use crate::exchange::link::{Link, LinkState, Role};
use crate::exchange::miners::Stage;
use crate::exchange::outbox::Owed;
use crate::exchange::pool_side::printable;
use crate::exchange::slots::NonceSpace;
use crate::exchange::spaces::Moved;
use crate::proto::job::JobId;
use crate::proto::time::Now;

/// A link whose miners were moved takes late shares for so long: those that were on their way to us.
const LATE_SHARES: Duration = Duration::from_secs(5);
/// A return to a preferred pool that held for so long was right.
const RETURN_HOLDS: Duration = Duration::from_secs(600);
/// The longest time that a preferred pool must be well before miners go back to it.
const STABLE_FOR_MAX: Duration = Duration::from_secs(3600);

/// When miners go back to a preferred pool.
#[derive(Debug)]
pub(crate) struct Returns {
    /// The operator's wish.
    configured: Duration,
    /// How long a pool must be well now: twice as long for each return that did not last.
    wait: Duration,
    /// The last return, while it is not known whether it lasts: the pool, and when.
    last: Option<(usize, Duration)>,
}

impl Returns {
    /// No return was made yet.
    pub(crate) const fn new(stable_for: Duration) -> Self {
        Self {
            configured: stable_for,
            wait: stable_for,
            last: None,
        }
    }

    /// Looks at what became of the last return; `serving` is the best pool that serves now. Gives the
    /// pool that did not stay well.
    fn judge(&mut self, now: Now, serving: Option<usize>) -> Option<usize> {
        let (pool, at) = self.last?;
        if serving.is_some_and(|serving| serving > pool) {
            self.last = None;
            // An operator who waits for longer than that waits no longer for it.
            let max = STABLE_FOR_MAX.max(self.configured);
            self.wait = self.wait.saturating_mul(2).min(max);
            return Some(pool);
        }
        if now.since(at) >= RETURN_HOLDS {
            self.last = None;
            self.wait = self.configured;
        }
        None
    }
}

/// Where a miner was before it was moved off a link that still judges its shares. Its slot is kept.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) link: usize,
    pub(crate) slot: u16,
    pub(crate) space: Rc<RefCell<NonceSpace>>,
}

impl Former {
    /// Whether a share for this job is that link's.
    pub(crate) fn judges(&self, links: &mut [Link], job_id: &[u8]) -> bool {
        let Some(link) = links.get_mut(self.link).filter(|link| link.is_up()) else {
            return false;
        };
        let same_space = link
            .space
            .as_ref()
            .is_some_and(|space| Rc::ptr_eq(space, &self.space));
        same_space && JobId::parse(job_id).is_some_and(|id| link.jobs.find(id).is_some())
    }

    /// The slot is free.
    pub(crate) fn give_back(self, newest_job: u64) {
        self.space
            .borrow_mut()
            .slots
            .give_back(self.slot, newest_job);
    }
}

impl Exchange {
    /// Keeps the links that stand by, or retire.
    pub(super) fn tick_spares(&mut self, now: Now) {
        self.end_retirements(now);
        if self.shutting_down {
            return;
        }
        let failed = self.returns.judge(now, self.best_pool_up());
        if let Some(pool) = failed {
            let wait = self.returns.wait;
            self.fact(Fact::ReturnFailed { pool, wait });
        }
        self.go_back(now);
        self.follow_host(now);
        self.keep_lease(now);
        for index in 0..self.links.len() {
            let link = &self.links[index];
            // One whose lost session may be resumed is waited for; another one may be ready before it.
            let is_away = !link.is_up() && link.lost.is_none() && link.next_space.is_none();
            if link.serves() && !link.pass_through && is_away {
                self.fail_over(now, index);
            }
        }
        for role in [Role::Probe, Role::Next] {
            let pools = self.pools_for(role);
            self.keep_spare(now, role, pools);
        }
    }

    /// The pools at which a link of this role is to stand.
    fn pools_for(&self, role: Role) -> Range<usize> {
        let Some(home) = self.worst_home().filter(|_| self.landlord().is_none()) else {
            return 0..0;
        };
        // A pool that serves and is better than that is on the list of neither.
        let is_lost = |link: &Link| link.space.is_some() && !link.is_up();
        match role {
            Role::Probe => 0..home,
            Role::Next if self.settings.standby || self.serving().any(is_lost) => {
                home + 1..self.settings.pools.len()
            }
            _ => 0..0,
        }
    }

    /// The links on which many miners work, and those that are dialled for them. A link of one miner
    /// stays at its pool until that miner goes: its firmware could be moved by a reconnect only.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Link> {
        let links = self.links.iter();
        links.filter(|link| link.serves() && !link.pass_through)
    }

    /// The most preferred pool that serves.
    pub(super) fn best_pool_up(&self) -> Option<usize> {
        let up = self.serving().filter(|link| link.is_up());
        up.map(|link| link.pool).min()
    }

    /// The least preferred pool for which miners work, or did until their link was lost.
    fn worst_home(&self) -> Option<usize> {
        let homes = self.serving().filter(|link| link.space.is_some());
        homes.map(Link::home).max()
    }

    /// Lets a link of this role stand at one of these pools, and none where there are none.
    fn keep_spare(&mut self, now: Now, role: Role, pools: Range<usize>) {
        let mut stands = false;
        for index in 0..self.links.len() {
            if self.links[index].role != role || self.links[index].lease.is_some() {
                continue;
            }
            if pools.contains(&self.links[index].pool) {
                stands = true;
            } else {
                self.let_go(now, index, LinkEnd::Unused, String::new());
            }
        }
        if stands || pools.is_empty() {
            return;
        }
        let random = self.random();
        let index = self.free_link(false, pools.start);
        let link = &mut self.links[index];
        link.role = role;
        link.room_told = false;
        let delay = link.next_delay(pools.len(), random);
        self.dial_at(index, now.since_start + delay);
    }

    /// A link that stands by is over: the next of its pools is tried, after a while.
    pub(super) fn lose_spare(&mut self, now: Now, index: usize, end: LinkEnd, detail: &str) {
        let random = self.random();
        let pools = self.pools_for(self.links[index].role);
        self.abandon_shares(index);
        let link = &mut self.links[index];
        link.space = None;
        link.warm = None;
        let pool = link.pool;
        if link.was_stable(now.since_start) {
            link.tries = 0;
        }
        // One that was well is asked again first.
        if end != LinkEnd::NonceSpaceTaken && !(link.is_up() && link.tries == 0) {
            link.pool = if pools.contains(&(pool + 1)) {
                pool + 1
            } else {
                pools.start
            };
        }
        link.tries = link.tries.saturating_add(1);
        let delay = link.next_delay(pools.len(), random);
        let old = link.end_connection();
        link.state = if self.shutting_down {
            LinkState::Idle
        } else {
            LinkState::Waiting(now.since_start + delay)
        };
        self.counters.link_ends[end as usize] += 1;
        self.commands.push_back(Command::HangUp(old));
        self.fact(Fact::LinkLost {
            pool,
            end,
            detail: printable(detail),
            was_up: false,
            pending: 0,
        });
    }

    /// Moves miners to a preferred pool that has been well for long enough.
    fn go_back(&mut self, now: Now) {
        let is_probe = |link: &Link| link.role == Role::Probe;
        let Some(to) = self.links.iter().position(is_probe) else {
            return;
        };
        let link = &self.links[to];
        let LinkState::Up(since, _) = link.state else {
            return;
        };
        // Where nobody is left, nobody goes back.
        let has_guests = self.links.iter().any(|link| !link.guests.is_empty());
        if self.miners.is_empty() && !has_guests {
            return;
        }
        let pool = link.pool;
        // Where miners went back to this pool with one link, those of the next one need not wait.
        let proven = || self.serving().any(|link| link.is_up() && link.pool == pool);
        if !link.has_work() || (now.since(since) < self.returns.wait && !proven()) {
            return;
        }
        if !self.has_room_to_return(to) {
            return;
        }
        let mut moved = false;
        for from in 0..self.links.len() {
            let link = &self.links[from];
            let serves = link.serves() && !link.pass_through;
            if !serves || !link.is_up() || link.pool <= pool {
                continue;
            }
            // One link's miners at least; those of others where all of them can be told.
            if moved && link.live() > self.links[to].free() {
                continue;
            }
            moved = true;
            self.retire(now, from, to);
        }
        if moved {
            self.returns.last = Some((pool, now.since_start));
        }
    }

    /// Whether the pool of this link has a place for all miners. Nobody is sent away for a preference.
    fn has_room_to_return(&mut self, to: usize) -> bool {
        let miners: usize = self.serving().map(|link| link.live() as usize).sum();
        let room = self.links[to].free() as usize * self.settings.links_max;
        let link = &mut self.links[to];
        let pool = link.pool;
        if miners > room && !std::mem::replace(&mut link.room_told, true) {
            self.fact(Fact::NoRoomToReturn { pool, room, miners });
        }
        miners <= room
    }

    /// Moves the miners of a link whose session is over to another one that is ready. Says whether there is
    /// one.
    pub(super) fn fail_over(&mut self, now: Now, from: usize) -> bool {
        let left = &self.links[from];
        let home = left.home();
        if left.pass_through {
            return false;
        }
        let is_ready = |link: &&Link| {
            let has_room = link.serves() && !link.pass_through && left.live() <= link.free();
            let other = link.key.index != from && link.has_work();
            // Nobody works on a link that was never ready: only a lease, made for it, takes its place.
            let fits = left.space.is_some() || link.lease.is_some();
            other && fits && (link.is_spare() || has_room)
        };
        let ready = self.links.iter().filter(is_ready);
        let Some(to) = ready
            .min_by_key(|link| link.pool)
            .map(|link| link.key.index)
        else {
            return false;
        };
        self.abandon_shares(from);
        let left = self.links[from].key;
        let old = self.links[from].space.take();
        let extranonce1 = self.begin_to_serve(to);
        let moved = self.move_miners(now, from, to, old.as_ref(), false);
        self.ask_names_of(now, to);
        self.let_go(now, from, LinkEnd::Unused, String::new());
        self.tell_taken_over(home, to, left, extranonce1, false, moved);
        self.serve_waiting(now);
        self.serve_borrowers();
        true
    }

    /// Moves the miners of a link that is well to another one, which is ready and serves from now on.
    pub(super) fn retire(&mut self, now: Now, from: usize, to: usize) {
        let extranonce1 = self.begin_to_serve(to);
        self.tell_guests(from, |lease| HostSays::Retiring { lease });
        let link = &mut self.links[from];
        link.role = Role::Retiring(now.since_start);
        let (home, left, old) = (link.home(), link.key, link.space.clone());
        let moved = self.move_miners(now, from, to, old.as_ref(), true);
        self.ask_names_of(now, to);
        self.tell_taken_over(home, to, left, extranonce1, true, moved);
        self.serve_waiting(now);
        self.serve_borrowers();
    }

    fn tell_taken_over(
        &mut self,
        from: usize,
        to: usize,
        left: LinkKey,
        extranonce1: String,
        returned: bool,
        Moved { told, closed }: Moved,
    ) {
        let link = &self.links[to];
        self.fact(Fact::TakenOver {
            from,
            to: link.pool,
            extranonce1,
            left,
            serves: link.key,
            borrowed: link.lease.is_some(),
            returned,
            told,
            closed,
        });
    }

    /// A link takes miners from now on. Gives the name of its nonce space.
    fn begin_to_serve(&mut self, to: usize) -> String {
        let link = &mut self.links[to];
        if link.is_spare() {
            link.role = Role::Serving;
            // Each miner's first job is clean, whatever the pool said.
            link.fresh = false;
            link.unsaid = Owed::NOTHING;
        }
        self.home_pool = link.pool;
        let space = link.space.as_ref();
        space.map_or_else(String::new, |space| space.borrow().name())
    }

    /// Hangs up links whose miners are elsewhere and have their answers.
    fn end_retirements(&mut self, now: Now) {
        for index in 0..self.links.len() {
            let link = &self.links[index];
            let Role::Retiring(since) = link.role else {
                continue;
            };
            let done = link.is_drained()
                && link.guests.is_empty()
                && now.since(since) >= LATE_SHARES
                && self.miners.iter().all(|miner| miner.link() != Some(index));
            if done {
                self.forget_former(index);
                self.let_go(now, index, LinkEnd::Unused, String::new());
            }
        }
    }

    /// A link whose miners were moved is lost: nothing more is judged there.
    pub(super) fn lose_retiring(&mut self, now: Now, index: usize, end: LinkEnd, detail: String) {
        self.abandon_shares(index);
        // Those that wait for their turn to reconnect work for nothing meanwhile.
        for miner in self.miners.iter_mut() {
            if let Stage::Placed { link, slot } = miner.stage
                && link == index
            {
                if let Some(space) = &self.links[index].space {
                    space.borrow_mut().slots.give_back(slot, self.sequence);
                }
                self.counters.mining -= u64::from(miner.lose_place(now));
            }
        }
        self.forget_former(index);
        self.let_go(now, index, end, detail);
    }

    /// Gives back the slots that miners had on a link which judges no more shares.
    fn forget_former(&mut self, index: usize) {
        let left = self.former.extract_if(|_, former| former.link == index);
        for (_, former) in left {
            former.give_back(self.sequence);
        }
    }
}
