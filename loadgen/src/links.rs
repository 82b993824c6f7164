//! Between the ring and the farm: which connection is whose miner, and the bytes in between.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use stratum_uring::ring::{Close, End, ListenerId, MinerRing, RingHandler, SentPiece, Token};
use stratum_uring::wire::{Tail, TailPool, cut};

use crate::clock::Clock;
use crate::farm::{EndedBy, Farm, Next};
use crate::role::Role;
use crate::tally::count;
use crate::tls::{Opened, Seals};

/// Longest line that a miner reads. A `mining.notify` has some 400 bytes.
const LINE_LEN_MAX: usize = 64 * 1024;

/// A miner that lost its connection, or was refused, comes back after this long.
pub(crate) const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// A slow reader looks away for so long, and then looks for so long at what came.
pub(crate) const LOOKS_AWAY_FOR: Duration = Duration::from_secs(5);
const LOOKS_FOR: Duration = Duration::from_millis(50);

/// The connections of a farm.
#[derive(Debug)]
pub(crate) struct Links {
    clock: Clock,
    pub(crate) farm: Farm,
    /// For each miner.
    links: Vec<Link>,
    /// For each place in the ring's table the miner that has it.
    places: Vec<usize>,
    tails: TailPool,
    /// What a connection that is blocked must send first.
    blocked: HashMap<usize, Vec<u8>>,
    /// What is to be sent after this round: whose, and which part of the bytes.
    sends: Vec<(usize, Range<usize>)>,
    bytes: Vec<u8>,
    closes: Vec<(usize, Close, EndedBy)>,
    /// Those who stop reading after this round.
    pauses: Vec<usize>,
    /// Slow readers that look away, and that look; until when. Each in the order of time.
    away: VecDeque<(Duration, usize, Token)>,
    looking: VecDeque<(Duration, usize, Token)>,
    /// All read all the time, whatever their role.
    pub(crate) all_attentive: bool,
    /// Who comes back, and when. In the order of time.
    returning: VecDeque<(Duration, usize)>,
    /// Connections that are under way to their subscription.
    shaking_hands: usize,
    connected: usize,
    /// `None` where miners speak plainly.
    seals: Option<Seals>,
    /// What was under TLS in the bytes at hand.
    plain: Vec<u8>,
}

#[derive(Debug, Default)]
struct Link {
    token: Option<Token>,
    connected: bool,
    /// Under way to its subscription.
    shaking_hands: bool,
    tail: Tail,
}

impl Links {
    pub(crate) fn new(farm: Farm, clock: Clock, seals: Option<Seals>) -> Self {
        Self {
            clock,
            links: (0..farm.miners()).map(|_| Link::default()).collect(),
            farm,
            places: Vec::new(),
            tails: TailPool::new(64),
            blocked: HashMap::new(),
            sends: Vec::new(),
            bytes: Vec::new(),
            closes: Vec::new(),
            pauses: Vec::new(),
            away: VecDeque::new(),
            looking: VecDeque::new(),
            all_attentive: false,
            returning: VecDeque::new(),
            shaking_hands: 0,
            connected: 0,
            seals,
            plain: Vec::new(),
        }
    }

    /// Connections between their connect and their subscription.
    pub(crate) fn shaking_hands(&self) -> usize {
        self.shaking_hands
    }

    /// Connections that are open.
    pub(crate) fn connected(&self) -> usize {
        self.connected
    }

    /// A miner that was away long enough, if there is one.
    pub(crate) fn poll_returning(&mut self, now: Duration) -> Option<usize> {
        let (due, miner) = *self.returning.front()?;
        if due > now {
            return None;
        }
        self.returning.pop_front();
        Some(miner)
    }

    /// When the next one comes back.
    pub(crate) fn next_return(&self) -> Option<Duration> {
        self.returning.front().map(|(due, _)| *due)
    }

    /// A connection has been begun for this miner.
    pub(crate) fn begin(&mut self, miner: usize, token: Token) {
        debug_assert!(self.links[miner].token.is_none());
        self.farm.handle_begun(miner, self.clock.now());
        self.links[miner].token = Some(token);
        self.links[miner].shaking_hands = true;
        self.shaking_hands += 1;
        let place = token.index as usize;
        if self.places.len() <= place {
            self.places.resize(place + 1, usize::MAX);
        }
        self.places[place] = miner;
    }

    /// Sends the share that was due then, if there is one and somebody to send it.
    pub(crate) fn submit(&mut self, due: Duration, now: Duration) -> bool {
        let start = self.bytes.len();
        let Some(miner) = self.farm.submit(due, now, &mut self.bytes) else {
            return false;
        };
        self.queue(miner, start);
        true
    }

