//! Whether a worker may mine: its authorize, or its login, from the request to the answer.
//!
//! ```text
//! request ──▶ room looked at ──▶ checked by the shell ──▶ its name asked for ──▶ answered, and the first job
//!                 └─ refused     (local) └─ refused       at the pool └─ refused
//! ```
//!
//! While somebody else is asked the request is *pending*. What a miner without a worker sends meanwhile is
//! kept as it came, to be read when the answer is known: simple firmware pairs replies with requests by their
//! order alone. Where a connection mines already, its lines go their way: a sub-proxy authorizes one worker
//! behind the other, and must not lose a share for it. Then only shares under the pending name are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{CloseHow, CloseReason, Exchange, Fact, LinkKey, MinerToken};
use crate::exchange::accounts::{AccountId, AccountKey, Denial};
use crate::exchange::names::Asked;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::worker_name::MinerAddress;
use crate::wire::request_id::RequestId;

/// Bytes of lines that are kept for one miner while its authorize is pending. What follows it at once is
/// a subscribe and little more. A line for which there is no room is read at once, and its reply may come
/// ahead of others; a share is refused then.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// How long an authorize waits for its pool at the most, with the wait for its turn to be asked for.
const NAME_WAIT_MAX: Duration = Duration::from_secs(120);

/// Who waits for an answer: a miner, and the number of its authorize.
pub(crate) type Waiter = (MinerToken, u32);

/// The authorizes whose answers are not known yet.
pub(crate) type PendingAuthorizes = BTreeMap<Waiter, Box<PendingAuthorize>>;

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
    /// The shell looks the worker up; it always answers.
    Check,
    /// A pool says whether it takes the name.
    Name(AccountId, AskedAt),
}

/// Which pool is asked for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskedAt {
    /// The one of this connection.
    Link(LinkKey),
    /// None, since then, as the miner has no link that is up.
    Nowhere(Duration),
}

/// An authorize whose answer is not known yet.
pub(crate) struct PendingAuthorize {
    id: RequestId,
    worker: Box<str>,
    /// Empty once nobody needs it any more.
    password: Box<str>,
    agent: Option<Box<str>>,
    address: MinerAddress,
    /// When it came.
    came: Duration,
    /// Since when it waits for the name.
    since: Duration,
    /// What is waited for.
    step: Step,
    /// Lines that the miner sent since and that wait for it, each with its LF.
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

impl PendingAuthorize {
    /// The account whose name it waits for.
    pub(super) const fn account(&self) -> Option<AccountId> {
        match self.step {
            Step::Check => None,
            Step::Name(account, _) => Some(account),
        }
    }

    /// Where it comes from.
    pub(super) const fn address(&self) -> MinerAddress {
        self.address
    }
}

/// What becomes of a share under a name that the connection has not authorized yet.
pub(super) enum Kept {
    /// It waits for the name's answer.
    Yes,
    /// There is no room for it.
    Full,
    /// Nobody was asked for this name.
    No,
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
        let waiter = (miner, number);
        let pending = self.pending_authorizes.get(&waiter);
        if !pending.is_some_and(|pending| pending.step == Step::Check) {
            return;
        }
        let denial = match end {
            CheckEnd::Right if self.accounts.is_some() => return self.name_worker(now, waiter),
            CheckEnd::Right => None,
            CheckEnd::Wrong => Some(Reject::WorkerDenied.into()),
            CheckEnd::Busy => Some(Reject::AuthorizeBusy.into()),
        };
        self.settle_authorize(now, waiter, denial.as_ref());
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
        let pending_max = limits.workers_max.min(u16::MAX.into());
        // A second answer to a login would hold the job that it works on, at which xmrig closes the
        // connection.
        let result = if who.agent.is_some() && miner.session.is_authorized() {
            Err(Reject::Malformed("logged in before"))
        } else if who.password.len() > limits.worker_len_max {
            Err(Reject::TooLong("the password is too long"))
        } else if who.worker.contains(char::is_control) {
            // Some pools keep names as C does: what stands behind a zero would be another name there.
            Err(Reject::Malformed(
                "the worker's name has control characters",
            ))
        } else if usize::from(miner.pending) >= pending_max {
            Err(Reject::AuthorizeBusy)
        } else {
            miner.session.may_authorize(who.worker, &limits)
        };
        if let Err(reject) = result {
            return self.refuse_authorize(token, &id, &reject.into());
        }
        let is_known = miner.session.knows(who.worker);
        let is_alone = !miner.session.is_authorized();
        if is_known && self.accounts.is_none() {
            return self.accept_request(token, &id);
        }
        if !is_known && self.is_kept_out(now, who.worker, self.home(self.speaker)) {
            self.refuse_authorize(token, &id, &Reject::KeptOut.into());
            if is_alone {
                self.close_miner(token, CloseHow::Graceful, CloseReason::KeptOut);
            }
            return;
        }
        let pending = PendingAuthorize {
            id,
            worker: who.worker.into(),
            password: who.password.into(),
            agent: who.agent.map(Into::into),
            address: self.speaker,
            came: now.since_start,
            since: now.since_start,
            step: Step::Check,
            lines: Vec::new(),
        };
        let is_checked = self.settings.authorize.is_local && !is_known;
        if !is_checked && self.accounts.is_none() {
            return self.finish_authorize(now, token, &pending);
        }
        self.authorizes = self.authorizes.wrapping_add(1);
        let waiter = (token, self.authorizes);
        if is_checked {
            self.counters.worker_checks += 1;
            self.checks.push_back(WorkerCheck {
                miner: token,
                number: waiter.1,
                worker: pending.worker.clone(),
                password: pending.password.clone(),
            });
        }
        if let Some(miner) = self.miners.get_mut(token) {
            miner.pending += 1;
        }
        self.pending_authorizes.insert(waiter, Box::new(pending));
        if !is_checked {
            self.name_worker(now, waiter);
        }
    }

