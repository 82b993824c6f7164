//! What is Bitcoin's alone: difficulties, sizes and version bits, as pools and miners get them wrong.

use std::time::Duration;

use stratum_uring::exchange::{Fact, Limits, LinkEnd, LinkKey, MinerToken, PoolLinks, Settings};
use stratum_uring::proto::dialect::Coin;
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::share::Reject;

use crate::scene::{AUTHORIZE, JOB_UNIX_SECONDS, SUBSCRIBE, Scene};

const CONFIGURE: &[u8] =
    br#"{"id":"c","method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#;
const SUBSCRIBED: &str = r#"[null,"08000002",8]"#;

fn bitcoin(hosts: &[&str], change: impl FnOnce(&mut Settings)) -> Scene {
    Scene::of(Coin::Bitcoin, hosts, change)
}

/// The pool answers the handshake with this mask and this result of subscribe.
fn shake_hands(scene: &mut Scene, link: LinkKey, mask: &str, subscribed: &str) {
    for line in [
        format!(
            r#"{{"id":4,"result":{{"version-rolling":true,"version-rolling.mask":"{mask}"}},"error":null}}"#
        ),
        format!(r#"{{"id":1,"result":{subscribed},"error":null}}"#),
        r#"{"id":2,"result":true,"error":null}"#.to_owned(),
    ] {
        scene.pool_says(link, line.as_bytes());
    }
}

fn notify(branches: &str, coinbase: &str) -> String {
    let zeros = "0".repeat(64);
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["j","{zeros}","{coinbase}","00",{branches},"20000000","17053894","{JOB_UNIX_SECONDS:08x}",true]}}"#
    )
}

/// A farm of one miner that mines, and its pool's link; and the id of its job.
fn farm(change: impl FnOnce(&mut Settings)) -> (Scene, LinkKey, MinerToken, String) {
    let mut scene = bitcoin(&["a"], change);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    shake_hands(&mut scene, link, "1fffe000", SUBSCRIBED);
    scene.pool_says(link, notify("[]", "00").as_bytes());
    let job = scene.begin_mining(miner);
    scene.written(link);
    while scene.exchange.poll_fact().is_some() {}
    (scene, link, miner, job)
}

/// How a link ended, if one did.
fn link_end(scene: &mut Scene) -> Option<(LinkEnd, String)> {
    let mut facts = std::iter::from_fn(|| scene.exchange.poll_fact());
    facts.find_map(|fact| match fact {
        Fact::LinkLost { end, detail, .. } => Some((end, detail)),
        _ => None,
    })
}

fn is_dialled_again(scene: &mut Scene) -> bool {
    (0..40).any(|_| {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        scene.poll_dial().is_some()
    })
}

fn submit(job: &str, rest: &str) -> String {
    let time = format!("{JOB_UNIX_SECONDS:08x}");
    format!(
        r#"{{"id":3,"method":"mining.submit","params":["rig","{job}","000000000000","{time}",{rest}]}}"#
    )
}

