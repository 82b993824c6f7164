//! The driver of one seed, and the invariants.
//!
//! It does what a shard does: hands events to the exchange, ends each round with writes to pools, a
//! flush to miners and the commands, and tells later what a socket did not take. The names of the
//! invariants are the texts of the panics, in capitals.

mod hearing;
mod invariants;
mod miners;
mod pools;
mod settings;
mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use stratum_uring::exchange::{
    CloseHow, CloseReason, Command, Counters, Exchange, Fact, Limits, LinkEnd, LinkKey, MinerToken,
    PoolLinks, PoolSettings, Settings, ShareReply, Tag, Transmit,
};
use stratum_uring::proto::dialect::Equihash;
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::miner::MinerLimits;
use stratum_uring::proto::share::Reject;
use stratum_uring::proto::time::Now;
use stratum_uring::wire::{Message, Raw, Reader};

use crate::miner::{Blocked, HeardJob, Kind, Miner, Reading, Refused, Request};
use crate::pool::{Conn, Pool};
use crate::totals::Totals;
use settings::settings;
use wire::Wire;

const UNIX_START: u64 = 1_800_000_000;
const TICK: u64 = 250;
/// Milliseconds of storm, of calm behind it, and of the calm's end in which nobody connects.
const STORM: u64 = 40_000;
const CALM: u64 = 60_000;
const CALM_END: u64 = 12_000;
/// A replay that does not end is a bug of the model.
const STEPS_MAX: u64 = 200_000;
const TIME: &str = "a8becc5b";
const SOLUTION_DIGITS: usize = 72;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Storm,
    Calm,
    Shutdown,
}

#[derive(Debug)]
enum Event {
    Tick,
    /// A miner does something.
    Acts(usize),
    /// The exchange is told what sockets did not take.
    Drain(MinerToken),
    Writable(MinerToken),
    Dialled(LinkKey),
    DialRefused(LinkKey),
    /// Lines of a pool reach us.
    Heard(LinkKey, String),
    Closed(LinkKey, LinkEnd),
    /// A pool that took no bytes takes some again.
    Unstalled,
    /// A job has not gone out to all miners yet.
    FanOut,
    PoolActs(usize),
}

/// A share as its miner sent it.
#[derive(Debug)]
struct Share {
    number: usize,
    miner: usize,
    job_id: String,
    nonce_1: String,
    nonce_2: String,
    extra: String,
    /// It is no good, and no pool may see it.
    must_not: bool,
    /// Its miner may not know yet which nonce_1 goes with the job.
    overheard: bool,
    /// A link was up when it was sent.
    link_was_up: bool,
    accepted_by_pool: bool,
    called_duplicate: bool,
    answers_true: u32,
}

/// A job as the exchange heard it on one of its links.
#[derive(Debug)]
struct LinkJob {
    content: String,
    clean: bool,
    target: Option<String>,
}

/// What the exchange heard on one of its links, over all its connections.
#[derive(Debug, Default)]
struct Feed {
    jobs: Vec<LinkJob>,
    target: Option<String>,
    nonce_1: Option<String>,
    next_nonce_1: Option<String>,
    /// It has no miners yet.
    stands_by: bool,
    /// Its miners were moved to another link.
    retired: bool,
    /// What the answer to subscribe gave; it holds when authorize was answered.
    offered: Option<String>,
    /// When it last offered bytes that are not those of the session before.
    offered_other: Option<u64>,
    /// When a connection that was up was lost.
    lost: Option<u64>,
}

pub(crate) struct World {
    random: Rng,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    phase: Phase,
    settings: Settings,
    exchange: Exchange,
    reader: Reader,
    pools: Vec<Pool>,
    conns: BTreeMap<(usize, u32), Conn>,
    miners: Vec<Miner>,
    /// By the token's index: its generation, and whose it is.
    places: Vec<(u32, Option<usize>)>,
    free_places: VecDeque<usize>,
    shares: HashMap<String, Share>,
    /// Solutions by the link and the request id under which they went to a pool.
    sent: HashMap<(usize, String), String>,
    /// By content: the link on which it was heard, and its place among that link's jobs.
    contents: HashMap<String, (usize, usize)>,
    /// By the proxy's job id.
    our_jobs: HashMap<String, String>,
    our_job_ids: Vec<String>,
    feeds: Vec<Feed>,
    content_count: u64,
    /// Miners were sent to reconnect so late that they don't.
    sent_away: bool,
    /// What was announced is on its way to the miners.
    fanning_out: bool,
    totals: Totals,
    /// Tell what is said, for a person who looks into one seed.
    trace: bool,
}

