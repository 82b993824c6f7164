//! One simulated miner: what it says, and what it makes of what it is told. Pure.
//!
//! It talks as its [`Habits`] have it, which go by its number.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::proto::dialect::bitcoin::target_of;
use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::proto::target::Target;
use stratum_uring::wire::{Kind, Message, Raw, encode, hex};

use crate::habits::{Habits, When};
use crate::job::{Job, JobBook, SeenJobs};
use crate::shares::{Share, Work};
use crate::verdict::{Verdict, verdict};

mod monero;

/// What a server must never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An answer to what this miner never asked on this connection.
    UnknownId,
    /// An answer to what another miner asked.
    ForeignId,
    /// An answer to what was answered before.
    SecondAnswer,
    /// A job that this miner was told of before.
    JobTwice,
    /// A job by the id of another one that this miner was told of.
    JobIdTwice,
    /// A job that comes before the one that this miner was told of last.
    JobOutOfOrder,
    /// A line that is no message, or one that says nothing sensible.
    Unreadable,
    /// Two miners search the same nonces.
    SharedNonce,
}

impl Wrong {
    pub(crate) const ALL: [Self; 8] = [
        Self::UnknownId,
        Self::ForeignId,
        Self::SecondAnswer,
        Self::JobTwice,
        Self::JobIdTwice,
        Self::JobOutOfOrder,
        Self::Unreadable,
        Self::SharedNonce,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::UnknownId => "answer to an unknown id",
            Self::ForeignId => "answer to another miner",
            Self::SecondAnswer => "second answer",
            Self::JobTwice => "job sent twice",
            Self::JobIdTwice => "job by the id of another",
            Self::JobOutOfOrder => "job out of order",
            Self::Unreadable => "unreadable line",
            Self::SharedNonce => "nonce_1 shared by two miners",
        }
    }
}

/// What a line meant to a miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    Subscribed,
    /// Subscribed and authorized in one, with this as first job.
    LoggedIn(Rc<Job>),
    /// A job; whether it is this connection's first one.
    Job(Rc<Job>, First),
    /// An answer to a share that was due then.
    Share(Duration, Verdict),
    Wrong(Wrong),
    /// The server does not want this miner; why. It closes, and comes back later.
    Refused(String),
    /// The server sends it away. It closes, and comes back.
    Reconnect,
}

/// Whether a job is the first of a connection: such a one is an answer to the subscribe, and no
/// announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Yes,
    No,
}

/// A request that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Request {
    id: u64,
    what: Asked,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Configure,
    Subscribe,
    Authorize,
    Extranonce,
    Login,
    KeepAlive,
    Share(Times),
}

/// When a share was due, and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) due: Duration,
    pub(crate) sent: Duration,
}

/// One miner, which may connect more than once.
#[derive(Debug)]
pub(crate) struct Miner {
    number: u32,
    habits: &'static Habits,
    /// Ids of this connection are above the first and up to the last. No other miner has the same ones,
    /// and no earlier connection of this miner: so an answer to somebody else is known as such.
    first_id: u64,
    last_id: u64,
    /// From the oldest on.
    requests: VecDeque<Request>,
    authorized: bool,
    is_bitcoin: bool,
    /// What it was told at its login, where it mines Monero.
    login: Option<monero::Login>,
    /// Of Bitcoin, the bytes behind extranonce1, and the version bits that it may roll.
    extranonce2_len: usize,
    version_bits: Option<u32>,
    /// Of Monero, what stands for its blob: no two miners may have the same.
    extranonce1: Option<Extranonce1>,
    target: Option<Target>,
    /// They count from the next job on.
    next_extranonce1: Option<(Extranonce1, usize)>,
    next_target: Option<Target>,
    job: Option<Rc<Job>>,
    seen: SeenJobs,
    silent: bool,
}

/// Ids of a miner: enough for ten shares a second on each of 65,536 miners, for a day.
const IDS_PER_MINER: u64 = 1_000_000;

impl Miner {
    pub(crate) fn new(number: u32) -> Self {
        let first_id = u64::from(number) * IDS_PER_MINER;
        Self {
            number,
            habits: Habits::of(number),
            first_id,
            last_id: first_id,
            requests: VecDeque::new(),
            authorized: false,
            is_bitcoin: false,
            login: None,
            extranonce2_len: 0,
            version_bits: None,
            extranonce1: None,
            target: None,
            next_extranonce1: None,
            next_target: None,
            job: None,
            seen: SeenJobs::default(),
            silent: false,
        }
    }

