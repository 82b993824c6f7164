//! All that one shard owns: its ring, its proxies' exchanges, and the bytes between them.
//!
//! Whatever happens (the ring has news, a pool sent lines, time passed) ends in
//! [`Shard::finish_round`]: the exchanges' answers go into the ring and are submitted in one system call,
//! and what is for the pools is written in one send for each link.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::exchange::{
    CloseHow, CloseReason, Command, Counters, Exchange, Fact, LinkEnd, LinkKey, MinerToken, Tag,
    Transmit,
};
use crate::metrics::{Published, Pulse, ShardCounters};
use crate::proto::time::Now;
use crate::ring::{Close, End, ListenerId, MinerRing, RingHandler, SentPiece, Token};
use crate::shard::clock::Clock;
use crate::shard::pool_link::LinkIo;
use crate::shard::report::Reporter;
use crate::shard::space_watch::SpaceWatch;
use crate::wire::line::{Tail, TailPool, cut};

/// Blocks for unfinished tails that are kept for the next ones.
const TAIL_BLOCKS_KEPT: usize = 256;

/// Bounds of one proxy that the shell itself keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShellLimits {
    pub(crate) miner_line_len_max: usize,
    pub(crate) pool_line_len_max: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) shutdown: Duration,
}

/// One proxy on this shard.
pub(crate) struct Proxy {
    pub(crate) exchange: Exchange,
    pub(crate) limits: ShellLimits,
    pub(crate) reporter: Reporter,
    pub(crate) published: Published,
    pub(crate) space_watch: SpaceWatch,
    pub(crate) shard: usize,
    pub(crate) links: HashMap<LinkKey, LinkIo>,
}

impl Proxy {
    /// Tells of a nonce space that another shard has too.
    fn watch_space(&self, fact: &Fact) {
        match fact {
            Fact::LinkUp {
                pool, extranonce1, ..
            } => {
                let other = self.space_watch.note(self.shard, *pool, extranonce1);
                if let Some(other) = other {
                    self.reporter.space_shared(*pool, extranonce1, other);
                }
            }
            Fact::LinkLost { was_up: true, .. } => self.space_watch.clear(self.shard),
            _ => {}
        }
    }
}

/// What the shell knows of a miner's connection.
struct Connection {
    generation: u32,
    proxy: u16,
    tail: Tail,
    peer: SocketAddr,
}

/// A pool link to be connected by a task of its own.
pub(crate) struct Dial {
    pub(crate) proxy: usize,
    pub(crate) link: LinkKey,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// One shard.
pub(crate) struct Shard {
    pub(crate) ring: MinerRing,
    pub(crate) dials: Vec<Dial>,
    clock: Clock,
    proxies: Vec<Proxy>,
    /// The proxy of each of the ring's listeners.
    listeners: Vec<u16>,
    /// By the ring's index.
    connections: Vec<Option<Connection>>,
    tails: TailPool,
    pulse: Pulse,
    counters: ShardCounters,
    /// Set when the shard stops: when it stops at the latest.
    stop_by: Option<Duration>,
    stopped: bool,
}

impl Shard {
    pub(crate) fn new(
        ring: MinerRing,
        clock: Clock,
        proxies: Vec<Proxy>,
        listeners: Vec<u16>,
        pulse: Pulse,
    ) -> Self {
        let room = ring.free_slots() as u64;
        Self {
            ring,
            dials: Vec::new(),
            clock,
            proxies,
            listeners,
            connections: Vec::new(),
            tails: TailPool::new(TAIL_BLOCKS_KEPT),
            pulse,
            counters: ShardCounters {
                connections_max: room,
                ..ShardCounters::default()
            },
            stop_by: None,
            stopped: false,
        }
    }

