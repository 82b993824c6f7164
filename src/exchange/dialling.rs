//! When a pool link is dialled, given up, and let go.

use std::borrow::Cow;
use std::time::Duration;

use super::{Command, Exchange, Fact, HostSays, Letter, LinkEnd, LinkKey};
use crate::exchange::link::{Link, LinkState, Redirect, Role};
use crate::exchange::pool_side::printable;
use crate::proto::dialect::Subscribe;
use crate::proto::pool::{PoolSession, PoolState};
use crate::proto::share::Reject;
use crate::proto::time::Now;

impl Exchange {
    /// Dials a link at this time.
    pub(super) fn dial_at(&mut self, index: usize, at: Duration) {
        self.links[index].state = LinkState::Waiting(at);
    }

    /// The shell connected a pool link.
    pub fn handle_link_connected(&mut self, now: Now, key: LinkKey) {
        let Some(link) = self.links.get_mut(key.index).filter(|link| link.key == key) else {
            return;
        };
        if !matches!(link.state, LinkState::Dialling(_)) {
            return;
        }
        let pool = &self.settings.pools[link.pool];
        let (host, port) = match &link.redirect {
            Some(redirect) => (redirect.host.as_str(), redirect.port),
            None => (pool.host.as_str(), pool.port),
        };
        let session_id = match &link.session_id {
            // A session id belongs to the pool that gave it, and to nobody else.
            Some((pool, id)) if *pool == link.pool => Some(&**id),
            _ => None,
        };
        link.handshake.clear();
        link.unreadable_lines = 0;
        link.took_bytes = now.since_start;
        let subscribe = Subscribe {
            session_id,
            host,
            port,
            worker: &pool.worker,
            password: &pool.password,
            introduction: &pool.introduction,
        };
        let session = PoolSession::start(self.dialect.as_ref(), subscribe, &mut link.handshake);
        link.state = LinkState::Handshaking(now.since_start, session);
    }

    /// A pool link is over, or could not be connected; `detail` is what the kernel said.
    pub fn handle_link_closed(&mut self, now: Now, key: LinkKey, end: LinkEnd, detail: &str) {
        if self.is_current(key) {
            self.lose_link(now, key.index, end, detail.to_owned());
        }
    }

    /// What time does to a link.
    pub(super) fn tick_link(&mut self, now: Now, index: usize) {
        let limits = self.settings.limits;
        let link = &mut self.links[index];
        link.shrink();
        if link.lease.is_some() && !matches!(link.state, LinkState::Waiting(_)) {
            // Its host watches over it.
            return;
        }
        // Once its session goes on, what the pool says meanwhile must not be forgotten.
        let goes_on = link.goes_on();
        let expired = link
            .lost
            .is_some_and(|lost| now.since(lost) >= limits.resume);
        if expired && (!goes_on || cfg!(break_resume)) {
            self.give_up(now, index);
        }
        let landlord = self.landlord();
        let link = &mut self.links[index];
        match link.state {
            LinkState::Waiting(at) if at > now.since_start || self.shutting_down => {}
            LinkState::Waiting(_) if let Some(host) = landlord => {
                self.ask_for_lease(index, host, None);
            }
            LinkState::Waiting(_) => {
                let pool = link.pool;
                let settings = &self.settings.pools[pool];
                let (host, port) = match &link.redirect {
                    Some(redirect) => (redirect.host.clone(), redirect.port),
                    None => (settings.host.clone(), settings.port),
                };
                link.key.dial += 1;
                link.state = LinkState::Dialling(now.since_start);
                let link = link.key;
                self.commands.push_back(Command::Dial {
                    link,
                    pool,
                    host,
                    port,
                });
            }
            LinkState::Dialling(since) if now.since(since) >= limits.dial_timeout => {
                let detail = "not resolved and connected in time".to_owned();
                self.lose_link(now, index, LinkEnd::ConnectFailed, detail);
            }
            LinkState::Handshaking(since, ref session)
                if now.since(since) >= limits.handshake_timeout =>
            {
                let detail = String::from(match session.state() {
                    PoolState::Subscribing => "no answer to mining.subscribe",
                    PoolState::Authorizing | PoolState::Ready => "no answer to mining.authorize",
                });
                self.lose_link(now, index, LinkEnd::HandshakeTimeout, detail);
            }
            LinkState::Up(..) => {
                if link.unwritten().is_empty() {
                    link.took_bytes = now.since_start;
                } else if now.since(link.took_bytes) >= limits.pool_outbox_stalled {
                    self.lose_link(now, index, LinkEnd::Stalled, String::new());
                    return;
                }
                if let Some(end) = link.silence(now.since_start, &limits) {
                    self.lose_link(now, index, end, String::new());
                    return;
                }
                link.keep_alive(now.since_start, self.dialect.as_ref());
                let Some(deadline) = now.since_start.checked_sub(limits.reply_timeout) else {
                    return;
                };
                let (mut expired, mut immediate) = (0, 0);
                while let Some(share) = self.links[index].pending.take_older(deadline) {
                    expired += 1;
                    immediate += usize::from(share.answered);
                    self.refuse_share(index, &share, Reject::PoolSilent);
                }
                let link = &mut self.links[index];
                if expired > 0 {
                    link.output.release(&link.pending);
                }
                if immediate > 0 {
                    let (pool, shares) = (link.pool, immediate);
                    self.fact(Fact::ImmediateLost { pool, shares });
                }
            }
            _ => {}
        }
    }

