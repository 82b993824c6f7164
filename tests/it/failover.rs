//! Pools that go, come back, come back as another, or were never there.

use std::time::{Duration, Instant};

use crate::support::{
    A_MOMENT, AutoPool, Config, FakeMiner, FakePool, NONCE_1, PATIENCE, PoolJob, PoolLink, Proxy,
    Scene,
};

/// Leave a lost link after a second, so that a test needs not wait longer.
const SOON: &str = "failover: { resume_seconds: 1 }";

const ANOTHER_NONCE: &str = "aabbccdd";

// The same pool again.

#[test]
fn a_lost_link_is_dialled_again_at_once() {
    let scene = Scene::start();
    let lost = Instant::now();
    scene.link.close();
    scene.pool.accept_link();
    // The promise is 500 ms; the rest is for a busy machine.
    assert!(
        lost.elapsed() < Duration::from_millis(1500),
        "{:?}",
        lost.elapsed()
    );
}

#[test]
fn a_lost_link_asks_for_its_old_session() {
    let scene = Scene::start();
    scene.link.close();
    let mut link = scene.pool.accept_link();
    let subscribe = link.expect_subscribe();
    assert_eq!(
        subscribe.params.at(1).text(),
        "session-1",
        "{}",
        subscribe.raw
    );
}

#[test]
fn when_the_same_nonce_comes_back_nobody_notices() {
    let mut scene = Scene::start();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
    scene.miner.expect_no_other_reply();
}

#[test]
fn a_job_from_before_the_loss_is_still_good_after_a_resume() {
    let mut scene = Scene::start();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.expect_share_passes(1);
}

#[test]
fn a_share_that_was_unanswered_is_sent_once_more_after_a_resume() {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let first = scene.link.expect_submit();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    let again = scene.link.expect_submit();
    assert_eq!(again.nonce_2, first.nonce_2);
    assert_eq!(again.job, first.job);
    scene.link.accept(&again.id);
    scene.miner.expect_accepted(id);
    scene.link.expect_no_submit();
    scene.miner.expect_no_other_reply();
}

#[test]
fn a_share_sent_once_more_that_the_pool_calls_a_duplicate_was_accepted() {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    scene.link.expect_submit();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    let again = scene.link.expect_submit();
    scene.link.reject(&again.id, 22, "Duplicate share");
    scene.miner.expect_accepted(id);
}