    /// Gives the ring what is to be sent and to be closed.
    pub(crate) fn flush(&mut self, ring: &mut MinerRing) {
        for (miner, range) in self.sends.drain(..) {
            let Some(token) = self.links[miner].token else {
                continue;
            };
            let bytes = match &mut self.seals {
                Some(seals) if seals.has(miner) => seals.seal(miner, &self.bytes[range]),
                _ => &self.bytes[range],
            };
            if bytes.is_empty() {
                continue;
            }
            match self.blocked.get_mut(&miner) {
                Some(waiting) => waiting.extend_from_slice(bytes),
                None => ring.send_copied(token, &[(bytes, 0)]),
            }
        }
        self.bytes.clear();
        while let Some((miner, bytes)) = self.seals.as_mut().and_then(Seals::next_unsaid) {
            match (self.links[miner].token, self.blocked.get_mut(&miner)) {
                (Some(_), Some(waiting)) => waiting.extend_from_slice(&bytes),
                (Some(token), None) => ring.send_copied(token, &[(&bytes, 0)]),
                (None, _) => {}
            }
        }
        for (miner, how, by) in std::mem::take(&mut self.closes) {
            if let Some(token) = self.links[miner].token {
                ring.close(token, how);
                self.forget(miner, by);
            }
        }
        for miner in std::mem::take(&mut self.pauses) {
            if let Some(token) = self.links[miner].token {
                ring.pause_receive(token);
                if self.farm.role(miner) == Role::SlowReader {
                    let until = self.clock.now() + LOOKS_AWAY_FOR;
                    self.away.push_back((until, miner, token));
                }
            }
        }
    }

    /// Lets slow readers look, and look away again.
    pub(crate) fn direct_looks(&mut self, ring: &mut MinerRing, now: Duration) {
        let due = |turns: &VecDeque<(Duration, usize, Token)>, all: bool| {
            turns
                .front()
                .is_some_and(|(until, ..)| all || *until <= now)
        };
        while due(&self.away, self.all_attentive) {
            if let Some((_, miner, token)) = self.away.pop_front()
                && self.links[miner].token == Some(token)
            {
                ring.resume_receive(token);
                self.looking.push_back((now + LOOKS_FOR, miner, token));
            }
        }
        while !self.all_attentive && due(&self.looking, false) {
            if let Some((_, miner, token)) = self.looking.pop_front()
                && self.links[miner].token == Some(token)
            {
                self.pauses.push(miner);
            }
        }
    }

    /// Ends the connection of a miner that mines, any of them, which comes back at once. False if there
    /// is none.
    pub(crate) fn churn(&mut self, choice: usize, how: Close) -> bool {
        let Some(miner) = self.farm.next_mining(choice) else {
            return false;
        };
        self.closes.push((miner, how, EndedBy::Us));
        true
    }

    /// What was appended since `start` goes to this miner.
    fn queue(&mut self, miner: usize, start: usize) {
        let end = self.bytes.len();
        match self.sends.last_mut() {
            // One send carries all that a miner says in a round.
            Some((last, range)) if *last == miner && range.end == start => range.end = end,
            _ if start < end => self.sends.push((miner, start..end)),
            _ => {}
        }
    }

    /// The miner of a connection that is alive.
    fn miner(&self, token: Token) -> Option<usize> {
        let miner = *self.places.get(token.index as usize)?;
        (self.links.get(miner)?.token == Some(token)).then_some(miner)
    }

    /// A connection is ready for lines.
    fn greet(&mut self, miner: usize) {
        let start = self.bytes.len();
        let now = self.clock.now();
        self.farm.handle_connected(miner, now, &mut self.bytes);
        self.queue(miner, start);
    }

    /// What a miner hears.
    fn hear(&mut self, miner: usize, bytes: &mut [u8]) {
        let now = self.clock.now();
        let start = self.bytes.len();
        let mut tail = std::mem::take(&mut self.links[miner].tail);
        let mut lines = cut(&mut tail, &mut self.tails, bytes, LINE_LEN_MAX);
        let mut close = false;
        while let Some(line) = lines.next() {
            let next = match line {
                Ok(line) => self.farm.handle_line(miner, line, now, &mut self.bytes),
                Err(_) => {
                    count(&mut self.farm.tally.disconnects, "line too long");
                    Next::Close
                }
            };
            if matches!(next, Next::Subscribed | Next::ReadRarely | Next::ReadNever) {
                let shook = std::mem::take(&mut self.links[miner].shaking_hands);
                self.shaking_hands -= usize::from(shook);
            }
            match next {
                Next::GoOn | Next::Subscribed => {}
                Next::ReadRarely if self.all_attentive => {}
                Next::ReadRarely | Next::ReadNever => self.pauses.push(miner),
                Next::Close => close = true,
            }
        }
        drop(lines);
        self.links[miner].tail = tail;
        self.queue(miner, start);
        if close {
            self.closes.push((miner, Close::Graceful, EndedBy::Them));
        }
    }

