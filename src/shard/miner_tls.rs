//! TLS of a shard's miners: between the ring's bytes and the exchange's lines.
//!
//! ```text
//!  door ─▶ hello: bytes until it is whole ─▶ queue: its turn ─▶ handshake ─▶ open: the exchange knows it
//! ```
//!
//! A connection is the exchange's when its handshake is done. Up to the whole hello it costs its bytes and
//! nothing else, has no place among the handshakes and no session. What sessions have to say of their own
//! (the handshake's messages, tickets, alerts) is collected while the ring tells its news, and goes out at
//! the end of the round in front of what the exchange says, in the order in which it was encrypted.
//!
//! Ciphertext can be neither dropped nor made again. So when a socket does not take it whole, the rest is
//! kept here and the exchange is told that the miner is blocked, and how much is kept; when the socket has
//! room the rest goes first, and the exchange hears of the room when all of that was taken. It sends nothing
//! to a blocked miner, and counts what is kept here with what it keeps itself: one bound is for both.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::TlsMode;
use crate::exchange::CloseReason;
use crate::metrics::TlsCounters;
use crate::proto::time::Now;
use crate::ring::{Close, ListenerId, Token};
use crate::shard::connection::{Connection, miner_token};
use crate::shard::enter::release;
use crate::shard::events::{Events, take_lines};
use crate::shard::handshakes::{FELT, Handshakes, Overdue};
use crate::shard::state::Shard;
use crate::tls::{Acceptor, Event, Hello, ServerSession, TlsError, TlsFailure, look};

/// Handshakes that a shard begins between two looks at its ring: about 1 ms.
const HANDSHAKES_PER_ROUND: usize = 4;

/// Of handshakes that have begun, how many go on between two looks at the ring: what a peer sends may have us
/// compute as much as its hello did.
const ANSWERS_PER_ROUND: usize = 8;

/// Half hellos whose time is over that one tick closes; the others are closed by the next.
const OVERDUE_PER_TICK: usize = 2048;

/// What a session may have to say of its own while its peer takes nothing. An honest one says a few hundred
/// bytes.
const ASIDE_KEPT_MAX: usize = 64 * 1024;

/// What of a peer's answer waits for its round. A chain of certificates is shorter.
const ANSWER_KEPT_MAX: usize = 32 * 1024;

/// Memory for what sessions say that a quiet shard keeps.
const OUTPUT_KEPT: usize = 64 * 1024;

/// TLS of one connection.
#[derive(Debug, Default)]
pub(crate) struct MinerTls {
    /// `None` until the hello is whole and its turn has come.
    pub(crate) session: Option<Box<ServerSession>>,
    /// What came of the handshake and was not looked at: the hello so far, or what waits for its round.
    heard: Vec<u8>,
    /// Ciphertext that the socket has not taken.
    kept: Vec<u8>,
    /// Of that, bytes that the session said of its own.
    aside: usize,
    /// Whether the exchange knows the miner.
    pub(crate) is_open: bool,
    /// The socket takes no more; nothing may be sent before the ring tells that it does.
    pub(crate) is_blocked: bool,
    /// Whether what was heard waits for its turn or its round.
    is_queued: bool,
}

impl MinerTls {
    /// Whether its hello is whole and its handshake has not begun.
    pub(crate) fn waits(&self) -> bool {
        self.is_queued && self.session.is_none()
    }
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerTls {
    pub(crate) acceptor: Acceptor,
    pub(crate) mode: TlsMode,
}

/// What a shard needs for TLS to its miners.
#[derive(Debug, Default)]
pub(crate) struct MinersTls {
    /// By the ring's listeners.
    pub(crate) listeners: Vec<Option<ListenerTls>>,
    /// What sessions have to say of their own, and whose the parts are: each with its end.
    output: Vec<u8>,
    parts: Vec<(Token, usize)>,
    /// Connections that were blocked and have room.
    writable: Vec<Token>,
    /// Connections to be closed behind what was said.
    closing: Vec<Token>,
    /// Whose handshake is next.
    next_proxy: usize,
    /// Handshakes that have begun and whose peers have said more, in order.
    answered: VecDeque<Token>,
    /// Pieces that go into one record.
    pub(crate) scratch: Vec<u8>,
    /// Whose session ended in the last round, while it was to say something.
    pub(crate) failed: Vec<(Token, TlsError)>,
}

impl MinersTls {
    /// Whether any listener has TLS.
    pub(crate) fn is_used(&self) -> bool {
        self.listeners.iter().any(Option::is_some)
    }

