//! Two shards that talk: one link for both, jobs of one for the other, and a pool that both leave.
//!
//! The kernel gives a connection to a shard by a hash of its ports, so there are enough miners for both.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::scrape::Admin;
use crate::support::{
    A_MOMENT, AutoPool, Config, FakeMiner, FakePool, Job, NONCE_1, PATIENCE, POOL_WORKER, PoolJob,
    PoolLink, Proxy,
};

/// So many that one shard gets none of them in one of eight million tests.
const MINERS: usize = 24;

/// What a second link is given.
const OTHER_NONCE_1: &str = "0badcafe";

/// Two shards, their miners and their links.
struct Farm {
    proxy: Proxy,
    admin: Admin,
    miners: Vec<FakeMiner>,
}

impl Farm {
    /// Miners on both shards, who have asked for their nonces.
    fn start(config: &Config) -> Self {
        let proxy = Proxy::start(&(Admin::KEY.to_owned() + &config.yaml()));
        let admin = Admin::of(&proxy);
        let mut miners: Vec<_> = (0..MINERS)
            .map(|_| FakeMiner::connect_to(proxy.address("zcash")))
            .collect();
        for miner in &mut miners {
            miner.send_subscribe();
        }
        admin.scrape_until(|figures| {
            let on =
                |shard| figures.value(&format!("stratum_shard_connections{{shard=\"{shard}\"}}"));
            on(0) > 0.0 && on(1) > 0.0 && on(0) + on(1) == MINERS as f64
        });
        Self {
            proxy,
            admin,
            miners,
        }
    }

    /// All of them go on to their first job, and can take another nonce without a reconnect.
    fn mine(&mut self) -> Vec<Job> {
        for (rig, miner) in self.miners.iter_mut().enumerate() {
            miner.expect_subscribed(1);
            miner
                .request("mining.extranonce.subscribe", "[]")
                .assert_accepted();
            miner.authorize(&format!("t1addr.rig{rig}"));
        }
        self.miners.iter_mut().map(FakeMiner::expect_job).collect()
    }

    /// All of them get this job, after others perhaps.
    fn expect_job(&mut self, job: &PoolJob) -> Vec<Job> {
        let told = self.miners.iter_mut().map(|miner| {
            loop {
                let told = miner.expect_job();
                if told.params.at(3).text() == job.merkle {
                    return told;
                }
            }
        });
        told.collect()
    }

    /// Each sends a share; gives the request ids.
    fn submit(&mut self, jobs: &[Job], seed: u64) -> Vec<u64> {
        let miners = self.miners.iter_mut().zip(jobs);
        miners.map(|(miner, job)| miner.submit(job, seed)).collect()
    }

    fn expect_accepted(&mut self, ids: &[u64]) {
        for (miner, id) in self.miners.iter_mut().zip(ids) {
            miner.expect_accepted(*id);
        }
    }

    /// What the pool must see of such shares: the header's nonce, the time, the solution.
    fn expected(&self, jobs: &[Job], seed: u64) -> BTreeSet<[String; 3]> {
        let miners = self.miners.iter().zip(jobs);
        let share = |(miner, job): (&FakeMiner, &Job)| {
            let share = miner.share(job, seed);
            [
                format!("{}{}", job.nonce_1, share.nonce_2),
                share.time,
                share.solution,
            ]
        };
        miners.map(share).collect()
    }

    /// Each miner's share goes to this link, byte for byte, and each has its answer.
    #[track_caller]
    fn expect_shares_pass(
        &mut self,
        link: &mut PoolLink,
        nonce_1: &str,
        pool_job: &str,
        jobs: &[Job],
        seed: u64,
    ) {
        let ids = self.submit(jobs, seed);
        let seen = judge(link, nonce_1, pool_job, MINERS);
        assert_eq!(seen, self.expected(jobs, seed));
        self.expect_accepted(&ids);
    }
}

/// The pool accepts so many shares; gives what it saw.
#[track_caller]
fn judge(
    link: &mut PoolLink,
    nonce_1: &str,
    pool_job: &str,
    count: usize,
) -> BTreeSet<[String; 3]> {
    let mut judge = || {
        let submit = link.expect_submit();
        assert_eq!(submit.job, pool_job);
        assert_eq!(submit.worker, POOL_WORKER);
        link.accept(&submit.id);
        [
            format!("{nonce_1}{}", submit.nonce_2),
            submit.time,
            submit.solution,
        ]
    };
    (0..count).map(|_| judge()).collect()
}

#[test]
fn one_shard_says_that_it_has_nobody_to_exchange_jobs_with() {
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).key("job_exchange: { enabled: true }");
    let proxy = Proxy::one_shard(&config.yaml());
    let log = proxy.log();
    let told = log.matches("one shard: nothing to exchange").count();
    assert_eq!(told, 1, "{log}");
    drop(proxy);
    let proxy = Proxy::start(&config.yaml());
    assert!(!proxy.log().contains("nothing to exchange"));
}

