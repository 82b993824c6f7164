//! Back to a preferred pool.

use stratum_uring::exchange::{CloseReason, Fact, LinkEnd};

use crate::farm::{Farm, is_return};
use crate::scene::share;

#[test]
fn miners_go_back_to_the_preferred_pool_when_it_was_well_for_half_a_minute() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.pass(600);
    assert_eq!(farm.serving(), ["b"]);
    farm.heard();
    farm.recovers("a");
    let probed = farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
    assert!(probed <= 30, "asked after {probed} s");
    farm.pass(29);
    assert_eq!(farm.serving(), ["b"]);
    assert_eq!(farm.heard().1, "", "nobody notices the probe");
    farm.pass(2);
    let (_, text) = farm.heard();
    assert_eq!(farm.count(is_return), 1);
    let moved = text.find(r#""mining.set_extranonce","params":["61"#);
    let job = text.find(r#""mining.notify""#);
    assert!(moved.is_some() && moved < job, "{text}");
    assert!(text.trim_end().ends_with("true]}"), "a clean job: {text}");
    assert_eq!(farm.told.closed, 0);
    // Whoever comes now works for it too, and the other link is hung up soon.
    farm.miner(1, false);
    assert!(farm.heard().1.contains(r#"[null,"61"#));
    farm.pass(10);
    assert_eq!(farm.serving(), ["a"]);
    assert_eq!(farm.links.len(), 1);
}

#[test]
fn no_share_is_lost_by_going_back() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    let (old_job, _) = farm.heard();
    let old_job = old_job.expect("a job");
    let b = farm.link_to("b");
    farm.scene.written(b);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.pass(29);
    farm.scene.miner_says(miner, share(&old_job).as_bytes());
    let written = farm.scene.written(b);
    assert!(written.contains("mining.submit"));
    farm.pass(2);
    assert_eq!(farm.count(is_return), 1);
    let (new_job, _) = farm.heard();
    // What was on its way to us while the miner was told goes where its job came from.
    let late = share(&old_job).replace("240000", "240001");
    farm.scene.miner_says(miner, late.as_bytes());
    let late = farm.scene.written(b);
    assert!(
        late.contains(&written[written.len() - 200..written.len() - 100]),
        "{late}"
    );
    // The same share again is a duplicate there as well.
    farm.scene.miner_says(miner, share(&old_job).as_bytes());
    assert!(farm.heard().1.contains("[22,"), "a duplicate");
    // The pool takes its time, and is waited for.
    farm.pass(20);
    assert_eq!(farm.serving(), ["a", "b"]);
    farm.scene
        .pool_says(b, br#"{"id":16,"result":true,"error":null}"#);
    farm.scene
        .pool_says(b, br#"{"id":17,"result":true,"error":null}"#);
    let text = farm.heard().1;
    assert_eq!(text.matches(r#""result":true"#).count(), 2, "{text}");
    farm.pass(1);
    assert_eq!(farm.serving(), ["a"]);
    // A share for the new job goes to the new pool.
    let a = farm.link_to("a");
    farm.scene.written(a);
    let share = share(&new_job.expect("a job"));
    farm.scene.miner_says(miner, share.as_bytes());
    assert!(farm.scene.written(a).contains("mining.submit"));
}

#[test]
fn a_pool_that_never_answers_a_share_is_left_all_the_same() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    let job = farm.heard().0.expect("a job");
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.pass(29);
    farm.scene.miner_says(miner, share(&job).as_bytes());
    farm.scene.written(farm.link_to("b"));
    let seconds = farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert!((59..=62).contains(&seconds), "{seconds}");
    assert!(farm.heard().1.contains(r#""error":[20,"#));
}

#[test]
fn who_can_not_be_told_works_on_until_its_turn_to_reconnect() {
    let (mut farm, _) = Farm::on_the_second(false, |settings| {
        settings.limits.reconnect_per_second = 1;
    });
    let miners: Vec<_> = (1..10).map(|index| farm.miner(index, false)).collect();
    let old_job = farm.heard().0.expect("a job");
    farm.recovers("a");
    farm.seconds_until(|farm| farm.count(is_return) == 1);
    farm.heard();
    let b = farm.link_to("b");
    farm.scene.written(b);
    // One each second: the last one of them still mines.
    farm.pass(4);
    assert!((4..=6).contains(&farm.told.closed), "{}", farm.told.closed);
    farm.announce(b);
    assert!(farm.heard().0.is_some(), "the next job comes too");
    farm.scene.miner_says(miners[8], share(&old_job).as_bytes());
    assert!(farm.scene.written(b).contains("mining.submit"));
    // It is closed when it has its answer.
    farm.pass(20);
    assert_eq!(farm.told.closed, 9);
    farm.scene
        .pool_says(b, br#"{"id":16,"result":true,"error":null}"#);
    farm.pass(2);
    assert_eq!(farm.told.closed, 10);
    farm.pass(5);
    assert_eq!(farm.serving(), ["a"]);
}

#[test]
fn a_pool_that_does_not_stay_well_must_be_well_for_twice_as_long_each_time() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    let mut waits = Vec::new();
    for _ in 0..10 {
        farm.recovers("a");
        farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
        waits.push(farm.seconds_until(|farm| farm.serving().first() == Some(&"a")));
        farm.pass(60);
        farm.fails("a");
        farm.pass(10);
        assert_eq!(farm.serving(), ["b"]);
    }
    let expected = [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600];
    let close = |(wait, expected): (&u64, &u64)| wait.abs_diff(*expected) <= 1;
    assert!(waits.iter().zip(&expected).all(close), "{waits:?}");
    // A return that lasts ten minutes was right.
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving().first() == Some(&"a"));
    farm.pass(601);
    farm.fails("a");
    farm.pass(10);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
    let wait = farm.seconds_until(|farm| farm.serving().first() == Some(&"a"));
    assert!(wait.abs_diff(30) <= 1, "{wait}");
}

#[test]
fn a_link_that_is_resumed_is_no_failed_return() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    farm.fails("a");
    farm.recovers("a");
    farm.pass(20);
    assert_eq!(farm.serving(), ["a"]);
    assert_eq!(
        farm.count(|fact| matches!(fact, Fact::ReturnFailed { .. })),
        0
    );
}

#[test]
fn the_trouble_of_a_probe_disturbs_nobody() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    let job = farm.heard().0.expect("a job");
    farm.recovers("a");
    let b = farm.link_to("b");
    for trouble in 0..6 {
        farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
        farm.pass(5);
        let a = farm.link_to("a");
        let line: &[u8] = match trouble {
            0 => br#"{"id":null,"method":"mining.notify","params":["1"]}"#,
            1 => br#"{"id":null,"method":"mining.set_target","params":["zz"]}"#,
            2 => br#"{"id":null,"method":"client.reconnect","params":[]}"#,
            3 => br#"{"id":null,"method":"mining.set_extranonce","params":["6100"]}"#,
            4 => br#"{"id":null,"method":"client.reconnect","params":["thief",1,0]}"#,
            _ => br#"{"id":16,"result":true,"error":null}"#,
        };
        farm.scene.pool_says(a, line);
        farm.announce(a);
        let now = farm.scene.now;
        farm.scene
            .exchange
            .handle_link_closed(now, a, LinkEnd::Reset, "");
        farm.links.retain(|(link, _)| *link != a);
        farm.step();
    }
    assert_eq!(farm.heard().1, "", "miners hear nothing of it");
    assert_eq!((farm.serving(), farm.told.closed), (vec!["b"], 0));
    farm.scene.written(b);
    farm.scene.miner_says(miner, share(&job).as_bytes());
    assert!(farm.scene.written(b).contains("mining.submit"));
    // And it does not count as a link that serves.
    let counters = farm.scene.exchange.counters();
    assert_eq!((counters.links_up, counters.slots_taken), (1, 1));
}

#[test]
fn a_dead_preferred_pool_is_asked_twice_a_minute_or_so() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.pass(60);
    farm.dials.clear();
    farm.pass(3600);
    let dials = farm.dials.len();
    assert!((120..=240).contains(&dials), "{dials}");
    assert_eq!(farm.links.len(), 1);
}

#[test]
fn the_best_pool_that_is_well_is_taken_and_then_a_better_one() {
    let mut farm = Farm::new(&["a", "b", "c"], &["a", "b"], |_| {});
    farm.miner(0, true);
    farm.pass(10);
    assert_eq!(farm.serving(), ["c"]);
    farm.recovers("b");
    farm.seconds_until(|farm| farm.serving() == ["b"]);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert_eq!(farm.told.closed, 0);
    assert_eq!(farm.count(is_return), 2);
}

#[test]
fn all_links_of_a_shard_go_back_one_after_the_other() {
    let mut farm = Farm::new(&["a", "b"], &["a"], |settings| {
        settings.miners_per_link = 10;
        settings.links_max = 3;
    });
    for index in 0..30 {
        farm.miner(index, true);
        farm.pass(3);
    }
    assert_eq!(farm.scene.exchange.links_up_of(1), 3);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert_eq!(farm.scene.exchange.links_up_of(0), 3);
    assert_eq!((farm.count(is_return), farm.told.closed), (3, 0));
    assert_eq!(farm.scene.exchange.counters().slots_taken, 30);
}

#[test]
fn nobody_is_sent_away_for_a_preference() {
    let (mut farm, _) = Farm::on_the_second(true, |settings| {
        settings.miners_per_link = 4096;
    });
    for index in 1..300 {
        farm.miner(index, true);
    }
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    // From now on its links leave room for 256 miners only.
    let a = farm.link_to("a");
    let narrow = "61".repeat(24);
    let line = format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{narrow}"]}}"#);
    farm.scene.pool_says(a, line.as_bytes());
    farm.announce(a);
    farm.pass(120);
    assert_eq!(farm.serving(), ["b"]);
    assert_eq!(
        farm.count(|fact| matches!(fact, Fact::NoRoomToReturn { .. })),
        1
    );
}

#[test]
fn a_shard_that_has_no_miner_left_lets_its_probe_go_too() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.scene
        .exchange
        .handle_disconnect(miner, CloseReason::Closed);
    farm.pass(62);
    assert_eq!(farm.links.len(), 0);
    farm.dials.clear();
    farm.pass(600);
    assert_eq!(farm.dials.len(), 0, "{:?}", farm.dials);
}