    /// Whether a handshake is to go on.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answered.is_empty()
    }

    pub(crate) fn mode(&self, listener: ListenerId) -> Option<TlsMode> {
        let listener = self.listeners.get(usize::from(listener.0))?.as_ref()?;
        Some(listener.mode)
    }
}

impl Events<'_> {
    fn connection(&mut self, token: Token) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(token.index as usize)?.as_mut()?;
        connection.is(token).then_some(connection)
    }

    fn tls_of(&mut self, token: Token) -> Option<&mut MinerTls> {
        self.connection(token)?.tls.as_deref_mut()
    }

    /// The first bytes of a connection are TLS, and its listener has it.
    pub(super) fn begin_tls(&mut self, token: Token, mut held: Vec<u8>, bytes: &mut [u8]) {
        let now = self.now.since_start;
        let Some(connection) = self.connection(token) else {
            return;
        };
        connection.tls = Some(Box::default());
        let proxy = usize::from(connection.proxy);
        self.proxies[proxy].handshakes.enter(now, token);
        if !held.is_empty() {
            self.received_tls(token, &mut held);
        }
        if !bytes.is_empty() {
            self.received_tls(token, bytes);
        }
    }

    /// Bytes came on a connection that has TLS, or is about to.
    pub(super) fn received_tls(&mut self, token: Token, bytes: &mut [u8]) {
        let now = self.now.since_start;
        let Some(connection) = self.connection(token) else {
            return;
        };
        let proxy = usize::from(connection.proxy);
        let Some(tls) = connection.tls.as_deref_mut() else {
            return;
        };
        if tls.is_open {
            return self.hear(token, bytes);
        }
        tls.heard.extend_from_slice(bytes);
        if tls.session.is_some() {
            if tls.heard.len() > ANSWER_KEPT_MAX {
                // Behind its last word may come lines, as many as it likes.
                let mut heard = std::mem::take(&mut tls.heard);
                return self.hear(token, &mut heard);
            }
            if !std::mem::replace(&mut tls.is_queued, true) {
                self.tls.answered.push_back(token);
            }
            return;
        }
        match look(&tls.heard) {
            Hello::Partial => {}
            Hello::Whole if tls.heard.len() > crate::tls::HELLO_LEN_MAX => {
                self.fail_tls(token, TlsFailure::HelloTooLong, "more behind the hello");
            }
            Hello::Whole => {
                if !std::mem::replace(&mut tls.is_queued, true) {
                    self.proxies[proxy].handshakes.queue(now, token);
                }
            }
            Hello::NotTls => self.fail_tls(token, TlsFailure::NotTls, "no TLS hello"),
            Hello::TooLong => {
                self.fail_tls(token, TlsFailure::HelloTooLong, "the hello is too long");
            }
        }
    }

    /// Lets handshakes go on whose round it is, and begins those whose turn it is, one of each proxy after
    /// the other.
    fn shake(&mut self) {
        for _ in 0..ANSWERS_PER_ROUND {
            let Some(token) = self.tls.answered.pop_front() else {
                break;
            };
            if let Some(tls) = self.tls_of(token) {
                tls.is_queued = false;
                let mut heard = std::mem::take(&mut tls.heard);
                if !heard.is_empty() {
                    self.hear(token, &mut heard);
                }
            }
        }
        let now = self.now.since_start;
        let count = self.proxies.len();
        let mut left = HANDSHAKES_PER_ROUND;
        let mut idle = 0;
        while left > 0 && idle < count {
            let index = self.tls.next_proxy % count;
            self.tls.next_proxy = index + 1;
            idle += 1;
            if let Some((token, waited)) = self.proxies[index].handshakes.next(now) {
                idle = 0;
                if self.begin_handshake(token) {
                    left -= 1;
                    let proxy = &mut self.proxies[index];
                    proxy.tls.paced += u64::from(waited > FELT);
                    proxy.reporter.handshake_waited(self.now, waited);
                } else {
                    self.proxies[index].handshakes.had_left();
                }
            }
        }
    }

    /// Begins one handshake; false where its peer has left.
    fn begin_handshake(&mut self, token: Token) -> bool {
        let now = self.now.since_start;
        let Some(connection) = self.connection(token) else {
            return false;
        };
        let (listener, proxy) = (connection.listener, usize::from(connection.proxy));
        let Some(tls) = connection.tls.as_deref_mut() else {
            return false;
        };
        tls.is_queued = false;
        let mut hello = std::mem::take(&mut tls.heard);
        let acceptor = self.tls.listeners[usize::from(listener.0)].as_ref();
        let session = acceptor.map(|it| it.acceptor.begin());
        let Some(Ok(session)) = session else {
            self.fail_tls(token, TlsFailure::Protocol, "no session could be begun");
            return true;
        };
        if let Some(tls) = self.tls_of(token) {
            tls.session = Some(Box::new(session));
        }
        let proxy = &mut self.proxies[proxy];
        proxy.handshakes.begun(now, token);
        proxy.tls.started += 1;
        self.hear(token, &mut hello);
        true
    }

    /// Gives a session what was received.
    fn hear(&mut self, token: Token, bytes: &mut [u8]) {
        let now = self.now;
        let Some(connection) = self.connections[token.index as usize].as_mut() else {
            return;
        };
        let proxy = &mut self.proxies[usize::from(connection.proxy)];
        // Apart from the connection, which its lines need.
        let Some(mut tls) = connection.tls.take() else {
            return;
        };
        let Some(session) = tls.session.as_deref_mut() else {
            return;
        };
        let start = self.tls.output.len();
        let was_open = tls.is_open;
        let mut is_open = was_open;
        let mut has_ended = false;
        let outcome = session.receive(bytes, &mut self.tls.output, |event| match event {
            Event::Opened => {
                is_open = true;
                proxy.exchange.handle_connect(now, miner_token(token));
            }
            Event::Plaintext(bytes) => {
                take_lines(now, proxy, connection, self.tails, token, bytes);
            }
            Event::PeerClosed => has_ended = true,
        });
        if is_open && !was_open {
            let peer = connection.peer.address();
            let is_resumed = session.is_resumed();
            proxy.handshakes.ended();
            proxy.tls.miners += 1;
            if is_resumed {
                proxy.tls.resumed += 1;
            } else {
                proxy.tls.full += 1;
            }
            proxy.reporter.connected(peer);
            proxy
                .reporter
                .tls_opened(peer, session.version(), is_resumed);
            if tls.is_blocked {
                let exchange = &mut proxy.exchange;
                exchange.handle_kept(now, miner_token(token), tls.kept.len());
            }
        }
        tls.is_open = is_open;
        let is_blocked = tls.is_blocked;
        connection.tls = Some(tls);
        let end = self.tls.output.len();
        if end > start {
            if outcome.is_err() && is_blocked {
                // The alert would have to wait for a peer that does not read.
                self.tls.output.truncate(start);
            } else {
                self.tls.parts.push((token, end));
            }
        }
        if let Err(error) = outcome {
            self.fail_tls(token, error.failure, &error.detail);
        } else if has_ended {
            if is_open {
                proxy
                    .exchange
                    .refuse(miner_token(token), CloseReason::Closed);
            } else {
                self.fail_tls(token, TlsFailure::PeerLeft, "closed by the peer");
            }
        }
    }

    /// The TLS of a connection is over for this reason. What it has said goes out, then it is closed.
    fn fail_tls(&mut self, token: Token, failure: TlsFailure, detail: &str) {
        let now = self.now;
        let Some(connection) = self.connection(token) else {
            return;
        };
        let peer = connection.peer.address();
        let proxy = usize::from(connection.proxy);
        let is_open = connection.tls.as_ref().is_some_and(|it| it.is_open);
        let proxy = &mut self.proxies[proxy];
        proxy.tls.failures[failure as usize] += 1;
        proxy.reporter.tls_failed(now, peer, failure, detail);
        if is_open {
            proxy.exchange.refuse(miner_token(token), CloseReason::Tls);
        } else {
            self.forget_tls(token);
            self.tls.closing.push(token);
        }
    }

    /// Forgets a connection that the exchange does not know.
    pub(super) fn forget_tls(&mut self, token: Token) {
        let place = &mut self.connections[token.index as usize];
        let Some(connection) = place.take() else {
            return;
        };
        let proxy = &mut self.proxies[usize::from(connection.proxy)];
        release(connection, proxy, self.listeners, self.tails);
    }

    /// The peer has ended a connection in the middle of its handshake; false where it has none.
    pub(super) fn ended_in_handshake(&mut self, token: Token) -> bool {
        let Some(connection) = self.connection(token) else {
            return false;
        };
        if connection.tls.as_ref().is_none_or(|it| it.is_open) {
            return false;
        }
        let (peer, proxy) = (connection.peer.address(), usize::from(connection.proxy));
        let proxy = &mut self.proxies[proxy];
        let failure = TlsFailure::PeerLeft;
        proxy.tls.failures[failure as usize] += 1;
        let reporter = &proxy.reporter;
        reporter.tls_failed(
            self.now,
            peer,
            failure,
            "the peer left during the handshake",
        );
        self.forget_tls(token);
        true
    }

    /// A send was not taken whole: keeps the rest where it is ciphertext. False where it is not.
    pub(super) fn keep(&mut self, token: Token, unsent: &[u8]) -> bool {
        let now = self.now;
        let Some(connection) = self.connection(token) else {
            return false;
        };
        let proxy = usize::from(connection.proxy);
        let Some(tls) = connection.tls.as_deref_mut() else {
            return false;
        };
        tls.kept.extend_from_slice(unsent);
        let was_blocked = std::mem::replace(&mut tls.is_blocked, true);
        let (is_open, kept) = (tls.is_open, tls.kept.len());
        let proxy = &mut self.proxies[proxy];
        proxy.tls.kept += 1;
        if is_open {
            let exchange = &mut proxy.exchange;
            if !was_blocked {
                // It has taken something since it was blocked before: what counts is for how long it takes
                // nothing. It is not sent anything in between.
                exchange.handle_writable(miner_token(token));
            }
            exchange.handle_kept(now, miner_token(token), kept);
        }
        true
    }

    /// A blocked connection has room; false where it has no TLS.
    pub(super) fn writable_tls(&mut self, token: Token) -> bool {
        let has_tls = self.tls_of(token).is_some();
        if has_tls {
            self.tls.writable.push(token);
        }
        has_tls
    }

    /// Closes those whose handshake takes too long, and where others wait those that keep a place for long.
    pub(super) fn clear_handshakes(&mut self) {
        let now = self.now.since_start;
        for index in 0..self.proxies.len() {
            let mut left = OVERDUE_PER_TICK;
            while left > 0
                && let Some(token) = self.proxies[index].handshakes.overdue_hello(now)
            {
                let is_half = |tls: &mut MinerTls| tls.session.is_none() && !tls.is_queued;
                if self.tls_of(token).is_some_and(is_half) {
                    left -= 1;
                    self.fail_tls(token, TlsFailure::TimedOut, "no whole hello in time");
                }
            }
            let mut crowd = self.proxies[index].handshakes.crowd();
            while let Some(overdue) = self.proxies[index].handshakes.overdue(now, crowd > 0) {
                let (Overdue::TimedOut(token) | Overdue::MadeRoom(token)) = overdue;
                let is_begun = |tls: &mut MinerTls| tls.session.is_some() && !tls.is_open;
                if !self.tls_of(token).is_some_and(is_begun) {
                    continue;
                }
                crowd = crowd.saturating_sub(1);
                match overdue {
                    Overdue::TimedOut(_) => {
                        self.fail_tls(token, TlsFailure::TimedOut, "not done in time");
                    }
                    Overdue::MadeRoom(_) => {
                        self.fail_tls(token, TlsFailure::MadeRoom, "others waited for its place");
                    }
                }
            }
        }
    }
}

