//! What must hold when the storm is over, and after the shutdown.

use super::*;

impl World {
    /// The storm is over for long enough: nothing is owed to anybody.
    pub(super) fn check_rest(&self) {
        self.check_names();
        let readers = self.miners.iter();
        for miner in readers.filter(|miner| miner.socket.reading != Reading::Never) {
            if miner.token.is_none() {
                self.check_absent(miner);
                continue;
            }
            assert!(
                miner.socket.is_settled(),
                "a miner that reads is blocked: {miner:?}"
            );
            assert!(
                miner.waiting.is_empty(),
                "EVERY REQUEST IS ANSWERED: {miner:?}"
            );
            assert_eq!(miner.null_due, 0, "EVERY REQUEST IS ANSWERED: {miner:?}");
            let Some(nonce_1) = miner.nonce_1.as_deref() else {
                assert!(
                    !miner.greeted,
                    "A SUBSCRIBE GIVES A PLACE, OR ENDS THE LINK: {miner:?}"
                );
                continue;
            };
            assert!(
                !miner.stranded,
                "NO MINER IS LEFT WITHOUT A LINK: {miner:?}"
            );
            let feeds = &self.shards[miner.shard].feeds;
            let at_home = feeds
                .iter()
                .enumerate()
                .any(|(link, feed)| feed.is_home_of(nonce_1) && self.is_up((miner.shard, link)));
            assert!(
                at_home,
                "NO MINER IS LEFT WITHOUT A LINK: {miner:?} {:?}",
                self.conns
            );
            assert!(
                miner.job.is_some() || !miner.authorized,
                "NO MINER IS LEFT WITHOUT A JOB: {miner:?}"
            );
        }
    }

    /// A miner that is not there was too slow to say hello, or found no room, or may not mine, or was sent
    /// away so late that it does not come back.
    fn check_absent(&self, miner: &Miner) {
        assert!(
            matches!(
                miner.last_close,
                Some(
                    CloseReason::Full
                        | CloseReason::Moved
                        | CloseReason::SubscribeTimeout
                        | CloseReason::AuthorizeTimeout
                        | CloseReason::Denied
                        | CloseReason::KeptOut
                        | CloseReason::TooManyFaults
                )
            ),
            "WHILE A POOL IS UP NOBODY IS SENT AWAY FOR NOTHING: {miner:?}"
        );
    }

    pub(super) fn shut_down(&mut self) {
        for miner in 0..self.miners.len() {
            if self.miners[miner].token.is_some() && self.random.bool() {
                self.submits(miner);
            }
        }
        for shard in 0..self.shards.len() {
            self.finish_round(shard);
        }
        self.check();
        self.phase = Phase::Shutdown;
        for shard in &mut self.shards {
            shard.exchange.begin_shutdown();
        }
        if self.random.u8(..4) == 0 {
            for key in self.conns.keys().copied().collect::<Vec<_>>() {
                self.at(1, Event::Closed(key, LinkEnd::Reset));
            }
        }
        let end = self.now + SHUTDOWN;
        while self.shards.iter().any(|shard| !shard.stopped) {
            // Each is done in its own time, and waits for no other one.
            let mut shards: Vec<usize> = (0..self.shards.len()).collect();
            self.random.shuffle(&mut shards);
            for shard in shards {
                let Shard {
                    exchange, stopped, ..
                } = &self.shards[shard];
                if !stopped && (self.now >= end || exchange.is_drained()) {
                    self.stop(shard);
                }
            }
            let until = self.now + TICK;
            self.run_until(until);
        }
        self.run_until(self.now + self.mail.delay_max);
        let on_its_way = self.mail.on_its_way;
        assert_eq!(on_its_way, 0, "AFTER SHUTDOWN NO LETTER IS ON ITS WAY");
        let lent = |feed: &Feed| feed.lease.is_some();
        let mut feeds = self.shards.iter().flat_map(|shard| &shard.feeds);
        assert!(!feeds.any(lent), "AFTER SHUTDOWN NOTHING IS LENT");
        assert!(self.conns.is_empty(), "AFTER SHUTDOWN NOTHING IS OWNED");
        assert!(self.miners.iter().all(|miner| miner.token.is_none()));
    }

