//! The admin port: what its pages say, and the thread that serves them.
//!
//! The thread is no shard: it is pinned nowhere, yields to everybody, and reads what the shards have
//! published. So neither a scrape nor a flood of them delays a miner.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use futures_lite::future;
use glommio::net::TcpListener;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use hyper::StatusCode;

use crate::exchange::Counters;
use crate::metrics::http::{Answer, serve};
use crate::metrics::{
    AdminCounters, DoorCounters, Expiries, Process, ProxySample, Published, Pulse, Sample,
    ShardSample, TlsCounters, exposition,
    health::{self, Stage},
};
use crate::shard::clock::Clock;
use crate::shard::error::StartError;
use crate::shard::{EXECUTOR_MEMORY, LastWord, ShardEvent, listen};

/// Entries of the executor's rings. A connection has one or two under way.
const RING_ENTRIES: usize = 64;

/// The thread's place among those that want a CPU: the last.
const NICENESS: i32 = 19;

/// Time for the rings to give back what is under way, and for the process to wait for all of that.
const TAKE_BACK: Duration = Duration::from_millis(10);
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// Where the numbers of one proxy are found.
pub(crate) struct WatchedProxy {
    pub(crate) name: String,
    pub(crate) resume: Duration,
    pub(crate) pools: Vec<String>,
    /// The address of each listener.
    pub(crate) listeners: Vec<String>,
    /// For each shard.
    pub(crate) published: Vec<Published>,
    pub(crate) expiries: Expiries,
}

impl WatchedProxy {
    fn sample(&self) -> ProxySample {
        let mut counters = Counters::default();
        let mut door = DoorCounters::default();
        let mut tls = TlsCounters::default();
        let mut links_up = Vec::new();
        for shard in &self.published {
            counters.add(&shard.read());
            door.add(&shard.door());
            tls.add(&shard.tls());
            for (pool, count) in self.pools.iter().zip(shard.links_up()) {
                take_in(&mut links_up, pool, count, |one, other| one + other);
            }
        }
        let mut expiries = Vec::new();
        for (listener, at) in self.listeners.iter().zip(self.expiries.of_listeners()) {
            expiries.extend(at.map(|at| (listener.clone(), at)));
        }
        let mut client_expiries = Vec::new();
        for (pool, at) in self.pools.iter().zip(self.expiries.of_pools()) {
            if let Some(at) = at {
                take_in(&mut client_expiries, pool, at, u64::min);
            }
        }
        ProxySample {
            name: self.name.clone(),
            resume: self.resume,
            counters,
            door,
            tls,
            links_up,
            expiries,
            client_expiries,
        }
    }
}

/// One pool may stand in the config with two workers: that is one place to reach, with one number.
fn take_in(of_pools: &mut Vec<(String, u64)>, pool: &str, one: u64, both: fn(u64, u64) -> u64) {
    match of_pools.iter_mut().find(|(name, _)| name == pool) {
        Some((_, other)) => *other = both(*other, one),
        None => of_pools.push((pool.to_owned(), one)),
    }
}

/// Where all numbers are found.
pub(crate) struct Watch {
    pub(crate) clock: Clock,
    pub(crate) started_unix_seconds: u64,
    pub(crate) pulses: Vec<Pulse>,
    pub(crate) proxies: Vec<WatchedProxy>,
    /// Every shard takes miners.
    pub(crate) running: Arc<AtomicBool>,
    /// Miners should be sent elsewhere.
    pub(crate) leaving: Arc<AtomicBool>,
}

