//! Who is asked for next at a pool that is slow, answers for some names alone, or hangs up at one; and what
//! that costs the others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use stratum_uring::exchange::{CloseReason, LinkEnd, Settings};
use stratum_uring::proto::share::Reject;
use stratum_uring::proto::worker_name::WorkerName;

use crate::farm::Farm;
use crate::names::{Hall, NO, YES, answers, come_back, names_of, token};

/// What the pool does with a name.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    Answers(&'static str),
    /// Not a word.
    Nothing,
    /// It closes the connection.
    HangsUp,
    /// It does so after this time.
    HangsUpLater(Duration),
}

/// When the pool does something about the names that it is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// So long after each.
    After(Duration),
    /// One behind the other, so long for each.
    OneByOne(Duration),
}

/// A hall of rigs, each under a name of its own. Who is refused asks again after a while.
pub(crate) struct Rigs {
    pub(crate) hall: Hall,
    pace: Pace,
    /// What the pool has to do, in this order.
    pub(crate) todo: VecDeque<(Duration, u64, String)>,
    /// The most that it had to do at a time.
    todo_max: usize,
    /// How often it was asked for each name.
    pub(crate) asked: BTreeMap<String, u32>,
    /// When it hangs up at the latest.
    hangs_up_at: Option<Duration>,
    /// How often it hung up.
    pub(crate) ends: u32,
    /// Who waits for the answer to which request, and since when.
    pub(crate) waits: HashMap<u32, u32>,
    again: VecDeque<(Duration, u32)>,
    pub(crate) pause: Duration,
    /// Whether they do so on another connection.
    pub(crate) reconnect: bool,
    workers: BTreeMap<u32, (u32, String)>,
    pub(crate) mining: BTreeMap<u32, Duration>,
}

const STEP: Duration = Duration::from_millis(25);

impl Rigs {
    pub(crate) fn new(pace: Pace) -> Self {
        Self::of(Hall::open(|_| {}), pace)
    }

    pub(crate) fn of(hall: Hall, pace: Pace) -> Self {
        Self {
            hall,
            pace,
            todo: VecDeque::new(),
            todo_max: 0,
            asked: BTreeMap::new(),
            hangs_up_at: None,
            ends: 0,
            waits: HashMap::new(),
            again: VecDeque::new(),
            pause: Duration::from_secs(10),
            reconnect: false,
            workers: BTreeMap::new(),
            mining: BTreeMap::new(),
        }
    }

    /// A rig comes from this address.
    pub(crate) fn come(&mut self, rig: u32, home: u32, worker: &str) {
        self.hall.from(home);
        self.hall.subscribed(rig);
        self.workers.insert(rig, (home, worker.to_owned()));
        self.authorize(rig);
    }

    pub(crate) fn come_all(&mut self, rigs: std::ops::Range<u32>, home: u32) {
        for rig in rigs {
            self.come(rig, home, &format!("rig{rig}"));
        }
    }

    fn authorize(&mut self, rig: u32) {
        let (home, worker) = self.workers[&rig].clone();
        self.hall.from(home);
        if self.reconnect && !self.mining.contains_key(&rig) {
            self.leave(rig);
            self.hall.subscribed(rig);
        }
        let id = self.hall.authorize(token(rig), &worker);
        self.waits.insert(id, rig);
    }

    pub(crate) fn leave(&mut self, rig: u32) {
        let exchange = &mut self.hall.scene.exchange;
        exchange.handle_disconnect(token(rig), CloseReason::Closed);
        self.mining.remove(&rig);
        self.waits.retain(|_, other| *other != rig);
        self.again.retain(|(_, other)| *other != rig);
    }

    fn names_asked(&self, prefix: &str) -> u32 {
        let of = self
            .asked
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        of.map(|(_, count)| *count).sum()
    }

    pub(crate) fn ends_as(&self, end: LinkEnd) -> u64 {
        self.hall.scene.exchange.counters().link_ends[end as usize]
    }

