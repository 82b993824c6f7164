//! Pools that are connected and say nothing.

use std::time::Duration;

use stratum_uring::exchange::{LinkEnd, LinkKey, MinerToken};

use crate::scene::{Scene, notify, share};

/// A farm of one miner at the first of two pools, whose second `second` is played before each tick. Returns
/// the host that is called first within so many seconds, and when.
fn leaves_within(seconds: u64, mut second: impl FnMut(&mut Scene, LinkKey, u64)) -> Option<u64> {
    let mut scene = Scene::new(&["a", "b"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(miner);
    for at in 0..seconds {
        if scene.exchange.is_current(link) {
            second(&mut scene, link, at);
            let _ = scene.written(link);
        }
        for _ in 0..4 {
            scene.pass(Duration::from_millis(250));
            scene.exchange.handle_tick(scene.now);
            if let Some((_, host)) = scene.poll_dial() {
                assert_eq!(host, "b");
                return Some(at);
            }
        }
    }
    None
}

/// A job of its own; miners are told of it.
fn announce(scene: &mut Scene, link: LinkKey, at: u64) -> String {
    let id = format!("\"j{at}\"");
    scene.pool_says(link, notify().replace("\"j1\"", &id).as_bytes());
    let told = scene.flush().text;
    let (_, params) = told.rsplit_once(r#""mining.notify","params":[""#).unwrap();
    params.split_once('"').unwrap().0.to_owned()
}

/// The only miner sends a share that no other is like.
fn submit(scene: &mut Scene, job: &str, number: u64) {
    let digits = format!("\"{number:052x}\"");
    let line = share(job).replace(&format!("\"{}\"", "0".repeat(52)), &digits);
    let (index, generation) = (0, 0);
    scene.miner_says(MinerToken { index, generation }, line.as_bytes());
}

#[test]
fn a_pool_that_sends_no_job_gives_way_to_the_next() {
    assert_eq!(leaves_within(300, |_, _, _| {}), Some(240));
    let some = |scene: &mut Scene, link, at: u64| {
        if at.is_multiple_of(200) {
            announce(scene, link, at);
        }
    };
    assert_eq!(leaves_within(1000, some), None);
}

#[test]
fn a_pool_that_answers_no_share_while_many_wait_gives_way_to_the_next() {
    let silent = |scene: &mut Scene, link, at| {
        let job = announce(scene, link, at);
        submit(scene, &job, at);
    };
    assert_eq!(leaves_within(120, silent), Some(60));
}

#[test]
fn a_pool_that_answers_some_shares_is_kept() {
    let mut expected = 16;
    let some = |scene: &mut Scene, link, at: u64| {
        let job = announce(scene, link, at);
        submit(scene, &job, at);
        if at % 50 == 49 {
            let reply = format!(r#"{{"id":{expected},"result":true,"error":null}}"#);
            scene.pool_says(link, reply.as_bytes());
            expected += 50;
        }
    };
    assert_eq!(leaves_within(300, some), None);
}

#[test]
fn one_share_without_an_answer_only_times_out() {
    let mut refused = 0;
    let one = |scene: &mut Scene, link, at: u64| {
        let job = announce(scene, link, at);
        if at.is_multiple_of(100) {
            submit(scene, &job, at);
        }
        refused = scene.exchange.counters().refused.iter().sum();
    };
    assert_eq!(leaves_within(300, one), None);
    assert_eq!(refused, 3, "each is answered in its time");
}

#[test]
fn a_pool_that_takes_bytes_of_a_long_record_is_not_stalled() {
    let ends = |takes: bool| {
        let mut scene = Scene::new(&["a"]);
        let miner = scene.connect(0);
        let link = scene.expect_connected();
        scene.shake_hands(link);
        scene.pool_says(link, notify().as_bytes());
        let job = scene.begin_mining(miner);
        submit(&mut scene, &job, 1);
        assert!(!scene.exchange.unwritten(link).is_empty());
        for _ in 0..30 {
            scene.pass(Duration::from_secs(1));
            if takes {
                // Of what was encrypted before: of the share itself no byte has its turn yet.
                scene.exchange.took_bytes(scene.now, link);
            }
            scene.exchange.handle_tick(scene.now);
        }
        scene.exchange.counters().link_ends[LinkEnd::Stalled as usize]
    };
    assert_eq!((ends(false), ends(true)), (1, 0));
}
