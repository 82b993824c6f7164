//! A share's way through the exchange: checked, sent, answered once.

use std::borrow::Cow;
use std::hash::BuildHasher;

use super::{Exchange, Fact, MinerToken, Settings, ShareEnd};
use crate::exchange::accounts::AccountId;
use crate::exchange::conduct::{Judgement, was_never_given};
use crate::exchange::held::Held;
use crate::exchange::jobs::Remembered;
use crate::exchange::miners::Stage;
use crate::exchange::names::Asked;
use crate::exchange::pending::{Owner, Pending};
use crate::exchange::pool_side::printable;
use crate::exchange::settings::ShareReply;
use crate::proto::dialect::{ShareParts, ShareTerms};
use crate::proto::job::JobId;
use crate::proto::pool::Verdict;
use crate::proto::share::{Reject, Submit};
use crate::proto::time::Now;
use crate::proto::version_mask::VersionMask;
use crate::wire::request_id::RequestId;

/// A share whose miner may submit it, with where it is to go.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// Whose it is.
    pub(super) miner: MinerToken,
    /// The miner's request.
    pub(super) id: &'a RequestId,
    /// The link whose job it is for.
    pub(super) link: usize,
    /// The miner's slot there.
    pub(super) slot: u16,
    /// The place of its worker among those of the miner.
    pub(super) worker: u16,
    /// Shares of the miner that were unanswered before.
    pub(super) unanswered: u32,
    /// The version bits that it can roll itself.
    pub(super) version_mask: VersionMask,
    /// What the miner wrote.
    pub(super) line: Option<&'a [u8]>,
    /// Under whose name it goes, where names differ.
    pub(super) account: Option<AccountId>,
}

impl Exchange {
    /// Decides what becomes of one submitted share.
    ///
    /// We refuse only what the pool would surely refuse. The rest is the pool's to judge: a share
    /// refused wrongly is money.
    pub(super) fn handle_submit(
        &mut self,
        now: Now,
        token: MinerToken,
        id: &RequestId,
        submit: &Submit<'_>,
        line: &[u8],
    ) -> Result<(), Reject> {
        let miner = self.miners.get_mut(token).ok_or(Reject::NotSubscribed)?;
        if !miner.session.is_subscribed() {
            return Err(Reject::NotSubscribed);
        }
        let worker = miner.session.place_of(submit.worker.as_deref());
        let worker = worker.ok_or(Reject::UnauthorizedWorker)?;
        let account = match (&self.accounts, submit.worker.as_deref()) {
            (None, _) => None,
            (Some(accounts), Some(worker)) => Some(
                accounts
                    .find(token, worker)
                    .ok_or(Reject::UnauthorizedWorker)?,
            ),
            (Some(_), None) => return Err(Reject::UnauthorizedWorker),
        };
        let Stage::Placed { mut link, mut slot } = miner.stage else {
            return Err(Reject::UnknownJob);
        };
        if !miner
            .conduct
            .share(now.seconds(), &self.settings.limits.conduct)
        {
            return Err(Reject::TooManyShares);
        }
        // One that was just moved may not have heard of it yet.
        if !self.former.is_empty()
            && let Some(former) = self.former.get(&token)
            && former.judges(&mut self.links, submit.job_id)
        {
            (link, slot) = (former.link, former.slot);
        }
        let claim = Claim {
            miner: token,
            id,
            link,
            slot,
            worker,
            unanswered: miner.unanswered,
            version_mask: miner.session.version_mask(VersionMask::ALL),
            line: Some(line),
            account,
        };
        miner.unanswered += 1;
        let carried = self.carry_share(now, &claim, submit);
        if carried.is_err()
            && let Some(miner) = self.miners.get_mut(token)
        {
            miner.unanswered -= 1;
        }
        carried
    }

