//! What the exchange has to tell: facts for the log, and counters. It writes neither itself.

use std::time::Duration;

use crate::proto::share::Reject;

/// Names one miner's connection: the ring's index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MinerToken {
    /// Which of the places for connections; small and used again.
    pub index: u32,
    /// How often the place was used before.
    pub generation: u32,
}

/// Names one connection of a link to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkKey {
    /// Which of the exchange's links.
    pub index: usize,
    /// How often it was dialled before: what an earlier connection says late is passed over.
    pub dial: u32,
}

reasons! {
    /// Why a miner's link ended.
    CloseReason {
        /// The miner closed it.
        Closed = "closed",
        /// The miner reset it, or the network lost it.
        Reset = "reset",
        /// A line was longer than it may be.
        LineTooLong = "line_too_long",
        /// Too many lines that can't be read.
        Violation = "violation",
        /// It read too slowly for what was to be said to it.
        OutboxFull = "outbox_full",
        /// Too many bytes waited for all that do not read, and its were no fewer than most have.
        Unread = "unread",
        /// It took no byte for too long.
        Blocked = "blocked",
        /// It never subscribed.
        SubscribeTimeout = "subscribe_timeout",
        /// It never authorized a worker.
        AuthorizeTimeout = "authorize_timeout",
        /// No slot was left for it.
        Full = "full",
        /// No pool was up in time.
        NoPool = "no_pool",
        /// The pool gave other nonce bytes, and only a reconnect can tell this miner.
        Moved = "moved",
        /// Its workers were refused too often, or the pool denies the one that it had.
        Denied = "denied",
        /// Since the config was read again, the network that it is in may not be here.
        NetworkDenied = "network_denied",
        /// Too many of its shares were its own fault.
        TooManyFaults = "too_many_faults",
        /// Its worker is kept out for a while, for its faults.
        KeptOut = "kept_out",
        /// It sent more than one miner may.
        TooManyMessages = "too_many_messages",
        /// It acknowledged nothing for too long: the machine or its cable is gone.
        Idle = "idle",
        /// Its TLS failed after the handshake.
        Tls = "tls",
        /// We stop.
        Shutdown = "shutdown",
    }
}

reasons! {
    /// Why a link to a pool ended.
    LinkEnd {
        /// It could not be connected.
        ConnectFailed = "connect_failed",
        /// The pool closed it.
        Closed = "closed",
        /// The pool reset it, or the network lost it.
        Reset = "reset",
        /// A line was longer than it may be.
        LineTooLong = "line_too_long",
        /// The pool sent what can't be right.
        Violation = "violation",
        /// The pool could not be believed, or broke the rules of TLS.
        Tls = "tls",
        /// The pool did not answer the handshake in time.
        HandshakeTimeout = "handshake_timeout",
        /// The pool refused subscribe or authorize.
        Refused = "refused",
        /// The pool took no byte for too long.
        Stalled = "stalled",
        /// The pool sent no job for too long.
        NoJob = "no_job",
        /// The pool answered no share for too long, while many waited.
        NoReply = "no_reply",
        /// The pool leaves too few nonce bytes to mine with.
        NoNonceSpace = "no_nonce_space",
        /// Another live link has the same nonce space.
        NonceSpaceTaken = "nonce_space_taken",
        /// The pool asked us to connect again.
        Reconnect = "reconnect",
        /// No miner needed it any more.
        Unused = "unused",
        /// We stop.
        Shutdown = "shutdown",
    }
}

impl LinkEnd {
    /// Whether a link that ends so says that its pool is bad, and not only the link.
    pub(crate) const fn is_pools(self) -> bool {
        matches!(
            self,
            Self::LineTooLong
                | Self::Violation
                | Self::Refused
                | Self::Stalled
                | Self::NoJob
                | Self::NoReply
                | Self::NoNonceSpace
        )
    }

    /// Whether the next try may find the pool well: nothing was said that speaks against it.
    pub(crate) const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed | Self::Closed | Self::Reset | Self::HandshakeTimeout
        )
    }
}

