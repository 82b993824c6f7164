//! How many names a pool is asked for, and which of them first.

use std::collections::VecDeque;
use std::time::Duration;

use stratum_uring::exchange::{CloseReason, LinkEnd, Settings};
use stratum_uring::proto::share::Reject;

use crate::names::{Hall, NO, YES, come_back, names_of, token};

/// A hall to which so many miners come at once, each with a name of its own.
fn fill(count: u32, change: impl FnOnce(&mut Settings)) -> Hall {
    let mut hall = Hall::open(change);
    hall.from(0);
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
    // 64 at a time, then more: with 100 ms, soon ten times 256 in a second.
    let mut hall = fill(12_000, |_| {});
    let asked = asked_in(&mut hall, 4, 100, YES);
    assert!((700..=2000).contains(&asked), "{asked}");
    let asked = asked_in(&mut hall, 8, 100, YES);
    assert!((4800..=5400).contains(&asked), "{asked}");
    let mut hall = fill(4000, |_| {});
    let asked = asked_in(&mut hall, 8, 1000, YES);
    assert!((120..=220).contains(&asked), "{asked}");
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
fn those_who_guess_names_from_everywhere_are_eight_requests_in_a_second() {
    let mut hall = fill(0, |_| {});
    for index in 1..=4000_u32 {
        hall.from(index);
        let miner = hall.subscribed(index);
        hall.authorize(miner, &format!("rig{index}"));
    }
    let asked = asked_in(&mut hall, 40, 5, NO);
    assert!((100..=160).contains(&asked), "{asked}");
    // And names of which a pool says nothing are no better.
    let mut hall = fill(4000, |_| {});
    let asked = asked_in(&mut hall, 8, 1_000_000, YES);
    assert!(asked <= 80, "{asked}");
}

#[test]
fn who_guesses_names_from_one_address_is_soon_asked_for_none() {
    let mut hall = fill(1000, |_| {});
    // What was asked before the first answer came is on top.
    let asked = asked_in(&mut hall, 20, 5, NO);
    assert!((32..=96).contains(&asked), "{asked}");
    let refused = hall.scene.exchange.counters().refused;
    let of = |reject: Reject| refused[reject.index()];
    assert_eq!(of(Reject::WorkerDenied), asked as u64);
    assert_eq!(of(Reject::TooManyDenied), 1000 - asked as u64);
    // Nobody else waits for it.
    hall.from(7);
    let honest = hall.subscribed(2000);
    hall.authorize(honest, "honest");
    assert_eq!(hall.answer_names(|_| true), ["honest"]);
    assert_eq!(hall.scene.exchange.counters().mining, 1);
    // After a while it is asked for one more.
    hall.from(0);
    let again = hall.subscribed(3000);
    hall.authorize(again, "again");
    assert!(hall.answer_names(|_| true).is_empty());
    hall.tick(400);
    let again = hall.subscribed(3001);
    hall.authorize(again, "again");
    assert_eq!(hall.answer_names(|_| true), ["again"]);
}

#[test]
fn a_hall_of_which_some_are_set_up_wrongly_goes_on() {
    const NEWCOMERS: u32 = 1000;
    let mut hall = fill(NEWCOMERS, |_| {});
    let mut asked = 0;
    for _ in 0..10 {
        asked += hall.answer_names(|name| !name.ends_with('7')).len();
        hall.tick(1);
    }
    assert_eq!(
        asked, NEWCOMERS as usize,
        "one of ten is denied, and all are asked for"
    );
}

#[test]
fn a_name_that_is_denied_again_waits_longer() {
    let mut hall = Hall::open(|_| {});
    let mut asked = Vec::new();
    for second in 0..2000_u32 {
        let miner = hall.subscribed(second);
        hall.authorize(miner, "nobody");
        if !hall.answer_names(|_| false).is_empty() {
            asked.push(second);
        }
        hall.tick(1);
    }
    let waits: Vec<u32> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [60, 120, 240, 480, 480, 480]);
}

