//! The miners of one thread: lines in, lines out, time as an argument. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::wire::Reader;

use crate::job::JobBook;
use crate::miner::{Event, First, Miner, Wrong};
use crate::nonces::Change;
use crate::shares::{Share, ShareMaker};
use crate::tally::{Tally, count, record};
use crate::verdict::Verdict;

/// Shares that are found ahead, so that a share leaves when it is due and not when it was found. A
/// job that comes makes them worthless, so there are few.
const STOCK_MAX: usize = 64;

/// The first id of a share where all shares of a farm have ids of their own; lower ones are for the
/// handshake.
const SHARE_ID_FIRST: u32 = 16;

/// What the shell does for a miner after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    /// The miner got its nonce_1.
    Subscribed,
    Close,
}

/// The miners of one thread and what happened to them.
#[derive(Debug)]
pub(crate) struct Farm {
    first_number: u32,
    miners: Vec<Miner>,
    mining: usize,
    /// Whose turn it is to find a share.
    turn: usize,
    stock: VecDeque<(usize, Share)>,
    maker: ShareMaker,
    jobs: JobBook,
    reader: Reader,
    unanswered: u64,
    /// The next share's id, and how far it is to the one after, where miners don't count by themselves.
    share_ids: Option<(u32, u32)>,
    changes: Vec<Change>,
    /// Whether jobs are announcements to the whole farm, and their fan-out means something.
    pub(crate) measures_jobs: bool,
    pub(crate) tally: Tally,
}

impl Farm {
    /// `count` miners, numbered from `first_number` on.
    pub(crate) fn new(first_number: u32, count: usize, parameters: Parameters) -> Self {
        let numbers = (first_number..).take(count);
        Self {
            first_number,
            miners: numbers.map(Miner::new).collect(),
            mining: 0,
            turn: 0,
            stock: VecDeque::new(),
            maker: ShareMaker::new(parameters),
            jobs: JobBook::default(),
            reader: Reader::new(),
            unanswered: 0,
            share_ids: None,
            changes: Vec::new(),
            measures_jobs: false,
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
        let first = SHARE_ID_FIRST + u32::try_from(thread).unwrap_or(0);
        self.share_ids = Some((first, u32::try_from(threads).unwrap_or(1)));
    }

    /// Miners that could submit a share.
    pub(crate) fn mining(&self) -> usize {
        self.mining
    }

    /// Shares that wait for their answer.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    pub(crate) fn is_subscribed(&self, miner: usize) -> bool {
        self.miners[miner].is_subscribed()
    }

    /// The nonces that were given and taken back since the last call.
    pub(crate) fn poll_changes(&mut self) -> impl Iterator<Item = Change> {
        self.changes.drain(..)
    }

    /// A connection is there; appends what the miner says.
    pub(crate) fn handle_connected(&mut self, miner: usize, now: Duration, out: &mut Vec<u8>) {
        self.tally.connects += 1;
        if !self.measures_jobs {
            self.tally.last_connect = now;
        }
        self.miners[miner].handle_connected(out);
    }

    /// A connection is gone. Its unanswered shares are lost.
    pub(crate) fn handle_ended(&mut self, miner: usize) {
        let before = self.miners[miner].extranonce1();
        let lost = self.miners[miner].unanswered() as u64;
        self.tally.shares_lost += lost;
        self.unanswered -= lost;
        self.mining -= usize::from(self.miners[miner].is_mining());
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
        let it = &mut self.miners[miner];
        let (nonce_before, was_mining) = (it.extranonce1(), it.is_mining());
        let event = match self.reader.read(line) {
            Ok(message) => it.handle_message(&message, &mut self.jobs, out),
            Err(_) => Event::Wrong(Wrong::Unreadable),
        };
        if !was_mining && it.is_mining() {
            self.mining += 1;
            if !self.measures_jobs {
                self.tally.last_mining = now;
            }
        }
        self.note_nonce(miner, nonce_before);
        self.count(event, now)
    }

