//! A link of a neighbour's, of which we have a part: the side that borrows.
//!
//! To our miners it is a link like any other: it has a nonce space (the slots that were lent), jobs, and
//! shares that wait for answers. It has no connection: what a pool would say comes in letters of its host,
//! and shares leave in letters. Why the host lends, and how, is in `lending.rs`.
//!
//! ```text
//!          Borrow           Lent             Paused             Resumed
//! (none) ─────────▶ asking ──────▶ ready ─────────▶ asking ─────────▶ ready
//!                     └─ Declined: (none)    └─ Ended: asks again, or dials itself
//! ```
//!
//! Two kinds of exchange borrow: one that may have no link of its own (`pool_links: N`), and one whose link
//! was lost or refused while a neighbour's to the same pool holds, so that only its own link is at fault
//! and not the pool. The second kind dials again when what it borrowed is over.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::{Exchange, Fact, GuestSays, HostSays, LeaseId, Letter, LinkKey, ShareEnd, Terms};
use crate::exchange::lending::spare_slots;
use crate::exchange::link::{Link, LinkState, Role};
use crate::exchange::miners::Stage;
use crate::exchange::settings::PoolLinks;
use crate::exchange::slots::{NonceSpace, Slots};
use crate::proto::pool::Verdict;
use crate::proto::time::Now;

/// A neighbour that could not lend, or had no more slots, is asked again after so long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a link is that has no connection: a part of a neighbour's.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The shard that has the connection.
    pub(crate) host: usize,
    /// What it is called there; `None` while it is asked for.
    pub(crate) id: Option<LeaseId>,
    /// How many nonce spaces were lent under that name, one after the other.
    spaces: u32,
    /// The host's miners go elsewhere, and ours should too.
    pub(crate) leaving: bool,
    /// More slots were asked for.
    more_asked: bool,
    /// When there were no more.
    none_left: Option<Duration>,
}

impl Link {
    /// Whether its host had nothing to lend when it was asked last.
    #[must_use]
    pub(crate) const fn is_declined(&self) -> bool {
        self.lease.is_some() && matches!(self.state, LinkState::Waiting(_))
    }
}

impl Exchange {
    /// The shard that has the links of this one, where it may have none of its own.
    pub(super) const fn landlord(&self) -> Option<usize> {
        let own = self.settings.part.0 as usize;
        match self.settings.pool_links {
            PoolLinks::Shared(hosts) if own >= hosts && hosts > 0 => Some(own % hosts),
            _ => None,
        }
    }

    /// Asks a neighbour for a part of its link.
    pub(super) fn ask_for_lease(&mut self, index: usize, host: usize, pool: Option<usize>) {
        let link = &mut self.links[index];
        link.key.dial += 1;
        link.state = LinkState::Asking;
        link.lease = Some(Lease {
            host,
            id: None,
            spaces: 0,
            leaving: false,
            more_asked: false,
            none_left: None,
        });
        let request = link.key;
        let slots = self.slots_needed();
        self.write_host(
            host,
            GuestSays::Borrow {
                request,
                pool,
                slots,
            },
        );
    }

    /// Slots for all miners that have one, or wait for one.
    fn slots_needed(&self) -> u32 {
        let live = self.serving().map(Link::live).sum::<u32>() as usize;
        let needed = live + self.waiting_count();
        u32::try_from(needed).unwrap_or(u32::MAX)
    }

    fn write_host(&mut self, host: usize, says: GuestSays) {
        self.letters.push_back((host, Letter::Guest(says)));
    }

    fn leased(&self, lease: LeaseId, host: usize) -> Option<usize> {
        let is_it = |link: &Link| {
            let own = link.lease.as_ref();
            own.is_some_and(|own| own.id == Some(lease) && own.host == host)
        };
        self.links.iter().position(is_it)
    }

