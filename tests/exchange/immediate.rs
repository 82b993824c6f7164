//! Shares that their miners are told at once are accepted.

use std::time::Duration;

use stratum_uring::exchange::{Fact, Limits, LinkEnd, LinkKey, MinerToken, ShareReply};

use crate::scene::{Scene, notify, share};

/// A farm of one whose shares are answered at once: the scene, its link, its miner, its job.
fn answered_at_once() -> (Scene, LinkKey, MinerToken, String) {
    let mut scene = Scene::with(&["a"], |settings| {
        settings.share_reply = ShareReply::Immediate;
    });
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    scene.written(link);
    (scene, link, miner, job)
}

/// The share that [`share`] makes, as one of many.
pub(crate) fn share_with(job: &str, id: u32) -> String {
    let nonce_2 = format!("{id:052x}");
    let line = share(job).replace(&"0".repeat(52), &nonce_2);
    line.replacen(r#""id":3"#, &format!(r#""id":{id}"#), 1)
}

pub(crate) const TRUE: &str = r#""result":true,"error":null}"#;

#[test]
fn a_share_is_answered_once_and_at_once_where_the_operator_wants_it() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert_eq!(scene.flush().text, format!("{{\"id\":40,{TRUE}\n"));
    assert!(scene.written(link).contains("mining.submit"));
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert!(scene.flush().text.contains("[22,"), "a duplicate");
    scene.miner_says(miner, share_with(&job, 41).as_bytes());
    assert_eq!(scene.flush().text, format!("{{\"id\":41,{TRUE}\n"));
    assert!(!scene.exchange.is_drained(), "the pool has not answered");
    scene.pool_says(link, br#"{"id":16,"result":true,"error":null}"#);
    scene.pool_says(link, br#"{"id":17,"result":null,"error":[23,"low",null]}"#);
    assert_eq!(scene.flush().text, "", "there is no second answer");
    assert!(scene.exchange.is_drained());
    let counters = scene.exchange.counters();
    assert_eq!((counters.accepted, counters.rejected), (1, 1));
    assert_eq!(counters.immediate_rejected, 1);
    assert_eq!((counters.immediate_lost, counters.unanswered()), (0, 0));
}

#[test]
fn a_share_answered_at_once_that_no_pool_answers_is_counted_as_lost() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    scene.written(link);
    assert!(scene.flush().text.ends_with(&format!("{TRUE}\n")));
    scene.pass(Limits::default().reply_timeout + Duration::from_secs(1));
    scene.exchange.handle_tick(scene.now);
    assert_eq!(scene.flush().text, "");
    assert_eq!(scene.exchange.counters().immediate_lost, 1);
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    assert!(facts.contains(&Fact::ImmediateLost { pool: 0, shares: 1 }));
}

#[test]
fn a_share_for_a_lost_link_waits_and_ends_with_its_session() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert!(scene.flush().text.contains(TRUE));
    scene.written(link);
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    scene.miner_says(miner, share_with(&job, 41).as_bytes());
    assert_eq!(scene.flush().text, "", "nobody knows who will carry it");
    scene.pass(Limits::default().resume);
    scene.exchange.handle_tick(scene.now);
    let told = scene.flush().text;
    assert!(
        told.contains(r#""id":41,"result":null,"error":[21,"#),
        "{told}"
    );
    assert!(!told.contains(r#""id":40"#), "{told}");
    let counters = scene.exchange.counters();
    assert_eq!((counters.immediate_lost, counters.unanswered()), (1, 2));
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    assert!(facts.contains(&Fact::ImmediateLost { pool: 0, shares: 1 }));
    assert!(facts.contains(&Fact::SharesLost { pool: 0, shares: 1 }));
}

#[test]
fn a_resumed_session_judges_the_shares_answered_at_once_and_those_that_waited() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert!(scene.flush().text.contains(TRUE));
    scene.written(link);
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    scene.miner_says(miner, share_with(&job, 41).as_bytes());
    scene.pass(Duration::from_millis(500));
    scene.exchange.handle_tick(scene.now);
    let link = scene.expect_connected();
    scene.written(link);
    scene.shake_hands(link);
    scene.written(link);
    let resent = scene.written(link);
    assert_eq!(resent.matches("mining.submit").count(), 2, "{resent}");
    scene.pool_says(link, br#"{"id":16,"error":[22,"duplicate share",null]}"#);
    scene.pool_says(link, br#"{"id":17,"result":true,"error":null}"#);
    let told = scene.flush().text;
    assert!(told.contains(&format!("{{\"id\":41,{TRUE}\n")), "{told}");
    assert!(!told.contains(r#""id":40"#), "{told}");
    let counters = scene.exchange.counters();
    assert_eq!((counters.accepted, counters.unanswered()), (2, 0));
}

#[test]
fn a_miner_answered_at_once_is_bounded_in_what_the_pool_has_not_answered() {
    let mut scene = Scene::with(&["a"], |settings| {
        settings.share_reply = ShareReply::Immediate;
        settings.limits.pending_shares_per_miner_max = 2;
    });
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    for id in 40..43 {
        scene.miner_says(miner, share_with(&job, id).as_bytes());
    }
    let told = scene.flush().text;
    assert_eq!(told.matches(TRUE).count(), 2, "{told}");
    assert!(
        told.contains(r#"{"id":42,"result":null,"error":[20,"#),
        "{told}"
    );
    scene.pool_says(link, br#"{"id":16,"result":true,"error":null}"#);
    scene.miner_says(miner, share_with(&job, 43).as_bytes());
    assert!(scene.flush().text.contains(TRUE));
}

#[test]
fn a_share_on_a_link_that_comes_back_holds_the_end_up_and_counts() {
    for comes_back in [true, false] {
        let (mut scene, link, miner, job) = answered_at_once();
        scene.miner_says(miner, share_with(&job, 40).as_bytes());
        scene.written(link);
        let (now, end) = (scene.now, LinkEnd::Reset);
        scene.exchange.handle_link_closed(now, link, end, "");
        scene.pass(Duration::from_millis(500));
        scene.exchange.handle_tick(scene.now);
        scene.exchange.begin_shutdown();
        assert!(!scene.exchange.is_drained(), "it is dialled");
        if comes_back {
            let link = scene.expect_connected();
            assert!(!scene.exchange.is_drained(), "it shakes hands");
            scene.written(link);
            scene.shake_hands(link);
            scene.written(link);
            assert!(scene.written(link).contains("mining.submit"));
            scene.pool_says(link, br#"{"id":16,"result":true,"error":null}"#);
        } else {
            let (link, _) = scene.poll_dial().unwrap();
            let end = LinkEnd::ConnectFailed;
            scene
                .exchange
                .handle_link_closed(scene.now, link, end, "refused");
        }
        assert!(scene.exchange.is_drained());
        let counters = scene.exchange.counters();
        let lost = u64::from(!comes_back);
        assert_eq!(
            (counters.immediate_lost, counters.unanswered()),
            (lost, lost)
        );
    }
}
