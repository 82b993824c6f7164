//! The queue between two shards: how long a job takes to the neighbour, and how many it carries.
//!
//! `ping_pong` and `stream` await the queue, each in an executor that does nothing else. Shards wait in
//! their rings, and wake each other by a bell: that is `bell_ping_pong`; and `bell_ring_awake` and
//! `bell_ring_asleep` are what it costs the shard that rings, with its neighbour awake or asleep.
//!
//! Two executors with a thread each. On a machine with one core the two share it, and the figures say
//! how long a switch takes.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, to leave out what it does not measure"
)]

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glommio::channels::shared_channel::{
    ConnectedReceiver, SharedReceiver, SharedSender, new_bounded,
};
use glommio::{LocalExecutorBuilder, Placement};
use stratum_uring::ring::{
    Bell, End, ListenerId, MinerRing, RingConfig, RingHandler, SentPiece, Token,
};

use crate::support::lines;

/// Jobs that may wait in the queue.
const QUEUE_LEN: usize = 1024;

/// What one shard tells another: the line, encoded once.
type Shared = Arc<[u8]>;

/// Runs on an executor of its own, as a shard does.
fn shard<T: Send + 'static>(task: impl AsyncFnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(|| {
        LocalExecutorBuilder::new(Placement::Unbound)
            // The default does not fit into what an ordinary user may lock.
            .io_memory(65_536)
            .make()
            .expect("an executor")
            .run(task())
    })
}

/// Sends a job and waits until it is back, so many times.
fn ping_pong(job: &Shared, count: u64) -> Duration {
    let (there, far): (SharedSender<Shared>, SharedReceiver<Shared>) = new_bounded(QUEUE_LEN);
    let (back, near): (SharedSender<Shared>, SharedReceiver<Shared>) = new_bounded(QUEUE_LEN);
    let echo = shard(async move || {
        let (far, back) = (far.connect().await, back.connect().await);
        while let Some(job) = far.recv().await {
            back.send(job).await.expect("somebody listens");
        }
    });
    let job = Arc::clone(job);
    let spent = shard(async move || {
        let (there, near) = (there.connect().await, near.connect().await);
        let mut ball = job;
        let start = Instant::now();
        for _ in 0..count {
            there.send(ball).await.expect("somebody listens");
            ball = near.recv().await.expect("it comes back");
        }
        start.elapsed()
    });
    let spent = spent.join().expect("the first shard");
    echo.join().expect("the second shard");
    spent
}

/// Sends so many jobs as fast as they are taken.
fn stream(job: &Shared, count: u64) -> Duration {
    let (there, far): (SharedSender<Shared>, SharedReceiver<Shared>) = new_bounded(QUEUE_LEN);
    let taker = shard(async move || {
        let far = far.connect().await;
        let mut taken = 0;
        while far.recv().await.is_some() {
            taken += 1;
        }
        (taken, Instant::now())
    });
    let job = Arc::clone(job);
    let giver = shard(async move || {
        let there = there.connect().await;
        let start = Instant::now();
        for _ in 0..count {
            there
                .send(Arc::clone(&job))
                .await
                .expect("somebody listens");
        }
        start
    });
    let start = giver.join().expect("the giver");
    let (taken, end) = taker.join().expect("the taker");
    assert_eq!(taken, count);
    end - start
}

/// Hears whether the bell was rung, and nothing else.
#[derive(Default)]
struct Ears(bool);

impl RingHandler for Ears {
    fn rang(&mut self) {
        self.0 = true;
    }
    fn accepted(&mut self, _: Token, _: ListenerId, _: std::net::SocketAddr) {}
    fn received(&mut self, _: Token, _: &mut [u8]) {}
    fn ended(&mut self, _: Token, _: End) {}
    fn blocked(&mut self, _: Token, _: usize, _: &[SentPiece], _: &[u8]) {}
    fn writable(&mut self, _: Token) {}
    fn accept_failed(&mut self, _: ListenerId, _: std::io::Error) {}
    fn table_full(&mut self, _: ListenerId) {}
}