impl Shard {
    /// Begins handshakes, and puts into the ring what sessions have to say; in front of what the exchanges
    /// say in this round.
    pub(super) fn flush_tls(&mut self, now: Now) {
        if !self.tls.is_used() {
            return;
        }
        for (token, error) in std::mem::take(&mut self.tls.failed) {
            let events = &mut self.events(now).1;
            events.fail_tls(token, error.failure, &error.detail);
        }
        self.events(now).1.shake();
        self.send_kept();
        let mut start = 0;
        let mut full = Vec::new();
        for (token, end) in self.tls.parts.drain(..) {
            let part = &self.tls.output[start..end];
            start = end;
            let connection = open_place(&mut self.connections, token);
            let tls = connection.and_then(|it| {
                let proxy = usize::from(it.proxy);
                it.tls.as_deref_mut().map(|tls| (proxy, tls))
            });
            match tls.filter(|(_, it)| it.is_blocked) {
                Some((proxy, tls)) => {
                    tls.kept.extend_from_slice(part);
                    tls.aside += part.len();
                    if tls.aside > ASIDE_KEPT_MAX {
                        full.push(token);
                    } else if tls.is_open {
                        let proxy = &mut self.proxies[proxy];
                        let exchange = &mut proxy.exchange;
                        exchange.handle_kept(now, miner_token(token), tls.kept.len());
                    }
                }
                None => self.ring.send_copied(token, &[(part, 0)]),
            }
        }
        self.tls.output.clear();
        self.tls.output.shrink_to(OUTPUT_KEPT);
        for token in full {
            let events = &mut self.events(now).1;
            events.fail_tls(token, TlsFailure::Protocol, "it asks and does not read");
        }
        for token in self.tls.closing.drain(..) {
            self.ring.close(token, Close::Graceful);
        }
    }

