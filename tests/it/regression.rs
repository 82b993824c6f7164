//! Every bug that was found by running aiostratum-proxy, shown not to be here. The numbers are
//! those of the list of its bugs.

use std::time::Instant;

use crate::support::{
    AutoPool, Config, FakeMiner, FakePool, NONCE_1, PATIENCE, PoolJob, Proxy, Scene,
};

/// B1a: state was one for the process, so jobs of one proxy's pool went to the other's miners.
#[test]
fn b1a_two_proxies_do_not_share_their_miners() {
    let (one, two) = (FakePool::start(), FakePool::start());
    let config = Config::new(&one.url()).proxy("zen", &two.url());
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miners = Vec::new();
    let mut links = Vec::new();
    for (name, pool) in [("zcash", &one), ("zen", &two)] {
        let mut miner = FakeMiner::connect_to(proxy.address(name));
        let id = miner.send_subscribe();
        links.push(pool.accept_ready(NONCE_1));
        miner.expect_subscribed(id);
        miner.authorize("t1addr.rig1");
        miner.expect_job();
        miners.push(miner);
    }
    links[0].notify(&PoolJob::new("of the first"));
    miners[0].expect_job();
    miners[1].expect_silence();
}

/// B1b: any miner that left cancelled the requests of all others.
#[test]
fn b1b_a_miner_that_leaves_takes_no_share_of_another_along() {
    let mut scene = Scene::start();
    let (leaver, _) = scene.another_miner("t1addr.rig2");
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    leaver.reset();
    let (leaver, _) = scene.another_miner("t1addr.rig3");
    leaver.close();
    // When this one is in, those have been seen to leave.
    let (_witness, _) = scene.another_miner("t1addr.rig4");
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

/// B1b: the same happened when a miner was refused at the limit.
#[test]
fn b1b_a_miner_refused_at_the_limit_takes_no_share_of_another_along() {
    let mut scene = Scene::with(&["miners_per_link: 1", "links_per_shard_max: 1"]);
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    let mut refused = FakeMiner::connect(&scene.proxy);
    assert!(refused.request("mining.subscribe", "[]").code().is_some());
    refused.close();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

/// B1b: a miner could answer for the pool, since replies were found by their id alone.
#[test]
fn b1b_a_miner_cannot_answer_for_the_pool() {
    let mut scene = Scene::start();
    let (mut forger, _) = scene.another_miner("t1addr.forger");
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    let guesses = (0..50).map(|id| id.to_string());
    for guess in guesses.chain([submit.id.to_string()]) {
        forger.send_line(&format!(
            "{{\"id\":{guess},\"result\":true,\"error\":null}}"
        ));
    }
    let (_witness, _) = scene.another_miner("t1addr.witness");
    scene.link.reject(&submit.id, 23, "Low difficulty share");
    scene.miner.expect_error(id, 23);
}

/// B1b: request ids at two pools collided.
#[test]
fn b1b_replies_of_two_pools_are_not_confused() {
    let (one, two) = (FakePool::start(), FakePool::start());
    let config = Config::new(&one.url()).proxy("zen", &two.url());
    let proxy = Proxy::one_shard(&config.yaml());
    let mut sides = Vec::new();
    for (name, pool) in [("zcash", &one), ("zen", &two)] {
        let mut miner = FakeMiner::connect_to(proxy.address(name));
        let subscribe = miner.send_subscribe();
        let mut link = pool.accept_ready(NONCE_1);
        miner.expect_subscribed(subscribe);
        miner.authorize("t1addr.rig1");
        let job = miner.expect_job();
        let id = miner.submit(&job, 1);
        let submit = link.expect_submit();
        sides.push((miner, link, id, submit));
    }
    let ids: Vec<_> = sides.iter().map(|side| side.3.id.clone()).collect();
    // The second pool answers under both ids before the first one answers at all.
    for id in &ids {
        sides[1].1.reject(id, 23, "of the second pool");
    }
    let id = sides[1].2;
    sides[1].0.expect_error(id, 23);
    let (miner, link, id, submit) = &mut sides[0];
    link.accept(&submit.id);
    miner.expect_accepted(*id);
}

/// B2: after a reset the slot was never free again, and 256 of those closed the door.
#[test]
fn b2_resets_do_not_use_up_the_slots() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).keys(&[
        "slot_bytes: 1",
        "miners_per_link: 4",
        "links_per_shard_max: 1",
    ]);
    let proxy = Proxy::one_shard(&config.yaml());
    let deadline = Instant::now() + PATIENCE;
    let mut entered = 0;
    while entered < 300 {
        assert!(Instant::now() < deadline, "the door closed after {entered}");
        let mut miner = FakeMiner::connect(&proxy);
        let reply = miner.request("mining.subscribe", "[]");
        entered += usize::from(reply.error.is_null());
        miner.reset();
    }
}

