//! A model of a pool: small, and as unkind as real ones.

use std::collections::{HashMap, HashSet};

use super::random::Rng;

/// Bytes of nonce_1 that pools give, and 23 or 24, which leave too little for two bytes of slot.
const NONCE_1_LENS: [usize; 6] = [3, 4, 4, 5, 16, 23];

/// A pool and its habits in this seed.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) index: usize,
    pub(crate) worker: String,
    pub(crate) up: bool,
    /// Takes connections and says nothing.
    pub(crate) mute: bool,
    /// Refuses subscribe or authorize.
    pub(crate) closed_door: bool,
    pub(crate) resumes: bool,
    /// Gives each connection the same nonce_1.
    pub(crate) one_nonce: bool,
    /// Announces the same on all connections, which a new one is told at once. Not where they have one
    /// nonce_1: then nothing else tells which link a miner is on.
    pub(crate) one_for_all: bool,
    /// What it announced last, and whether it flagged that clean.
    pub(crate) newest: Option<(String, bool)>,
    pub(crate) job_before_authorized: bool,
    pub(crate) always_clean: bool,
    /// Uses its few job ids again and again.
    pub(crate) ids_again: bool,
    pub(crate) moves_links: bool,
    pub(crate) reject_percent: u32,
    pub(crate) silent_percent: u32,
    pub(crate) delay_max: u64,
    /// How late it says whether it takes a name, at the most.
    pub(crate) names_late: u64,
    /// It denies one name of so many, the same ones each time; 0 for none.
    pub(crate) names_denied: usize,
    /// Names of a hundred of which it never says a word.
    pub(crate) names_silent_percent: u32,
    pub(crate) sessions: Vec<Session>,
    pub(crate) target: u64,
    nonce_1_len: usize,
    nonces: u64,
    job_ids: u64,
}

/// What a pool remembers of one subscriber, over reconnects.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) nonce_1: String,
    /// By job id as it stands on the wire: the contents announced under it, with their nonce_1.
    pub(crate) jobs: HashMap<String, Vec<(String, String)>>,
    /// Solutions seen.
    pub(crate) seen: HashSet<String>,
}

/// One connection to a pool.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) pool: usize,
    pub(crate) session: Option<usize>,
    pub(crate) authorized: bool,
    /// Names that it has taken.
    pub(crate) names: HashSet<String>,
    /// Requests for names that it has not answered, and how many of them it never will.
    pub(crate) names_waiting: HashSet<String>,
    pub(crate) names_unanswered: usize,
    /// Bytes that came and are not a line yet.
    pub(crate) inbox: Vec<u8>,
    /// Takes no bytes until then.
    pub(crate) stalled_until: u64,
    /// When the last of its ordered messages arrives at the proxy.
    pub(crate) speaks_at: u64,
    /// Submit lines seen on this connection.
    pub(crate) seen: HashSet<String>,
    /// Bytes that waited when it was ready: shares that go out once more.
    pub(crate) resent_bytes: Option<usize>,
    /// The exchange has read that the session that was lost may go on.
    pub(crate) goes_on: bool,
    /// The exchange has read that it is authorized.
    pub(crate) up: bool,
    /// Since when.
    pub(crate) up_since: Option<u64>,
    /// Jobs that the exchange has read on this connection.
    pub(crate) jobs_read: u32,
}

impl Conn {
    pub(crate) fn new(pool: usize) -> Self {
        Self {
            pool,
            session: None,
            authorized: false,
            names: HashSet::new(),
            names_waiting: HashSet::new(),
            names_unanswered: 0,
            inbox: Vec::new(),
            stalled_until: 0,
            speaks_at: 0,
            seen: HashSet::new(),
            resent_bytes: None,
            goes_on: false,
            up: false,
            up_since: None,
            jobs_read: 0,
        }
    }
}

