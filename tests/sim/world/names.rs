//! Who may mine: workers with names of their own at the pools, and a workers file.

use stratum_uring::exchange::{Authorize, CheckEnd, ConductLimits, WorkerCheck};
use stratum_uring::proto::worker_name::{MinerAddress, WorkerName};

use super::*;

/// How long a name, or a share under it, may wait beyond what a share waits for: until it may be asked for,
/// for its answer, on one connection and on the next.
const NAME_WAIT: u64 = 25_000;
/// Bytes of the names that one link may ask for at a time.
const NAMES_BYTES: usize = 256 * 160;
/// Names for which a pool is asked at a time.
const NAMES_ASKED_MAX: usize = 256;
/// Names that may be known though their miners have just gone.
const NAMES_JUST_GONE: u64 = 40;
/// Milliseconds after which an answer on a name may come too late for whoever waits for it.
const NAME_LATE: u64 = 4500;
/// For so many milliseconds such a name may be known though nobody has it.
const NAME_KEPT: u64 = 130_000;

/// Who may mine in this seed. A neighbour's link has one name for all that is sent on it.
pub(super) fn authorize(seed: u64, pool_links: PoolLinks) -> Authorize {
    let template = match seed % 8 {
        2 | 3 | 6 => Some("{worker}"),
        4 => Some("{pool_worker}.{worker}"),
        _ => None,
    };
    let template = template.filter(|_| pool_links == PoolLinks::PerShard);
    let parse = |template| WorkerName::parse(template).expect("a template");
    Authorize {
        is_local: matches!(seed % 8, 4 | 5),
        shows_passwords: seed % 8 == 3,
        worker_name: template.map(parse).unwrap_or_default(),
        denied_retry: Duration::from_secs([2, 20][(seed / 8 % 2) as usize]),
        people_seed: 7,
    }
}

/// How much may be wrong in this seed. Its miners lie more than any farm's, so mostly all of it.
pub(super) fn conduct(seed: u64) -> ConductLimits {
    ConductLimits {
        rejected_window: if seed % 7 == 2 { 10 } else { 0 },
        rejected_percent_max: 10,
        rejected_ban: Duration::from_secs(5),
        ..ConductLimits::default()
    }
}

/// Something like a hash, by which a name is taken or not.
fn digest(text: &str, salt: usize) -> usize {
    text.bytes().fold(salt, |sum, byte| {
        (sum.wrapping_mul(31) ^ usize::from(byte)) & 0xff_ffff
    })
}

impl World {
    /// Whether each worker has a name of its own at the pools.
    pub(super) fn is_named(&self) -> bool {
        !self.settings().authorize.worker_name.is_fixed()
    }

    /// Whether somebody is asked for each worker.
    pub(super) fn asks_for_workers(&self) -> bool {
        self.is_named() || self.settings().authorize.is_local
    }

    /// The name of a worker at a pool.
    pub(super) fn name_at(&self, pool: usize, worker: &str) -> String {
        let pool_worker = &self.pools[pool].worker;
        if !self.is_named() {
            return pool_worker.clone();
        }
        let mut name = String::new();
        let template = &self.settings().authorize.worker_name;
        template.write(&mut name, pool_worker, worker, MinerAddress::default());
        name
    }

    /// Milliseconds that a submit may wait for a name.
    pub(super) fn name_wait(&self) -> u64 {
        if self.asks_for_workers() {
            NAME_WAIT
        } else {
            0
        }
    }

    /// Bytes that may be queued for a pool since it is asked for names.
    pub(super) fn name_bytes(&self) -> usize {
        if self.is_named() { NAMES_BYTES } else { 0 }
    }