    /// The worker may mine as far as we know. It has a name of its own, for which its pool is asked.
    fn name_worker(&mut self, now: Now, waiter: Waiter) {
        let authorize = &self.settings.authorize;
        let (Some(accounts), Some(pending)) =
            (&mut self.accounts, self.pending_authorizes.get_mut(&waiter))
        else {
            return;
        };
        let password = std::mem::take(&mut pending.password);
        let account = accounts.open(AccountKey {
            worker: pending.worker.clone(),
            address: if authorize.worker_name.has_address() {
                pending.address
            } else {
                MinerAddress::default()
            },
            password: authorize.shows_passwords.then_some(password),
        });
        pending.step = Step::Name(account, AskedAt::Nowhere(now.since_start));
        pending.since = now.since_start;
        self.ask_for_one(now, waiter, account);
    }

    /// Asks the miner's pool for the name that an authorize waits for. Says whether it can be asked now.
    fn ask_for_one(&mut self, now: Now, waiter: Waiter, account: AccountId) -> bool {
        let Some(index) = self.link_to_ask(waiter.0) else {
            return false;
        };
        match self.ask_name(now, index, account, Some(waiter)) {
            Asked::Allowed => self.settle_authorize(now, waiter, None),
            Asked::Denied(denial) => self.settle_authorize(now, waiter, Some(&denial)),
            Asked::Waits => {
                let key = self.links[index].key;
                if let Some(pending) = self.pending_authorizes.get_mut(&waiter) {
                    pending.step = Step::Name(account, AskedAt::Link(key));
                }
            }
        }
        true
    }

    /// A pool has said whether it takes the name that a miner waits for. The miner may be gone by now.
    pub(super) fn handle_worker_named(
        &mut self,
        now: Now,
        waiter: Waiter,
        denial: Option<&Denial>,
    ) {
        self.settle_authorize(now, waiter, denial);
    }

    /// Asks for the names of those whose pool could not be asked, or was lost before it answered; refuses
    /// them where that takes too long, and everybody who has waited for very long, be it for a turn.
    pub(super) fn ask_for_waiting(&mut self, now: Now) {
        let can_ask = self.links.iter().any(|link| link.is_up());
        let wait_max = self.settings.limits.subscribe_wait;
        let (mut waiting, mut overdue) = (Vec::new(), Vec::new());
        for (waiter, pending) in &mut self.pending_authorizes {
            let Step::Name(account, asked_at) = &mut pending.step else {
                continue;
            };
            if now.since(pending.since) >= wait_max.max(NAME_WAIT_MAX) {
                overdue.push(*waiter);
                continue;
            }
            let since = match *asked_at {
                AskedAt::Link(key) => {
                    let link = &self.links[key.index];
                    if link.key == key && link.is_up() {
                        continue;
                    }
                    // It may be back in a moment, however long the miner has waited for its turn there.
                    *asked_at = AskedAt::Nowhere(now.since_start);
                    now.since_start
                }
                AskedAt::Nowhere(since) => since,
            };
            let is_late = now.since(since) >= wait_max;
            if can_ask || is_late {
                waiting.push((*waiter, *account, is_late));
            }
        }
        for (waiter, account, is_late) in waiting {
            if !self.ask_for_one(now, waiter, account) && is_late {
                self.settle_authorize(now, waiter, Some(&Reject::NoPool.into()));
            }
        }
        for waiter in overdue {
            self.settle_authorize(now, waiter, Some(&Reject::AuthorizeBusy.into()));
        }
    }

    /// Refuses every authorize that is pending, and answers what waits behind them.
    pub(super) fn expire_authorizes(&mut self, now: Now) {
        // Among the lines that are read then there may be authorizes, of which there are fewer each time.
        while let Some((&waiter, _)) = self.pending_authorizes.first_key_value() {
            self.settle_authorize(now, waiter, Some(&Reject::AuthorizeBusy.into()));
        }
        self.checks.clear();
    }

