//! The miners of one thread: lines in, lines out, time as an argument. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::wire::Reader;

use crate::job::JobBook;
use crate::miner::{Event, First, Miner, Times, Wrong};
use crate::nonces::Change;
use crate::outage::Outage;
use crate::role::{Mixture, Role};
use crate::shares::{Share, ShareMaker, Work};
use crate::tally::{Tally, count, record};
use crate::verdict::Verdict;
use crate::windows::Windows;

/// Shares that are found ahead, so that a share leaves when it is due and not when it was found. A
/// job that comes makes them worthless, so there are few.
const STOCK_MAX: usize = 64;

/// The first id of a share where all shares of a farm have ids of their own; lower ones are for the
/// handshake.
const SHARE_ID_FIRST: u64 = 16;

/// What the shell does for a miner after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    /// The miner got its nonce_1.
    Subscribed,
    /// The miner got its first job, and reads rarely from here on.
    ReadRarely,
    /// The miner has fallen silent: it never reads again.
    ReadNever,
    Close,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// The server, or the network: what was not answered is lost.
    Them,
    /// This load generator, as it was told to: what was not answered is abandoned.
    Us,
}

/// The miners of one thread and what happened to them.
#[derive(Debug)]
pub(crate) struct Farm {
    first_number: u32,
    miners: Vec<Miner>,
    roles: Vec<Role>,
    mining: usize,
    silent: usize,
    /// Whose turn it is to find a share.
    turn: usize,
    stock: VecDeque<(usize, Share)>,
    maker: ShareMaker,
    jobs: JobBook,
    reader: Reader,
    unanswered: u64,
    /// Those of them that slow readers wait for.
    unanswered_slow: u64,
    /// The next share's id, and how far it is to the one after, where miners don't count by themselves.
    share_ids: Option<(u64, u64)>,
    changes: Vec<Change>,
    /// Times from when a share was due to its answer, for those who watch.
    latencies: Vec<Duration>,
    /// For each miner, when its connection was begun.
    begun: Vec<Duration>,
    /// For each miner that was sent away by us, since when it has tried to come back.
    away: Vec<Option<Duration>>,
    /// Whether jobs are announcements to the whole farm, and their fan-out means something.
    pub(crate) measures_jobs: bool,
    /// Waits in these stretches are counted apart, too.
    pub(crate) apart: Windows,
    /// What the faults of a pool did to the miners, if there were any.
    pub(crate) outage: Outage,
    pub(crate) tally: Tally,
}

impl Farm {
    /// `count` miners, numbered from `first_number` on.
    pub(crate) fn new(
        first_number: u32,
        count: usize,
        coin: PracticeCoin,
        mixture: Mixture,
    ) -> Self {
        let numbers = (first_number..).take(count);
        Self {
            first_number,
            miners: numbers
                .clone()
                .map(|number| Miner::of(coin, number))
                .collect(),
            roles: numbers.map(|number| mixture.role(number)).collect(),
            mining: 0,
            silent: 0,
            turn: 0,
            stock: VecDeque::new(),
            maker: ShareMaker::new(coin),
            jobs: JobBook::of(coin),
            reader: Reader::new(),
            unanswered: 0,
            unanswered_slow: 0,
            share_ids: None,
            changes: Vec::new(),
            latencies: Vec::new(),
            begun: vec![Duration::ZERO; count],
            away: vec![None; count],
            measures_jobs: false,
            apart: Windows::default(),
            outage: Outage::new(count),
            tally: Tally::default(),
        }
    }

    pub(crate) fn miners(&self) -> usize {
        self.miners.len()
    }

    /// Lets all miners talk alike, with ids of shares that no other thread's miners use.
    pub(crate) fn make_alike(&mut self, thread: usize, threads: usize) {
        for miner in &mut self.miners {
            miner.make_alike();
        }
        self.share_ids = Some((SHARE_ID_FIRST + thread as u64, threads as u64));
    }

    /// Miners that could submit a share.
    pub(crate) fn mining(&self) -> usize {
        self.mining
    }

    /// Miners that have fallen silent.
    pub(crate) fn silent(&self) -> usize {
        self.silent
    }

    pub(crate) fn role(&self, miner: usize) -> Role {
        self.roles[miner]
    }

