//! The driver of one seed, and the invariants.
//!
//! It does what the shards of a process do: hands events to the exchange of one shard, ends each round
//! with writes to pools, a flush to miners, the commands and the letters to other shards, and tells later
//! what a socket did not take. The names of the invariants are the texts of the panics, in capitals.

mod early;
mod ending;
mod facts;
mod hearing;
mod invariants;
mod judging;
mod leases;
mod letters;
mod links;
mod miners;
mod names;
mod pools;
mod settings;
mod shard;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use stratum_uring::exchange::{
    CloseHow, CloseReason, Command, Counters, Exchange, Fact, GuestSays, HostSays, JobExchange,
    LeaseId, Letter, Limits, LinkEnd, LinkKey, MinerToken, PoolLinks, PoolSettings, Settings,
    ShareEnd, ShareReply, Tag, Terms, Transmit, WorkerCheck,
};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{Equihash, Introduction};
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::job::Job;
use stratum_uring::proto::miner::MinerLimits;
use stratum_uring::proto::share::Reject;
use stratum_uring::proto::target::Target;
use stratum_uring::proto::time::Now;
use stratum_uring::wire::{Message, Raw, Reader};

use super::miner::{Blocked, HeardJob, Kind, Miner, Reading, Refused, Request};
use super::pool::{Conn, Pool};
use super::random::Rng;
use super::totals::Totals;
use letters::Mail;
use settings::settings;
use shard::{ConnKey, Content, Feed, FeedKey, LinkJob, Shard, slot_number};
use wire::Wire;

const UNIX_START: u64 = 1_800_000_000;
const TICK: u64 = 250;
/// Milliseconds of storm, of calm behind it, and of the calm's end in which nobody connects.
const STORM: u64 = 40_000;
const CALM: u64 = 60_000;
const CALM_END: u64 = 12_000;
/// How long a shutdown waits for shares that are on their way.
const SHUTDOWN: u64 = 5000;
/// A replay that does not end is a bug of the model.
const STEPS_MAX: u64 = 400_000;
const TIME: &str = "a8becc5b";
const SOLUTION_DIGITS: usize = 72;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Storm,
    Calm,
    Shutdown,
}

/// What happens; where it happens on a shard, its number stands first.
#[derive(Debug)]
enum Event {
    Tick(usize),
    /// A miner does something.
    Acts(usize),
    /// The exchange is told what sockets did not take.
    Drain(usize, MinerToken),
    Writable(usize, MinerToken),
    Dialled(ConnKey),
    DialRefused(ConnKey),
    /// Lines of a pool reach us.
    Heard(ConnKey, String),
    Closed(ConnKey, LinkEnd),
    /// A pool that took no bytes takes some again.
    Unstalled(usize),
    /// A job has not gone out to all miners yet.
    FanOut(usize),
    /// A letter of another shard.
    Letter {
        to: usize,
        from: usize,
        letter: Letter,
    },
    PoolActs(usize),
    /// A worker was looked up in the workers file.
    Checked(usize, WorkerCheck),
}

