//! Miners that send what no miner should, while another one works on and must not notice.

use std::time::{Duration, Instant};

use crate::support::equihash::SET_48_5;
use crate::support::miner::Taken;
use crate::support::{AutoPool, Config, FakeMiner, PATIENCE, PoolJob, Proxy, Scene};

/// Lets an attacker do its worst, then sees whether anybody else noticed.
#[track_caller]
fn nobody_notices(attack: impl FnOnce(&Scene)) {
    let mut scene = Scene::start();
    scene.expect_share_passes(1);
    attack(&scene);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(2);
    scene.miner.expect_no_other_reply();
    scene.pool.expect_no_link();
    let (mut newcomer, job) = scene.another_miner("t1addr.newcomer");
    let id = newcomer.submit(&job, 3);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    newcomer.expect_accepted(id);
}

/// The bytes get an error or end the connection, from a stranger and from a miner at work.
#[track_caller]
fn is_taken_politely(bytes: &[u8]) {
    nobody_notices(|scene| {
        let stranger = FakeMiner::connect(&scene.proxy);
        let (worker, _) = scene.another_miner("t1addr.attacker");
        for mut attacker in [stranger, worker] {
            attacker.send_raw(bytes);
            match attacker.reply_or_close() {
                Taken::Closed => {}
                Taken::Answered(reply) => {
                    let code = reply.code();
                    assert!(code.is_some(), "no error: {}", reply.raw);
                    reply.assert_error(code.unwrap());
                }
            }
        }
    });
}

// Lines.

#[test]
fn invalid_utf8() {
    is_taken_politely(b"{\"id\":1,\"method\":\"\xff\xfe\",\"params\":[]}\n");
}

#[test]
fn invalid_utf8_in_a_worker_name() {
    is_taken_politely(
        b"{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"t1\xc3\x28\",\"x\"]}\n",
    );
}

#[test]
fn a_json_array() {
    is_taken_politely(b"[1,2,3]\n");
}

#[test]
fn a_batch() {
    is_taken_politely(b"[{\"id\":1,\"method\":\"mining.multi_version\",\"params\":[1]}]\n");
}

#[test]
fn a_method_that_is_a_number() {
    is_taken_politely(b"{\"id\":1,\"method\":5,\"params\":[]}\n");
}

#[test]
fn a_method_that_is_null() {
    is_taken_politely(b"{\"id\":1,\"method\":null,\"params\":[]}\n");
}

#[test]
fn no_method() {
    is_taken_politely(b"{\"id\":1,\"params\":[]}\n");
}

#[test]
fn an_empty_object() {
    is_taken_politely(b"{}\n");
}

#[test]
fn params_that_are_null() {
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.submit\",\"params\":null}\n");
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.authorize\",\"params\":null}\n");
}

#[test]
fn params_that_are_an_object() {
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.submit\",\"params\":{\"a\":1}}\n");
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.authorize\",\"params\":{\"a\":1}}\n");
}

#[test]
fn no_params() {
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.submit\"}\n");
}

#[test]
fn a_worker_that_is_no_string() {
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.authorize\",\"params\":[5,\"x\"]}\n");
}

#[test]
fn json_that_ends_too_early() {
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\n");
}

#[test]
fn two_objects_on_one_line() {
    is_taken_politely(b"{\"id\":1,\"method\":\"x\"}{\"id\":2,\"method\":\"x\"}\n");
}

#[test]
fn values_that_are_no_object() {
    for line in ["null\n", "true\n", "5\n", "\"mining.subscribe\"\n"] {
        is_taken_politely(line.as_bytes());
    }
}