    /// What sockets did not take goes to those that have room now. The exchange may say more to whom that was
    /// all.
    fn send_kept(&mut self) {
        let writable = std::mem::take(&mut self.tls.writable);
        for &token in &writable {
            let Some(tls) = tls_at(&mut self.connections, token) else {
                continue;
            };
            tls.is_blocked = false;
            let kept = std::mem::take(&mut tls.kept);
            self.ring.send_copied(token, &[(&kept, 0)]);
        }
        if !writable.is_empty() {
            self.ring.submit();
        }
        for &token in &writable {
            if self.ring.is_blocked(token) {
                continue;
            }
            let Some(tls) = tls_at(&mut self.connections, token) else {
                continue;
            };
            tls.aside = 0;
            if tls.is_open {
                let connection = open_place(&mut self.connections, token);
                if let Some(proxy) = connection.map(|it| usize::from(it.proxy)) {
                    let exchange = &mut self.proxies[proxy].exchange;
                    exchange.handle_writable(miner_token(token));
                }
            }
        }
    }

    /// Whether a handshake may begin or go on at this time.
    pub(super) fn may_shake(&self, now: Duration) -> bool {
        self.tls.has_answers() || self.handshake_due().is_some_and(|due| due <= now)
    }

    /// When the next handshake may begin, if one waits for its time.
    pub(super) fn handshake_due(&self) -> Option<Duration> {
        let proxies = self.proxies.iter();
        proxies.filter_map(|proxy| proxy.handshakes.due()).min()
    }
}

fn tls_at(connections: &mut [Option<Connection>], token: Token) -> Option<&mut MinerTls> {
    open_place(connections, token)?.tls.as_deref_mut()
}

fn open_place(connections: &mut [Option<Connection>], token: Token) -> Option<&mut Connection> {
    let connection = connections.get_mut(token.index as usize)?.as_mut()?;
    connection.is(token).then_some(connection)
}

/// What TLS counts, with its gauges as they are now.
pub(crate) fn tls_counters(counted: &TlsCounters, handshakes: &Handshakes) -> TlsCounters {
    TlsCounters {
        queued: handshakes.queued() as u64,
        in_flight: handshakes.in_flight() as u64,
        ..counted.clone()
    }
}