/// Something that an operator may act on, or follow with `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A pool link is ready for shares.
    LinkUp {
        /// Which pool.
        pool: usize,
        /// Whether the session before went on: nobody noticed.
        resumed: bool,
        /// Hex digits of the pool's extranonce1, or what it calls the session where shares must say that.
        extranonce1: String,
        /// Bytes that we fix for each miner.
        slot_len: u8,
        /// Miners that it has room for.
        capacity: u32,
    },
    /// A pool link ended.
    LinkLost {
        /// Which pool.
        pool: usize,
        /// Why.
        end: LinkEnd,
        /// What the pool or the kernel said; may be empty.
        detail: String,
        /// Whether it had been ready.
        was_up: bool,
        /// Shares that wait for its return.
        pending: usize,
    },
    /// A link that stands by is ready: it takes over when it must, or when it may.
    SpareUp {
        /// Which link.
        link: LinkKey,
        /// Which pool.
        pool: usize,
    },
    /// The miners of a link go to another pool's, which was ready.
    TakenOver {
        /// The pool that they leave.
        from: usize,
        /// The pool that they work for from now on.
        to: usize,
        /// Hex digits of its extranonce1.
        extranonce1: String,
        /// The link that they leave. Where they go back it is hung up when their shares are answered.
        left: LinkKey,
        /// The link on which they are from now on.
        serves: LinkKey,
        /// Whether that is a part of another shard's link.
        borrowed: bool,
        /// Whether they leave a link that is well: for a preferred pool, or after its owner's miners.
        returned: bool,
        /// Miners that were told.
        told: usize,
        /// Miners that must reconnect.
        closed: usize,
    },
    /// A part of a link's nonce space went to another shard, which has none of its own.
    Lent {
        /// To which pool the link is.
        pool: usize,
        /// To which shard.
        shard: usize,
        /// How many slots.
        slots: u32,
    },
    /// Miners work on a part of another shard's link.
    Borrowed {
        /// To which pool the link is.
        pool: usize,
        /// Whose it is.
        shard: usize,
    },
    /// That is over.
    LeaseEnded {
        /// To which pool the link was.
        pool: usize,
        /// Whose it was.
        shard: usize,
        /// Shares that its pool did not answer.
        pending: usize,
    },
    /// A preferred pool did not stay well after miners went back to it: next time it must for longer.
    ReturnFailed {
        /// Which pool.
        pool: usize,
        /// How long it must be well next time.
        wait: Duration,
    },
    /// A preferred pool is well, but does not have room for all miners, so they stay; told once for each
    /// link to it.
    NoRoomToReturn {
        /// Which pool.
        pool: usize,
        /// Miners that all links to it have room for.
        room: usize,
        /// Miners that there are.
        miners: usize,
    },
    /// Another pool is tried.
    PoolChanged {
        /// The pool given up.
        from: usize,
        /// The pool tried next.
        to: usize,
    },
    /// Shares whose link can't be resumed were answered as stale.
    SharesLost {
        /// Which pool.
        pool: usize,
        /// How many.
        shares: usize,
    },
    /// Shares that their miners were told at once are accepted, and that no pool will answer.
    ImmediateLost {
        /// Which pool.
        pool: usize,
        /// How many.
        shares: usize,
    },
    /// The pool changed the nonce space of the link's miners.
    Moved {
        /// Which pool.
        pool: usize,
        /// Miners that were told.
        told: usize,
        /// Miners that must reconnect.
        closed: usize,
    },
    /// No pool is up: miners are given the last job again, and nothing that they find counts.
    WarmBegins {
        /// The pool that is tried now.
        pool: usize,
        /// How many miners.
        miners: usize,
    },
    /// That is over.
    WarmEnds {
        /// How many miners there were in the end.
        miners: usize,
        /// How long it took.
        seconds: u64,
    },
    /// A pool rejected a share; told once a minute.
    ShareRejected {
        /// Which pool.
        pool: usize,
        /// Its code.
        code: i64,
        /// Its text.
        text: String,
    },
    /// A share was refused here for what the miner made of it; told once a minute.
    ShareRefused {
        /// Which miner.
        miner: MinerToken,
        /// Why.
        reject: Reject,
    },
    /// A neighbour's links to a pool announce the jobs that ours announce: miners are started on whichever
    /// comes first from now on. Told once for each neighbour and pool.
    JobsAlike {
        /// Which pool.
        pool: usize,
        /// The neighbour's shard.
        shard: usize,
    },
    /// Miners were started on a job that only a neighbour's link announced; told once a minute.
    EarlyMissed {
        /// Which pool.
        pool: usize,
        /// The neighbour's shard.
        shard: usize,
    },
    /// The first job of a link is not what the config says; told once.
    JobOdd {
        /// Which pool.
        pool: usize,
        /// What differs.
        text: String,
    },
    /// A miner was refused since every slot is taken.
    Full {
        /// Miners that have a slot.
        miners: usize,
        /// Links held.
        links: usize,
    },
    /// A pool's text for people.
    PoolText {
        /// Which pool.
        pool: usize,
        /// The text.
        text: String,
    },
    /// `client.reconnect` to a host that is not allowed was passed over.
    ReconnectRefused {
        /// Which pool.
        pool: usize,
        /// Where it wanted us.
        host: String,
    },
    /// Two links share one nonce space, since the pool gives both the same.
    NonceSpaceShared {
        /// Which pool.
        pool: usize,
        /// The pool's extranonce1.
        extranonce1: String,
    },
    /// A miner subscribed.
    Subscribed {
        /// Which miner.
        miner: MinerToken,
        /// What its firmware calls itself, without control characters; empty where it does not say.
        agent: String,
    },
    /// A miner authorized a worker.
    Authorized {
        /// Which miner.
        miner: MinerToken,
        /// The worker.
        worker: String,
    },
    /// A miner's worker may not mine, at least for now.
    WorkerDenied {
        /// Which miner.
        miner: MinerToken,
        /// The worker.
        worker: String,
        /// Why.
        reject: Reject,
        /// The code and the text with which its pool said no, without control characters; empty where it
        /// gave none.
        said: String,
    },
    /// Too many of a miner's shares were its own fault, and it is closed.
    TooManyFaults {
        /// Which miner.
        miner: MinerToken,
        /// Under which name most of the wrong shares came; none where they came under none.
        worker: Option<Box<str>>,
        /// Whether its worker is kept out for a while; not where others of its name and address mine well.
        kept_out: bool,
    },
    /// A miner's link ended.
    MinerClosed {
        /// Which miner.
        miner: MinerToken,
        /// Its worker, where it named one.
        worker: Option<String>,
        /// Why.
        reason: CloseReason,
    },
}