const fn place_of(key: LinkKey) -> (usize, u32) {
    (key.index, key.dial)
}

const fn key_of(place: (usize, u32)) -> LinkKey {
    LinkKey {
        index: place.0,
        dial: place.1,
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let pool_count = random.usize(2..=3);
        let mut pools: Vec<Pool> = (0..pool_count)
            .map(|index| Pool::new(index, &mut random))
            .collect();
        if pools.iter().all(|pool| !pool.up) {
            pools[0].up = true;
        }
        let settings = settings(seed, &pools, &mut random);
        let miner_count = match random.u8(..8) {
            0 => random.usize(100..200),
            _ => random.usize(8..50),
        };
        let mut miners = Vec::new();
        for number in 0..miner_count {
            let kind = match random.u8(..10) {
                0..=2 => Kind::Normal,
                3..=4 => Kind::Pipelining,
                5..=6 => Kind::Extranonce,
                7..=8 => Kind::Restless,
                _ => Kind::Hostile,
            };
            let reading = match random.u8(..12) {
                0..=1 => Reading::Slow,
                2 => Reading::Never,
                _ => Reading::All,
            };
            miners.push(Miner::new(number, kind, reading, &mut random));
        }
        let parameters = Parameters::new(48, 5).expect("a set of a coin");
        let mut world = Self {
            exchange: Exchange::new(settings.clone(), Box::new(Equihash::new(parameters))),
            random,
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            phase: Phase::Storm,
            settings,
            reader: Reader::new(),
            pools,
            conns: BTreeMap::new(),
            miners,
            places: Vec::new(),
            free_places: VecDeque::new(),
            shares: HashMap::new(),
            sent: HashMap::new(),
            contents: HashMap::new(),
            our_jobs: HashMap::new(),
            our_job_ids: Vec::new(),
            feeds: Vec::new(),
            content_count: 0,
            sent_away: false,
            fanning_out: false,
            totals: Totals::default(),
            trace: std::env::var("SIM_TRACE").is_ok(),
        };
        world.at(TICK, Event::Tick);
        for miner in 0..miner_count {
            let after = world.random.u64(..3000);
            world.at(after, Event::Acts(miner));
        }
        for pool in 0..pool_count {
            world.at(500, Event::PoolActs(pool));
        }
        world
    }

    pub(crate) fn run(mut self) -> Totals {
        self.run_until(STORM);
        self.phase = Phase::Calm;
        for pool in &mut self.pools {
            pool.calm_down();
        }
        for place in 0..self.miners.len() {
            let miner = &mut self.miners[place];
            if miner.socket.reading == Reading::Slow {
                miner.socket.reading = Reading::All;
                miner.socket.room = usize::MAX;
            }
        }
        self.run_until(STORM + CALM);
        self.check_rest();
        self.shut_down();
        self.take_totals();
        self.totals
    }

    fn at(&mut self, after: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), event);
    }

    fn now(&self) -> Now {
        Now {
            since_start: Duration::from_millis(self.now),
            unix_seconds: UNIX_START + self.now / 1000,
        }
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.totals.steps += 1;
            assert!(self.totals.steps < STEPS_MAX, "the model runs away");
            self.handle(event);
            self.finish_round();
            self.check();
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        if !matches!(
            event,
            Event::Tick | Event::Acts(_) | Event::PoolActs(_) | Event::Unstalled | Event::FanOut
        ) {
            self.tell(|| format!("{event:?}"));
        }
        match event {
            Event::Tick => {
                self.exchange.handle_tick(now);
                self.check_times();
                self.at(TICK, Event::Tick);
            }
            Event::Acts(miner) => self.miner_acts(miner),
            Event::Drain(token) => self.drain(token),
            Event::Writable(token) => {
                if let Some(miner) = self.miner_of(token) {
                    let more = self.random.usize(1..1500);
                    let socket = &mut self.miners[miner].socket;
                    socket.room = socket.room.saturating_add(more);
                    socket.blocked = Blocked::No;
                    self.exchange.handle_writable(token);
                }
            }
            Event::Dialled(key) => {
                if self.conns.contains_key(&place_of(key)) && self.exchange.is_current(key) {
                    self.exchange.handle_link_connected(now, key);
                }
            }
            Event::DialRefused(key) => {
                self.totals.dials_refused += 1;
                self.exchange
                    .handle_link_closed(now, key, LinkEnd::ConnectFailed, "refused");
            }
            Event::Heard(key, line) => self.hear(key, &line),
            Event::Closed(key, end) => {
                if self.drop_conn(key) {
                    self.exchange.handle_link_closed(now, key, end, "");
                }
            }
            Event::Unstalled | Event::FanOut => {}
            Event::PoolActs(pool) => self.pool_acts(pool),
        }
    }

    fn finish_round(&mut self) {
        let places: Vec<(usize, u32)> = self.conns.keys().copied().collect();
        for place in places {
            self.write_to_pool(place);
        }
        let mut wire = Wire {
            miners: &mut self.miners,
            places: &self.places,
            closed: Vec::new(),
            sent_to: Vec::new(),
            short: Vec::new(),
            send_max: 2 * self.settings.limits.miner_outbox_bytes_max + 8192,
        };
        let fan_out_max = self.random.usize(1..32);
        self.fanning_out = self.exchange.flush_some(&mut wire, fan_out_max);
        let Wire {
            closed,
            sent_to,
            short,
            ..
        } = wire;
        for token in sent_to {
            if let Some(miner) = self.miner_of(token) {
                self.miners[miner].socket.sends_in_flush = 0;
                self.miner_hears(miner);
            }
        }
        for token in short {
            let after = self.random.u64(..3);
            self.at(after, Event::Drain(token));
        }
        for (token, how, reason) in closed {
            self.closed(token, how, reason);
        }
        if self.fanning_out {
            self.at(0, Event::FanOut);
        }
        // What a fact says is held against the connections as they were.
        while let Some(fact) = self.exchange.poll_fact() {
            self.note(&fact);
        }
        while let Some(command) = self.exchange.poll_command() {
            self.obey(command);
        }
    }

    fn write_to_pool(&mut self, place: (usize, u32)) {
        let key = key_of(place);
        loop {
            let bytes = self.exchange.unwritten(key);
            let conn = self.conns.get_mut(&place).expect("connected");
            let resent = *conn.resent_bytes.get_or_insert(bytes.len());
            let bound = self.settings.limits.pool_outbox_bytes_max + 1024 + resent;
            assert!(
                bytes.len() <= bound || !conn.up,
                "WHAT IS QUEUED FOR A POOL HAS A BOUND"
            );
            // Until the handshake is written, shares are not seen.
            if !conn.up || !String::from_utf8_lossy(bytes).contains("mining.submit") {
                conn.resent_bytes = None;
            }
            if bytes.is_empty() || conn.stalled_until > self.now {
                break;
            }
            let part = self.random.u8(..6) == 0;
            let len = if part {
                self.random.usize(1..=bytes.len())
            } else {
                bytes.len()
            };
            conn.inbox.extend_from_slice(&bytes[..len]);
            self.exchange.wrote(self.now(), key, len);
            if part {
                self.totals.partial_writes += 1;
                let after = self.random.u64(1..300);
                let conn = self.conns.get_mut(&place).expect("connected");
                conn.stalled_until = self.now + after;
                self.at(after, Event::Unstalled);
            }
        }
        let conn = self.conns.get_mut(&place).expect("connected");
        let mut inbox = std::mem::take(&mut conn.inbox);
        while let Some(end) = inbox.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = inbox.drain(..=end).collect();
            let line = String::from_utf8(line).expect("text");
            self.reaches_pool(place, line.trim_end_matches('\n'));
        }
        self.conns.get_mut(&place).expect("connected").inbox = inbox;
    }

    fn obey(&mut self, command: Command) {
        self.tell(|| format!("{command:?}"));
        match command {
            Command::Dial { link, host, port } => {
                assert_ne!(
                    self.phase,
                    Phase::Shutdown,
                    "NOTHING IS DIALLED IN SHUTDOWN"
                );
                assert_eq!(port, 3333);
                let pool = host.to_lowercase();
                let pool: usize = pool
                    .strip_prefix("pool")
                    .expect("a pool")
                    .parse()
                    .expect("one");
                let after = self.random.u64(1..80);
                if self.pools[pool].up {
                    self.conns.insert(place_of(link), Conn::new(pool));
                    self.at(after, Event::Dialled(link));
                } else {
                    self.at(after, Event::DialRefused(link));
                }
            }
            Command::HangUp(link) => {
                self.drop_conn(link);
                // Nobody has a place there any more.
                if let Some(feed) = self.feeds.get_mut(link.index)
                    && (feed.retired || feed.stands_by)
                {
                    (feed.retired, feed.stands_by) = (false, false);
                    feed.nonce_1 = None;
                }
            }
        }
    }

    /// A connection is over; says whether there was one.
    fn drop_conn(&mut self, key: LinkKey) -> bool {
        let conn = self.conns.remove(&place_of(key));
        if conn.as_ref().is_some_and(|conn| conn.up) {
            self.feeds[key.index].lost = Some(self.now);
        }
        conn.is_some()
    }

    fn note(&mut self, fact: &Fact) {
        self.tell(|| format!("{fact:?}"));
        match fact {
            Fact::LinkUp { resumed, .. } => {
                self.totals.links_up += 1;
                self.totals.resumes += u64::from(*resumed);
            }
            Fact::LinkLost { .. } => self.totals.links_lost += 1,
            Fact::PoolChanged { .. } => self.totals.pools_changed += 1,
            Fact::SpareUp { link, .. } => {
                self.feeds[link.index].stands_by = true;
                self.totals.spares_up += 1;
            }
            Fact::TakenOver {
                left,
                serves,
                returned,
                told,
                closed,
                ..
            } => {
                let feed = &mut self.feeds[serves.index];
                (feed.retired, feed.stands_by) = (false, false);
                let feed = &mut self.feeds[left.index];
                feed.retired = *returned;
                if !*returned {
                    feed.nonce_1 = None;
                }
                self.totals.takeovers += u64::from(!*returned);
                // Nobody comes back in the end of the calm.
                self.sent_away |= *closed > 0 && self.now > STORM + CALM - CALM_END;
                self.totals.returns += u64::from(*returned);
                self.totals.told_to_return += *told as u64;
                self.totals.closed_to_return += *closed as u64;
            }
            Fact::ReturnFailed { .. } => self.totals.returns_failed += 1,
            Fact::NoRoomToReturn { .. } => self.totals.no_room_to_return += 1,
            Fact::Moved { told, closed, .. } => {
                self.totals.moves += 1;
                self.totals.told_to_move += *told as u64;
                self.totals.closed_to_move += *closed as u64;
            }
            Fact::SharesLost { shares, .. } => {
                self.totals.shares_lost += *shares as u64;
                self.check_loss();
            }
            Fact::WarmBegins { .. } => self.totals.warm_begins += 1,
            Fact::WarmEnds { .. } => self.totals.warm_ends += 1,
            Fact::NonceSpaceShared { .. } => self.totals.spaces_shared += 1,
            Fact::ReconnectRefused { .. } => self.totals.reconnects_refused += 1,
            _ => {}
        }
    }

    fn closed(&mut self, token: MinerToken, how: CloseHow, reason: CloseReason) {
        let miner = self.miner_of(token).expect("a live miner is closed");
        if reason == CloseReason::Shutdown {
            assert_eq!(how, CloseHow::Graceful);
            let settled = self.miners[miner].socket.is_settled();
            let left = self.miners[miner].unanswered_submits().next();
            assert!(
                left.is_none() || !settled,
                "AFTER SHUTDOWN EVERY SUBMIT IS ANSWERED: {:?}",
                self.miners[miner]
            );
            self.totals.answered_at_shutdown += 1;
        }
        self.let_go(token);
    }
}

fn id_of(message: &Message<'_>) -> String {
    message.id.map_or_else(|| "null".to_owned(), raw_text)
}

fn raw_text(raw: Raw<'_>) -> String {
    String::from_utf8_lossy(raw.bytes()).into_owned()
}

/// A text without its quotes, and everything else as it stands.
fn plain_text(raw: Raw<'_>) -> String {
    raw.as_text()
        .map_or_else(|| raw_text(raw), std::borrow::Cow::into_owned)
}