#[test]
fn a_share_sent_while_the_link_is_down_goes_out_after_a_resume() {
    let mut scene = Scene::start();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.expect_subscribe();
    let id = scene.miner.submit(&scene.job, 1);
    scene.link.reply_subscribe(NONCE_1);
    scene.link.expect_authorize();
    scene.link.reply_authorize();
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

#[test]
fn a_newcomer_while_the_link_is_down_waits_for_it() {
    let mut scene = Scene::start();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    let mut newcomer = FakeMiner::connect(&scene.proxy);
    let id = newcomer.send_subscribe();
    scene.link.welcome(NONCE_1);
    let nonce_1 = newcomer.expect_subscribed(id);
    assert!(nonce_1.starts_with(NONCE_1), "{nonce_1}");
    assert_ne!(nonce_1, scene.miner.nonce_1);
}

// The same pool with another nonce.

#[test]
fn a_new_nonce_reaches_miners_that_can_take_it_with_a_clean_job() {
    let mut scene = Scene::with_extranonce_miner(&[SOON]);
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(ANOTHER_NONCE);
    let job = scene.announce(&PoolJob::new("after").clean(false));
    assert!(job.nonce_1.starts_with(ANOTHER_NONCE), "{}", job.nonce_1);
    assert!(job.clean, "some miners ignore a job that is not clean");
    scene.expect_share_passes(1);
}

#[test]
fn a_new_nonce_closes_miners_that_cannot_take_it() {
    let mut scene = Scene::with(&[SOON]);
    scene.link.close();
    scene.link = scene.pool.accept_ready(ANOTHER_NONCE);
    scene.miner.expect_closed();
    let (back, _) = scene.another_miner("t1addr.rig1");
    assert!(back.nonce_1.starts_with(ANOTHER_NONCE), "{}", back.nonce_1);
}

#[test]
fn an_unanswered_share_of_a_lost_nonce_is_answered_once_with_an_error() {
    let mut scene = Scene::with_extranonce_miner(&[SOON]);
    let id = scene.miner.submit(&scene.job, 1);
    scene.link.expect_submit();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(ANOTHER_NONCE);
    scene.link.notify(&PoolJob::new("after"));
    let reply = scene.miner.expect_result(id);
    assert!(matches!(reply.code(), Some(20 | 21)), "{}", reply.raw);
    scene.link.expect_no_submit();
    scene.miner.expect_no_other_reply();
}

#[test]
fn a_share_for_a_job_of_a_lost_nonce_is_refused_with_21() {
    let mut scene = Scene::with_extranonce_miner(&[SOON]);
    let old = scene.job.clone();
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(ANOTHER_NONCE);
    // The pool begins to count again, so its id means something else now.
    scene.announce(&PoolJob::new("pool-job-1"));
    let id = scene.miner.submit(&old, 1);
    scene.miner.expect_error(id, 21);
    scene.expect_share_passes(2);
}

// The next pool.

#[test]
fn when_the_first_pool_is_down_at_the_start_the_second_serves() {
    let down = FakePool::closed();
    let second = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&down.url()).fallback(&second.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let _link = second.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

/// A first pool that failed in a way of its own, and a second one that must take over.
fn the_second_pool_takes_over(keys: &[&str], fail: impl FnOnce(&FakePool)) {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url()).keys(keys);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    fail(&first);
    let mut link = second.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    miner.expect_accepted(id);
}

#[test]
fn a_pool_that_refuses_subscribe_gives_way_to_the_next() {
    the_second_pool_takes_over(&[], |first| {
        let mut link = first.accept_link();
        let id = link.expect_subscribe().id;
        link.reject(&id, 20, "go away");
    });
}

#[test]
fn a_pool_that_refuses_our_worker_gives_way_to_the_next() {
    the_second_pool_takes_over(&[], |first| {
        let mut link = first.accept_link();
        link.expect_subscribe();
        link.reply_subscribe(NONCE_1);
        let id = link.expect_authorize().id;
        link.reject(&id, 24, "Unauthorized worker");
    });
}

#[test]
fn a_pool_whose_nonce_cannot_be_right_gives_way_to_the_next() {
    the_second_pool_takes_over(&[], |first| {
        let mut link = first.accept_link();
        link.expect_subscribe();
        link.reply_subscribe(&"ab".repeat(40));
    });
}

#[test]
fn a_pool_whose_nonce_is_no_hex_gives_way_to_the_next() {
    the_second_pool_takes_over(&[], |first| {
        let mut link = first.accept_link();
        link.expect_subscribe();
        link.reply_subscribe("c2fd60zz");
    });
}

#[test]
fn a_pool_whose_subscribe_result_makes_no_sense_gives_way_to_the_next() {
    the_second_pool_takes_over(&[], |first| {
        let mut link = first.accept_link();
        link.expect_subscribe();
        link.reply_subscribe_with(r#"{"a":[1,2]}"#);
    });
}

#[test]
fn a_pool_that_is_silent_gives_way_to_the_next() {
    let keys = ["limits: { reply_timeout_seconds: 1 }"];
    let first = FakePool::start();
    let second = FakePool::start();
    let config = Config::new(&first.url())
        .fallback(&second.url())
        .keys(&keys);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut silent = first.accept_link();
    silent.expect_subscribe();
    let _link = second.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

#[test]
fn a_pool_that_speaks_something_else_gives_way_to_the_next() {
    the_second_pool_takes_over(&[], |first| {
        let mut link = first.accept_link();
        link.expect_subscribe();
        link.send_raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        link.close();
    });
}

#[test]
fn a_pool_that_is_gone_for_good_gives_way_to_the_next_and_miners_move() {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url()).key(SOON);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let link = first.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner
        .request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    miner.authorize("t1addr.rig1");
    miner.expect_job();
    drop(first);
    link.reset();
    let mut link = second.accept_ready(ANOTHER_NONCE);
    let job = miner.expect_job();
    assert!(job.nonce_1.starts_with(ANOTHER_NONCE), "{}", job.nonce_1);
    assert!(job.clean);
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    miner.expect_accepted(id);
}

/// A pool with a miner that mines falls silent in some way; the next one takes the miner over.
fn a_silent_pool_gives_way(keys: &str, submits: u64) {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url()).key(keys);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = first.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner
        .request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let ids: Vec<_> = (0..submits).map(|seed| miner.submit(&job, seed)).collect();
    for _ in &ids {
        link.expect_submit();
    }
    let _second = second.accept_ready(ANOTHER_NONCE);
    // What the silent pool never answered has one answer, and the miner other work.
    for id in ids {
        miner.expect_error(id, 21);
    }
    let job = miner.expect_job();
    assert!(job.nonce_1.starts_with(ANOTHER_NONCE), "{}", job.nonce_1);
}

#[test]
fn a_pool_that_answers_no_shares_gives_way_to_the_next() {
    a_silent_pool_gives_way("failover: { no_reply_seconds: 1, resume_seconds: 0.5 }", 2);
}

#[test]
fn a_pool_that_sends_no_jobs_gives_way_to_the_next() {
    a_silent_pool_gives_way("failover: { no_job_seconds: 1, resume_seconds: 0.5 }", 0);
}

#[test]
fn two_pools_that_use_one_job_id_are_not_confused() {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url()).key(SOON);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let link = first.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner
        .request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    miner.authorize("t1addr.rig1");
    let old = miner.expect_job();
    drop(first);
    link.close();
    // Both pools call their job `pool-job-1`.
    let mut link = second.accept_ready(ANOTHER_NONCE);
    let new = miner.expect_job();
    assert_ne!(old.id, new.id);
    let stale = miner.submit(&old, 1);
    miner.expect_error(stale, 21);
    link.expect_no_submit();
}

