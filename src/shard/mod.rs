//! The shell: pinned threads, each of which drives exchanges with a ring.
//!
//! [`run`] opens the listeners, starts one shard for each core and waits for a signal. A shard is one
//! glommio executor with a ring of its own for the sockets of miners and pools. The loop around that ring
//! is the executor's main task; links are connected by others. Shards share nothing: the exchanges of a
//! proxy write letters to each other (`mesh`).

mod admin;
mod clock;
mod connection;
mod cures;
pub mod door;
mod ending;
mod enter;
mod error;
mod events;
mod files;
mod guests;
mod handshakes;
mod hash_queue;
mod listen;
mod looks;
mod machine;
mod mesh;
mod miner_tls;
mod names;
mod pace;
mod password_queue;
mod pool_link;
mod pool_stream;
mod pool_tls;
mod reload;
mod report;
mod sender;
mod space_watch;
mod start;
mod started;
mod state;
#[cfg(test)]
mod test_shard;
mod tls_files;
mod worker_checks;

use std::cell::RefCell;
use std::future;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use crate::metrics::{Published, Pulse};
use crate::ring::{MinerRing, RingConfig};
use crate::shard::clock::Clock;
use crate::shard::door::counts::Room;
use crate::shard::door::rules::Rules;
use crate::shard::enter::Entrance;
use crate::shard::guests::Guests;
use crate::shard::handshakes::Handshakes;
use crate::shard::looks::Looks;
use crate::shard::mesh::MeshEnds;
use crate::shard::miner_tls::ListenerTls;
use crate::shard::names::{Names, RESOLVER_THREADS};
use crate::shard::pace::Pace;
use crate::shard::pool_link::PoolAccess;
use crate::shard::reload::Reloads;
use crate::shard::report::Reporter;
use crate::shard::space_watch::SpaceWatch;
use crate::shard::state::{Proxy, Shard, ShellLimits};

pub use error::{RunError, StartError};
pub use files::check;
pub use start::{ConfigSource, run};

/// How often time is told to the exchanges.
const TICK: Duration = Duration::from_millis(250);

/// Memory that an executor pins for its own I/O, in bytes. The default, 10 MiB, would not fit into the
/// lockable memory of most systems; we do no file I/O.
const EXECUTOR_MEMORY: usize = 65_536;

/// Entries of an executor's own rings: pool links, the tick, the wake-up.
const EXECUTOR_RING_ENTRIES: usize = 128;

/// Entries of the ring for the miners. Both lie in lockable memory, 0.6 MiB for each shard: 12 shards
/// fit into the 8 MiB that an ordinary user has. A fan-out takes a system call for each 2,048 miners.
const SUBMISSION_ENTRIES: u32 = 2048;
const COMPLETION_ENTRIES: u32 = 16_384;

/// Rounds in a row that may find work before the executor's tasks get their turn.
const ROUNDS_BEFORE_GUESTS: u32 = 2;

/// What one shard is started with.
pub(crate) struct ShardSetup {
    pub(crate) number: usize,
    /// The CPU to stay on.
    pub(crate) cpu: Option<usize>,
    pub(crate) clock: Clock,
    pub(crate) connections_max: u32,
    pub(crate) pace: Option<Pace>,
    pub(crate) proxies: Vec<ProxySetup>,
    /// `None` where this is the only shard.
    pub(crate) mesh: Option<MeshEnds>,
    pub(crate) pulse: Pulse,
    pub(crate) reloads: Reloads,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) events: mpsc::Sender<ShardEvent>,
}

/// One proxy of a shard.
pub(crate) struct ProxySetup {
    pub(crate) name: String,
    pub(crate) pools: Vec<String>,
    pub(crate) access: Vec<PoolAccess>,
    /// Of each listener.
    pub(crate) tls: Vec<Option<ListenerTls>>,
    pub(crate) listeners: Vec<(TcpListener, Arc<Rules>, Room)>,
    pub(crate) settings: crate::exchange::Settings,
    pub(crate) coin: crate::proto::dialect::Coin,
    pub(crate) limits: ShellLimits,
    pub(crate) published: Published,
    pub(crate) space_watch: SpaceWatch,
    /// Where workers are looked up; `None` where each is taken.
    pub(crate) checker: Option<worker_checks::Checker>,
}

