//! What is Monero's alone: one request for all, the slot in the job, and 256 miners for each link.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use stratum_uring::exchange::{CloseHow, CloseReason, LinkEnd, LinkKey, MinerToken, Tag, Transmit};
use stratum_uring::proto::dialect::Coin;

use crate::scene::Scene;

/// Where the slot stands in a blob's digits.
const SLOT_AT: usize = 84;

/// What each miner was told, line by line.
#[derive(Default)]
struct Heard(Vec<(u32, String)>);

impl Transmit for Heard {
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, _: Tag) {
        panic!("{miner:?} is sent what all are: {line:?}");
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        for (piece, _) in pieces {
            let text = String::from_utf8(piece.to_vec()).unwrap();
            let lines = text.lines().map(|line| (miner.index, line.to_owned()));
            self.0.extend(lines);
        }
    }

    fn close(&mut self, miner: MinerToken, _: CloseHow, reason: CloseReason) {
        panic!("{miner:?} is closed: {reason:?}");
    }
}

fn heard(scene: &mut Scene) -> Vec<(u32, String)> {
    let mut heard = Heard::default();
    scene.exchange.flush(&mut heard);
    heard.0
}

fn job(blob: u8, id: &str) -> String {
    let rest = format!("{blob:02x}").repeat(33);
    let digits = format!("{}00000000{rest}", "07".repeat(39));
    format!(r#"{{"blob":"{digits}","job_id":"{id}","target":"b88d0600"}}"#)
}

fn welcome(scene: &mut Scene, link: LinkKey, session: &str, blob: u8) {
    let job = job(blob, "1");
    let line = format!(
        r#"{{"id":1,"result":{{"id":"{session}","job":{job},"status":"OK"}},"error":null}}"#
    );
    scene.pool_says(link, line.as_bytes());
}

fn log_in(scene: &mut Scene, index: u32) -> MinerToken {
    let miner = scene.connect(index);
    let line = br#"{"id":1,"method":"login","params":{"login":"rig"}}"#;
    scene.miner_says(miner, line);
    miner
}

/// The value of a member of text, as a line has it.
fn text<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("\"{name}\":\"")).unwrap();
    rest.split('"').next().unwrap()
}

fn tick(scene: &mut Scene) {
    scene.pass(Duration::from_millis(250));
    scene.exchange.handle_tick(scene.now);
}