#[test]
fn words_of_other_protocols() {
    is_taken_politely(b"GET / HTTP/1.1\r\nHost: proxy.local\r\n\r\n");
    is_taken_politely(b"SSH-2.0-OpenSSH_9.6\r\n");
    is_taken_politely(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    is_taken_politely(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n");
}

#[test]
fn a_nul_byte() {
    is_taken_politely(b"{\"id\":1,\0\"method\":\"mining.multi_version\",\"params\":[1]}\n");
}

#[test]
fn a_control_character_in_a_string() {
    is_taken_politely(b"{\"id\":1,\"method\":\"mining.\x01\",\"params\":[]}\n");
}

#[test]
fn nesting_a_thousand_deep() {
    let (open, close) = ("[".repeat(1000), "]".repeat(1000));
    is_taken_politely(
        format!("{{\"id\":1,\"method\":\"mining.submit\",\"params\":{open}{close}}}\n").as_bytes(),
    );
}

#[test]
fn ids_that_are_no_id() {
    for id in ["{\"a\":1}", "[1]", "true"] {
        is_taken_politely(
            format!("{{\"id\":{id},\"method\":\"mining.made_up\",\"params\":[]}}\n").as_bytes(),
        );
    }
}

/// An id that is echoed is an amplifier.
#[test]
fn an_id_of_a_thousand_letters_is_not_echoed() {
    let id = "x".repeat(1000);
    let line = format!("{{\"id\":\"{id}\",\"method\":\"mining.multi_version\",\"params\":[1]}}\n");
    nobody_notices(|scene| {
        let (mut attacker, _) = scene.another_miner("t1addr.attacker");
        attacker.send_raw(line.as_bytes());
        if let Taken::Answered(reply) = attacker.reply_or_close() {
            assert!(!reply.raw.contains(&id), "{}", reply.raw);
        }
    });
}

#[test]
fn a_reply_that_nobody_asked_for_is_passed_over_or_ends_the_connection() {
    nobody_notices(|scene| {
        let (mut attacker, _) = scene.another_miner("t1addr.attacker");
        for id in 0..20 {
            attacker.send_line(&format!("{{\"id\":{id},\"result\":true,\"error\":null}}"));
        }
    });
}

#[test]
fn bad_lines_by_the_dozen_end_the_connection() {
    nobody_notices(|scene| {
        let mut attacker = FakeMiner::connect(&scene.proxy);
        for _ in 0..50 {
            attacker.send_raw(b"{\"id\":1,\"method\":5}\n");
        }
        attacker.expect_closed();
    });
}

#[test]
fn unknown_methods_by_the_dozen_before_subscribe_end_the_connection() {
    nobody_notices(|scene| {
        let mut attacker = FakeMiner::connect(&scene.proxy);
        for _ in 0..50 {
            attacker.send_raw(b"{\"id\":1,\"method\":\"eth_getWork\",\"params\":[]}\n");
        }
        attacker.expect_closed();
    });
}

// Length and pace.

#[test]
fn a_hundred_kilobytes_without_a_line_feed_end_the_connection() {
    nobody_notices(|scene| {
        let mut attacker = FakeMiner::connect(&scene.proxy);
        attacker.send_raw(&[b'x'; 100_000]);
        attacker.expect_closed();
    });
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_of_a_miner_at_work() {
    nobody_notices(|scene| {
        let (mut attacker, _) = scene.another_miner("t1addr.attacker");
        let long = "x".repeat(9000);
        attacker.send_line(&format!(
            "{{\"id\":9,\"method\":\"mining.made_up\",\"params\":[\"{long}\"]}}"
        ));
        attacker.expect_closed();
    });
}

#[test]
fn the_reason_is_logged_when_asked_for() {
    let pool = AutoPool::accepts_all();
    let yaml = Config::new(&pool.url()).yaml();
    let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
    let mut attacker = FakeMiner::connect(&proxy);
    attacker.send_raw(&[b'x'; 100_000]);
    attacker.expect_closed();
    proxy.log_contains("line_too_long");
}

#[test]
fn a_long_line_below_the_bound_is_read() {
    let mut scene = Scene::start();
    let spaces = " ".repeat(8000);
    scene.miner.send_line(&format!(
        "{{\"id\":5,{spaces}\"method\":\"mining.multi_version\",\"params\":[1]}}"
    ));
    scene.miner.expect_accepted(5);
}

#[test]
fn long_lines_take_no_memory() {
    nobody_notices(|scene| {
        let attack = || {
            let mut attacker = FakeMiner::connect(&scene.proxy);
            attacker.send_raw(&vec![b'x'; 500_000]);
            attacker.expect_closed();
        };
        (0..5).for_each(|_| attack());
        let before = scene.proxy.memory_kib();
        (0..40).for_each(|_| attack());
        let after = scene.proxy.memory_kib();
        assert!(after < before + 4096, "{before} KiB, then {after} KiB");
    });
}

#[test]
fn half_lines_of_many_take_little_memory() {
    nobody_notices(|scene| {
        let before = scene.proxy.memory_kib();
        let half = [b'{'; 4000];
        let mut attackers: Vec<_> = (0..200).map(|_| FakeMiner::connect(&scene.proxy)).collect();
        for attacker in &mut attackers {
            attacker.send_raw(&half);
        }
        // When this miner has its answer, the half lines have been read.
        let (mut probe, _) = scene.another_miner("t1addr.probe");
        probe.expect_no_other_reply();
        let after = scene.proxy.memory_kib();
        assert!(after < before + 8192, "{before} KiB, then {after} KiB");
    });
}

#[test]
fn a_handshake_that_trickles_in_is_ended_in_time() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).key("limits: { subscribe_timeout_seconds: 1 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut attacker = FakeMiner::connect(&proxy);
    let deadline = Instant::now() + PATIENCE;
    loop {
        attacker.send_raw(b" ");
        let heard = attacker.hear(Duration::from_millis(100));
        if heard == crate::support::line::Heard::Closed {
            break;
        }
        assert!(Instant::now() < deadline, "still open: {heard:?}");
    }
}

#[test]
fn a_thousand_bad_shares_pipelined_are_each_answered() {
    nobody_notices(|scene| {
        let (mut attacker, job) = scene.another_miner("t1addr.attacker");
        let mut share = attacker.share(&job, 1);
        "ffffffff".clone_into(&mut share.job);
        share.solution = SET_48_5.solution(1);
        let params = share.params();
        let mut lines = String::new();
        for id in 5000..6000 {
            lines.push_str(&format!(
                "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":{params}}}\n"
            ));
        }
        attacker.send_raw(lines.as_bytes());
        for id in 5000..6000 {
            attacker.expect_error(id, 21);
        }
    });
}

