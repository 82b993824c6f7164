//! Subscribe, authorize, and the small talk around them.

use crate::support::{
    A_MOMENT, AutoPool, Config, FakeMiner, FakePool, Json, NONCE_1, POOL_PASSWORD, POOL_WORKER,
    Proxy, Scene,
};

// Subscribe, as the miner says it.

#[test]
fn subscribe_is_answered_with_the_pools_nonce_and_two_bytes_of_ours() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_line(r#"{"id":1,"method":"mining.subscribe","params":["a/1",null,"host",3333]}"#);
    let line = miner.expect_line();
    let nonce_1 = line
        .strip_prefix(r#"{"id":1,"result":[null,""#)
        .and_then(|rest| rest.strip_suffix(r#""],"error":null}"#))
        .unwrap_or_else(|| panic!("{line}"));
    assert_eq!(nonce_1.len(), 12, "{line}");
    assert!(nonce_1.starts_with("c2fd60"), "{line}");
    assert!(
        nonce_1
            .bytes()
            .all(|byte| b"0123456789abcdef".contains(&byte)),
        "{line}"
    );
}

#[test]
fn every_shape_of_subscribe_is_understood() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let shapes = [
        "[]",
        r#"["miner/1.0"]"#,
        r#"["miner/1.0",null]"#,
        r#"["miner/1.0","session"]"#,
        r#"["EWBF 0.3.4b",null,"127.0.0.1","3096"]"#,
        r#"["lolMiner 1.52a","pool.example","3333",null]"#,
        r#"["xxx","9999","/Satoshi:1.0.0-beta2/", null]"#,
        "[null,null,null,null]",
        "[1,2,3,4]",
        r#"["miner/1.0",null,"host",3333,"more"]"#,
        r#"["a \"quoted\" agent \u00e9\\",null,"host",3333]"#,
    ];
    for shape in shapes {
        let mut miner = FakeMiner::connect(&proxy);
        let reply = miner.request("mining.subscribe", shape);
        assert!(reply.error.is_null(), "{shape}: {}", reply.raw);
        assert_eq!(
            reply.result.at(1).text().len(),
            12,
            "{shape}: {}",
            reply.raw
        );
    }
}

#[test]
fn keys_in_any_order_and_with_spaces_are_understood() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_line(
        r#" { "params": [ "a" , null ] , "jsonrpc":"2.0", "id" : 7, "method":"mining.subscribe"} "#,
    );
    assert_eq!(miner.expect_result(7).result.at(1).text().len(), 12);
}

#[test]
fn a_second_subscribe_gets_the_same_answer() {
    let mut scene = Scene::start();
    let before = scene.miner.nonce_1.clone();
    let reply = scene.miner.request("mining.subscribe", r#"["a/1"]"#);
    assert_eq!(reply.result.at(1).text(), before);
    scene.expect_share_passes(1);
}

#[test]
fn a_second_authorize_gets_the_same_answer() {
    let mut scene = Scene::start();
    scene.miner.authorize("t1addr.rig1");
    scene.expect_share_passes(1);
}

#[test]
fn ids_are_echoed_byte_for_byte() {
    let mut scene = Scene::start();
    let long = format!("\"{}\"", "x".repeat(60));
    let ids = [
        "1",
        "0",
        "-5",
        "1.0",
        "1.50",
        "1e3",
        "18446744073709551615",
        "123456789012345678901234567890",
        r#""abc""#,
        r#""1""#,
        r#""""#,
        r#""a\"b\\\u00e9\n""#,
        "null",
        &long,
    ];
    for id in ids {
        scene.miner.send_line(&format!(
            r#"{{"id":{id},"method":"mining.multi_version","params":[1]}}"#
        ));
        let line = scene.miner.expect_line();
        assert_eq!(line, format!(r#"{{"id":{id},"result":true,"error":null}}"#));
    }
}

#[test]
fn the_id_of_a_subscribe_is_echoed_byte_for_byte() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    for id in ["null", "1.0", r#""s-1""#, "4294967296000"] {
        let mut miner = FakeMiner::connect(&proxy);
        miner.send_line(&format!(
            r#"{{"id":{id},"method":"mining.subscribe","params":[]}}"#
        ));
        let line = miner.expect_line();
        assert!(
            line.starts_with(&format!(r#"{{"id":{id},"result":[null,""#)),
            "{line}"
        );
    }
}

#[test]
fn miners_may_end_their_lines_with_a_carriage_return() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_raw(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\r\n");
    miner.expect_subscribed(1);
    miner.send_raw(b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\r\n");
    miner.expect_accepted(2);
    miner.expect_job();
}

#[test]
fn miners_get_line_feeds_alone() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_raw(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\r\n");
    miner.send_raw(b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\r\n");
    // Two replies, the target, the job.
    for _ in 0..4 {
        let line = miner.expect_line();
        assert!(line.starts_with('{') && line.ends_with('}'), "{line:?}");
    }
}

#[test]
fn empty_lines_are_passed_over() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_raw(b"\n\r\n  \n");
    miner.subscribe();
}

#[test]
fn a_handshake_one_byte_at_a_time_is_understood() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let lines = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\
                 {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\n";
    for byte in lines.bytes() {
        miner.send_raw(&[byte]);
    }
    miner.expect_subscribed(1);
    miner.expect_accepted(2);
    miner.expect_job();
}

#[test]
fn two_miners_get_two_slots() {
    let scene = Scene::start();
    let (other, _) = scene.another_miner("t1addr.rig2");
    assert_ne!(scene.miner.nonce_1, other.nonce_1);
    assert_eq!(scene.miner.nonce_1[..8], other.nonce_1[..8]);
}

// Order.

#[test]
fn nothing_is_sent_between_subscribe_and_authorize() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.subscribe();
    miner.expect_silence();
    miner.authorize("t1addr.rig1");
    miner.expect_job();
}

#[test]
fn the_reply_to_authorize_comes_before_the_target_and_the_job() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.subscribe();
    miner.send_line(r#"{"id":2,"method":"mining.authorize","params":["t1addr.rig1","x"]}"#);
    assert_eq!(
        miner.expect_line(),
        r#"{"id":2,"result":true,"error":null}"#
    );
    let target = miner.expect_line();
    assert!(
        target.contains(r#""method":"mining.set_target""#),
        "{target}"
    );
    let job = miner.expect_line();
    assert!(job.contains(r#""method":"mining.notify""#), "{job}");
}

#[test]
fn authorize_may_come_before_subscribe() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.authorize("t1addr.rig1");
    miner.subscribe();
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    miner.expect_accepted(id);
}

#[test]
fn a_pipelined_handshake_is_answered_in_order() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_raw(
        b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"asic/1\"]}\n\
          {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\n",
    );
    miner.expect_subscribed(1);
    miner.expect_accepted(2);
    miner.expect_job();
}

#[test]
fn silentarmy_may_subscribe_to_extranonces_before_it_authorizes() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.subscribe();
    miner
        .request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    miner.authorize("t1addr.rig1");
    miner.expect_job();
}

/// silentarmy tells replies apart by their order, so a subscribe that waits for the pool must not
/// be overtaken by what was asked after it.
#[test]
fn replies_keep_the_order_of_the_requests_while_the_pool_is_not_up() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_raw(
        b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"silentarmy\"]}\n\
          {\"id\":2,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n\
          {\"id\":3,\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}\n",
    );
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe(NONCE_1);
    link.expect_authorize();
    link.reply_authorize();
    miner.expect_subscribed(1);
    miner.expect_accepted(2);
    miner.expect_accepted(3);
}

// Authorize.

#[test]
fn any_worker_name_is_authorized_with_or_without_a_password() {
    let mut scene = Scene::start();
    let shapes = [
        r#"["t1addr.rig2","x"]"#,
        r#"["t1addr.rig3"]"#,
        r#"["t1addr.rig4",null]"#,
        r#"["t1addr.rig5",""]"#,
        r#"["a worker, \"quoted\" \u00e9","x"]"#,
        r#"["t1addr.rig6","x","more"]"#,
    ];
    for shape in shapes {
        scene
            .miner
            .request("mining.authorize", shape)
            .assert_accepted();
    }
}

#[test]
fn a_connection_may_have_several_workers() {
    let mut scene = Scene::start();
    scene.miner.authorize("t1addr.rig2");
    for (seed, worker) in [(1, "t1addr.rig1"), (2, "t1addr.rig2")] {
        worker.clone_into(&mut scene.miner.worker);
        scene.expect_share_passes(seed);
    }
}

#[test]
fn a_second_worker_on_a_connection_gets_no_second_job() {
    let mut scene = Scene::start();
    scene.miner.authorize("t1addr.rig2");
    scene.miner.expect_silence();
}

// Small talk.

#[test]
fn small_talk_is_answered_politely() {
    let mut scene = Scene::start();
    let target = format!("[\"{}\"]", crate::support::TARGET);
    for (method, params) in [
        ("mining.extranonce.subscribe", "[]"),
        ("mining.suggest_target", target.as_str()),
        ("mining.multi_version", "[1]"),
    ] {
        scene.miner.request(method, params).assert_accepted();
    }
    scene.expect_share_passes(1);
}

#[test]
fn small_talk_is_answered_before_authorize_too() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let target = format!("[\"{}\"]", crate::support::TARGET);
    miner
        .request("mining.suggest_target", &target)
        .assert_accepted();
    miner
        .request("mining.extranonce.subscribe", "[]")
        .assert_accepted();
    miner.subscribe();
    miner.authorize("t1addr.rig1");
}

#[test]
fn configure_refuses_each_extension_by_name() {
    let mut scene = Scene::start();
    let params = r#"[["version-rolling","made-up"],{"version-rolling.mask":"1fffe000"}]"#;
    let reply = scene.miner.request("mining.configure", params);
    assert!(reply.error.is_null(), "{}", reply.raw);
    assert!(matches!(reply.result, Json::Object(_)), "{}", reply.raw);
    assert_eq!(*reply.result.get("version-rolling"), Json::Bool(false));
    assert_eq!(*reply.result.get("made-up"), Json::Bool(false));
    scene.expect_share_passes(1);
}

#[test]
fn an_unknown_method_gets_an_error_with_its_id_and_the_connection_lives() {
    let mut scene = Scene::start();
    for method in ["mining.get_transactions", "eth_submitLogin", "made.up", ""] {
        let reply = scene.miner.request(method, "[]");
        assert!(reply.result.is_null(), "{}", reply.raw);
        assert!(reply.code().is_some(), "{}", reply.raw);
    }
    scene.expect_share_passes(1);
}

#[test]
fn unknown_methods_by_the_dozen_do_not_close_a_working_miner() {
    let mut scene = Scene::start();
    for _ in 0..50 {
        scene.miner.request("mining.made_up", "[]");
    }
    scene.expect_share_passes(1);
}

// Nonce space.

#[test]
fn a_one_byte_slot_where_configured() {
    let scene = Scene::with(&["slot_bytes: 1"]);
    assert_eq!(scene.miner.nonce_1.len(), 10);
}

#[test]
fn no_slot_where_configured_and_each_miner_has_its_own_link() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).key("slot_bytes: 0").yaml());
    let (first, _) = FakeMiner::mining(&proxy, "t1addr.rig1");
    let (second, _) = FakeMiner::mining(&proxy, "t1addr.rig2");
    assert_eq!(first.nonce_1.len(), 8);
    assert_eq!(second.nonce_1.len(), 8);
    assert_ne!(first.nonce_1, second.nonce_1);
}

