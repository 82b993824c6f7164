//! The exchange, through its public methods alone: no socket, and time is what the test says it is.
//!
//! Here is what takes too long, or too much, for a peer over loopback: wrong clocks, minutes of a bad
//! pool, ten thousand miners, millions of lines.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bans;
mod bitcoin;
mod conduct;
mod early;
mod failback;
mod fan_out;
mod farm;
mod hang_ups;
mod immediate;
mod known_names;
mod late_names;
mod monero;
mod name_pace;
mod names;
mod newcomers;
mod next_pool;
mod recalls;
mod scene;
mod shards;
mod silence;
mod unread;
mod warm;

use std::time::Duration;

use stratum_uring::exchange::{Fact, LinkEnd};
use stratum_uring::proto::share::Reject;

use crate::scene::{SUBSCRIBE, Scene, Told, notify, share};

#[test]
fn a_share_passes_where_our_clock_is_wrong() {
    let mut scene = Scene::new(&["a"]);
    // A board without a battery wakes in 1970.
    scene.now.unix_seconds = 1000;
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    scene.written(link);
    scene.miner_says(miner, share(&job).as_bytes());
    let written = scene.written(link);
    let told = scene.flush().text;
    assert!(written.contains("mining.submit"), "{told}");
}

/// A pool may move its miners elsewhere; one that says nothing else is of no use.
fn gives_way_though_it_shakes_hands(shakes_hands: bool) {
    let mut scene = Scene::new(&["a", "b"]);
    scene.connect(0);
    let mut hosts = Vec::new();
    for _ in 0..200 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, host)) = scene.poll_dial() {
            hosts.push(host);
            scene.exchange.handle_link_connected(scene.now, link);
            if shakes_hands {
                scene.shake_hands(link);
            }
            scene.pool_says(
                link,
                br#"{"id":null,"method":"client.reconnect","params":["",0,0]}"#,
            );
        }
    }
    assert!(hosts.iter().any(|host| host == "b"), "{hosts:?}");
}

#[test]
fn a_pool_that_only_says_reconnect_gives_way_to_the_next() {
    gives_way_though_it_shakes_hands(false);
}

#[test]
fn a_pool_that_shakes_hands_and_says_reconnect_gives_way_to_the_next() {
    gives_way_though_it_shakes_hands(true);
}