/// What a shard tells the main thread.
pub(crate) enum ShardEvent {
    /// It takes miners.
    Ready,
    /// It could not start.
    Failed(StartError),
    /// It ended; with an error where nobody had asked it to.
    Ended(usize, Option<String>),
    /// A signal came.
    Signal(i32),
}

/// Starts a shard's thread.
pub(crate) fn spawn(setup: ShardSetup) -> Result<(), StartError> {
    let number = setup.number;
    let placement = setup.cpu.map_or(Placement::Unbound, Placement::Fixed);
    // Where the executor can't be made, the closure is dropped with what it holds, and that is told.
    let mut last_word = LastWord {
        events: setup.events.clone(),
        word: Some(ShardEvent::Failed(StartError::Executor {
            shard: number,
            detail: "its rings were refused".to_owned(),
        })),
    };
    let spawned = LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{number}"))
        .io_memory(EXECUTOR_MEMORY)
        .ring_depth(EXECUTOR_RING_ENTRIES)
        .blocking_thread_pool_placement(blocking_threads())
        .spawn(move || async move {
            last_word.will_be(ShardEvent::Ended(number, Some("it panicked".to_owned())));
            let ended = match start_shard(setup) {
                Ok((shard, stopping)) => {
                    drop(last_word.events.send(ShardEvent::Ready));
                    ShardEvent::Ended(number, drive(shard, stopping).await.err())
                }
                Err(error) => ShardEvent::Failed(error),
            };
            last_word.will_be(ended);
            drop(last_word);
            // A thread that still resolves a name or checks a hash panics where nobody is left to take what
            // came of it. So the executor never ends: its thread sleeps until the process does.
            future::pending::<()>().await;
        });
    match spawned {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Executor {
            shard: number,
            detail: error.to_string(),
        }),
    }
}

/// Threads for what blocks: as many as names and hashes may have together, so neither waits for the other.
pub(crate) const fn blocking_threads() -> PoolPlacement {
    PoolPlacement::Unbound(RESOLVER_THREADS + password_queue::CHECKS_AT_ONCE)
}

/// Tells the main thread how a shard ended, also when it unwinds.
struct LastWord {
    events: mpsc::Sender<ShardEvent>,
    word: Option<ShardEvent>,
}

impl LastWord {
    fn will_be(&mut self, word: ShardEvent) {
        self.word = Some(word);
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(word) = self.word.take() {
            // The main thread may be gone, and then nobody needs to know.
            drop(self.events.send(word));
        }
    }
}