    pub(crate) fn refused(&self, reject: Reject) -> u64 {
        self.hall.scene.exchange.counters().refused[reject.index()]
    }

    pub(crate) fn pass(&mut self, seconds: u64, does: impl Fn(&str) -> Does) {
        for step in 1..=seconds * 40 {
            self.hall.scene.pass(STEP);
            let now = self.hall.scene.now.since_start;
            for (id, method, name) in self.hall.heard() {
                assert_eq!(method, "mining.authorize");
                *self.asked.entry(name.clone()).or_default() += 1;
                let at = match self.pace {
                    Pace::After(time) => now + time,
                    Pace::OneByOne(time) => {
                        self.todo.back().map_or(now, |last| last.0.max(now)) + time
                    }
                };
                self.todo.push_back((at, id, name));
            }
            let open = self.todo.iter();
            let open = open.filter(|(_, _, name)| !matches!(does(name), Does::Nothing));
            self.todo_max = self.todo_max.max(open.count());
            while let Some((at, id, name)) = self.todo.pop_front() {
                if at > now {
                    self.todo.push_front((at, id, name));
                    break;
                }
                match does(&name) {
                    Does::Answers(verdict) => self.hall.pool_answers(id, verdict),
                    Does::Nothing => {}
                    Does::HangsUp => self.hangs_up_at = Some(now),
                    Does::HangsUpLater(time) => {
                        self.hangs_up_at.get_or_insert(now + time);
                    }
                }
                if self.hangs_up_at.is_some_and(|at| at <= now) {
                    break;
                }
            }
            if self.hangs_up_at.is_some_and(|at| at <= now) {
                self.hangs_up_at = None;
                self.ends += 1;
                self.todo.clear();
                self.hall.lose();
                self.hall.come_back();
            }
            if step % 10 == 0 {
                self.hall.scene.exchange.handle_tick(self.hall.scene.now);
            }
            self.hear();
        }
    }

    fn hear(&mut self) {
        let now = self.hall.scene.now.since_start;
        for (id, code) in answers(&self.hall.scene.flush().text) {
            let Some(rig) = self.waits.remove(&id) else {
                continue;
            };
            if code == 0 {
                self.mining.insert(rig, now);
            } else {
                self.again.push_back((now + self.pause, rig));
            }
        }
        while let Some(&(at, rig)) = self.again.front()
            && at <= now
        {
            self.again.pop_front();
            self.authorize(rig);
        }
    }
}

pub(crate) const fn yes(_: &str) -> Does {
    Does::Answers(YES)
}