    /// A host has something to say.
    pub(super) fn handle_host(&mut self, now: Now, host: usize, says: HostSays) {
        match says {
            HostSays::Lent {
                request,
                lease,
                terms,
            } => self.handle_lent(now, host, request, lease, *terms),
            HostSays::Declined { request } => self.handle_declined(now, host, request),
            HostSays::Job { lease, job } => {
                if let Some(index) = self.leased(lease, host) {
                    self.handle_job(now, index, *job);
                    self.follow_host(now);
                }
            }
            HostSays::Target { lease, target } => {
                if let Some(index) = self.leased(lease, host) {
                    self.handle_target(index, target);
                }
            }
            HostSays::VersionMask { lease, mask } => {
                if let Some(index) = self.leased(lease, host) {
                    self.handle_version_mask(index, mask);
                }
            }
            HostSays::Slots { lease, slots } => {
                if let Some(index) = self.leased(lease, host) {
                    self.handle_slots(now, index, slots);
                }
            }
            HostSays::Answers { lease, answers } => {
                if let Some(index) = self.leased(lease, host) {
                    for (number, end) in answers {
                        self.handle_share_end(now, index, number, end);
                    }
                }
            }
            HostSays::Paused { lease } => {
                if let Some(index) = self.leased(lease, host) {
                    let link = &mut self.links[index];
                    link.lost = Some(now.since_start);
                    link.state = LinkState::Asking;
                }
            }
            HostSays::Resumed { lease } => {
                if let Some(index) = self.leased(lease, host) {
                    let link = &mut self.links[index];
                    link.lost = None;
                    link.state = LinkState::Lent;
                    self.say_unsaid(index);
                    self.serve_waiting(now);
                }
            }
            HostSays::Retiring { lease } => {
                if let Some(index) = self.leased(lease, host)
                    && let Some(lease) = &mut self.links[index].lease
                {
                    lease.leaving = true;
                    self.keep_lease(now);
                }
            }
            HostSays::Ended { lease } => {
                if let Some(index) = self.leased(lease, host) {
                    self.lose_lease(now, index);
                }
            }
        }
    }

    fn handle_lent(
        &mut self,
        now: Now,
        host: usize,
        request: LinkKey,
        lease: LeaseId,
        terms: Terms,
    ) {
        let asked = |link: &Link| {
            let is_new = link.key == request && matches!(link.state, LinkState::Asking);
            let own = link.lease.as_ref().filter(|own| own.host == host);
            own.is_some_and(|own| own.id == Some(lease) || (is_new && own.id.is_none()))
        };
        let Some(index) = self.links.iter().position(asked) else {
            return self.write_host(host, GuestSays::GiveBack { lease });
        };
        let Terms {
            pool,
            extranonce1,
            share_session,
            plan,
            version_mask,
            slots,
            job,
            next_target,
        } = terms;
        let link = &mut self.links[index];
        let mut left = 0;
        if let Some(own) = &mut link.lease {
            own.id = Some(lease);
            left = own.spaces;
            own.spaces += 1;
            (own.more_asked, own.none_left) = (false, None);
        }
        link.pool = pool;
        link.lost = None;
        link.tries = 0;
        link.state = LinkState::Lent;
        // Where it was lent before, the older jobs belong to the older bytes.
        link.jobs.clear();
        link.fresh = true;
        let space = NonceSpace {
            pool,
            extranonce1,
            share_session,
            plan,
            slots: Slots::lent(plan.capacity(), slots),
        };
        self.handle_version_mask(index, version_mask);
        self.change_own_space(now, index, Rc::new(RefCell::new(space)));
        if left > 0 {
            self.write_host(host, GuestSays::Left { lease, space: left });
        }
        self.end_warm(now, index);
        if let Some((job, target)) = job {
            if let Some(target) = target {
                self.handle_target(index, target);
            }
            self.handle_job(now, index, job);
        }
        if let Some(target) = next_target {
            self.handle_target(index, target);
        }
        self.fact(Fact::Borrowed { pool, shard: host });
        if self.links[index].is_spare() {
            return self.follow_host(now);
        }
        self.home_pool = pool;
        self.serve_waiting(now);
    }

    fn handle_declined(&mut self, now: Now, host: usize, request: LinkKey) {
        let asked = |link: &Link| {
            let own = link.lease.as_ref();
            link.key == request && own.is_some_and(|own| own.host == host && own.id.is_none())
        };
        let Some(index) = self.links.iter().position(asked) else {
            return;
        };
        self.lease_declined = Some(now.since_start);
        if self.links[index].role == Role::Serving {
            // It has no room, or stops: nobody else lends to us.
            self.links[index].state = LinkState::Waiting(now.since_start + ASK_AGAIN_AFTER);
            self.send_away(now, index);
            self.serve_waiting(now);
        } else {
            self.let_go_of_lease(now, index);
        }
    }

