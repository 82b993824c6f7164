//! Signals.

use std::time::{Duration, Instant};

use crate::support::{A_MOMENT, Config, FakeMiner, FakePool, NONCE_1, PATIENCE, Proxy, Scene};

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
    let pool = crate::support::AutoPool::accepts_all();
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
