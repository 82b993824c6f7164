//! One link to a pool as the exchange sees it, and when to dial it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::exchange::early::Early;
use crate::exchange::facts::{LinkEnd, LinkKey};
use crate::exchange::jobs::Jobs;
use crate::exchange::leases::Lease;
use crate::exchange::lending::Guest;
use crate::exchange::names::LinkNames;
use crate::exchange::outbox::Owed;
use crate::exchange::output::LinkOutput;
use crate::exchange::pending::{Pending, PendingShares};
use crate::exchange::settings::Limits;
use crate::exchange::slots::NonceSpace;
use crate::exchange::warm::Warm;
use crate::proto::dialect::{Dialect, Subscription};
use crate::proto::job::{Job, JobId};
use crate::proto::pool::{PoolSession, PoolState};
use crate::proto::target::Target;
use crate::proto::version_mask::VersionMask;

/// The first try after a loss comes within this time.
const FIRST_DELAY_MAX: Duration = Duration::from_millis(250);
/// While a lost session may be resumed its pool is tried after so long, and some jitter.
const RESUME_DELAY: Duration = Duration::from_millis(100);
/// The wait after one failed round through the pools; it doubles with each round.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between rounds.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A link that held for so long starts anew when it is lost: its pool is well.
const STABLE: Duration = Duration::from_secs(10);
/// The longest wait that a pool's `client.reconnect` may ask for.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(60);

/// A pool that was told nothing for so long is told that we are there, where the dialect has a word for it.
/// xmrig does so every minute; pools wait for ten and more.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// So many unanswered shares are no chance.
const UNANSWERED_MANY: usize = 16;

/// Where a link stands.
#[derive(Debug)]
pub(crate) enum LinkState {
    /// Nobody needs it.
    Idle,
    /// It is dialled at this time.
    Waiting(Duration),
    /// It is being connected.
    Dialling(Duration),
    /// Connected; our handshake step was sent at this time.
    Handshaking(Duration, PoolSession),
    /// Ready for shares since this time.
    Up(Duration, PoolSession),
    /// A part of a neighbour's link is asked for, or what was lent is lost and may come back.
    Asking,
    /// A part of a neighbour's link, ready for shares.
    Lent,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Miners work on it.
    Serving,
    /// It stands at a pool that is preferred to the one that serves, to see whether that is well again.
    /// It takes no miner.
    Probe,
    /// It stands at a pool that comes after the one that serves, for when that fails. It takes no miner.
    Next,
    /// Since this time its miners work elsewhere; it stays for answers that are on their way, and for
    /// miners that wait for their turn to reconnect.
    Retiring(Duration),
}

/// The lines that all miners of a link are sent alike, each encoded once.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The id of the current job, while its session lasts.
    pub(crate) job_id: Option<JobId>,
    /// The current job as the pool flagged it.
    pub(crate) job: Option<Rc<[u8]>>,
    /// The current job, flagged clean.
    pub(crate) clean_job: Option<Rc<[u8]>>,
    /// The target of the current job.
    pub(crate) target: Option<Rc<[u8]>>,
    /// The target of the next job, where the pool sent one since.
    pub(crate) next_target: Option<Rc<[u8]>>,
}

/// Where `client.reconnect` sent us.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    /// The host.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
}

