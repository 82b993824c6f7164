//! The practice pool itself: lines in, lines out. No socket, no clock, no thread.
//!
//! A link is made with [`PracticePool::connect`], its lines go to [`PracticePool::handle_line`],
//! and from time to time somebody calls [`PracticePool::next_job`] and then
//! [`PracticePool::announce`] for each link. Time is an argument, in Unix seconds, as jobs have it.
//!
//! **Nothing real is mined.** The jobs are random bytes.
//!
//! A share is judged in the order of pools, and the first thing wrong with it is the answer: the
//! link has subscribed (25), the worker is authorized on this link (24), the job is of the current
//! block (21), hex and lengths are right (20), the time is within its window (20), nobody sent the
//! same before (22). With [`Judge::Full`] then its hash against the target (23), and at last
//! the solution of Equihash (20), which costs most.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use foldhash::fast::FixedState;

use super::{
    answers,
    bitcoin::{self, Rolled},
    equihash::{NONCE_LEN, meets_target, share_hash, verify},
    jobs::{Job, JobBook, Random, Work},
    sessions::{SessionId, Sessions},
    settings::{
        Counters, ExtranonceSubscribe, Judge, Knobs, PracticeCoin, PracticeSettings, SettingsError,
    },
    shares::{Fault, Remembered},
};
use crate::proto::dialect::equihash::Parameters;
use crate::proto::dialect::{Bitcoin, Dialect as _};
use crate::proto::target::Target;
use crate::proto::version_mask::VersionMask;
use crate::wire::{Message, Raw, Reader, RequestId, encode, hex};

/// A share may be stamped this far in the future: the rule of z-nomp and Miningcore.
const TIME_AHEAD_MAX_SECONDS: u64 = 7200;

/// Workers that one link may authorize: one for each miner that a proxy puts on a link, twice.
const WORKERS_PER_LINK_MAX: usize = 131_072;

/// Accepted shares that the knob `record` keeps; the ones after that are only counted.
const SHARES_RECORDED_MAX: usize = 1 << 20;

/// A link of a practice pool. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// What becomes of a link after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// It goes on.
    Stays,
    /// A knob wants it closed, once the answers so far are sent.
    Ends,
}

/// A share that was accepted while the knob `record` was on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedShare {
    /// The link that it came on.
    pub link: LinkId,
    /// The worker's name.
    pub worker: Arc<str>,
    /// The pool's id of the job.
    pub job: String,
    /// The whole nonce: the link's nonce_1, and nonce_2. Of Bitcoin extranonce1 and extranonce2, and zeros.
    pub nonce: [u8; NONCE_LEN],
    /// Of Bitcoin, the hash of its header as a big-endian number.
    pub hash: Option<[u8; 32]>,
    /// The time in the header, in Unix seconds.
    pub time: u32,
}

/// A pool of practice jobs, and the judge of their shares.
#[derive(Debug)]
pub struct PracticePool {
    settings: PracticeSettings,
    knobs: Knobs,
    counters: Counters,
    /// The target of jobs to come.
    target: [u8; 32],
    jobs: JobBook,
    jobs_of_block: u32,
    sessions: Sessions,
    links: BTreeMap<LinkId, Link>,
    last_link: u64,
    remembered: Remembered,
    recorded: Vec<AcceptedShare>,
    reader: Reader,
    /// What a solution begins with.
    prefix: Vec<u8>,
    /// The solution that is being judged, with its prefix.
    solution: Vec<u8>,
    /// Answers that rubbish was sent before.
    answers_in_rubbish: u64,
}

#[derive(Debug)]
struct Link {
    session: Option<SessionId>,
    workers: HashSet<Arc<str>, FixedState>,
    target_sent: Option<[u8; 32]>,
    /// The next job is to be clean, as what the miners know before it is of no use.
    clean_due: bool,
    shares: u64,
    /// The version bits that it was granted.
    version_mask: VersionMask,
}