    /// Has the miners of a link reconnect whose nonce space is gone, while there is no other one for them.
    fn send_away(&mut self, now: Now, index: usize) {
        let Some(old) = self.links[index].space.take() else {
            return;
        };
        for miner in self.miners.iter_mut() {
            let Stage::Placed { link, slot } = miner.stage else {
                continue;
            };
            if link == index {
                old.borrow_mut().slots.give_back(slot, self.sequence);
                self.counters.mining -= u64::from(miner.lose_place(now));
                self.leaving.push_back(miner.token);
            }
        }
    }

    fn handle_slots(&mut self, now: Now, index: usize, slots: Vec<Range<u32>>) {
        let link = &mut self.links[index];
        if let Some(own) = &mut link.lease {
            own.more_asked = false;
            own.none_left = slots.is_empty().then_some(now.since_start);
        }
        if let Some(space) = &link.space {
            space.borrow_mut().slots.add(slots);
        }
        self.serve_waiting(now);
    }

    fn handle_share_end(&mut self, now: Now, index: usize, number: u64, end: ShareEnd) {
        match end {
            ShareEnd::Accepted => self.handle_answer(now, index, number, Verdict::Accepted),
            ShareEnd::Rejected { code, text } => {
                let text = String::from(text).into();
                self.handle_answer(now, index, number, Verdict::Rejected { code, text });
            }
            ShareEnd::Refused(reject) => {
                let link = &mut self.links[index];
                if let Some(share) = link.pending.take(number) {
                    link.output.release(&link.pending);
                    self.refuse_share(index, &share, reject);
                }
            }
        }
    }

    /// What was borrowed is over.
    fn lose_lease(&mut self, now: Now, index: usize) {
        let link = &mut self.links[index];
        let (pool, pending) = (link.pool, link.pending.len());
        let Some(lease) = &mut link.lease else {
            return;
        };
        let host = lease.host;
        if let Some(lease) = lease.id.take() {
            self.write_host(host, GuestSays::GiveBack { lease });
        }
        self.fact(Fact::LeaseEnded {
            pool,
            shard: host,
            pending,
        });
        match self.links[index].role {
            Role::Serving => {}
            Role::Probe | Role::Next | Role::Retiring(_) => {
                return self.lose_retiring(now, index, super::LinkEnd::Unused, String::new());
            }
        }
        self.abandon_shares(index);
        if self.shutting_down {
            self.links[index].state = LinkState::Idle;
        } else if self.landlord().is_some() {
            self.ask_for_lease(index, host, None);
        } else {
            let link = &mut self.links[index];
            link.lease = None;
            link.end_connection();
            link.tries = 0;
            link.state = LinkState::Waiting(now.since_start);
            self.fail_over(now, index);
        }
    }

    /// Gives back what was borrowed, or is asked for. The shares are answered.
    pub(super) fn let_go_of_lease(&mut self, now: Now, index: usize) {
        let lease = self.links[index].lease.take();
        if let Some(Lease {
            host,
            id: Some(lease),
            ..
        }) = lease
        {
            self.write_host(host, GuestSays::GiveBack { lease });
        }
        self.forget_link(now, index);
    }

    /// Keeps a part of a neighbour's link ready where that is what miners need next.
    pub(super) fn keep_lease(&mut self, now: Now) {
        let wanted = self.wanted_lease();
        let stands = |link: &Link| link.role == Role::Next && link.lease.is_some();
        let stands = self.links.iter().position(stands);
        match (wanted, stands) {
            (None, Some(index)) => self.let_go_of_lease(now, index),
            (Some((host, pool)), None) => {
                let declined = self.lease_declined;
                if declined.is_some_and(|at| now.since(at) < ASK_AGAIN_AFTER) {
                    return;
                }
                let home = pool.unwrap_or(self.home_pool);
                let index = self.free_link(false, home);
                self.links[index].role = Role::Next;
                self.ask_for_lease(index, host, pool);
            }
            _ => {}
        }
    }

