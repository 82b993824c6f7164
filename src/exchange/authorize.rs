//! Whether a worker may mine: its authorize, or its login, from the request to the answer.
//!
//! ```text
//! request ──▶ room looked at ──▶ checked by the shell ──▶ its name asked for ──▶ answered, and the first job
//!                 └─ refused     (local) └─ refused       at the pool └─ refused
//! ```
//!
//! While somebody else is asked the miner's request is *pending*, and what the miner sends meanwhile is kept
//! as it came, to be read when the answer is known: a share right behind an authorize is so judged after it,
//! and no reply overtakes another.

use std::fmt;
use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Fact, LinkKey, MinerToken};
use crate::exchange::names::{AccountId, AccountKey, Asked};
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::worker_name::MinerAddress;
use crate::wire::request_id::RequestId;

/// Bytes of lines that are kept for one miner while its authorize is pending. What follows it at once is
/// a subscribe and little more.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// A worker and its password, for the shell to look up.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerCheck {
    /// Who asks.
    pub miner: MinerToken,
    /// Which of its authorizes this is.
    pub number: u32,
    /// The worker's name.
    pub worker: Box<str>,
    /// Its password; empty where the miner sent none.
    pub password: Box<str>,
}

impl fmt::Debug for WorkerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerCheck")
            .field("miner", &self.miner)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckEnd {
    /// The worker may mine.
    Right,
    /// There is no such worker, or its password is another one.
    Wrong,
    /// Too many checks wait.
    Busy,
}

/// Who a miner says that it is.
#[derive(Clone, Copy)]
pub(super) struct Visitor<'a> {
    /// The worker's name.
    pub(super) worker: &'a str,
    /// Its password.
    pub(super) password: &'a str,
    /// What the firmware calls itself, where this is a login: the answer is a subscribe's.
    pub(super) agent: Option<&'a str>,
}

/// What a pending authorize waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The shell looks the worker up.
    Check,
    /// A pool says whether it takes the name: the one of this connection, once it was asked.
    Name(Option<LinkKey>),
}

/// An authorize whose answer is not known yet.
pub(crate) struct PendingAuthorize {
    number: u32,
    id: RequestId,
    worker: Box<str>,
    password: Box<str>,
    agent: Option<Box<str>>,
    address: MinerAddress,
    since: Duration,
    /// What is waited for.
    step: Step,
    /// Lines that the miner sent since, each with its LF.
    lines: Vec<u8>,
}

