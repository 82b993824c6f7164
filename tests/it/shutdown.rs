//! Signals.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::auth::slow_hash;
use crate::support::line::Heard;
use crate::support::pool::{DeafPool, Submit};
use crate::support::proxy::{TempFile, has_not_panicked};
use crate::support::scrape::Admin;
use crate::support::{
    A_MOMENT, AutoPool, Config, FakeMiner, FakePool, Job, NONCE_1, PATIENCE, PoolJob, PoolLink,
    Proxy, Scene,
};

/// What an operator is promised, and what a busy machine adds.
const PROMISED: Duration = Duration::from_secs(5);

fn ends_on(signal: &str) {
    let mut scene = Scene::start();
    scene.proxy.signal(signal);
    assert_eq!(scene.proxy.wait_exit(PROMISED), 0);
    scene.miner.expect_closed();
    scene.link.expect_closed();
}

#[test]
fn sigterm_ends_it_with_0_while_everybody_holds_on() {
    ends_on("TERM");
}

#[test]
fn sigint_ends_it_with_0_while_everybody_holds_on() {
    ends_on("INT");
}

#[test]
fn with_nothing_in_flight_it_ends_at_once() {
    let mut scene = Scene::start();
    let sent = Instant::now();
    scene.proxy.signal("TERM");
    assert_eq!(scene.proxy.wait_exit(PROMISED), 0);
    assert!(
        sent.elapsed() < Duration::from_secs(2),
        "{:?}",
        sent.elapsed()
    );
}

#[test]
fn a_share_in_flight_is_answered_by_the_pool_before_the_end() {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.proxy.signal("TERM");
    // The pool takes its time.
    assert!(scene.link.next_request(A_MOMENT).is_err());
    assert!(scene.proxy.is_running(), "it left with a share in flight");
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
    assert_eq!(scene.proxy.wait_exit(PROMISED), 0);
    scene.miner.expect_closed();
}

#[test]
fn a_share_that_the_pool_never_answers_is_answered_by_us_before_the_end() {
    let mut scene = Scene::with(&["limits: { shutdown_seconds: 1 }"]);
    let id = scene.miner.submit(&scene.job, 1);
    scene.link.expect_submit();
    scene.proxy.signal("TERM");
    let reply = scene.miner.expect_result(id);
    assert!(matches!(reply.code(), Some(20 | 21)), "{}", reply.raw);
    scene.miner.expect_closed();
    assert_eq!(scene.proxy.wait_exit(PROMISED), 0);
}

#[test]
fn nobody_gets_in_once_it_is_ending() {
    let mut scene = Scene::start();
    scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.proxy.signal("TERM");
    let deadline = Instant::now() + Duration::from_secs(3);
    while scene.proxy.accepts() {
        assert!(Instant::now() < deadline, "it still accepts");
    }
    assert!(scene.proxy.is_running());
    scene.link.accept(&submit.id);
    assert_eq!(scene.proxy.wait_exit(PROMISED), 0);
}

#[test]
fn two_shards_end_together() {
    let pool = AutoPool::accepts_all();
    let mut proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miners: Vec<_> = (0..20)
        .map(|rig| FakeMiner::mining(&proxy, &format!("t1addr.rig{rig}")).0)
        .collect();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PROMISED), 0);
    for miner in &mut miners {
        miner.expect_closed();
    }
}

#[test]
fn it_ends_while_no_pool_is_up_and_a_subscribe_waits() {
    let down = FakePool::closed();
    let mut proxy = Proxy::one_shard(&Config::new(&down.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_subscribe();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PROMISED), 0);
    miner.expect_closed();
}

#[test]
fn it_ends_in_the_middle_of_a_handshake_with_the_pool() {
    let pool = FakePool::start();
    let mut proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PROMISED), 0);
    link.expect_closed();
}

#[test]
fn it_ends_before_anybody_came() {
    let pool = FakePool::start();
    let mut proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PROMISED), 0);
}

#[test]
fn a_second_sigterm_does_no_harm() {
    let mut scene = Scene::start();
    scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.proxy.signal("TERM");
    scene.proxy.signal("TERM");
    scene.link.accept(&submit.id);
    assert_eq!(scene.proxy.wait_exit(PATIENCE), 0);
}

