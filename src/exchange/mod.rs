//! The proxy itself: joins the miners and the pool links of one shard.
//!
//! Pure: no socket, no clock, no async. The shell feeds it events (a miner's line, a pool's line, a link
//! up or down, a tick), each with the time, and then takes what is to be done:
//!
//! - [`Exchange::flush`] or [`Exchange::flush_some`] gives the bytes for miners and the links to close,
//! - [`Exchange::poll_command`] the pool links to dial and to hang up,
//! - [`Exchange::unwritten`] the bytes for a pool link,
//! - [`Exchange::poll_letter`] what the exchanges of the proxy's other shards are to know,
//! - [`Exchange::poll_fact`] what an operator may want to know.
//!
//! Invariants: every submit gets exactly one answer, and no miner gets another's; no two live miners of
//! one nonce space share a slot; a share leaves only under a job of its link's epoch; what is queued for
//! anyone has a bound.

mod accounts;
mod alike;
mod authorize;
mod bans;
mod conduct;
mod dialling;
mod early;
mod facts;
mod held;
mod jobs;
mod leases;
mod lending;
mod letters;
mod link;
mod masks;
mod miner_side;
mod miners;
mod names;
mod neighbours;
mod outbox;
mod output;
mod patch;
mod pending;
mod places;
mod pool_side;
mod questions;
mod recalls;
mod recent;
mod repute;
mod settings;
mod shares;
mod slots;
mod spaces;
mod spares;
mod turns;
mod unanswered;
mod unread;
mod warm;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use crate::exchange::accounts::Accounts;
use crate::exchange::alike::Likeness;
use crate::exchange::authorize::PendingAuthorizes;
use crate::exchange::conduct::Ledger;
use crate::exchange::lending::Borrower;
use crate::exchange::link::{Link, LinkState, Role};
use crate::exchange::miners::{Miner, Miners, Stage};
use crate::exchange::neighbours::Neighbours;
use crate::exchange::outbox::{Outbox, Owed};
use crate::exchange::patch::JobPatch;
use crate::exchange::recalls::Recalled;
use crate::exchange::spares::{Former, Returns};
use crate::exchange::unread::Unread;
use crate::proto::dialect::Dialect;
use crate::proto::job::JobId;
use crate::proto::time::Now;
use crate::proto::worker_name::MinerAddress;
use crate::wire::json::Reader;

pub use authorize::{CheckEnd, WorkerCheck};
pub use conduct::ConductLimits;
pub use facts::{
    CloseReason, Counters, Fact, LEAD_MICROS_BOUNDS, LinkEnd, LinkKey, MinerToken,
    REPLY_MICROS_BOUNDS,
};
pub use letters::{GuestSays, HeardJob, HostSays, LeaseId, Letter, ShareEnd, Standing, Terms};
pub use outbox::{CloseHow, Tag, Transmit};
pub use settings::{Authorize, JobExchange, Limits, PoolLinks, PoolSettings, Settings, ShareReply};
pub use slots::{Slots, Taken};

/// Facts kept for a shell that does not ask. A fact is for people: past this many no more are told.
const FACTS_MAX: usize = 4096;
/// Emptied outboxes kept for the next miners, so that an answer allocates nothing.
const SPARE_OUTBOXES_MAX: usize = 1024;
/// What may wait for a miner whose subscribe waits for a pool.
const WAITING_BYTES_MAX: usize = 16 * 1024;
/// An outbox that grew past this many bytes is not kept.
const SPARE_OUTBOX_BYTES_MAX: usize = 4096;
/// Of a kind of share that fails one is told in this time: there may be thousands.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// Ticks after which every miner's time-outs were looked at once.
const SWEEP_TICKS: usize = 16;
/// Miners that are closed between two looks at what miners say, where only a reconnect can move them.
const PARTINGS_PER_FLUSH: usize = 8;

/// Something the shell is to do with a pool link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect it.
    Dial {
        /// The connection's name from now on.
        link: LinkKey,
        /// The pool that it is for, by its place in the operator's list.
        pool: usize,
        /// Host name or address literal.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Close it; nothing it says counts any more.
    HangUp(LinkKey),
}

