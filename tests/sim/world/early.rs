//! Jobs on which miners are before their own link announced them, since a neighbour's link did.

use super::*;

impl World {
    /// A miner hears a job that its own link has not announced. A neighbour's link to the same pool must
    /// have.
    pub(super) fn starts_early(&mut self, miner: usize, content: &str, line: &str) {
        self.totals.early_heard += 1;
        let miner = &self.miners[miner];
        // Where its link has other bytes by now, it reads what was said before that.
        let link = self.home_by_nonce(miner).or_else(|| {
            let nonce_1 = miner.nonce_1.as_deref()?;
            let feeds = &self.shards[miner.shard].feeds;
            feeds.iter().position(|feed| feed.had_space_of(nonce_1))
        });
        // It may work for another pool by now, whose jobs it has not read yet.
        let nonce_1 = miner.nonce_1.as_deref().unwrap_or_default();
        let pool = link.and_then(|link| self.shards[miner.shard].feeds[link].pool_of(nonce_1));
        let by_neighbour = |(&(shard, link), places): (&FeedKey, &Vec<usize>)| {
            let jobs = &self.shards[shard].feeds[link].jobs;
            shard != miner.shard
                && pool.is_some()
                && places.iter().any(|&place| jobs[place].pool == pool)
        };
        let heard = self.contents.get(content);
        assert!(
            self.settings().job_exchange.is_some()
                && heard.is_some_and(|content| content.heard.iter().any(by_neighbour)),
            "A JOB IS OF A LINK ON WHICH ITS MINER WAS, OR OF A NEIGHBOUR'S: {line} {miner:?}"
        );
        let (shard, link) = (miner.shard, link.expect("its pool is known"));
        let now = self.now;
        let early = &mut self.shards[shard].feeds[link].early;
        early.entry(content.to_owned()).or_insert(now);
    }

    /// The link in whose nonce space a miner is, whatever its job.
    pub(super) fn home_by_nonce(&self, miner: &Miner) -> Option<usize> {
        let nonce_1 = miner.nonce_1.as_deref()?;
        let feeds = &self.shards[miner.shard].feeds;
        feeds.iter().position(|feed| feed.is_home_of(nonce_1))
    }

    /// A miner may work on what only a neighbour announced for as long as its own link may still follow.
    pub(super) fn check_early(&self, miner: &Miner, (shard, link): FeedKey, content: &str) {
        let Some(exchange) = self.settings().job_exchange else {
            panic!("A MINER HAS THE NEWEST JOB: {miner:?}");
        };
        let started = self.shards[shard].feeds[link].early.get(content);
        let conns = self
            .conns
            .iter()
            .filter(|(key, _)| key.feed() == (shard, link));
        let up = conns.filter_map(|(_, conn)| conn.up_since).max();
        let since = started
            .copied()
            .max(up)
            .expect("it was heard, and the link is up");
        let within = u64::try_from(exchange.match_within.as_millis()).expect("short");
        assert!(
            self.now - since <= within + 2 * TICK,
            "WHAT ITS LINK DOES NOT ANNOUNCE A MINER LEAVES IN TIME: {miner:?}"
        );
    }
}