    /// A link's connection is over; another one is made when its time comes.
    pub(super) fn lose_link(&mut self, now: Now, index: usize, end: LinkEnd, detail: String) {
        self.note_names_at_end(now, index, end);
        match self.links[index].role {
            Role::Serving => {}
            Role::Probe | Role::Next => return self.lose_spare(now, index, end, &detail),
            Role::Retiring(_) => return self.lose_retiring(now, index, end, detail),
        }
        let random = self.random();
        let pools = self.settings.pools.len();
        let link = &mut self.links[index];
        let was_up = link.is_up();
        let stable = link.was_stable(now.since_start);
        if stable {
            link.tries = 0;
        }
        let delay = link.next_delay(pools, random);
        let from = link.pool;
        // The same pool gets the first try after a loss. Whoever fails a try is followed by the next.
        // A pool that sends us elsewhere is obeyed once: one that does nothing else has failed.
        let asked_again = end == LinkEnd::Reconnect && link.tries == 0;
        // A lost link is not a lost pool: as long as the session may be resumed no other pool is tried.
        let resuming = !was_up && link.lost.is_some() && end.may_pass();
        let bad = was_up && end.is_pools();
        let silent = matches!(end, LinkEnd::NoJob | LinkEnd::NoReply | LinkEnd::Stalled);
        if bad {
            link.pool = (link.pool + 1) % pools;
            link.tries = 1;
        } else if !stable && !resuming && end != LinkEnd::NonceSpaceTaken {
            if !asked_again && (!was_up || link.tries > 0) {
                link.pool = (link.pool + 1) % pools;
            }
            link.tries = link.tries.saturating_add(1);
        }
        // A failed try decides the wait with itself counted in.
        let delay = match () {
            () if was_up && !bad => delay,
            () if resuming => Link::resume_delay(random),
            () => link.next_delay(pools, random),
        };
        if was_up {
            link.lost = Some(now.since_start);
            self.counters.resent += link.output.rewind(&mut link.pending) as u64;
            self.excuse_neighbours(from);
        }
        let link = &mut self.links[index];
        link.forget_unready();
        let old = link.end_connection();
        link.state = if self.shutting_down {
            LinkState::Idle
        } else {
            LinkState::Waiting(now.since_start + delay)
        };
        let (to, pending) = (link.pool, link.pending.len());
        if was_up {
            self.tell_guests(index, |lease| HostSays::Paused { lease });
        }
        if was_up && silent {
            let (pool, silence) = (from, Some(end));
            self.tell_all(&Letter::PoolBad { pool, silence });
        }
        self.counters.link_ends[end as usize] += 1;
        self.commands.push_back(Command::HangUp(old));
        self.fact(Fact::LinkLost {
            pool: from,
            end,
            detail: printable(&detail),
            was_up,
            pending,
        });
        if from != to {
            self.fact(Fact::PoolChanged { from, to });
        }
        if self.shutting_down {
            self.abandon_shares(index);
        }
    }

