//! Old work for miners while no pool is up.

use std::time::Duration;

use stratum_uring::exchange::{Fact, LinkEnd, MinerToken};

use crate::scene::{SUBSCRIBE, Scene, notify, share};

/// A farm of one, with or without `keep_warm`, whose only pool is lost and then can't be reached for two
/// minutes. Returns what the miner was told meanwhile.
fn without_a_pool_for_two_minutes(keep_warm: bool) -> (Scene, MinerToken, String) {
    let mut scene = Scene::with(&["a"], |settings| settings.keep_warm = keep_warm);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(miner);
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    let mut told = String::new();
    for _ in 0..480 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, _)) = scene.poll_dial() {
            let end = LinkEnd::ConnectFailed;
            scene.exchange.handle_link_closed(scene.now, link, end, "");
        }
        told.push_str(&scene.flush().text);
    }
    (scene, miner, told)
}

/// The ids of the jobs in what a miner was told.
pub(crate) fn job_ids(told: &str) -> Vec<String> {
    let jobs = told.split(r#""mining.notify","params":[""#).skip(1);
    jobs.map(|job| job.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn without_a_pool_a_miner_hears_nothing_unless_the_operator_keeps_it_warm() {
    let (mut scene, _, told) = without_a_pool_for_two_minutes(false);
    assert_eq!(told, "");
    assert_eq!(scene.exchange.counters().kept_warm, 0);
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let is_warm = |fact: &Fact| matches!(fact, Fact::WarmBegins { .. } | Fact::WarmEnds { .. });
    assert!(!facts.iter().any(is_warm));
}

#[test]
fn a_miner_that_is_kept_warm_has_work_that_counts_for_nothing() {
    let (mut scene, miner, told) = without_a_pool_for_two_minutes(true);
    // After 8 seconds, and then twice a minute: each a clean job under an id of its own.
    let ids = job_ids(&told);
    assert_eq!(ids.len(), 4, "{told}");
    assert!(
        ids.iter()
            .all(|id| ids.iter().filter(|it| *it == id).count() == 1)
    );
    assert_eq!(told.matches(",true]").count(), 4, "{told}");
    scene.miner_says(miner, share(&ids[3]).as_bytes());
    let told = scene.flush().text;
    assert!(told.contains("[21,"), "{told}");
    let counters = scene.exchange.counters();
    let refused: Vec<_> = counters.refused_by_reason().collect();
    assert!(refused.contains(&("kept_warm", 1)), "{refused:?}");
    assert_eq!(counters.kept_warm, 1);
    let newcomer = scene.connect(1);
    scene.miner_says(newcomer, SUBSCRIBE);
    assert_eq!(scene.flush().text, "", "a newcomer waits for a pool");
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let is_warm = |fact: &&Fact| matches!(fact, Fact::WarmBegins { .. } | Fact::WarmEnds { .. });
    let warm: Vec<&Fact> = facts.iter().filter(is_warm).collect();
    assert_eq!(warm, [&Fact::WarmBegins { pool: 0, miners: 1 }]);
}

#[test]
fn a_pool_that_comes_back_ends_what_kept_its_miners_warm() {
    let (mut scene, miner, _) = without_a_pool_for_two_minutes(true);
    let link = loop {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        scene.flush();
        if let Some((link, _)) = scene.poll_dial() {
            break link;
        }
    };
    scene.exchange.handle_link_connected(scene.now, link);
    scene.shake_hands(link);
    assert_eq!(scene.exchange.counters().kept_warm, 0);
    // The pool has no job yet, and nobody is given the old one.
    scene.miner_says(
        miner,
        br#"{"id":9,"method":"mining.authorize","params":["two","x"]}"#,
    );
    assert_eq!(job_ids(&scene.flush().text), [""; 0]);
    scene.pool_says(link, notify().as_bytes());
    let told = scene.flush().text;
    let ids = job_ids(&told);
    assert_eq!(
        (ids.len(), told.matches(",true]").count()),
        (1, 1),
        "{told}"
    );
    scene.written(link);
    scene.written(link);
    scene.miner_says(miner, share(&ids[0]).as_bytes());
    assert!(scene.written(link).contains("mining.submit"));
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let ends = |fact: &&Fact| matches!(fact, Fact::WarmEnds { miners: 1, .. });
    assert_eq!(facts.iter().filter(ends).count(), 1);
}
