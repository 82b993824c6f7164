//! Nobody waits for somebody else: one that never reads, ones that say too much, a job for a whole farm.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::support::{
    Config, FakeMiner, FakePool, Job, NONCE_1, PATIENCE, PoolJob, PoolLink, Proxy,
};

/// A share for a job that nobody has announced: answered at once, with the least of work.
const STALE_SHARE: &str =
    "{\"id\":7,\"method\":\"mining.submit\",\"params\":[\"w\",\"0\",\"\",\"\",\"\"]}\n";

/// One shard that logs its miners, a pool, and a bystander at work.
struct Bystander {
    proxy: Proxy,
    link: PoolLink,
    miner: FakeMiner,
    job: Job,
    count: u64,
    pool: FakePool,
}

impl Bystander {
    fn start(keys: &[&str]) -> Self {
        let pool = FakePool::start();
        let yaml = Config::new(&pool.url()).keys(keys).yaml();
        let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
        let mut miner = FakeMiner::connect(&proxy);
        let subscribe = miner.send_subscribe();
        let link = pool.accept_ready(NONCE_1);
        miner.expect_subscribed(subscribe);
        miner.authorize("w");
        let job = miner.expect_job();
        Self {
            proxy,
            link,
            miner,
            job,
            count: 0,
            pool,
        }
    }

    /// The pool hangs up, and is dialled again.
    fn loses_its_link(self) -> Self {
        self.link.close();
        let mut link = self.pool.accept_link();
        link.welcome(NONCE_1);
        Self { link, ..self }
    }

    /// A new job reaches it, and a share of its reaches the pool and is answered.
    fn mines(&mut self) {
        self.count += 1;
        let job = PoolJob::new(&format!("job-{}", self.count));
        self.link.notify(&job);
        self.job = self.miner.expect_job();
        let share = self.miner.submit(&self.job, self.count);
        let submit = self.link.expect_submit();
        assert_eq!(submit.job, job.id);
        self.link.accept(&submit.id);
        self.miner.expect_accepted(share);
    }
}

/// Subscribes and authorizes; what comes back stays unread.
fn connect_raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let handshake = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\
                     {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    stream
}

#[test]
fn a_miner_that_never_reads_is_closed_and_nobody_else_notices() {
    let mut bystander = Bystander::start(&["limits: { miner_outbox_bytes_max: 65536 }"]);
    let mut deaf = connect_raw(bystander.proxy.any_address());
    deaf.set_write_timeout(Some(PATIENCE)).unwrap();
    // The kernel holds some megabytes of replies for it, then its outbox the rest.
    let shares = STALE_SHARE.repeat(1000);
    let mut written = 0_u64;
    let error = loop {
        match deaf.write_all(shares.as_bytes()) {
            Ok(()) => written += 1000,
            Err(error) => break error,
        }
        assert!(written < 10_000_000, "it is never closed");
        if written.is_multiple_of(20_000) {
            bystander.mines();
        }
    };
    let ends = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(ends.contains(&error.kind()), "{error}");
    bystander.proxy.log_contains("outbox_full");
    bystander.mines();
}

