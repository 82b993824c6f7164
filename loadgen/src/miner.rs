//! One simulated miner: what it says, and what it makes of what it is told. Pure.
//!
//! It talks as its [`Habits`] have it, which go by its number.

use std::rc::Rc;
use std::time::Duration;

use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::proto::target::Target;
use stratum_uring::wire::{Kind, Message, Raw, encode};

use crate::habits::{Habits, When};
use crate::job::{Job, JobBook, SeenJobs};
use crate::shares::{Share, Work};
use crate::verdict::{Verdict, verdict};

/// What a server must never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An answer to what this miner never asked.
    UnknownId,
    /// An answer to what was answered before.
    SecondAnswer,
    /// A job that this miner was told of before.
    JobTwice,
    /// A line that is no message, or one that says nothing sensible.
    Unreadable,
    /// Two miners search the same nonces.
    SharedNonce,
}

impl Wrong {
    pub(crate) const ALL: [Self; 5] = [
        Self::UnknownId,
        Self::SecondAnswer,
        Self::JobTwice,
        Self::Unreadable,
        Self::SharedNonce,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::UnknownId => "answer to an unknown id",
            Self::SecondAnswer => "second answer",
            Self::JobTwice => "job sent twice",
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
    id: u32,
    what: Asked,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Subscribe,
    Authorize,
    Extranonce,
    /// A share, and when it was due.
    Share(Duration),
}

/// One miner, which may connect more than once.
#[derive(Debug)]
pub(crate) struct Miner {
    number: u32,
    habits: &'static Habits,
    last_id: u32,
    requests: Vec<Request>,
    subscribed: bool,
    authorized: bool,
    extranonce1: Option<Extranonce1>,
    target: Option<Target>,
    /// They count from the next job on.
    next_extranonce1: Option<Extranonce1>,
    next_target: Option<Target>,
    job: Option<Rc<Job>>,
    seen: SeenJobs,
}

impl Miner {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            habits: Habits::of(number),
            last_id: 0,
            requests: Vec::new(),
            subscribed: false,
            authorized: false,
            extranonce1: None,
            target: None,
            next_extranonce1: None,
            next_target: None,
            job: None,
            seen: SeenJobs::default(),
        }
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
        })
    }

    /// Whether [`Self::work`] gives something.
    pub(crate) fn is_mining(&self) -> bool {
        self.authorized && self.extranonce1.is_some() && self.job.is_some()
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscribed
    }

    /// Shares that wait for an answer.
    pub(crate) fn unanswered(&self) -> usize {
        let shares = self.requests.iter();
        shares
            .filter(|request| matches!(request.what, Asked::Share(_)))
            .count()
    }

    /// A new connection: says what such a miner says first.
    pub(crate) fn handle_connected(&mut self, out: &mut Vec<u8>) {
        self.handle_ended();
        let habits = self.habits;
        self.ask(out, Asked::Subscribe, "mining.subscribe", |out| {
            encode::append_string(out, habits.agent);
            out.extend_from_slice(if habits.host_first {
                b",\"pool.example\",\"3333\",null"
            } else {
                b",null,\"pool.example\",3333"
            });
        });
        if habits.pipelines {
            self.authorize(out);
            self.ask_for_extranonces(out, When::AfterAuthorize);
        }
    }

    /// The connection is gone, and with it everything that was agreed.
    pub(crate) fn handle_ended(&mut self) {
        *self = Self {
            habits: self.habits,
            ..Self::new(self.number)
        };
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
            None => self.handle_answer(message, out),
        }
    }

    /// Appends a share, under this id or the next of its own. It counts from when it was due.
    pub(crate) fn submit(
        &mut self,
        share: &Share,
        id: Option<u32>,
        due: Duration,
        out: &mut Vec<u8>,
    ) {
        let number = self.number;
        if let Some(id) = id {
            self.last_id = id - 1;
        }
        self.ask(out, Asked::Share(due), "mining.submit", |out| {
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
        self.requests.push(Request { id, what });
        let quote: &[u8] = if self.habits.string_ids { b"\"" } else { b"" };
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(quote);
        encode::append_u64(out, u64::from(id));
        out.extend_from_slice(quote);
        out.extend_from_slice(b",\"method\":\"");
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(b"\",\"params\":[");
        params(out);
        out.extend_from_slice(b"]}\n");
    }

    fn handle_call(&mut self, method: &[u8], params: Option<Raw<'_>>, jobs: &mut JobBook) -> Event {
        let text = || params?.elements().next()?.as_str();
        let understood = match method {
            b"mining.notify" => {
                let Some(job) = jobs.read(params) else {
                    return Event::Wrong(Wrong::Unreadable);
                };
                return self.handle_job(job);
            }
            b"mining.set_target" => {
                self.next_target = text().and_then(Target::parse);
                self.next_target.is_some()
            }
            b"mining.set_extranonce" => {
                self.next_extranonce1 = text().and_then(Extranonce1::parse);
                self.next_extranonce1.is_some()
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

    fn handle_job(&mut self, job: Rc<Job>) -> Event {
        let first = if self.job.is_none() {
            First::Yes
        } else {
            First::No
        };
        // With another target or nonce the same job is other work.
        let renewed = self.next_target.is_some() || self.next_extranonce1.is_some();
        let fresh = self.seen.insert(job.number);
        self.target = self.next_target.take().or(self.target);
        self.extranonce1 = self.next_extranonce1.take().or(self.extranonce1);
        self.job = Some(Rc::clone(&job));
        if fresh || renewed {
            Event::Job(job, first)
        } else {
            Event::Wrong(Wrong::JobTwice)
        }
    }

    fn handle_answer(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Event {
        let Some(id) = message.id.and_then(|id| self.own_id(id)) else {
            return Event::Wrong(Wrong::UnknownId);
        };
        let place = self.requests.iter().position(|request| request.id == id);
        let Some(place) = place else {
            return Event::Wrong(if id <= self.last_id {
                Wrong::SecondAnswer
            } else {
                Wrong::UnknownId
            });
        };
        match self.requests.swap_remove(place).what {
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
            Asked::Share(due) => Event::Share(due, verdict(message)),
        }
    }

    fn handle_subscription(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Event {
        let nonce = message.result.and_then(|result| result.elements().nth(1));
        self.extranonce1 = nonce.and_then(Raw::as_str).and_then(Extranonce1::parse);
        if self.extranonce1.is_none() {
            let reason = match verdict(message) {
                Verdict::Rejected(reason) => reason,
                Verdict::Accepted => "a result without a nonce_1".to_owned(),
            };
            return Event::Refused(format!("subscribe: {reason}"));
        }
        self.subscribed = true;
        if !self.habits.pipelines {
            self.ask_for_extranonces(out, When::BeforeAuthorize);
            self.authorize(out);
        }
        Event::Subscribed
    }

    /// The number of an id that comes back as this miner writes its ids.
    fn own_id(&self, id: Raw<'_>) -> Option<u32> {
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
