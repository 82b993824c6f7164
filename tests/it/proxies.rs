//! Two proxies in one config have nothing in common.

use crate::support::{Config, FakeMiner, FakePool, Job, NONCE_1, PoolJob, PoolLink, Proxy};

struct Side {
    pool: FakePool,
    link: PoolLink,
    miner: FakeMiner,
    job: Job,
}

impl Side {
    fn start(proxy: &Proxy, name: &str, pool: FakePool, nonce_1: &str) -> Self {
        let mut miner = FakeMiner::connect_to(proxy.address(name));
        let id = miner.send_subscribe();
        let link = pool.accept_ready(nonce_1);
        miner.expect_subscribed(id);
        miner.authorize("t1addr.rig1");
        let job = miner.expect_job();
        Self {
            pool,
            link,
            miner,
            job,
        }
    }

    #[track_caller]
    fn expect_share_passes(&mut self, seed: u64) {
        let id = self.miner.submit(&self.job, seed);
        let submit = self.link.expect_submit();
        self.link.accept(&submit.id);
        self.miner.expect_accepted(id);
    }
}

fn two_proxies() -> (Proxy, Side, Side) {
    let (one, two) = (FakePool::start(), FakePool::start());
    let config = Config::new(&one.url()).proxy("zen", &two.url());
    let proxy = Proxy::one_shard(&config.yaml());
    let one = Side::start(&proxy, "zcash", one, NONCE_1);
    // The same nonce at both pools, and the same job id: nothing but the proxy keeps them apart.
    let two = Side::start(&proxy, "zen", two, NONCE_1);
    (proxy, one, two)
}

#[test]
fn each_has_a_listener_of_its_own() {
    let (proxy, _one, _two) = two_proxies();
    assert_eq!(proxy.listeners(), 2);
    assert_ne!(proxy.port("zcash"), proxy.port("zen"));
}

#[test]
fn a_job_reaches_the_miners_of_its_own_proxy_alone() {
    let (_proxy, mut one, mut two) = two_proxies();
    one.link.notify(&PoolJob::new("only for one"));
    let job = one.miner.expect_job();
    assert_eq!(job.params.at(3).text(), PoolJob::new("only for one").merkle);
    two.miner.expect_silence();
}

#[test]
fn a_share_reaches_the_pool_of_its_own_proxy_alone() {
    let (_proxy, mut one, mut two) = two_proxies();
    one.expect_share_passes(1);
    two.link.expect_no_submit();
    two.expect_share_passes(1);
    one.link.expect_no_submit();
}

#[test]
fn a_job_of_the_other_proxy_is_unknown() {
    let (_proxy, mut one, two) = two_proxies();
    let id = one.miner.submit(&two.job, 1);
    one.miner.expect_error(id, 21);
}

#[test]
fn equal_request_ids_at_two_pools_are_not_confused() {
    let (_proxy, mut one, mut two) = two_proxies();
    let first = one.miner.submit(&one.job, 1);
    let second = two.miner.submit(&two.job, 1);
    let at_one = one.link.expect_submit();
    let at_two = two.link.expect_submit();
    two.link.reject(&at_two.id, 23, "low");
    // The other proxy's request id means nothing here, or means this proxy's share.
    one.link.accept(&at_one.id);
    one.miner.expect_accepted(first);
    two.miner.expect_error(second, 23);
}

#[test]
fn a_worker_authorized_at_one_is_unauthorized_at_the_other() {
    let (_proxy, mut one, mut two) = two_proxies();
    one.miner.authorize("t1addr.only-here");
    let mut share = two.miner.share(&two.job, 1);
    "t1addr.only-here".clone_into(&mut share.worker);
    let id = two.miner.send_share(&share);
    two.miner.expect_error(id, 24);
}

#[test]
fn a_pool_that_is_lost_for_one_is_not_lost_for_the_other() {
    let (_proxy, one, mut two) = two_proxies();
    drop(one.pool);
    one.link.reset();
    two.expect_share_passes(1);
    two.pool.expect_no_link();
}

#[test]
fn a_full_proxy_leaves_room_in_the_other() {
    let (one, two) = (FakePool::start(), FakePool::start());
    let config = Config::new(&one.url())
        .keys(&["miners_per_link: 1", "links_per_shard_max: 1"])
        .proxy("zen", &two.url());
    let proxy = Proxy::one_shard(&config.yaml());
    let _one = Side::start(&proxy, "zcash", one, NONCE_1);
    let mut late = FakeMiner::connect_to(proxy.address("zcash"));
    assert!(late.request("mining.subscribe", "[]").code().is_some());
    let mut two = Side::start(&proxy, "zen", two, NONCE_1);
    two.expect_share_passes(1);
}
