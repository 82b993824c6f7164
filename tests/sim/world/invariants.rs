//! The invariants that are checked after each step, in the calm, and after the shutdown.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        for place in 0..self.miners.len() {
            let at_home = self.home_of(&self.miners[place]).is_some();
            let miner = &mut self.miners[place];
            miner.stranded |= miner.nonce_1.is_some() && !at_home;
        }
        let counters = self.exchange.counters();
        let live = self
            .miners
            .iter()
            .filter(|miner| miner.token.is_some())
            .count();
        assert_eq!(counters.miners, live as u64, "MINERS ARE COUNTED");
        assert!(counters.mining <= counters.miners, "MINERS ARE COUNTED");
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for (place, miner) in self.miners.iter().enumerate() {
            let (Some(_), Some(nonce_1)) = (miner.token, miner.nonce_1.as_deref()) else {
                continue;
            };
            // Its space was given up, so its shares are refused until it is moved or closed.
            if miner.stranded {
                continue;
            }
            // Where two links share a space, which of them was given up can't be told by what was not read.
            if !miner.socket.is_settled() && self.is_in_shared_space(miner) {
                continue;
            }
            if let Some(other) = owners.insert(nonce_1, place) {
                panic!(
                    "NO TWO LIVE MINERS SHARE NONCE SPACE: {nonce_1} {:?} {miner:?}",
                    self.miners[other]
                );
            }
            if !self.fanning_out {
                self.check_job(miner);
            }
        }
    }

    /// The link in whose nonce space a miner is. Where two share it, its job tells which.
    pub(super) fn home_of(&self, miner: &Miner) -> Option<usize> {
        let nonce_1 = miner.nonce_1.as_deref()?;
        let is_home = |feed: &Feed| {
            let space = feed.nonce_1.as_deref();
            !feed.stands_by && space.is_some_and(|space| nonce_1.starts_with(space))
        };
        if let Some(job) = &miner.job {
            let (link, _) = self.contents[&job.content];
            return Some(link).filter(|&link| is_home(&self.feeds[link]));
        }
        let mut homes = (0..self.feeds.len()).filter(|&link| is_home(&self.feeds[link]));
        homes.next()
    }

    /// A miner that reads and mines on a link that is up has its newest job and target.
    pub(super) fn check_job(&self, miner: &Miner) {
        if !miner.is_mining() || !miner.socket.is_settled() {
            return;
        }
        // Which link it is on can't be told before it has a job, where two share a space.
        if self.is_in_shared_space(miner) && miner.job.is_none() {
            return;
        }
        let link = self.home_of(miner);
        let conn = self.conns.iter().find(|(place, conn)| {
            Some(place.0) == link
                && conn.up
                && conn.jobs_read > 0
                && self.exchange.is_current(key_of(**place))
        });
        let Some((place, _)) = conn else {
            return;
        };
        let feed = &self.feeds[place.0];
        // One that was told to move, and did not read it, is elsewhere by now.
        if feed.retired && miner.takes_extranonce {
            return;
        }
        let newest = feed.jobs.last().expect("a job was read");
        let Some(job) = &miner.job else {
            panic!("A MINER ON A LINK THAT IS UP HAS A JOB: {miner:?}");
        };
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

    /// Its pool gives all links one nonce_1.
    fn is_in_shared_space(&self, miner: &Miner) -> bool {
        let nonce_1 = miner.nonce_1.as_deref().unwrap_or_default();
        self.pools.iter().any(|pool| {
            pool.one_nonce && nonce_1.starts_with(&format!("{:02x}", 0xa0 + pool.index))
        })
    }

    /// Shares were given up: a link was lost for too long, and is not about to go on, or its pool has
    /// given other bytes.
    pub(super) fn check_loss(&self) {
        let resume = u64::try_from(self.settings.limits.resume.as_millis()).expect("short");
        let is_over = |(link, feed): (usize, &Feed)| {
            let goes_on = self
                .conns
                .iter()
                .any(|(place, conn)| place.0 == link && conn.goes_on && !conn.up);
            let expired = feed.lost.is_some_and(|lost| self.now - lost >= resume);
            // A link that was left already is not taken up again.
            feed.retired || feed.offered_other == Some(self.now) || (expired && !goes_on)
        };
        assert!(
            self.phase == Phase::Shutdown || self.feeds.iter().enumerate().any(is_over),
            "NO SHARE IS GIVEN UP WHILE ITS SESSION MAY GO ON: {:?} {:?}",
            self.feeds,
            self.conns
        );
    }

    pub(super) fn check_times(&self) {
        let limits = &self.settings.limits;
        let bound = limits.reply_timeout + 2 * limits.resume + limits.handshake_timeout;
        let bound = u64::try_from(bound.as_millis()).expect("short");
        for miner in self.miners.iter().filter(|miner| miner.socket.is_settled()) {
            for (id, at) in miner.unanswered_submits() {
                assert!(
                    self.now - at <= bound,
                    "EVERY SUBMIT IS ANSWERED IN TIME: {id} {miner:?}"
                );
            }
        }
    }

    /// The storm is over for long enough: nothing is owed to anybody.
    pub(super) fn check_rest(&self) {
        let mut mining = 0;
        for miner in &self.miners {
            if miner.token.is_none() || miner.socket.reading == Reading::Never {
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
            let Some(nonce_1) = miner.nonce_1.as_deref().filter(|_| miner.authorized) else {
                continue;
            };
            mining += 1;
            assert!(
                !miner.stranded,
                "NO MINER IS LEFT WITHOUT A LINK: {miner:?}"
            );
            let at_home = self.conns.iter().any(|(place, conn)| {
                let space = self.feeds[place.0].nonce_1.as_deref();
                conn.up && space.is_some_and(|space| nonce_1.starts_with(space))
            });
            assert!(
                at_home,
                "NO MINER IS LEFT WITHOUT A LINK: {miner:?} {:?}",
                self.conns
            );
        }
        assert!(
            mining > 0 || self.miners.len() < 20 || self.sent_away,
            "nobody mines"
        );
    }

    pub(super) fn shut_down(&mut self) {
        for miner in 0..self.miners.len() {
            if self.miners[miner].token.is_some() && self.random.bool() {
                self.submits(miner);
            }
        }
        self.finish_round();
        self.check();
        self.exchange.begin_shutdown();
        self.phase = Phase::Shutdown;
        if self.random.u8(..4) == 0 {
            for place in self.conns.keys().copied().collect::<Vec<_>>() {
                self.at(1, Event::Closed(key_of(place), LinkEnd::Reset));
            }
        }
        let end = self.now + 5000;
        while self.now < end && !self.exchange.is_drained() {
            let until = self.now + TICK;
            self.run_until(until);
        }
        // Sockets that are still being told of are told.
        self.run_until(self.now + 10);
        self.exchange.finish_shutdown(self.now());
        self.finish_round();
        let counters = self.exchange.counters();
        let left = (
            counters.miners,
            counters.mining,
            counters.waiting,
            counters.links_up,
        );
        assert_eq!(left, (0, 0, 0, 0), "AFTER SHUTDOWN NOTHING IS OWNED");
        assert!(self.conns.is_empty(), "AFTER SHUTDOWN NOTHING IS OWNED");
        assert!(self.miners.iter().all(|miner| miner.token.is_none()));
    }

    pub(super) fn take_totals(&mut self) {
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
            ..
        } = self.exchange.counters();
        let closed = |reason: CloseReason| closes[reason as usize];
        let ended = |end: LinkEnd| link_ends[end as usize];
        let totals = &mut self.totals;
        totals.jobs_replaced = jobs_replaced;
        totals.unrested_slots = slots_unrested;
        totals.shares_resent = resent;
        totals.kept_warm = refused[Reject::KeptWarm.index()];
        totals.immediate_rejected = immediate_rejected;
        totals.immediate_lost = immediate_lost;
        totals.unexpected_answers = answers_unexpected;
        totals.blocked = miners_blocked;
        totals.pool_faults = pool_faults;
        totals.outbox_full = closed(CloseReason::OutboxFull);
        totals.blocked_too_long = closed(CloseReason::Blocked);
        totals.full = closed(CloseReason::Full);
        totals.no_pool = closed(CloseReason::NoPool);
        totals.subscribe_timeouts = closed(CloseReason::SubscribeTimeout);
        totals.authorize_timeouts = closed(CloseReason::AuthorizeTimeout);
        totals.violations = closed(CloseReason::Violation);
        totals.handshakes_refused = ended(LinkEnd::Refused);
        totals.handshake_timeouts = ended(LinkEnd::HandshakeTimeout);
        totals.spaces_taken = ended(LinkEnd::NonceSpaceTaken);
        totals.reconnects_obeyed = ended(LinkEnd::Reconnect);
        totals.unused_links = ended(LinkEnd::Unused);
        totals.silent_pools = ended(LinkEnd::NoJob) + ended(LinkEnd::NoReply);
        totals.second_links = u64::from(self.feeds.len() > 1);
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
        totals.malformed = malformed;
        totals.unknown_jobs = unknown_job;
        totals.duplicates = duplicate;
        totals.unauthorized = unauthorized;
        totals.not_subscribed = not_subscribed;
        totals.too_many_unanswered = too_many;
        totals.pool_silent = silent;
    }
}