    /// One that mines this coin.
    pub(crate) fn of(coin: PracticeCoin, number: u32) -> Self {
        Self {
            is_bitcoin: coin == PracticeCoin::Bitcoin,
            login: (coin == PracticeCoin::Monero).then(monero::Login::default),
            ..Self::new(number)
        }
    }

    /// Forgets all that was agreed on. What it asked before is another connection's.
    fn begin_anew(&mut self) {
        let last_id = if self.habits.ids_begin_anew {
            0
        } else {
            self.last_id
        };
        *self = Self {
            habits: self.habits,
            first_id: last_id,
            last_id,
            is_bitcoin: self.is_bitcoin,
            login: self.login.as_ref().map(|_| monero::Login::default()),
            ..Self::new(self.number)
        };
    }

    /// From now on it talks as [`Habits::ALIKE`] has it.
    pub(crate) fn make_alike(&mut self) {
        self.habits = &Habits::ALIKE;
    }

    /// The part of the nonce that the server has fixed for it.
    pub(crate) fn extranonce1(&self) -> Option<Extranonce1> {
        self.extranonce1
    }

    /// What to work on, once everything is there.
    pub(crate) fn work(&self) -> Option<Work> {
        let (extranonce1, job) = self.extranonce1.zip(self.job.as_ref())?;
        self.authorized.then(|| Work {
            job: Rc::clone(job),
            extranonce1,
            target: self.target.unwrap_or(Target::from_bytes([0xff; 32])),
            extranonce2_len: self.extranonce2_len,
            version_bits: self.version_bits,
            nonce_end: self.login.as_ref().and_then(monero::Login::nonce_end),
        })
    }

    /// Whether [`Self::work`] gives something.
    pub(crate) fn is_mining(&self) -> bool {
        self.authorized && self.extranonce1.is_some() && self.job.is_some()
    }

    /// Shares that wait for an answer.
    pub(crate) fn unanswered(&self) -> usize {
        let shares = self.requests.iter();
        shares
            .filter(|request| matches!(request.what, Asked::Share(_)))
            .count()
    }

    /// When each of them was sent.
    pub(crate) fn unanswered_since(&self) -> impl Iterator<Item = Duration> {
        self.requests
            .iter()
            .filter_map(|request| match request.what {
                Asked::Share(times) => Some(times.sent),
                _ => None,
            })
    }

    /// Whether it can be given another nonce_1 on the connection that it has.
    pub(crate) fn takes_extranonces(&self) -> bool {
        self.habits.extranonce.is_some()
    }

    /// A new connection: says what such a miner says first.
    pub(crate) fn handle_connected(&mut self, out: &mut Vec<u8>) {
        self.begin_anew();
        if self.login.is_some() {
            return self.log_in(out);
        }
        if self.is_bitcoin && self.habits.rolls_version {
            self.ask(out, Asked::Configure, "mining.configure", |out| {
                out.extend_from_slice(
                    b"[\"version-rolling\"],{\"version-rolling.mask\":\"ffffffff\"}",
                );
            });
            if !self.habits.pipelines {
                return;
            }
        }
        self.subscribe(out);
    }

    fn subscribe(&mut self, out: &mut Vec<u8>) {
        let (habits, is_bitcoin) = (self.habits, self.is_bitcoin);
        self.ask(out, Asked::Subscribe, "mining.subscribe", |out| {
            encode::append_string(out, habits.agent);
            out.extend_from_slice(match habits.host_first {
                _ if is_bitcoin => b"",
                true => b",\"pool.example\",\"3333\",null",
                false => b",null,\"pool.example\",3333",
            });
        });
        if habits.pipelines {
            self.authorize(out);
            self.ask_for_extranonces(out, When::AfterAuthorize);
        }
    }

    /// The connection is gone, and with it everything that was agreed.
    pub(crate) fn handle_ended(&mut self) {
        self.begin_anew();
    }