/// The proxy of one shard: see the module's text.
#[derive(Debug)]
pub struct Exchange {
    settings: Settings,
    dialect: Box<dyn Dialect>,
    /// Jobs in whose line each miner has a slot of its own.
    job_patch: JobPatch,
    hasher: foldhash::quality::FixedState,
    reader: Reader,
    miners: Miners,
    links: Vec<Link>,
    /// Miners to send to or to close at the next flush.
    listed: Vec<MinerToken>,
    /// Miners that are owed what all of their link are. They wait for those who were answered.
    fan_out: VecDeque<MinerToken>,
    /// Miners that only a reconnect can move, in their turn.
    leaving: VecDeque<MinerToken>,
    /// Those of them whose turn has come.
    parting: VecDeque<MinerToken>,
    /// Miners whose subscribe waits for a pool, oldest first; those that left meanwhile stand there until
    /// their turn comes.
    waiting: VecDeque<MinerToken>,
    /// How many of them still wait: for a link of many miners, and for one of its own.
    waiting_counts: [usize; 2],
    /// Where miners were that were moved off a link that still judges their shares.
    former: HashMap<MinerToken, Former, foldhash::quality::FixedState>,
    /// Authorizes whose answers are not known yet.
    pending_authorizes: PendingAuthorizes,
    /// The names of workers at the pools; `None` where all share one.
    accounts: Option<Accounts>,
    /// When it was last looked which of them nothing names any more.
    names_swept: Duration,
    /// A name while it is made.
    name: String,
    /// Who made too many faults.
    ledger: Ledger,
    /// Workers that the shell is to look up.
    checks: VecDeque<WorkerCheck>,
    /// Authorizes so far.
    authorizes: u32,
    /// Where the lines come from that are handled now.
    speaker: MinerAddress,
    /// When miners go back to a preferred pool.
    returns: Returns,
    /// The pool of the link that was ready last: where a new one is dialled.
    home_pool: usize,
    commands: VecDeque<Command>,
    facts: VecDeque<Fact>,
    /// For the other shards of this proxy, each with its shard.
    letters: VecDeque<(usize, Letter)>,
    /// What was told between them and us.
    neighbours: Neighbours,
    /// Which of them announce the jobs that we announce.
    likeness: Likeness,
    /// Those that wait to borrow a part of a link, in their order.
    borrowers: Vec<Borrower>,
    /// How much was lent so far.
    leases: u64,
    /// What guests had and may not know to be over.
    recalled: Vec<Recalled>,
    /// When a neighbour could not lend.
    lease_declined: Option<Duration>,
    counters: Counters,
    /// Jobs announced so far, for ids and for the rest of slots.
    sequence: u64,
    random_state: u64,
    scratch: Vec<u8>,
    #[expect(
        clippy::vec_box,
        reason = "the boxes go to miners and come back as they are"
    )]
    spare_outboxes: Vec<Box<Outbox>>,
    unread: Unread,
    /// Where the next fan-out and the next sweep begin.
    fan_out_start: usize,
    sweep_start: usize,
    last_tick: Duration,
    /// When an operator was last told of a share that a pool rejected, or that was refused here.
    rejection_told: Option<Duration>,
    refusal_told: Option<Duration>,
    /// And of a job on which miners were started in error.
    early_miss_told: Option<Duration>,
    /// Parts of a miner's close that the pace has granted, in thousandths.
    close_credit: u64,
    /// Since when miners need a pool and no link is up.
    without_link: Option<Duration>,
    shutting_down: bool,
}