#[test]
fn one_link_serves_the_miners_of_both_shards() {
    let pool = FakePool::start();
    let mut farm = Farm::start(&Config::new(&pool.url()).key("pool_links: 1"));
    let mut link = pool.accept_ready(NONCE_1);
    let jobs = farm.mine();
    pool.expect_no_link();
    let nonces: BTreeSet<_> = jobs.iter().map(|job| job.nonce_1.clone()).collect();
    assert_eq!(nonces.len(), MINERS, "no two miners have one nonce");
    farm.expect_shares_pass(&mut link, NONCE_1, "pool-job-1", &jobs, 1);

    link.notify(&PoolJob::new("pool-job-2"));
    let jobs = farm.expect_job(&PoolJob::new("pool-job-2"));
    farm.expect_shares_pass(&mut link, NONCE_1, "pool-job-2", &jobs, 2);
    let figures = farm
        .admin
        .scrape_until(|it| it.value("stratum_letters_total") > 0.0);
    assert!(
        figures
            .samples
            .contains_key("stratum_letters_blocked_total")
    );
}

#[test]
fn the_one_link_is_lost_and_back_and_both_shards_go_on() {
    let pool = FakePool::start();
    let mut farm = Farm::start(&Config::new(&pool.url()).key("pool_links: 1"));
    let link = pool.accept_ready(NONCE_1);
    let jobs = farm.mine();
    // Shares that come while there is no link wait for it, on both shards.
    link.reset();
    let mut link = pool.accept_link();
    let ids = farm.submit(&jobs, 1);
    link.welcome(NONCE_1);
    link.notify(&PoolJob::new("pool-job-1"));
    let seen = judge(&mut link, NONCE_1, "pool-job-1", MINERS);
    assert_eq!(seen, farm.expected(&jobs, 1));
    farm.expect_accepted(&ids);

    // Another nonce is another session, also for those who have a part of it.
    link.reset();
    let mut link = pool.accept_link();
    link.welcome(OTHER_NONCE_1);
    link.notify(&PoolJob::new("pool-job-2"));
    let jobs = farm.expect_job(&PoolJob::new("pool-job-2"));
    assert!(
        jobs.iter()
            .all(|job| job.nonce_1.starts_with(OTHER_NONCE_1))
    );
    farm.expect_shares_pass(&mut link, OTHER_NONCE_1, "pool-job-2", &jobs, 2);
    pool.expect_no_link();
}

#[test]
fn shares_on_the_one_link_are_answered_to_both_shards_before_the_end() {
    let pool = FakePool::start();
    let mut farm = Farm::start(&Config::new(&pool.url()).key("pool_links: 1"));
    let mut link = pool.accept_ready(NONCE_1);
    let jobs = farm.mine();
    let ids = farm.submit(&jobs, 1);
    let submits: Vec<_> = (0..MINERS).map(|_| link.expect_submit()).collect();
    farm.proxy.signal("TERM");
    // The pool takes its time.
    assert!(link.next_request(A_MOMENT).is_err());
    assert!(farm.proxy.is_running(), "it left with shares in flight");
    for submit in submits {
        link.accept(&submit.id);
    }
    farm.expect_accepted(&ids);
    assert_eq!(farm.proxy.wait_exit(PATIENCE), 0);
    for miner in &mut farm.miners {
        miner.expect_closed();
    }
}

#[test]
fn shares_that_the_pool_never_answers_are_answered_on_both_shards_before_the_end() {
    let pool = FakePool::start();
    let config =
        Config::new(&pool.url()).keys(&["pool_links: 1", "limits: { shutdown_seconds: 1 }"]);
    let mut farm = Farm::start(&config);
    let mut link = pool.accept_ready(NONCE_1);
    let jobs = farm.mine();
    let ids = farm.submit(&jobs, 1);
    for _ in 0..MINERS {
        link.expect_submit();
    }
    farm.proxy.signal("TERM");
    for (miner, id) in farm.miners.iter_mut().zip(ids) {
        let reply = miner.expect_result(id);
        assert!(matches!(reply.code(), Some(20 | 21)), "{}", reply.raw);
        miner.expect_closed();
    }
    assert_eq!(farm.proxy.wait_exit(PATIENCE), 0);
    link.expect_closed();
}

