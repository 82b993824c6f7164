//! Shares under names for which their pool answers late, or never; and who waits for such a name.

use crate::names::{Hall, YES, answers, come_back, names_of, token};
use crate::scene::notify;
use std::time::Duration;

fn refused(hall: &Hall) -> u64 {
    let counters = hall.scene.exchange.counters();
    counters.refused_by_reason().map(|(_, count)| count).sum()
}

#[test]
fn a_late_yes_saves_the_shares_that_wait_beside_those_of_other_names() {
    let mut hall = come_back(258, |_| true);
    let asked = hall.heard();
    assert_eq!(asked.len(), 256);
    // The pool passes most of them over.
    hall.tick(4);
    let (late, first) = asked.split_at(254);
    for (id, _, _) in first {
        hall.pool_answers(*id, YES);
    }
    let last = hall.heard();
    assert_eq!(last.len(), 2);
    hall.tick(2);
    for (id, _, _) in late {
        hall.pool_answers(*id, YES);
    }
    assert_eq!(hall.heard(), []);
    for (id, _, _) in last {
        hall.pool_answers(id, YES);
    }
    let sent = names_of(&hall.heard(), "mining.submit").len();
    assert_eq!((sent, refused(&hall)), (258, 0));
}

#[test]
fn a_share_waits_for_its_name_for_as_long_as_for_its_own_answer() {
    let mut hall = Hall::open(|settings| settings.limits.reply_timeout = Duration::from_secs(40));
    let miner = hall.miner(0, "a");
    hall.reconnect();
    let asked = hall.heard();
    let first = hall.submit(miner, "a");
    hall.tick(15);
    let second = hall.submit(miner, "a");
    assert_eq!(answers(&hall.scene.flush().text), []);
    // The first one has waited for too long, and the second goes out.
    hall.tick(26);
    assert_eq!(answers(&hall.scene.flush().text), [(first, 20)]);
    hall.pool_answers(asked[0].0, YES);
    let sent = hall.heard();
    assert_eq!(names_of(&sent, "mining.submit"), ["a"]);
    hall.pool_answers(sent[0].0, YES);
    assert_eq!(answers(&hall.scene.flush().text), [(second, 0)]);
}

#[test]
fn a_share_under_a_name_that_is_given_up_is_refused_and_the_next_one_asks_again() {
    let mut hall = Hall::open(|settings| settings.limits.reply_timeout = Duration::from_secs(600));
    let miner = hall.miner(0, "a");
    hall.miner(1, "b");
    hall.reconnect();
    let (id, _, name) = hall.heard().remove(1);
    assert_eq!(name, "b");
    hall.pool_answers(id, YES);
    let share = hall.submit(miner, "a");
    hall.tick(59);
    assert_eq!(answers(&hall.scene.flush().text), []);
    hall.tick(1);
    assert_eq!(answers(&hall.scene.flush().text), [(share, 20)]);
    hall.submit(miner, "a");
    assert_eq!(names_of(&hall.heard(), "mining.authorize"), ["a"]);
}

/// So many miners, each with a share in flight, are back at a pool that answers slowly.
fn asked_again(miners: u32) -> (Hall, Vec<u64>) {
    let mut hall = come_back(miners, |_| true);
    let asked = hall.heard();
    (hall, asked.into_iter().map(|(id, _, _)| id).collect())
}

#[test]
fn shares_in_flight_wait_for_a_pool_that_needs_eight_seconds_for_a_name() {
    let (mut hall, asked) = asked_again(20);
    hall.tick(8);
    for id in asked {
        assert_eq!(hall.heard(), []);
        hall.pool_answers(id, YES);
    }
    let sent = names_of(&hall.heard(), "mining.submit").len();
    assert_eq!((sent, refused(&hall)), (20, 0));
}

#[test]
fn shares_in_flight_wait_while_the_pool_answers_one_name_after_the_other() {
    let (mut hall, asked) = asked_again(6);
    for id in asked {
        assert_eq!(hall.heard(), []);
        hall.tick(8);
        hall.pool_answers(id, YES);
    }
    let sent = names_of(&hall.heard(), "mining.submit").len();
    assert_eq!((sent, refused(&hall)), (6, 0));
}