impl Watch {
    fn answer(&self, path: &str, admin: AdminCounters) -> Answer {
        match path {
            "/metrics" => match exposition::encode(self.sample(admin)) {
                Ok(body) => Answer {
                    status: StatusCode::OK,
                    content_type: exposition::CONTENT_TYPE,
                    body,
                },
                Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
            "/healthz" => verdict(health::alive(&self.shards()), "alive"),
            "/readyz" => {
                let ready = health::ready(self.stage(), &self.shards(), &self.proxies());
                verdict(ready, "ready")
            }
            _ => Answer::text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz"),
        }
    }

    fn stage(&self) -> Stage {
        if self.leaving.load(Ordering::Relaxed) {
            Stage::Stopping
        } else if self.running.load(Ordering::Relaxed) {
            Stage::Running
        } else {
            Stage::Starting
        }
    }

    fn shards(&self) -> Vec<ShardSample> {
        let now = self.clock.now().since_start;
        let sample = |pulse: &Pulse| ShardSample {
            tick_age: pulse.age(now),
            counters: pulse.read(),
        };
        self.pulses.iter().map(sample).collect()
    }

    fn proxies(&self) -> Vec<ProxySample> {
        self.proxies.iter().map(WatchedProxy::sample).collect()
    }

    fn sample(&self, admin: AdminCounters) -> Sample {
        Sample {
            version: env!("CARGO_PKG_VERSION"),
            started_unix_seconds: self.started_unix_seconds,
            process: Process::read(),
            admin,
            shards: self.shards(),
            proxies: self.proxies(),
        }
    }
}

fn verdict(verdict: Result<(), String>, good: &str) -> Answer {
    match verdict {
        Ok(()) => Answer::text(StatusCode::OK, good),
        Err(why) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// Makes sure that nobody else has the port. Gives the address with the port that was chosen.
///
/// # Errors
///
/// A [`StartError`] that names the key and the cure.
pub(crate) fn probe(address: SocketAddr) -> Result<SocketAddr, StartError> {
    listen::probe(address).map_err(|error| listen::failed(listen::ADMIN, address, error))
}

/// Ends the thread, from another one.
#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    waker: AtomicWaker,
}

impl Stop {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.asked.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The thread that serves the port; it ends with this.
pub(crate) struct Admin {
    stop: Arc<Stop>,
    ended: mpsc::Receiver<()>,
}

impl Drop for Admin {
    /// The kernel closes the rings of a process after its end, at its leisure, and an accept that is
    /// under way there keeps the port: the next instance would find it taken. So the thread takes back
    /// what it has there, and then the process may end.
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Release);
        self.stop.waker.wake();
        let _ = self.ended.recv_timeout(END_TIMEOUT);
    }
}

/// Starts the thread. It tells whether it listens, and then nothing more.
///
/// # Errors
///
/// When there can be no such thread.
pub(crate) fn spawn(
    address: SocketAddr,
    watch: Watch,
    events: mpsc::Sender<ShardEvent>,
) -> Result<Admin, StartError> {
    let stop = Arc::new(Stop::default());
    let stopped = Arc::clone(&stop);
    // Its end is seen by the sender's drop.
    let (end, ended) = mpsc::channel();
    let refused = |detail| StartError::Admin { address, detail };
    let mut last_word = LastWord {
        events,
        word: Some(ShardEvent::Failed(refused(
            "its rings were refused".to_owned(),
        ))),
    };
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("admin")
        .io_memory(EXECUTOR_MEMORY)
        .ring_depth(RING_ENTRIES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            // Of this thread alone. Where it is forbidden, the thread is one among the others.
            let _ = rustix::process::nice(NICENESS);
            let listener = match TcpListener::bind(address) {
                Ok(listener) => listener,
                Err(error) => {
                    let error = listen::failed(listen::ADMIN, address, error.into());
                    last_word.will_be(ShardEvent::Failed(error));
                    return;
                }
            };
            log::info!("admin: listening on {address}");
            drop(last_word.events.send(ShardEvent::Ready));
            drop(last_word.word.take());
            let pages = Rc::new(move |path: &str, counters| watch.answer(path, counters));
            let stopped = poll_fn(|context| stopped.poll(context));
            future::or(stopped, serve(listener, pages)).await;
            glommio::timer::sleep(TAKE_BACK).await;
            drop::<mpsc::Sender<()>>(end);
        })
        .map_err(|error| refused(error.to_string()))?;
    Ok(Admin { stop, ended })
}