impl Exchange {
    /// An exchange without miners; it dials nobody yet.
    #[must_use]
    pub fn new(mut settings: Settings, dialect: Box<dyn Dialect>) -> Self {
        let seed = settings.seed;
        if settings.part.1 < 2 {
            // There is nobody to exchange jobs with.
            settings.job_exchange = None;
        }
        Self {
            job_patch: JobPatch::new(dialect.slot_in_job()),
            dialect,
            hasher: foldhash::quality::FixedState::with_seed(seed),
            reader: Reader::new(),
            miners: Miners::default(),
            links: vec![Link::new(0, 0, false)],
            listed: Vec::new(),
            fan_out: VecDeque::new(),
            leaving: VecDeque::new(),
            parting: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_counts: [0; 2],
            former: HashMap::with_hasher(foldhash::quality::FixedState::with_seed(seed)),
            pending_authorizes: PendingAuthorizes::new(),
            accounts: (!settings.authorize.worker_name.is_fixed())
                .then(|| Accounts::new(seed, settings.authorize.people_seed)),
            names_swept: Duration::ZERO,
            name: String::new(),
            ledger: Ledger::new(settings.part.1),
            checks: VecDeque::new(),
            authorizes: 0,
            speaker: MinerAddress::default(),
            returns: Returns::new(settings.limits.stable_for),
            home_pool: 0,
            commands: VecDeque::new(),
            facts: VecDeque::new(),
            letters: VecDeque::new(),
            neighbours: Neighbours::new(settings.part.1, settings.pools.len()),
            likeness: match settings.job_exchange {
                Some(_) => Likeness::new(settings.part.1, settings.pools.len()),
                None => Likeness::default(),
            },
            borrowers: Vec::new(),
            leases: 0,
            recalled: Vec::new(),
            lease_declined: None,
            counters: Counters::default(),
            sequence: 0,
            random_state: seed,
            scratch: Vec::new(),
            spare_outboxes: Vec::new(),
            unread: Unread::default(),
            fan_out_start: 0,
            sweep_start: 0,
            last_tick: Duration::ZERO,
            rejection_told: None,
            refusal_told: None,
            early_miss_told: None,
            close_credit: 0,
            without_link: None,
            shutting_down: false,
            settings,
        }
    }