    /// Takes in what the ring has to tell; returns how much that was.
    pub(crate) fn round(&mut self) -> usize {
        let mut events = Events {
            now: self.clock.now(),
            proxies: &mut self.proxies,
            listeners: &self.listeners,
            connections: &mut self.connections,
            tails: &mut self.tails,
            counters: &mut self.counters,
            told: false,
        };
        // Sends that were cut short are told too, and not counted.
        let handled = self.ring.drain(&mut events);
        let told = events.told;
        if told {
            self.finish_round();
        }
        handled.max(usize::from(told))
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, stopping: bool) {
        let now = self.clock.now();
        if stopping {
            self.tick_shutdown(now);
        }
        for proxy in &mut self.proxies {
            proxy.exchange.handle_tick(now);
            if !self.stopped {
                proxy.published.publish(proxy.exchange.counters());
                let exchange = &proxy.exchange;
                proxy
                    .published
                    .publish_links_up(|pool| exchange.links_up_of(pool));
            }
        }
        if self.stopped {
            self.pulse.end();
        } else {
            self.counters.connections = self.ring.connections() as u64;
            self.pulse.tick(now.since_start, self.counters);
        }
        self.finish_round();
    }

    /// Whether everything was answered and closed.
    pub(crate) const fn has_stopped(&self) -> bool {
        self.stopped
    }

    fn tick_shutdown(&mut self, now: Now) {
        let stop_by = *self.stop_by.get_or_insert_with(|| {
            self.ring.stop_accepting();
            let mut longest = Duration::ZERO;
            for proxy in &mut self.proxies {
                proxy.exchange.begin_shutdown();
                longest = longest.max(proxy.limits.shutdown);
            }
            now.since_start + longest
        });
        let drained = self.proxies.iter().all(|proxy| proxy.exchange.is_drained());
        if drained || now.since_start >= stop_by {
            for proxy in &mut self.proxies {
                let before = proxy.exchange.counters();
                proxy.exchange.finish_shutdown(now);
                // The last figures are those of the farm, not of the closed doors.
                proxy.published.publish(Counters {
                    miners: before.miners,
                    mining: before.mining,
                    waiting: before.waiting,
                    links_up: before.links_up,
                    ..proxy.exchange.counters()
                });
            }
            self.stopped = true;
        }
    }

    /// Sends what the exchanges have to say, to miners and to pools.
    pub(crate) fn finish_round(&mut self) {
        let now = self.clock.now();
        for (index, proxy) in self.proxies.iter_mut().enumerate() {
            for (key, io) in &mut proxy.links {
                write_to_pool(&mut proxy.exchange, *key, io, now);
            }
            proxy.exchange.flush(&mut Sender(&mut self.ring));
            while let Some(command) = proxy.exchange.poll_command() {
                match command {
                    Command::Dial { link, host, port } => self.dials.push(Dial {
                        proxy: index,
                        link,
                        host,
                        port,
                    }),
                    Command::HangUp(link) => {
                        if let Some(io) = proxy.links.remove(&link) {
                            io.hang_up();
                        }
                    }
                }
            }
            while let Some(fact) = proxy.exchange.poll_fact() {
                match &fact {
                    Fact::Subscribed { miner, agent } => {
                        if let Some(peer) = peer_of(&self.connections, *miner) {
                            proxy.reporter.subscribed(peer, agent);
                        }
                    }
                    Fact::ShareRefused { miner, reject } => {
                        if let Some(peer) = peer_of(&self.connections, *miner) {
                            proxy.reporter.share_refused(peer, *reject);
                        }
                    }
                    Fact::Authorized { miner, worker } => {
                        if let Some(peer) = peer_of(&self.connections, *miner) {
                            proxy.reporter.authorized(peer, worker);
                        }
                    }
                    Fact::MinerClosed {
                        miner,
                        worker,
                        reason,
                    } => {
                        let place = self.connections.get_mut(miner.index as usize);
                        let connection = place.and_then(|place| {
                            place.take_if(|it| it.generation == miner.generation)
                        });
                        if let Some(mut connection) = connection {
                            let worker = worker.as_deref();
                            proxy
                                .reporter
                                .disconnected(connection.peer, worker, *reason);
                            connection.tail.release(&mut self.tails);
                        }
                    }
                    fact => {
                        proxy.reporter.report(now, fact);
                        proxy.watch_space(fact);
                    }
                }
            }
        }
        self.ring.submit();
    }

