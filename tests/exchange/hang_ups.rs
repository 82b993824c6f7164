//! Pools that answer a name by closing the connection: who pays for that, and that it is found out.

use std::time::Duration;

use stratum_uring::exchange::LinkEnd;
use stratum_uring::proto::share::Reject;

use crate::names::{Hall, YES, come_back, names_of};
use crate::newcomers::{Does, Pace, Rigs, known_alone, millis, yes};

/// A hall of a hundred rigs that mine.
fn hall() -> Rigs {
    let mut rigs = Rigs::new(Pace::After(Duration::from_millis(50)));
    rigs.come_all(1..101, 8);
    rigs.pass(5, |_| Does::Answers(YES));
    assert_eq!(rigs.mining.len(), 100);
    rigs
}

#[test]
fn a_known_name_at_which_the_pool_hangs_up_costs_its_address_nothing() {
    let mut rigs = hall();
    rigs.come(500, 7, "was good");
    rigs.pass(2, |_| Does::Answers(YES));
    rigs.leave(500);
    rigs.pass(2, |_| Does::Answers(YES));
    let hangs_up = |name: &str| match name {
        "was good" => Does::HangsUp,
        _ => Does::Answers(YES),
    };
    rigs.come(500, 7, "was good");
    rigs.pass(30, hangs_up);
    assert!((3..=4).contains(&rigs.ends), "{}", rigs.ends);
    assert!(rigs.refused(Reject::NameUnanswered) > 0);
    rigs.come(501, 7, "rig501");
    rigs.pass(5, hangs_up);
    assert!(rigs.mining.contains_key(&501));
    assert_eq!(rigs.refused(Reject::TooManyDenied), 0);
}

#[test]
fn a_name_at_which_the_pool_hangs_up_is_found_and_paid_for_also_later_and_beside_others() {
    for (after, is_beside_quiet_ones) in [(0, true), (8, false), (8, true)] {
        let hangs_up = |name: &str| match name {
            "bad" | "worse" => Does::HangsUpLater(Duration::from_secs(after)),
            "quiet" => Does::Nothing,
            _ => Does::Answers(YES),
        };
        let mut rigs = hall();
        rigs.reconnect = true;
        rigs.come(500, 7, "bad");
        if is_beside_quiet_ones {
            rigs.come(600, 9, "quiet");
        }
        // Others come all the time, and the pool answers for them.
        for number in 0..60 {
            rigs.come(1000 + number, 8, &format!("rig{}", 1000 + number));
            rigs.pass(2, hangs_up);
        }
        assert_eq!(rigs.mining.len(), 160);
        assert!((3..=5).contains(&rigs.ends), "{}", rigs.ends);
        rigs.come(501, 7, "worse");
        rigs.pass(10, hangs_up);
        assert_eq!(rigs.asked.get("worse"), None);
        assert!(rigs.refused(Reject::TooManyDenied) > 0);
        let ends = rigs.ends_as(LinkEnd::Reset);
        assert_eq!(ends, u64::from(rigs.ends));
    }
}

#[test]
fn a_name_at_which_the_pool_hangs_up_is_asked_for_a_few_times_and_no_more() {
    for is_strangers in [true, false] {
        let mut rigs = Rigs::new(Pace::OneByOne(millis(20)));
        let hangs_up = |name: &str| match name {
            "bad" => Does::HangsUp,
            _ => Does::Answers(YES),
        };
        rigs.come_all(1..101, 8);
        rigs.pass(5, hangs_up);
        rigs.come(500, if is_strangers { 7 } else { 8 }, "bad");
        rigs.come_all(101..151, 8);
        rigs.pass(15, hangs_up);
        assert_eq!(rigs.mining.len(), 150);
        assert!((3..=4).contains(&rigs.ends), "{}", rigs.ends);
        // It asks again all the time: after one minute, two, four and eight it is tried.
        rigs.reconnect = true;
        rigs.pass(585, hangs_up);
        assert!((4..=8).contains(&rigs.ends), "{}", rigs.ends);
        assert!(rigs.refused(Reject::NameUnanswered) > 10);
        assert_eq!(rigs.mining.len(), 150);
    }
}