/// Upper bounds, in microseconds, of the times that pools take to answer a share. What took longer has a
/// bucket of its own behind them.
pub const REPLY_MICROS_BOUNDS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// Upper bounds, in microseconds, of the times by which miners were ahead of their own link. What was longer
/// has a bucket of its own behind them.
pub const LEAD_MICROS_BOUNDS: [u64; 12] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// Makes a struct of numbers, of which other code sees all in a row too.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$what:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$what])* pub $field: $type,)+ }

        impl $name {
            /// Every counter and gauge, in an order that does not change while the process runs.
            pub fn cells_mut(&mut self) -> impl Iterator<Item = &mut u64> {
                [$(self.$field.as_cells(),)+].into_iter().flatten()
            }
        }
    };
}

/// A number, or some in a row.
trait Cells {
    fn as_cells(&mut self) -> &mut [u64];
}

impl Cells for u64 {
    fn as_cells(&mut self) -> &mut [u64] {
        std::slice::from_mut(self)
    }
}

impl<const N: usize> Cells for [u64; N] {
    fn as_cells(&mut self) -> &mut [u64] {
        self
    }
}

counters! {
    /// Plain counters and gauges of one exchange. Nobody waits for them.
    Counters {
        /// Miners connected now.
        miners: u64,
        /// Of these, miners that mine.
        mining: u64,
        /// Of these, subscribes that wait for a pool.
        waiting: u64,
        /// Of these, miners that are given an old job, since no pool is up.
        kept_warm: u64,
        /// Links ready for shares now.
        links_up: u64,
        /// Connects in total.
        connects: u64,
        /// Links ended, by [`CloseReason`].
        closes: [u64; CloseReason::ALL.len()],
        /// Pool links ended, by [`LinkEnd`].
        link_ends: [u64; LinkEnd::ALL.len()],
        /// Submits read.
        submits: u64,
        /// Shares that the pool accepted.
        accepted: u64,
        /// Hashes that the accepted shares stand for, by expectation: how often 2^32 of each share's, and
        /// what is left of it. The Bitcoin machines of a hall find more than 2^64 within the hour.
        work: [u64; 2],
        /// Shares that the pool rejected.
        rejected: u64,
        /// Of these, shares that their miners had been told at once are accepted.
        immediate_rejected: u64,
        /// Shares that their miners had been told at once are accepted, and that no pool answered.
        immediate_lost: u64,
        /// Requests refused here, by [`Reject::index`].
        refused: [u64; Reject::REASONS.len()],
        /// Jobs taken from pools.
        jobs: u64,
        /// Jobs that a slow reader was spared, since a newer one came before.
        jobs_replaced: u64,
        /// Slots handed out before they had rested.
        slots_unrested: u64,
        /// Shares sent a second time on a link that was taken up again.
        resent: u64,
        /// Shares too many to be remembered against duplicates.
        not_remembered: u64,
        /// Answers of pools to nothing that waits: too late, twice, or made up.
        answers_unexpected: u64,
        /// Sends that a miner did not take whole.
        miners_blocked: u64,
        /// Bytes that wait for miners that take none, by now.
        unread_bytes: u64,
        /// Lines of miners that can't be read.
        lines_unreadable: u64,
        /// Links to which a pool sent what can't be right.
        pool_faults: u64,
        /// Slots that the nonce spaces of the links that are up have room for, and how many are handed out.
        slots: u64,
        /// Of these, slots that a miner has.
        slots_taken: u64,
        /// When the last job came, in seconds since 1970; 0 before the first. Among exchanges the latest.
        last_job_unix_seconds: u64,
        /// For how many milliseconds miners have needed a pool while no link was up. Among exchanges the
        /// longest.
        without_link_millis: u64,
        /// Shares answered by a pool, by how long that took: [`REPLY_MICROS_BOUNDS`].
        replies: [u64; REPLY_MICROS_BOUNDS.len() + 1],
        /// Microseconds that all these answers took.
        reply_micros: u64,
        /// Jobs on which miners of a link were started before it announced them.
        early_jobs: u64,
        /// Of these, jobs that it did not announce in time.
        early_missed: u64,
        /// Shares that were held until their link announced their job, or did not.
        shares_held: u64,
        /// Jobs that a link announced after its miners were started on them, by how much later that was:
        /// [`LEAD_MICROS_BOUNDS`].
        leads: [u64; LEAD_MICROS_BOUNDS.len() + 1],
        /// Microseconds of all these together.
        lead_micros: u64,
        /// Workers that were looked up in the workers file.
        worker_checks: u64,
        /// Names of workers for which pools were asked.
        names_asked: u64,
        /// Names of workers that are known now, each for itself and for each link whose pool was asked.
        names: u64,
        /// Workers that are or were kept out for their faults; each shard counts.
        kept_out: u64,
        /// User agents of miners that were cut, since they are longer than they may be.
        agents_cut: u64,
        /// Times that a miner was not closed for its faults, since too many were like it.
        faults_excused: u64,
    }
}