    pub(crate) fn connect_timeout(&self, proxy: usize) -> Duration {
        self.proxies[proxy].limits.connect_timeout
    }

    pub(crate) fn pool_line_len_max(&self, proxy: usize) -> usize {
        self.proxies[proxy].limits.pool_line_len_max
    }

    /// A link is connected. Returns whether it is still wanted.
    pub(crate) fn link_connected(&mut self, proxy: usize, key: LinkKey, io: LinkIo) -> bool {
        let now = self.clock.now();
        let wanted = self.proxies[proxy].exchange.is_current(key);
        if wanted {
            self.proxies[proxy].links.insert(key, io);
            self.proxies[proxy].exchange.handle_link_connected(now, key);
            self.finish_round();
        }
        wanted
    }

    /// A link is over.
    pub(crate) fn link_closed(&mut self, proxy: usize, key: LinkKey, end: LinkEnd, detail: &str) {
        let now = self.clock.now();
        self.proxies[proxy]
            .exchange
            .handle_link_closed(now, key, end, detail);
        self.finish_round();
    }

    /// The time, for all lines of one read.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// A pool sent a line. What comes of it waits for [`Shard::finish_round`].
    pub(crate) fn link_line(&mut self, now: Now, proxy: usize, key: LinkKey, line: &[u8]) {
        self.proxies[proxy]
            .exchange
            .handle_link_line(now, key, line);
    }

    /// The stream of a link, while somebody wants it.
    pub(crate) fn link_io(&mut self, proxy: usize, key: LinkKey) -> Option<&mut LinkIo> {
        self.proxies[proxy].links.get_mut(&key)
    }

    /// Writes to a pool what it takes.
    pub(crate) fn write_link(&mut self, proxy: usize, key: LinkKey) {
        let now = self.clock.now();
        let Proxy {
            exchange, links, ..
        } = &mut self.proxies[proxy];
        if let Some(io) = links.get_mut(&key) {
            write_to_pool(exchange, key, io, now);
        }
    }
}

fn write_to_pool(exchange: &mut Exchange, key: LinkKey, io: &mut LinkIo, now: Now) {
    loop {
        let bytes = exchange.unwritten(key);
        if bytes.is_empty() {
            return;
        }
        match io.poll_write(bytes) {
            Poll::Ready(Ok(len)) => exchange.wrote(now, key, len),
            Poll::Ready(Err(error)) => {
                let detail = error.to_string();
                exchange.handle_link_closed(now, key, LinkEnd::Reset, &detail);
                return;
            }
            Poll::Pending => return,
        }
    }
}

/// The address of a miner that is still connected.
fn peer_of(connections: &[Option<Connection>], miner: MinerToken) -> Option<SocketAddr> {
    let connection = connections.get(miner.index as usize)?.as_ref()?;
    (connection.generation == miner.generation).then_some(connection.peer)
}

const fn miner_token(token: Token) -> MinerToken {
    MinerToken {
        index: token.index,
        generation: token.generation,
    }
}

/// The ring's news, told to the exchanges.
struct Events<'a> {
    now: Now,
    proxies: &'a mut [Proxy],
    listeners: &'a [u16],
    connections: &'a mut Vec<Option<Connection>>,
    tails: &'a mut TailPool,
    counters: &'a mut ShardCounters,
    /// Whether there was anything to tell.
    told: bool,
}

impl Events<'_> {
    fn exchange_of(&mut self, token: Token) -> Option<&mut Exchange> {
        self.told = true;
        let connection = self.connections.get(token.index as usize)?.as_ref()?;
        if connection.generation != token.generation {
            return None;
        }
        let proxy = self.proxies.get_mut(usize::from(connection.proxy))?;
        Some(&mut proxy.exchange)
    }
}

