//! The next pool's link, ready before it is needed.

use std::time::Duration;

use stratum_uring::exchange::LinkEnd;

use crate::farm::{Farm, is_failover, on_the_first};
use crate::scene::{Scene, notify};

#[test]
fn a_link_to_the_next_pool_is_made_while_the_lost_one_may_come_back() {
    let mut farm = on_the_first(|_| {});
    assert_eq!(farm.dials, ["a"], "none before");
    farm.fails("a");
    farm.pass(1);
    farm.link_to("b");
    assert_eq!(farm.serving(), [""; 0]);
    assert_eq!(farm.heard().1, "", "nobody is moved yet");
    farm.pass(2);
    assert_eq!(farm.serving(), ["b"]);
    assert_eq!(farm.count(is_failover), 1);
    let (_, text) = farm.heard();
    assert!(
        text.contains(r#""mining.set_extranonce","params":["62"#),
        "{text}"
    );
    assert!(text.contains("true]}"), "a clean job: {text}");
    farm.pass(2);
    assert_eq!(farm.told.closed, 1, "the one that can't be told");
    assert_eq!(farm.links.len(), 1);
}

#[test]
fn the_next_pools_link_is_dropped_when_the_lost_one_is_back() {
    let mut farm = on_the_first(|_| {});
    farm.fails("a");
    farm.pass(1);
    farm.link_to("b");
    farm.recovers("a");
    farm.pass(2);
    assert_eq!(farm.serving(), ["a"]);
    assert_eq!(farm.links.len(), 1);
    assert_eq!(farm.count(is_failover), 0);
}

#[test]
fn with_standby_a_failover_costs_one_job() {
    let mut farm = on_the_first(|settings| settings.standby = true);
    assert_eq!(farm.dials, ["a", "b"]);
    assert_eq!(farm.scene.exchange.counters().links_up, 1);
    farm.pass(3600);
    farm.heard();
    assert_eq!(farm.dials.len(), 2, "it stays");
    farm.fails("a");
    let seconds = farm.seconds_until(|farm| farm.serving() == ["b"]);
    assert!(seconds <= 3, "{seconds}");
    let (_, text) = farm.heard();
    assert_eq!(text.matches("mining.notify").count(), 1, "{text}");
    assert_eq!(farm.dials.iter().filter(|host| *host == "b").count(), 1);
    // And the one after it is got ready.
    farm.pass(5);
    farm.link_to("c");
}

#[test]
fn with_standby_a_next_pool_that_fails_gives_way_to_the_one_behind_it() {
    let mut farm = on_the_first(|settings| settings.standby = true);
    farm.fails("b");
    farm.pass(5);
    farm.link_to("c");
    assert_eq!(farm.serving(), ["a"]);
    assert_eq!(farm.heard().1, "", "nobody notices");
}

#[test]
fn the_probe_takes_over_when_the_pool_that_serves_fails() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.pass(5);
    farm.fails("b");
    let seconds = farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert!(seconds <= 3, "{seconds}");
    assert_eq!(farm.count(is_failover), 1);
    farm.pass(60);
    assert_eq!(farm.links.len(), 1);
}

#[test]
fn a_job_that_a_pool_announced_and_then_did_not_take_us_is_for_no_other_link() {
    let mut scene = Scene::new(&["a", "b"]);
    let end = LinkEnd::Reset;
    let miner = scene.connect(0);
    let (link, _) = scene.poll_dial().unwrap();
    scene
        .exchange
        .handle_link_closed(scene.now, link, LinkEnd::ConnectFailed, "");
    let mut serving = None;
    let mut announced = 0;
    for quarter in 0.. {
        assert!(quarter < 400, "the second pool is not tried any more");
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, host)) = scene.poll_dial() {
            let now = scene.now;
            if host == "a" && serving.is_none() || host == "b" && (1..3).contains(&announced) {
                let end = LinkEnd::ConnectFailed;
                scene.exchange.handle_link_closed(now, link, end, "");
                continue;
            }
            scene.exchange.handle_link_connected(now, link);
            if host == "a" {
                // It announces a job, and closes before it takes our worker.
                let subscribed = br#"{"id":1,"result":[null,"b0b1b2b3"],"error":null}"#;
                scene.pool_says(link, subscribed);
                scene.pool_says(link, notify().replace("\"j1\"", "\"theirs\"").as_bytes());
                announced += 1;
                scene.exchange.handle_link_closed(now, link, end, "");
                continue;
            }
            // The same bytes each time, and a job only at first.
            scene.shake_hands(link);
            if serving.replace(link).is_none() {
                scene.pool_says(link, notify().as_bytes());
                scene.begin_mining(miner);
            }
        }
        match serving {
            Some(link) if announced == 0 && scene.exchange.is_current(link) => {
                scene.exchange.handle_link_closed(scene.now, link, end, "");
            }
            Some(_) if announced >= 3 && scene.exchange.links_up_of(1) > 0 => break,
            _ => {}
        }
    }
    let text = scene.flush().text;
    assert!(!text.contains("mining.notify"), "{text}");
}