impl Counters {
    /// Counts a pool's answer to a share that came after so long.
    pub(crate) fn count_reply(&mut self, after: Duration) {
        let micros = micros_of(after);
        self.replies[bucket(&REPLY_MICROS_BOUNDS, micros)] += 1;
        self.reply_micros += micros;
    }

    /// Counts a job that a link announced so long after its miners were started on it.
    pub(crate) fn count_lead(&mut self, lead: Duration) {
        let micros = micros_of(lead);
        self.leads[bucket(&LEAD_MICROS_BOUNDS, micros)] += 1;
        self.lead_micros += micros;
    }

    /// Jobs that a link announced after its miners were started on them.
    #[must_use]
    pub fn early_confirmed(&self) -> u64 {
        self.leads.iter().sum()
    }

    /// Ended links of miners, each reason with its label.
    pub fn closes_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = CloseReason::ALL.iter().map(|reason| reason.reason());
        labels.zip(self.closes)
    }

    /// Ended links to pools, each reason with its label.
    pub fn link_ends_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = LinkEnd::ALL.iter().map(|end| end.reason());
        labels.zip(self.link_ends)
    }

    /// Requests refused here, each reason with its label.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reject::REASONS.into_iter().zip(self.refused)
    }

    /// The pool accepted a share that stands for so many hashes.
    pub(crate) fn count_work(&mut self, hashes: u64) {
        let [high, low] = &mut self.work;
        *high = high.saturating_add(hashes >> 32);
        *low = low.saturating_add(hashes & u64::from(u32::MAX));
    }

    /// Hashes that the accepted shares stand for.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "fifteen digits of it are enough"
    )]
    pub fn hashes(&self) -> f64 {
        let [high, low] = self.work;
        high as f64 * 2f64.powi(32) + low as f64
    }

    /// Adds another exchange's.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        let last_job = self.last_job_unix_seconds.max(other.last_job_unix_seconds);
        let without_link = self.without_link_millis.max(other.without_link_millis);
        for (into, from) in self.cells_mut().zip(other.cells_mut()) {
            *into = into.saturating_add(*from);
        }
        self.last_job_unix_seconds = last_job;
        self.without_link_millis = without_link;
    }

    /// Shares that went out, or were to, and were never answered by a pool: their miners were told so,
    /// but for those that were answered at once.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.refused[Reject::LinkLost.index()]
            + self.refused[Reject::PoolSilent.index()]
            + self.immediate_lost
    }
}