    /// A pool is asked for a name.
    pub(super) fn name_reaches_pool(&mut self, place: ConnKey, id: &str, params: &[String]) {
        assert!(self.is_named(), "THE POOL'S OWN WORKER LOGS IN ONCE");
        self.totals.names_asked += 1;
        let name = params[0].trim_matches('"').to_owned();
        let conn = self.conns.get_mut(&place).expect("connected");
        conn.names_waiting.insert(id.to_owned());
        // What is never answered is passed over.
        let waiting = conn.names_waiting.len() - conn.names_unanswered;
        assert!(
            waiting <= NAMES_ASKED_MAX,
            "A POOL IS NOT FLOODED WITH NAMES: {waiting}"
        );
        let pool = conn.pool;
        let habits = &self.pools[pool];
        let (late, denied) = (habits.names_late, habits.names_denied);
        if self.random.u32(..100) < habits.names_silent_percent {
            self.totals.names_unanswered += 1;
            self.late_names.push((self.now, place.shard));
            self.conns
                .get_mut(&place)
                .expect("connected")
                .names_unanswered += 1;
            return;
        }
        let answer = if denied > 0 && digest(&name, pool).is_multiple_of(denied) {
            self.totals.names_denied += 1;
            format!("null,\"error\":[29,\"no {name}\",null]")
        } else {
            let conn = self.conns.get_mut(&place).expect("connected");
            conn.names.insert(name);
            "true,\"error\":null".to_owned()
        };
        // They overtake each other, and shares.
        let after = self.random.u64(1..=late);
        if after >= NAME_LATE {
            self.late_names.push((self.now, place.shard));
        }
        let line = format!("{{\"id\":{id},\"result\":{answer}}}");
        self.at(after, Event::Heard(place, line));
    }

    /// Lets the shell look workers up that an exchange asks for.
    pub(super) fn look_workers_up(&mut self, shard: usize) {
        while let Some(check) = self.shards[shard].exchange.poll_check() {
            self.totals.worker_checks += 1;
            let slowly = if self.phase == Phase::Storm { 3000 } else { 30 };
            let after = match self.random.u8(..4) {
                0 => self.random.u64(..slowly),
                _ => 0,
            };
            self.at(after, Event::Checked(shard, check));
        }
    }

    /// It was looked up.
    pub(super) fn worker_is_checked(&mut self, shard: usize, check: &WorkerCheck) {
        let end = if self.random.u8(..20) == 0 {
            CheckEnd::Busy
        } else if digest(&check.worker, 5).is_multiple_of(6) {
            self.totals.workers_wrong += 1;
            CheckEnd::Wrong
        } else {
            CheckEnd::Right
        };
        let now = self.now();
        let exchange = &mut self.shards[shard].exchange;
        exchange.handle_worker_checked(now, check.miner, check.number, end);
    }

    /// A miner that mines authorizes one worker more: a name that nobody had before.
    pub(super) fn authorizes_another(&mut self, miner: usize) {
        let number = self.content_count + self.totals.submits;
        let worker = format!("{}.{number}", self.miners[miner].worker);
        self.totals.second_workers += 1;
        self.authorizes(miner, worker);
    }

    /// One of the workers that a miner has asked for, mostly its first.
    pub(super) fn worker_of(&mut self, miner: usize) -> String {
        let count = self.miners[miner].workers.len();
        if count < 2 || self.random.u8(..3) > 0 {
            return self.miners[miner].worker.clone();
        }
        let place = self.random.usize(..count);
        self.miners[miner].workers[place].clone()
    }

    /// A miner hears whether a worker may mine.
    pub(super) fn hears_of_worker(&mut self, miner: usize, worker: &str, error: &[String]) {
        let miner = &mut self.miners[miner];
        miner.authorized |= error.is_empty();
        match error {
            [code, text, ..] if code == "29" => {
                let own = text.starts_with("no ") && text.ends_with(worker);
                assert!(own, "NO MINER GETS ANOTHER'S ANSWER: {text} for {worker}");
                self.totals.denials_passed_on += 1;
            }
            [code, ..] => assert_eq!(code, "24", "WHO MAY NOT MINE IS TOLD SO: {error:?}"),
            [] => {}
        }
    }

    /// In the end nobody is known but who is there, and no share waits.
    pub(super) fn check_names(&self) {
        for (number, shard) in self.shards.iter().enumerate() {
            let live = self.miners.iter();
            let live = live.filter(|miner| miner.token.is_some() && miner.shard == number);
            let workers: usize = live.map(|miner| miner.workers.len().min(4)).sum();
            let names = shard.exchange.counters().names;
            let late = self.late_names.iter();
            let late = late.filter(|(at, of)| *of == number && self.now - at < NAME_KEPT);
            // Each for itself and on its link.
            let late = 2 * late.count() as u64;
            let bound = (workers * (1 + shard.feeds.len())) as u64 + late;
            assert!(
                names <= bound + NAMES_JUST_GONE,
                "NAMES THAT NOBODY HAS ARE FORGOTTEN: {names} for {workers}"
            );
            // Who has guests is never drained.
            let is_drained = !self.is_named() || shard.exchange.is_drained();
            assert!(is_drained, "EVERY SHARE HAS ITS END");
        }
    }
}