    /// It is dead to the world from here on, though its connection stays.
    pub(crate) fn fall_silent(&mut self) {
        self.begin_anew();
        self.silent = true;
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    pub(crate) fn handle_message(
        &mut self,
        message: &Message<'_>,
        jobs: &mut JobBook,
        out: &mut Vec<u8>,
    ) -> Event {
        match message.method {
            Some(method) => match method.as_str() {
                Some(method) => self.handle_call(method, message.params, jobs),
                None => Event::Wrong(Wrong::Unreadable),
            },
            None => self.handle_answer(message, jobs, out),
        }
    }

    /// Appends a share, under this id or the next of its own. It counts from when it was due.
    pub(crate) fn submit(
        &mut self,
        share: &Share,
        id: Option<u64>,
        times: Times,
        out: &mut Vec<u8>,
    ) {
        let number = self.number;
        if let Some(id) = id {
            self.last_id = id - 1;
        }
        if self.login.is_some() {
            return self.submit_to_session(share, times, out);
        }
        self.ask(out, Asked::Share(times), "mining.submit", |out| {
            append_worker(out, number);
            share.write_params(out);
        });
    }

    fn authorize(&mut self, out: &mut Vec<u8>) {
        let number = self.number;
        self.ask(out, Asked::Authorize, "mining.authorize", |out| {
            append_worker(out, number);
            out.extend_from_slice(b",\"x\"");
        });
    }

    fn ask_for_extranonces(&mut self, out: &mut Vec<u8>, when: When) {
        if self.habits.extranonce == Some(when) {
            self.ask(
                out,
                Asked::Extranonce,
                "mining.extranonce.subscribe",
                |_| {},
            );
        }
    }

    fn ask(
        &mut self,
        out: &mut Vec<u8>,
        what: Asked,
        method: &str,
        params: impl FnOnce(&mut Vec<u8>),
    ) {
        self.last_id += 1;
        let id = self.last_id;
        self.requests.push_back(Request { id, what });
        let quote: &[u8] = if self.habits.string_ids { b"\"" } else { b"" };
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(quote);
        encode::append_u64(out, id);
        out.extend_from_slice(quote);
        out.extend_from_slice(b",\"method\":\"");
        out.extend_from_slice(method.as_bytes());
        let [open, close] = match self.login {
            Some(_) => [b'{', b'}'],
            None => [b'[', b']'],
        };
        out.extend_from_slice(b"\",\"params\":");
        out.push(open);
        params(out);
        out.push(close);
        out.extend_from_slice(b"}\n");
    }

    fn handle_call(&mut self, method: &[u8], params: Option<Raw<'_>>, jobs: &mut JobBook) -> Event {
        if self.login.is_some() {
            return self.handle_named_call(method, params, jobs);
        }
        let text = || params?.elements().next()?.as_str();
        let understood = match method {
            b"mining.notify" => {
                let Some(job) = jobs.read(params) else {
                    return Event::Wrong(Wrong::Unreadable);
                };
                return self.handle_job(job, jobs);
            }
            b"mining.set_target" => {
                self.next_target = text().and_then(Target::parse);
                self.next_target.is_some()
            }
            b"mining.set_difficulty" if self.is_bitcoin => {
                let difficulty = params.and_then(|params| params.elements().next());
                self.next_target = difficulty.and_then(Raw::as_f64).and_then(target_of);
                self.next_target.is_some()
            }
            b"mining.set_extranonce" => {
                let extranonce1 = text().and_then(Extranonce1::parse);
                let size = params.and_then(|params| params.elements().nth(1));
                self.next_extranonce1 = extranonce1.zip(self.size(size));
                self.next_extranonce1.is_some()
            }
            b"mining.set_version_mask" if self.is_bitcoin => {
                self.version_bits = text().and_then(hex::parse_u32_be);
                self.version_bits.is_some()
            }
            b"client.reconnect" => return Event::Reconnect,
            _ => true,
        };
        if understood {
            Event::Nothing
        } else {
            Event::Wrong(Wrong::Unreadable)
        }
    }

    fn handle_job(&mut self, job: Rc<Job>, jobs: &mut JobBook) -> Event {
        let before = self.job.take();
        let first = if before.is_none() {
            First::Yes
        } else {
            First::No
        };
        // With another target or nonce the same job is other work. Another nonce may also mean another
        // pool, whose jobs have an order of their own.
        let moved = self.next_extranonce1.is_some();
        let renewed = self.next_target.is_some() || moved;
        let known_id = self.seen.knows_namesake(&job);
        let fresh = self.seen.insert(job.number);
        let in_order = match before {
            Some(before) if fresh && !moved => jobs.may_follow(&before, &job),
            _ => true,
        };
        self.target = self.next_target.take().or(self.target);
        if let Some((extranonce1, size)) = self.next_extranonce1.take() {
            (self.extranonce1, self.extranonce2_len) = (Some(extranonce1), size);
        }
        self.job = Some(Rc::clone(&job));
        if known_id && !moved {
            Event::Wrong(Wrong::JobIdTwice)
        } else if !in_order {
            Event::Wrong(Wrong::JobOutOfOrder)
        } else if fresh || renewed {
            Event::Job(job, first)
        } else {
            Event::Wrong(Wrong::JobTwice)
        }
    }

    fn handle_answer(
        &mut self,
        message: &Message<'_>,
        jobs: &mut JobBook,
        out: &mut Vec<u8>,
    ) -> Event {
        let Some(id) = message.id.and_then(|id| self.own_id(id)) else {
            return Event::Wrong(Wrong::UnknownId);
        };
        // Answers come in the order of the questions, more or less, so it stands near the front.
        let place = self.requests.iter().position(|request| request.id == id);
        let Some(request) = place.and_then(|place| self.requests.remove(place)) else {
            let own = u64::from(self.number) * IDS_PER_MINER;
            return Event::Wrong(if id > self.first_id && id <= self.last_id {
                Wrong::SecondAnswer
            } else if id > own && id - own <= IDS_PER_MINER {
                Wrong::UnknownId
            } else {
                Wrong::ForeignId
            });
        };
        match request.what {
            Asked::Configure => {
                let mask = message.result.and_then(|result| {
                    let mut members = result.members();
                    let is_mask = |key: Raw<'_>| key.as_str() == Some(b"version-rolling.mask");
                    members.find_map(|(key, value)| is_mask(key).then(|| value.as_str())?)
                });
                self.version_bits = mask.and_then(hex::parse_u32_be);
                if !self.habits.pipelines {
                    self.subscribe(out);
                }
                Event::Nothing
            }
            Asked::Subscribe => self.handle_subscription(message, out),
            Asked::Authorize => match verdict(message) {
                Verdict::Accepted => {
                    self.authorized = true;
                    if !self.habits.pipelines {
                        self.ask_for_extranonces(out, When::AfterAuthorize);
                    }
                    Event::Nothing
                }
                Verdict::Rejected(reason) => Event::Refused(format!("authorize: {reason}")),
            },
            Asked::Extranonce => Event::Nothing,
            Asked::Login => self.handle_login(message, jobs, out),
            Asked::KeepAlive => monero::handle_kept_alive(message),
            Asked::Share(times) => Event::Share(times.due, verdict(message)),
        }
    }

    fn handle_subscription(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Event {
        let nonce = message.result.and_then(|result| result.elements().nth(1));
        self.extranonce1 = nonce.and_then(Raw::as_str).and_then(Extranonce1::parse);
        let size = message.result.and_then(|result| result.elements().nth(2));
        match self.size(size) {
            Some(size) => self.extranonce2_len = size,
            None => self.extranonce1 = None,
        }
        if self.extranonce1.is_none() {
            let reason = match verdict(message) {
                Verdict::Rejected(reason) => reason,
                Verdict::Accepted => "a result without a nonce_1".to_owned(),
            };
            return Event::Refused(format!("subscribe: {reason}"));
        }
        if !self.habits.pipelines {
            self.ask_for_extranonces(out, When::BeforeAuthorize);
            self.authorize(out);
        }
        Event::Subscribed
    }

    /// What Bitcoin says behind extranonce1; nothing of it is needed with Equihash.
    fn size(&self, size: Option<Raw<'_>>) -> Option<usize> {
        if !self.is_bitcoin {
            return Some(0);
        }
        usize::try_from(size?.as_u64()?).ok()
    }

    /// The number of an id that comes back as this miner writes its ids.
    fn own_id(&self, id: Raw<'_>) -> Option<u64> {
        let digits = if self.habits.string_ids {
            id.as_str()?
        } else if id.kind() == Kind::Number {
            id.bytes()
        } else {
            return None;
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// Each miner has a worker of its own.
fn append_worker(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(b"\"farm.rig");
    encode::append_u64(out, u64::from(number));
    out.push(b'"');
}

#[cfg(test)]
mod tests;