#[test]
fn each_link_has_room_for_256_miners_with_a_byte_each() {
    let mut scene = Scene::of(Coin::Monero, &["a"], |settings| settings.links_max = 2);
    for index in 0..300 {
        log_in(&mut scene, index);
    }
    let first = scene.expect_connected();
    assert_eq!(heard(&mut scene), [], "a login is answered with a job");
    welcome(&mut scene, first, "s1", 1);
    tick(&mut scene);
    let told = heard(&mut scene);
    assert_eq!(told.len(), 256);
    let slot = |(_, line): &(u32, String)| text(line, "blob")[SLOT_AT..SLOT_AT + 2].to_owned();
    let slots: HashSet<String> = told.iter().map(slot).collect();
    assert_eq!(slots.len(), 256);
    let second = scene.expect_connected();
    welcome(&mut scene, second, "s2", 2);
    tick(&mut scene);
    assert_eq!(heard(&mut scene).len(), 44);
    let line = format!(r#"{{"method":"job","params":{}}}"#, job(3, "2"));
    scene.pool_says(first, line.as_bytes());
    let told = heard(&mut scene);
    assert_eq!(told.len(), 256, "each miner of that link, and no other");
}

#[test]
fn a_login_waits_for_a_job_and_not_only_for_a_link() {
    let mut scene = Scene::of(Coin::Monero, &["a", "b"], |_| {});
    log_in(&mut scene, 0);
    let link = scene.expect_connected();
    // No session without a job: the pool is left.
    let bare = br#"{"id":1,"result":{"id":"s","status":"OK"},"error":null}"#;
    scene.pool_says(link, bare);
    assert!(!scene.exchange.is_current(link));
    assert_eq!(scene.exchange.counters().pool_faults, 1);
    tick(&mut scene);
    let (link, host) = scene.poll_dial().unwrap();
    assert_eq!(host, "b");
    scene.exchange.handle_link_connected(scene.now, link);
    welcome(&mut scene, link, "s", 1);
    assert_eq!(heard(&mut scene).len(), 1);
}

#[test]
fn another_session_is_another_job_for_everybody_and_nobody_hears_one_twice() {
    let mut scene = Scene::of(Coin::Monero, &["a"], |_| {});
    let miners: Vec<_> = (0..3).map(|index| log_in(&mut scene, index)).collect();
    let link = scene.expect_connected();
    welcome(&mut scene, link, "s1", 1);
    let mut jobs: HashSet<(u32, String)> = HashSet::new();
    for (miner, line) in heard(&mut scene) {
        assert!(jobs.insert((miner, text(&line, "job_id").to_owned())));
    }
    assert_eq!(jobs.len(), 3);
    let (_, old) = jobs.iter().next().unwrap().clone();
    scene
        .exchange
        .handle_link_closed(scene.now, link, LinkEnd::Reset, "reset");
    tick(&mut scene);
    tick(&mut scene);
    let link = scene.expect_connected();
    // The very same blob: but for our id in it xmrig would leave at the sight of it.
    welcome(&mut scene, link, "s2", 1);
    for (miner, line) in heard(&mut scene) {
        assert!(
            jobs.insert((miner, text(&line, "job_id").to_owned())),
            "{line}"
        );
    }
    assert_eq!(jobs.len(), 6);
    let result = "ab".repeat(32);
    let share = format!(
        r#"{{"id":2,"method":"submit","params":{{"id":"1","job_id":"{old}","nonce":"00000000","result":"{result}"}}}}"#
    );
    scene.miner_says(miners[0], share.as_bytes());
    let told = heard(&mut scene);
    assert!(told[0].1.contains("Job not found (=stale)"), "{told:?}");
}

#[test]
fn a_pool_that_hears_nothing_is_told_every_minute_that_we_are_there() {
    let mut scene = Scene::of(Coin::Monero, &["a"], |_| {});
    log_in(&mut scene, 0);
    let link = scene.expect_connected();
    let login = scene.written(link);
    assert!(login.contains(r#""method":"login""#), "{login}");
    welcome(&mut scene, link, "s1", 1);
    let mut said = Vec::new();
    for second in 0..130 {
        for _ in 0..4 {
            tick(&mut scene);
        }
        let written = scene.written(link);
        if !written.is_empty() {
            said.push((second, written));
        }
    }
    let [(first, line), (second, again)] = said.as_slice() else {
        panic!("{said:?}");
    };
    let keepalive =
        "{\"id\":5,\"jsonrpc\":\"2.0\",\"method\":\"keepalived\",\"params\":{\"id\":\"s1\"}}\n";
    assert_eq!((line.as_str(), again.as_str()), (keepalive, keepalive));
    assert!((59..=61).contains(first), "{first}");
    assert!((59..=61).contains(&(second - first)), "{second}");
    // Its answer is nobody's.
    scene.pool_says(
        link,
        br#"{"id":5,"jsonrpc":"2.0","result":{"status":"KEEPALIVED"},"error":null}"#,
    );
    assert!(scene.exchange.is_current(link));
    heard(&mut scene);
    tick(&mut scene);
    assert_eq!(heard(&mut scene), []);
}

#[test]
fn a_pool_that_calls_all_sessions_alike_has_as_many_links_as_it_takes() {
    let mut scene = Scene::of(Coin::Monero, &["a"], |settings| settings.links_max = 2);
    for index in 0..300 {
        log_in(&mut scene, index);
    }
    let first = scene.expect_connected();
    welcome(&mut scene, first, "1", 1);
    tick(&mut scene);
    assert_eq!(heard(&mut scene).len(), 256);
    let second = scene.expect_connected();
    welcome(&mut scene, second, "1", 2);
    tick(&mut scene);
    assert_eq!(heard(&mut scene).len(), 44);
    assert_eq!(scene.exchange.counters().links_up, 2);
    // The first one comes back under its name, and is another session all the same.
    let now = scene.now;
    let end = LinkEnd::Reset;
    scene.exchange.handle_link_closed(now, first, end, "reset");
    tick(&mut scene);
    tick(&mut scene);
    let first = scene.expect_connected();
    welcome(&mut scene, first, "1", 3);
    let told = heard(&mut scene);
    assert_eq!(told.len(), 256, "a job of the new session for each");
}