#[test]
fn the_session_of_one_pool_is_not_asked_for_at_another() {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url()).key(SOON);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_subscribe();
    let mut link = first.accept_link();
    link.expect_subscribe();
    link.reply_subscribe_session("session-of-the-first", NONCE_1);
    link.expect_authorize();
    link.reply_authorize();
    drop(first);
    link.close();
    let mut link = second.accept_link();
    let subscribe = link.expect_subscribe();
    assert!(subscribe.params.at(1).is_null(), "{}", subscribe.raw);
}

#[test]
fn when_the_last_pool_fails_too_the_first_is_tried_again() {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url());
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    for pool in [&first, &second] {
        let mut link = pool.accept_link();
        let subscribe = link.expect_subscribe().id;
        link.reject(&subscribe, 20, "not now");
    }
    let _link = first.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

#[test]
fn a_link_that_stands_by_takes_over_and_no_other_one_is_dialled() {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url())
        .fallback(&second.url())
        .key("failover: { standby: true, resume_seconds: 1 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let link = first.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner
        .request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    miner.authorize("t1addr.rig1");
    miner.expect_job();
    let mut standby = second.accept_ready(ANOTHER_NONCE);
    proxy.log_contains("stands by");
    drop(first);
    link.reset();
    let job = miner.expect_job();
    assert!(job.nonce_1.starts_with(ANOTHER_NONCE), "{}", job.nonce_1);
    assert!(job.clean);
    let id = miner.submit(&job, 1);
    let submit = standby.expect_submit();
    standby.accept(&submit.id);
    miner.expect_accepted(id);
    second.expect_no_link();
}

// Back to the preferred pool.