impl PracticePool {
    /// A pool without a link and without a job. All its randomness comes from `seed`.
    ///
    /// # Errors
    ///
    /// A [`SettingsError`] when the settings contradict each other.
    pub fn new(settings: PracticeSettings, seed: u64) -> Result<Self, SettingsError> {
        if let Some(problem) = settings.problem() {
            return Err(problem);
        }
        let mut random = Random::new(seed);
        let sessions = Sessions::new(settings.nonce_1_bytes, Random::new(random.next()));
        let (prefix_digits, solution_len) = match settings.coin {
            PracticeCoin::Equihash(set) => (set.solution_prefix_hex(), set.solution_len()),
            PracticeCoin::Bitcoin | PracticeCoin::Monero => ("", 0),
        };
        let mut prefix = vec![0; prefix_digits.len() / 2];
        let decoded = hex::decode_into(prefix_digits.as_bytes(), &mut prefix);
        debug_assert_eq!(decoded, Ok(()));
        Ok(Self {
            knobs: Knobs::default(),
            counters: Counters::default(),
            target: settings.target,
            jobs: JobBook::new(
                random,
                settings.coin,
                settings.nonce_1_bytes + settings.extranonce2_bytes,
            ),
            jobs_of_block: 0,
            sessions,
            links: BTreeMap::new(),
            last_link: 0,
            remembered: Remembered::new(settings.shares_remembered_max, seed),
            recorded: Vec::new(),
            reader: Reader::new(),
            solution: vec![0; prefix.len() + solution_len],
            prefix,
            answers_in_rubbish: 0,
            settings,
        })
    }

    /// A new link. It gets its nonce_1 when it subscribes.
    pub fn connect(&mut self) -> LinkId {
        self.counters.links_opened += 1;
        self.last_link += 1;
        let id = LinkId(self.last_link);
        self.links.insert(
            id,
            Link {
                session: None,
                workers: HashSet::default(),
                target_sent: None,
                clean_due: true,
                shares: 0,
                version_mask: VersionMask::NONE,
            },
        );
        id
    }

    /// A link is gone. Its nonce_1 waits for it a while, if the pool has sessions.
    pub fn disconnect(&mut self, link: LinkId) {
        let Some(link) = self.links.remove(&link) else {
            return;
        };
        self.counters.links_closed += 1;
        match link.session {
            Some(session) if self.settings.sessions => self.sessions.leave(session),
            Some(session) => self.sessions.forget(session),
            None => {}
        }
    }

    /// The links, oldest first.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The accepted shares in their order, of the time while the knob `record` was on.
    #[must_use]
    pub fn accepted_shares(&self) -> &[AcceptedShare] {
        &self.recorded
    }

    /// The knobs.
    #[must_use]
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// The knobs, to be turned. They work from the next line on.
    pub fn knobs_mut(&mut self) -> &mut Knobs {
        &mut self.knobs
    }

    /// Gives jobs from the next one on another target. Links are told with that job.
    pub fn set_target(&mut self, target: [u8; 32]) {
        self.target = target;
    }

    /// Makes the next job, of a new block when it is time for one. To be announced then.
    pub fn next_job(&mut self, now_unix_seconds: u64) {
        let new_block =
            self.jobs_of_block == 0 || self.jobs_of_block >= self.settings.block_interval_jobs;
        self.make_job(now_unix_seconds, new_block);
    }

    /// Makes a job of a new block (`clean`), or one more of this block. To be announced then.
    pub fn make_job(&mut self, now_unix_seconds: u64, clean: bool) {
        let new_block = clean || self.jobs_of_block == 0;
        self.jobs_of_block = if new_block { 1 } else { self.jobs_of_block + 1 };
        self.counters.jobs += 1;
        if new_block {
            self.counters.blocks += 1;
            self.remembered.clear();
        }
        let time = u32::try_from(now_unix_seconds).unwrap_or(u32::MAX);
        let clean = new_block || self.settings.always_clean;
        self.jobs.make(time, self.target, new_block, clean);
    }

    /// Tells a link the newest job, and its target if that is another than the link knows. Nothing
    /// to a link that has not authorized a worker.
    pub fn announce(&mut self, link: LinkId, out: &mut Vec<u8>) {
        let (Some(link), Some(job)) = (self.links.get_mut(&link), self.jobs.newest()) else {
            return;
        };
        if link.workers.is_empty() || self.knobs.silent {
            return;
        }
        if let Work::Monero(_) = &job.work {
            let session = link.session;
            let nonce_1 = session.and_then(|session| self.sessions.nonce_1(session, job.number));
            if let Some(nonce_1) = nonce_1 {
                monero::notify(out, job, nonce_1);
            }
            return;
        }
        if link.target_sent != Some(job.target) {
            link.target_sent = Some(job.target);
            set_target(self.settings.coin, out, &job.target);
        }
        let clean = job.clean || link.clean_due;
        link.clean_due = false;
        answers::notify(out, job, clean);
    }