    fn stop(&mut self, shard: usize) {
        // Sockets that are still being told of are told.
        self.run_until(self.now + 10);
        let now = self.now();
        self.shards[shard].exchange.finish_shutdown(now);
        self.finish_round(shard);
        let counters = self.shards[shard].exchange.counters();
        let left = (
            counters.miners,
            counters.mining,
            counters.waiting,
            counters.links_up,
            counters.unread_bytes,
        );
        assert_eq!(left, (0, 0, 0, 0, 0), "AFTER SHUTDOWN NOTHING IS OWNED");
        self.shards[shard].stopped = true;
    }

    pub(super) fn take_totals(&mut self) {
        for shard in 0..self.shards.len() {
            self.take_totals_of(shard);
        }
    }

    fn take_totals_of(&mut self, shard: usize) {
        let Counters {
            closes,
            link_ends,
            refused,
            jobs_replaced,
            slots_unrested,
            resent,
            immediate_rejected,
            immediate_lost,
            answers_unexpected,
            miners_blocked,
            pool_faults,
            early_missed,
            shares_held,
            ..
        } = self.shards[shard].exchange.counters();
        let closed = |reason: CloseReason| closes[reason as usize];
        let ended = |end: LinkEnd| link_ends[end as usize];
        let confirmed = self.shards[shard].exchange.counters().early_confirmed();
        let totals = &mut self.totals;
        totals.early_confirmed += confirmed;
        totals.early_missed += early_missed;
        totals.shares_held += shares_held;
        totals.shares_never_confirmed += refused[Reject::EarlyJob.index()];
        totals.jobs_replaced += jobs_replaced;
        totals.unrested_slots += slots_unrested;
        totals.shares_resent += resent;
        totals.kept_warm += refused[Reject::KeptWarm.index()];
        totals.immediate_rejected += immediate_rejected;
        totals.immediate_lost += immediate_lost;
        totals.unexpected_answers += answers_unexpected;
        totals.blocked += miners_blocked;
        totals.pool_faults += pool_faults;
        totals.outbox_full += closed(CloseReason::OutboxFull);
        totals.blocked_too_long += closed(CloseReason::Blocked);
        totals.full += closed(CloseReason::Full);
        totals.no_pool += closed(CloseReason::NoPool);
        totals.subscribe_timeouts += closed(CloseReason::SubscribeTimeout);
        totals.authorize_timeouts += closed(CloseReason::AuthorizeTimeout);
        totals.violations += closed(CloseReason::Violation);
        totals.workers_denied += closed(CloseReason::Denied);
        totals.too_many_faults += closed(CloseReason::TooManyFaults);
        totals.kept_out += closed(CloseReason::KeptOut);
        totals.handshakes_refused += ended(LinkEnd::Refused);
        totals.handshake_timeouts += ended(LinkEnd::HandshakeTimeout);
        totals.spaces_taken += ended(LinkEnd::NonceSpaceTaken);
        totals.reconnects_obeyed += ended(LinkEnd::Reconnect);
        totals.unused_links += ended(LinkEnd::Unused);
        totals.silent_pools += ended(LinkEnd::NoJob) + ended(LinkEnd::NoReply);
        totals.second_links += u64::from(self.shards[shard].feeds.len() > 1);
        let [
            malformed,
            _,
            unknown_job,
            duplicate,
            unauthorized,
            not_subscribed,
            _,
            too_many,
            _,
            silent,
            ..,
        ] = refused;
        totals.malformed += malformed;
        totals.unknown_jobs += unknown_job;
        totals.duplicates += duplicate;
        totals.unauthorized += unauthorized;
        totals.not_subscribed += not_subscribed;
        totals.too_many_unanswered += too_many;
        totals.pool_silent += silent;
    }
}