    /// Counters and gauges, as of now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.miners = self.miners.len() as u64;
        counters.waiting = self.waiting_count() as u64;
        counters.names = self.names_count() as u64;
        counters.unread_bytes = self.unread.bytes() as u64;
        let up = |link: &&Link| link.is_up() && !link.is_spare() && link.lease.is_none();
        counters.links_up = self.links.iter().filter(up).count() as u64;
        let warm = self.links.iter().filter_map(|link| link.warm.as_ref());
        counters.kept_warm = warm.map(|warm| warm.miners as u64).sum();
        (counters.slots, counters.slots_taken) = self.slot_counts();
        let without = self
            .without_link
            .map(|since| self.last_tick.saturating_sub(since));
        counters.without_link_millis = without.map_or(0, |without| {
            u64::try_from(without.as_millis()).unwrap_or(u64::MAX)
        });
        counters
    }

    /// Links to this pool that are ready for shares now; none that only stands by.
    #[must_use]
    pub fn links_up_of(&self, pool: usize) -> u64 {
        let links = self.links.iter();
        links
            .filter(|link| link.is_up() && !link.is_spare() && link.lease.is_none())
            .filter(|link| link.pool == pool)
            .count() as u64
    }

    /// Slots of the links that are up, and those of them that are handed out.
    fn slot_counts(&self) -> (u64, u64) {
        let (mut all, mut taken) = (0, 0);
        for (index, link) in self.links.iter().enumerate() {
            // What was lent is counted where the link is.
            let is_counted =
                |link: &Link| link.is_up() && link.role == Role::Serving && link.lease.is_none();
            let Some(space) = link.space.as_ref().filter(|_| is_counted(link)) else {
                continue;
            };
            // Two links may share a space. That is rare, and so is the walk.
            let is_same = |other: &Link| {
                let other = other.space.as_ref().filter(|_| is_counted(other));
                other.is_some_and(|other| Rc::ptr_eq(other, space))
            };
            if Rc::strong_count(space) > 1 && self.links[..index].iter().any(is_same) {
                continue;
            }
            let slots = &space.borrow().slots;
            all += u64::from(slots.room());
            taken += u64::from(slots.live());
        }
        (all, taken)
    }

    /// The next thing to tell an operator.
    pub fn poll_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// The next thing to do with a pool link.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Bytes to write on this connection; none for one that is over.
    #[must_use]
    pub fn unwritten(&self, key: LinkKey) -> &[u8] {
        match self.links.get(key.index) {
            Some(link) if link.key == key => link.unwritten(),
            _ => &[],
        }
    }

    /// Says that so many of these bytes were written.
    pub fn wrote(&mut self, now: Now, key: LinkKey, len: usize) {
        if let Some(link) = self.link_of(key) {
            link.wrote(now.since_start, len);
        }
    }

    /// Says that the pool has taken bytes of those that were written before, so that there is room for more.
    pub fn took_bytes(&mut self, now: Now, key: LinkKey) {
        if let Some(link) = self.link_of(key) {
            link.took_bytes = now.since_start;
        }
    }

    /// Whether this connection is still wanted.
    #[must_use]
    pub fn is_current(&self, key: LinkKey) -> bool {
        self.links
            .get(key.index)
            .is_some_and(|link| link.key == key)
    }

    /// Stops: nothing is dialled any more. What is in flight may still be answered.
    pub fn begin_shutdown(&mut self) {
        self.shutting_down = true;
    }

    /// Whether no share waits for a pool that could still answer it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.links.iter().all(|link| match link.state {
            // Nobody dials it any more.
            LinkState::Idle | LinkState::Waiting(_) => true,
            // What was lent may come back with the link that it is a part of.
            LinkState::Asking => link.lost.is_none() || link.is_drained(),
            // Its session may go on, and then what was in flight is sent once more.
            LinkState::Dialling(_) | LinkState::Handshaking(..) => link.is_drained(),
            LinkState::Up(..) | LinkState::Lent => link.is_drained() && link.guests.is_empty(),
        })
    }

    /// Answers what is still unanswered, and closes every miner and link.
    pub fn finish_shutdown(&mut self, now: Now) {
        for index in 0..self.links.len() {
            self.abandon_shares(index);
            if self.links[index].lease.is_some() {
                self.let_go_of_lease(now, index);
            }
            let link = &mut self.links[index];
            if !matches!(link.state, LinkState::Idle | LinkState::Waiting(_)) {
                let key = link.key;
                self.counters.link_ends[LinkEnd::Shutdown as usize] += 1;
                self.commands.push_back(Command::HangUp(key));
            }
            self.links[index].state = LinkState::Idle;
        }
        self.expire_waiting(now, Duration::ZERO);
        self.expire_authorizes(now);
        let tokens: Vec<MinerToken> = self.miners.iter().map(|miner| miner.token).collect();
        for token in tokens {
            self.close_miner(token, CloseHow::Graceful, CloseReason::Shutdown);
        }
        debug_assert!(self.links.iter().all(Link::is_drained));
        self.last_tick = now.since_start;
    }

    /// Time passed: 250 ms or so since the last tick.
    pub fn handle_tick(&mut self, now: Now) {
        for index in 0..self.links.len() {
            self.tick_link(now, index);
            self.keep_warm(now, index);
        }
        self.tick_early(now);
        self.tick_names(now);
        self.release_idle_links(now);
        self.tick_spares(now);
        self.balance_slots(now);
        self.serve_borrowers();
        // A slot may have been freed.
        let serves = |link: &Link| {
            let waiting = self.waiting_counts[usize::from(link.pass_through)];
            waiting > 0 && link.serves() && link.is_up() && link.has_room()
        };
        if self.links.iter().any(serves) {
            self.serve_waiting(now);
        }
        self.expire_waiting(now, self.settings.limits.subscribe_wait);
        self.close_leaving(now);
        self.sweep_miners(now);
        self.tick_conduct(now);
        self.last_tick = now.since_start;
        self.watch_links(now);
    }

    /// Keeps the time since when miners need a pool and no link is up.
    fn watch_links(&mut self, now: Now) {
        let is_needed = self.counters.mining > 0 || self.waiting_count() > 0;
        self.without_link = match self.without_link {
            _ if !is_needed
                || self
                    .links
                    .iter()
                    .any(|link| link.is_up() && !link.is_spare()) =>
            {
                None
            }
            Some(since) => Some(since),
            None => Some(now.since_start),
        };
    }

    /// Hands what is to be said to miners to the shell: at most one send for each.
    pub fn flush(&mut self, transmit: &mut impl Transmit) {
        while self.flush_some(transmit, usize::MAX) {}
    }

    /// As [`Exchange::flush`], but a job goes out to no more than `fan_out_max` miners, and those who
    /// were answered come first. So a reply does not wait behind the job of a whole farm: it goes out
    /// between two parts of it. Says whether there is more to do.
    pub fn flush_some(&mut self, transmit: &mut impl Transmit, fan_out_max: usize) -> bool {
        self.part_with_some();
        let mut listed = std::mem::take(&mut self.listed);
        for token in listed.drain(..) {
            let Some(place) = self.miners.place(token) else {
                continue;
            };
            self.send_owed(place, transmit);
            let miner = self.miners.at(place);
            miner.listed = false;
            if let Stage::Leaving(how, reason) = miner.stage {
                transmit.close(token, how, reason);
                self.forget_miner(token, reason);
            }
        }
        self.listed = listed;
        for _ in 0..fan_out_max {
            let Some(token) = self.fan_out.pop_front() else {
                break;
            };
            if let Some(place) = self.miners.place(token) {
                self.miners.at(place).queued = false;
                self.send_owed(place, transmit);
            }
        }
        !self.fan_out.is_empty() || !self.parting.is_empty()
    }

    /// Closes a few of the miners that are to reconnect. What a miner says between our last look at its
    /// socket and the close is never answered, and each close takes the kernel some microseconds: so
    /// there are few between two looks.
    fn part_with_some(&mut self) {
        for _ in 0..PARTINGS_PER_FLUSH {
            let Some(token) = self.parting.pop_front() else {
                return;
            };
            let Some(miner) = self.miners.get_mut(token) else {
                continue;
            };
            let retires = |link: usize| matches!(self.links[link].role, Role::Retiring(_));
            match miner.stage {
                Stage::Unplaced => {}
                // It works on until then, and may have found a share meanwhile.
                Stage::Placed { link, .. } if retires(link) => {
                    if miner.unanswered > 0 {
                        self.leaving.push_back(token);
                        continue;
                    }
                }
                _ => continue,
            }
            self.close_miner(token, CloseHow::Reset, CloseReason::Moved);
        }
    }

    fn waiting_count(&self) -> usize {
        self.waiting_counts.iter().sum()
    }

    fn send_owed(&mut self, place: usize, transmit: &mut impl Transmit) {
        let miner = self.miners.at(place);
        // Until its subscribe is answered nothing else is: some firmware takes the first reply for it.
        if miner.blocked || matches!(miner.stage, Stage::Waiting(_)) {
            return;
        }
        let link = miner.link().and_then(|link| self.links.get(link));
        // What a pool says before its link is ready may be for another nonce space than this miner has.
        let owed = match link {
            Some(link) if link.unsaid != Owed::NOTHING => Owed::NOTHING,
            _ => miner.owed,
        };
        let lines = link.map(|link| &link.lines);
        let line = |wanted, tag, of: fn(&link::Lines) -> &Option<Rc<[u8]>>| {
            let line = lines.and_then(|lines| of(lines).as_ref());
            line.filter(|_| owed.has(wanted)).map(|line| (line, tag))
        };
        let job = if owed.has(Owed::CLEAN) {
            line(Owed::JOB, Tag::CleanJob, |lines| &lines.clean_job)
        } else {
            line(Owed::JOB, Tag::Job, |lines| &lines.job)
        };
        let target = line(Owed::TARGET, Tag::Target, |lines| &lines.target);
        let next = line(Owed::NEXT_TARGET, Tag::NextTarget, |lines| {
            &lines.next_target
        });
        // Where the slot stands in the job itself, each miner has its own copy.
        let patched = match (job, link, &miner.stage) {
            (Some((line, _)), Some(link), Stage::Placed { slot, .. })
                if self.job_patch.is_needed() =>
            {
                self.job_patch.patch(line, link, *slot)
            }
            _ => false,
        };
        // The bytes hold from the next job on, so they go out right before it and not without it.
        let moved = owed.has(Owed::EXTRANONCE) && job.is_some();
        let own = miner.outbox.as_deref().filter(|outbox| !outbox.is_empty());

        if !patched
            && let (Some((line, tag)), None, None, false, None) = (job, target, next, moved, own)
        {
            transmit.send_shared(miner.token, line, tag);
        } else {
            self.scratch.clear();
            if moved
                && let Stage::Placed { slot, .. } = miner.stage
                && let Some(space) = link.and_then(|link| link.space.as_ref())
            {
                let space = space.borrow();
                self.dialect.write_extranonce(
                    &mut self.scratch,
                    &space.extranonce1_of(slot),
                    space.plan.extranonce2_len,
                );
            }
            let mut pieces: [(&[u8], Tag); 6] = [(&[], Tag::Rest); 6];
            let own = own.map(|own| [(&own.rest[..], Tag::Rest), (&own.replies[..], Tag::Replies)]);
            let shared = [target, job, next].into_iter().flatten();
            let parts = own
                .into_iter()
                .flatten()
                .chain([(&self.scratch[..], Tag::Extranonce)])
                .chain(shared.map(|(line, tag)| match tag {
                    Tag::Job | Tag::CleanJob if patched => (self.job_patch.line(), tag),
                    _ => (&line[..], tag),
                }))
                .filter(|(bytes, _)| !bytes.is_empty());
            let mut count = 0;
            for (place, part) in pieces.iter_mut().zip(parts) {
                *place = part;
                count += 1;
            }
            if count > 0 {
                transmit.send_pieces(miner.token, &pieces[..count]);
            }
        }
        let mut sent = Owed::NOTHING;
        if next.is_some() && target.is_none() {
            // No job is there yet: its target will be this one.
            sent = sent.and(Owed::TARGET);
        }
        if job.is_some() {
            sent = sent.and(Owed::JOB).and(Owed::CLEAN).and(Owed::EXTRANONCE);
        }
        if target.is_some() {
            sent = sent.and(Owed::TARGET);
        }
        if lines.is_none_or(|lines| lines.next_target.is_none()) || next.is_some() {
            sent = sent.and(Owed::NEXT_TARGET);
        }
        miner.owed = miner.owed.without(owed).and(owed.without(sent));
        let outbox = miner.outbox.take();
        self.keep_outbox(outbox);
    }

    fn keep_outbox(&mut self, outbox: Option<Box<Outbox>>) {
        if let Some(mut outbox) = outbox
            && self.spare_outboxes.len() < SPARE_OUTBOXES_MAX
            && outbox.replies.capacity() + outbox.rest.capacity() <= SPARE_OUTBOX_BYTES_MAX
        {
            outbox.clear();
            self.spare_outboxes.push(outbox);
        }
    }

    /// Puts a miner on the list of those to send to.
    fn list(listed: &mut Vec<MinerToken>, miner: &mut Miner) {
        if !miner.listed {
            miner.listed = true;
            listed.push(miner.token);
        }
    }

    /// Puts a miner into the queue of those to whom a job goes out.
    fn queue(fan_out: &mut VecDeque<MinerToken>, miner: &mut Miner) {
        if !miner.queued {
            miner.queued = true;
            fan_out.push_back(miner.token);
        }
    }

    /// Appends to what this miner is to be told, and closes it where that is too much.
    fn say(&mut self, token: MinerToken, write: impl FnOnce(&mut Vec<u8>)) {
        self.answer(token, |_, out| write(out));
    }

    /// The same, of what the dialect words.
    fn answer(&mut self, token: MinerToken, write: impl FnOnce(&dyn Dialect, &mut Vec<u8>)) {
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let outbox = miner
            .outbox
            .get_or_insert_with(|| self.spare_outboxes.pop().unwrap_or_default());
        let before = outbox.len();
        write(self.dialect.as_ref(), &mut outbox.replies);
        let (len, limits) = (outbox.len(), &self.settings.limits);
        let len_max = match miner.stage {
            // Nothing goes out before the answer that it waits for, so it has reason to ask for little.
            Stage::Waiting(_) => limits.miner_outbox_bytes_max.min(WAITING_BYTES_MAX),
            _ => limits.miner_outbox_bytes_max,
        };
        let mut refusal = (len > len_max).then_some(CloseReason::OutboxFull);
        if miner.blocked {
            self.unread.grow(len - before);
            if self.unread.is_too_much(len, limits.unread_bytes_max) {
                refusal = refusal.or(Some(CloseReason::Unread));
            }
        }
        Self::list(&mut self.listed, miner);
        if let Some(reason) = refusal {
            self.close_miner(token, CloseHow::Reset, reason);
        }
    }

    /// Ends a miner's link once what was said to it is out.
    fn close_miner(&mut self, token: MinerToken, how: CloseHow, reason: CloseReason) {
        let Some(place) = self.miners.place(token) else {
            return;
        };
        if matches!(self.miners.at(place).stage, Stage::Leaving(..)) {
            return;
        }
        self.leave_link(place);
        let miner = self.miners.at(place);
        miner.stage = Stage::Leaving(how, reason);
        Self::list(&mut self.listed, miner);
    }

    /// Takes a miner off its link: its slot is free from now on.
    fn leave_link(&mut self, place: usize) {
        let miner = self.miners.at(place);
        let stage = std::mem::replace(&mut miner.stage, Stage::New);
        miner.owed = Owed::NOTHING;
        self.counters.mining -= u64::from(std::mem::take(&mut miner.counted));
        match stage {
            Stage::Placed { link, slot } => {
                if let Some(space) = self.links.get(link).and_then(|link| link.space.as_ref()) {
                    space.borrow_mut().slots.give_back(slot, self.sequence);
                }
            }
            Stage::Waiting(_) => self.waiting_counts[usize::from(miner.pass_through)] -= 1,
            Stage::New | Stage::Leaving(..) | Stage::Unplaced => {}
        }
    }

    /// Drops a miner whose link is over.
    fn forget_miner(&mut self, token: MinerToken, reason: CloseReason) {
        let Some(place) = self.miners.place(token) else {
            return;
        };
        self.leave_link(place);
        let Some(miner) = self.miners.remove(token) else {
            return;
        };
        self.counters.closes[reason as usize] += 1;
        if miner.blocked {
            self.unread.end(miner.outbox_len());
        }
        self.forget_conduct(&miner);
        if let Some(accounts) = &mut self.accounts {
            accounts.forget(token);
        }
        if miner.pending > 0 {
            self.forget_pending(token);
        }
        self.keep_outbox(miner.outbox);
        self.fact(Fact::MinerClosed {
            miner: token,
            worker: miner.session.worker().map(str::to_owned),
            reason,
        });
    }

    /// The oldest job that is still known on any link: what was freed before it has rested.
    fn oldest_job(&self) -> u64 {
        let oldest = self
            .links
            .iter()
            .filter_map(|link| link.jobs.oldest_sequence());
        oldest.min().unwrap_or(self.sequence + 1)
    }

    /// Our id for the next job: unique among the exchanges of a process, and among runs while jobs come
    /// slower than one each second.
    fn next_job_id(&mut self) -> JobId {
        self.sequence += 1;
        let count = self.settings.start_unix_seconds.wrapping_add(self.sequence);
        JobId::new(count, self.settings.series)
    }

    fn random(&mut self) -> u64 {
        self.random_state = self.random_state.wrapping_add(1);
        self.hasher.hash_one(self.random_state)
    }

    fn fact(&mut self, fact: Fact) {
        // By this one the shell knows that a connection is over: it comes once for each miner.
        let is_needed = matches!(fact, Fact::MinerClosed { .. });
        if is_needed || self.facts.len() < FACTS_MAX {
            self.facts.push_back(fact);
        }
    }

    /// Whether it is time to tell of a failed share again; if so, it was told now.
    fn is_told(told: &mut Option<Duration>, now: Now) -> bool {
        let due = told.is_none_or(|at| now.since(at) >= TELL_INTERVAL);
        if due {
            *told = Some(now.since_start);
        }
        due
    }

    fn link_of(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.links.get_mut(key.index).filter(|link| link.key == key)
    }
}