fn ring_that_hears(bell: &Bell) -> MinerRing {
    let mut ring = MinerRing::new(&RingConfig {
        connections_max: 16,
        ..RingConfig::default()
    })
    .expect("a ring");
    ring.hear(bell);
    ring
}

/// Waits in the ring until the bell is heard.
fn hear(ring: &mut MinerRing) {
    let mut ears = Ears::default();
    while !ears.0 {
        ring.wait_blocking(Duration::from_secs(1));
        ring.drain(&mut ears);
    }
}

/// The job that is known to be there.
fn taken(from: &ConnectedReceiver<Shared>) -> Shared {
    match pin!(from.recv()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(job) => job.expect("somebody sends"),
        Poll::Pending => panic!("a bell without a job"),
    }
}

/// As [`ping_pong`], as shards do it: each waits in its ring and is woken by its bell.
fn bell_ping_pong(job: &Shared, count: u64) -> Duration {
    let (there, far): (SharedSender<Shared>, SharedReceiver<Shared>) = new_bounded(QUEUE_LEN);
    let (back, near): (SharedSender<Shared>, SharedReceiver<Shared>) = new_bounded(QUEUE_LEN);
    let (near_bell, far_bell) = (Bell::new().expect("a bell"), Bell::new().expect("a bell"));
    let (near_ear, far_ear) = (near_bell.clone(), far_bell.clone());
    let echo = shard(async move || {
        let (far, back) = (far.connect().await, back.connect().await);
        let mut ring = ring_that_hears(&far_ear);
        for _ in 0..count {
            hear(&mut ring);
            back.try_send(taken(&far)).expect("there is room");
            near_bell.ring();
        }
        // The other end reads the last one before this one goes.
        hear(&mut ring);
    });
    let job = Arc::clone(job);
    let spent = shard(async move || {
        let (there, near) = (there.connect().await, near.connect().await);
        let mut ring = ring_that_hears(&near_ear);
        let mut ball = job;
        let start = Instant::now();
        for _ in 0..count {
            there.try_send(ball).expect("there is room");
            far_bell.ring();
            hear(&mut ring);
            ball = taken(&near);
        }
        let spent = start.elapsed();
        far_bell.ring();
        spent
    });
    let spent = spent.join().expect("the first shard");
    echo.join().expect("the second shard");
    spent
}

/// Rings the bell of a shard that waits in its ring, `pause` apart, and counts the time of the rings alone.
fn bell_ring(count: u64, pause: Duration) -> Duration {
    let bell = Bell::new().expect("a bell");
    let (ear, over) = (bell.clone(), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&over);
    let neighbour = shard(async move || {
        let mut ring = ring_that_hears(&ear);
        while !ended.load(Ordering::Relaxed) {
            hear(&mut ring);
        }
    });
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let wait = Instant::now();
        while wait.elapsed() < pause {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        bell.ring();
        spent += start.elapsed();
    }
    over.store(true, Ordering::Relaxed);
    bell.ring();
    neighbour.join().expect("the neighbour");
    spent
}

fn mesh(criterion: &mut Criterion) {
    let job: Shared = lines::notify("1a2b3c4d", true).into_bytes().into();
    let mut group = criterion.benchmark_group("mesh/equihash_200_9");
    group.sample_size(20);
    group.bench_function("ping_pong", |bencher| {
        bencher.iter_custom(|count| ping_pong(&job, count));
    });
    group.bench_function("bell_ping_pong", |bencher| {
        bencher.iter_custom(|count| bell_ping_pong(&job, count));
    });
    group.bench_function("bell_ring_awake", |bencher| {
        bencher.iter_custom(|count| bell_ring(count, Duration::ZERO));
    });
    group.bench_function("bell_ring_asleep", |bencher| {
        bencher.iter_custom(|count| bell_ring(count, Duration::from_micros(100)));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("stream", |bencher| {
        bencher.iter_custom(|count| stream(&job, count));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::settings();
    targets = mesh
}
criterion_main!(benches);