impl fmt::Debug for PendingAuthorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingAuthorize")
            .field("worker", &self.worker)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// From which address the miner comes whose lines are handled next. Where nobody says it, worker names
    /// can't have it, and who is kept out is kept out everywhere.
    pub const fn hear_from(&mut self, address: MinerAddress) {
        self.speaker = address;
    }

    /// The next worker that is to be looked up; the answer is for [`Exchange::handle_worker_checked`].
    pub fn poll_check(&mut self) -> Option<WorkerCheck> {
        self.checks.pop_front()
    }

    /// A worker was looked up. The miner may be gone by now.
    pub fn handle_worker_checked(
        &mut self,
        now: Now,
        miner: MinerToken,
        number: u32,
        end: CheckEnd,
    ) {
        let is_it =
            |pending: &PendingAuthorize| pending.number == number && pending.step == Step::Check;
        if !self
            .pending_authorizes
            .get(&miner)
            .is_some_and(|it| is_it(it))
        {
            return;
        }
        let Some(pending) = self.take_pending(miner) else {
            return;
        };
        match end {
            CheckEnd::Right => return self.name_worker(now, miner, pending),
            CheckEnd::Wrong => self.deny(miner, &pending, Reject::WorkerDenied),
            CheckEnd::Busy => self.deny(miner, &pending, Reject::AuthorizeBusy),
        }
        self.read_kept_lines(now, miner, &pending);
    }

    /// A miner authorizes a worker, or logs in.
    pub(super) fn handle_authorize(
        &mut self,
        now: Now,
        token: MinerToken,
        id: RequestId,
        who: Visitor<'_>,
    ) {
        let limits = self.settings.limits.miner;
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        // A second answer to a login would hold the job that it works on, at which xmrig closes the
        // connection.
        let result = if who.agent.is_some() && miner.session.is_authorized() {
            Err(Reject::Malformed("logged in before"))
        } else if who.password.len() > limits.worker_len_max {
            Err(Reject::TooLong("the password is too long"))
        } else {
            miner.session.may_authorize(who.worker, &limits)
        };
        if let Err(reject) = result {
            return self.refuse_request(token, &id, reject);
        }
        if miner.session.knows(who.worker) {
            return self.accept_request(token, &id);
        }
        let person = self.person(who.worker, self.home(self.speaker));
        if self.is_kept_out(now, person) {
            self.refuse_request(token, &id, Reject::KeptOut);
            return self.close_miner(token, CloseHow::Graceful, CloseReason::KeptOut);
        }
        self.authorizes = self.authorizes.wrapping_add(1);
        let pending = PendingAuthorize {
            number: self.authorizes,
            id,
            worker: who.worker.into(),
            password: who.password.into(),
            agent: who.agent.map(Into::into),
            address: self.speaker,
            since: now.since_start,
            step: Step::Check,
            lines: Vec::new(),
        };
        if self.settings.authorize.is_local {
            self.counters.worker_checks += 1;
            self.checks.push_back(WorkerCheck {
                miner: token,
                number: pending.number,
                worker: pending.worker.clone(),
                password: pending.password.clone(),
            });
            return self.keep_pending(token, Box::new(pending));
        }
        if self.accounts.is_none() {
            return self.finish_authorize(now, token, &pending);
        }
        self.name_worker(now, token, Box::new(pending));
    }

    fn keep_pending(&mut self, token: MinerToken, pending: Box<PendingAuthorize>) {
        if let Some(miner) = self.miners.get_mut(token) {
            miner.pending_authorize = true;
            self.pending_authorizes.insert(token, pending);
        }
    }

    fn take_pending(&mut self, token: MinerToken) -> Option<Box<PendingAuthorize>> {
        if let Some(miner) = self.miners.get_mut(token) {
            miner.pending_authorize = false;
        }
        self.pending_authorizes.remove(&token)
    }

    /// The worker may mine as far as we know. Where it has a name of its own its pool is asked for that.
    fn name_worker(&mut self, now: Now, token: MinerToken, mut pending: Box<PendingAuthorize>) {
        let index = self.link_to_ask(token);
        let asked = match &mut self.accounts {
            None => Asked::Allowed,
            Some(accounts) => {
                let authorize = &self.settings.authorize;
                let has_address = authorize.worker_name.has_address();
                let key = AccountKey {
                    worker: pending.worker.clone(),
                    address: Some(pending.address)
                        .filter(|_| has_address)
                        .unwrap_or_default(),
                    password: authorize.shows_passwords.then(|| pending.password.clone()),
                };
                let account = accounts.open(key, token);
                match index {
                    Some(index) => self.ask_name(now, index, account, Some(token)),
                    None => Asked::Waits,
                }
            }
        };
        match asked {
            Asked::Allowed => self.finish_authorize(now, token, &pending),
            Asked::Denied => self.deny(token, &pending, Reject::WorkerDenied),
            Asked::Waits => {
                pending.step = Step::Name(index.map(|index| self.links[index].key));
                return self.keep_pending(token, pending);
            }
        }
        self.read_kept_lines(now, token, &pending);
    }

    /// A pool has said whether it takes the name that a miner waits for.
    pub(super) fn handle_worker_named(
        &mut self,
        now: Now,
        token: MinerToken,
        account: AccountId,
        refused: Option<Reject>,
    ) {
        let waits = self.pending_authorizes.get(&token).is_some_and(|pending| {
            let accounts = self.accounts.as_ref();
            let own = accounts.and_then(|accounts| accounts.find(token, &pending.worker));
            matches!(pending.step, Step::Name(_)) && own == Some(account)
        });
        if !waits {
            return;
        }
        let Some(pending) = self.take_pending(token) else {
            return;
        };
        match refused {
            None => self.finish_authorize(now, token, &pending),
            Some(reject) => self.deny(token, &pending, reject),
        }
        self.read_kept_lines(now, token, &pending);
    }

    /// Asks for the names of those whose pool could not be asked, or was lost before it answered; refuses
    /// them where that takes too long.
    pub(super) fn ask_for_waiting(&mut self, now: Now) {
        let is_asked = |key: Option<LinkKey>| {
            key.is_some_and(|key| {
                let link = &self.links[key.index];
                link.key == key && link.is_up()
            })
        };
        let mut tokens: Vec<MinerToken> = self
            .pending_authorizes
            .iter()
            .filter(|(_, pending)| matches!(pending.step, Step::Name(key) if !is_asked(key)))
            .map(|(token, _)| *token)
            .collect();
        tokens.sort_unstable();
        for token in tokens {
            let Some(pending) = self.take_pending(token) else {
                continue;
            };
            if now.since(pending.since) >= self.settings.limits.subscribe_wait {
                self.deny(token, &pending, Reject::NoPool);
                self.read_kept_lines(now, token, &pending);
            } else {
                self.name_worker(now, token, pending);
            }
        }
    }

    /// The worker may mine.
    fn finish_authorize(&mut self, now: Now, token: MinerToken, pending: &PendingAuthorize) {
        let limits = self.settings.limits.miner;
        let home = self.home(pending.address);
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let first = !miner.session.is_authorized();
        if let Err(reject) = miner.session.authorize(&pending.worker, &limits) {
            return self.refuse_request(token, &pending.id, reject);
        }
        if first {
            miner.home = home;
        }
        if pending.agent.is_some() {
            miner.session.log_in();
        } else {
            self.accept_request(token, &pending.id);
        }
        if first {
            self.fact(Fact::Authorized {
                miner: token,
                worker: pending.worker.clone().into(),
            });
        }
        match &pending.agent {
            Some(agent) => self.handle_subscribe(now, token, pending.id.clone(), agent),
            None if first => self.start_mining(token),
            None => {}
        }
        // Its pool may be another one by now.
        self.ask_names_of_miner(now, token);
    }

    /// The worker may not mine, at least for now.
    fn deny(&mut self, token: MinerToken, pending: &PendingAuthorize, reject: Reject) {
        self.refuse_request(token, &pending.id, reject);
        self.close_account(token, &pending.worker);
        self.fact(Fact::WorkerDenied {
            miner: token,
            worker: pending.worker.clone().into(),
            reject,
        });
        let limits = self.settings.limits.miner;
        // Who guesses passwords gets few of them on one connection.
        if reject == Reject::WorkerDenied
            && let Some(miner) = self.miners.get_mut(token)
            && miner.session.protocol_error(&limits)
        {
            self.close_miner(token, CloseHow::Graceful, CloseReason::Denied);
        }
    }

    /// Keeps a line of a miner whose authorize is pending.
    pub(super) fn keep_line(&mut self, token: MinerToken, line: &[u8]) {
        let Some(pending) = self.pending_authorizes.get_mut(&token) else {
            debug_assert!(false, "the miner says that there is one");
            return;
        };
        if pending.lines.len() + line.len() < KEPT_BYTES_MAX {
            pending.lines.extend_from_slice(line);
            pending.lines.push(b'\n');
        } else {
            self.close_miner(token, CloseHow::Graceful, CloseReason::TooManyMessages);
        }
    }

    /// Reads what a miner sent while its authorize was pending. Behind one more the rest waits again.
    fn read_kept_lines(&mut self, now: Now, token: MinerToken, pending: &PendingAuthorize) {
        if pending.lines.is_empty() {
            return;
        }
        let speaker = std::mem::replace(&mut self.speaker, pending.address);
        for line in pending.lines.split_inclusive(|&byte| byte == b'\n') {
            self.read_miner_line(now, token, line.strip_suffix(b"\n").unwrap_or(line));
        }
        self.speaker = speaker;
    }

    /// Forgets what a miner that is gone had pending.
    pub(super) fn forget_pending(&mut self, token: MinerToken) {
        self.pending_authorizes.remove(&token);
    }
}
