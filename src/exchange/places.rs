//! Which miner has which slot of which link: subscribes, and the wait for a pool.

use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Fact, MinerToken};
use crate::exchange::link::Link;
use crate::exchange::miner_side::write_reject;
use crate::exchange::miners::{HeldConfigure, Stage, Waiting};
use crate::exchange::outbox::Owed;
use crate::exchange::pool_side::printable;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::wire::request_id::RequestId;

impl Exchange {
    pub(super) fn handle_subscribe(
        &mut self,
        now: Now,
        token: MinerToken,
        id: RequestId,
        agent: &str,
    ) {
        let wanted = self.wants_pass_through(agent);
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        match &mut miner.stage {
            // Again: the same data again.
            Stage::Placed { link, slot } => {
                let (link, slot) = (*link, *slot);
                self.answer_subscribe(token, &id, link, slot);
            }
            // Again while it waits: it waits once, under the newer id, and the older one is not left
            // without an answer.
            Stage::Waiting(waiting) => {
                let older = waiting.subscribe.replace(id);
                if let Some(older) = older {
                    let reject = Reject::Malformed("subscribed again before the answer");
                    self.refuse_request(token, &older, reject);
                    return;
                }
                // Its configure waits for the answer. Only now is known where it will be placed.
                let was = std::mem::replace(&mut miner.pass_through, wanted);
                self.waiting_counts[usize::from(was)] -= 1;
                self.waiting_counts[usize::from(wanted)] += 1;
                self.fact(Fact::Subscribed {
                    miner: token,
                    agent: printable(agent),
                });
                if wanted {
                    self.find_place(now, true);
                }
            }
            Stage::New => {
                miner.pass_through = wanted;
                self.fact(Fact::Subscribed {
                    miner: token,
                    agent: printable(agent),
                });
                self.place_subscribe(now, token, id);
            }
            Stage::Unplaced | Stage::Leaving(..) => {
                self.refuse_request(token, &id, Reject::NoPool);
            }
        }
    }

    fn wants_pass_through(&self, agent: &str) -> bool {
        let agents = &self.settings.pass_through_agents;
        if agents.is_empty() {
            return false;
        }
        let agent = agent.to_lowercase();
        agents.iter().any(|part| agent.contains(part))
    }

    /// Finds a slot for a subscribe, or lets it wait, or refuses it.
    fn place_subscribe(&mut self, now: Now, token: MinerToken, id: RequestId) {
        let Some(pass_through) = self.miners.get_mut(token).map(|miner| miner.pass_through) else {
            return;
        };
        let placed = match self.find_place(now, pass_through) {
            Place::On(link) => self.take_slot(link).map(|slot| (link, slot)),
            Place::Full => None,
            Place::Wait => {
                if let Some(miner) = self.miners.get_mut(token) {
                    miner.stage = Stage::Waiting(Box::new(Waiting {
                        since: now.since_start,
                        subscribe: Some(id),
                        configure: None,
                    }));
                    self.waiting.push_back(token);
                    self.waiting_counts[usize::from(pass_through)] += 1;
                }
                return;
            }
        };
        let Some((link, slot)) = placed else {
            let spaces = self.links.iter().filter_map(|link| link.space.as_ref());
            let miners = spaces.map(|space| space.borrow().slots.live() as usize);
            self.fact(Fact::Full {
                miners: miners.sum(),
                links: self.links.len(),
            });
            self.refuse_request(token, &id, Reject::Full);
            self.close_miner(token, CloseHow::Graceful, CloseReason::Full);
            return;
        };
        if let Some(miner) = self.miners.get_mut(token) {
            miner.stage = Stage::Placed { link, slot };
            miner.session.subscribe();
            miner.since = now.seconds();
        }
        self.links[link].unused_since = None;
        self.answer_subscribe(token, &id, link, slot);
        self.start_mining(token);
        self.ask_names_of_miner(now, token);
        // The first job was part of the answer, and none may come twice.
        if self.dialect.logs_in()
            && let Some(miner) = self.miners.get_mut(token)
        {
            miner.owed = Owed::NOTHING;
        }
    }