#[test]
fn each_step_of_the_handshake_has_its_time() {
    let mut scene = Scene::new(&["a"]);
    scene.connect(0);
    let link = scene.expect_connected();
    // Ten seconds are enough for each, and too few for both.
    scene.pass(Duration::from_secs(6));
    scene.pool_says(link, br#"{"id":1,"result":[null,"a1b2c3d4"],"error":null}"#);
    scene.pass(Duration::from_secs(6));
    scene.exchange.handle_tick(scene.now);
    assert!(scene.exchange.is_current(link));
}

#[test]
fn ten_thousand_closes_at_once_are_all_told() {
    const MINERS: usize = 10_000;
    let mut scene = Scene::new(&["a"]);
    for index in 0..MINERS {
        let miner = scene.connect(u32::try_from(index).unwrap());
        scene.miner_says(miner, SUBSCRIBE);
    }
    assert_eq!(scene.flush().closed, 0);
    while scene.exchange.poll_fact().is_some() {}
    // No pool ever answers.
    scene.pass(Duration::from_secs(60));
    scene.exchange.handle_tick(scene.now);
    let closed = scene.flush().closed;
    let facts = std::iter::from_fn(|| scene.exchange.poll_fact());
    let told = facts.filter(|fact| matches!(fact, Fact::MinerClosed { .. }));
    assert_eq!((closed, told.count()), (MINERS, MINERS));
}
#[test]
fn a_longer_nonce_that_leaves_fewer_slots_moves_the_miners_that_have_no_place() {
    const MINERS: u32 = 300;
    let mut scene = Scene::new(&["a"]);
    let mut link = None;
    for index in 0..MINERS {
        let miner = scene.connect(index);
        if index == 0 {
            let up = scene.expect_connected();
            scene.shake_hands(up);
            scene.pool_says(up, notify().as_bytes());
            link = Some(up);
        }
        scene.begin_mining(miner);
        let asks = br#"{"id":5,"method":"mining.extranonce.subscribe","params":[]}"#;
        scene.miner_says(miner, asks);
    }
    let link = link.unwrap();
    scene.flush();
    // 9 of 32 bytes are left: two for a slot would leave a miner fewer than 8.
    let nonce_1 = "b2".repeat(23);
    let line = format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{nonce_1}"]}}"#);
    scene.pool_says(link, line.as_bytes());
    assert_eq!(scene.flush().text, "", "it holds from the next job on");
    scene.pool_says(link, notify().as_bytes());
    let told = scene.flush();
    let of = |what: &str| told.text.matches(what).count();
    assert_eq!(
        (of("mining.set_extranonce"), of("mining.notify")),
        (256, 256)
    );
    let mut slots: Vec<_> = told.text.split(&nonce_1).skip(1).collect();
    slots.iter_mut().for_each(|rest| *rest = &rest[..3]);
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), 256, "one byte for each");
    assert!(slots.iter().all(|slot| slot.ends_with('"')), "{slots:?}");
    scene.pass(Duration::from_secs(1));
    scene.exchange.handle_tick(scene.now);
    let closed = scene.flush().closed;
    assert_eq!(closed, MINERS as usize - 256);
    assert_eq!(scene.exchange.counters().mining, 256);
    // And back: all have a place again.
    for index in 0..MINERS - 256 {
        let miner = scene.connect(1000 + index);
        scene.miner_says(miner, SUBSCRIBE);
    }
    assert!(scene.flush().text.contains("error"), "it is full");
    let line = line.replace(&nonce_1, "c3c3c3c3");
    scene.pool_says(link, line.as_bytes());
    scene.pool_says(link, notify().as_bytes());
    let told = scene.flush().text;
    assert_eq!(told.matches("\"c3c3c3c3").count(), 256);
    let miner = scene.connect(2000);
    scene.begin_mining(miner);
}
/// The pools called after a link of the first one was lost, which refuses for so long.
fn called_while_refused_for(refused: Duration) -> (Scene, Vec<String>) {
    let mut scene = Scene::new(&["a", "b"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(miner);
    scene.pass(Duration::from_secs(60));
    scene
        .exchange
        .handle_link_closed(scene.now, link, LinkEnd::Reset, "");
    let lost = scene.now.since_start;
    let mut hosts = Vec::new();
    for _ in 0..40 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, host)) = scene.poll_dial() {
            let refuses = host == "a" && scene.now.since(lost) < refused;
            hosts.push(host);
            if refuses {
                let end = LinkEnd::ConnectFailed;
                scene.exchange.handle_link_closed(scene.now, link, end, "");
            } else {
                scene.exchange.handle_link_connected(scene.now, link);
                scene.shake_hands(link);
            }
        }
    }
    (scene, hosts)
}

#[test]
fn a_pool_that_is_away_for_a_moment_keeps_its_miners_though_another_stands_ready() {
    let (mut scene, hosts) = called_while_refused_for(Duration::from_secs(2));
    let count = |host: &str| hosts.iter().filter(|called| *called == host).count();
    assert!(count("a") > 2 && count("b") == 1, "{hosts:?}");
    assert_eq!(scene.flush().closed, 0);
    let up = [0, 1].map(|pool| scene.exchange.links_up_of(pool));
    assert_eq!(up, [1, 0]);
}

#[test]
fn a_pool_that_is_away_for_longer_gives_way_within_a_second() {
    let (scene, hosts) = called_while_refused_for(Duration::from_secs(60));
    let tries = hosts.iter().filter(|host| *host == "a").count();
    assert!(tries > 2 && tries < 20, "{hosts:?}");
    assert!(hosts.iter().any(|host| host == "b"), "{hosts:?}");
    let up = [0, 1].map(|pool| scene.exchange.links_up_of(pool));
    assert_eq!(up, [0, 1]);
}