/// One link to a pool: its session, its jobs, its shares.
#[derive(Debug)]
pub(crate) struct Link {
    /// Its connection.
    pub(crate) key: LinkKey,
    /// The pool it is for, by its place in the operator's list.
    pub(crate) pool: usize,
    /// Where it stands.
    pub(crate) state: LinkState,
    /// What it is for.
    pub(crate) role: Role,
    /// Whether it serves one miner whose firmware takes only the pool's own extranonce1.
    pub(crate) pass_through: bool,
    /// Where it is a part of a neighbour's link, and has no connection of its own.
    pub(crate) lease: Option<Lease>,
    /// The exchanges that have a part of it.
    pub(crate) guests: Vec<Guest>,
    /// The session to ask for again, with the pool that gave it.
    pub(crate) session_id: Option<(usize, Box<[u8]>)>,
    /// The nonce space of its epoch.
    pub(crate) space: Option<Rc<RefCell<NonceSpace>>>,
    /// The version bits that its miners may roll.
    pub(crate) version_mask: VersionMask,
    /// Those that the pool granted on this connection; they hold once the link is ready.
    pub(crate) granted_version_mask: VersionMask,
    /// Other bytes in front, from the next job on.
    pub(crate) next_subscription: Option<Subscription>,
    /// The nonce space to which its miners move once the link is ready.
    pub(crate) next_space: Option<Rc<RefCell<NonceSpace>>>,
    /// Whether the next job is flagged clean whatever the pool says: the first one of an epoch.
    pub(crate) fresh: bool,
    /// What its pool said before the link was ready, a job or a target: its miners hear of it when it is.
    pub(crate) unsaid: Owed,
    /// Whether its first job was held against the config.
    pub(crate) job_looked_at: bool,
    /// Lines of this connection that could not be read.
    pub(crate) unreadable_lines: u32,
    /// The jobs of its epoch.
    pub(crate) jobs: Jobs,
    /// Those of them that only a neighbour's link has announced yet.
    pub(crate) early: Early,
    /// The target of the newest job, and of the next one.
    pub(crate) target: Option<Target>,
    /// Lines for the miners.
    pub(crate) lines: Lines,
    /// What keeps them warm while no pool is up.
    pub(crate) warm: Option<Warm>,
    /// Its unanswered shares.
    pub(crate) pending: PendingShares,
    /// What its pool said of miners' names, where each has its own.
    pub(crate) names: LinkNames,
    /// Lines of our handshake; they go out first.
    pub(crate) handshake: Vec<u8>,
    /// Shares for the pool.
    pub(crate) output: LinkOutput,
    /// When the pool last took a byte, or had nothing to take.
    pub(crate) took_bytes: Duration,
    /// When it was last sent something.
    pub(crate) spoke: Duration,
    /// When the pool last sent a job, and when it last answered a share; at first, when it was ready.
    pub(crate) last_job: Duration,
    pub(crate) last_reply: Duration,
    /// When a link that was ready was lost, until its epoch ends.
    pub(crate) lost: Option<Duration>,
    /// When its last miner left.
    pub(crate) unused_since: Option<Duration>,
    /// Tries since it last held.
    pub(crate) tries: u32,
    /// Where the pool sent us for the next connection.
    pub(crate) redirect: Option<Redirect>,
    /// Whether it was told that its pool has too little room to go back to.
    pub(crate) room_told: bool,
    /// Times that this connection's nonce space was found to be another link's.
    pub(crate) space_taken: u32,
}

impl Link {
    /// A link that was never dialled.
    #[must_use]
    pub(crate) fn new(index: usize, pool: usize, pass_through: bool) -> Self {
        Self {
            key: LinkKey { index, dial: 0 },
            pool,
            state: LinkState::Idle,
            role: Role::Serving,
            pass_through,
            lease: None,
            guests: Vec::new(),
            session_id: None,
            space: None,
            version_mask: VersionMask::NONE,
            granted_version_mask: VersionMask::NONE,
            next_subscription: None,
            next_space: None,
            fresh: true,
            unsaid: Owed::NOTHING,
            job_looked_at: false,
            unreadable_lines: 0,
            jobs: Jobs::default(),
            early: Early::default(),
            target: None,
            lines: Lines::default(),
            warm: None,
            pending: PendingShares::default(),
            names: LinkNames::default(),
            handshake: Vec::new(),
            output: LinkOutput::default(),
            took_bytes: Duration::ZERO,
            spoke: Duration::ZERO,
            last_job: Duration::ZERO,
            last_reply: Duration::ZERO,
            lost: None,
            unused_since: None,
            tries: 0,
            redirect: None,
            room_told: false,
            space_taken: 0,
        }
    }