#[test]
fn many_that_never_read_have_one_bound() {
    const DEAF: usize = 12;
    let limits = "limits: { miner_outbox_bytes_max: 67108864, unread_bytes_max: 1048576, \
                  messages_per_second_max: 0, shares_per_second_max: 0 }";
    let mut bystander = Bystander::start(&[limits]);
    let before = bystander.proxy.memory_kib();
    let shares = STALE_SHARE.repeat(1000);
    let mut deaf: Vec<_> = (0..DEAF)
        .map(|_| {
            let stream = connect_raw(bystander.proxy.any_address());
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .collect();
    // The kernel holds some megabytes of replies for each, then one megabyte is for all.
    for round in 0..10_000 {
        deaf.retain_mut(|it| it.write_all(shares.as_bytes()).is_ok());
        if deaf.is_empty() {
            break;
        }
        if round % 20 == 0 {
            bystander.mines();
        }
    }
    assert!(deaf.is_empty(), "{} are never closed", deaf.len());
    let grown = bystander.proxy.memory_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for those that do not read");
    bystander.proxy.log_contains("reason=unread");
    bystander.mines();
}

/// A miner that writes all the time, and reads what it is answered.
struct Flooder {
    stream: TcpStream,
    threads: [JoinHandle<()>; 2],
}

impl Flooder {
    fn start(address: SocketAddr, answered: &Arc<AtomicU64>) -> Self {
        let stream = connect_raw(address);
        let mut writer = stream.try_clone().unwrap();
        let mut reader = stream.try_clone().unwrap();
        let answered = Arc::clone(answered);
        let write = thread::spawn(move || {
            let shares = STALE_SHARE.repeat(1000);
            while writer.write_all(shares.as_bytes()).is_ok() {}
        });
        let read = thread::spawn(move || {
            let mut bytes = vec![0; 256 * 1024];
            while let Ok(len @ 1..) = reader.read(&mut bytes) {
                answered.fetch_add(len as u64, Ordering::Relaxed);
            }
        });
        Self {
            stream,
            threads: [write, read],
        }
    }

    fn stop(self) {
        // The proxy may have closed it by now, which ends the threads as well.
        drop(self.stream.shutdown(Shutdown::Both));
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// One round takes in more than the answers to it may be by default, and a second more than a miner may say.
const UNBOUNDED: &str = "limits: { miner_outbox_bytes_max: 67108864, messages_per_second_max: 0, \
                         shares_per_second_max: 0 }";

#[test]
fn a_flood_of_lines_keeps_no_pool_waiting() {
    let mut bystander = Bystander::start(&[UNBOUNDED]);
    let answered = Arc::new(AtomicU64::new(0));
    let address = bystander.proxy.any_address();
    let flooders: Vec<_> = (0..4).map(|_| Flooder::start(address, &answered)).collect();
    let deadline = Instant::now() + PATIENCE;
    for round in 0..20 {
        if round == 10 {
            bystander = bystander.loses_its_link();
        }
        // Only while the flood is on does it show anything.
        let before = answered.load(Ordering::Relaxed);
        while answered.load(Ordering::Relaxed) < before + 100_000 {
            assert!(Instant::now() < deadline, "the flood is not answered");
            thread::yield_now();
        }
        bystander.mines();
    }
    for flooder in flooders {
        flooder.stop();
    }
}

#[test]
fn a_job_for_a_farm_goes_out_whole_and_leaves_room_for_shares() {
    // Several times what goes out in one round.
    const MINERS: usize = 1800;
    let mut bystander = Bystander::start(&[]);
    let mut miners: Vec<_> = (0..MINERS)
        .map(|_| FakeMiner::connect(&bystander.proxy))
        .collect();
    for miner in &mut miners {
        miner.subscribe();
        miner.authorize("w");
        miner.expect_job();
    }
    for round in 1..=3 {
        let job = PoolJob::new(&format!("farm-{round}"));
        bystander.link.notify(&job);
        let shares: Vec<_> = (0..10)
            .map(|number| bystander.miner.submit(&bystander.job, round * 100 + number))
            .collect();
        for share in shares {
            let submit = bystander.link.expect_submit();
            bystander.link.accept(&submit.id);
            bystander.miner.expect_accepted(share);
        }
        bystander.job = bystander.miner.expect_job();
        for miner in &mut miners {
            assert_eq!(miner.expect_job().id, bystander.job.id);
        }
    }
    // With nothing else to do it goes out just so: not a part of it for each tick.
    let deadline = Instant::now() + PATIENCE;
    for round in 1..=20 {
        bystander
            .link
            .notify(&PoolJob::new(&format!("quiet-{round}")));
        bystander.job = bystander.miner.expect_job();
        for miner in &mut miners {
            assert_eq!(miner.expect_job().id, bystander.job.id);
        }
        assert!(Instant::now() < deadline, "job {round} of 20 came late");
    }
}