#[test]
fn a_name_that_the_pool_does_not_come_to_keeps_no_other_share_waiting_for_long() {
    // It passes two over, and of the last one it says nothing either.
    let (mut hall, asked) = asked_again(5);
    hall.pool_answers(asked[2], YES);
    hall.pool_answers(asked[3], YES);
    hall.tick(9);
    assert_eq!((hall.heard().len(), refused(&hall)), (0, 0));
    hall.tick(1);
    let sent = names_of(&hall.heard(), "mining.submit");
    assert_eq!(sent, ["rig2", "rig3"]);
    assert_eq!(refused(&hall), 3);
    // When only such remain that it passed over, nobody waits for those.
    let (mut hall, asked) = asked_again(3);
    hall.pool_answers(asked[2], YES);
    hall.tick(5);
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["rig2"]);
}

#[test]
fn shares_wait_for_no_name_whose_own_shares_are_over() {
    let (mut hall, asked) = asked_again(10);
    // Nine seconds for each: after a minute the first six are answered.
    for id in &asked[..6] {
        hall.tick(9);
        hall.pool_answers(*id, YES);
    }
    hall.submit(token(0), "rig0");
    assert_eq!(hall.heard(), []);
    hall.tick(8);
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["rig0"]);
    assert_eq!(refused(&hall), 10);
}

/// The next connection asks for this name with care: two ended while it was open.
fn end_twice_at(hall: &mut Hall, name: &str) {
    for _ in 0..2 {
        assert_eq!(names_of(&hall.heard(), "mining.authorize"), [name]);
        hall.reconnect();
    }
}

#[test]
fn who_asks_again_while_a_suspect_is_open_makes_it_no_worse() {
    let mut hall = Hall::open(|_| {});
    let first = hall.subscribed(1);
    hall.authorize(first, "quiet");
    end_twice_at(&mut hall, "quiet");
    assert_eq!(names_of(&hall.heard(), "mining.authorize"), ["quiet"]);
    for index in 2..12 {
        hall.tick(6);
        let miner = hall.subscribed(index);
        hall.authorize(miner, "other");
        hall.answer_names(|name| name == "other");
        hall.authorize(miner, "quiet");
    }
    // It is given up after a minute, and may be asked for again after one more.
    hall.tick(61);
    let miner = hall.subscribed(20);
    hall.authorize(miner, "quiet");
    assert_eq!(names_of(&hall.heard(), "mining.authorize"), ["quiet"]);
}

#[test]
fn the_name_of_who_mines_is_no_guess_though_connections_ended_at_it() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    hall.reconnect();
    end_twice_at(&mut hall, "a");
    assert_eq!(names_of(&hall.heard(), "mining.authorize"), ["a"]);
    // The pool is slow, and the connection ends once more.
    hall.tick(6);
    hall.reconnect();
    hall.submit(miner, "a");
    let asked = hall.heard();
    assert_eq!(names_of(&asked, "mining.authorize"), ["a"]);
    hall.pool_answers(asked[0].0, YES);
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["a"]);
}

#[test]
fn a_share_that_was_answered_while_the_link_was_lost_goes_out_under_no_name() {
    let mut hall = Hall::open(|settings| settings.limits.resume = Duration::from_secs(5));
    let miner = hall.miner(0, "a");
    let share = hall.submit(miner, "a");
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["a"]);
    hall.reconnect();
    assert_eq!(names_of(&hall.heard(), "mining.authorize"), ["a"]);
    // Other nonce bytes, which the miner can't take: it waits for its answer, but not for long.
    let other = br#"{"id":null,"method":"mining.set_extranonce","params":["c3c3c3c3"]}"#;
    hall.scene.pool_says(hall.link, other);
    hall.scene.pool_says(hall.link, notify().as_bytes());
    hall.tick(5);
    hall.lose();
    hall.tick(1);
    let told = hall.scene.flush();
    assert_eq!((answers(&told.text), told.closed), (vec![(share, 21)], 1));
    hall.come_back_with("c3c3c3c3");
    assert_eq!(hall.heard(), []);
}
