//! The channels between the shards: each letter arrives once, behind those that were posted before it on
//! the same way, and nothing is known of the order between two ways.

use super::*;

/// The ways between the shards.
#[derive(Debug)]
pub(super) struct Mail {
    /// How long a letter may take.
    pub(super) delay_max: u64,
    /// By sender and receiver: when the last letter arrives.
    last: BTreeMap<(usize, usize), u64>,
    /// Letters that were posted and did not arrive.
    pub(super) on_its_way: u64,
}

impl Mail {
    pub(super) fn new(random: &mut Rng) -> Self {
        Self {
            delay_max: [0, 5, 40, 400][random.usize(..4)],
            last: BTreeMap::new(),
            on_its_way: 0,
        }
    }
}

impl World {
    pub(super) fn post(&mut self, from: usize, to: usize, letter: Letter) {
        assert!(
            to != from && to < self.shards.len(),
            "A LETTER IS FOR ANOTHER SHARD: {from} to {to}: {letter:?}"
        );
        match &letter {
            Letter::Standing { .. } => self.totals.letters_standing += 1,
            Letter::PoolBad { .. } => self.totals.letters_pool_bad += 1,
            Letter::Conduct { .. }
            | Letter::KeptOut { .. }
            | Letter::Vouched { .. }
            | Letter::NamesTaken(_) => {}
            Letter::JobHeard(_) => self.totals.letters_job_heard += 1,
            Letter::Guest(says) => self.guest_writes(from, to, says),
            Letter::Host(says) => self.host_writes(from, says),
        }
        let delay = self.random.u64(..=self.mail.delay_max);
        let last = self.mail.last.entry((from, to)).or_default();
        *last = (*last).max(self.now + delay);
        let after = *last - self.now;
        self.mail.on_its_way += 1;
        self.at(after, Event::Letter { to, from, letter });
    }

    pub(super) fn deliver(&mut self, to: usize, from: usize, letter: Letter) {
        self.mail.on_its_way -= 1;
        // Nobody is there any more to take it.
        if self.shards[to].stopped {
            return;
        }
        let judged = match &letter {
            Letter::Host(says) => self.guest_reads(to, from, says),
            Letter::PoolBad { pool, .. } => {
                self.shards[to].told_bad.insert(*pool, self.now);
                Vec::new()
            }
            _ => Vec::new(),
        };
        let now = self.now();
        let exchange = &mut self.shards[to].exchange;
        let unexpected = exchange.counters().answers_unexpected;
        exchange.handle_letter(now, from, letter);
        // In the other mode its miner was told long ago.
        if exchange.counters().answers_unexpected == unexpected
            && self.settings().share_reply == ShareReply::Pool
        {
            for solution in judged {
                let miner = self.shares[&solution].miner;
                self.miners[miner].is_judged(&solution);
            }
        }
    }
}
