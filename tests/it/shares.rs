//! Shares on their way to the pool, and what comes back.

use std::collections::HashMap;
use std::io::Write;
use std::thread;

use crate::support::equihash::SET_48_5;
use crate::support::{FakeMiner, Json, POOL_WORKER, PoolJob, Scene, Share};

const SMALL: &str = "equihash: { n: 48, k: 5 }";

// What the pool gets.

#[test]
fn a_share_reaches_the_pool_in_its_own_words() {
    let mut scene = Scene::start();
    let share = scene.miner.share(&scene.job, 0x5eed);
    let slot = scene.miner.nonce_1[8..].to_owned();
    scene.miner.send_share(&share);
    let submit = scene.link.expect_submit();
    assert_eq!(submit.worker, POOL_WORKER);
    assert_eq!(submit.job, "pool-job-1");
    assert_eq!(submit.time, share.time);
    assert_eq!(submit.nonce_2, format!("{slot}{}", share.nonce_2));
    assert_eq!(submit.solution, share.solution);
}

#[test]
fn a_share_goes_out_in_lower_case() {
    let mut scene = Scene::start();
    let share = scene.miner.share(&scene.job, 0xabc_def0);
    let upper = Share {
        time: share.time.to_uppercase(),
        nonce_2: share.nonce_2.to_uppercase(),
        solution: share.solution.to_uppercase(),
        ..share.clone()
    };
    scene.miner.send_share(&upper);
    let submit = scene.link.expect_submit();
    assert!(
        submit.nonce_2.ends_with(&share.nonce_2),
        "{}",
        submit.nonce_2
    );
    assert_eq!((submit.time, submit.solution), (share.time, share.solution));
}

#[test]
fn two_shares_in_flight_have_two_request_ids_at_the_pool() {
    let mut scene = Scene::start();
    for seed in 0..3 {
        scene.miner.submit(&scene.job, seed);
    }
    let ids: Vec<Json> = (0..3).map(|_| scene.link.expect_submit().id).collect();
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2],
        "{ids:?}"
    );
}

#[test]
fn a_job_id_in_upper_case_is_the_same_job() {
    let mut scene = Scene::start();
    let mut share = scene.miner.share(&scene.job, 1);
    share.job = share.job.to_uppercase();
    scene.miner.send_share(&share);
    assert_eq!(scene.link.expect_submit().job, "pool-job-1");
}