/// A share as its miner sent it.
#[derive(Debug)]
struct Share {
    number: usize,
    miner: usize,
    shard: usize,
    worker: String,
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

pub(crate) struct World {
    random: Rng,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    phase: Phase,
    storm: u64,
    reader: Reader,
    pools: Vec<Pool>,
    shards: Vec<Shard>,
    mail: Mail,
    conns: BTreeMap<ConnKey, Conn>,
    miners: Vec<Miner>,
    shares: HashMap<String, Share>,
    /// Solutions by the link and the request id under which they went to a pool.
    sent: HashMap<(FeedKey, String), String>,
    /// What pools announced, by its name.
    contents: HashMap<String, Content>,
    /// By the proxy's job id: what it means, and on which shard.
    our_jobs: HashMap<String, (String, usize)>,
    our_job_ids: Vec<String>,
    content_count: u64,
    /// Names that pools answered late or never: when they were asked, and by which shard.
    late_names: Vec<(u64, usize)>,
    totals: Totals,
    /// Tell what is said, for a person who looks into one seed.
    trace: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, Rng::with_seed(seed), STORM)
    }

    /// With these choices, and a storm of so many milliseconds.
    pub(crate) fn with(seed: u64, mut random: Rng, storm: u64) -> Self {
        let shard_count = [1, 1, 1, 2, 2, 2, 3, 4][random.usize(..8)];
        let pool_count = random.usize(2..=3);
        let mut pools: Vec<Pool> = (0..pool_count)
            .map(|index| Pool::new(index, &mut random))
            .collect();
        if pools.iter().all(|pool| !pool.up) {
            pools[0].up = true;
        }
        let settings = settings(seed, shard_count, &pools, &mut random);
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
        let shards = (0..shard_count).map(|number| Shard::new(&settings, number, shard_count));
        let mut world = Self {
            shards: shards.collect(),
            mail: Mail::new(&mut random),
            random,
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            phase: Phase::Storm,
            storm,
            reader: Reader::new(),
            pools,
            conns: BTreeMap::new(),
            miners,
            shares: HashMap::new(),
            sent: HashMap::new(),
            contents: HashMap::new(),
            our_jobs: HashMap::new(),
            our_job_ids: Vec::new(),
            content_count: 0,
            late_names: Vec::new(),
            totals: Totals::default(),
            trace: std::env::var("SIM_TRACE").is_ok(),
        };
        for shard in 0..shard_count {
            // Each began when its own thread did.
            let after = TICK + world.random.u64(..TICK) * shard.min(1) as u64;
            world.at(after, Event::Tick(shard));
        }
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
        self.run_until(self.storm);
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
        self.run_until(self.storm + CALM);
        self.check_rest();
        self.shut_down();
        self.take_totals();
        self.totals
    }

    /// The storm alone, and the shutdown in the midst of it: most of a whole run is its calm.
    pub(crate) fn run_storm(mut self) -> Totals {
        self.run_until(self.storm);
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

    /// The settings of all shards: they differ in the shard's own number alone.
    fn settings(&self) -> &Settings {
        &self.shards[0].settings
    }

    fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.totals.steps += 1;
            assert!(self.totals.steps < STEPS_MAX, "the model runs away");
            if let Some(shard) = self.handle(event) {
                self.finish_round(shard);
            }
            self.check();
        }
        self.now = end;
    }

    /// Lets an event happen; says on which shard, where on one.
    fn handle(&mut self, event: Event) -> Option<usize> {
        let now = self.now();
        if !matches!(
            event,
            Event::Tick(_)
                | Event::Acts(_)
                | Event::PoolActs(_)
                | Event::Unstalled(_)
                | Event::FanOut(_)
        ) {
            self.tell(|| format!("{event:?}"));
        }
        match event {
            Event::Tick(shard) => {
                if !self.shards[shard].stopped {
                    self.shards[shard].exchange.handle_tick(now);
                    self.check_times();
                    self.at(TICK, Event::Tick(shard));
                }
                Some(shard)
            }
            Event::Acts(miner) => self.miner_acts(miner),
            Event::Drain(shard, token) => {
                self.drain(shard, token);
                Some(shard)
            }
            Event::Writable(shard, token) => {
                self.has_room(shard, token);
                Some(shard)
            }
            Event::Dialled(key) => {
                let exchange = &mut self.shards[key.shard].exchange;
                if self.conns.contains_key(&key) && exchange.is_current(key.link()) {
                    exchange.handle_link_connected(now, key.link());
                }
                Some(key.shard)
            }
            Event::DialRefused(key) => {
                self.totals.dials_refused += 1;
                let exchange = &mut self.shards[key.shard].exchange;
                exchange.handle_link_closed(now, key.link(), LinkEnd::ConnectFailed, "refused");
                Some(key.shard)
            }
            Event::Heard(key, line) => {
                self.hear(key, &line);
                Some(key.shard)
            }
            Event::Closed(key, end) => {
                if self.drop_conn(key) {
                    let exchange = &mut self.shards[key.shard].exchange;
                    exchange.handle_link_closed(now, key.link(), end, "");
                }
                Some(key.shard)
            }
            Event::Unstalled(shard) | Event::FanOut(shard) => Some(shard),
            Event::Letter { to, from, letter } => {
                self.deliver(to, from, letter);
                Some(to)
            }
            Event::PoolActs(pool) => {
                self.pool_acts(pool);
                None
            }
            Event::Checked(shard, check) => {
                self.worker_is_checked(shard, &check);
                Some(shard)
            }
        }
    }

    fn finish_round(&mut self, shard: usize) {
        self.look_workers_up(shard);
        for key in self.conns_of(shard) {
            self.write_to_pool(key);
        }
        let fan_out_max = self.random.usize(1..32);
        let Shard {
            exchange,
            settings,
            places,
            fanning_out,
            ..
        } = &mut self.shards[shard];
        let mut wire = Wire {
            miners: &mut self.miners,
            places,
            closed: Vec::new(),
            sent_to: Vec::new(),
            short: Vec::new(),
            send_max: 2 * settings.limits.miner_outbox_bytes_max + 8192,
        };
        *fanning_out = exchange.flush_some(&mut wire, fan_out_max);
        let fanning_out = *fanning_out;
        let Wire {
            closed,
            sent_to,
            short,
            ..
        } = wire;
        for token in sent_to {
            if let Some(miner) = self.shards[shard].miner_of(token) {
                self.miners[miner].socket.sends_in_flush = 0;
                self.miner_hears(miner);
            }
        }
        for token in short {
            let after = self.random.u64(..3);
            self.at(after, Event::Drain(shard, token));
        }
        for (token, how, reason) in closed {
            self.closed(shard, token, how, reason);
        }
        if fanning_out {
            self.at(0, Event::FanOut(shard));
        }
        // What a fact says is held against the connections as they were.
        let facts =
            std::iter::from_fn(|| self.shards[shard].exchange.poll_fact()).collect::<Vec<_>>();
        self.note_all(shard, &facts);
        while let Some(command) = self.shards[shard].exchange.poll_command() {
            self.obey(shard, command);
        }
        while let Some((to, letter)) = self.shards[shard].exchange.poll_letter() {
            self.post(shard, to, letter);
        }
    }

    fn closed(&mut self, shard: usize, token: MinerToken, how: CloseHow, reason: CloseReason) {
        let miner = self.shards[shard].miner_of(token);
        let miner = miner.expect("a live miner is closed");
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
        self.let_go(shard, token);
        self.miners[miner].last_close = Some(reason);
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