/// B2: and the dead connection stayed in the list of those that get jobs.
#[test]
fn b2_jobs_go_on_after_a_reset() {
    let mut scene = Scene::start();
    let (dead, _) = scene.another_miner("t1addr.dead");
    dead.reset();
    for id in ["2", "3", "4"] {
        scene.announce(&PoolJob::new(id));
    }
    scene.expect_share_passes(1);
}

/// B3: a reset by the pool went unnoticed, and nothing worked until a restart.
#[test]
fn b3_a_reset_by_the_pool_is_noticed() {
    let mut scene = Scene::start();
    scene.link.reset();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
}

/// B3: 15 s after the pool closed during subscribe there was no second connection.
#[test]
fn b3_a_pool_that_closes_during_subscribe_is_dialled_again() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.close();
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

/// B3: an error in answer to subscribe ended everything.
#[test]
fn b3_a_pool_that_refuses_subscribe_once_is_asked_again() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = pool.accept_link();
    let subscribe = link.expect_subscribe().id;
    link.reject(&subscribe, 20, "try again");
    let _link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
}

/// B3: a line of the pool above 64 KiB ended everything.
#[test]
fn b3_a_pool_line_of_100_kilobytes_is_read() {
    let mut scene = Scene::start();
    let long = "x".repeat(100_000);
    scene.link.send_line(&format!(
        "{{\"id\":null,\"method\":\"mining.made_up\",\"params\":[\"{long}\"]}}"
    ));
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
    scene.pool.expect_no_link();
}

/// B3: beyond our own bound the link ends, and comes back.
#[test]
fn b3_a_pool_line_without_an_end_costs_the_link_and_no_miner() {
    let mut scene = Scene::start();
    scene.link.send_raw(&vec![b'x'; 1_200_000]);
    scene.link.expect_closed();
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
}

/// B3: a line of the pool that was no UTF-8 ended everything.
#[test]
fn b3_pool_lines_that_are_no_utf8_cost_the_link_and_no_miner() {
    let mut scene = Scene::start();
    let line = b"{\"id\":null,\"method\":\"\xff\xfe\",\"params\":[]}\n";
    scene.link.send_raw(line);
    scene.expect_share_passes(1);
    scene.link.send_raw(&line.repeat(8));
    scene.link = scene.pool.accept_link();
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
}

/// B3: a late answer to extranonce.subscribe ended everything. Whether we ask is our affair; an
/// answer to what nobody asks any more must do no harm.
#[test]
fn b3_a_late_answer_of_the_pool_does_no_harm() {
    let mut scene = Scene::with(&["limits: { reply_timeout_seconds: 1 }"]);
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.miner.expect_error(id, 20);
    scene.link.accept(&submit.id);
    for id in 0..20 {
        scene.link.send_line(&format!(
            "{{\"id\":{id},\"result\":false,\"error\":[20,\"Not supported.\",null]}}"
        ));
    }
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(2);
    scene.pool.expect_no_link();
}