    /// Takes a share to its link: sends it, or holds it where the pool's id for its job is not known yet.
    #[inline]
    pub(super) fn carry_share(
        &mut self,
        now: Now,
        claim: &Claim<'_>,
        submit: &Submit<'_>,
    ) -> Result<(), Reject> {
        if let Some(account) = claim.account
            && let Some(link) = self.links.get(claim.link)
            && !link.names.allows(account)
        {
            return self.hold_for_name(now, claim, submit, account);
        }
        let limits = &self.settings.limits;
        let link = self.links.get_mut(claim.link).ok_or(Reject::UnknownJob)?;
        if !link.takes_shares() {
            let warm = link.is_kept_warm();
            return Err(if warm {
                Reject::KeptWarm
            } else {
                Reject::UnknownJob
            });
        }
        // While the link is lost nobody can say that the share will be carried: it waits.
        let answered = self.settings.share_reply == ShareReply::Immediate && link.is_up();
        let space = link.space.as_ref().ok_or(Reject::UnknownJob)?.borrow();
        let id = JobId::parse(submit.job_id).ok_or(Reject::JobNeverGiven)?;
        let Some(job) = link.jobs.find(id) else {
            return Err(missing(id, &self.settings, self.sequence));
        };
        debug_assert!(
            job.pool_target <= job.miner_target,
            "no miner is held to more than its pool wants"
        );
        // The pool's clock counts, and its job says what that is: ours may be years behind.
        let time_max = now.unix_seconds.max(job.time) + limits.ntime_ahead.as_secs();
        let slot = space.slot_bytes(claim.slot);
        let terms = ShareTerms {
            extranonce2_len: space.plan.extranonce2_len,
            slot: slot.as_bytes(),
            version_mask: claim.version_mask.and(link.version_mask),
            time_max,
        };
        self.dialect.check_share(submit, terms)?;
        if claim.unanswered >= limits.pending_shares_per_miner_max {
            return Err(Reject::TooManyUnanswered);
        }
        if link.pending.len() >= limits.pending_shares_max
            || link.output.unwritten().len() >= limits.pool_outbox_bytes_max
                && cfg!(not(break_bounds))
        {
            return Err(Reject::PoolBusy);
        }
        if job.is_early() {
            let line = claim.line.ok_or(Reject::EarlyJob)?;
            if !link.early.held.has_room(limits) {
                return Err(Reject::PoolBusy);
            }
            link.early.held.push(Held {
                miner: claim.miner,
                id: claim.id.clone(),
                slot: claim.slot,
                worker: claim.worker,
                job: job.id,
                version_mask: claim.version_mask,
                since: now.since_start,
                line: line.into(),
                account: claim.account,
            });
            self.counters.shares_held += 1;
            return Ok(());
        }
        // The pool of the job: the link may be trying another one while it is lost.
        let mut worker = self.settings.pools[space.pool].worker.as_str();
        if let (Some(accounts), Some(account)) = (&self.accounts, claim.account) {
            self.name.clear();
            let template = &self.settings.authorize.worker_name;
            accounts.write_name(&mut self.name, template, worker, account);
            worker = &self.name;
        }
        // The share is written first, in the one form that every spelling of it has, and taken back
        // where that form is known: so a duplicate is found on decoded bytes without decoding.
        let start = link.output.end();
        let out = link.output.buffer();
        let before = out.len();
        let identity = self.dialect.write_share(
            out,
            ShareParts {
                request_id: link.pending.next_id(),
                worker,
                pool_job_id: &job.job.pool_id,
                share_session: space.share_session.as_deref().unwrap_or_default(),
                slot: slot.as_bytes(),
                submit,
            },
        );
        let len = out.len() - before;
        let identity = self.hasher.hash_one(&out[identity]);
        // The place for a check of the share's hash and solution: what is known to be low or invalid
        // is then taken back, and forgotten, like a duplicate.
        match job.remember(identity, limits) {
            Remembered::New => {}
            Remembered::NoRoom => self.counters.not_remembered += 1,
            Remembered::Duplicate => {
                link.output.truncate(start);
                return Err(Reject::Duplicate);
            }
        }
        if link.output.unwritten().len() == len {
            link.took_bytes = now.since_start;
        }
        link.pending.push(Pending {
            owner: Owner::Miner(claim.miner),
            id: claim.id.clone(),
            since: now.since_start,
            start,
            len,
            work: job.work,
            resent: false,
            answered,
            worker: claim.worker,
            account: claim.account,
        });
        drop(space);
        if answered {
            self.accept_request(claim.miner, claim.id);
        }
        Ok(())
    }