fn micros_of(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

/// The place of the first bound that is not exceeded; behind the last one where all are.
fn bucket(bounds: &[u64], micros: u64) -> usize {
    // All are compared and none is branched on: that is quicker than the shortest search.
    let exceeded = bounds.iter().map(|bound| usize::from(micros > *bound));
    exceeded.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_of_a_large_hall_are_counted_for_years() {
        let hashes = 12_345_678_901_234_567;
        let mut one = Counters::default();
        for _ in 0..100_000 {
            one.count_work(hashes);
        }
        let mut all = one.clone();
        all.add(&one);
        all.count_work(7);
        let exact = 200_000.0 * hashes as f64;
        assert!(exact > 100.0 * u64::MAX as f64);
        assert!(
            (all.hashes() / exact - 1.0).abs() < 1e-12,
            "{}",
            all.hashes()
        );
    }

    #[test]
    fn an_answer_is_counted_in_the_bucket_of_its_time() {
        let mut counters = Counters::default();
        for micros in [0, 1_000, 1_001, 30_000_000, 30_000_001, 3_600_000_000] {
            counters.count_reply(Duration::from_micros(micros));
        }
        assert_eq!(counters.replies[..3], [2, 1, 0]);
        assert_eq!(counters.replies[13..], [1, 2]);
        assert_eq!(counters.reply_micros, 3_660_002_002);
    }

    #[test]
    fn sums_are_sums_and_the_latest_and_longest_are_kept() {
        let of = |miners, job, without| Counters {
            miners,
            last_job_unix_seconds: job,
            without_link_millis: without,
            ..Counters::default()
        };
        let mut sum = of(2, 50, 9);
        sum.add(&of(3, 70, 4));
        assert_eq!(sum, of(5, 70, 9));
    }
}