    /// From here on the times of jobs must rise.
    pub(crate) fn expect_times_to_rise(&mut self) {
        self.jobs.times_rise = true;
    }

    /// Shares that wait for their answer.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Those of them whose miners look for the answer.
    pub(crate) fn in_flight(&self) -> u64 {
        self.unanswered - self.unanswered_slow
    }

    /// The nonces that were given and taken back since the last call.
    pub(crate) fn poll_changes(&mut self) -> impl Iterator<Item = Change> {
        self.changes.drain(..)
    }

    /// The latencies of the shares that were answered since the last call.
    pub(crate) fn poll_latencies(&mut self) -> impl Iterator<Item = Duration> {
        self.latencies.drain(..)
    }

    /// The first miner from this one on, in a circle, that could submit a share.
    pub(crate) fn next_mining(&self, from: usize) -> Option<usize> {
        let count = self.miners.len();
        let mut circle = (from..count).chain(0..from.min(count));
        circle.find(|miner| self.miners[*miner].is_mining())
    }

    /// A connection is on its way.
    pub(crate) fn handle_begun(&mut self, miner: usize, now: Duration) {
        self.begun[miner] = now;
    }

    /// A connection is there; appends what the miner says.
    pub(crate) fn handle_connected(&mut self, miner: usize, now: Duration, out: &mut Vec<u8>) {
        self.tally.connects += 1;
        if !self.measures_jobs {
            self.tally.last_connect = now;
        }
        self.miners[miner].handle_connected(out);
    }

    /// The server, or the network, has ended a connection; [`Farm::handle_ended`] follows.
    pub(crate) fn handle_closed(&mut self, miner: usize) {
        self.tally.turned_away += u64::from(!self.miners[miner].is_mining());
    }

    /// A connection is gone, and with it the answers that it owes.
    pub(crate) fn handle_ended(&mut self, miner: usize, by: EndedBy, now: Duration) {
        let before = self.miners[miner].extranonce1();
        let unanswered = self.miners[miner].unanswered() as u64;
        self.unanswered -= unanswered;
        let slow = self.roles[miner] == Role::SlowReader;
        if slow {
            self.unanswered_slow -= unanswered;
        }
        if slow || by == EndedBy::Us {
            self.tally.shares_abandoned += unanswered;
        } else {
            self.tally.shares_lost += unanswered;
            for sent in self.miners[miner].unanswered_since() {
                record(&mut self.tally.lost_ages, now.saturating_sub(sent));
            }
        }
        if by == EndedBy::Us {
            self.away[miner] = Some(now);
        }
        if by == EndedBy::Them {
            self.outage.handle_closed(miner, now);
            if self.outage.has_begun() {
                self.tally.closed_in_outage += 1;
                let needless = self.miners[miner].takes_extranonces();
                self.tally.closed_needlessly += u64::from(needless);
            }
        }
        self.mining -= usize::from(self.miners[miner].is_mining());
        self.silent -= usize::from(self.miners[miner].is_silent());
        self.miners[miner].handle_ended();
        self.note_nonce(miner, before);
    }