#[test]
fn a_shard_whose_link_is_refused_borrows_its_neighbours() {
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).key("failover: { resume_seconds: 0.5 }");
    let mut farm = Farm::start(&config);
    let (mut kept, lost) = (pool.accept_ready(NONCE_1), pool.accept_ready(OTHER_NONCE_1));
    let jobs = farm.mine();
    let spaces: BTreeSet<_> = jobs.iter().map(|job| job.nonce_1[..8].to_owned()).collect();
    assert_eq!(spaces.len(), 2, "each shard has a link of its own");

    // Nobody listens at the pool any more, and one link to it holds.
    drop(pool);
    lost.reset();
    let (moved, stayed): (Vec<_>, Vec<_>) = std::mem::take(&mut farm.miners)
        .into_iter()
        .zip(jobs)
        .partition(|(_, job)| job.nonce_1.starts_with(OTHER_NONCE_1));
    let moved = moved.into_iter().map(|(mut miner, _)| {
        let job = miner.expect_job();
        (miner, job)
    });
    let (miners, jobs): (Vec<_>, Vec<_>) = moved.chain(stayed).unzip();
    farm.miners = miners;
    assert!(jobs.iter().all(|job| job.nonce_1.starts_with(NONCE_1)));
    let nonces: BTreeSet<_> = jobs.iter().map(|job| job.nonce_1.clone()).collect();
    assert_eq!(nonces.len(), MINERS, "no two miners have one nonce");
    farm.expect_shares_pass(&mut kept, NONCE_1, "pool-job-1", &jobs, 1);
}

/// Every shard's miners work on a job as soon as one link has it. A share waits for its own link.
#[test]
fn a_job_goes_to_both_shards_when_one_link_has_it() {
    const EARLY: &str = "stratum_job_exchange_lead_seconds_count{proxy=\"zcash\"}";
    const LEAD: &str = "stratum_job_exchange_lead_seconds_sum{proxy=\"zcash\"}";
    const LEARNT_WITHIN: Duration = Duration::from_secs(60);
    let pool = FakePool::start();
    let config = Config::new(&pool.url())
        .key("job_exchange: { enabled: true, match_seconds: 20, hold_seconds: 60 }");
    let mut farm = Farm::start(&config);
    let mut first = pool.accept_ready(NONCE_1);
    let mut second = pool.accept_ready(OTHER_NONCE_1);
    farm.mine();

    // The same jobs on both links, under other ids, and later on the second.
    let deadline = Instant::now() + LEARNT_WITHIN;
    for round in 0.. {
        let job = PoolJob::new(&format!("first-{round}"));
        first.notify(&job);
        thread::sleep(A_MOMENT);
        second.notify(&PoolJob {
            id: format!("second-{round}"),
            ..job.clone()
        });
        farm.expect_job(&job);
        if farm.admin.scrape().value(EARLY) > 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "{}", farm.proxy.log());
    }

    let job = PoolJob::new("first-last");
    first.notify(&job);
    let jobs = farm.expect_job(&job);
    let ids = farm.submit(&jobs, 1);
    let is_first = |job: &&Job| job.nonce_1.starts_with(NONCE_1);
    let on_first = jobs.iter().filter(is_first).count();
    let mut seen = judge(&mut first, NONCE_1, "first-last", on_first);
    second.expect_no_submit();
    second.notify(&PoolJob {
        id: "second-last".to_owned(),
        ..job.clone()
    });
    let held = judge(&mut second, OTHER_NONCE_1, "second-last", MINERS - on_first);
    seen.extend(held);
    assert_eq!(seen, farm.expected(&jobs, 1));
    farm.expect_accepted(&ids);
    let figures = farm
        .admin
        .scrape_until(|figures| figures.value(EARLY) > 1.0);
    assert!(figures.value(LEAD) > 0.0, "{figures:#?}");
}

/// The pool sends no job to one shard, and to the other one has not for more than half that time: both
/// leave it, the second on the word of the first.
#[test]
fn a_pool_that_falls_silent_is_left_by_both_shards_together() {
    let (silent, well) = (FakePool::start(), AutoPool::accepts_all());
    let config = Config::new(&silent.url())
        .fallback(&well.url())
        .key("failover: { no_job_seconds: 6, resume_seconds: 0.5 }");
    let mut farm = Farm::start(&config);
    let _first = silent.accept_ready(NONCE_1);
    let mut second = silent.accept_ready(OTHER_NONCE_1);
    farm.mine();
    thread::sleep(Duration::from_secs(2));
    second.notify(&PoolJob::new("pool-job-2"));

    let jobs = farm.expect_job(&PoolJob::new("auto-job"));
    farm.proxy.log_contains("a neighbour found it so");
    let ids = farm.submit(&jobs, 1);
    let share = |_| {
        let share = well.next_share();
        [share.nonce, share.submit.time, share.submit.solution]
    };
    let seen: BTreeSet<_> = (0..MINERS).map(share).collect();
    assert_eq!(seen, farm.expected(&jobs, 1));
    farm.expect_accepted(&ids);
}
