//! Pools that take nothing, and pools that answer nothing: what waits for them has bounds, and each share its
//! answer.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::scrape::Admin;
use crate::support::{Config, FakeMiner, FakePool, Job, NONCE_1, PoolJob, PoolLink, Proxy};

const ANOTHER_NONCE: &str = "aabbccdd";

/// Several times what the kernel holds for a pool that does not read, in bytes of submits.
const SHARES: u64 = 3000;

/// A miner at work, who has said that it takes another nonce, and its pool.
struct Hall {
    proxy: Proxy,
    admin: Admin,
    miner: FakeMiner,
    job: Job,
    link: PoolLink,
}

impl Hall {
    fn open(pool: &FakePool, config: &Config) -> Self {
        let yaml = format!("{}{}", Admin::KEY, config.yaml());
        let proxy = Proxy::one_shard(&yaml);
        let mut miner = FakeMiner::connect(&proxy);
        let subscribe = miner.send_subscribe();
        let link = pool.accept_ready(NONCE_1);
        miner.expect_subscribed(subscribe);
        let extranonce = miner.request("mining.extranonce.subscribe", "[]");
        extranonce.assert_accepted();
        miner.authorize("t1addr.rig1");
        let job = miner.expect_job();
        Self {
            admin: Admin::of(&proxy),
            proxy,
            miner,
            job,
            link,
        }
    }

    fn submits(&mut self, shares: std::ops::Range<u64>) -> Vec<u64> {
        shares
            .map(|seed| self.miner.submit(&self.job, seed))
            .collect()
    }

    /// This counter of the proxy comes to this value.
    #[track_caller]
    fn counts(&self, name: &str, reason: &str, value: u64) {
        let series = format!("{name}{{proxy=\"zcash\",reason=\"{reason}\"}}");
        self.admin
            .scrape_until(|it| it.value(&series) == value as f64);
    }
}

/// A pool that takes no byte for a second is left; and a second later the next one takes over.
const STALLS: [&str; 2] = [
    "limits: { pool_outbox_stalled_seconds: 1, miner_outbox_bytes_max: 1048576, \
     messages_per_second_max: 0, shares_per_second_max: 0 }",
    "failover: { resume_seconds: 1 }",
];

#[test]
fn shares_that_a_pool_did_not_take_go_out_again_when_it_takes_its_session_up() {
    let pool = FakePool::start();
    let mut hall = Hall::open(&pool, &Config::new(&pool.url()).keys(&STALLS));
    let ids = hall.submits(0..SHARES);
    // The old link stays open and unread.
    let mut again = pool.accept_link();
    again.welcome(NONCE_1);
    hall.counts("stratum_pool_link_ends_total", "stalled", 1);
    for id in ids {
        let submit = again.expect_submit();
        again.accept(&submit.id);
        hall.miner.expect_accepted(id);
    }
    again.expect_no_submit();
    hall.miner.expect_no_other_reply();
}

#[test]
fn a_pool_that_never_reads_is_left_for_the_next_and_each_share_has_its_answer() {
    let (deaf, next) = (FakePool::start(), FakePool::start());
    let config = Config::new(&deaf.url()).fallback(&next.url()).keys(&STALLS);
    let mut hall = Hall::open(&deaf, &config);
    let ids = hall.submits(0..SHARES);
    let mut link = next.accept_ready(ANOTHER_NONCE);
    hall.counts("stratum_pool_link_ends_total", "stalled", 1);
    // No other pool can take them.
    for id in &ids {
        hall.miner.expect_error(*id, 21);
    }
    hall.counts("stratum_requests_refused_total", "link_lost", SHARES);
    hall.job = hall.miner.expect_job();
    assert!(hall.job.nonce_1.starts_with(ANOTHER_NONCE));
    let ids = hall.submits(0..1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    hall.miner.expect_accepted(ids[0]);
    hall.miner.expect_no_other_reply();
}

#[test]
fn a_pool_that_reads_slowly_is_not_left() {
    let pool = FakePool::narrow(64 * 1024);
    let mut hall = Hall::open(&pool, &Config::new(&pool.url()).keys(&STALLS));
    let ids = hall.submits(0..SHARES);
    let start = Instant::now();
    let mut submits = Vec::new();
    while submits.len() < ids.len() {
        submits.push(hall.link.expect_submit());
        // At first 300 KB in each second, of some MB that the proxy's kernel has for it.
        if start.elapsed() < Duration::from_secs(4) {
            thread::sleep(Duration::from_millis(10));
        }
    }
    for (id, submit) in ids.iter().zip(&submits) {
        hall.link.accept(&submit.id);
        hall.miner.expect_accepted(*id);
    }
    hall.counts("stratum_pool_link_ends_total", "stalled", 0);
}

#[test]
fn of_shares_that_the_pool_does_not_answer_there_are_so_many_and_no_more() {
    let pool = FakePool::start();
    let limits = "limits: { pending_shares_max: 16, pending_shares_per_miner_max: 16 }";
    let mut hall = Hall::open(&pool, &Config::new(&pool.url()).key(limits));
    let (mut other, other_job) = FakeMiner::mining(&hall.proxy, "t1addr.rig2");
    // Neither has as many as one may have.
    let first = other.submit(&other_job, 1);
    let first_submit = hall.link.expect_submit();
    let ids = hall.submits(0..15);
    let submits: Vec<_> = ids.iter().map(|_| hall.link.expect_submit()).collect();
    // Whoever comes with one more is told, and the pool hears nothing of it.
    let id = hall.submits(15..16)[0];
    let reply = hall.miner.expect_error(id, 20);
    assert_eq!(reply.error_text(), "Pool busy");
    let id = other.submit(&other_job, 4);
    other.expect_error(id, 20);
    hall.link.expect_no_submit();
    hall.counts("stratum_requests_refused_total", "pool_busy", 2);
    // One is answered, so there is room for one.
    hall.link.accept(&submits[0].id);
    hall.miner.expect_accepted(ids[0]);
    let id = other.submit(&other_job, 2);
    let submit = hall.link.expect_submit();
    let full = other.submit(&other_job, 3);
    other.expect_error(full, 20);
    hall.link.accept(&submit.id);
    other.expect_accepted(id);
    for (id, submit) in ids.iter().zip(&submits).skip(1) {
        hall.link.accept(&submit.id);
        hall.miner.expect_accepted(*id);
    }
    hall.link.accept(&first_submit.id);
    other.expect_accepted(first);
    hall.link.notify(&PoolJob::new("another"));
    hall.miner.expect_job();
    hall.miner.expect_no_other_reply();
    other.expect_no_other_reply();
}