/// A miner that mines through a proxy with this time to drain, and the admin port.
fn draining(seconds: &str) -> (AutoPool, Proxy, Admin, FakeMiner, Job) {
    let pool = AutoPool::accepts_all();
    let key = format!("admin: {{ listen: 127.0.0.1:0, drain_seconds: {seconds} }}\n");
    let proxy = Proxy::one_shard(&(key + &Config::new(&pool.url()).yaml()));
    let admin = Admin::of(&proxy);
    let (miner, job) = FakeMiner::mining(&proxy, "t1addr.rig1");
    proxy.signal("TERM");
    let answer = admin.status_becomes("/readyz", 503);
    assert!(answer.body.contains("elsewhere"), "{}", answer.body);
    (pool, proxy, admin, miner, job)
}

#[test]
fn while_it_drains_readyz_says_no_and_miners_come_and_mine_on() {
    let began = Instant::now();
    let (_pool, mut proxy, admin, mut miner, job) = draining("2.5");
    let (mut late, late_job) = FakeMiner::mining(&proxy, "t1addr.rig2");
    for (seed, (miner, job)) in (1..).zip([(&mut miner, &job), (&mut late, &late_job)]) {
        let id = miner.submit(job, seed);
        miner.expect_accepted(id);
    }
    assert_eq!(admin.get("/healthz").status, 200);
    assert_eq!(proxy.wait_exit(PATIENCE), 0);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2500), "{took:?}");
    miner.expect_closed();
    late.expect_closed();
}

#[test]
fn a_second_sigterm_ends_the_drain() {
    let (_pool, mut proxy, _admin, mut miner, job) = draining("600");
    // One that comes sooner is the same signal twice.
    thread::sleep(A_MOMENT.max(Duration::from_millis(600)));
    let id = miner.submit(&job, 1);
    miner.expect_accepted(id);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PROMISED), 0);
    miner.expect_closed();
}

#[test]
fn sighup_is_logged_and_changes_nothing() {
    let mut scene = Scene::start();
    scene.proxy.signal("HUP");
    scene.proxy.log_contains("HUP");
    scene.expect_share_passes(1);
}

#[test]
fn sighup_before_the_first_link_changes_nothing() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    proxy.signal("HUP");
    proxy.log_contains("HUP");
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

/// Waits for what must become true.
#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Two shards and two proxies, of which the first has a share at its pool; so one of the shards has to wait
/// at the end, and the other one has not.
struct TwoHalls {
    proxy: Proxy,
    link: PoolLink,
    miner: FakeMiner,
    share: u64,
    submit: Submit,
    /// Miners of the second proxy, on both shards.
    others: Vec<FakeMiner>,
    _pool: FakePool,
}

impl TwoHalls {
    /// The second proxy has this pool and these keys.
    fn open(url: &str, others: &[&str]) -> Self {
        let pool = FakePool::start();
        let keys = [
            "job_exchange: { enabled: true }",
            "limits: { shutdown_seconds: 60 }",
        ];
        let config = Config::new(&pool.url())
            .keys(&keys)
            .proxy("other", url)
            .keys(others);
        let proxy = Proxy::start(&config.yaml());
        let mut miner = FakeMiner::connect_to(proxy.address("zcash"));
        let subscribe = miner.send_subscribe();
        let mut link = pool.accept_ready(NONCE_1);
        miner.expect_subscribed(subscribe);
        miner.authorize("t1addr.rig1");
        let job = miner.expect_job();
        let share = miner.submit(&job, 1);
        let submit = link.expect_submit();
        // That all of them are on one shard happens once in some thousand times.
        let address = proxy.address("other");
        let others = (0..12).map(|_| FakeMiner::connect_to(address)).collect();
        Self {
            proxy,
            link,
            miner,
            share,
            submit,
            others,
            _pool: pool,
        }
    }

    /// Begins the end, and waits for that of the shard that has no share.
    fn end_one_shard(&mut self) {
        self.proxy.signal("TERM");
        let others = &mut self.others;
        until("one shard has ended", || {
            let mut ends = others
                .iter_mut()
                .map(|it| it.hear(Duration::from_millis(1)));
            ends.any(|it| it == Heard::Closed)
        });
    }

    /// The pool answers, and that is the end.
    fn end(mut self) {
        self.link.accept(&self.submit.id);
        self.miner.expect_accepted(self.share);
        assert_eq!(self.proxy.wait_exit(PROMISED), 0);
        self.miner.expect_closed();
    }
}