impl Pool {
    pub(crate) fn new(index: usize, random: &mut Rng) -> Self {
        let one_nonce = random.u8(..8) == 0;
        Self {
            index,
            worker: format!("t1pool{index}.farm"),
            up: random.u8(..10) > 0,
            mute: false,
            closed_door: false,
            resumes: random.bool(),
            one_nonce,
            one_for_all: !one_nonce && random.bool(),
            newest: None,
            job_before_authorized: random.u8(..4) == 0,
            always_clean: random.u8(..3) == 0,
            ids_again: random.bool(),
            moves_links: random.u8(..3) == 0,
            reject_percent: random.u32(..20),
            silent_percent: [0, 0, 5, 30][random.usize(..4)],
            delay_max: [5, 50, 400, 2500][random.usize(..4)],
            names_late: [5, 200, 2000, 8000][random.usize(..4)],
            names_denied: [0, 3, 8][random.usize(..3)],
            names_silent_percent: [0, 0, 10, 50][random.usize(..4)],
            sessions: Vec::new(),
            target: random.u64(1..),
            nonce_1_len: NONCE_1_LENS[random.usize(..NONCE_1_LENS.len())],
            nonces: 0,
            job_ids: 0,
        }
    }

    /// Becomes a pool that behaves.
    pub(crate) fn calm_down(&mut self) {
        self.up = true;
        self.mute = false;
        self.closed_door = false;
        self.moves_links = false;
        self.delay_max = self.delay_max.min(400);
        self.names_late = self.names_late.min(400);
        self.names_silent_percent = 0;
    }

    /// A nonce_1 of this pool's: its first byte is no other pool's.
    pub(crate) fn next_nonce_1(&mut self) -> String {
        if !self.one_nonce {
            self.nonces += 1;
        }
        self.nonce_1(self.nonces)
    }

    /// The nonce_1 of all its connections, where there is only one.
    pub(crate) fn only_nonce_1(&self) -> String {
        debug_assert!(self.one_nonce);
        self.nonce_1(0)
    }

    fn nonce_1(&self, number: u64) -> String {
        let width = 2 * (self.nonce_1_len - 1);
        format!("{:02x}{number:0width$x}", 0xa0 + self.index)
    }

    /// The session of a subscribe: the one asked for, where this pool resumes, or a new one.
    pub(crate) fn subscribe(&mut self, wanted: Option<&str>) -> usize {
        // One nonce_1 for all is one session for all.
        let known = if self.one_nonce {
            (!self.sessions.is_empty()).then_some(0)
        } else {
            let wanted = wanted.filter(|_| self.resumes);
            wanted.and_then(|wanted| {
                self.sessions
                    .iter()
                    .position(|session| session.id == wanted)
            })
        };
        known.unwrap_or_else(|| {
            let nonce_1 = self.next_nonce_1();
            self.sessions.push(Session {
                id: format!("s{}-{}", self.index, self.sessions.len()),
                nonce_1,
                jobs: HashMap::new(),
                seen: HashSet::new(),
            });
            self.sessions.len() - 1
        })
    }

    pub(crate) fn target_digits(&self) -> String {
        format!("{:016x}{}", self.target >> 4, "f".repeat(48))
    }

    /// A job for one session under one of the pool's ids: the line, and its flag.
    pub(crate) fn job(&mut self, session: usize, content: &str, clean: bool) -> (String, bool) {
        self.job_ids += 1;
        let id = match (self.ids_again, self.index) {
            (true, 1) => (self.job_ids % 3).to_string(),
            (true, _) => format!("\"{}\"", self.job_ids % 5),
            (false, _) => format!("\"{:x}\"", 0xccc0 + self.job_ids),
        };
        let clean = clean || self.always_clean;
        let session = &mut self.sessions[session];
        let nonce_1 = session.nonce_1.clone();
        let contents = session.jobs.entry(id.clone()).or_default();
        contents.push((content.to_owned(), nonce_1));
        let zeros = "0".repeat(64);
        let line = format!(
            "{{\"id\":null,\"method\":\"mining.notify\",\"params\":[{id},\"04000000\",\"{zeros}\",\
             \"{content}\",\"{zeros}\",\"a8becc5b\",\"e1ab031c\",{clean}]}}"
        );
        (line, clean)
    }
}
