//! All that one shard owns: its ring, its proxies' exchanges, and the bytes between them.
//!
//! Whatever happens (the ring has news, a link was connected, time passed) ends in
//! [`Shard::finish_round`]: what is for the pools is written in one send for each link, and the exchanges'
//! answers go into the ring, which submits them all in one system call when the round is over.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::exchange::{Command, Counters, Exchange, Fact, LinkEnd, LinkKey};
use crate::metrics::{DoorCounters, Published, Pulse, ShardCounters, TlsCounters};
use crate::proto::time::Now;
use crate::ring::{Close, MinerRing, StreamId, Token};
use crate::shard::TICK;
use crate::shard::clock::Clock;
use crate::shard::connection::{Connection, peer_of};
use crate::shard::door::Door;
use crate::shard::enter::{Entrance, release};
use crate::shard::events::Events;
use crate::shard::handshakes::{HandshakeLimits, Handshakes};
use crate::shard::hash_queue::HashQueue;
use crate::shard::looks::Looks;
use crate::shard::mesh::Mesh;
use crate::shard::miner_tls::{MinersTls, tls_counters};
use crate::shard::pace::Pace;
use crate::shard::password_queue::HashChecks;
use crate::shard::pool_link::{Dial, Dialled, PoolAccess};
use crate::shard::pool_stream::{PoolStream, PoolTls};
use crate::shard::reload::{Reload, Reloads};
use crate::shard::report::Reporter;
use crate::shard::sender::Sender;
use crate::shard::space_watch::SpaceWatch;
use crate::shard::worker_checks::Checker;
use crate::wire::line::TailPool;

/// Blocks for unfinished tails that are kept for the next ones.
const TAIL_BLOCKS_KEPT: usize = 256;

/// The same for pools, of which there are few.
const POOL_TAIL_BLOCKS_KEPT: usize = 4;

/// Miners to whom a job goes out in one round: about 5 ms of sends, for which replies and pools wait.
const FAN_OUT_PER_ROUND: usize = 512;

/// Time for the other shards to take the last letters, behind that for the shares in flight.
const LAST_LETTERS: Duration = Duration::from_secs(1);

/// Bounds of one proxy that the shell itself keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShellLimits {
    pub(crate) miner_line_len_max: usize,
    pub(crate) pool_line_len_max: usize,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) handshakes: HandshakeLimits,
    pub(crate) proxy_header_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) shutdown: Duration,
    pub(crate) password_checks_max: usize,
}

/// One proxy on this shard.
pub(crate) struct Proxy {
    pub(crate) exchange: Exchange,
    pub(crate) limits: ShellLimits,
    pub(crate) reporter: Reporter,
    pub(crate) published: Published,
    /// Of the connections that are not the exchange's yet.
    pub(crate) door: DoorCounters,
    pub(crate) tls: TlsCounters,
    pub(crate) handshakes: Handshakes,
    pub(crate) space_watch: SpaceWatch,
    pub(crate) shard: usize,
    pub(crate) links: HashMap<LinkKey, StreamId>,
    /// How each pool is reached.
    pub(crate) pools: Vec<PoolAccess>,
    pub(crate) checker: Option<Checker>,
    /// Passwords that are to be held against hashes.
    pub(crate) hashes: HashQueue,
}