fn start_shard(setup: ShardSetup) -> Result<(Shard, Arc<AtomicBool>), StartError> {
    let config = RingConfig {
        connections_max: setup.connections_max,
        submission_entries: SUBMISSION_ENTRIES,
        completion_entries: COMPLETION_ENTRIES,
        ..RingConfig::default()
    };
    let mut ring = MinerRing::new(&config).map_err(|source| StartError::Ring {
        shard: setup.number,
        source,
    })?;
    if let Some(pace) = &setup.pace {
        ring.grant_accepts(pace.burst(), pace.burst());
    }
    // Before it listens: a shard that takes miners has its neighbours.
    let mesh = setup.mesh.map(|ends| {
        ring.hear(ends.bell());
        ends.join().connect()
    });
    let mut listeners = Vec::new();
    let mut tls = Vec::new();
    let mut proxies = Vec::new();
    let looks = Looks::within(setup.proxies.iter().map(|it| &it.settings.limits));
    for (index, proxy) in (0..).zip(setup.proxies) {
        for (listener, rules, room) in proxy.listeners {
            let id = ring.listen(listener.into());
            debug_assert_eq!(usize::from(id.0), listeners.len());
            listeners.push(Entrance {
                proxy: index,
                rules,
                room,
            });
        }
        tls.extend(proxy.tls);
        proxies.push(Proxy {
            exchange: crate::exchange::Exchange::new(proxy.settings, proxy.coin.dialect()),
            limits: proxy.limits,
            reporter: Reporter::new(proxy.name, setup.number, proxy.pools),
            published: proxy.published,
            door: crate::metrics::DoorCounters::default(),
            tls: crate::metrics::TlsCounters::default(),
            handshakes: Handshakes::new(proxy.limits.handshakes),
            space_watch: proxy.space_watch,
            checker: proxy.checker,
            hashes: hash_queue::HashQueue::default(),
            shard: setup.number,
            links: std::collections::HashMap::new(),
            pools: proxy.access,
        });
    }
    let mut shard = Shard::new(
        ring,
        setup.clock,
        proxies,
        listeners,
        mesh,
        setup.pulse,
        setup.reloads,
    );
    shard.pace = setup.pace;
    shard.looks = looks;
    shard.tls.listeners = tls;
    Ok((shard, setup.stopping))
}

/// The shard's life: rounds of the ring, and a tick now and then.
///
/// As a rule nothing happens but on the ring, and the thread waits in it: one system call submits what
/// was said and waits for what comes. Only while a task of the executor is at work, as to connect a
/// link, the executor waits for both.
///
/// With its end the shard is dropped: whoever is still at work beside it has no part in it, so the other
/// shards see that it is gone.
async fn drive(shard: Shard, stopping: Arc<AtomicBool>) -> Result<(), String> {
    let wake = shard.ring.wake().map_err(|error| error.to_string())?;
    let guests = Guests::new(wake.notifier());
    let names = Names::new(shard.clock, guests.clone());
    let shard = Rc::new(RefCell::new(shard));
    let mut alarm = Alarm::default();
    let mut busy_rounds = 0;
    loop {
        let busy = shard.borrow_mut().turn(&stopping);
        if shard.borrow().has_stopped() {
            shard.borrow_mut().ring.submit();
            return Ok(());
        }
        while let Some(hash) = { shard.borrow_mut().next_hash() } {
            guests.spawn(password_queue::run(Rc::downgrade(&shard), hash));
        }
        // Behind that, which may want one, too.
        let dials = std::mem::take(&mut shard.borrow_mut().dials);
        if guests.is_empty() && dials.is_empty() {
            shard.borrow_mut().rest();
            continue;
        }
        shard.borrow_mut().ring.submit();
        // A task runs as soon as it is spawned, so nothing may be borrowed here.
        for dial in dials {
            guests.spawn(pool_link::run(
                Rc::downgrade(&shard),
                Rc::clone(&names),
                dial,
            ));
        }
        if busy {
            busy_rounds += 1;
            if busy_rounds < ROUNDS_BEFORE_GUESTS {
                continue;
            }
            guests.wake_shard();
        } else if !shard.borrow_mut().ring.prepare_wait() {
            continue;
        }
        busy_rounds = 0;
        let (now, until) = shard.borrow().rests_until();
        alarm.set(now, until, &guests);
        wake.wait()
            .await
            .map_err(|error| format!("its eventfd: {error}"))?;
    }
}

/// Ends the shard's waits beside its guests in time, which the ring does otherwise.
#[derive(Default)]
struct Alarm(Option<(Duration, glommio::Task<()>)>);

impl Alarm {
    /// Rings at this time and no other.
    fn set(&mut self, now: Duration, until: Duration, guests: &Guests) {
        if self.0.as_ref().is_none_or(|(set, _)| *set != until) {
            let guests = guests.clone();
            let task = glommio::spawn_local(async move {
                glommio::timer::sleep(until.saturating_sub(now)).await;
                guests.wake_shard();
            });
            // The one before ends with it.
            self.0 = Some((until, task));
        }
    }
}
