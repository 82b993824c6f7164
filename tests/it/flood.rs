//! A pool that says more than anybody can read.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Config, FakeMiner, NONCE_1, PATIENCE, Proxy};

/// Lines that a flooding pool writes at once: a megabyte of them.
const LINES_PER_WRITE: usize = 20_000;

/// So many of its lines are taken before the miner is watched.
const LINES_BEFORE: u64 = 100_000;

/// What a miner's request may take meanwhile, on a busy machine.
const ANSWER_MAX: Duration = Duration::from_millis(300);

/// A pool that, once the link is up, writes notices of no meaning until the link ends.
struct FloodingPool {
    url: String,
    written: Arc<AtomicU64>,
}

impl FloodingPool {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("stratum+tcp://{}", listener.local_addr().unwrap());
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        thread::spawn(move || flood(listener.accept().unwrap().0, &counter));
        Self { url, written }
    }
}

/// The other side hangs up when the test is over.
fn flood(mut stream: TcpStream, written: &AtomicU64) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for result in [&format!("[null,\"{NONCE_1}\"]"), "true"] {
        let request = lines.next().unwrap().unwrap();
        let (_, id) = request.split_once("\"id\":").unwrap();
        let id = id.split([',', '}']).next().unwrap();
        let reply = format!("{{\"id\":{id},\"result\":{result},\"error\":null}}\n");
        stream.write_all(reply.as_bytes()).unwrap();
    }
    let notice = b"{\"id\":null,\"method\":\"mining.ping\",\"params\":[]}\n";
    let notices = notice.repeat(LINES_PER_WRITE);
    while stream.write_all(&notices).is_ok() {
        written.fetch_add(LINES_PER_WRITE as u64, Ordering::Relaxed);
    }
}

#[test]
fn a_pool_that_floods_us_keeps_no_miner_waiting() {
    let pool = FloodingPool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.subscribe();
    let deadline = Instant::now() + PATIENCE;
    while pool.written.load(Ordering::Relaxed) < LINES_BEFORE {
        assert!(Instant::now() < deadline, "the flood is not read");
        thread::sleep(Duration::from_millis(1));
    }
    let before = pool.written.load(Ordering::Relaxed);
    let mut worst = Duration::ZERO;
    for _ in 0..10 {
        let asked = Instant::now();
        miner.subscribe();
        worst = worst.max(asked.elapsed());
    }
    assert!(worst < ANSWER_MAX, "{worst:?}");
    // The flood went on, or nothing was shown.
    while pool.written.load(Ordering::Relaxed) == before {
        assert!(Instant::now() < deadline, "the flood has ended");
        thread::sleep(Duration::from_millis(1));
    }
}