    /// Whether shares can be sent.
    #[must_use]
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up(..) | LinkState::Lent)
    }

    /// Whether nobody needs it.
    #[must_use]
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.state, LinkState::Idle)
    }

    /// Whether it is connected, or about to be, for miners to work on.
    #[must_use]
    pub(crate) fn serves(&self) -> bool {
        self.role == Role::Serving && !self.is_idle()
    }

    /// Whether it stands by: its pool does not count as one that serves.
    #[must_use]
    pub(crate) fn is_spare(&self) -> bool {
        matches!(self.role, Role::Probe | Role::Next)
    }

    /// Whether miners can work on it from now on: it is up, and there is a job for them.
    #[must_use]
    pub(crate) const fn has_work(&self) -> bool {
        self.is_up() && self.lines.clean_job.is_some()
    }

    /// The pool that its miners work for: where the link is lost it may be trying another one.
    #[must_use]
    pub(crate) fn home(&self) -> usize {
        let space = self.space.as_ref();
        space.map_or(self.pool, |space| space.borrow().pool)
    }

    /// Whether shares are taken: the link is ready, or lost so shortly that its session may go on.
    #[must_use]
    pub(crate) const fn takes_shares(&self) -> bool {
        self.is_up() || self.lost.is_some()
    }

    /// Whether no miner waits for what becomes of a share.
    #[must_use]
    pub(crate) fn is_drained(&self) -> bool {
        self.pending.is_empty() && self.early.held.is_empty() && self.names.held.is_empty()
    }

    /// Slots that are in use.
    #[must_use]
    pub(crate) fn live(&self) -> u32 {
        let space = self.space.as_ref();
        space.map_or(0, |space| space.borrow().slots.live())
    }

    /// How many more may be.
    #[must_use]
    pub(crate) fn free(&self) -> u32 {
        let space = self.space.as_ref();
        space.map_or(0, |space| space.borrow().slots.free())
    }

    /// Whether another miner finds a slot.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.space
            .as_ref()
            .is_some_and(|space| space.borrow().slots.has_room())
    }

    /// What is to be written next: the handshake first, shares only when it is done.
    #[must_use]
    pub(crate) fn unwritten(&self) -> &[u8] {
        if !self.handshake.is_empty() {
            &self.handshake
        } else if self.is_up() && !self.names.is_gated() {
            self.output.unwritten()
        } else {
            &[]
        }
    }

    /// Says that so many bytes of [`Link::unwritten`] were written.
    pub(crate) fn wrote(&mut self, now: Duration, len: usize) {
        if len == 0 {
            return;
        }
        self.took_bytes = now;
        self.spoke = now;
        if self.handshake.is_empty() {
            self.output.wrote(len);
            self.output.release(&self.pending);
        } else {
            self.handshake.drain(..len.min(self.handshake.len()));
        }
    }

    /// Tells a pool that heard nothing for long that we are there.
    pub(crate) fn keep_alive(&mut self, now: Duration, dialect: &dyn Dialect) {
        let has_more = !self.unwritten().is_empty() || self.names.is_gated();
        if now.saturating_sub(self.spoke) < KEEPALIVE_AFTER || has_more {
            return;
        }
        self.spoke = now;
        if let Some(space) = &self.space {
            let space = space.borrow();
            let share_session = space.share_session.as_deref().unwrap_or_default();
            PoolSession::keep_alive(dialect, share_session, self.output.buffer());
        }
    }

    /// Gives back the memory of a burst that is over.
    pub(crate) fn shrink(&mut self) {
        self.output.release(&self.pending);
        self.output.shrink();
        self.pending.shrink();
    }

    /// Takes a new target; returns whether it is another one than miners know.
    pub(crate) fn set_target(
        &mut self,
        target: Target,
        dialect: &dyn Dialect,
        scratch: &mut Vec<u8>,
    ) -> bool {
        // Pools send the same target with every job: 65,536 miners need not hear it again.
        if self.target == Some(target) {
            return false;
        }
        self.target = Some(target);
        scratch.clear();
        dialect.write_target(scratch, &target);
        self.lines.next_target = Some(Rc::from(scratch.as_slice()));
        true
    }

    /// Makes this job the current one.
    pub(crate) fn set_job(
        &mut self,
        id: JobId,
        job: &Job,
        dialect: &dyn Dialect,
        scratch: &mut Vec<u8>,
    ) {
        if let Some(target) = self.lines.next_target.take() {
            self.lines.target = Some(target);
        }
        self.show_job(id, job, dialect, scratch);
    }

    /// As [`Link::set_job`], but no other target comes into force with it.
    pub(crate) fn show_job(
        &mut self,
        id: JobId,
        job: &Job,
        dialect: &dyn Dialect,
        scratch: &mut Vec<u8>,
    ) {
        let mut line = |clean| {
            scratch.clear();
            dialect.write_job(scratch, job, id, clean);
            Rc::from(scratch.as_slice())
        };
        let clean: Rc<[u8]> = line(true);
        self.lines.job_id = Some(id);
        self.lines.job = Some(if job.clean {
            Rc::clone(&clean)
        } else {
            line(false)
        });
        self.lines.clean_job = Some(clean);
    }

    /// Forgets what belongs to this connection alone. Returns its name: what it says from now on is late.
    pub(crate) fn end_connection(&mut self) -> LinkKey {
        self.handshake.clear();
        self.names.end_connection();
        self.redirect = None;
        self.next_space = None;
        self.next_subscription = None;
        self.granted_version_mask = VersionMask::NONE;
        let ended = self.key;
        self.key.dial += 1;
        ended
    }

    /// Forgets what a pool announced on a connection that was never ready, unless it goes on with a session
    /// that may be resumed: it is for no other connection, and the next one may be another pool's.
    pub(crate) fn forget_unready(&mut self) {
        if self.is_up() || self.lost.is_some() {
            return;
        }
        // Without either the lines are empty, or hold what keeps the miners warm.
        if !self.jobs.is_empty() || self.target.is_some() {
            self.end_epoch();
            self.fresh = true;
        }
    }

    /// Ends the epoch: its jobs are dead and its lines gone. The shares are the caller's to answer.
    pub(crate) fn end_epoch(&mut self) {
        self.lost = None;
        if cfg!(not(break_epochs)) {
            self.jobs.clear();
        }
        self.early.clear();
        self.lines = Lines::default();
        self.unsaid = Owed::NOTHING;
        self.target = None;
        self.next_subscription = None;
        self.output.clear();
    }

    /// When to dial after a loss or a failed try, out of `pools` that take turns.
    ///
    /// Within a round each pool is tried at once; each round waits twice as long as the one before, with
    /// jitter, so that neither a dead pool nor a farm of shards costs anything.
    #[must_use]
    pub(crate) fn next_delay(&self, pools: usize, random: u64) -> Duration {
        let fraction = |of| fraction(of, random);
        let pools = u32::try_from(pools).unwrap_or(u32::MAX).max(1);
        // The first try of all is the lost pool's own, and not a round.
        let round = self.tries / pools;
        if self.tries == 0 || !self.tries.is_multiple_of(pools) {
            return fraction(FIRST_DELAY_MAX);
        }
        let whole = BACKOFF_FIRST
            .saturating_mul(1 << (round - 1).min(16))
            .min(BACKOFF_MAX);
        whole / 2 + fraction(whole / 2)
    }

    /// When to try the same pool again while the session that was lost may be resumed.
    #[must_use]
    pub(crate) fn resume_delay(random: u64) -> Duration {
        RESUME_DELAY + fraction(FIRST_DELAY_MAX, random)
    }

    /// Whether the link held long enough to count as well.
    #[must_use]
    pub(crate) fn was_stable(&self, now: Duration) -> bool {
        matches!(self.state, LinkState::Up(since, _) if now.saturating_sub(since) >= STABLE)
    }

    /// Whether the pool behind a link that is ready has fallen silent, and in which way.
    #[must_use]
    pub(crate) fn silence(&self, now: Duration, limits: &Limits) -> Option<LinkEnd> {
        if now.saturating_sub(self.last_job) >= limits.no_job {
            return Some(LinkEnd::NoJob);
        }
        // Some pools never answer some shares, so a single one says nothing.
        let silent = now.saturating_sub(self.last_reply) >= limits.no_reply;
        let waits = |share: &Pending| now.saturating_sub(share.since) >= limits.no_reply;
        let many = self.pending.len() >= UNANSWERED_MANY
            || (self.pending.len() > 1 && self.pending.oldest().is_some_and(waits));
        let is_silent = (silent && many) || self.names.is_silent(now, limits.no_reply);
        is_silent.then_some(LinkEnd::NoReply)
    }

    /// Whether a link that is ready is half way to being silent in this way. Links to one pool fall silent
    /// at about the same time.
    #[must_use]
    pub(crate) fn is_half_silent(&self, now: Duration, end: LinkEnd, limits: &Limits) -> bool {
        let since = |at: Duration| now.saturating_sub(at);
        self.is_up()
            && match end {
                LinkEnd::NoJob => since(self.last_job) >= limits.no_job / 2,
                LinkEnd::NoReply => {
                    (!self.pending.is_empty() && since(self.last_reply) >= limits.no_reply / 2)
                        || self.names.is_silent(now, limits.no_reply / 2)
                }
                LinkEnd::Stalled => {
                    !self.unwritten().is_empty()
                        && since(self.took_bytes) >= limits.pool_outbox_stalled / 2
                }
                _ => false,
            }
    }

    /// Whether the pool gave a lost link the same bytes again: its session goes on if it authorizes us.
    /// (With other bytes the epoch is over already.)
    #[must_use]
    pub(crate) fn goes_on(&self) -> bool {
        matches!(
            &self.state,
            LinkState::Handshaking(_, session) if session.state() == PoolState::Authorizing
        )
    }

    /// The wait that a `client.reconnect` asked for, bounded.
    #[must_use]
    pub(crate) fn reconnect_wait(wait_seconds: u32) -> Duration {
        Duration::from_secs(u64::from(wait_seconds)).min(RECONNECT_WAIT_MAX)
    }
}

/// A part of `of`, from nothing to nearly all, by chance.
fn fraction(of: Duration, random: u64) -> Duration {
    let nanos = of.as_nanos() * u128::from(random % 1024) / 1024;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_round_up_to_half_a_minute() {
        let mut link = Link::new(0, 0, false);
        let mut delays = |pools, random| -> Vec<u128> {
            (0..12)
                .map(|tries| {
                    link.tries = tries;
                    link.next_delay(pools, random).as_millis()
                })
                .collect()
        };
        assert_eq!(
            delays(1, 0),
            [
                0, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000, 15000, 15000
            ]
        );
        assert!(delays(1, 1023).iter().all(|&delay| delay < 30_000));
        assert!(delays(1, 1023)[0] < 500 && delays(1, 1023)[1] < 500);
        assert_eq!(delays(3, 0)[..8], [0, 0, 0, 250, 0, 0, 500, 0]);
    }
}
