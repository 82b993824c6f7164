//! Shares for jobs that their link has yet to announce.
//!
//! Until then nobody knows what the pool calls the job, so such a share can't be sent. Its line is held as
//! the miner wrote it, and goes the way of any other share once the job's id is known. It counts among the
//! miner's unanswered shares meanwhile, and is answered when it is sent or refused, whatever is configured.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Exchange, MinerToken};
use crate::exchange::accounts::AccountId;
use crate::exchange::settings::Limits;
use crate::exchange::shares::Claim;
use crate::proto::dialect::MinerRequest;
use crate::proto::job::JobId;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::version_mask::VersionMask;
use crate::wire::json::Raw;
use crate::wire::request_id::RequestId;

/// A share that can't be sent yet.
#[derive(Debug)]
pub(crate) struct Held {
    /// Who waits.
    pub(crate) miner: MinerToken,
    /// For the answer to which of its requests.
    pub(crate) id: RequestId,
    /// Its slot in the nonce space of the link.
    pub(crate) slot: u16,
    /// The place of its worker among those of the miner.
    pub(crate) worker: u16,
    /// The job for which it was found.
    pub(crate) job: JobId,
    /// Under whose name it is to go, where names differ.
    pub(crate) account: Option<AccountId>,
    /// The version bits that its miner may roll.
    pub(crate) version_mask: VersionMask,
    /// Since when.
    pub(crate) since: Duration,
    /// What the miner wrote.
    pub(crate) line: Box<[u8]>,
}

/// The shares of one link that can't be sent yet, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct HeldShares {
    /// By a number that counts them.
    shares: BTreeMap<u64, Held>,
    /// The numbers of each account's, in order: a link that is back may hold shares of thousands of names,
    /// and takes them out name by name.
    of_account: BTreeMap<AccountId, VecDeque<u64>>,
    last: u64,
    /// All their lines together.
    bytes: usize,
}

impl HeldShares {
    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Whether one more fits, within the bounds of shares on their way.
    #[must_use]
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.shares.len() < limits.pending_shares_max && self.bytes < limits.pool_outbox_bytes_max
    }

    /// Holds one more.
    pub(crate) fn push(&mut self, share: Held) {
        self.bytes += share.line.len();
        self.last += 1;
        if let Some(account) = share.account {
            let numbers = self.of_account.entry(account).or_default();
            numbers.push_back(self.last);
        }
        self.shares.insert(self.last, share);
    }

    /// Takes out the oldest share if it came at `deadline` or before.
    pub(crate) fn take_older(&mut self, deadline: Duration) -> Option<Held> {
        let (&number, oldest) = self.shares.first_key_value()?;
        if oldest.since > deadline {
            return None;
        }
        self.remove(number)
    }

    fn remove(&mut self, number: u64) -> Option<Held> {
        let share = self.shares.remove(&number)?;
        self.bytes -= share.line.len();
        if let Some(account) = share.account
            && let Some(numbers) = self.of_account.get_mut(&account)
        {
            // They ascend, and mostly the first one is meant.
            if let Ok(place) = numbers.binary_search(&number) {
                numbers.remove(place);
            }
            if numbers.is_empty() {
                self.of_account.remove(&account);
            }
        }
        Some(share)
    }

    /// Takes out those of one account, in their order.
    pub(crate) fn take_of(&mut self, account: AccountId) -> Vec<Held> {
        let numbers = self.of_account.remove(&account).unwrap_or_default();
        let taken = numbers.into_iter();
        taken.filter_map(|number| self.remove(number)).collect()
    }

    /// The accounts of those that are held.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.of_account.keys().copied()
    }

    /// Takes out those that are meant, in their order.
    fn take(&mut self, is_meant: impl Fn(&Held) -> bool) -> Vec<Held> {
        let meant = self.shares.iter().filter(|(_, share)| is_meant(share));
        let numbers: Vec<u64> = meant.map(|(number, _)| *number).collect();
        let taken = numbers.into_iter();
        taken.filter_map(|number| self.remove(number)).collect()
    }
}

impl Exchange {
    /// Sends the shares that were held for a job, now that its link has announced it.
    pub(super) fn send_held(&mut self, now: Now, index: usize, job: JobId) {
        for share in self.links[index].early.held.take(|share| share.job == job) {
            if let Err(reject) = self.send_held_share(now, index, &share) {
                self.refuse_held(&share, reject);
                self.judge_refused(now, share.miner, share.worker, reject);
            }
        }
    }

    pub(super) fn send_held_share(
        &mut self,
        now: Now,
        link: usize,
        share: &Held,
    ) -> Result<(), Reject> {
        let claim = Claim {
            miner: share.miner,
            id: &share.id,
            link,
            slot: share.slot,
            worker: share.worker,
            // It is counted since it came.
            unanswered: 0,
            version_mask: share.version_mask,
            line: Some(&share.line),
            account: share.account,
        };
        let message = self.reader.read(&share.line);
        debug_assert!(message.is_ok(), "it was read before");
        let message = message.map_err(|_| Reject::EarlyJob)?;
        let method = message.method.and_then(Raw::as_str).unwrap_or_default();
        match self.dialect.read_miner_request(method, message.params)? {
            MinerRequest::Submit(submit) => self.carry_share(now, &claim, &submit),
            _ => Err(Reject::EarlyJob),
        }
    }

    /// Refuses the shares of a link that were held for too long.
    pub(super) fn expire_held(&mut self, now: Now, index: usize, hold: Duration) {
        let Some(deadline) = now.since_start.checked_sub(hold) else {
            return;
        };
        while let Some(share) = self.links[index].early.held.take_older(deadline) {
            self.refuse_held(&share, Reject::EarlyJob);
        }
    }

    /// Refuses all shares of a link that are held. Returns how many.
    pub(super) fn abandon_held(&mut self, index: usize, reject: Reject) -> usize {
        let link = &mut self.links[index];
        let mut shares = link.early.held.take(|_| true);
        shares.extend(link.names.held.take(|_| true));
        for share in &shares {
            self.refuse_held(share, reject);
        }
        shares.len()
    }

    /// Refuses the shares of one miner that a link holds.
    pub(super) fn abandon_held_of(&mut self, index: usize, miner: MinerToken, reject: Reject) {
        let link = &mut self.links[index];
        let mut shares = link.early.held.take(|share| share.miner == miner);
        shares.extend(link.names.held.take(|share| share.miner == miner));
        for share in shares {
            self.refuse_held(&share, reject);
        }
    }

    /// Answers a share that was held. Its miner may be gone: then nobody is told.
    pub(super) fn refuse_held(&mut self, share: &Held, reject: Reject) {
        if let Some(miner) = self.miners.get_mut(share.miner) {
            miner.unanswered -= 1;
        }
        self.refuse_request(share.miner, &share.id, reject);
    }
}