    /// Holds a share until it is known whether it may go out under its name.
    fn hold_for_name(
        &mut self,
        now: Now,
        claim: &Claim<'_>,
        submit: &Submit<'_>,
        account: AccountId,
    ) -> Result<(), Reject> {
        let limits = &self.settings.limits;
        let link = self.links.get_mut(claim.link).ok_or(Reject::UnknownJob)?;
        let line = claim.line.ok_or(Reject::UnknownJob)?;
        if !link.takes_shares() {
            return Err(Reject::UnknownJob);
        }
        let job = JobId::parse(submit.job_id).ok_or(Reject::JobNeverGiven)?;
        if link.jobs.find(job).is_none() {
            return Err(missing(job, &self.settings, self.sequence));
        }
        if claim.unanswered >= limits.pending_shares_per_miner_max {
            return Err(Reject::TooManyUnanswered);
        }
        if !link.names.held.has_room(limits) {
            return Err(Reject::PoolBusy);
        }
        if link.is_up()
            && matches!(
                self.ask_name(now, claim.link, account, None),
                Asked::Denied(_)
            )
        {
            return Err(Reject::UnauthorizedWorker);
        }
        self.links[claim.link].names.held.push(Held {
            miner: claim.miner,
            id: claim.id.clone(),
            slot: claim.slot,
            worker: claim.worker,
            job,
            version_mask: claim.version_mask,
            since: now.since_start,
            line: line.into(),
            account: Some(account),
        });
        self.counters.shares_held += 1;
        Ok(())
    }

    pub(super) fn handle_answer(&mut self, now: Now, index: usize, id: u64, verdict: Verdict<'_>) {
        let link = &mut self.links[index];
        link.last_reply = now.since_start;
        if self.accounts.is_some() && self.handle_name_answer(now, index, id, &verdict) {
            return;
        }
        let link = &mut self.links[index];
        let Some(share) = link.pending.take(id) else {
            self.counters.answers_unexpected += 1;
            return;
        };
        link.output.release(&link.pending);
        let answer = match verdict {
            Verdict::Accepted => Answer::Accepted,
            // It went out twice, so the pool has it already: the first one counted.
            Verdict::Rejected { code, ref text } if share.resent && is_duplicate(code, text) => {
                Answer::Accepted
            }
            Verdict::Rejected { code, text } => Answer::Rejected(code, text),
        };
        if let Owner::Guest(lease, number) = share.owner {
            // Whoever borrows counts it.
            return self.answer_guest(index, lease, number, answer.into());
        }
        self.counters.count_reply(now.since(share.since));
        match answer {
            Answer::Accepted => {
                self.counters.accepted += 1;
                self.counters.count_work(share.work);
            }
            Answer::Rejected(code, ref text) => {
                self.counters.rejected += 1;
                self.counters.immediate_rejected += u64::from(share.answered);
                let pool = self.links[index].pool;
                if Self::is_told(&mut self.rejection_told, now) {
                    let text = printable(text);
                    self.fact(Fact::ShareRejected { pool, code, text });
                }
            }
        }
        let judgement = match &answer {
            Answer::Accepted => Some(Judgement::Good),
            Answer::Rejected(code, text) if self.dialect.is_own_fault(*code, text) => {
                Some(Judgement::Fault(share.worker))
            }
            // It came late, or nobody looked at it.
            Answer::Rejected(..) => None,
        };
        self.answer_share(&share, &answer);
        if let (Some(judgement), Owner::Miner(token)) = (judgement, share.owner) {
            self.judge_miner(now, token, judgement);
        }
    }