#[test]
fn when_the_preferred_pool_is_well_again_its_miners_return() {
    let (down, second) = (FakePool::closed(), FakePool::start());
    let config = Config::new(&down.url())
        .fallback(&second.url())
        .key("failover: { stable_for_seconds: 0.3 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut told = FakeMiner::connect(&proxy);
    let id = told.send_subscribe();
    let mut old = second.accept_ready(ANOTHER_NONCE);
    told.expect_subscribed(id);
    told.request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    told.authorize("t1addr.rig1");
    let old_job = told.expect_job();
    let (mut untold, _) = FakeMiner::mining(&proxy, "t1addr.rig2");
    // A share is on its way while the miners move.
    let in_flight = told.submit(&old_job, 1);
    let submit = old.expect_submit();
    let first = down.open();
    let mut new = first.accept_ready(NONCE_1);
    let job = told.expect_job();
    assert!(job.nonce_1.starts_with(NONCE_1), "{}", job.nonce_1);
    assert!(job.clean);
    old.accept(&submit.id);
    told.expect_accepted(in_flight);
    let id = told.submit(&job, 2);
    let submit = new.expect_submit();
    new.accept(&submit.id);
    told.expect_accepted(id);
    untold.expect_closed();
    let (back, _) = FakeMiner::mining(&proxy, "t1addr.rig2");
    assert!(back.nonce_1.starts_with(NONCE_1), "{}", back.nonce_1);
    proxy.log_contains("miners go back to it");
    old.expect_closed();
}

// Lines of a pool that cannot be right.

/// After this line the link is dialled again, and the miner has noticed nothing.
fn the_link_is_replaced_after(line: &[u8]) {
    let mut scene = Scene::start();
    scene.link.send_raw(line);
    let mut link = scene.pool.accept_link();
    link.welcome(NONCE_1);
    // The old link is ended, not forgotten.
    scene.link.expect_closed();
    scene.link = link;
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
}

/// One odd line is no reason to send a whole farm through a reconnect; nine are no accident.
#[test]
fn a_few_lines_that_can_not_be_read_do_no_harm() {
    let mut scene = Scene::start();
    for line in ["Invalid JSON, disconnecting", "[1,2,3]", "\u{0}"] {
        scene.link.send_line(line);
    }
    scene.expect_share_passes(1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(2);
    scene.pool.expect_no_link();
}

#[test]
fn lines_of_plain_text_cost_the_pool_its_link_and_no_miner() {
    the_link_is_replaced_after(&b"Invalid JSON, disconnecting\n".repeat(9));
}

#[test]
fn json_arrays_cost_the_pool_its_link_and_no_miner() {
    the_link_is_replaced_after(&b"[1,2,3]\n".repeat(9));
}

#[test]
fn a_job_with_too_few_params_costs_the_pool_its_link_and_no_miner() {
    the_link_is_replaced_after(
        b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"1\",\"04000000\"]}\n",
    );
}

#[test]
fn a_target_of_more_than_64_digits_costs_the_pool_its_link_and_no_miner() {
    let digits = "0".repeat(65);
    let line =
        format!("{{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"{digits}\"]}}\n");
    the_link_is_replaced_after(line.as_bytes());
}

#[test]
fn a_target_that_is_no_hex_costs_the_pool_its_link_and_no_miner() {
    the_link_is_replaced_after(
        b"{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"0007ffffzz\"]}\n",
    );
}

#[test]
fn a_pool_that_closes_in_the_middle_of_a_line_costs_no_miner() {
    let mut scene = Scene::start();
    scene
        .link
        .send_raw(b"{\"id\":null,\"method\":\"mining.noti");
    scene.link.close();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
}

#[test]
fn an_invalid_job_never_reaches_a_miner() {
    let mut scene = Scene::start();
    let mut broken = PoolJob::new("broken");
    broken.previous.replace_range(..2, "zz");
    scene.link.notify(&broken);
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    let job = scene.announce(&PoolJob::new("after"));
    assert_eq!(job.params.at(3).text(), PoolJob::new("after").merkle);
}

// No pool at all.

#[test]
fn the_listeners_open_while_no_pool_is_up() {
    let down = FakePool::closed();
    let proxy = Proxy::start(&Config::new(&down.url()).yaml());
    assert!(proxy.accepts());
}

#[test]
fn a_subscribe_waits_for_a_pool_and_is_answered_when_one_comes() {
    let down = FakePool::closed();
    let proxy = Proxy::one_shard(&Config::new(&down.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    miner.expect_silence();
    let pool = down.open();
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner.authorize("t1addr.rig1");
    miner.expect_job();
}

#[test]
fn a_subscribe_that_waited_too_long_is_refused_politely() {
    let down = FakePool::closed();
    let config = Config::new(&down.url()).key("failover: { subscribe_wait_seconds: 1 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let sent = Instant::now();
    let id = miner.send_subscribe();
    let reply = miner.expect_result(id);
    assert!(reply.code().is_some(), "{}", reply.raw);
    assert!(!reply.error_text().is_empty(), "{}", reply.raw);
    assert!(
        sent.elapsed() > Duration::from_millis(900),
        "{:?}",
        sent.elapsed()
    );
}

#[test]
fn a_miner_that_leaves_while_it_waits_is_forgotten() {
    let down = FakePool::closed();
    let config = Config::new(&down.url()).keys(&["miners_per_link: 1", "links_per_shard_max: 1"]);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut leaver = FakeMiner::connect(&proxy);
    leaver.send_subscribe();
    leaver.reset();
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let pool = down.open();
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

#[test]
fn no_link_is_opened_before_a_miner_comes() {
    let pool = FakePool::start();
    let _proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    pool.expect_no_link();
}

#[test]
fn a_pool_that_is_down_is_not_hammered() {
    let down = FakePool::closed();
    let proxy = Proxy::one_shard(&Config::new(&down.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_subscribe();
    // One in 500 ms, then twice as long each time.
    miner.hear(Duration::from_secs(2));
    let refused = proxy.log().matches(&down.url()).count();
    assert!(
        refused < 10,
        "{refused} lines in two seconds:\n{}",
        proxy.log()
    );
}

// Host names, and being sent elsewhere.

#[test]
fn the_host_name_of_a_pool_is_resolved() {
    let pool = FakePool::start();
    let url = format!("stratum+tcp://localhost:{}", pool.port());
    let proxy = Proxy::one_shard(&Config::new(&url).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

#[test]
fn a_host_name_that_does_not_resolve_gives_way_to_the_next_pool() {
    let pool = FakePool::start();
    let config = Config::new("stratum+tcp://no-such-host.invalid:3333").fallback(&pool.url());
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

#[test]
fn a_pool_may_not_send_us_to_a_stranger() {
    let stranger = FakePool::start();
    let mut scene = Scene::start();
    let port = stranger.port();
    // Another literal of the same machine is a stranger too.
    for host in ["127.0.0.2", "localhost", "evil.example"] {
        scene.link.send_line(&format!(
            r#"{{"id":null,"method":"client.reconnect","params":["{host}",{port},0]}}"#
        ));
    }
    stranger.expect_no_link();
    scene.announce(&PoolJob::new("2"));
    scene.expect_share_passes(1);
}

#[test]
fn a_pool_may_send_us_to_a_host_that_the_config_names() {
    let (pool, other) = (FakePool::start(), FakePool::start());
    let config = Config::new(&pool.url()).pool_key("reconnect_hosts: [localhost]");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    let port = other.port();
    // A name that the config does not have is a stranger's still, though it is the same machine.
    for host in ["127.0.0.2", "localhost"] {
        link.send_line(&format!(
            r#"{{"id":null,"method":"client.reconnect","params":["{host}",{port},0]}}"#
        ));
    }
    let mut link = other.accept_ready(NONCE_1);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    miner.expect_accepted(id);
    let told = proxy.log_contains("passed over");
    assert!(told.contains("127.0.0.2"), "{told}");
}

#[test]
fn a_pool_may_send_us_to_another_port_of_its_own() {
    let other = FakePool::start();
    let mut scene = Scene::with_extranonce_miner(&[SOON]);
    let port = other.port();
    scene.link.send_line(&format!(
        r#"{{"id":null,"method":"client.reconnect","params":["127.0.0.1",{port},0]}}"#
    ));
    scene.link = other.accept_link();
    scene.link.welcome(ANOTHER_NONCE);
    scene.announce(&PoolJob::new("2"));
    scene.expect_share_passes(1);
}

#[test]
fn reconnect_without_params_means_the_same_place() {
    let mut scene = Scene::start();
    scene
        .link
        .send_line(r#"{"id":null,"method":"client.reconnect","params":[]}"#);
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("2"));
    scene.expect_share_passes(1);
}

// Late, strange and missing words of a pool that otherwise works.

#[test]
fn show_message_is_heard_and_nothing_stops() {
    let mut scene = Scene::start();
    for id in ["null", "7"] {
        scene.link.send_line(&format!(
            r#"{{"id":{id},"method":"client.show_message","params":["equihash SYM block 1"]}}"#
        ));
    }
    scene.announce(&PoolJob::new("2"));
    scene.expect_share_passes(1);
}

#[test]
fn a_single_share_without_an_answer_is_no_failover() {
    let mut scene = Scene::with(&["limits: { reply_timeout_seconds: 1 }"]);
    let id = scene.miner.submit(&scene.job, 1);
    scene.link.expect_submit();
    scene.miner.expect_error(id, 20);
    scene.expect_share_passes(2);
    scene.pool.expect_no_link();
}

// Both shards.

#[test]
fn each_shard_dials_a_link_of_its_own_when_it_has_a_miner() {
    let pool = FakePool::start();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let (_links, _miners) = links_of_both_shards(&pool, &proxy);
    assert!(pool.accept_within(A_MOMENT).is_none(), "a third link");
}

#[test]
fn a_pool_that_gives_two_shards_one_nonce_space_is_told_of_and_its_miners_are_apart() {
    let pool = FakePool::start();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let (mut links, mut miners) = links_of_both_shards(&pool, &proxy);
    for link in &mut links {
        link.welcome(NONCE_1);
    }
    proxy.log_contains("the same extranonce1");
    let mut spaces: Vec<String> = miners
        .iter_mut()
        .map(|miner| miner.expect_subscribed(1))
        .collect();
    let count = spaces.len();
    spaces.sort();
    spaces.dedup();
    assert_eq!(spaces.len(), count, "{spaces:?}");
}

/// Connects miners until both shards have dialled the pool.
fn links_of_both_shards(pool: &FakePool, proxy: &Proxy) -> (Vec<PoolLink>, Vec<FakeMiner>) {
    let deadline = Instant::now() + PATIENCE;
    let mut links = Vec::new();
    let mut miners = Vec::new();
    // The kernel spreads connections by a hash, so some are needed until both shards have one.
    while links.len() < 2 {
        assert!(
            Instant::now() < deadline,
            "{} miners, one link",
            miners.len()
        );
        let mut miner = FakeMiner::connect(proxy);
        miner.send_subscribe();
        miners.push(miner);
        links.extend(pool.accept_within(Duration::from_millis(50)));
    }
    (links, miners)
}

#[test]
fn losing_every_link_at_once_closes_no_miner() {
    let pool = AutoPool::accepts_all();
    let address = pool.url();
    let proxy = Proxy::start(&Config::new(&address).yaml());
    let mut miners: Vec<_> = (0..20)
        .map(|rig| FakeMiner::mining(&proxy, &format!("t1addr.rig{rig}")).0)
        .collect();
    drop(pool);
    for miner in &mut miners {
        miner.expect_no_other_reply();
    }
}