pub(crate) fn known_alone(name: &str) -> Does {
    if name.starts_with("rig") {
        Does::Answers(YES)
    } else {
        Does::Nothing
    }
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_pool_that_needs_six_seconds_for_each_name_has_its_hall() {
    for reconnect in [false, true] {
        let mut rigs = Rigs::new(Pace::After(millis(6000)));
        rigs.reconnect = reconnect;
        rigs.come_all(1..401, 0);
        rigs.pass(90, yes);
        assert_eq!(rigs.mining.len(), 400, "{reconnect}");
        assert_eq!(rigs.ends_as(LinkEnd::NoReply), 0);
        let counters = rigs.hall.scene.exchange.counters();
        assert_eq!(counters.answers_unexpected, 0);
        assert!(rigs.asked.values().all(|&times| times == 1));
    }
}

#[test]
fn a_pool_that_answers_thirty_names_a_second_is_asked_for_no_more_than_it_can_bear() {
    let mut rigs = Rigs::new(Pace::OneByOne(millis(33)));
    rigs.come_all(1..1501, 0);
    rigs.pass(100, yes);
    assert_eq!(rigs.mining.len(), 1500);
    assert!(rigs.todo_max <= 256, "{}", rigs.todo_max);
    assert!(rigs.asked.values().all(|&times| times == 1));
    // Who mines is asked for once on each connection, too.
    let mut rigs = Rigs::of(come_back(1000, |_| false), Pace::OneByOne(millis(33)));
    rigs.pass(40, yes);
    assert_eq!((rigs.asked.len(), rigs.names_asked("rig")), (1000, 1000));
    assert!(rigs.todo_max <= 256, "{}", rigs.todo_max);
    let mut hall = rigs.hall;
    for rig in 0..1000 {
        hall.submit(token(rig), &format!("rig{rig}"));
    }
    assert_eq!(names_of(&hall.heard(), "mining.submit").len(), 1000);
}

#[test]
fn a_pool_that_says_no_late_is_no_help_to_who_guesses() {
    let mut rigs = Rigs::new(Pace::After(millis(6000)));
    for number in 1..=2000 {
        rigs.come(number, 7, &format!("guess{number}"));
    }
    rigs.pass(120, |_| Does::Answers(NO));
    let asked = rigs.names_asked("guess");
    // 64 and 8 a second until the first are late, and what is forgotten.
    assert!((32..=130).contains(&asked), "{asked}");
    assert!(rigs.refused(Reject::TooManyDenied) > 1000);
}

#[test]
fn who_asks_again_waits_for_the_answer_that_is_late() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.subscribed(0);
    let told = |hall: &mut Hall| answers(&hall.scene.flush().text);
    let first = hall.authorize(miner, "slow");
    let asked = hall.heard();
    told(&mut hall);
    hall.tick(5);
    assert_eq!(told(&mut hall), [(first, 24)]);
    let second = hall.authorize(miner, "slow");
    hall.tick(4);
    assert_eq!((hall.heard(), told(&mut hall)), (vec![], vec![]));
    // For five seconds again, and no longer.
    hall.tick(1);
    assert_eq!(told(&mut hall), [(second, 24)]);
    let third = hall.authorize(miner, "slow");
    hall.pool_answers(asked[0].0, YES);
    assert_eq!(told(&mut hall)[0], (third, 0));
    assert_eq!(hall.scene.exchange.counters().names_asked, 1);
    assert_eq!(hall.scene.exchange.counters().answers_unexpected, 0);
}

#[test]
fn a_late_no_closes_who_mines_under_the_name() {
    let mut hall = Hall::open(|_| {});
    hall.miner(0, "a");
    hall.reconnect();
    let asked = hall.heard();
    hall.tick(6);
    hall.pool_answers(asked[0].0, NO);
    let told = hall.scene.flush();
    assert_eq!(told.closed, 1);
    assert_eq!(hall.scene.exchange.counters().answers_unexpected, 0);
}

#[test]
fn names_that_the_pool_never_answers_are_charged_to_who_came_with_them() {
    let mut rigs = Rigs::new(Pace::After(millis(50)));
    for number in 1..=2000 {
        rigs.come(number, 7, &format!("guess{number}"));
    }
    // Others come all the time.
    for rig in 3000..3180 {
        rigs.come(rig, 8, &format!("rig{rig}"));
        rigs.pass(1, known_alone);
    }
    assert_eq!(rigs.mining.len(), 180);
    let asked = rigs.names_asked("guess");
    assert!((32..=130).contains(&asked), "{asked}");
    assert!(rigs.refused(Reject::TooManyDenied) > 1000);
    // And such a name is remembered for a while.
    let times = rigs
        .asked
        .iter()
        .filter(|(name, _)| name.starts_with("guess"));
    assert!(times.into_iter().all(|(_, &times)| times <= 2));
}

#[test]
fn one_address_with_many_names_does_not_stand_before_a_hall() {
    let mut rigs = Rigs::new(Pace::After(millis(50)));
    rigs.pause = Duration::from_secs(1000);
    for number in 0..16_000 {
        let rig = 1 + number / 16;
        rigs.come_with(rig, 7, &format!("guess{number}"), number % 16 == 0);
    }
    rigs.pass(2, known_alone);
    rigs.come_all(2000..2300, 8);
    rigs.pass(20, known_alone);
    let in_time = rigs.mining.range(2000..2300).count();
    assert_eq!(in_time, 300);
    // And those others are told so in the end.
    assert_eq!(rigs.refused(Reject::TooManyDenied), 0);
    rigs.pass(45, known_alone);
    assert!(rigs.refused(Reject::TooManyDenied) > 5000);
}

