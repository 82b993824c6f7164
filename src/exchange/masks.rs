//! The version bits that miners roll: what their pool grants, and what each of them was told.
//!
//! A pool's bits belong to its link, a miner's own to its session, and a miner may roll those that are in
//! both. What it may roll changes with either: another link, or a pool that says so. It is then told.

use super::{Exchange, MinerToken};
use crate::exchange::link::Link;
use crate::exchange::miners::{HeldConfigure, Stage, Waiting};
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::proto::version_mask::VersionMask;
use crate::wire::json::Raw;
use crate::wire::request_id::RequestId;

impl Exchange {
    /// A miner asks for extensions. What its pool grants must be known for some of them: it then waits for
    /// a pool as a subscribe does, since some firmware takes the first line for the answer.
    pub(super) fn handle_configure(
        &mut self,
        now: Now,
        token: MinerToken,
        id: RequestId,
        params: Option<Raw<'_>>,
        line: &[u8],
    ) {
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let link = match miner.link() {
            Some(link) => self.links.get(link),
            None => best_link(&self.links, miner.pass_through),
        };
        let pool = link.map(|link| link.version_mask);
        let mut result = Vec::new();
        if let Some(granted) = self.dialect.configure(params, pool, &mut result) {
            miner.session.grant(granted, pool.unwrap_or_default());
            self.answer(token, |dialect, out| {
                dialect.write_result(out, id.as_bytes(), &result);
            });
            return;
        }
        let held = HeldConfigure {
            id,
            line: line.into(),
        };
        match &mut miner.stage {
            Stage::New => {
                miner.stage = Stage::Waiting(Box::new(Waiting {
                    since: now.since_start,
                    subscribe: None,
                    configure: Some(held),
                }));
                self.waiting.push_back(token);
                self.waiting_counts[usize::from(miner.pass_through)] += 1;
            }
            Stage::Waiting(waiting) if waiting.configure.is_none() => {
                waiting.configure = Some(held);
            }
            Stage::Waiting(_) => {
                let reject = Reject::Malformed("configured again before the answer");
                self.refuse_request(token, &held.id, reject);
            }
            Stage::Placed { .. } | Stage::Unplaced | Stage::Leaving(..) => {
                self.refuse_request(token, &held.id, Reject::NoPool);
            }
        }
    }

    /// Answers a configure that waited, if a pool is there now.
    pub(super) fn configure_again(&mut self, now: Now, token: MinerToken, held: HeldConfigure) {
        // It was read before, so it can be read now.
        if let Ok(message) = self.reader.read(&held.line) {
            self.handle_configure(now, token, held.id, message.params, &held.line);
        }
    }

    /// A pool said which version bits it grants.
    pub(super) fn handle_version_mask(&mut self, index: usize, mask: VersionMask) {
        let link = &mut self.links[index];
        link.granted_version_mask = mask;
        // During a handshake it is not known whether the link will be ready.
        if link.is_up() {
            self.use_granted_version_mask(index);
        }
    }

    /// What the pool granted on this connection holds from now on.
    pub(super) fn use_granted_version_mask(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.version_mask != link.granted_version_mask {
            let mask = link.granted_version_mask;
            link.version_mask = mask;
            self.tell_version_masks(index);
            self.tell_guests_version_mask(index, mask);
        }
    }

    /// Tells the miners of a link that roll version bits which ones they may, where these are others than
    /// before.
    pub(super) fn tell_version_masks(&mut self, index: usize) {
        let Some(pool) = self.links.get(index).map(|link| link.version_mask) else {
            return;
        };
        let mut told = Vec::new();
        for miner in self.miners.iter_mut() {
            // The others are told when they begin.
            if miner.session.is_mining()
                && miner.link() == Some(index)
                && let Some(mask) = miner.session.retell_version_mask(pool)
            {
                told.push((miner.token, mask));
            }
        }
        for (token, mask) in told {
            self.tell_version_mask(token, mask);
        }
    }

    /// Tells a miner that begins which version bits it may roll, if it was told others.
    pub(super) fn tell_newcomer_version_mask(&mut self, token: MinerToken) {
        let Some(miner) = self.miners.get_mut(token) else {
            return;
        };
        let link = miner.link().and_then(|link| self.links.get(link));
        if let Some(link) = link
            && let Some(mask) = miner.session.retell_version_mask(link.version_mask)
        {
            self.tell_version_mask(token, mask);
        }
    }

    fn tell_version_mask(&mut self, token: MinerToken, mask: VersionMask) {
        let mut line = Vec::new();
        self.dialect.write_version_mask(&mut line, mask);
        self.say(token, |out| out.extend_from_slice(&line));
    }
}

/// The link that a miner would be placed on which has no place yet, if one is up.
fn best_link(links: &[Link], pass_through: bool) -> Option<&Link> {
    let up = |link: &&Link| link.serves() && link.is_up() && link.pass_through == pass_through;
    links.iter().filter(up).min_by_key(|link| link.pool)
}