    /// From whom to borrow now, and at which pool.
    fn wanted_lease(&self) -> Option<(usize, Option<usize>)> {
        // A neighbour's link has one name for all that is sent on it.
        if self.shutting_down || self.accounts.is_some() {
            return None;
        }
        let mut leaving = self.serving().filter_map(|link| link.lease.as_ref());
        if let Some(lease) = leaving.find(|lease| lease.leaving) {
            return Some((lease.host, None));
        }
        if self.settings.pool_links != PoolLinks::PerShard {
            return None;
        }
        // A link that was lost, or that its pool does not take, while neighbours' hold. Where some of them
        // are lost too their pool is left, if there is another.
        let is_away = |link: &&Link| {
            link.lease.is_none() && !link.is_up() && (link.space.is_some() || link.tries > 0)
        };
        let home = self.serving().filter(is_away).map(Link::home).max()?;
        let pool = self
            .neighbours
            .best_pool_up()
            .filter(|&pool| pool <= home)?;
        if self.is_lost_elsewhere(pool) && self.settings.pools.len() > 1 {
            return None;
        }
        // Where a pool is just back our own link may be too, with its old session: nobody need be moved.
        let before = self.last_tick.saturating_sub(self.settings.limits.resume);
        let mut hosts = self.neighbours.up_since(pool, before);
        // Each neighbour carries a part of those that need it.
        let count = self.neighbours.up_since(pool, before).count();
        let chosen = self.settings.part.0 as usize % count.max(1);
        Some((hosts.nth(chosen)?, Some(pool)))
    }

    /// Moves miners after those of their host.
    pub(super) fn follow_host(&mut self, now: Now) {
        let to = self
            .links
            .iter()
            .position(|link| link.role == Role::Next && link.lease.is_some() && link.has_work());
        let Some(to) = to else {
            return;
        };
        for from in 0..self.links.len() {
            let link = &self.links[from];
            let leaving = link.lease.as_ref().is_some_and(|lease| lease.leaving);
            if link.role == Role::Serving && leaving {
                self.retire(now, from, to);
            }
        }
    }

    /// Asks for slots where few are left, and gives back those that nobody will need soon.
    pub(super) fn balance_slots(&mut self, now: Now) {
        let per_link = self.settings.miners_per_link;
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let (Some(own), Some(space)) = (&mut link.lease, &link.space) else {
                continue;
            };
            let again = |at: Duration| now.since(at) >= ASK_AGAIN_AFTER;
            own.none_left = own.none_left.filter(|&at| !again(at));
            let (Some(lease), host, spaces) = (own.id, own.host, own.spaces) else {
                continue;
            };
            let slots = {
                let space = &mut space.borrow_mut();
                let spare = spare_slots(space.plan.capacity().min(per_link));
                let free = space.slots.free();
                if free <= 2 * spare {
                    continue;
                }
                space.slots.part_with(free - spare)
            };
            self.write_host(
                host,
                GuestSays::FewerSlots {
                    lease,
                    space: spaces,
                    slots,
                },
            );
        }
    }

    /// Asks for more slots of a link, if some may be left. Says whether some may come.
    pub(super) fn ask_for_slots(&mut self, index: usize) -> bool {
        let slots = u32::try_from(self.waiting_count()).unwrap_or(u32::MAX);
        let link = &mut self.links[index];
        let up = link.is_up();
        let Some(own) = &mut link.lease else {
            return false;
        };
        let Some(lease) = own.id.filter(|_| up && own.none_left.is_none()) else {
            return false;
        };
        let host = own.host;
        if !std::mem::replace(&mut own.more_asked, true) {
            self.write_host(host, GuestSays::MoreSlots { lease, slots });
        }
        true
    }

    /// Asks for more slots before the last one is taken.
    pub(super) fn ask_ahead(&mut self, index: usize) {
        let link = &self.links[index];
        let (Some(_), Some(space)) = (&link.lease, &link.space) else {
            return;
        };
        let few = {
            let space = space.borrow();
            let room = space.plan.capacity().min(self.settings.miners_per_link);
            space.slots.free() < spare_slots(room) / 2 + 1
        };
        if few {
            self.ask_for_slots(index);
        }
    }

    /// Writes the shares on borrowed links: one letter for each.
    pub(super) fn send_shares(&mut self) {
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let Some(own) = link.lease.as_ref().filter(|_| link.is_up()) else {
                continue;
            };
            let (Some(lease), host) = (own.id, own.host) else {
                continue;
            };
            let lines: Box<[u8]> = link.output.unwritten().into();
            if lines.is_empty() {
                continue;
            }
            link.output.wrote(lines.len());
            link.output.release(&link.pending);
            self.write_host(host, GuestSays::Shares { lease, lines });
        }
    }
}
