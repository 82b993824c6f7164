//! How many names a pool is asked for, and which of them first.

use std::collections::VecDeque;
use std::time::Duration;

use stratum_uring::exchange::Settings;

use crate::names::{Hall, NO, YES, come_back, names_of};

/// A hall to which so many miners come at once, each with a name of its own.
fn fill(count: u32, change: impl FnOnce(&mut Settings)) -> Hall {
    let mut hall = Hall::open(change);
    hall.tick(5);
    for index in 1..=count {
        let miner = hall.subscribed(index);
        hall.authorize(miner, &format!("rig{index}"));
    }
    hall
}

/// How many names the pool is asked for in so many quarters of a second, where it answers each so many
/// milliseconds later. At no time more than 256 wait for its answer.
fn asked_in(hall: &mut Hall, quarters: u64, answers_after: u64, verdict: &str) -> usize {
    let mut asked = 0;
    let mut waiting: VecDeque<(Duration, u64)> = VecDeque::new();
    for step in 1..=quarters * 50 {
        for (id, method, _) in hall.heard() {
            assert_eq!(method, "mining.authorize");
            asked += 1;
            let at = hall.scene.now.since_start + Duration::from_millis(answers_after);
            waiting.push_back((at, id));
        }
        assert!(waiting.len() <= 256);
        hall.scene.pass(Duration::from_millis(5));
        let now = hall.scene.now;
        while let Some(&(at, id)) = waiting.front()
            && at <= now.since_start
        {
            waiting.pop_front();
            hall.pool_answers(id, verdict);
        }
        if step % 50 == 0 {
            hall.scene.exchange.handle_tick(now);
        }
        hall.scene.flush();
    }
    asked
}

#[test]
fn newcomers_whose_names_are_good_come_in_as_fast_as_the_pool_answers() {
    // As many at a time as it can bear: with 100 ms, ten times 256 in a second.
    let mut hall = fill(12_000, |_| {});
    let asked = asked_in(&mut hall, 8, 100, YES);
    assert!((4800..=5400).contains(&asked), "{asked}");
    let mut hall = fill(4000, |_| {});
    let asked = asked_in(&mut hall, 8, 1000, YES);
    assert!((500..=770).contains(&asked), "{asked}");
}

#[test]
fn a_pool_that_answers_at_once_is_asked_for_four_thousand_in_a_second_at_most() {
    let mut hall = fill(12_000, |_| {});
    let asked = asked_in(&mut hall, 8, 5, YES);
    assert!((7500..=8300).contains(&asked), "{asked}");
    // Those of all shards: four of them have a quarter each.
    let mut hall = fill(12_000, |settings| settings.part = (0, 4));
    let asked = asked_in(&mut hall, 8, 5, YES);
    assert!((1800..=2300).contains(&asked), "{asked}");
    let mut hall = fill(12_000, |settings| settings.part = (0, 16));
    let asked = asked_in(&mut hall, 8, 5, YES);
    assert!((900..=1300).contains(&asked), "{asked}");
}

#[test]
fn whoever_guesses_names_is_five_hundred_requests_in_a_second() {
    let mut hall = fill(4000, |_| {});
    let asked = asked_in(&mut hall, 8, 5, NO);
    assert!((1000..=1300).contains(&asked), "{asked}");
    // And names of which a pool says nothing are no better.
    let mut hall = fill(4000, |_| {});
    let asked = asked_in(&mut hall, 8, 1_000_000, YES);
    assert!(asked <= 256, "{asked}");
}

#[test]
fn all_newcomers_are_asked_for_in_the_end() {
    const NEWCOMERS: u32 = 3000;
    let mut hall = fill(NEWCOMERS, |_| {});
    let mut asked = 0;
    for _ in 0..10 {
        asked += hall.answer_names(|name| !name.ends_with('7')).len();
        hall.tick(1);
    }
    assert_eq!(asked, NEWCOMERS as usize);
    hall.scene.flush();
    let mining = hall.scene.exchange.counters().mining;
    assert_eq!(mining, u64::from(NEWCOMERS) * 9 / 10);
}

#[test]
fn the_names_of_those_who_mine_wait_for_no_pace() {
    let mut hall = come_back(600, |_| false);
    assert_eq!(hall.answer_names(|_| true).len(), 600);
}

#[test]
fn who_mines_does_not_wait_behind_newcomers_of_its_name() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    hall.authorize(miner, "b");
    hall.answer_names(|_| true);
    // Its second name is denied on the next connection, and may be asked for again after a minute.
    hall.reconnect();
    hall.answer_names(|name| name == "a");
    hall.tick(61);
    hall.heard();
    for index in 1..=2000 {
        let miner = hall.subscribed(index);
        hall.authorize(miner, &format!("rig{index}"));
    }
    let other = hall.subscribed(3000);
    hall.authorize(other, "b");
    let asked = names_of(&hall.heard(), "mining.authorize");
    assert!(asked.len() > 200 && !asked.contains(&"b".to_owned()));
    hall.submit(miner, "b");
    let asked = hall.heard();
    assert_eq!(names_of(&asked, "mining.authorize"), ["b"]);
    hall.pool_answers(asked[0].0, YES);
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["b"]);
    // It is asked for once.
    let asked = hall.answer_names(|_| true);
    assert!(!asked.contains(&"b".to_owned()), "{}", asked.len());
}