    fn find_place(&mut self, now: Now, pass_through: bool) -> Place {
        let lane = |link: &&Link| link.pass_through == pass_through && link.serves();
        let lane_links = || self.links.iter().filter(lane);
        // Where the answer holds a job there must be one.
        let logs_in = self.dialect.logs_in();
        let is_ready = |link: &Link| link.is_up() && (!logs_in || link.has_work());
        let has_place = |link: &&Link| is_ready(link) && link.has_room();
        if let Some(link) = lane_links().filter(has_place).min_by_key(|link| link.pool) {
            return Place::On(link.key.index);
        }
        let lane_index = |link: &Link| link.key.index;
        let up: Vec<usize> = lane_links().map(lane_index).collect();
        if up.into_iter().any(|index| self.ask_for_slots(index)) {
            return Place::Wait;
        }
        let lane_links = || self.links.iter().filter(lane);
        if lane_links().any(|link| is_ready(link) && self.expects_slots(link)) {
            return Place::Wait;
        }
        // A link that is on its way may have room; each such link of one miner has it only once.
        let coming = |link: &&Link| !is_ready(link) && !link.is_declined();
        let room = match lane_links().find_map(|link| link.space.as_ref()) {
            Some(space) => space
                .borrow()
                .plan
                .capacity()
                .min(self.settings.miners_per_link),
            None if pass_through => 1,
            None => self.settings.miners_per_link,
        };
        let coming = lane_links().filter(coming).count();
        let waiting = self.waiting_counts[usize::from(pass_through)];
        if coming > 0 && waiting < coming.saturating_mul(room as usize) {
            return Place::Wait;
        }
        if self.shutting_down {
            return Place::Full;
        }
        let serving = self.links.iter().filter(|link| link.serves()).count();
        if serving < self.settings.links_max {
            self.open_link(now, pass_through);
        } else if coming == 0 {
            return Place::Full;
        }
        Place::Wait
    }

    /// Dials a link for miners.
    pub(super) fn open_link(&mut self, now: Now, pass_through: bool) {
        // A pool that works for a neighbour is tried before one that worked for us once.
        let pool = self
            .best_pool_up()
            .or_else(|| self.neighbours.best_pool_up());
        let pool = pool.unwrap_or(self.home_pool);
        let index = self.free_link(pass_through, pool);
        self.dial_at(index, now.since_start);
        self.tick_link(now, index);
    }

    /// A link that nobody needs, or another one.
    pub(super) fn free_link(&mut self, pass_through: bool, pool: usize) -> usize {
        let idle = self.links.iter().position(Link::is_idle);
        let index = idle.unwrap_or_else(|| {
            self.links
                .push(Link::new(self.links.len(), pool, pass_through));
            self.links.len() - 1
        });
        let link = &mut self.links[index];
        debug_assert!(link.space.is_none(), "nobody works on it");
        link.pass_through = pass_through;
        link.pool = pool;
        link.tries = 0;
        link.unused_since = None;
        index
    }

    /// The first of the links on which many miners work: it stays while any miner is connected.
    pub(super) fn primary(&self) -> Option<usize> {
        self.links
            .iter()
            .position(|link| link.serves() && !link.pass_through)
    }

    fn take_slot(&mut self, link: usize) -> Option<u16> {
        let oldest_job = self.oldest_job();
        let space = self.links.get(link)?.space.as_ref()?;
        let taken = space.borrow_mut().slots.take(oldest_job)?;
        self.counters.slots_unrested += u64::from(!taken.rested);
        self.ask_ahead(link);
        Some(taken.slot & if cfg!(break_slots) { !1 } else { !0 })
    }

    /// Answers a subscribe in front of whatever waited for that answer.
    fn answer_subscribe(&mut self, token: MinerToken, id: &RequestId, link: usize, slot: u16) {
        let Some(space) = self.links.get(link).and_then(|link| link.space.as_ref()) else {
            return;
        };
        let (extranonce1, extranonce2_len) = {
            let space = space.borrow();
            (space.extranonce1_of(slot), space.plan.extranonce2_len)
        };
        let mut reply = Vec::new();
        let logs_in = self.dialect.logs_in();
        let link = self.links.get(link).filter(|_| logs_in);
        let job = link.and_then(|link| self.job_patch.job_of(link, slot));
        let job = job.unwrap_or_default();
        self.dialect
            .write_subscription(&mut reply, id, &extranonce1, extranonce2_len, job);
        self.say(token, |out| out.extend_from_slice(&reply));
    }