    /// Looks for one more share, for at most one nonce. False if there are enough, or no miner mines.
    pub(crate) fn prepare(&mut self) -> bool {
        if self.stock.len() >= STOCK_MAX || self.mining == 0 {
            return false;
        }
        // Somebody is mining, so this ends.
        while !self.miners[self.turn].is_mining() {
            self.turn = (self.turn + 1) % self.miners.len();
        }
        let work = self.miners[self.turn].work();
        if let Some(share) = work.and_then(|work| self.maker.attempt(&work)) {
            self.stock.push_back((self.turn, share));
            self.turn = (self.turn + 1) % self.miners.len();
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
        while let Some((miner, share)) = self.stock.pop_front() {
            let current = self.miners[miner].work();
            if current.is_some_and(|work| share.is_for(&work)) {
                let id = self.share_ids.map(|(id, _)| id);
                if let Some((id, step)) = &mut self.share_ids {
                    *id = id.wrapping_add(*step);
                }
                self.miners[miner].submit(&share, id, due, out);
                self.tally.shares_sent += 1;
                self.unanswered += 1;
                record(&mut self.tally.lateness, now.saturating_sub(due));
                return Some(miner);
            }
        }
        None
    }

    /// The end: what has no answer now is lost.
    pub(crate) fn finish(mut self) -> Tally {
        self.tally.shares_lost += self.unanswered;
        self.tally
    }

    fn count(&mut self, event: Event, now: Duration) -> Next {
        let tally = &mut self.tally;
        match event {
            Event::Nothing => {}
            Event::Subscribed => {
                tally.subscribes += 1;
                return Next::Subscribed;
            }
            Event::Job(job, first) => {
                tally.jobs_received += 1;
                if self.measures_jobs && first == First::No {
                    tally.job(&job.header, now);
                }
            }
            Event::Share(due, verdict) => {
                self.unanswered -= 1;
                record(&mut tally.latency, now.saturating_sub(due));
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
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn farm(count: usize) -> Farm {
        Farm::new(100, count, Parameters::new(96, 5).unwrap())
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
        let subscribed = format!(r#"{{"id":1,"result":[null,"{nonce}"],"error":null}}"#);
        assert_eq!(tell(farm, miner, &[&subscribed]).0, Next::Subscribed);
        let authorized = r#"{"id":2,"result":true,"error":null}"#;
        tell(farm, miner, &[authorized, &notify("1")]);
    }

    fn submit(farm: &mut Farm) -> Option<usize> {
        farm.submit(NOW, NOW, &mut Vec::new())
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
        assert!(farm.prepare());
        assert_eq!(submit(&mut farm), Some(0));
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
        farm.handle_ended(0);
        assert_eq!((farm.tally.shares_lost, farm.mining()), (2, 1));
        let held: Vec<_> = farm.poll_changes().map(|it| (it.miner, it.holds)).collect();
        assert_eq!(held, [(100, true), (101, true), (100, false)]);
        assert_eq!(farm.finish().shares_lost, 3);
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
        let spreads: Vec<_> = farm.tally.spreads.values().collect();
        assert!(matches!(spreads[..], [spread] if spread.miners == 2));
    }

    #[test]
    fn a_line_that_is_no_message_is_wrong_and_a_refusal_closes() {
        let mut farm = farm(1);
        farm.handle_connected(0, NOW, &mut Vec::new());
        assert_eq!(tell(&mut farm, 0, &["{\"id\""]).0, Next::GoOn);
        assert_eq!(farm.tally.wrong_total(), 1);
        let full = r#"{"id":1,"result":null,"error":[20,"full",null]}"#;
        assert_eq!(tell(&mut farm, 0, &[full]).0, Next::Close);
        assert_eq!(farm.tally.refused["subscribe: 20 full"], 1);
    }
}