#[test]
fn a_rig_alone_at_which_the_pool_hangs_up_is_told_so_too() {
    let mut rigs = Rigs::new(Pace::OneByOne(millis(20)));
    rigs.come(1, 8, "bad");
    rigs.pass(120, |_| Does::HangsUp);
    assert!((6..=8).contains(&rigs.ends), "{}", rigs.ends);
    assert!(rigs.refused(Reject::NameUnanswered) > 0);
}

#[test]
fn who_makes_a_pool_hang_up_under_ever_new_names_is_asked_for_none() {
    let mut rigs = Rigs::new(Pace::OneByOne(millis(20)));
    let hangs_up = |name: &str| match name.strip_prefix("bad") {
        Some(_) => Does::HangsUp,
        None => Does::Answers(YES),
    };
    rigs.come_all(1001..1101, 8);
    for number in 1..=50 {
        rigs.come(number, 7, &format!("bad{number}"));
        rigs.pass(6, hangs_up);
    }
    assert_eq!(rigs.mining.len(), 100);
    assert!((3..=8).contains(&rigs.ends), "{}", rigs.ends);
    assert!(rigs.refused(Reject::TooManyDenied) > 20);
}

#[test]
fn a_pool_that_restarts_again_and_again_keeps_no_name_out() {
    // Those of a hall that mines.
    let mut rigs = Rigs::of(come_back(400, |_| false), Pace::OneByOne(millis(5)));
    for _ in 0..4 {
        rigs.hall.heard();
        rigs.hall.reconnect();
    }
    let restarts = rigs.hall.scene.exchange.counters().link_ends[LinkEnd::Reset as usize];
    assert_eq!(restarts, 5);
    assert_eq!(rigs.hall.answer_names(|_| true).len(), 400);
    assert_eq!(rigs.refused(Reject::NameUnanswered), 0);
    // And newcomers.
    let mut rigs = Rigs::new(Pace::OneByOne(millis(5)));
    rigs.pause = Duration::from_secs(1000);
    rigs.come_all(1..301, 8);
    for _ in 0..5 {
        rigs.hall.heard();
        rigs.hall.reconnect();
    }
    rigs.pass(60, yes);
    assert_eq!((rigs.mining.len(), rigs.waits.len()), (300, 0));
}

#[test]
fn names_that_a_pool_never_answers_stop_nobody_after_its_restarts() {
    let mut rigs = Rigs::new(Pace::After(millis(50)));
    for number in 1..=64 {
        rigs.come(number, number, &format!("guess{number}"));
    }
    for round in 0..8 {
        rigs.pass(3, known_alone);
        rigs.hall.reconnect();
        rigs.todo.clear();
        let first = 1000 + 100 * round;
        rigs.come_all(first..first + 50, 8);
        if round > 2 {
            rigs.pass(30, known_alone);
            assert_eq!(rigs.mining.range(first..).count(), 50, "{round}");
        }
    }
}

#[test]
fn a_name_at_which_a_connection_did_not_end_is_no_suspect_any_more() {
    let mut hall = Hall::open(|_| {});
    let asked = |hall: &mut Hall| names_of(&hall.heard(), "mining.authorize");
    let miner = hall.subscribed(1);
    hall.authorize(miner, "quiet");
    for _ in 0..2 {
        assert_eq!(asked(&mut hall), ["quiet"]);
        hall.reconnect();
    }
    // It is asked for alone, and the pool says nothing.
    assert_eq!(asked(&mut hall), ["quiet"]);
    let other = hall.subscribed(2);
    hall.authorize(other, "other");
    assert_eq!(asked(&mut hall), [""; 0]);
    hall.tick(5);
    assert_eq!(hall.answer_names(|_| true), ["other"]);
    // It is given up after a minute, and remembered for one more.
    hall.tick(116);
    // When it may be asked for again it waits for nobody.
    for (index, name) in [(3, "third"), (4, "quiet"), (5, "fifth")] {
        let miner = hall.subscribed(index);
        hall.authorize(miner, name);
    }
    assert_eq!(asked(&mut hall), ["third", "quiet", "fifth"]);
}