/// B4: `client.show_message` stopped the proxy until every miner had answered it.
#[test]
fn b4_a_message_of_the_pool_stops_nothing() {
    let mut scene = Scene::start();
    let _mute = scene.another_miner("t1addr.mute");
    scene
        .link
        .send_line(r#"{"id":17,"method":"client.show_message","params":["hello"]}"#);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(1);
}

/// B5: each of these left a zombie: an open socket that nobody read, with its slot. Here the miner
/// is answered and lives, or is closed.
#[track_caller]
fn b5_leaves_no_zombie(bytes: &[u8]) {
    let scene = Scene::start();
    let (mut miner, _) = scene.another_miner("t1addr.rig2");
    miner.send_raw(bytes);
    miner.send_raw(b"\n{\"id\":4711,\"method\":\"mining.multi_version\",\"params\":[1]}\n");
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "neither answered nor closed");
        match miner.reply_or_close() {
            crate::support::miner::Taken::Closed => return,
            crate::support::miner::Taken::Answered(reply) => {
                if reply.id.integer() == Some(4711) {
                    return;
                }
            }
        }
    }
}

#[test]
fn b5_a_json_array_leaves_no_zombie() {
    b5_leaves_no_zombie(b"[]");
}

#[test]
fn b5_invalid_utf8_leaves_no_zombie() {
    b5_leaves_no_zombie(b"\xc3\x28");
}

#[test]
fn b5_a_method_that_is_a_number_leaves_no_zombie() {
    b5_leaves_no_zombie(b"{\"id\":9,\"method\":5,\"params\":[]}");
}

#[test]
fn b5_a_jsonrpc_that_is_null_leaves_no_zombie() {
    b5_leaves_no_zombie(b"{\"jsonrpc\":null,\"id\":9,\"method\":\"mining.made_up\",\"params\":[]}");
}

#[test]
fn b5_a_line_above_64_kib_leaves_no_zombie() {
    b5_leaves_no_zombie(&[b'x'; 70_000]);
}

/// B5: the version of JSON-RPC is nothing to refuse a request for.
#[test]
fn b5_a_jsonrpc_that_is_null_is_ignored() {
    let mut scene = Scene::start();
    scene
        .miner
        .send_line(r#"{"jsonrpc":null,"id":9,"method":"mining.multi_version","params":[1]}"#);
    scene.miner.expect_accepted(9);
}

/// B6: with one miner for each link every submit failed.
#[test]
fn b6_a_link_without_slots_carries_shares() {
    let mut scene = Scene::with(&["slot_bytes: 0"]);
    assert_eq!(scene.miner.nonce_1, NONCE_1);
    let share = scene.miner.share(&scene.job, 1);
    let id = scene.miner.send_share(&share);
    let submit = scene.link.expect_submit();
    assert_eq!(submit.nonce_2, share.nonce_2);
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

/// B6: the same where `miners_per_link` says one.
#[test]
fn b6_a_link_for_one_miner_carries_shares() {
    let mut scene = Scene::with(&["miners_per_link: 1"]);
    scene.expect_share_passes(1);
}

/// B7: null and null was taken for a request: the pool was told so, and the miner hung.
#[test]
fn b7_a_null_result_with_a_null_error_is_an_answer() {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.link.send_line(&format!(
        "{{\"id\":{},\"result\":null,\"error\":null}}",
        submit.id
    ));
    scene.miner.expect_result(id);
    // Nothing went back to the pool, and the next share finds its way.
    assert!(scene.link.next_request(crate::support::A_MOMENT).is_err());
    scene.expect_share_passes(2);
}

/// B8: a miner that did not read let the memory of the proxy grow without a bound.
#[test]
fn b8_a_miner_that_does_not_read_takes_no_memory() {
    let mut scene = Scene::start();
    let _deaf = scene.another_miner("t1addr.deaf");
    let before = scene.proxy.memory_kib();
    let last = 20_000;
    for number in 0..=last {
        let mut job = PoolJob::new("flood");
        job.merkle = format!("{number:064x}");
        scene.link.notify(&job);
    }
    let newest = format!("{last:064x}");
    loop {
        scene.job = scene.miner.expect_job();
        if scene.job.params.at(3).text() == newest {
            break;
        }
    }
    let after = scene.proxy.memory_kib();
    assert!(after < before + 8192, "{before} KiB, then {after} KiB");
    scene.expect_share_passes(1);
}

/// B9: the first error of a pool became `false` without a code.
#[test]
fn b9_the_first_error_of_a_pool_keeps_its_code_and_text() {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.link.reject(&submit.id, 34, "Invalid solution");
    let reply = scene.miner.expect_error(id, 34);
    assert_eq!(reply.error_text(), "Invalid solution");
}