#[test]
fn an_authorize_waits_for_its_turn_for_two_minutes_and_no_longer() {
    let mut rigs = Rigs::new(Pace::OneByOne(millis(1000)));
    rigs.pause = Duration::from_secs(1000);
    rigs.come_all(1..401, 8);
    rigs.pass(115, yes);
    let busy = |rigs: &Rigs| rigs.refused(Reject::AuthorizeBusy);
    assert_eq!(busy(&rigs), 0);
    rigs.pass(7, yes);
    assert!(busy(&rigs) > 50, "{}", busy(&rigs));
    assert!(rigs.waits.len() <= 8, "those that were asked for only now");
}

#[test]
fn who_has_waited_long_for_its_turn_waits_on_while_the_link_is_taken_up_again() {
    let mut rigs = Rigs::new(Pace::OneByOne(millis(1000)));
    rigs.pause = Duration::from_secs(1000);
    rigs.come_all(1..301, 8);
    rigs.pass(40, yes);
    rigs.hall.lose();
    rigs.hall.tick(2);
    rigs.hear();
    assert_eq!(rigs.refused(Reject::NoPool), 0);
    rigs.hall.come_back();
    rigs.todo.clear();
    let before = rigs.names_asked("rig");
    rigs.pass(4, yes);
    assert!(rigs.names_asked("rig") > before + 30);
    assert_eq!(rigs.refused(Reject::NoPool), 0);
    // Without a pool all are told so, half a minute later.
    rigs.hall.lose();
    rigs.hall.tick(29);
    assert_eq!(rigs.refused(Reject::NoPool), 0);
    let waiting = rigs.waits.len() as u64;
    rigs.hall.tick(2);
    assert_eq!(rigs.refused(Reject::NoPool), waiting);
}

impl Rigs {
    /// As [`Rigs::come`], but the connection may be there.
    pub(crate) fn come_with(&mut self, rig: u32, home: u32, worker: &str, is_first: bool) {
        self.hall.from(home);
        if is_first {
            self.hall.subscribed(rig);
        }
        let id = self.hall.authorize(token(rig), worker);
        self.waits.insert(id, rig);
    }
}

#[test]
fn strangers_of_whom_the_pool_says_nothing_keep_no_known_name_waiting() {
    let mut rigs = Rigs::new(Pace::After(millis(50)));
    rigs.come_all(1..101, 8);
    rigs.pass(10, known_alone);
    for number in 0..8000 {
        // Each from elsewhere.
        rigs.come(1000 + number, 1000 + number, &format!("guess{number}"));
    }
    rigs.pass(60, known_alone);
    let before = rigs.hall.scene.now.since_start;
    for rig in 1..101 {
        rigs.leave(rig);
    }
    rigs.pass(3, known_alone);
    rigs.come_all(1..101, 8);
    rigs.pass(27, known_alone);
    let late = rigs.mining.range(1..101).map(|(_, at)| *at - before).max();
    assert_eq!(rigs.mining.range(1..101).count(), 100);
    assert!(late <= Some(Duration::from_secs(20)), "{late:?}");
}