    /// It is known whether a worker may mine: its authorize is answered, and what waited for that is read.
    fn settle_authorize(&mut self, now: Now, waiter: Waiter, denial: Option<&Denial>) {
        let Some(pending) = self.pending_authorizes.remove(&waiter) else {
            return;
        };
        let token = waiter.0;
        let mut waited = 0;
        if let Some(miner) = self.miners.get_mut(token) {
            miner.pending -= 1;
            // The time that it waited for us is not its own.
            if !miner.session.is_authorized() {
                waited = now.since(pending.came).as_secs();
                let waited = u32::try_from(waited).unwrap_or(u32::MAX);
                miner.since = miner.since.saturating_add(waited).min(now.seconds());
            }
        }
        match denial {
            None => self.finish_authorize(now, token, &pending),
            Some(denial) => self.deny(token, &pending, denial, waited > 0),
        }
        self.read_kept_lines(now, token, &pending);
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
            return self.refuse_authorize(token, &pending.id, &reject.into());
        }
        if first {
            miner.home = home;
        }
        let home = miner.home;
        if let (Some(accounts), Some(account)) = (&mut self.accounts, pending.account()) {
            accounts.give(account, token);
        }
        if pending.agent.is_some() {
            miner.session.log_in();
        } else {
            self.accept_request(token, &pending.id);
        }
        self.note_person(token, &pending.worker, home);
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

    /// The worker may not mine, at least for now. `was_kept` says whether it was kept waiting.
    fn deny(
        &mut self,
        token: MinerToken,
        pending: &PendingAuthorize,
        denial: &Denial,
        was_kept: bool,
    ) {
        self.refuse_authorize(token, &pending.id, denial);
        self.fact(Fact::WorkerDenied {
            miner: token,
            worker: pending.worker.clone().into(),
            reject: denial.reject,
            said: denial.said(),
        });
        let limits = self.settings.limits.miner;
        // Who guesses gets few tries on one connection, and so does who is kept waiting, or it could hold its
        // place for ever. One that mines, for others maybe, is not closed for one of many workers. Without a
        // pool it is nobody's doing.
        let counts = match denial.reject {
            Reject::WorkerDenied | Reject::TooManyDenied => true,
            Reject::AuthorizeBusy | Reject::NameUnanswered => was_kept,
            _ => false,
        };
        if counts
            && let Some(miner) = self.miners.get_mut(token)
            && !miner.session.is_authorized()
            && miner.session.protocol_error(&limits)
        {
            self.close_miner(token, CloseHow::Graceful, CloseReason::Denied);
        }
    }

    /// Answers an authorize that is not granted.
    fn refuse_authorize(&mut self, token: MinerToken, id: &RequestId, denial: &Denial) {
        self.counters.refused[denial.reject.index()] += 1;
        self.answer(token, |dialect, out| {
            dialect.write_error(out, id.as_bytes(), denial.code(), denial.text());
        });
    }

    /// Bytes of lines that are kept for a miner.
    fn kept_bytes(&self, token: MinerToken) -> usize {
        let pending = self.pending_authorizes.range(all_of(token));
        pending.map(|(_, pending)| pending.lines.len()).sum()
    }

    /// Keeps a line of a miner without a worker, for when its authorize is answered. Says whether there was
    /// room.
    pub(super) fn keep_line(&mut self, token: MinerToken, line: &[u8]) -> bool {
        let is_full = self.kept_bytes(token) + line.len() >= KEPT_BYTES_MAX;
        let mut pending = self.pending_authorizes.range_mut(all_of(token));
        let Some((_, pending)) = pending.next().filter(|_| !is_full) else {
            return false;
        };
        pending.keep(line);
        true
    }

    /// Keeps the line of a share if an authorize of its worker is pending.
    pub(super) fn keep_share(&mut self, token: MinerToken, worker: &str, line: &[u8]) -> Kept {
        let is_full = self.kept_bytes(token) + line.len() >= KEPT_BYTES_MAX;
        let mut pending = self.pending_authorizes.range_mut(all_of(token));
        match pending.find(|(_, pending)| *pending.worker == *worker) {
            None => Kept::No,
            Some(_) if is_full => Kept::Full,
            Some((_, pending)) => {
                pending.keep(line);
                Kept::Yes
            }
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
        let of_miner = self.pending_authorizes.range(all_of(token));
        let gone: Vec<Waiter> = of_miner.map(|(waiter, _)| *waiter).collect();
        for waiter in gone {
            self.pending_authorizes.remove(&waiter);
        }
    }
}

/// Every authorize of a miner.
const fn all_of(token: MinerToken) -> RangeInclusive<Waiter> {
    (token, 0)..=(token, u32::MAX)
}

impl PendingAuthorize {
    fn keep(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
    }
}