    /// The session that was lost was not resumed in time: the next pool is tried, if there is one.
    pub(super) fn leave_lost_pool(&mut self, now: Now, index: usize) {
        let pools = self.settings.pools.len();
        let link = &mut self.links[index];
        // Another one is tried already where the lost one was bad.
        let lost = link.space.as_ref().map(|space| space.borrow().pool);
        if pools < 2 || lost.is_some_and(|lost| lost != link.pool) {
            return;
        }
        if matches!(link.state, LinkState::Waiting(_)) {
            let from = link.pool;
            link.pool = (from + 1) % pools;
            // The pool that is left may have sent us elsewhere.
            link.redirect = None;
            link.tries = 1;
            link.state = LinkState::Waiting(now.since_start);
            let to = link.pool;
            self.fact(Fact::PoolChanged { from, to });
        } else if !link.is_up() {
            let detail = "not back in resume_seconds".to_owned();
            self.lose_link(now, index, LinkEnd::HandshakeTimeout, detail);
        }
    }

    /// `client.reconnect` is obeyed for the same host and for those that the operator named: everything
    /// else is how a hijacked pool takes a farm away.
    pub(super) fn handle_reconnect(
        &mut self,
        now: Now,
        index: usize,
        host: Option<Cow<'_, str>>,
        port: Option<u16>,
        wait_seconds: u32,
    ) {
        let link = &self.links[index];
        let pool = &self.settings.pools[link.pool];
        let allowed = host.as_ref().is_none_or(|host| {
            let own = std::iter::once(&pool.host).chain(&pool.reconnect_hosts);
            own.into_iter().any(|own| own.eq_ignore_ascii_case(host))
        });
        let (pool_index, port) = (link.pool, port.filter(|&port| port != 0));
        if !allowed {
            let host = printable(&host.unwrap_or_default());
            self.fact(Fact::ReconnectRefused {
                pool: pool_index,
                host,
            });
            return;
        }
        let redirect = Redirect {
            host: host.map_or_else(|| pool.host.clone(), Cow::into_owned),
            port: port.unwrap_or(pool.port),
        };
        let wait = Link::reconnect_wait(wait_seconds);
        self.lose_link(now, index, LinkEnd::Reconnect, String::new());
        let link = &mut self.links[index];
        if let LinkState::Waiting(at) = link.state
            && link.pool == pool_index
        {
            link.redirect = Some(redirect);
            link.state = LinkState::Waiting(at.max(now.since_start + wait));
        }
    }

    /// Lets go of links that have had no miner for a while.
    pub(super) fn release_idle_links(&mut self, now: Now) {
        let primary = self.primary();
        for index in 0..self.links.len() {
            if !self.links[index].serves() {
                continue;
            }
            let used = if Some(index) == primary {
                !self.miners.is_empty()
            } else {
                self.waiting_count() > 0 || self.links[index].live() > 0
            };
            let used = used || !self.links[index].guests.is_empty() || !self.borrowers.is_empty();
            let link = &mut self.links[index];
            if used {
                link.unused_since = None;
                continue;
            }
            let since = *link.unused_since.get_or_insert(now.since_start);
            if now.since(since) >= self.settings.limits.link_unused && link.is_drained() {
                self.let_go(now, index, LinkEnd::Unused, String::new());
            }
        }
    }

    /// Hangs up a link that nobody works on any more.
    pub(super) fn let_go(&mut self, now: Now, index: usize, end: LinkEnd, detail: String) {
        if self.links[index].lease.is_some() {
            return self.let_go_of_lease(now, index);
        }
        self.end_leases(index);
        let served = self.links[index].role == Role::Serving;
        let key = self.forget_link(now, index);
        self.counters.link_ends[end as usize] += 1;
        self.commands.push_back(Command::HangUp(key));
        let pool = self.links[index].pool;
        self.fact(Fact::LinkLost {
            pool,
            end,
            detail: printable(&detail),
            was_up: served,
            pending: 0,
        });
    }

    /// A link is nobody's from now on. Returns the name that its connection had.
    pub(super) fn forget_link(&mut self, now: Now, index: usize) -> LinkKey {
        let link = &mut self.links[index];
        debug_assert!(link.is_drained(), "every share is answered");
        let key = link.end_connection();
        link.state = LinkState::Idle;
        link.role = Role::Serving;
        link.tries = 0;
        link.unused_since = None;
        // While it is away another link may be given the same bytes.
        link.space = None;
        link.fresh = true;
        link.end_epoch();
        self.end_warm(now, index);
        key
    }
}