#[test]
fn a_long_nonce_of_the_pool_is_extended_too() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let _link = pool.accept_ready("00000000000000000000000004d166e0");
    let nonce_1 = miner.expect_subscribed(id);
    assert_eq!(nonce_1.len(), 36);
    assert!(
        nonce_1.starts_with("00000000000000000000000004d166e0"),
        "{nonce_1}"
    );
}

#[test]
fn a_pool_that_leaves_too_little_room_is_passed_through() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let pool_nonce = "c2fd607c".repeat(7);
    let _link = pool.accept_ready(&pool_nonce);
    assert_eq!(miner.expect_subscribed(id), pool_nonce);
}

#[test]
fn a_full_link_opens_another_one() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).keys(&["slot_bytes: 1", "miners_per_link: 2"]);
    let proxy = Proxy::one_shard(&config.yaml());
    let miners: Vec<_> = (0..4)
        .map(|rig| FakeMiner::mining(&proxy, &format!("t1addr.rig{rig}")).0)
        .collect();
    let links: Vec<&str> = miners.iter().map(|miner| &miner.nonce_1[..8]).collect();
    assert_eq!(links[0], links[1]);
    assert_eq!(links[2], links[3]);
    assert_ne!(links[0], links[2]);
}

#[test]
fn when_every_link_is_full_a_subscribe_is_refused_politely_and_the_log_says_so() {
    let mut scene = Scene::with(&["miners_per_link: 1", "links_per_shard_max: 1"]);
    let mut late = FakeMiner::connect(&scene.proxy);
    let reply = late.request("mining.subscribe", "[]");
    assert!(reply.code().is_some(), "{}", reply.raw);
    assert!(!reply.error_text().is_empty(), "{}", reply.raw);
    scene.proxy.log_contains("full");
    scene.expect_share_passes(1);
}