    /// A connection is gone; its miner comes back later.
    fn forget(&mut self, miner: usize, by: EndedBy) {
        let link = &mut self.links[miner];
        link.token = None;
        self.shaking_hands -= usize::from(std::mem::take(&mut link.shaking_hands));
        link.tail.release(&mut self.tails);
        self.connected -= usize::from(std::mem::take(&mut link.connected));
        self.blocked.remove(&miner);
        if let Some(seals) = &mut self.seals {
            seals.end(miner);
        }
        let now = self.clock.now();
        self.farm.handle_ended(miner, by, now);
        match by {
            EndedBy::Them => self.returning.push_back((now + RECONNECT_AFTER, miner)),
            EndedBy::Us => self.returning.push_front((now, miner)),
        }
    }
}

impl RingHandler for Links {
    fn connected(&mut self, token: Token) {
        let Some(miner) = self.miner(token) else {
            return;
        };
        self.links[miner].connected = true;
        self.connected += 1;
        match &mut self.seals {
            Some(seals) if seals.has(miner) => seals.begin(miner),
            _ => self.greet(miner),
        }
    }

    fn received(&mut self, token: Token, bytes: &mut [u8]) {
        let Some(miner) = self.miner(token) else {
            return;
        };
        let Some(seals) = self.seals.as_mut().filter(|seals| seals.has(miner)) else {
            return self.hear(miner, bytes);
        };
        let mut plain = std::mem::take(&mut self.plain);
        let opened = seals.open(miner, bytes, &mut plain);
        if let Ok(Opened::Ready(resumed)) = opened {
            let tally = &mut self.farm.tally;
            tally.tls_resumed += u64::from(resumed);
            tally.tls_full += u64::from(!resumed);
            self.greet(miner);
        }
        if !plain.is_empty() {
            self.hear(miner, &mut plain);
        }
        plain.clear();
        self.plain = plain;
        if let Err(error) = opened {
            self.farm.handle_closed(miner);
            count(&mut self.farm.tally.disconnects, &format!("TLS: {error}"));
            self.closes.push((miner, Close::Graceful, EndedBy::Them));
        }
    }

    fn ended(&mut self, token: Token, end: End) {
        let Some(miner) = self.miner(token) else {
            return;
        };
        if !matches!(end, End::ConnectFailed(_)) {
            self.farm.handle_closed(miner);
        }
        let tally = &mut self.farm.tally;
        match end {
            End::ConnectFailed(errno) => count(&mut tally.connects_failed, &errno_text(errno)),
            End::Closed => count(&mut tally.disconnects, "closed by the peer"),
            End::Reset => count(&mut tally.disconnects, "reset by the peer"),
            End::TimedOut => count(&mut tally.disconnects, "timed out"),
            End::Failed(errno) => count(&mut tally.disconnects, &errno_text(errno)),
        }
        self.forget(miner, EndedBy::Them);
    }

    fn blocked(&mut self, token: Token, sent: usize, _pieces: &[SentPiece], bytes: &[u8]) {
        if let Some(miner) = self.miner(token) {
            let waiting = self.blocked.entry(miner).or_default();
            waiting.extend_from_slice(&bytes[sent..]);
        }
    }

    fn writable(&mut self, token: Token) {
        if let Some(miner) = self.miner(token)
            && let Some(waiting) = self.blocked.remove(&miner)
        {
            if let Some(seals) = self.seals.as_mut().filter(|seals| seals.has(miner)) {
                return seals.say_first(miner, waiting);
            }
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&waiting);
            self.queue(miner, start);
        }
    }

    fn accepted(&mut self, _token: Token, _listener: ListenerId, _peer: SocketAddr) {
        debug_assert!(false, "nothing listens here");
    }

    fn accept_failed(&mut self, _listener: ListenerId, _error: io::Error) {
        debug_assert!(false, "nothing listens here");
    }

    fn table_full(&mut self, _listener: ListenerId) {
        debug_assert!(false, "nothing listens here");
    }
}

fn errno_text(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}
