//! A model of a miner: what it is, what it knows, and what it still waits for.

use std::collections::{BTreeMap, VecDeque};

use stratum_uring::exchange::{CloseReason, MinerToken, Tag};

use super::random::Rng;

/// What a miner is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Says one thing and waits for its answer.
    Normal,
    /// Says all at once, and sends shares in bursts.
    Pipelining,
    /// Can take another nonce_1 without a reconnect.
    Extranonce,
    /// Goes away in the middle of things.
    Restless,
    /// Says what it should not.
    Hostile,
}

/// How a miner's socket takes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    All,
    Slow,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    No,
    /// The exchange does not know yet.
    Unreported,
    Reported,
}

/// A send that was not taken whole.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) sent: usize,
    pub(crate) pieces: Vec<(Tag, usize)>,
    pub(crate) bytes: Vec<u8>,
}

/// A miner's socket as the shell sees it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) reading: Reading,
    pub(crate) room: usize,
    pub(crate) blocked: Blocked,
    pub(crate) refused: Vec<Refused>,
    /// What the shell keeps of sends that were not taken whole, where it can't give them back, as with TLS.
    pub(crate) kept: Option<Vec<u8>>,
    pub(crate) inbox: Vec<u8>,
    pub(crate) sends_in_flush: u32,
}

impl Socket {
    pub(crate) fn new(reading: Reading, random: &mut Rng) -> Self {
        let room = match reading {
            Reading::All => usize::MAX,
            Reading::Slow => random.usize(..900),
            Reading::Never => random.usize(..1200),
        };
        Self {
            reading,
            room,
            blocked: Blocked::No,
            refused: Vec::new(),
            kept: (room % 2 == 0).then(Vec::new),
            inbox: Vec::new(),
            sends_in_flush: 0,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.blocked == Blocked::No
    }

    /// Takes as many bytes as there is room for; gives how many.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room);
        self.inbox.extend_from_slice(&bytes[..taken]);
        if self.room != usize::MAX {
            self.room -= taken;
        }
        taken
    }
}

/// What an answer is waited for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Subscribe,
    /// Of this worker.
    Authorize {
        worker: String,
    },
    Polite,
    /// A share with its solution, and when it was sent. `must_not` is a share that is no good.
    Submit {
        solution: String,
        at: u64,
    },
}

/// A job as a miner knows it.
#[derive(Clone, Debug)]
pub(crate) struct HeardJob {
    pub(crate) id: String,
    pub(crate) content: String,
    /// The target in force when it came.
    pub(crate) target: Option<String>,
    /// Its own link had not announced it.
    pub(crate) early: bool,
}

#[derive(Debug)]
pub(crate) struct Miner {
    pub(crate) kind: Kind,
    pub(crate) worker: String,
    /// Those for which it has asked on this connection.
    pub(crate) workers: Vec<String>,
    /// Where it is, or was last.
    pub(crate) shard: usize,
    pub(crate) token: Option<MinerToken>,
    /// Why it was closed last.
    pub(crate) last_close: Option<CloseReason>,
    pub(crate) socket: Socket,
    pub(crate) greeted: bool,
    pub(crate) asked_authorize: bool,
    pub(crate) authorized: bool,
    pub(crate) takes_extranonce: bool,
    pub(crate) nonce_1: Option<String>,
    /// Its nonce_1 is of a space that was given up.
    pub(crate) stranded: bool,
    pub(crate) job: Option<HeardJob>,
    pub(crate) target: Option<String>,
    /// The next job must be clean.
    pub(crate) first_job_due: bool,
    /// By id as it stands on the wire.
    pub(crate) waiting: BTreeMap<String, Request>,
    /// Requests whose answers are on their way, in the order in which they were given. Not all: which
    /// shares are refused at once only the exchange knows.
    pub(crate) due: VecDeque<String>,
    /// Answers under the id null that are due.
    pub(crate) null_due: u32,
    /// Shares it may send again.
    pub(crate) last_submit: Option<(String, String)>,
    requests: u64,
}

impl Miner {
    pub(crate) fn new(number: usize, kind: Kind, reading: Reading, random: &mut Rng) -> Self {
        Self {
            kind,
            worker: format!("w.rig{number}"),
            workers: Vec::new(),
            shard: 0,
            token: None,
            last_close: None,
            socket: Socket::new(reading, random),
            greeted: false,
            asked_authorize: false,
            authorized: false,
            takes_extranonce: false,
            nonce_1: None,
            stranded: false,
            job: None,
            target: None,
            first_job_due: false,
            waiting: BTreeMap::new(),
            due: VecDeque::new(),
            null_due: 0,
            last_submit: None,
            requests: 0,
        }
    }

    /// Begins anew, on a new connection or none.
    pub(crate) fn forget(&mut self, token: Option<MinerToken>, random: &mut Rng) {
        let requests = self.requests;
        let number = self.worker.clone();
        let shard = self.shard;
        *self = Self::new(0, self.kind, self.socket.reading, random);
        self.worker = number;
        self.shard = shard;
        self.requests = requests;
        self.token = token;
    }

    /// An id that this miner has not used: a number, a text, a fraction, a negative number.
    pub(crate) fn next_id(&mut self) -> String {
        self.requests += 1;
        let number = self.requests;
        match number % 5 {
            0 => format!("\"{}-\\u00e9-{number}\"", self.worker),
            1 => format!("\"{number}\""),
            2 => format!("{number}.50"),
            3 => format!("-{number}"),
            _ => number.to_string(),
        }
    }

    pub(crate) fn is_mining(&self) -> bool {
        self.authorized && self.nonce_1.is_some()
    }

    /// A pool has judged this share. Where it was sent twice nobody can tell which of the two it was.
    pub(crate) fn is_judged(&mut self, solution: &str) {
        let mut ids = self
            .waiting
            .iter()
            .filter_map(|(id, request)| match request {
                Request::Submit { solution: sent, .. } if sent == solution => Some(id),
                _ => None,
            });
        if let (Some(id), None) = (ids.next(), ids.next())
            && !self.due.contains(id)
        {
            self.due.push_back(id.clone());
        }
    }

    pub(crate) fn unanswered_submits(&self) -> impl Iterator<Item = (&String, u64)> {
        self.waiting
            .iter()
            .filter_map(|(id, request)| match request {
                Request::Submit { at, .. } => Some((id, *at)),
                _ => None,
            })
    }
}