// What the pool hears, and what it may answer.

#[test]
fn the_pool_hears_our_name_and_the_configured_worker() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_subscribe();
    let mut link = pool.accept_link();
    let subscribe = link.expect_subscribe();
    assert!(
        subscribe.params.at(0).text().starts_with("stratum-uring"),
        "{}",
        subscribe.raw
    );
    assert!(
        subscribe.params.at(1).is_null(),
        "no session yet: {}",
        subscribe.raw
    );
    link.reply_subscribe(NONCE_1);
    let authorize = link.expect_authorize();
    assert_eq!(authorize.params.at(0).text(), POOL_WORKER);
    assert_eq!(authorize.params.at(1).text(), POOL_PASSWORD);
}

#[test]
fn the_password_of_the_pool_is_not_in_the_log() {
    let pool = FakePool::start();
    let yaml = Config::new(&pool.url()).yaml();
    let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe(NONCE_1);
    let authorize = link.expect_authorize();
    link.reject(&authorize.id, 24, "Unauthorized worker");
    link.expect_closed();
    drop(pool);
    proxy.log_contains(POOL_WORKER);
    assert!(!proxy.log().contains("secret"), "{}", proxy.log());
}

fn understands_subscribe_result(result: &str, nonce_1: &str) {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe_with(result);
    link.expect_authorize();
    link.reply_authorize();
    let given = miner.expect_subscribed(id);
    assert!(given.starts_with(nonce_1), "{given}");
    assert_eq!(given.len(), nonce_1.len() + 4);
}