impl Proxy {
    /// Tells of a nonce space that another shard has too.
    fn watch_space(&self, fact: &Fact) {
        match fact {
            Fact::LinkUp {
                pool, extranonce1, ..
            }
            | Fact::TakenOver {
                to: pool,
                extranonce1,
                borrowed: false,
                ..
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

/// One shard.
pub(crate) struct Shard {
    pub(crate) ring: MinerRing,
    pub(crate) dials: Vec<Dial>,
    pub(crate) hash_checks: HashChecks,
    pub(crate) clock: Clock,
    pub(crate) proxies: Vec<Proxy>,
    /// What each of the ring's listeners leads to.
    listeners: Vec<Entrance>,
    /// `None` where this is the only shard.
    mesh: Option<Mesh>,
    /// By the ring's index.
    pub(super) connections: Vec<Option<Connection>>,
    door: Door,
    /// Connections that the door turned away, to be closed.
    turned_away: Vec<Token>,
    pub(super) tls: MinersTls,
    tails: TailPool,
    pulse: Pulse,
    /// Connections that the ring has room for.
    connections_max: usize,
    /// By the ring's index of streams.
    streams: Vec<Option<PoolStream>>,
    /// Blocks for the pools' unfinished tails, which can be longer than miners'.
    pool_tails: TailPool,
    /// Streams that are over.
    ended: Vec<StreamId>,
    pub(crate) looks: Looks,
    /// How fast it accepts; `None` is as fast as it can.
    pub(crate) pace: Option<Pace>,
    /// When the exchanges are told of the time again.
    next_tick: Duration,
    /// Set when the shard stops: when it stops at the latest.
    stop_by: Option<Duration>,
    stopped: bool,
    /// Whether a job has not gone out to all miners yet.
    fanning_out: bool,
    reloads: Reloads,
}

impl Shard {
    pub(crate) fn new(
        ring: MinerRing,
        clock: Clock,
        proxies: Vec<Proxy>,
        listeners: Vec<Entrance>,
        mesh: Option<Mesh>,
        pulse: Pulse,
        reloads: Reloads,
    ) -> Self {
        let connections_max = ring.free_slots();
        Self {
            ring,
            dials: Vec::new(),
            hash_checks: HashChecks::default(),
            clock,
            proxies,
            listeners,
            mesh,
            connections: Vec::new(),
            door: Door::default(),
            turned_away: Vec::new(),
            tls: MinersTls::default(),
            tails: TailPool::new(TAIL_BLOCKS_KEPT),
            pulse,
            connections_max,
            streams: Vec::new(),
            pool_tails: TailPool::new(POOL_TAIL_BLOCKS_KEPT),
            ended: Vec::new(),
            looks: Looks::within(std::iter::empty()),
            pace: None,
            next_tick: TICK,
            stop_by: None,
            stopped: false,
            fanning_out: false,
            reloads,
        }
    }

    /// One round, and the tick if it is due. Says whether something happened, or is still to be done.
    pub(crate) fn turn(&mut self, stopping: &AtomicBool) -> bool {
        let now = self.clock.now();
        let handled = self.round(now);
        if now.since_start >= self.next_tick {
            self.next_tick = now.since_start + TICK;
            self.tick(now, stopping.load(Ordering::Relaxed));
        }
        handled > 0 || self.fanning_out || self.may_shake(now.since_start)
    }

    /// Submits what was said, and waits in the ring for what comes there and for the next tick; not while
    /// there is more to be said.
    pub(crate) fn rest(&mut self) {
        if self.fanning_out || self.tls.has_answers() {
            return self.ring.submit();
        }
        let (now, until) = self.rests_until();
        self.ring.wait_blocking(until.saturating_sub(now));
    }

    /// The time, and until when there is nothing to do where nothing happens: the next tick, or a hello whose
    /// turn comes before, which is no news of the ring's.
    pub(crate) fn rests_until(&self) -> (Duration, Duration) {
        let now = self.clock.now().since_start;
        let due = self.handshake_due();
        let until = due.map_or(self.next_tick, |due| due.min(self.next_tick));
        (now, until)
    }

    /// Takes in what the ring has to tell; returns how much that was.
    fn round(&mut self, now: Now) -> usize {
        let (ring, mut events) = self.events(now);
        // Sends that were cut short are told too, and not counted.
        let handled = ring.drain(&mut events);
        let (rang, told) = (events.rang, events.told);
        let told = told || rang || self.fanning_out || self.may_shake(now.since_start);
        if rang {
            self.take_letters(now);
        }
        if told {
            self.finish_round(now);
        }
        handled.max(usize::from(told))
    }

    /// Who hears what the ring has to tell, apart from the ring.
    pub(super) fn events(&mut self, now: Now) -> (&mut MinerRing, Events<'_>) {
        let events = Events {
            now,
            proxies: &mut self.proxies,
            listeners: &self.listeners,
            connections: &mut self.connections,
            door: &mut self.door,
            turned_away: &mut self.turned_away,
            tls: &mut self.tls,
            tails: &mut self.tails,
            streams: &mut self.streams,
            pool_tails: &mut self.pool_tails,
            ended: &mut self.ended,
            told: false,
            rang: false,
        };
        (&mut self.ring, events)
    }

    /// Takes up what was read again.
    fn take_reloads(&mut self, now: Now) {
        while let Ok(reload) = self.reloads.try_recv() {
            let Reload(proxies) = &*reload;
            let tls = proxies.iter().flat_map(|news| &news.tls);
            for (listener, tls) in self.tls.listeners.iter_mut().zip(tls) {
                listener.clone_from(tls);
            }
            for (proxy, news) in self.proxies.iter_mut().zip(proxies) {
                proxy.pools.clone_from(&news.access);
                if let (Some(checker), Some(workers)) = (&mut proxy.checker, &news.workers) {
                    checker.take(workers);
                }
            }
            let rules = proxies.iter().flat_map(|news| &news.rules);
            for (entrance, rules) in self.listeners.iter_mut().zip(rules) {
                entrance.rules = Arc::clone(rules);
            }
            self.events(now).1.end_denied();
        }
    }

    /// Gives the exchanges what those of other shards wrote to them.
    fn take_letters(&mut self, now: Now) {
        if let Some(mesh) = &mut self.mesh {
            let proxies = &mut self.proxies;
            mesh.take(|proxy, from, letter| {
                proxies[proxy].exchange.handle_letter(now, from, letter);
            });
        }
    }

    /// Time passed.
    fn tick(&mut self, now: Now, stopping: bool) {
        // Rung or not: no letter waits for longer than this.
        self.take_letters(now);
        if stopping && !self.stopped {
            self.tick_shutdown(now);
        }
        self.take_reloads(now);
        if let Some(pace) = &mut self.pace {
            let earned = pace.earn(now.since_start);
            self.ring.grant_accepts(earned, pace.burst());
        }
        self.ring.look_at_blocked(self.looks.miner_parts);
        if self.looks.are_pools_due(now.since_start) {
            self.ring.look_at_blocked_streams();
        }
        let mut events = self.events(now).1;
        events.clear_door();
        events.clear_handshakes();
        for proxy in &mut self.proxies {
            proxy.exchange.handle_tick(now);
            if !self.stopped {
                proxy.published.publish(proxy.exchange.counters());
                proxy.published.publish_door(proxy.door.clone());
                let tls = tls_counters(&proxy.tls, &proxy.handshakes);
                proxy.published.publish_tls(tls);
                let exchange = &proxy.exchange;
                proxy
                    .published
                    .publish_links_up(|pool| exchange.links_up_of(pool));
            }
        }
        if self.stopped {
            self.pulse.end();
        } else {
            self.pulse.tick(now.since_start, self.counters());
        }
        self.finish_round(now);
    }

    fn counters(&self) -> ShardCounters {
        let ring = self.ring.counters();
        ShardCounters {
            connections: self.ring.connections() as u64,
            connections_max: self.connections_max as u64,
            accept_errors: ring.accept_errors,
            accepts_paced: ring.accepts_paced,
            table_full: ring.table_full,
            buffers_exhausted: ring.buffers_exhausted,
            completion_overflows: ring.completion_overflows,
            stale_completions: ring.stale_completions,
            letters: self.mesh.as_ref().map_or(0, Mesh::letters),
            letters_blocked: self.mesh.as_ref().map_or(0, Mesh::letters_blocked),
        }
    }

    /// Whether everything was answered and closed, and the other shards were told what they are to know.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped && self.owes_no_letters(self.clock.now().since_start)
    }

    /// A shard that is there takes its letters, and one that is gone gets none; one that is stuck is not
    /// waited for when [`LAST_LETTERS`] are over.
    fn owes_no_letters(&self, now: Duration) -> bool {
        let is_late = self.stop_by.is_some_and(|by| now >= by + LAST_LETTERS);
        is_late || self.mesh.as_ref().is_none_or(Mesh::is_sent)
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

    /// Sends what the exchanges have to say: to the pools and the other shards at once, to miners with the
    /// next submit.
    pub(crate) fn finish_round(&mut self, now: Now) {
        self.fanning_out = false;
        self.flush_tls(now);
        let is_tls_used = self.tls.is_used();
        self.look_workers_up(now);
        for (index, proxy) in self.proxies.iter_mut().enumerate() {
            for stream in proxy.links.values() {
                let stream = &mut self.streams[stream.index as usize];
                if let Some(stream) = stream.as_mut().filter(|it| !it.blocked)
                    && !stream.write(&mut self.ring, &mut proxy.exchange, now)
                {
                    self.ended.push(stream.id);
                }
            }
            let mut sender = Sender {
                ring: &mut self.ring,
                connections: if is_tls_used {
                    &mut self.connections
                } else {
                    &mut []
                },
                scratch: &mut self.tls.scratch,
                failed: &mut self.tls.failed,
            };
            self.fanning_out |= proxy.exchange.flush_some(&mut sender, FAN_OUT_PER_ROUND);
            while let Some(command) = proxy.exchange.poll_command() {
                match command {
                    Command::Dial {
                        link,
                        pool,
                        host,
                        port,
                    } => self.dials.push(Dial {
                        proxy: index,
                        link,
                        pool,
                        host,
                        port,
                        timeout: proxy.limits.connect_timeout,
                        access: proxy.pools[pool].clone(),
                    }),
                    Command::HangUp(link) => {
                        self.ended.extend(proxy.links.get(&link));
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
                    Fact::WorkerDenied {
                        miner,
                        worker,
                        reject,
                        said,
                    } => {
                        if let Some(peer) = peer_of(&self.connections, *miner) {
                            proxy
                                .reporter
                                .worker_denied(now, peer, worker, *reject, said);
                        }
                    }
                    Fact::TooManyFaults {
                        miner,
                        worker,
                        kept_out,
                    } => {
                        if let Some(peer) = peer_of(&self.connections, *miner) {
                            let worker = worker.as_deref();
                            proxy.reporter.too_many_faults(peer, worker, *kept_out);
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
                        if let Some(connection) = connection {
                            let (peer, worker) = (connection.peer.address(), worker.as_deref());
                            proxy.reporter.disconnected(now, peer, worker, *reason);
                            release(connection, proxy, &self.listeners, &mut self.tails);
                        }
                    }
                    fact => {
                        proxy.reporter.report(now, fact);
                        proxy.watch_space(fact);
                    }
                }
            }
        }
        for token in self.turned_away.drain(..) {
            self.ring.close(token, Close::Reset);
        }
        for id in std::mem::take(&mut self.ended) {
            let stream = self.streams[id.index as usize].take_if(|it| it.id == id);
            if let Some(mut stream) = stream {
                stream.end(&mut self.ring, &mut self.pool_tails);
                self.proxies[stream.proxy].links.remove(&stream.link);
                self.ring.detach(id);
            }
        }
        if let Some(mesh) = &mut self.mesh {
            for (index, proxy) in self.proxies.iter_mut().enumerate() {
                while let Some((to, letter)) = proxy.exchange.poll_letter() {
                    mesh.post(index, to, letter);
                }
            }
            mesh.send();
        }
    }

    /// A link is connected. Where nobody wants it any more it is closed.
    pub(crate) fn link_connected(
        &mut self,
        dialled: Dialled,
        socket: OwnedFd,
        tls: Option<PoolTls>,
    ) {
        let now = self.clock.now();
        let Dialled { proxy, link, pool } = dialled;
        let Proxy {
            exchange, reporter, ..
        } = &mut self.proxies[proxy];
        if !exchange.is_current(link) {
            return;
        }
        if let Some(tls) = &tls {
            reporter.pool_secured(pool, tls);
        }
        let id = self.ring.attach(socket);
        let place = id.index as usize;
        if self.streams.len() <= place {
            self.streams.resize_with(place + 1, || None);
        }
        exchange.handle_link_connected(now, link);
        let mut stream = PoolStream::new(id, proxy, link, tls);
        // What the pool said right behind its handshake has been read with it.
        let len_max = self.proxies[proxy].limits.pool_line_len_max;
        let exchange = &mut self.proxies[proxy].exchange;
        if !stream.hear(&mut [], &mut self.pool_tails, len_max, exchange, now) {
            self.ended.push(id);
        }
        self.streams[place] = Some(stream);
        self.proxies[proxy].links.insert(link, id);
        self.finish_round(now);
    }

    /// A link could not be connected.
    pub(crate) fn link_failed(&mut self, dialled: Dialled, end: LinkEnd, detail: &str) {
        let now = self.clock.now();
        let exchange = &mut self.proxies[dialled.proxy].exchange;
        exchange.handle_link_closed(now, dialled.link, end, detail);
        self.finish_round(now);
    }
}

#[cfg(test)]
mod tests {
    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;
    use crate::exchange::{GuestSays, LeaseId, Letter};
    use crate::shard::{mesh, test_shard};

    #[test]
    fn a_neighbour_that_takes_no_letters_does_not_hold_the_end_up_for_ever() {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(65_536);
        executor.make().unwrap().run(async {
            let mut ends = mesh::make(2).unwrap();
            // It is there, and reads nothing.
            let neighbour = ends.pop().unwrap().join();
            let mut shard = test_shard::start(ends.pop());
            let _neighbour = neighbour.connect();
            let letter = Letter::Guest(GuestSays::MoreSlots {
                lease: LeaseId(7),
                slots: 1,
            });
            for _ in 0..1000 {
                shard.mesh.as_mut().unwrap().post(0, 1, letter.clone());
            }
            let at = |since_start| Now {
                since_start,
                ..shard.clock.now()
            };
            let began = Duration::from_secs(10);
            shard.tick(at(began), true);
            assert!(shard.stopped, "nothing is in flight");
            let stop_by = shard.stop_by.unwrap();
            assert!(stop_by > began);
            let nearly = stop_by + LAST_LETTERS - Duration::from_millis(1);
            assert!(!shard.owes_no_letters(nearly), "they may be taken");
            assert!(shard.owes_no_letters(stop_by + LAST_LETTERS));
        });
    }
}