impl RingHandler for Events<'_> {
    fn accepted(&mut self, token: Token, listener: ListenerId, peer: SocketAddr) {
        self.told = true;
        let index = token.index as usize;
        let proxy = self.listeners[usize::from(listener.0)];
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Connection {
            generation: token.generation,
            proxy,
            tail: Tail::default(),
            peer,
        });
        let proxy = &mut self.proxies[usize::from(proxy)];
        proxy.reporter.connected(peer);
        proxy.exchange.handle_connect(self.now, miner_token(token));
    }

    fn received(&mut self, token: Token, bytes: &mut [u8]) {
        self.told = true;
        let Some(Some(connection)) = self.connections.get_mut(token.index as usize) else {
            return;
        };
        if connection.generation != token.generation {
            return;
        }
        let proxy = &mut self.proxies[usize::from(connection.proxy)];
        let line_len_max = proxy.limits.miner_line_len_max;
        let mut lines = cut(&mut connection.tail, self.tails, bytes, line_len_max);
        while let Some(line) = lines.next() {
            match line {
                Ok(line) => {
                    proxy
                        .exchange
                        .handle_miner_line(self.now, miner_token(token), line);
                }
                Err(_) => proxy
                    .exchange
                    .refuse(miner_token(token), CloseReason::LineTooLong),
            }
        }
    }

    fn ended(&mut self, token: Token, end: End) {
        let reason = match end {
            End::Closed => CloseReason::Closed,
            End::TimedOut => CloseReason::Idle,
            End::Reset | End::Failed(_) | End::ConnectFailed(_) => CloseReason::Reset,
        };
        if let Some(exchange) = self.exchange_of(token) {
            exchange.handle_disconnect(miner_token(token), reason);
        }
    }

    fn blocked(&mut self, token: Token, sent: usize, pieces: &[SentPiece], bytes: &[u8]) {
        let now = self.now;
        if let Some(exchange) = self.exchange_of(token) {
            let pieces = pieces
                .iter()
                .map(|piece| (Tag::from_number(piece.tag), piece.len as usize));
            exchange.handle_blocked(now, miner_token(token), sent, pieces, bytes);
        }
    }

    fn writable(&mut self, token: Token) {
        if let Some(exchange) = self.exchange_of(token) {
            exchange.handle_writable(miner_token(token));
        }
    }

    fn accept_failed(&mut self, listener: ListenerId, error: std::io::Error) {
        self.counters.accept_errors += 1;
        let proxy = usize::from(self.listeners[usize::from(listener.0)]);
        self.proxies[proxy].reporter.accept_failed(self.now, &error);
    }

    fn table_full(&mut self, listener: ListenerId) {
        self.counters.table_full += 1;
        let proxy = usize::from(self.listeners[usize::from(listener.0)]);
        // With a full table this is told with each connection that comes and goes: counted when logged.
        let held = || self.connections.iter().flatten().count();
        self.proxies[proxy].reporter.table_full(self.now, held);
    }
}

/// The exchange's answers, put into the ring.
struct Sender<'a>(&'a mut MinerRing);

const fn ring_token(miner: MinerToken) -> Token {
    Token {
        index: miner.index,
        generation: miner.generation,
    }
}

impl Transmit for Sender<'_> {
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, tag: Tag) {
        self.0.send_shared(ring_token(miner), line, tag as u8);
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        let mut tagged: [(&[u8], u8); 6] = [(&[], 0); 6];
        for (tagged, (bytes, tag)) in tagged.iter_mut().zip(pieces) {
            *tagged = (bytes, *tag as u8);
        }
        self.0
            .send_copied(ring_token(miner), &tagged[..pieces.len()]);
    }

    fn close(&mut self, miner: MinerToken, how: CloseHow, _: CloseReason) {
        let how = match how {
            CloseHow::Graceful => Close::Graceful,
            CloseHow::Reset => Close::Reset,
        };
        self.0.close(ring_token(miner), how);
    }
}