#[test]
fn the_miningcore_form_of_the_subscribe_result_is_understood() {
    understands_subscribe_result(r#"["0HL9EDAPSR3RH","000001"]"#, "000001");
}

#[test]
fn the_bitcoin_form_of_the_subscribe_result_is_understood() {
    understands_subscribe_result(
        r#"[[["mining.notify","ae68"],["mining.set_target","b4b6"]],"c2fd607c",28]"#,
        NONCE_1,
    );
}

#[test]
fn one_flat_pair_in_the_subscribe_result_is_understood() {
    understands_subscribe_result(r#"[["mining.notify","ae68"],"c2fd607c"]"#, NONCE_1);
}

#[test]
fn a_third_element_of_the_subscribe_result_is_optional() {
    understands_subscribe_result(r#"["ae68","c2fd607c",28]"#, NONCE_1);
}

#[test]
fn an_upper_case_nonce_of_the_pool_is_given_in_lower_case() {
    understands_subscribe_result(r#"[null,"C2FD607C"]"#, NONCE_1);
}

#[test]
fn a_pool_may_answer_with_other_keys_in_another_order() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = pool.accept_link();
    let subscribe = link.expect_subscribe().id;
    link.send_raw(
        format!("{{ \"error\": null, \"result\": [null, \"c2fd607c\"], \"id\": {subscribe} }}\r\n")
            .as_bytes(),
    );
    let authorize = link.expect_authorize().id;
    link.send_line(&format!("{{\"result\":true,\"id\":{authorize}}}"));
    assert!(miner.expect_subscribed(id).starts_with(NONCE_1));
}

#[test]
fn a_pool_that_refuses_or_ignores_extranonce_subscribe_is_used_all_the_same() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe(NONCE_1);
    let mut authorized = false;
    // Whether the proxy asks at all, and before or after authorize, is its own affair.
    while let Ok(request) = link.next_request(A_MOMENT) {
        match request.method.as_str() {
            "mining.authorize" => {
                link.accept(&request.id);
                authorized = true;
            }
            "mining.extranonce.subscribe" => {
                let id = request.id;
                link.send_line(&format!(
                    "{{\"id\":{id},\"result\":false,\"error\":[20,\"Not supported.\",null]}}"
                ));
            }
            other => panic!("{other}"),
        }
    }
    assert!(authorized);
    miner.expect_subscribed(id);
    link.expect_open();
}

// Who waits too long.

#[test]
fn a_miner_that_never_subscribes_is_closed() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).key("limits: { subscribe_timeout_seconds: 1 }");
    let proxy = Proxy::start(&config.yaml());
    // One that says nothing at all is the door's.
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_line("");
    miner.expect_closed();
}

#[test]
fn a_miner_that_never_authorizes_is_closed() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).key("limits: { authorize_timeout_seconds: 1 }");
    let proxy = Proxy::start(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    miner.subscribe();
    miner.expect_closed();
}

#[test]
fn each_connect_authorize_and_disconnect_is_logged_when_asked_for() {
    let pool = AutoPool::accepts_all();
    let yaml = Config::new(&pool.url()).yaml();
    let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
    let (miner, _) = FakeMiner::mining(&proxy, "t1addr.rig-seven");
    let address = miner.local_address().to_string();
    proxy.log_contains(&address);
    proxy.log_contains("t1addr.rig-seven");
    miner.close();
    proxy.log_contains("closed");
}
