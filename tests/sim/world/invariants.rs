//! The invariants that are checked after each step, in the calm, and after the shutdown.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        for place in 0..self.miners.len() {
            let at_home = self.home_of(&self.miners[place]).is_some();
            let miner = &mut self.miners[place];
            miner.stranded |= miner.nonce_1.is_some() && !at_home;
        }
        let mut live = vec![0; self.shards.len()];
        for miner in self.miners.iter().filter(|miner| miner.token.is_some()) {
            live[miner.shard] += 1;
        }
        for (shard, live) in self.shards.iter().zip(live) {
            let counters = shard.exchange.counters();
            assert_eq!(counters.miners, live, "MINERS ARE COUNTED");
            assert!(counters.mining <= counters.miners, "MINERS ARE COUNTED");
        }
        let mut owners: HashMap<(&str, usize), usize> = HashMap::new();
        for (place, miner) in self.miners.iter().enumerate() {
            let (Some(_), Some(nonce_1)) = (miner.token, miner.nonce_1.as_deref()) else {
                continue;
            };
            // Its space was given up, so its shares are refused until it is moved or closed.
            if miner.stranded {
                continue;
            }
            let shared = self.pool_of_one_space(miner);
            // Where two links share a space, its job tells on which of them it is; it has none yet.
            if shared.is_some() && miner.job.is_none() && self.had_homes(miner) > 1 {
                continue;
            }
            let lease = self.home_of(miner).and_then(|link| {
                let feed = &self.shards[miner.shard].feeds[link];
                feed.lease
            });
            // Of a space that two shards were given, each has a part for its own miners and its guests'.
            let host = lease.map_or(miner.shard, |lease| lease.host);
            let owner = if shared.is_some() { host } else { 0 };
            if let Some(other) = owners.insert((nonce_1, owner), place) {
                panic!(
                    "NO TWO LIVE MINERS SHARE NONCE SPACE: {nonce_1} {:?} {miner:?}",
                    self.miners[other]
                );
            }
            if let Some(pool) = shared {
                self.check_part(miner, nonce_1, pool, host);
            }
            if !self.shards[miner.shard].fanning_out {
                self.check_job(miner);
            }
        }
    }

    /// How many links of its shard have, or had, a nonce space in which a miner is.
    fn had_homes(&self, miner: &Miner) -> usize {
        let nonce_1 = miner.nonce_1.as_deref().unwrap_or_default();
        let feeds = self.shards[miner.shard].feeds.iter();
        feeds.filter(|feed| feed.was_home_of(nonce_1)).count()
    }

    /// A pool may give the links of several shards one nonce space. They do not know of each other's
    /// slots; what keeps their miners apart is that each begins with a part of its own, for its miners and
    /// its guests', and leaves it only when it has used it up.
    fn check_part(&self, miner: &Miner, nonce_1: &str, pool: &Pool, host: usize) {
        let digits = nonce_1.strip_prefix(&pool.only_nonce_1());
        let digits = digits.expect("a nonce_1 of this pool");
        let slot = u64::from(slot_number(digits));
        let capacity = 1_u64 << (4 * digits.len());
        let shard = &self.shards[host];
        let (part, parts) = shard.settings.part;
        let part_len = capacity / u64::from(parts);
        let first = part_len * u64::from(part);
        assert!(
            (first..first + part_len).contains(&slot) || shard.slots_given >= part_len,
            "SHARDS IN ONE NONCE SPACE ARE APART WHILE EACH HAS NO MORE THAN ITS PART: {miner:?}"
        );
    }

    /// The link of its shard in whose nonce space a miner is. Where two share it, its job tells which.
    pub(super) fn home_of(&self, miner: &Miner) -> Option<usize> {
        let nonce_1 = miner.nonce_1.as_deref()?;
        let feeds = &self.shards[miner.shard].feeds;
        if let Some(job) = &miner.job {
            let Some((link, _)) = self.contents[&job.content].on_link_of(miner, feeds) else {
                return self.home_by_nonce(miner);
            };
            return Some(link).filter(|&link| feeds[link].is_home_of(nonce_1));
        }
        self.home_by_nonce(miner)
    }

    /// A miner that reads and mines on a link that is up has its newest job and target.
    pub(super) fn check_job(&self, miner: &Miner) {
        if !miner.is_mining() || !miner.socket.is_settled() {
            return;
        }
        // Which link it is on can't be told before it has a job, where two share a space.
        if self.pool_of_one_space(miner).is_some() && miner.job.is_none() {
            return;
        }
        let Some(link) = self.home_of(miner) else {
            return;
        };
        if !self.is_up((miner.shard, link)) {
            return;
        }
        let feed = &self.shards[miner.shard].feeds[link];
        // Where a miner is that was moved it is told with its next job there: not before it mines, and not
        // while that link is lost.
        let may_be_told = |to: usize| miner.job.is_some() && self.is_up((miner.shard, to));
        if feed.retired && miner.takes_extranonce && !feed.moved_to.is_some_and(may_be_told) {
            return;
        }
        let newest = feed.jobs.last().expect("a job was read");
        let Some(job) = &miner.job else {
            panic!("A MINER ON A LINK THAT IS UP HAS A JOB: {miner:?}");
        };
        let known = &self.contents[&job.content];
        if job.early && !known.heard.contains_key(&(miner.shard, link)) {
            self.check_early(miner, (miner.shard, link), &job.content);
            return;
        }
        assert_eq!(
            job.content, newest.content,
            "A MINER HAS THE NEWEST JOB: {miner:?}"
        );
        assert_eq!(
            job.target, newest.target,
            "A JOB COMES BEHIND ITS TARGET: {miner:?}"
        );
        assert_eq!(
            miner.target, feed.target,
            "A MINER HAS THE NEWEST TARGET: {miner:?}"
        );
    }

    /// Whether a link is up, and has announced a job.
    pub(super) fn is_up(&self, (shard, link): FeedKey) -> bool {
        let Shard {
            exchange, feeds, ..
        } = &self.shards[shard];
        if let Some(lease) = feeds[link].lease {
            return lease.up && lease.has_job;
        }
        self.conns.iter().any(|(key, conn)| {
            key.feed() == (shard, link)
                && conn.up
                && conn.jobs_read > 0
                && exchange.is_current(key.link())
        })
    }

    /// Its pool, where that gives all links one nonce_1.
    fn pool_of_one_space(&self, miner: &Miner) -> Option<&Pool> {
        let nonce_1 = miner.nonce_1.as_deref()?;
        let mut pools = self.pools.iter();
        pools.find(|pool| pool.one_nonce && nonce_1.starts_with(&pool.only_nonce_1()))
    }

    /// Shares of a link to this pool were given up: it was lost for too long, and is not about to go on;
    /// or its pool has given other bytes; or its miners had left it, so that nobody takes it up again.
    pub(super) fn check_loss(&self, shard: usize, pool: usize, round: &[Fact]) {
        let resume = u64::try_from(self.settings().limits.resume.as_millis()).expect("short");
        let feeds = &self.shards[shard].feeds;
        let is_hung_up =
            |fact: &Fact| matches!(fact, Fact::LinkLost { pool: of, .. } if *of == pool);
        let is_over = |(link, feed): (usize, &Feed)| {
            let goes_on = self
                .conns
                .iter()
                .any(|(key, conn)| key.feed() == (shard, link) && conn.goes_on && !conn.up);
            let expired = feed.lost.is_some_and(|lost| self.now - lost >= resume);
            // A neighbour found that the pool is bad, so nobody waits for its return.
            let told = self.shards[shard].told_bad.get(&pool) == Some(&self.now);
            let bad = told && feed.lost.is_some() && !goes_on;
            let left = feed.retired && round.iter().any(is_hung_up);
            let ended = left
                || bad
                || feed.lease_ended == Some(self.now)
                || feed.offered_other == Some(self.now)
                || (expired && !goes_on);
            feed.pool == Some(pool) && ended
        };
        assert!(
            self.phase == Phase::Shutdown || feeds.iter().enumerate().any(is_over),
            "NO SHARE IS GIVEN UP WHILE ITS SESSION MAY GO ON: {:?} {:?}",
            feeds,
            self.conns
        );
    }

    pub(super) fn check_times(&self) {
        let limits = &self.settings().limits;
        let bound = limits.reply_timeout + 2 * limits.resume + limits.handshake_timeout;
        let bound = u64::try_from(bound.as_millis()).expect("short") + 2 * self.mail.delay_max;
        let hold = self
            .settings()
            .job_exchange
            .map_or(Duration::ZERO, |early| early.hold);
        let bound = bound + u64::try_from(hold.as_millis()).expect("short") + self.name_wait();
        for miner in self.miners.iter().filter(|miner| miner.socket.is_settled()) {
            for (id, at) in miner.unanswered_submits() {
                assert!(
                    self.now - at <= bound,
                    "EVERY SUBMIT IS ANSWERED IN TIME: {id} {miner:?}"
                );
            }
        }
    }
}