    /// Answers all shares of a link as stale, and ends its epoch: nothing of it can be judged any more.
    pub(super) fn abandon_shares(&mut self, index: usize) {
        let (mut shares, mut immediate) = (0, 0);
        loop {
            let pending = &mut self.links[index].pending;
            let Some(share) = pending.take(pending.oldest_id()) else {
                break;
            };
            let lost = if share.answered {
                &mut immediate
            } else {
                &mut shares
            };
            *lost += 1;
            self.refuse_share(index, &share, Reject::LinkLost);
        }
        shares += self.abandon_held(index, Reject::LinkLost);
        self.end_leases(index);
        let link = &mut self.links[index];
        if self.settings.keep_warm {
            link.keep_last_job();
        }
        link.end_epoch();
        link.fresh = true;
        // The link may be trying another pool by now.
        let space = link.space.as_ref();
        let pool = space.map_or(link.pool, |space| space.borrow().pool);
        if shares > 0 {
            self.fact(Fact::SharesLost { pool, shares });
        }
        if immediate > 0 {
            self.fact(Fact::ImmediateLost {
                pool,
                shares: immediate,
            });
        }
    }

    /// Answers one miner's shares as stale: it is about to be closed. Those that it was told of at once
    /// are the pool's to judge still.
    pub(super) fn abandon_shares_of(&mut self, miner: MinerToken) {
        for index in 0..self.links.len() {
            for id in self.links[index].pending.ids_of(miner) {
                if let Some(share) = self.links[index].pending.take(id) {
                    self.refuse_share(index, &share, Reject::LinkLost);
                }
            }
            let link = &mut self.links[index];
            link.output.release(&link.pending);
            self.abandon_held_of(index, miner, Reject::LinkLost);
        }
    }

    /// Answers a miner's share, if it was not answered at once. The miner may be gone: then nobody is
    /// told.
    fn answer_share(&mut self, share: &Pending, answer: &Answer<'_>) {
        let Owner::Miner(token) = share.owner else {
            return;
        };
        if let Some(miner) = self.miners.get_mut(token) {
            miner.unanswered -= 1;
        }
        if share.answered && cfg!(not(break_one_answer)) {
            return;
        }
        self.answer(token, |dialect, out| match answer {
            Answer::Accepted => dialect.write_accepted(out, share.id.as_bytes()),
            Answer::Rejected(code, text) => {
                dialect.write_error(out, share.id.as_bytes(), *code, text);
            }
        });
    }

    /// Answers a share that no pool will answer.
    pub(super) fn refuse_share(&mut self, index: usize, share: &Pending, reject: Reject) {
        if let Owner::Guest(lease, number) = share.owner {
            return self.answer_guest(index, lease, number, ShareEnd::Refused(reject));
        }
        if share.answered {
            self.counters.immediate_lost += 1;
        } else {
            self.counters.refused[reject.index()] += 1;
        }
        let answer = Answer::Rejected(reject.code(), Cow::Borrowed(reject.text()));
        self.answer_share(share, &answer);
    }
}

/// Why a job is not known.
#[cold]
fn missing(id: JobId, settings: &Settings, sequence: u64) -> Reject {
    if was_never_given(id, settings, sequence) {
        Reject::JobNeverGiven
    } else {
        Reject::UnknownJob
    }
}

/// The answer to a share.
pub(super) enum Answer<'a> {
    /// It counts.
    Accepted,
    /// It doesn't; with the code and the text for the miner.
    Rejected(i64, Cow<'a, str>),
}

impl From<Answer<'_>> for ShareEnd {
    fn from(answer: Answer<'_>) -> Self {
        match answer {
            Answer::Accepted => Self::Accepted,
            Answer::Rejected(code, text) => Self::Rejected {
                code,
                text: text.into(),
            },
        }
    }
}

/// Whether a pool says that it has the share already.
fn is_duplicate(code: i64, text: &str) -> bool {
    code == 22 || text.to_ascii_lowercase().contains("duplicate")
}