#[test]
fn why_shares_fail_is_told_once_a_minute() {
    let mut scene = Scene::new(&["a"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    let tagged = notify().replace(",true]", r#",true,"144_5"]"#);
    scene.pool_says(link, tagged.as_bytes());
    let job = scene.begin_mining(miner);
    for _ in 0..5 {
        let short = share(&job).replace("0\"]}", "\"]}");
        scene.miner_says(miner, short.as_bytes());
    }
    scene.miner_says(miner, share(&job).as_bytes());
    scene.pool_says(link, br#"{"id":16,"result":null,"error":[23,"low",null]}"#);
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let count = |is: fn(&Fact) -> bool| facts.iter().filter(|fact| is(fact)).count();
    assert_eq!(count(|fact| matches!(fact, Fact::ShareRefused { .. })), 1);
    assert_eq!(
        count(|fact| matches!(fact, Fact::ShareRejected { code: 23, .. })),
        1
    );
    assert_eq!(count(|fact| matches!(fact, Fact::JobOdd { .. })), 1);
}

#[test]
fn those_who_must_reconnect_are_closed_a_few_at_a_time() {
    let mut scene = Scene::new(&["a"]);
    let mut miners = vec![scene.connect(0)];
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    miners.extend((1..40).map(|index| scene.connect(index)));
    for &miner in &miners {
        scene.begin_mining(miner);
    }
    let moved = br#"{"id":null,"method":"mining.set_extranonce","params":["c3c3c3c3"]}"#;
    scene.pool_says(link, moved);
    scene.pool_says(link, notify().as_bytes());
    scene.pass(Duration::from_secs(1));
    scene.exchange.handle_tick(scene.now);
    // Between two parts the shell looks at what miners say: a share is answered, not cut off.
    let mut closed = Vec::new();
    let mut more = true;
    while more {
        let mut told = Told::default();
        more = scene.exchange.flush_some(&mut told, usize::MAX);
        closed.push(told.closed);
    }
    assert_eq!(closed.iter().sum::<usize>(), 40);
    assert!(
        closed.len() >= 5 && closed.iter().all(|&closed| closed <= 8),
        "{closed:?}"
    );
}

#[test]
fn a_miner_that_reads_again_hears_of_no_job_before_its_bytes() {
    let mut scene = Scene::new(&["a"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let subscribe = br#"{"id":9,"method":"mining.extranonce.subscribe","params":[]}"#;
    scene.miner_says(miner, subscribe);
    scene.begin_mining(miner);
    // Its socket is full when the next job comes, and then the session is over.
    scene
        .exchange
        .handle_blocked(scene.now, miner, 0, std::iter::empty(), b"");
    scene.pool_says(link, notify().replace("j1", "j2").as_bytes());
    assert_eq!(scene.flush().text, "");
    let now = scene.now;
    scene
        .exchange
        .handle_link_closed(now, link, LinkEnd::Reset, "");
    scene.pass(Duration::from_millis(300));
    scene.exchange.handle_tick(scene.now);
    let link = scene.expect_connected();
    let other = br#"{"id":1,"result":[null,"a1b2c3d5"],"error":null}"#;
    scene.pool_says(link, other);
    scene.pool_says(link, notify().replace("j1", "j3").as_bytes());
    scene.exchange.handle_writable(miner);
    assert_eq!(scene.flush().text, "");
    scene.pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
    let told = scene.flush().text;
    let bytes = told.find("mining.set_extranonce\",\"params\":[\"a1b2c3d5");
    let job = told.find("mining.notify");
    assert!(bytes.is_some() && bytes < job, "{told}");
    assert_eq!(told.matches("mining.notify").count(), 1, "{told}");
}

#[test]
fn the_line_that_ends_a_connection_counts_as_those_before_it() {
    let mut scene = Scene::new(&["pool"]);
    let mut tell_nine_times = |index, line: &str| {
        let miner = scene.connect(index);
        for _ in 0..9 {
            scene.miner_says(miner, line.as_bytes());
        }
        let counters = scene.exchange.counters();
        let refused = counters.refused[Reject::UnknownMethod.index()];
        (counters.lines_unreadable, refused, scene.flush().closed)
    };
    let readable = r#"{"id":1,"method":"mining.dance","params":[]}"#;
    assert_eq!(tell_nine_times(0, readable), (0, 9, 1));
    assert_eq!(tell_nine_times(1, "{"), (9, 9, 1));
}