#[test]
fn what_a_pool_can_not_mean_is_named_and_counted_and_survived() {
    let message = |method: &str, params: &str| {
        format!(r#"{{"id":null,"method":"mining.{method}","params":{params}}}"#)
    };
    for (line, named) in [
        (message("set_difficulty", "[0]"), "difficulty"),
        (message("set_difficulty", "[-1]"), "difficulty"),
        (message("set_difficulty", "[1e308]"), "difficulty"),
        (
            message("set_extranonce", r#"["08000003",1000]"#),
            "extranonce2_size",
        ),
        (
            message("set_extranonce", r#"["08000003",-4]"#),
            "extranonce2_size",
        ),
        (
            message("set_version_mask", r#"["all"]"#),
            "set_version_mask",
        ),
        (notify(r#"["abc"]"#, "00"), "branches"),
        (notify("[]", "000"), "coinbase"),
        (
            notify("[]", &"00".repeat(450_000)),
            "longer than any miner takes",
        ),
    ] {
        let (mut scene, link, miner, job) = farm(|_| {});
        scene.pool_says(link, line.as_bytes());
        let (end, detail) = link_end(&mut scene).unwrap();
        assert_eq!(end, LinkEnd::Violation, "{detail}");
        assert!(detail.contains(named), "{named}: {detail}");
        let counters = scene.exchange.counters();
        assert_eq!((counters.pool_faults, counters.miners), (1, 1));
        assert!(is_dialled_again(&mut scene), "{named}");
        // Nobody who mined is told anything of it.
        assert_eq!(scene.flush().text, "");
        drop((miner, job));
    }
}

#[test]
fn a_number_that_is_none_is_a_line_that_can_not_be_read() {
    let (mut scene, link, _, _) = farm(|_| {});
    for bad in ["NaN", "Infinity", "1e999", "01", ""] {
        let line = format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{bad}]}}"#);
        let before = scene.exchange.counters().pool_faults;
        scene.pool_says(link, line.as_bytes());
        let faults = scene.exchange.counters().pool_faults - before;
        // No number in the brackets is valid JSON, and no difficulty.
        assert_eq!(faults, 1, "{bad}");
        if bad.is_empty() {
            assert_eq!(link_end(&mut scene).unwrap().0, LinkEnd::Violation);
        } else {
            assert_eq!(link_end(&mut scene), None, "{bad}");
        }
    }
}

#[test]
fn a_pool_that_leaves_too_few_bytes_is_of_no_use() {
    for (subscribed, end) in [
        (r#"[null,"08000002",0]"#, LinkEnd::NoNonceSpace),
        (r#"[null,"08000002",1]"#, LinkEnd::NoNonceSpace),
        (r#"[null,"08000002",1000]"#, LinkEnd::Violation),
        (r#"[null,"08000002",-8]"#, LinkEnd::Violation),
        (r#"[null,"08000002"]"#, LinkEnd::Violation),
    ] {
        let mut scene = bitcoin(&["a", "b"], |_| {});
        scene.connect(0);
        let link = scene.expect_connected();
        shake_hands(&mut scene, link, "1fffe000", subscribed);
        assert_eq!(link_end(&mut scene).unwrap().0, end, "{subscribed}");
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        let (_, host) = scene.poll_dial().unwrap();
        assert_eq!(host, "b", "{subscribed}");
    }
}

#[test]
fn a_size_that_changes_in_mid_session_gives_each_miner_another_place() {
    let (mut scene, link, miner, _) = farm(|_| {});
    scene.miner_says(
        miner,
        br#"{"id":5,"method":"mining.extranonce.subscribe","params":[]}"#,
    );
    scene.flush();
    for (extranonce, told) in [
        (
            r#"["08000003",3]"#,
            r#""mining.set_extranonce","params":["0800000300",2]"#,
        ),
        (
            r#"["08000004",7]"#,
            r#""mining.set_extranonce","params":["080000040000",5]"#,
        ),
    ] {
        let line = format!(r#"{{"method":"mining.set_extranonce","params":{extranonce}}}"#);
        scene.pool_says(link, line.as_bytes());
        assert_eq!(scene.flush().text, "", "it holds from the next job on");
        scene.pool_says(link, notify("[]", "00").as_bytes());
        let text = scene.flush().text;
        assert!(text.contains(told), "{text}");
    }
    // Fewer bytes than a miner needs end the link, and not the miner.
    scene.pool_says(
        link,
        br#"{"method":"mining.set_extranonce","params":["08000005",1]}"#,
    );
    scene.pool_says(link, notify("[]", "00").as_bytes());
    assert_eq!(link_end(&mut scene).unwrap().0, LinkEnd::NoNonceSpace);
    assert_eq!(scene.exchange.counters().miners, 1);
}

#[test]
fn bits_that_a_miner_never_negotiated_are_refused_and_counted() {
    let (mut scene, link, miner, job) = farm(|_| {});
    let bits = submit(&job, r#""00000001","00002000""#);
    scene.miner_says(miner, bits.as_bytes());
    let text = scene.flush().text;
    assert!(text.contains("Version bits outside of the mask"), "{text}");
    let refused = |scene: &Scene| scene.exchange.counters().refused[Reject::VersionBits.index()];
    assert_eq!(refused(&scene), 1);
    assert_eq!(scene.written(link), "");
    scene.miner_says(miner, CONFIGURE);
    scene.miner_says(miner, bits.as_bytes());
    assert_eq!(refused(&scene), 1);
    assert!(scene.written(link).contains("\"00000001\",\"00002000\""));
}

#[test]
fn a_configure_waits_for_a_pool_and_no_longer() {
    let mut scene = bitcoin(&["a"], |_| {});
    let miner = scene.connect(0);
    scene.miner_says(miner, CONFIGURE);
    scene.miner_says(
        miner,
        br#"{"id":"d","method":"mining.configure","params":[["version-rolling"],{}]}"#,
    );
    scene.miner_says(miner, SUBSCRIBE);
    assert_eq!(
        scene.flush().text,
        "",
        "the first line is for the first request"
    );
    scene.pass(Duration::from_secs(31));
    scene.exchange.handle_tick(scene.now);
    let told = scene.flush();
    let id = |line: &str| line.split([':', ',']).nth(1).unwrap().to_owned();
    let ids: Vec<String> = told.text.lines().map(id).collect();
    assert_eq!(ids, ["\"c\"", "1", "\"d\""], "{}", told.text);
    assert_eq!(told.closed, 1);
    assert_eq!(scene.exchange.counters().waiting, 0);
}

#[test]
fn a_miner_that_only_configured_is_answered_when_the_pool_is_there() {
    let mut scene = bitcoin(&["a"], |_| {});
    let miner = scene.connect(0);
    scene.miner_says(miner, CONFIGURE);
    let link = scene.expect_connected();
    // Longer than a subscribe may take, of whoever is not kept waiting.
    scene.pass(Limits::default().subscribe_timeout + Duration::from_secs(5));
    shake_hands(&mut scene, link, "ffffffff", SUBSCRIBED);
    for _ in 0..32 {
        scene.exchange.handle_tick(scene.now);
    }
    let text = scene.flush().text;
    assert_eq!(
        text,
        "{\"id\":\"c\",\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\"},\
         \"error\":null}\n"
    );
    assert_eq!(scene.exchange.counters().waiting, 0);
    scene.miner_says(miner, SUBSCRIBE);
    assert!(scene.flush().text.contains("080000020000"));
}

#[test]
fn another_pool_with_another_mask_is_told_ahead_of_its_job() {
    let mut scene = bitcoin(&["a", "b"], |_| {});
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    shake_hands(&mut scene, link, "1fffe000", SUBSCRIBED);
    scene.pool_says(link, notify("[]", "00").as_bytes());
    scene.miner_says(miner, CONFIGURE);
    scene.miner_says(
        miner,
        br#"{"id":5,"method":"mining.extranonce.subscribe","params":[]}"#,
    );
    scene.begin_mining(miner);
    scene
        .exchange
        .handle_link_closed(scene.now, link, LinkEnd::Reset, "reset");
    let mut told = String::new();
    for _ in 0..60 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, host)) = scene.poll_dial() {
            if host == "b" {
                scene.exchange.handle_link_connected(scene.now, link);
                shake_hands(&mut scene, link, "0000e000", r#"[null,"0b",8]"#);
                scene.pool_says(link, notify("[]", "00").as_bytes());
            } else {
                scene.exchange.handle_link_closed(
                    scene.now,
                    link,
                    LinkEnd::ConnectFailed,
                    "refused",
                );
            }
        }
        told.push_str(&scene.flush().text);
    }
    let methods: Vec<&str> = told
        .lines()
        .map(|line| line.split("\"method\":\"").nth(1).unwrap_or(line))
        .collect();
    assert!(
        methods[0].starts_with(r#"mining.set_version_mask","params":["0000e000"]"#),
        "{told}"
    );
    assert!(
        methods[1].starts_with(r#"mining.set_extranonce","params":["0b0000",6]"#),
        "{told}"
    );
    assert!(methods[2].starts_with("mining.notify"), "{told}");
}

#[test]
fn a_link_that_is_resumed_with_the_same_mask_says_nothing() {
    let (mut scene, link, miner, job) = farm(|_| {});
    scene.miner_says(miner, CONFIGURE);
    scene.flush();
    scene
        .exchange
        .handle_link_closed(scene.now, link, LinkEnd::Reset, "reset");
    // While it is away the bits are what they were.
    scene.miner_says(miner, submit(&job, r#""00000002","00002000""#).as_bytes());
    scene.pass(Duration::from_millis(500));
    scene.exchange.handle_tick(scene.now);
    let link = scene.expect_connected();
    shake_hands(&mut scene, link, "1fffe000", SUBSCRIBED);
    assert_eq!(scene.flush().text, "");
    let handshake = scene.written(link);
    assert!(!handshake.contains("mining.submit"), "{handshake}");
    assert!(scene.written(link).contains("\"00000002\",\"00002000\""));
}

#[test]
fn firmware_that_takes_only_the_pools_own_size_has_a_link_of_its_own() {
    let mut scene = bitcoin(&["a"], |settings| {
        settings.pass_through_agents = vec!["strict".to_owned()];
        settings.links_max = 2;
    });
    let miner = scene.connect(0);
    let shared = scene.expect_connected();
    scene.miner_says(miner, CONFIGURE);
    scene.miner_says(
        miner,
        br#"{"id":1,"method":"mining.subscribe","params":["Strict/1.0"]}"#,
    );
    scene.exchange.handle_tick(scene.now);
    let own = scene.expect_connected();
    assert_ne!(own.index, shared.index);
    shake_hands(&mut scene, own, "00ffe000", r#"[null,"08000003",4]"#);
    scene.exchange.handle_tick(scene.now);
    let text = scene.flush().text;
    let mut lines = text.lines();
    assert!(lines.next().unwrap().contains("00ffe000"), "{text}");
    assert!(
        lines
            .next()
            .unwrap()
            .ends_with("\"08000003\",4],\"error\":null}"),
        "{text}"
    );
}

#[test]
fn without_slots_each_miner_has_a_link_up_to_a_bound() {
    let mut scene = bitcoin(&["a"], |settings| {
        settings.slot_width = SlotWidth::Fixed(0);
        settings.links_max = 3;
    });
    for index in 0..3 {
        let miner = scene.connect(index);
        scene.miner_says(miner, SUBSCRIBE);
        scene.exchange.handle_tick(scene.now);
        let link = scene.expect_connected();
        let own = format!(r#"[null,"0800000{index}",2]"#);
        shake_hands(&mut scene, link, "1fffe000", &own);
        let text = scene.flush().text;
        assert!(text.contains(&format!("\"0800000{index}\",2]")), "{text}");
    }
    let late = scene.connect(3);
    scene.miner_says(late, SUBSCRIBE);
    let told = scene.flush();
    assert!(told.text.contains("The proxy is full"), "{}", told.text);
    assert_eq!(told.closed, 1);
}

#[test]
fn who_borrows_a_link_borrows_its_version_bits() {
    let mut scenes = [0, 1].map(|shard| {
        bitcoin(&["a"], |settings| {
            settings.part = (shard, 2);
            settings.pool_links = PoolLinks::Shared(1);
        })
    });
    fn deliver(scenes: &mut [Scene; 2]) {
        for _ in 0..10 {
            for from in 0..2 {
                while let Some((to, letter)) = scenes[from].exchange.poll_letter() {
                    let scene = &mut scenes[to];
                    scene.exchange.handle_letter(scene.now, from, letter);
                }
            }
        }
    }
    fn tick(scenes: &mut [Scene; 2]) {
        for scene in scenes.iter_mut() {
            scene.pass(Duration::from_millis(250));
            scene.exchange.handle_tick(scene.now);
        }
        deliver(scenes);
    }
    let miner = scenes[1].connect(0);
    scenes[1].miner_says(miner, CONFIGURE);
    scenes[1].miner_says(miner, SUBSCRIBE);
    scenes[1].miner_says(miner, AUTHORIZE);
    deliver(&mut scenes);
    tick(&mut scenes);
    let link = scenes[0].expect_connected();
    shake_hands(&mut scenes[0], link, "00ffe000", SUBSCRIBED);
    scenes[0].pool_says(link, notify("[]", "00").as_bytes());
    tick(&mut scenes);
    let text = scenes[1].flush().text;
    assert!(
        text.starts_with(
            r#"{"id":"c","result":{"version-rolling":true,"version-rolling.mask":"00ffe000"}"#
        ),
        "{text}"
    );
    assert!(text.contains("mining.notify"), "{text}");
    scenes[0].pool_says(
        link,
        br#"{"id":null,"method":"mining.set_version_mask","params":["00002000"]}"#,
    );
    tick(&mut scenes);
    let text = scenes[1].flush().text;
    assert_eq!(
        text,
        "{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"00002000\"]}\n"
    );
}