#[test]
fn a_shard_that_ends_while_passwords_are_checked_takes_nobody_down() {
    const HASHES: i32 = 10;
    let hash = slow_hash("horse", Duration::from_millis(300));
    let file = TempFile::new(&format!("- name: rig\n  password_hash: \"{hash}\"\n"));
    let path = file.path().display();
    let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
    let mut halls = TwoHalls::open(&FakePool::closed().url(), &[&mode]);
    for (number, miner) in (0..).zip(&mut halls.others) {
        miner.send_request("mining.authorize", &format!("[\"rig\",\"guess {number}\"]"));
    }
    // Two are checked at a time, on each shard.
    until("both shards check", || halls.proxy.threads_at(HASHES) > 2);
    halls.end_one_shard();
    until("all are checked", || halls.proxy.busy_at(HASHES) == 0);
    assert!(halls.proxy.is_running(), "it left with a share in flight");
    halls.end();
}

#[test]
fn a_shard_that_ends_while_it_dials_is_gone_for_the_others() {
    /// More than a channel between two shards holds.
    const JOBS: usize = 200;
    let deaf = DeafPool::start();
    let mut halls = TwoHalls::open(&deaf.url(), &[]);
    for miner in &mut halls.others {
        miner.authorize("t1addr.rig2");
        miner.send_subscribe();
    }
    halls.end_one_shard();
    for number in 2..2 + JOBS {
        halls
            .link
            .notify(&PoolJob::new(&format!("pool-job-{number}")));
        halls.miner.expect_job();
    }
    halls.end();
}

/// A proxy whose log is read until it is ready, and then no more.
struct Unread {
    child: Child,
    address: SocketAddr,
    log: BufReader<ChildStderr>,
    _config: TempFile,
}

impl Unread {
    fn start(arguments: &[&str], yaml: &str) -> Self {
        let config = TempFile::new(yaml);
        let mut child = Command::new(env!("CARGO_BIN_EXE_stratum-uring"))
            .args(arguments)
            .arg(config.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut address = None;
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, found)) = line.split_once("listening on ") {
                address = found.trim_end().parse().ok();
            } else if line.contains("ready: ") {
                break;
            }
        }
        Self {
            child,
            address: address.expect("it listens"),
            log,
            _config: config,
        }
    }

    /// Ends it as an operator does; the time it took.
    fn terminate(&mut self) -> Duration {
        let sent = Instant::now();
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status();
        assert!(kill.expect("kill runs").success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{status}");
                return sent.elapsed();
            }
            assert!(sent.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        let mut rest = Vec::new();
        if self.log.read_to_end(&mut rest).is_ok() && !thread::panicking() {
            has_not_panicked(&String::from_utf8_lossy(&rest));
        }
    }
}

#[test]
fn a_log_that_nobody_reads_stops_neither_the_mining_nor_the_end() {
    let pool = AutoPool::accepts_all();
    let yaml = Config::new(&pool.url()).yaml();
    let mut proxy = Unread::start(&["-v", "--cores", "1"], &yaml);
    // A pipe holds 64 KiB. Each of these makes three lines of some 100 bytes.
    for _ in 0..400 {
        let mut miner = FakeMiner::connect_to(proxy.address);
        miner.subscribe();
        miner.close();
    }
    let (mut miner, job) = FakeMiner::mining_at(proxy.address, "t1addr.rig1");
    let id = miner.submit(&job, 1);
    miner.expect_accepted(id);
    let took = proxy.terminate();
    assert!(took < PROMISED, "{took:?}");
    // What fitted into the pipe is whole records, up to where it was full.
    let lines = (&mut proxy.log).lines().map_while(Result::ok);
    let connected = lines.filter(|line| line.ends_with(": connected")).count();
    assert!((100..400).contains(&connected), "{connected}");
}

#[test]
fn what_was_dropped_from_the_log_is_told_once_it_is_read_again() {
    let pool = AutoPool::accepts_all();
    let yaml = Config::new(&pool.url()).yaml();
    let mut proxy = Unread::start(&["-v", "--cores", "1"], &yaml);
    // A pipe's 64 KiB and the 8,192 records of the queue, with three lines for each of these.
    for _ in 0..4000 {
        let mut miner = FakeMiner::connect_to(proxy.address);
        miner.subscribe();
        miner.close();
    }
    let told = (&mut proxy.log)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("log lines were dropped"))
        .expect("the gap is told");
    let dropped: u32 = told.split(' ').next().unwrap().parse().unwrap();
    assert!((100..4000).contains(&dropped), "{told}");
    proxy.terminate();
}