    /// Answers a miner that asks for the job that it should be at.
    pub(super) fn handle_get_job(&mut self, token: MinerToken, id: &RequestId) {
        let placed = self.miners.get_mut(token).and_then(|miner| {
            let Stage::Placed { link, slot } = miner.stage else {
                return None;
            };
            miner.session.is_mining().then_some((link, slot))
        });
        let Some((link, slot)) = placed else {
            return self.refuse_request(token, id, Reject::NotSubscribed);
        };
        let mut reply = Vec::new();
        let link = self.links.get(link);
        match link.and_then(|link| self.job_patch.job_of(link, slot)) {
            Some(job) => self.dialect.write_requested_job(&mut reply, id, job),
            None => return self.refuse_request(token, id, Reject::NoPool),
        }
        self.say(token, |out| out.extend_from_slice(&reply));
    }

    /// Answers every subscribe that waits, now that a link is ready.
    pub(super) fn serve_waiting(&mut self, now: Now) {
        for _ in 0..self.waiting.len() {
            let Some(token) = self.waiting.pop_front() else {
                return;
            };
            let Some(miner) = self.miners.get_mut(token) else {
                continue;
            };
            if !matches!(miner.stage, Stage::Waiting(_)) {
                continue;
            }
            let Stage::Waiting(waiting) = std::mem::take(&mut miner.stage) else {
                continue;
            };
            self.waiting_counts[usize::from(miner.pass_through)] -= 1;
            // Its answer goes in front of the replies that waited behind it.
            let held = miner.outbox.take();
            let Waiting {
                since,
                subscribe,
                configure,
            } = *waiting;
            self.serve_one(now, token, subscribe, configure);
            if let Some(miner) = self.miners.get_mut(token) {
                if let Stage::Waiting(again) = &mut miner.stage {
                    again.since = since;
                }
                match (&mut miner.outbox, held) {
                    (Some(outbox), Some(held)) => {
                        outbox.replies.extend_from_slice(&held.replies);
                        outbox.rest = held.rest;
                        outbox.kept = held.kept;
                    }
                    (outbox @ None, held) => *outbox = held,
                    (Some(_), None) => {}
                }
            }
        }
    }

    /// Answers what a miner waited for, the configure first: it is ahead of the subscribe in all firmware.
    fn serve_one(
        &mut self,
        now: Now,
        token: MinerToken,
        subscribe: Option<RequestId>,
        configure: Option<HeldConfigure>,
    ) {
        if let Some(held) = configure {
            self.configure_again(now, token, held);
            // It waited for us with its subscribe, which is due from now on.
            if let Some(miner) = self.miners.get_mut(token) {
                miner.since = now.seconds();
            }
        }
        let Some(id) = subscribe else {
            return;
        };
        match self.miners.get_mut(token).map(|miner| &mut miner.stage) {
            Some(Stage::Waiting(waiting)) => waiting.subscribe = Some(id),
            _ => self.place_subscribe(now, token, id),
        }
    }

    /// Refuses what waited too long for a pool.
    pub(super) fn expire_waiting(&mut self, now: Now, wait_max: Duration) {
        while let Some(&token) = self.waiting.front() {
            let miner = self.miners.get_mut(token);
            let Some(Stage::Waiting(waiting)) = miner.as_ref().map(|miner| &miner.stage) else {
                self.waiting.pop_front();
                continue;
            };
            if now.since(waiting.since) < wait_max {
                return;
            }
            let configure = waiting.configure.as_ref().map(|held| held.id.clone());
            let ids = [configure, waiting.subscribe.clone()];
            self.waiting.pop_front();
            self.refuse_waiting(token, ids.iter().flatten(), Reject::NoPool);
            self.close_miner(token, CloseHow::Graceful, CloseReason::NoPool);
        }
    }

    fn refuse_waiting<'a>(
        &mut self,
        token: MinerToken,
        ids: impl Iterator<Item = &'a RequestId>,
        reject: Reject,
    ) {
        let mut replies = Vec::new();
        for id in ids {
            self.counters.refused[reject.index()] += 1;
            write_reject(self.dialect.as_ref(), &mut replies, id, reject);
        }
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        miner.stage = Stage::New;
        self.waiting_counts[usize::from(miner.pass_through)] -= 1;
        self.say(token, |out| {
            out.splice(0..0, replies);
        });
    }
}

/// What becomes of a subscribe.
enum Place {
    /// There is a slot on this link.
    On(usize),
    /// A link is on its way.
    Wait,
    /// Every slot is taken, and no more links may be opened.
    Full,
}
