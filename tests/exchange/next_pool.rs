//! The next pool's link, ready before it is needed.

use crate::farm::{Farm, is_failover, on_the_first};

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