#[test]
fn a_pool_that_answers_for_no_name_is_left_for_the_next() {
    let mut hall = Hall::open(|settings| {
        settings.limits.no_reply = Duration::from_secs(20);
    });
    for second in 0..19_u32 {
        let miner = hall.subscribed(second);
        hall.authorize(miner, &format!("rig{second}"));
        hall.heard();
        hall.tick(1);
    }
    let lost = |hall: &Hall| hall.scene.exchange.counters().link_ends[LinkEnd::NoReply as usize];
    assert_eq!(lost(&hall), 0);
    hall.tick(8);
    assert_eq!(lost(&hall), 1);
}

#[test]
fn a_pool_that_answers_for_the_names_that_it_knows_is_not_silent() {
    let mut hall = Hall::open(|settings| {
        settings.limits.no_reply = Duration::from_secs(20);
    });
    hall.miner(0, "known");
    for second in 1..60_u32 {
        let miner = hall.subscribed(second);
        hall.authorize(miner, &format!("rig{second}"));
        hall.heard();
        hall.tick(1);
    }
    let ends = hall.scene.exchange.counters().link_ends;
    assert_eq!(ends[LinkEnd::NoReply as usize], 0);
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
    assert!(asked.len() > 60 && !asked.contains(&"b".to_owned()));
    hall.submit(miner, "b");
    let asked = hall.heard();
    assert_eq!(names_of(&asked, "mining.authorize"), ["b"]);
    hall.pool_answers(asked[0].0, YES);
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["b"]);
    // It is asked for once.
    let asked = hall.answer_names(|_| true);
    assert!(!asked.contains(&"b".to_owned()), "{}", asked.len());
}

#[test]
fn who_guesses_names_and_hangs_up_is_found_out_too() {
    let mut hall = fill(0, |_| {});
    let mut asked = 0;
    for index in 1..=200 {
        let miner = hall.subscribed(index);
        hall.authorize(miner, &format!("guess{index}"));
        hall.scene
            .exchange
            .handle_disconnect(miner, CloseReason::Closed);
        asked += hall.answer_names(|_| false).len();
        hall.scene.pass(Duration::from_millis(125));
        hall.scene.exchange.handle_tick(hall.scene.now);
    }
    assert!((30..=40).contains(&asked), "{asked}");
}

#[test]
fn a_name_that_was_taken_in_between_waits_no_longer_than_at_first() {
    let mut hall = Hall::open(|_| {});
    for _ in 0..5 {
        let miner = hall.subscribed(1);
        hall.authorize(miner, "rig");
        assert_eq!(hall.answer_names(|_| false), ["rig"]);
        hall.scene
            .exchange
            .handle_disconnect(miner, CloseReason::Closed);
        hall.tick(61);
        let miner = hall.subscribed(1);
        hall.authorize(miner, "rig");
        assert_eq!(hall.answer_names(|_| true), ["rig"]);
        hall.scene
            .exchange
            .handle_disconnect(miner, CloseReason::Closed);
        // Until nobody knows it any more.
        hall.tick(5);
    }
}

#[test]
fn machines_that_are_set_up_wrongly_for_hours_keep_nobody_else_out() {
    let mut hall = fill(0, |_| {});
    hall.miner(2000, "known");
    let leave = |hall: &mut Hall, rig: u32| {
        let exchange = &mut hall.scene.exchange;
        exchange.handle_disconnect(token(rig), CloseReason::Closed);
    };
    for round in 0..180_u32 {
        for rig in 1..=100 {
            let miner = hall.subscribed(rig);
            hall.authorize(miner, &format!("wrong{rig}"));
        }
        for _ in 0..4 {
            hall.answer_names(|_| false);
            hall.tick(4);
        }
        for rig in 1..=100 {
            leave(&mut hall, rig);
        }
        // Who mined there comes back whenever it likes.
        leave(&mut hall, 2000);
        hall.tick(2);
        let known = hall.subscribed(2000);
        hall.authorize(known, "known");
        assert_eq!(hall.answer_names(|_| true), ["known"], "{round}");
        // Whom the pool has never seen waits until each of the others was asked for once: 32 of them, and
        // then one each ten seconds.
        let good = hall.subscribed(1000);
        hall.authorize(good, &format!("good{round}"));
        let asked = hall.answer_names(|_| true);
        if round > 12 {
            assert_eq!(asked, [format!("good{round}")]);
        }
        leave(&mut hall, 1000);
        hall.tick(42);
    }
}