    /// Gives a link another nonce_1, which holds from the next job on; so make and announce one.
    ///
    /// False if nothing was done: the link has not subscribed, or all nonces are in use.
    pub fn set_extranonce(&mut self, link: LinkId, out: &mut Vec<u8>) -> bool {
        let Some(link) = self.links.get_mut(&link) else {
            return false;
        };
        let changed = link.session.and_then(|session| {
            let (next, oldest) = (self.jobs.next_number(), self.jobs.oldest_number());
            self.sessions.change(session, next, oldest)
        });
        let Some(nonce_1) = changed else {
            return false;
        };
        link.clean_due = true;
        // Monero's links are told with each job what is theirs.
        if !self.knobs.silent && self.settings.coin != PracticeCoin::Monero {
            let size = self.settings.extranonce2_bytes;
            let size = (self.settings.coin == PracticeCoin::Bitcoin).then_some(size);
            answers::set_extranonce(out, nonce_1, size);
        }
        true
    }

    /// Takes a line of a link, without its newline, and appends what there is to say.
    ///
    /// A line that is no request is answered with an error and forgiven.
    pub fn handle_line(
        &mut self,
        now_unix_seconds: u64,
        link: LinkId,
        line: &[u8],
        out: &mut Vec<u8>,
    ) -> Fate {
        if self.knobs.silent || !self.links.contains_key(&link) {
            return Fate::Stays;
        }
        let Ok(message) = self.reader.read(line) else {
            self.counters.lines_unreadable += 1;
            self.refuse(RequestId::NULL.as_bytes(), 20, "not a request", out);
            return Fate::Stays;
        };
        let id = message.id.and_then(|id| RequestId::parse(id.bytes()));
        let id = id.unwrap_or(RequestId::NULL);
        let id = id.as_bytes();
        let Some(method) = message.method else {
            // An answer to nothing that we asked.
            return Fate::Stays;
        };
        match method.as_str().unwrap_or_default() {
            method if self.settings.coin == PracticeCoin::Monero => match method {
                b"submit" => return self.handle_submit(now_unix_seconds, link, id, message, out),
                b"login" => self.handle_login(now_unix_seconds, link, id, message.params, out),
                b"keepalived" | b"keepalive" => {
                    self.before_answer(out);
                    monero::append_result(out, id, br#"{"status":"KEEPALIVED"}"#);
                }
                _ => self.refuse_method(id, out),
            },
            b"mining.submit" => {
                return self.handle_submit(now_unix_seconds, link, id, message, out);
            }
            b"mining.subscribe" => self.handle_subscribe(link, id, message, out),
            b"mining.authorize" => {
                self.handle_authorize(now_unix_seconds, link, id, message, out);
            }
            b"mining.extranonce.subscribe" => match self.settings.extranonce_subscribe {
                ExtranonceSubscribe::Accept => self.agree(id, out),
                ExtranonceSubscribe::Refuse => self.refuse(id, 20, "Not supported.", out),
                ExtranonceSubscribe::Ignore => {}
            },
            b"mining.suggest_target" => {
                // Heard and not followed, as by most pools.
                self.agree(id, out);
                let target = self.target;
                if let Some(link) = self.links.get_mut(&link) {
                    link.target_sent = Some(target);
                }
                set_target(self.settings.coin, out, &target);
            }
            b"mining.configure" if self.settings.coin == PracticeCoin::Bitcoin => {
                self.handle_configure(link, id, message, out);
            }
            // Antminers send it after authorize; its meaning is not known.
            b"mining.multi_version" => self.agree(id, out),
            _ => self.refuse_method(id, out),
        }
        Fate::Stays
    }

    fn refuse_method(&mut self, id: &[u8], out: &mut Vec<u8>) {
        self.counters.methods_unknown += 1;
        self.refuse(id, 20, "unknown method", out);
    }

    fn handle_subscribe(
        &mut self,
        link: LinkId,
        id: &[u8],
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) {
        if let Some(refusal) = self.knobs.refuse_subscribe.clone() {
            return self.refuse(id, refusal.code, &refusal.text, out);
        }
        let Some(link) = self.links.get_mut(&link) else {
            return;
        };
        // The second parameter, unless it is null or, as some miners have it, the host's name.
        let old = message.params.and_then(|params| params.elements().nth(1));
        let old = old.and_then(Raw::as_text);
        let resumed = match (&old, link.session) {
            (Some(old), None) => self.sessions.resume(old),
            _ => None,
        };
        let session = resumed.or(link.session).or_else(|| self.sessions.open());
        let nonce_1 =
            session.and_then(|session| self.sessions.nonce_1(session, self.jobs.next_number()));
        let nonce_1 = nonce_1.map(<[u8]>::to_vec);
        let (Some(session), Some(nonce_1)) = (session, nonce_1) else {
            return self.refuse(id, 20, "no nonce space left", out);
        };
        link.session = Some(session);
        self.counters.subscribes += 1;
        self.counters.resumes += u64::from(resumed.is_some());
        let text = self.settings.sessions.then(|| session.text());
        self.before_answer(out);
        match self.settings.coin {
            PracticeCoin::Equihash(_) => answers::subscribed(out, id, text.as_deref(), &nonce_1),
            PracticeCoin::Bitcoin | PracticeCoin::Monero => {
                let size = self.settings.extranonce2_bytes;
                answers::subscribed_with_size(out, id, text.as_deref(), &nonce_1, size);
            }
        }
    }

    /// Grants the version bits that the link asks for, as far as this pool does.
    fn handle_configure(
        &mut self,
        link: LinkId,
        id: &[u8],
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut result = Vec::new();
        let pool = self.settings.version_mask;
        let granted = Bitcoin.configure(message.params, Some(pool), &mut result);
        if let (Some(link), Some(mask)) = (
            self.links.get_mut(&link),
            granted.and_then(|granted| granted.version_mask),
        ) {
            link.version_mask = mask.and(pool);
        }
        self.before_answer(out);
        encode::reply_result(out, id, &result);
    }

    fn handle_authorize(
        &mut self,
        now: u64,
        link_id: LinkId,
        id: &[u8],
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) {
        if let Some(refusal) = self.knobs.refuse_authorize.clone() {
            return self.refuse(id, refusal.code, &refusal.text, out);
        }
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let worker = message.params.and_then(|params| params.elements().next());
        let first = link.workers.is_empty();
        let refused = match worker.and_then(Raw::as_text) {
            _ if link.session.is_none() => Some((25, "not subscribed")),
            None => Some((20, "a worker name is missing")),
            Some(_) if link.workers.len() >= WORKERS_PER_LINK_MAX => {
                Some((24, "too many workers on this link"))
            }
            Some(worker) => {
                link.workers.insert(Arc::from(&*worker));
                None
            }
        };
        if let Some((code, text)) = refused {
            return self.refuse(id, code, text, out);
        }
        self.counters.authorizes += 1;
        self.agree(id, out);
        if first {
            if self.jobs.newest().is_none() {
                self.next_job(now);
            }
            self.announce(link_id, out);
        }
    }

    fn handle_submit(
        &mut self,
        now: u64,
        link_id: LinkId,
        id: &[u8],
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) -> Fate {
        let number = self.counters.shares() + 1;
        let mut shares_of_link = 0;
        if let Some(link) = self.links.get_mut(&link_id) {
            link.shares += 1;
            shares_of_link = link.shares;
        }
        let by_knob = match &self.knobs.reject_every_nth {
            Some((nth, refusal)) if number % *nth == 0 => Some(refusal.clone()),
            _ => None,
        };
        let verdict = match by_knob {
            Some(_) => {
                self.counters.shares_rejected_by_knob += 1;
                Ok(())
            }
            None => {
                let verdict = self.judge(now, link_id, message.params);
                match &verdict {
                    Ok(()) => self.counters.shares_accepted += 1,
                    Err(fault) => fault.count(&mut self.counters.shares_rejected),
                }
                verdict
            }
        };

        let ends = self
            .knobs
            .close_after_shares
            .is_some_and(|nth| shares_of_link == nth.get());
        let silent = self
            .knobs
            .never_reply_every_nth
            .is_some_and(|nth| number % nth == 0);
        if ends || silent {
            self.counters.shares_unanswered += 1;
            return if ends { Fate::Ends } else { Fate::Stays };
        }
        match (by_knob, verdict) {
            (Some(refusal), _) => self.refuse(id, refusal.code, &refusal.text, out),
            (None, Err(fault)) if !self.knobs.always_true => {
                self.refuse(id, fault.code(), fault.text(), out);
            }
            (None, _) => self.agree(id, out),
        }
        Fate::Stays
    }

    fn judge(&mut self, now: u64, link_id: LinkId, params: Option<Raw<'_>>) -> Result<(), Fault> {
        match self.settings.coin {
            PracticeCoin::Equihash(parameters) => {
                self.judge_equihash(parameters, now, link_id, params)
            }
            PracticeCoin::Bitcoin => self.judge_bitcoin(now, link_id, params),
            PracticeCoin::Monero => self.judge_monero(link_id, params),
        }
    }

    /// Judges a share: the parameters worker, job, extranonce2, time, nonce, version bits.
    fn judge_bitcoin(
        &mut self,
        now: u64,
        link_id: LinkId,
        params: Option<Raw<'_>>,
    ) -> Result<(), Fault> {
        let link = self.links.get(&link_id).ok_or(Fault::NotSubscribed)?;
        let session = link.session.ok_or(Fault::NotSubscribed)?;
        let mut params = params.ok_or(Fault::Parameters)?.elements();
        let mut next = || params.next().ok_or(Fault::Parameters);
        let [worker, job, tail, time, nonce] = [next()?, next()?, next()?, next()?, next()?];
        let bits = params.next();

        let worker = worker.as_text().ok_or(Fault::Unauthorized)?;
        let worker = link.workers.get(&*worker).ok_or(Fault::Unauthorized)?;
        let job = self.jobs.find(job.as_str().unwrap_or_default())?;

        let word = |value: Raw<'_>| hex::parse_u32_be(value.as_str().unwrap_or_default());
        let time = word(time).ok_or(Fault::Time)?;
        let header_nonce = word(nonce).ok_or(Fault::Nonce)?;
        let bits = bits.map_or(Some(0), word).ok_or(Fault::VersionBits)?;
        if !link.version_mask.allows(bits) {
            return Err(Fault::VersionBits);
        }
        let extranonce1 = self.sessions.nonce_1(session, job.number);
        let extranonce1 = extranonce1.ok_or(Fault::NotSubscribed)?;
        let mut extranonce2 = vec![0; self.settings.extranonce2_bytes];
        hex::decode_into(tail.as_str().unwrap_or_default(), &mut extranonce2)
            .map_err(|_| Fault::Nonce2)?;
        if time < job.time || u64::from(time) > now + TIME_AHEAD_MAX_SECONDS {
            return Err(Fault::TimeOutOfRange);
        }
        let rolled = [time, header_nonce, bits].map(u32::to_be_bytes);
        let identity = [extranonce1, &extranonce2, rolled.as_flattened()].concat();
        if !self
            .remembered
            .insert(job.number, &[0; NONCE_LEN], &identity)
        {
            return Err(Fault::Duplicate);
        }
        let Work::Bitcoin(work) = &job.work else {
            return Err(Fault::UnknownJob);
        };
        let header = work.header(&Rolled {
            extranonce: [extranonce1, &extranonce2],
            time,
            nonce: header_nonce,
            version: (bits, bits),
        });
        let hash = bitcoin::share_hash(&header);
        if self.settings.judge == Judge::Full && !meets_target(&hash, &job.target) {
            return Err(Fault::LowDifficulty);
        }
        if self.knobs.record && self.recorded.len() < SHARES_RECORDED_MAX {
            let mut nonce = [0; NONCE_LEN];
            let bytes = identity.iter().take(extranonce1.len() + extranonce2.len());
            nonce
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            self.recorded.push(AcceptedShare {
                link: link_id,
                worker: Arc::clone(worker),
                job: job.id(),
                nonce,
                hash: Some(hash),
                time,
            });
        }
        Ok(())
    }

    /// Judges a share: the parameters worker, job, time, nonce_2, solution.
    fn judge_equihash(
        &mut self,
        parameters: Parameters,
        now: u64,
        link_id: LinkId,
        params: Option<Raw<'_>>,
    ) -> Result<(), Fault> {
        let link = self.links.get(&link_id).ok_or(Fault::NotSubscribed)?;
        let session = link.session.ok_or(Fault::NotSubscribed)?;
        let mut params = params.ok_or(Fault::Parameters)?.elements();
        let mut next = || params.next().ok_or(Fault::Parameters);
        let [worker, job, time, nonce_2, solution] = [next()?, next()?, next()?, next()?, next()?];

        let worker = worker.as_text().ok_or(Fault::Unauthorized)?;
        let worker = link.workers.get(&*worker).ok_or(Fault::Unauthorized)?;
        let job = self.jobs.find(job.as_str().unwrap_or_default())?;

        let time = hex::decode_to_array(time.as_str().unwrap_or_default());
        let time: [u8; 4] = time.map_err(|_| Fault::Time)?;
        let nonce_1 = self.sessions.nonce_1(session, job.number);
        let nonce_1 = nonce_1.ok_or(Fault::NotSubscribed)?;
        let mut nonce = [0; NONCE_LEN];
        let (head, tail) = nonce.split_at_mut(nonce_1.len());
        head.copy_from_slice(nonce_1);
        hex::decode_into(nonce_2.as_str().unwrap_or_default(), tail).map_err(|_| Fault::Nonce2)?;
        hex::decode_into(solution.as_str().unwrap_or_default(), &mut self.solution)
            .map_err(|_| Fault::Solution)?;
        if !self.solution.starts_with(&self.prefix) {
            return Err(Fault::Solution);
        }

        let unix_seconds = u32::from_le_bytes(time);
        if unix_seconds < job.time || u64::from(unix_seconds) > now + TIME_AHEAD_MAX_SECONDS {
            return Err(Fault::TimeOutOfRange);
        }
        if !self.remembered.insert(job.number, &nonce, &self.solution) {
            return Err(Fault::Duplicate);
        }
        if self.settings.judge == Judge::Full {
            let Work::Equihash(mut header) = job.work else {
                return Err(Fault::UnknownJob);
            };
            header[Job::TIME].copy_from_slice(&time);
            if !meets_target(&share_hash(&header, &nonce, &self.solution), &job.target) {
                return Err(Fault::LowDifficulty);
            }
            let solution = &self.solution[self.prefix.len()..];
            verify(parameters, &header, &nonce, solution).map_err(|_| Fault::InvalidSolution)?;
        }

        if self.knobs.record && self.recorded.len() < SHARES_RECORDED_MAX {
            self.recorded.push(AcceptedShare {
                link: link_id,
                worker: Arc::clone(worker),
                job: job.id(),
                nonce,
                hash: None,
                time: unix_seconds,
            });
        }
        Ok(())
    }

    fn agree(&mut self, id: &[u8], out: &mut Vec<u8>) {
        self.before_answer(out);
        match self.settings.coin {
            PracticeCoin::Monero => monero::append_result(out, id, br#"{"status":"OK"}"#),
            PracticeCoin::Equihash(_) | PracticeCoin::Bitcoin => encode::reply_true(out, id),
        }
    }

    fn refuse(&mut self, id: &[u8], code: i32, text: &str, out: &mut Vec<u8>) {
        self.before_answer(out);
        if self.settings.coin == PracticeCoin::Monero {
            return monero::append_error(out, id, text);
        }
        answers::refused(out, id, self.knobs.error_shape, code, text);
    }

    fn before_answer(&mut self, out: &mut Vec<u8>) {
        if self.knobs.garbage {
            answers::rubbish(out, self.answers_in_rubbish);
            self.answers_in_rubbish += 1;
        }
    }
}

/// Tells a link what its shares must meet, as a target or as a difficulty.
fn set_target(coin: PracticeCoin, out: &mut Vec<u8>, target: &[u8; 32]) {
    match coin {
        PracticeCoin::Equihash(_) => answers::set_target(out, target),
        // Monero's jobs say it themselves.
        PracticeCoin::Monero => {}
        PracticeCoin::Bitcoin => Bitcoin.write_target(out, &Target::from_bytes(*target)),
    }
}

#[cfg(test)]
mod bitcoin_tests;
mod monero;
#[cfg(test)]
mod monero_tests;
#[cfg(test)]
mod tests;
