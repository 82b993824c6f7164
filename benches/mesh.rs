//! The queue between two shards: how long a job takes to the neighbour, and how many it carries.
//!
//! Two executors with a thread each. On a machine with one core the two share it, and the figures say
//! how long a switch takes.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, to leave out what it does not measure"
)]

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glommio::channels::shared_channel::{SharedReceiver, SharedSender, new_bounded};
use glommio::{LocalExecutorBuilder, Placement};

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

fn mesh(criterion: &mut Criterion) {
    let job: Shared = lines::notify("1a2b3c4d", true).into_bytes().into();
    let mut group = criterion.benchmark_group("mesh/equihash_200_9");
    group.sample_size(20);
    group.bench_function("ping_pong", |bencher| {
        bencher.iter_custom(|count| ping_pong(&job, count));
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