#[test]
fn what_a_backup_pool_said_of_a_hall_is_nothing_to_its_own() {
    let mut farm = Farm::new(&["a", "b"], &["a"], |settings| {
        settings.authorize.worker_name = WorkerName::parse("{worker}").unwrap();
    });
    farm.pass(1);
    let authorize = |farm: &mut Farm, rig: u32| {
        let miner = farm.scene.connect(rig);
        let line = format!(r#"{{"id":9,"method":"mining.authorize","params":["rig{rig}","x"]}}"#);
        farm.scene.miner_says(miner, crate::scene::SUBSCRIBE);
        farm.scene.miner_says(miner, line.as_bytes());
    };
    let answer = |farm: &mut Farm, host: &str, verdict: &str| {
        let link = farm.link_to(host);
        let text = farm.scene.written(link);
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let line = format!(r#"{{"id":{},{verdict}}}"#, line["id"]);
            farm.scene.pool_says(link, line.as_bytes());
        }
        text.lines().count()
    };
    authorize(&mut farm, 0);
    farm.seconds_until(|farm| farm.serving() == ["b"]);
    for rig in 1..200 {
        authorize(&mut farm, rig);
        if rig % 10 == 0 {
            farm.pass(1);
            answer(&mut farm, "b", NO);
        }
    }
    let refused =
        |farm: &Farm| farm.scene.exchange.counters().refused[Reject::TooManyDenied.index()];
    assert!(refused(&farm) > 100, "{}", refused(&farm));
    let before = refused(&farm);
    farm.recovers("a");
    farm.fails("b");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    for rig in 300..320 {
        authorize(&mut farm, rig);
    }
    farm.pass(1);
    assert!(answer(&mut farm, "a", YES) >= 20);
    assert_eq!(refused(&farm), before);
}

#[test]
fn a_name_that_one_address_may_not_have_is_asked_for_another_that_waits() {
    let mut hall = Hall::open(|_| {});
    hall.from(7);
    for rig in 1..=64 {
        let miner = hall.subscribed(rig);
        hall.authorize(miner, &format!("guess{rig}"));
    }
    let asked = hall.heard();
    assert_eq!(asked.len(), 64);
    let guesser = hall.subscribed(100);
    let refused = hall.authorize(guesser, "shared");
    hall.from(8);
    let honest = hall.subscribed(101);
    let honest = hall.authorize(honest, "shared");
    assert_eq!(hall.heard(), []);
    hall.scene.flush();
    for (id, _, _) in asked {
        hall.pool_answers(id, NO);
    }
    let mut told = BTreeMap::new();
    for _ in 0..4 {
        told.extend(answers(&hall.scene.flush().text));
        hall.tick(1);
        hall.answer_names(|_| true);
    }
    assert_eq!(told.get(&honest), Some(&0), "{told:?}");
    assert!(told.contains_key(&refused));
}

#[test]
fn however_many_names_a_pool_takes_it_denies_so_many_in_a_second_and_no_more() {
    let mut rigs = Rigs::new(Pace::After(millis(50)));
    rigs.pause = Duration::from_secs(1000);
    for number in 0..12_000 {
        let kind = if number % 5 == 0 { "guess" } else { "x." };
        rigs.come(1 + number, number / 3, &format!("{kind}{number}"));
    }
    rigs.pass(5, |name| {
        Does::Answers(if name.starts_with("guess") { NO } else { YES })
    });
    let asked = rigs.names_asked("guess");
    assert!((200..=64 * 5 + 64 + 256).contains(&asked), "{asked}");
}

#[test]
fn a_worker_with_another_password_is_a_stranger() {
    let mut hall = Hall::open(|settings: &mut Settings| {
        settings.authorize.shows_passwords = true;
    });
    hall.from(8);
    let miner = hall.miner(0, "rig");
    let exchange = &mut hall.scene.exchange;
    exchange.handle_disconnect(miner, CloseReason::Closed);
    for round in 0..3 {
        for rig in 1..=40 {
            let miner = hall.subscribed(100 * round + rig);
            hall.authorize(miner, &format!("guess{round}.{rig}"));
        }
        hall.answer_names(|_| false);
        hall.tick(2);
    }
    // Its address may have no stranger by now, but the rig that was taken comes back.
    let miner = hall.subscribed(1000);
    let line = r#"{"id":9,"method":"mining.authorize","params":["rig","guess"]}"#;
    hall.scene.miner_says(miner, line.as_bytes());
    assert_eq!(hall.answer_names(|_| true), [""; 0]);
    hall.authorize(miner, "rig");
    assert_eq!(hall.answer_names(|_| true), ["rig"]);
}