#[test]
fn a_sixth_param_reaches_the_pool() {
    let mut scene = Scene::start();
    let params = scene.miner.share(&scene.job, 1).params();
    let longer = params.replace(']', r#", "more",[1] ]"#);
    let id = scene.miner.send_request("mining.submit", &longer);
    let submit = scene.link.expect_submit();
    assert!(
        submit.raw.ends_with(r#"", "more",[1] ]}"#),
        "{}",
        submit.raw
    );
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

#[test]
fn a_submit_with_spaces_and_other_key_order_is_understood() {
    let mut scene = Scene::start();
    let params = scene
        .miner
        .share(&scene.job, 1)
        .params()
        .replace(',', " , ");
    scene.miner.send_line(&format!(
        r#"{{ "params" : {params} , "id" : "s" , "method" : "mining.submit" }}"#
    ));
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    assert_eq!(
        scene.miner.expect_line(),
        r#"{"id":"s","result":true,"error":null}"#
    );
}

#[test]
fn a_submit_with_escapes_is_understood() {
    let mut scene = Scene::start();
    let params = scene.miner.share(&scene.job, 1).params();
    let escaped = params.replace("t1addr.rig1", r"t1addr\u002erig1");
    assert_ne!(params, escaped);
    let id = scene.miner.send_request("mining.submit", &escaped);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

// What the miner gets.

#[test]
fn an_accepted_share_is_answered_with_true() {
    let mut scene = Scene::start();
    scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    let line = scene.miner.expect_line();
    assert!(line.ends_with(r#","result":true,"error":null}"#), "{line}");
}

#[test]
fn a_share_is_answered_before_the_pool_has_where_the_operator_wants_it() {
    let mut scene = Scene::with(&["shares: { reply: immediate }"]);
    let id = scene.miner.submit(&scene.job, 1);
    scene.miner.expect_accepted(id);
    let submit = scene.link.expect_submit();
    scene.link.reject(&submit.id, 23, "Low difficulty share");
    scene.announce(&PoolJob::new("2"));
    scene.miner.expect_no_other_reply();
}

#[test]
fn a_rejected_share_is_answered_with_the_pools_code_and_text() {
    let mut scene = Scene::start();
    let params = scene.miner.share(&scene.job, 1).params();
    scene.miner.send_line(&format!(
        r#"{{"id":"r-1","method":"mining.submit","params":{params}}}"#
    ));
    let submit = scene.link.expect_submit();
    scene
        .link
        .reject(&submit.id, 23, "Low difficulty share of 0.01");
    assert_eq!(
        scene.miner.expect_line(),
        r#"{"id":"r-1","result":null,"error":[23,"Low difficulty share of 0.01",null]}"#
    );
}

#[test]
fn each_miner_gets_its_own_answer_when_both_use_one_id() {
    let mut scene = Scene::start();
    let (mut other, others_job) = scene.another_miner("t1addr.rig2");
    let params = scene.miner.share(&scene.job, 1).params();
    scene.miner.send_line(&format!(
        r#"{{"id":9000,"method":"mining.submit","params":{params}}}"#
    ));
    let first = scene.link.expect_submit();
    let params = other.share(&others_job, 2).params();
    other.send_line(&format!(
        r#"{{"id":9000,"method":"mining.submit","params":{params}}}"#
    ));
    let second = scene.link.expect_submit();
    scene.link.reject(&second.id, 23, "too low");
    scene.link.accept(&first.id);
    scene.miner.expect_accepted(9000);
    other.expect_error(9000, 23);
}

#[test]
fn answers_come_in_the_order_of_the_pool() {
    let mut scene = Scene::start();
    let ids: Vec<u64> = (0..3)
        .map(|seed| scene.miner.submit(&scene.job, seed))
        .collect();
    let submits: Vec<_> = (0..3).map(|_| scene.link.expect_submit()).collect();
    for at in [2, 0, 1] {
        scene.link.accept(&submits[at].id);
    }
    for at in [2, 0, 1] {
        scene.miner.expect_accepted(ids[at]);
    }
}

#[test]
fn a_second_reply_of_the_pool_is_not_passed_on() {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.link.reject(&submit.id, 22, "Duplicate share");
    scene.miner.expect_accepted(id);
    scene.announce(&PoolJob::new("2"));
    scene.miner.expect_no_other_reply();
}

#[test]
fn a_reply_to_nothing_is_passed_over() {
    let mut scene = Scene::start();
    for line in [
        r#"{"id":4711,"result":true,"error":null}"#,
        r#"{"id":"4711","result":true,"error":null}"#,
        r#"{"id":null,"result":[],"error":true}"#,
        r#"{"id":"","error":"-1:params not found"}"#,
        r#"{"id":5,"result":"pong","error":null}"#,
        r#"{"id":99999999999999999999999999,"result":true,"error":null}"#,
        r#"{"id":-1,"result":true,"error":null}"#,
        r#"{"id":1.5,"result":true,"error":null}"#,
    ] {
        scene.link.send_line(line);
    }
    scene.announce(&PoolJob::new("2"));
    scene.miner.expect_no_other_reply();
    scene.expect_share_passes(1);
}

/// The pool replies with `reply`, its `ID` replaced; the miner must be told this code and text.
#[track_caller]
fn is_understood_as(reply: &str, code: i64, text: &str) {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene
        .link
        .send_line(&reply.replace("ID", &submit.id.to_string()));
    let told = scene.miner.expect_error(id, code);
    assert_eq!(told.error_text(), text);
}

#[test]
fn an_error_with_an_empty_traceback_is_understood() {
    is_understood_as(
        r#"{"id":ID,"result":null,"error":[21,"Job not found",""]}"#,
        21,
        "Job not found",
    );
}

#[test]
fn an_error_beside_a_false_result_is_understood() {
    is_understood_as(
        r#"{"id":ID,"result":false,"error":[34,"Invalid solution",null]}"#,
        34,
        "Invalid solution",
    );
}

#[test]
fn an_error_of_two_elements_is_understood() {
    is_understood_as(
        r#"{"id":ID,"result":null,"error":[22,"Duplicate"]}"#,
        22,
        "Duplicate",
    );
}

#[test]
fn a_negative_code_is_understood() {
    is_understood_as(
        r#"{"error":[-3,"Method not found",null],"id":ID,"result":null}"#,
        -3,
        "Method not found",
    );
}

#[test]
fn an_error_object_is_understood() {
    is_understood_as(
        r#"{"jsonrpc":"2.0","error":{"code":22,"message":"duplicate share","data":null},"id":ID}"#,
        22,
        "duplicate share",
    );
}

#[test]
fn an_error_object_beside_a_false_result_is_understood() {
    is_understood_as(
        r#"{"id":ID,"result":false,"error":{"code":21,"message":"job not found","data":{}}}"#,
        21,
        "job not found",
    );
}

#[test]
fn a_text_with_escapes_is_passed_on() {
    is_understood_as(
        r#"{"id":ID,"result":null,"error":[20,"\"no\" \\ \u00e9",null]}"#,
        20,
        "\"no\" \\ é",
    );
}

/// A rejection without a code of the pool: some code, and the pool's text where it gave one.
#[track_caller]
fn is_understood_as_a_rejection(reply: &str, text: &str) {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene
        .link
        .send_line(&reply.replace("ID", &submit.id.to_string()));
    let told = scene.miner.expect_result(id);
    told.assert_error(told.code().expect("a code"));
    assert!(told.error_text().contains(text), "{}", told.raw);
    scene.expect_share_passes(2);
}

#[test]
fn a_reject_reason_beside_the_error_is_understood() {
    is_understood_as_a_rejection(
        r#"{"reject-reason":"Above target 2","result":false,"error":null,"id":ID}"#,
        "Above target 2",
    );
}

#[test]
fn an_error_that_is_a_string_is_understood() {
    is_understood_as_a_rejection(r#"{"result":false,"error":"Stale","id":ID}"#, "Stale");
}

#[test]
fn an_error_that_is_true_is_understood() {
    is_understood_as_a_rejection(r#"{"id":ID,"result":[],"error":true}"#, "");
}

#[test]
fn a_bare_false_is_understood() {
    is_understood_as_a_rejection(r#"{"id":ID,"result":false,"error":null}"#, "");
}

#[test]
fn an_error_array_without_a_code_is_understood() {
    is_understood_as_a_rejection(r#"{"id":ID,"result":null,"error":["oh no"]}"#, "");
}

#[test]
fn an_empty_error_array_beside_a_null_result_is_understood() {
    is_understood_as_a_rejection(r#"{"id":ID,"result":null,"error":[]}"#, "");
}

/// The pool replies with `reply`, its `ID` replaced; the miner must be told true.
#[track_caller]
fn is_understood_as_accepted(reply: &str) {
    let mut scene = Scene::start();
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene
        .link
        .send_line(&reply.replace("ID", &submit.id.to_string()));
    scene.miner.expect_accepted(id);
}

#[test]
fn a_reply_without_an_error_key_is_understood() {
    is_understood_as_accepted(r#"{"id":ID,"result":true}"#);
}

#[test]
fn a_reply_with_its_keys_in_another_order_is_understood() {
    is_understood_as_accepted(r#"{ "jsonrpc":"2.0", "error":null, "result":true, "id":ID }"#);
}

// What never reaches the pool.

/// Spoils a good share; the proxy must answer with this code and not trouble the pool.
#[track_caller]
fn is_refused(code: i64, spoil: impl Fn(&mut Share)) {
    let mut scene = Scene::start();
    let mut share = scene.miner.share(&scene.job, 1);
    spoil(&mut share);
    let id = scene.miner.send_share(&share);
    scene.miner.expect_error(id, code);
    // The next share at the pool is the good one, so the spoilt one did not get there.
    let good = scene.miner.submit(&scene.job, 0x600d);
    let submit = scene.link.expect_submit();
    assert!(
        submit.nonce_2.ends_with("600d"),
        "the spoilt share: {}",
        submit.nonce_2
    );
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(good);
}

#[test]
fn an_unknown_job_is_refused_with_21() {
    is_refused(21, |share| "ffffffff".clone_into(&mut share.job));
}

#[test]
fn the_pools_own_job_id_is_an_unknown_job() {
    is_refused(21, |share| "pool-job-1".clone_into(&mut share.job));
}

#[test]
fn an_empty_job_id_is_refused_with_21() {
    is_refused(21, |share| share.job.clear());
}

#[test]
fn an_unauthorized_worker_is_refused_with_24() {
    is_refused(24, |share| {
        "t1addr.somebody-else".clone_into(&mut share.worker)
    });
}

#[test]
fn the_pools_worker_is_refused_with_24_unless_it_was_authorized_here() {
    is_refused(24, |share| POOL_WORKER.clone_into(&mut share.worker));
}

#[test]
fn a_nonce_2_one_byte_too_short_is_refused_with_20() {
    is_refused(20, |share| share.nonce_2.truncate(50));
}

#[test]
fn a_nonce_2_with_our_slot_in_front_is_too_long() {
    is_refused(20, |share| share.nonce_2.insert_str(0, "776a"));
}

#[test]
fn an_empty_nonce_2_is_refused_with_20() {
    is_refused(20, |share| share.nonce_2.clear());
}

#[test]
fn a_nonce_2_of_odd_length_is_refused_with_20() {
    is_refused(20, |share| share.nonce_2.truncate(51));
}

#[test]
fn a_nonce_2_with_other_letters_is_refused_with_20() {
    is_refused(20, |share| share.nonce_2.replace_range(51.., "g"));
}

#[test]
fn a_nonce_2_with_a_tail_that_is_not_hex_is_refused_with_20() {
    is_refused(20, |share| share.nonce_2.push_str("zz"));
}

#[test]
fn a_solution_without_its_prefix_is_refused_with_20() {
    is_refused(20, |share| drop(share.solution.drain(..6)));
}

#[test]
fn a_prefix_that_is_not_canonical_is_refused_with_20() {
    is_refused(20, |share| share.solution.replace_range(..6, "fe40050000"));
}

#[test]
fn a_prefix_of_another_length_is_refused_with_20() {
    is_refused(20, |share| share.solution.replace_range(..6, "fd4006"));
}

#[test]
fn a_solution_of_odd_length_is_refused_with_20() {
    is_refused(20, |share| share.solution.truncate(2693));
}

#[test]
fn a_solution_one_byte_too_long_is_refused_with_20() {
    is_refused(20, |share| share.solution.push_str("00"));
}

#[test]
fn a_solution_with_other_letters_is_refused_with_20() {
    is_refused(20, |share| share.solution.replace_range(1000..1001, "x"));
}

#[test]
fn a_solution_for_other_parameters_is_refused_with_20() {
    is_refused(20, |share| share.solution = SET_48_5.solution(1));
}

#[test]
fn a_time_that_is_too_short_is_refused_with_20() {
    is_refused(20, |share| share.time.truncate(6));
}

#[test]
fn a_time_with_other_letters_is_refused_with_20() {
    is_refused(20, |share| "a8beccxx".clone_into(&mut share.time));
}

#[test]
fn a_time_in_the_far_future_is_refused_with_20() {
    is_refused(20, |share| "ffffffff".clone_into(&mut share.time));
}

#[test]
fn params_of_other_types_are_refused_with_20() {
    let mut scene = Scene::start();
    let job = scene.job.id.clone();
    for params in [
        "[]".to_owned(),
        r#"["t1addr.rig1"]"#.to_owned(),
        format!(r#"["t1addr.rig1","{job}"]"#),
        format!(r#"["t1addr.rig1","{job}","a8becc5b","00"]"#),
        format!(r#"["t1addr.rig1","{job}",1540144808,5,null]"#),
        format!(r#"["t1addr.rig1","{job}","a8becc5b",["00"],{{}}]"#),
    ] {
        let reply = scene.miner.request("mining.submit", &params);
        assert!(
            matches!(reply.code(), Some(20 | 24)),
            "{params}: {}",
            reply.raw
        );
    }
    scene.expect_share_passes(1);
}

#[test]
fn a_submit_before_subscribe_is_refused_with_25() {
    let scene = Scene::start();
    let mut miner = FakeMiner::connect(&scene.proxy);
    let params = scene.miner.share(&scene.job, 1).params();
    miner.request("mining.submit", &params).assert_error(25);
}

#[test]
fn a_submit_before_authorize_is_refused_with_24() {
    let scene = Scene::start();
    let mut miner = FakeMiner::connect(&scene.proxy);
    miner.subscribe();
    let params = scene.miner.share(&scene.job, 1).params();
    miner.request("mining.submit", &params).assert_error(24);
}

#[test]
fn the_worker_is_checked_before_the_job_and_the_job_before_the_hex() {
    let mut scene = Scene::start();
    let mut share = scene.miner.share(&scene.job, 1);
    "zz".clone_into(&mut share.nonce_2);
    "ffffffff".clone_into(&mut share.job);
    let id = scene.miner.send_share(&share);
    scene.miner.expect_error(id, 21);
    "nobody".clone_into(&mut share.worker);
    let id = scene.miner.send_share(&share);
    scene.miner.expect_error(id, 24);
}

// Duplicates.

#[test]
fn the_same_share_twice_is_refused_with_22() {
    let mut scene = Scene::start();
    scene.expect_share_passes(1);
    let id = scene.miner.submit(&scene.job, 1);
    scene.miner.expect_error(id, 22);
    scene.link.expect_no_submit();
}

#[test]
fn the_same_share_twice_is_refused_before_the_pool_has_judged_the_first() {
    let mut scene = Scene::start();
    let first = scene.miner.submit(&scene.job, 1);
    let second = scene.miner.submit(&scene.job, 1);
    scene.miner.expect_error(second, 22);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(first);
}

#[test]
fn the_same_share_in_upper_case_is_refused_with_22() {
    let mut scene = Scene::start();
    scene.expect_share_passes(1);
    let mut share = scene.miner.share(&scene.job, 1);
    share.nonce_2 = share.nonce_2.to_uppercase();
    share.solution = share.solution.to_uppercase();
    share.time = share.time.to_uppercase();
    let id = scene.miner.send_share(&share);
    scene.miner.expect_error(id, 22);
    scene.link.expect_no_submit();
}

#[test]
fn a_share_in_upper_case_makes_its_lower_case_a_duplicate() {
    let mut scene = Scene::start();
    let lower = scene.miner.share(&scene.job, 1);
    let mut upper = lower.clone();
    upper.solution = upper.solution.to_uppercase();
    let first = scene.miner.send_share(&upper);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(first);
    let second = scene.miner.send_share(&lower);
    scene.miner.expect_error(second, 22);
}

#[test]
fn a_share_that_the_pool_rejected_is_a_duplicate_too() {
    let mut scene = Scene::start();
    let first = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.link.reject(&submit.id, 23, "low");
    scene.miner.expect_error(first, 23);
    let second = scene.miner.submit(&scene.job, 1);
    scene.miner.expect_error(second, 22);
}

/// One nonce has 1.9 valid solutions on average.
#[test]
fn another_solution_of_the_same_nonce_is_no_duplicate() {
    let mut scene = Scene::start();
    scene.expect_share_passes(1);
    let mut share = scene.miner.share(&scene.job, 1);
    share.solution = scene.miner.set.solution(2);
    let id = scene.miner.send_share(&share);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

#[test]
fn the_same_nonce_on_another_job_is_no_duplicate() {
    let mut scene = Scene::start();
    scene.expect_share_passes(1);
    scene.announce(&PoolJob::new("2"));
    scene.expect_share_passes(1);
}

#[test]
fn the_same_nonce_2_of_another_miner_is_no_duplicate() {
    let mut scene = Scene::start();
    scene.expect_share_passes(1);
    let (mut other, job) = scene.another_miner("t1addr.rig2");
    let id = other.submit(&job, 1);
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    other.expect_accepted(id);
}

#[test]
fn a_share_that_was_refused_for_its_shape_is_no_duplicate_later() {
    let mut scene = Scene::start();
    let mut share = scene.miner.share(&scene.job, 1);
    share.solution.truncate(100);
    let id = scene.miner.send_share(&share);
    scene.miner.expect_error(id, 20);
    scene.expect_share_passes(1);
}

// Many, and none.

#[test]
fn a_thousand_pipelined_shares_are_answered_once_each_in_the_order_of_the_pool() {
    let mut scene = Scene::with(&[SMALL]);
    scene.miner.set = SET_48_5;
    let mut lines = String::new();
    for seed in 0..1000 {
        let params = scene.miner.share(&scene.job, seed).params();
        let id = 10_000 + seed;
        lines.push_str(&format!(
            "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":{params}}}\n"
        ));
    }
    let mut writer = scene.miner.writer();
    let writing = thread::spawn(move || writer.write_all(lines.as_bytes()).unwrap());
    let mut submits: Vec<_> = (0..1000).map(|_| scene.link.expect_submit()).collect();
    writing.join().unwrap();
    // The pool takes its time and begins with the last one; it takes each third only.
    submits.reverse();
    for (at, submit) in submits.iter().enumerate() {
        if at % 3 == 0 {
            scene.link.accept(&submit.id);
        } else {
            scene.link.reject(&submit.id, 23, "low");
        }
    }
    for at in 0..1000 {
        let reply = scene.miner.expect_result(10_999 - at);
        assert_eq!(reply.is_accepted(), at % 3 == 0, "{}", reply.raw);
    }
    scene.miner.expect_no_other_reply();
}

#[test]
fn a_share_in_pieces_is_one_share() {
    let mut scene = Scene::start();
    let params = scene.miner.share(&scene.job, 1).params();
    let line = format!("{{\"id\":77,\"method\":\"mining.submit\",\"params\":{params}}}\n");
    let mut random = fastrand::Rng::with_seed(42);
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(random.usize(1..=rest.len().min(97)));
        scene.miner.send_raw(piece);
        rest = more;
    }
    let submit = scene.link.expect_submit();
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(77);
}

#[test]
fn a_reply_that_never_comes_is_answered_with_20() {
    let mut scene = Scene::with(&["limits: { reply_timeout_seconds: 1 }"]);
    let id = scene.miner.submit(&scene.job, 1);
    let submit = scene.link.expect_submit();
    scene.miner.expect_error(id, 20);
    // The late reply is nobody's.
    scene.link.accept(&submit.id);
    scene.announce(&PoolJob::new("2"));
    scene.miner.expect_no_other_reply();
    scene.expect_share_passes(2);
}

#[test]
fn every_answer_finds_the_id_of_its_submit_whatever_its_type() {
    let mut scene = Scene::start();
    let ids = ["4", "4.0", r#""4""#, "null", "-4"];
    let mut at_the_pool = HashMap::new();
    for (seed, id) in (0..).zip(ids) {
        let params = scene.miner.share(&scene.job, seed).params();
        scene.miner.send_line(&format!(
            r#"{{"id":{id},"method":"mining.submit","params":{params}}}"#
        ));
        at_the_pool.insert(id, scene.link.expect_submit().id);
    }
    for id in ids {
        scene.link.accept(&at_the_pool[id]);
        assert_eq!(
            scene.miner.expect_line(),
            format!(r#"{{"id":{id},"result":true,"error":null}}"#)
        );
    }
}

#[test]
fn a_miner_that_left_takes_nobodys_answer_along() {
    let mut scene = Scene::start();
    let (mut leaver, job) = scene.another_miner("t1addr.rig2");
    leaver.submit(&job, 1);
    let left = scene.link.expect_submit();
    leaver.close();
    let id = scene.miner.submit(&scene.job, 2);
    let submit = scene.link.expect_submit();
    scene.link.reject(&left.id, 23, "low");
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}