    /// A line for a miner; appends what it says to it.
    pub(crate) fn handle_line(
        &mut self,
        miner: usize,
        line: &[u8],
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Next {
        let role = self.roles[miner];
        let it = &mut self.miners[miner];
        if it.is_silent() {
            return Next::GoOn;
        }
        let (nonce_before, was_mining) = (it.extranonce1(), it.is_mining());
        let event = match self.reader.read(line) {
            Ok(message) => it.handle_message(&message, &mut self.jobs, out),
            Err(_) => Event::Wrong(Wrong::Unreadable),
        };
        let begins = !was_mining && it.is_mining();
        if begins && !self.measures_jobs {
            self.tally.last_mining = now;
        }
        if begins {
            let took = now.saturating_sub(self.begun[miner]);
            record(&mut self.tally.handshakes, took);
            if let Some(away) = self.away[miner].take() {
                let took = now.saturating_sub(away);
                record(&mut self.tally.returns, took);
                if self.apart.meet(away, now) {
                    record(&mut self.tally.returns_apart, took);
                }
            }
        }
        let silent = begins && role == Role::HalfDead;
        if silent {
            it.fall_silent();
            self.silent += 1;
        } else if begins {
            self.mining += 1;
        }
        self.note_nonce(miner, nonce_before);
        if let Event::Job(job, _) | Event::LoggedIn(job) = &event {
            self.outage.handle_job(miner, &job.header, now);
        }
        match self.count(event, role, now) {
            Next::GoOn | Next::Subscribed if silent => Next::ReadNever,
            Next::GoOn | Next::Subscribed if begins && role == Role::SlowReader => Next::ReadRarely,
            next => next,
        }
    }

    /// Looks for one more share, for at most one nonce. False if there are enough, or no miner mines.
    pub(crate) fn prepare(&mut self) -> bool {
        if self.maker.is_instant() || self.stock.len() >= STOCK_MAX {
            return false;
        }
        let Some(work) = self.next_turn() else {
            return false;
        };
        if let Some(share) = self.maker.attempt(&work) {
            self.stock.push_back((self.turn, share));
            self.pass_turn();
        }
        true
    }

    /// Sends the next share, which was due at `due`, and says whose it is. `None` while none is found;
    /// see [`Self::prepare`].
    pub(crate) fn submit(
        &mut self,
        due: Duration,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let (miner, share) = self.next_share()?;
        let id = self.share_ids.map(|(id, _)| id);
        if let Some((id, step)) = &mut self.share_ids {
            *id += *step;
        }
        self.miners[miner].submit(&share, id, Times { due, sent: now }, out);
        self.tally.shares_sent += 1;
        self.unanswered += 1;
        if self.roles[miner] == Role::SlowReader {
            self.unanswered_slow += 1;
        }
        record(&mut self.tally.lateness, now.saturating_sub(due));
        Some(miner)
    }

    fn next_share(&mut self) -> Option<(usize, Share)> {
        if self.maker.is_instant() {
            let work = self.next_turn()?;
            let share = self.maker.attempt(&work)?;
            let miner = self.turn;
            self.pass_turn();
            return Some((miner, share));
        }
        while let Some((miner, share)) = self.stock.pop_front() {
            let current = self.miners[miner].work();
            if self.may_submit(miner) && current.is_some_and(|work| share.is_for(&work)) {
                return Some((miner, share));
            }
        }
        None
    }

    /// Gives the turn to the next miner that may submit a share, if there is one.
    fn next_turn(&mut self) -> Option<Work> {
        if self.mining == 0 {
            return None;
        }
        for _ in 0..self.miners.len() {
            if self.may_submit(self.turn) {
                return self.miners[self.turn].work();
            }
            self.pass_turn();
        }
        None
    }

    fn pass_turn(&mut self) {
        self.turn = (self.turn + 1) % self.miners.len();
    }

    /// A miner that mines, and that does not wait for an answer if it reads rarely: its shares would
    /// pile up.
    fn may_submit(&self, miner: usize) -> bool {
        let it = &self.miners[miner];
        it.is_mining() && (self.roles[miner] != Role::SlowReader || it.unanswered() == 0)
    }

    /// The end: what has no answer now is lost, but for slow readers. Their answers may stand behind
    /// all that they did not read, and through their window that comes in drops.
    pub(crate) fn finish(mut self, now: Duration) -> Tally {
        self.tally.shares_lost += self.in_flight();
        self.tally.shares_abandoned += self.unanswered_slow;
        if self.outage.has_begun() {
            for time in self.outage.totals(now) {
                record(&mut self.tally.without_work, time);
            }
        }
        self.tally
    }

    fn count(&mut self, event: Event, role: Role, now: Duration) -> Next {
        let tally = &mut self.tally;
        match event {
            Event::Nothing => {}
            Event::Subscribed => {
                tally.subscribes += 1;
                return Next::Subscribed;
            }
            Event::LoggedIn(_) => {
                tally.subscribes += 1;
                tally.jobs_received += 1;
                tally.jobs_received_in_run += u64::from(self.measures_jobs);
                return Next::Subscribed;
            }
            Event::Job(job, first) => {
                tally.jobs_received += 1;
                tally.jobs_received_in_run += u64::from(self.measures_jobs);
                if self.measures_jobs && first == First::No && role == Role::Prompt {
                    tally.job(&job.header, now);
                }
            }
            Event::Share(due, verdict) => {
                self.unanswered -= 1;
                // How long a slow reader took is its own doing.
                if role == Role::SlowReader {
                    self.unanswered_slow -= 1;
                } else {
                    let latency = now.saturating_sub(due);
                    record(&mut tally.latency, latency);
                    if self.apart.meet(due, now) {
                        record(&mut tally.latency_apart, latency);
                    }
                    self.latencies.push(latency);
                }
                match verdict {
                    Verdict::Accepted => tally.shares_accepted += 1,
                    Verdict::Rejected(reason) => count(&mut tally.shares_rejected, &reason),
                }
            }
            Event::Wrong(wrong) => tally.wrong(wrong),
            Event::Refused(reason) => {
                count(&mut tally.refused, &reason);
                return Next::Close;
            }
            Event::Reconnect => {
                count(&mut tally.disconnects, "client.reconnect");
                return Next::Close;
            }
        }
        Next::GoOn
    }

    fn note_nonce(&mut self, miner: usize, before: Option<Extranonce1>) {
        let after = self.miners[miner].extranonce1();
        if before == after {
            return;
        }
        let number = (self.first_number..).nth(miner).unwrap_or(u32::MAX);
        for (nonce, holds) in [(before, false), (after, true)] {
            if let Some(nonce) = nonce {
                self.changes.push(Change {
                    miner: number,
                    nonce: nonce.as_bytes().into(),
                    holds,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stratum_uring::proto::dialect::equihash::Parameters;

    use super::*;
    use crate::outage::Fault;

    const NOW: Duration = Duration::from_secs(1);

    fn farm(count: usize) -> Farm {
        let coin = PracticeCoin::Equihash(Parameters::new(48, 5).unwrap());
        Farm::new(100, count, coin, Mixture::default())
    }

    fn notify(id: &str) -> String {
        let (four, long) = ("04000000", "ab".repeat(32));
        format!(
            r#"{{"method":"mining.notify","params":["{id}","{four}","{long}","{long}","{long}","{four}","{four}",true]}}"#
        )
    }

    /// Says these lines to a miner and returns what it said.
    fn tell(farm: &mut Farm, miner: usize, lines: &[&str]) -> (Next, String) {
        let mut out = Vec::new();
        let mut next = Next::GoOn;
        for line in lines {
            next = farm.handle_line(miner, line.as_bytes(), NOW, &mut out);
        }
        (next, String::from_utf8(out).unwrap())
    }

    /// Brings a miner with numeric ids to work.
    fn start(farm: &mut Farm, miner: usize, nonce: &str) {
        farm.handle_connected(miner, NOW, &mut Vec::new());
        let id = (100 + miner) * 1_000_000 + 1;
        let subscribed = format!(r#"{{"id":{id},"result":[null,"{nonce}"],"error":null}}"#);
        assert_eq!(tell(farm, miner, &[&subscribed]).0, Next::Subscribed);
        let authorized = format!(r#"{{"id":{},"result":true,"error":null}}"#, id + 1);
        tell(farm, miner, &[&authorized, &notify("1")]);
    }

    fn submit(farm: &mut Farm) -> Option<usize> {
        farm.submit(NOW, NOW, &mut Vec::new())
    }

    #[test]
    fn a_connection_that_is_closed_after_a_fault_costs_its_miner_work() {
        let mut farm = farm(2);
        start(&mut farm, 0, "a1b2c3d4");
        start(&mut farm, 1, "a1b2c3d5");
        farm.handle_ended(1, EndedBy::Them, NOW);
        farm.outage.handle_fault(Fault {
            at: NOW,
            ends_work_of: None,
        });
        farm.handle_ended(0, EndedBy::Them, NOW);
        let later = NOW + Duration::from_secs(2);
        let tally = farm.finish(later);
        assert_eq!((tally.closed_in_outage, tally.closed_needlessly), (1, 1));
        assert_eq!(tally.without_work.len(), 2);
        assert_eq!(
            tally.without_work.min(),
            0,
            "the other one was closed before"
        );
        assert!(tally.without_work.max().abs_diff(2_000_000_000) < 2_000_000);
    }

    #[test]
    fn miners_take_turns_and_those_that_do_not_mine_are_left_out() {
        let mut farm = farm(6);
        assert!(!farm.prepare(), "nobody mines");
        for (miner, nonce) in [(0, "01"), (1, "02"), (4, "03")] {
            start(&mut farm, miner, nonce);
        }
        assert_eq!(farm.mining(), 3);
        while farm.prepare() {}
        let turns: Vec<_> = (0..6).map(|_| submit(&mut farm).unwrap()).collect();
        assert_eq!(turns, [0, 1, 4, 0, 1, 4]);
        assert_eq!((farm.tally.shares_sent, farm.unanswered()), (6, 6));
    }

    #[test]
    fn a_share_for_an_older_job_is_not_sent() {
        let mut farm = farm(1);
        start(&mut farm, 0, "01");
        while farm.prepare() {}
        tell(&mut farm, 0, &[&notify("2")]);
        assert_eq!(submit(&mut farm), None);
        while farm.prepare() {}
        assert_eq!(submit(&mut farm), Some(0));
    }

    #[test]
    fn filler_is_found_when_it_is_sent() {
        let coin = PracticeCoin::Equihash(Parameters::new(96, 5).unwrap());
        let mut farm = Farm::new(100, 1, coin, Mixture::default());
        assert_eq!(submit(&mut farm), None);
        start(&mut farm, 0, "01");
        assert!(!farm.prepare(), "nothing to be found ahead");
        assert_eq!(submit(&mut farm), Some(0));
        assert_eq!(farm.in_flight(), 1);
    }

    #[test]
    fn a_slow_reader_has_one_share_in_flight_and_its_time_does_not_count() {
        let mixture = Mixture::new(100.0, 0.0).unwrap();
        let mut farm = Farm::new(
            100,
            1,
            PracticeCoin::Equihash(Parameters::new(96, 5).unwrap()),
            mixture,
        );
        start(&mut farm, 0, "01");
        assert_eq!(farm.role(0), Role::SlowReader);
        assert_eq!(submit(&mut farm), Some(0));
        assert_eq!(submit(&mut farm), None);
        assert_eq!((farm.unanswered(), farm.in_flight()), (1, 0));
        // The first kind of miner has three things to ask before.
        tell(&mut farm, 0, &[r#"{"id":100000004,"result":true}"#]);
        assert_eq!((farm.unanswered(), farm.tally.shares_accepted), (0, 1));
        assert!(farm.tally.latency.is_empty() && farm.poll_latencies().count() == 0);
        assert_eq!(submit(&mut farm), Some(0));
        let tally = farm.finish(NOW);
        assert_eq!((tally.shares_abandoned, tally.shares_lost), (1, 0));
    }

    #[test]
    fn a_half_dead_miner_hears_nothing_more_and_its_nonce_is_free() {
        let mixture = Mixture::new(0.0, 100.0).unwrap();
        let mut farm = Farm::new(
            100,
            1,
            PracticeCoin::Equihash(Parameters::new(96, 5).unwrap()),
            mixture,
        );
        farm.handle_connected(0, NOW, &mut Vec::new());
        let lines = [
            r#"{"id":100000001,"result":[null,"01"],"error":null}"#,
            r#"{"id":100000002,"result":true,"error":null}"#,
            &notify("1"),
        ];
        assert_eq!(tell(&mut farm, 0, &lines).0, Next::ReadNever);
        assert_eq!((farm.silent(), farm.mining()), (1, 0));
        let held: Vec<_> = farm.poll_changes().map(|it| it.holds).collect();
        assert_eq!(held, [true, false]);
        assert_eq!(
            tell(&mut farm, 0, &["rubbish"]),
            (Next::GoOn, String::new())
        );
        assert_eq!(farm.tally.wrong_total(), 0);
        farm.handle_ended(0, EndedBy::Them, NOW);
        assert_eq!((farm.silent(), farm.tally.shares_lost), (0, 0));
    }

    #[test]
    fn what_waits_in_a_window_is_counted_apart_too() {
        let coin = PracticeCoin::Equihash(Parameters::new(96, 5).unwrap());
        let mut farm = Farm::new(100, 1, coin, Mixture::default());
        let seconds = Duration::from_secs;
        farm.apart = Windows::new([seconds(10), seconds(30)], seconds(5)).after(NOW);
        // The first kind of miner has three things to ask before.
        let mut id = 100_000_003;
        for (away, due, answered) in [(1, 2, 9), (11, 12, 13), (16, 17, 29), (34, 34, 40)] {
            farm.handle_ended(0, EndedBy::Us, NOW + seconds(away));
            let mut out = Vec::new();
            farm.handle_connected(0, NOW + seconds(due), &mut out);
            let lines = [
                format!(r#"{{"id":{},"result":[null,"01"]}}"#, id - 2),
                format!(r#"{{"id":{},"result":true}}"#, id - 1),
                notify("1"),
            ];
            for line in lines {
                farm.handle_line(0, line.as_bytes(), NOW + seconds(due), &mut out);
            }
            out.clear();
            let due = NOW + seconds(due);
            farm.submit(due, due, &mut out).expect("a share");
            let share = String::from_utf8(out).unwrap();
            id = share[6..].split(',').next().unwrap().parse().unwrap();
            let answer = format!(r#"{{"id":{id},"result":true}}"#);
            farm.handle_line(
                0,
                answer.as_bytes(),
                NOW + seconds(answered),
                &mut Vec::new(),
            );
            id += 3;
        }
        let tally = &farm.tally;
        assert_eq!((tally.latency.len(), tally.returns.len()), (4, 4));
        assert_eq!(
            (tally.latency_apart.len(), tally.returns_apart.len()),
            (2, 2)
        );
        assert!(tally.latency_apart.max().abs_diff(6_000_000_000) < 10_000_000);
    }

    #[test]
    fn what_is_in_flight_when_we_close_is_abandoned_and_not_lost() {
        let mut farm = farm(3);
        start(&mut farm, 1, "01");
        while farm.prepare() {}
        submit(&mut farm).unwrap();
        assert_eq!([0, 1, 2].map(|from| farm.next_mining(from)), [Some(1); 3]);
        farm.handle_ended(1, EndedBy::Us, NOW);
        assert_eq!((farm.unanswered(), farm.next_mining(0)), (0, None));
        let tally = farm.finish(NOW);
        assert_eq!((tally.shares_abandoned, tally.shares_lost), (1, 0));
    }

    #[test]
    fn what_a_connection_owes_at_its_end_is_lost() {
        let mut farm = farm(2);
        start(&mut farm, 0, "01");
        start(&mut farm, 1, "02");
        while farm.prepare() {}
        for _ in 0..3 {
            submit(&mut farm).unwrap();
        }
        farm.handle_ended(0, EndedBy::Them, NOW);
        assert_eq!((farm.tally.shares_lost, farm.mining()), (2, 1));
        let held: Vec<_> = farm.poll_changes().map(|it| (it.miner, it.holds)).collect();
        assert_eq!(held, [(100, true), (101, true), (100, false)]);
        assert_eq!(farm.finish(NOW).shares_lost, 3);
    }

    #[test]
    fn only_an_announcement_to_the_whole_farm_counts_as_one() {
        let mut farm = farm(2);
        start(&mut farm, 0, "01");
        farm.measures_jobs = true;
        start(&mut farm, 1, "02");
        assert!(
            farm.tally.spreads.is_empty(),
            "its first job is no announcement"
        );
        let job = notify("2").replace("abab", "cdcd");
        for miner in [0, 1] {
            tell(&mut farm, miner, &[&job]);
        }
        let spreads = &farm.tally.spreads[..];
        assert!(matches!(spreads, [spread] if spread.miners() == 2));
    }

    #[test]
    fn a_line_that_is_no_message_is_wrong_and_a_refusal_closes() {
        let mut farm = farm(1);
        farm.handle_connected(0, NOW, &mut Vec::new());
        assert_eq!(tell(&mut farm, 0, &["{\"id\""]).0, Next::GoOn);
        assert_eq!(farm.tally.wrong_total(), 1);
        let full = r#"{"id":100000001,"result":null,"error":[20,"full",null]}"#;
        assert_eq!(tell(&mut farm, 0, &[full]).0, Next::Close);
        assert_eq!(farm.tally.refused["subscribe: 20 full"], 1);
    }
}