// Connections.

#[test]
fn a_reset_in_the_middle_of_a_line() {
    nobody_notices(|scene| {
        let (mut attacker, _) = scene.another_miner("t1addr.attacker");
        attacker.send_raw(b"{\"id\":5,\"method\":\"mining.submit\",\"params\":[\"t1addr.att");
        attacker.reset();
    });
}

#[test]
fn a_close_in_the_middle_of_a_line() {
    nobody_notices(|scene| {
        let (mut attacker, _) = scene.another_miner("t1addr.attacker");
        attacker.send_raw(b"{\"id\":5,\"method\":\"mining.submit\",\"params\":[\"t1addr.att");
        attacker.close();
    });
}

#[test]
fn a_miner_that_ends_its_sending_side_is_closed() {
    nobody_notices(|scene| {
        let (mut leaver, _) = scene.another_miner("t1addr.leaver");
        leaver.finish();
        leaver.expect_closed();
    });
}

#[test]
fn connections_that_come_and_go_without_a_word() {
    nobody_notices(|scene| {
        for at in 0..300 {
            let visitor = FakeMiner::connect(&scene.proxy);
            if at % 2 == 0 {
                visitor.reset();
            } else {
                visitor.close();
            }
        }
    });
}

#[test]
fn connections_that_stay_without_a_word() {
    let mut visitors = Vec::new();
    nobody_notices(|scene| {
        visitors.extend((0..300).map(|_| FakeMiner::connect(&scene.proxy)));
    });
}

/// A link with room for four, so that a slot that leaks is missed soon.
fn slots_do_not_leak(visit: impl Fn(&Proxy)) {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).keys(&[
        "slot_bytes: 1",
        "miners_per_link: 4",
        "links_per_shard_max: 1",
    ]);
    let proxy = Proxy::start_with(&["--cores", "1", "-v"], &config.yaml());
    for _ in 0..300 {
        visit(&proxy);
    }
    // Those that just left may not have been noticed yet.
    let deadline = Instant::now() + PATIENCE;
    let mut inside = Vec::new();
    while inside.len() < 4 {
        let mut miner = FakeMiner::connect(&proxy);
        if miner.request("mining.subscribe", "[]").error.is_null() {
            inside.push(miner);
        }
        assert!(Instant::now() < deadline, "room for {} of 4", inside.len());
    }
}

#[test]
fn a_reset_after_subscribe_frees_the_slot() {
    slots_do_not_leak(|proxy| {
        let mut miner = FakeMiner::connect(proxy);
        miner.subscribe();
        miner.reset();
    });
}

#[test]
fn a_reset_in_the_middle_of_a_line_frees_the_slot() {
    slots_do_not_leak(|proxy| {
        let (mut miner, _) = FakeMiner::mining(proxy, "t1addr.rig1");
        miner.send_raw(b"{\"id\":5,\"method\":\"mining.sub");
        miner.reset();
    });
}

#[test]
fn a_reset_before_the_reply_to_subscribe_frees_the_slot() {
    slots_do_not_leak(|proxy| {
        let mut miner = FakeMiner::connect(proxy);
        miner.send_subscribe();
        miner.reset();
    });
}

#[test]
fn a_reset_with_a_share_in_flight_frees_the_slot() {
    slots_do_not_leak(|proxy| {
        let (mut miner, job) = FakeMiner::mining(proxy, "t1addr.rig1");
        miner.submit(&job, 1);
        miner.reset();
    });
}

#[test]
fn a_miner_closed_for_its_long_line_frees_the_slot() {
    slots_do_not_leak(|proxy| {
        let (mut miner, _) = FakeMiner::mining(proxy, "t1addr.rig1");
        miner.send_raw(&[b'x'; 20_000]);
        miner.expect_closed();
    });
}

#[test]
fn subscribing_again_and_again_takes_no_second_slot() {
    slots_do_not_leak(|proxy| {
        let mut miner = FakeMiner::connect(proxy);
        for _ in 0..6 {
            miner.subscribe();
        }
    });
}

#[test]
fn more_worker_names_than_allowed_are_refused_and_the_first_one_mines_on() {
    let mut scene = Scene::with(&["limits: { workers_per_miner_max: 3 }"]);
    let mut refused = 0;
    for rig in 2..10 {
        let params = format!("[\"t1addr.rig{rig}\",\"x\"]");
        let reply = scene.miner.request("mining.authorize", &params);
        refused += usize::from(!reply.is_accepted());
    }
    assert_eq!(refused, 6, "two more names have room");
    scene.expect_share_passes(1);
}

#[test]
fn a_worker_name_that_is_too_long_is_refused() {
    is_taken_politely(
        format!(
            "{{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"{}\",\"x\"]}}\n",
            "x".repeat(300)
        )
        .as_bytes(),
    );
}
