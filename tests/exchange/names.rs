//! Workers under names of their own: who is asked for them, who waits for the answer, and who does not.

use std::collections::BTreeSet;
use std::time::Duration;

use stratum_uring::exchange::{
    CheckEnd, CloseReason, Fact, LinkEnd, LinkKey, MinerToken, Settings,
};
use stratum_uring::proto::worker_name::{MinerAddress, WorkerName};

use crate::farm::Farm;
use crate::scene::{SUBSCRIBE, Scene, job_time, notify};

/// One pool that is asked for each name, and its link.
pub(crate) struct Hall {
    pub(crate) scene: Scene,
    pub(crate) link: LinkKey,
    job: String,
    /// Shares and other requests so far.
    requests: u32,
}

fn by_name(settings: &mut Settings) {
    settings.authorize.worker_name = WorkerName::parse("{worker}").unwrap();
    settings.authorize.denied_retry = Duration::from_secs(60);
}

impl Hall {
    pub(crate) fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let mut scene = Scene::with(&["a"], |settings| {
            by_name(settings);
            settings.limits.no_job = Duration::from_secs(1_000_000);
            change(settings);
        });
        scene.connect(0);
        let link = scene.expect_connected();
        scene.shake_hands(link);
        scene.pool_says(link, notify().as_bytes());
        scene.written(link);
        Self {
            scene,
            link,
            job: String::new(),
            requests: 100,
        }
    }

    /// What miners say next comes from this address of many.
    pub(crate) fn from(&mut self, host: u32) {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + host);
        let address = MinerAddress(address.to_ipv6_mapped().octets());
        self.scene.exchange.hear_from(address);
    }

    /// A miner that has subscribed.
    pub(crate) fn subscribed(&mut self, index: u32) -> MinerToken {
        let miner = if index == 0 {
            token(0)
        } else {
            self.scene.connect(index)
        };
        self.scene.miner_says(miner, SUBSCRIBE);
        miner
    }

    /// A miner that mines under this name.
    pub(crate) fn miner(&mut self, index: u32, worker: &str) -> MinerToken {
        let miner = self.subscribed(index);
        self.authorize(miner, worker);
        let mut text = String::new();
        while !text.contains("mining.notify") {
            if self.answer_names(|_| true).is_empty() {
                self.tick(1);
            }
            text.push_str(&self.scene.flush().text);
        }
        let (_, params) = text.split_once(r#""mining.notify","params":[""#).unwrap();
        self.job = params.split_once('"').unwrap().0.to_owned();
        miner
    }

    /// Asks, and gives the id of the request.
    pub(crate) fn authorize(&mut self, miner: MinerToken, worker: &str) -> u32 {
        self.requests += 1;
        let id = self.requests;
        let line =
            format!(r#"{{"id":{id},"method":"mining.authorize","params":["{worker}","x"]}}"#);
        self.scene.miner_says(miner, line.as_bytes());
        id
    }

    pub(crate) fn submit(&mut self, miner: MinerToken, worker: &str) -> u32 {
        self.requests += 1;
        let (id, job, time) = (self.requests, &self.job, job_time());
        let solution = "0".repeat(72);
        let line = format!(
            r#"{{"id":{id},"method":"mining.submit","params":["{worker}","{job}","{time}","{id:052x}","24{solution}"]}}"#
        );
        self.scene.miner_says(miner, line.as_bytes());
        id
    }

    /// The requests that the pool was sent since the last look: their ids, methods and first params.
    pub(crate) fn heard(&mut self) -> Vec<(u64, String, String)> {
        let link = self.link;
        let text = self.scene.written(link);
        requests(&text)
    }

    pub(crate) fn pool_answers(&mut self, id: u64, verdict: &str) {
        let line = format!(r#"{{"id":{id},{verdict}}}"#);
        self.scene.pool_says(self.link, line.as_bytes());
    }

    /// Answers all names that are asked for, also those for which there is room only then. Gives them.
    pub(crate) fn answer_names(&mut self, is_allowed: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let heard = self.heard();
            if heard.is_empty() {
                return names;
            }
            for (id, method, name) in heard {
                assert_eq!(method, "mining.authorize");
                self.pool_answers(id, if is_allowed(&name) { YES } else { NO });
                names.push(name);
            }
        }
    }

    pub(crate) fn tick(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            self.scene.pass(Duration::from_millis(250));
            self.scene.exchange.handle_tick(self.scene.now);
        }
    }

    /// The connection is lost, and the same session comes back on another one.
    pub(crate) fn reconnect(&mut self) {
        self.lose();
        self.come_back();
    }

    pub(crate) fn lose(&mut self) {
        let now = self.scene.now;
        self.scene
            .exchange
            .handle_link_closed(now, self.link, LinkEnd::Reset, "");
    }

    pub(crate) fn come_back(&mut self) {
        self.come_back_with("a1b2c3d4");
    }

    pub(crate) fn come_back_with(&mut self, extranonce1: &str) {
        self.link = loop {
            self.tick(1);
            if let Some((link, _)) = self.scene.poll_dial() {
                let now = self.scene.now;
                self.scene.exchange.handle_link_connected(now, link);
                break link;
            }
        };
        let link = self.link;
        let subscribed = format!(r#"{{"id":1,"result":[null,"{extranonce1}"],"error":null}}"#);
        self.scene.pool_says(link, subscribed.as_bytes());
        self.pool_answers(2, YES);
        let handshake: Vec<_> = self.scene.exchange.unwritten(link).to_vec();
        let lines = handshake.iter().filter(|&&byte| byte == b'\n').count();
        assert!(lines >= 2, "subscribe and authorize");
        let len = handshake
            .split_inclusive(|&byte| byte == b'\n')
            .take(2)
            .map(<[u8]>::len)
            .sum();
        self.scene.exchange.wrote(self.scene.now, link, len);
    }

    /// What is asked for its password first was checked.
    fn check(&mut self, end: CheckEnd) {
        let (now, exchange) = (self.scene.now, &mut self.scene.exchange);
        let check = exchange.poll_check().unwrap();
        exchange.handle_worker_checked(now, check.miner, check.number, end);
    }

    fn closed(&mut self) -> Vec<CloseReason> {
        self.scene.flush();
        let facts = std::iter::from_fn(|| self.scene.exchange.poll_fact());
        facts
            .filter_map(|fact| match fact {
                Fact::MinerClosed { reason, .. } => Some(reason),
                _ => None,
            })
            .collect()
    }
}

pub(crate) const YES: &str = r#""result":true,"error":null"#;
pub(crate) const NO: &str = r#""result":false,"error":[24,"no such account",null]"#;

pub(crate) fn token(index: u32) -> MinerToken {
    MinerToken {
        index,
        generation: 0,
    }
}

fn requests(text: &str) -> Vec<(u64, String, String)> {
    let value = |line: &str| -> (u64, String, String) {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (
            line["id"].as_u64().unwrap(),
            text(&line["method"]),
            text(&line["params"][0]),
        )
    };
    text.lines().map(value).collect()
}

pub(crate) fn names_of(heard: &[(u64, String, String)], wanted: &str) -> Vec<String> {
    let of = heard.iter().filter(|(_, method, _)| method == wanted);
    of.map(|(_, _, name)| name.clone()).collect()
}

/// The ids of the answers in what miners were told, with their error codes; 0 for none.
pub(crate) fn answers(text: &str) -> Vec<(u32, i64)> {
    let lines = text
        .lines()
        .map(|line| -> serde_json::Value { serde_json::from_str(line).expect(line) });
    lines
        .filter(|line| line["method"].is_null())
        .map(|line| {
            let id = u32::try_from(line["id"].as_u64().unwrap()).unwrap();
            (id, line["error"][0].as_i64().unwrap_or(0))
        })
        .collect()
}

#[test]
fn an_authorize_stops_no_share_of_a_connection_that_mines() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    let second = hall.authorize(miner, "b");
    let (asked, _, name) = hall.heard().remove(0);
    assert_eq!(name, "b");
    // Those under its first name go out; those under the second wait for the pool.
    let waits = hall.submit(miner, "b");
    for _ in 0..300 {
        hall.submit(miner, "a");
    }
    assert_eq!(names_of(&hall.heard(), "mining.submit"), vec!["a"; 300]);
    assert_eq!(answers(&hall.scene.flush().text), []);
    hall.pool_answers(asked, YES);
    let submits = hall.heard();
    assert_eq!(names_of(&submits, "mining.submit"), ["b"]);
    hall.pool_answers(submits[0].0, YES);
    assert_eq!(answers(&hall.scene.flush().text), [(second, 0), (waits, 0)]);
    assert_eq!(hall.closed(), []);
    assert_eq!(hall.scene.exchange.counters().submits, 301);
}

#[test]
fn a_share_under_a_name_that_is_denied_at_last_is_refused() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    let second = hall.authorize(miner, "b");
    let waits: Vec<u32> = (0..200).map(|_| hall.submit(miner, "b")).collect();
    hall.answer_names(|_| false);
    let told = answers(&hall.scene.flush().text);
    let codes = |id: u32| -> Vec<i64> {
        let of = told.iter().filter(|(of, _)| *of == id);
        of.map(|(_, code)| *code).collect()
    };
    assert_eq!(codes(second), [24]);
    // Those for which there was no room were told so at once.
    for id in waits {
        let codes = codes(id);
        assert!(codes == [24] || codes == [20], "{codes:?}");
    }
    assert_eq!(hall.closed(), []);
}

#[test]
fn a_connection_that_names_hundreds_of_workers_at_once_stays() {
    let mut hall = Hall::open(|settings| settings.limits.miner.workers_max = 1000);
    let miner = hall.subscribed(0);
    let asked: Vec<u32> = (0..600)
        .map(|number| hall.authorize(miner, &format!("account-of-the-whole-hall.rig{number}")))
        .collect();
    for _ in 0..8 {
        hall.answer_names(|_| true);
        hall.tick(1);
    }
    let text = hall.scene.flush().text;
    let answered: BTreeSet<(u32, i64)> = answers(&text).into_iter().collect();
    assert!(asked.iter().all(|&id| answered.contains(&(id, 0))));
    assert_eq!(hall.closed(), []);
}

#[test]
fn more_names_than_one_connection_may_have_are_refused_while_all_are_pending() {
    let mut hall = Hall::open(|settings| settings.limits.miner.workers_max = 4);
    let miner = hall.miner(0, "a");
    let ids: Vec<u32> = (0..6)
        .map(|number| hall.authorize(miner, &format!("b{number}")))
        .collect();
    let told = answers(&hall.scene.flush().text);
    assert_eq!(told, [(ids[4], 24), (ids[5], 24)]);
    hall.answer_names(|_| true);
    let told = answers(&hall.scene.flush().text);
    let codes: Vec<i64> = told.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [0, 0, 0, 24], "{told:?}");
}

#[test]
fn workers_that_are_denied_leave_the_others_of_their_connection_in_peace() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    for number in 0..30 {
        let id = hall.authorize(miner, &format!("wrong{number}"));
        hall.answer_names(|_| false);
        assert_eq!(answers(&hall.scene.flush().text), [(id, 24)]);
    }
    hall.submit(miner, "a");
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["a"]);
    assert_eq!(hall.closed(), []);
    // Who has no worker is closed after some guesses.
    let guesser = hall.subscribed(1);
    for number in 0..9 {
        hall.authorize(guesser, &format!("guess{number}"));
        hall.answer_names(|_| false);
    }
    assert_eq!(hall.closed(), [CloseReason::Denied]);
}

#[test]
fn a_name_that_is_denied_on_the_next_connection_stops_its_own_shares_alone() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    hall.authorize(miner, "b");
    let alone = hall.miner(1, "b");
    hall.reconnect();
    hall.answer_names(|name| name == "a");
    assert_eq!(
        hall.closed(),
        [CloseReason::Denied],
        "the one that has no other"
    );
    let (a, b) = (hall.submit(miner, "a"), hall.submit(miner, "b"));
    let heard = hall.heard();
    assert_eq!(names_of(&heard, "mining.submit"), ["a"], "{heard:?}");
    hall.pool_answers(heard[0].0, YES);
    let mut told = answers(&hall.scene.flush().text);
    told.sort_unstable();
    assert_eq!(told, [(a, 0), (b, 24)]);
    assert!(alone != miner);
    // Later it is asked for again, and its shares go on.
    hall.tick(61);
    let again = hall.authorize(miner, "b");
    assert_eq!(hall.answer_names(|_| true), ["b"]);
    assert_eq!(answers(&hall.scene.flush().text), [(again, 0)]);
    hall.submit(miner, "b");
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["b"]);
}

#[test]
fn a_share_goes_out_under_its_name_though_its_miner_has_left() {
    let mut hall = Hall::open(|settings| settings.limits.resume = Duration::from_secs(20));
    let miner = hall.miner(0, "a");
    hall.submit(miner, "a");
    assert_eq!(hall.heard().len(), 1);
    hall.lose();
    hall.submit(miner, "a");
    hall.scene
        .exchange
        .handle_disconnect(miner, CloseReason::Closed);
    hall.tick(4);
    hall.come_back();
    assert_eq!(names_of(&hall.heard(), "mining.submit"), [""; 0]);
    let now = hall.scene.now;
    hall.lose();
    assert_eq!(now, hall.scene.now);
    hall.come_back();
    // One went out before, and one was held: both do, when the pool has said that it takes the name.
    let asked = hall.heard();
    assert_eq!(names_of(&asked, "mining.authorize"), ["a"]);
    hall.pool_answers(asked[0].0, YES);
    let submits = hall.heard();
    assert_eq!(names_of(&submits, "mining.submit"), ["a", "a"]);
    for (id, _, _) in submits {
        hall.pool_answers(id, YES);
    }
    assert!(hall.scene.exchange.is_drained());
    assert_eq!(hall.scene.exchange.counters().accepted, 2);
}

#[test]
fn a_share_that_is_held_for_a_name_ends_though_its_miner_has_left() {
    let mut hall = come_back(600, |_| false);
    let asked = names_of(&hall.heard(), "mining.authorize");
    let waits = (0..600).find(|index| !asked.contains(&format!("rig{index}")));
    let waits = waits.expect("some wait for their turn");
    hall.submit(token(waits), &format!("rig{waits}"));
    assert!(!hall.scene.exchange.is_drained());
    hall.scene
        .exchange
        .handle_disconnect(token(waits), CloseReason::Closed);
    for _ in 0..12 {
        hall.tick(1);
        hall.answer_names(|_| false);
    }
    assert!(hall.scene.exchange.is_drained());
}

#[test]
fn names_that_come_and_go_leave_nothing_behind() {
    let mut hall = Hall::open(|_| {});
    hall.miner(0, "stays");
    let names = |hall: &Hall| hall.scene.exchange.counters().names;
    hall.tick(2);
    let before = names(&hall);
    for number in 0..10_000_u32 {
        let miner = hall.subscribed(1);
        let worker = format!("rig{number}");
        hall.authorize(miner, &worker);
        // Some go before the pool has said a word.
        if number % 3 > 0 {
            hall.answer_names(|_| number % 2 > 0);
        }
        hall.scene
            .exchange
            .handle_disconnect(miner, CloseReason::Closed);
        hall.scene.flush();
        if number % 100 == 0 {
            hall.heard();
            hall.tick(1);
            assert!(names(&hall) < before + 700, "{}", names(&hall));
        }
    }
    // What the pool does not answer is given up after a minute.
    for _ in 0..70 {
        hall.heard();
        hall.tick(1);
    }
    assert_eq!(names(&hall), before);
}

#[test]
fn a_name_is_never_asked_for_in_the_midst_of_another_line() {
    let (mut farm, _) = Farm::on_the_second(true, |settings| {
        by_name(settings);
        settings.limits.stable_for = Duration::from_secs(2);
    });
    let link = farm.link_to("b");
    let asked = requests(&farm.scene.written(link));
    let line = format!(r#"{{"id":{},{YES}}}"#, asked[0].0);
    farm.scene.pool_says(link, line.as_bytes());
    farm.recovers("a");
    let mut probe = None;
    for _ in 0..4 * 120 {
        farm.step();
        probe = farm
            .links
            .iter()
            .find(|(_, host)| host == "a")
            .map(|(key, _)| *key);
        if probe.is_some() {
            break;
        }
    }
    let probe = probe.expect("it is tried again");
    let version = br#"{"id":"the pool's own","method":"client.get_version","params":[]}"#;
    farm.scene.pool_says(probe, version);
    let now = farm.scene.now;
    let mut text = String::from_utf8(farm.scene.exchange.unwritten(probe)[..9].to_vec()).unwrap();
    farm.scene.exchange.wrote(now, probe, 9);
    farm.pass(6);
    assert!(farm.serving().contains(&"a"));
    text.push_str(&farm.scene.written(probe));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() >= 2, "{lines:?}");
    for line in lines {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
}

/// So many miners, each of which has a share in flight or not, lose their link and get it back.
pub(crate) fn come_back(miners: u32, has_share: impl Fn(u32) -> bool) -> Hall {
    let mut hall = Hall::open(|_| {});
    let workers: Vec<_> = (0..miners)
        .map(|index| {
            let worker = format!("rig{index}");
            (hall.miner(index, &worker), index, worker)
        })
        .collect();
    for (miner, index, worker) in workers {
        if has_share(index) {
            hall.submit(miner, &worker);
        }
    }
    hall.heard();
    hall.reconnect();
    hall
}

#[test]
fn shares_in_flight_outlast_a_pool_that_answers_a_thousand_names_slowly() {
    let mut hall = come_back(1000, |_| true);
    let mut shares = 0;
    for _ in 0..8 {
        // Each name waits for its answer for three seconds.
        let heard = hall.heard();
        hall.tick(3);
        for (id, method, _) in heard {
            shares += usize::from(method == "mining.submit");
            hall.pool_answers(id, YES);
        }
    }
    let counters = hall.scene.exchange.counters();
    assert_eq!((shares, counters.accepted), (1000, 1000));
    let refused: u64 = counters.refused_by_reason().map(|(_, count)| count).sum();
    assert_eq!(refused, 0);
}

#[test]
fn the_names_of_shares_that_wait_are_asked_for_first() {
    let mut hall = come_back(600, |index| index >= 590);
    let asked = names_of(&hall.heard(), "mining.authorize");
    let first: BTreeSet<&str> = asked[..10].iter().map(String::as_str).collect();
    let wanted: Vec<String> = (590..600).map(|index| format!("rig{index}")).collect();
    assert_eq!(first, wanted.iter().map(String::as_str).collect());
}

#[test]
fn shares_go_out_again_when_their_own_names_are_known() {
    let mut hall = come_back(600, |index| index == 7);
    let asked = hall.heard();
    let (id, _, _) = asked.iter().find(|(_, _, name)| name == "rig7").unwrap();
    hall.pool_answers(*id, YES);
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["rig7"]);
}

#[test]
fn a_share_whose_name_the_pool_never_answers_is_told_so() {
    let mut hall = Hall::open(|_| {});
    let miners = ["a", "b"].map(|name| (hall.miner(u32::from(name == "b"), name), name));
    let ids = miners.map(|(miner, name)| hall.submit(miner, name));
    hall.heard();
    hall.reconnect();
    let asked = hall.heard();
    let (id, _, _) = asked.iter().find(|(_, _, name)| name == "b").unwrap();
    hall.pool_answers(*id, YES);
    hall.tick(6);
    let told = answers(&hall.scene.flush().text);
    assert_eq!(told, [(ids[0], 20)], "it is no fault of the miner's");
    assert_eq!(names_of(&hall.heard(), "mining.submit"), ["b"]);
}

fn local(settings: &mut Settings) {
    settings.authorize.worker_name = WorkerName::default();
    settings.authorize.is_local = true;
}

#[test]
fn nobody_is_timed_out_while_its_authorize_is_pending() {
    let mut hall = Hall::open(local);
    let placed = hall.subscribed(0);
    let new = hall.scene.connect(1);
    for miner in [placed, new] {
        hall.authorize(miner, "rig");
    }
    hall.tick(60);
    assert_eq!(hall.closed(), []);
    // And then its time begins anew.
    let checks: Vec<_> = std::iter::from_fn(|| hall.scene.exchange.poll_check()).collect();
    let now = hall.scene.now;
    for check in checks {
        let end = CheckEnd::Wrong;
        hall.scene
            .exchange
            .handle_worker_checked(now, check.miner, check.number, end);
    }
    hall.tick(10);
    assert_eq!(hall.closed(), []);
    hall.tick(60);
    let closed: BTreeSet<_> = hall.closed().into_iter().map(|it| it as usize).collect();
    let both = [CloseReason::SubscribeTimeout, CloseReason::AuthorizeTimeout];
    assert_eq!(closed, both.into_iter().map(|it| it as usize).collect());
}

#[test]
fn who_is_denied_again_and_again_gains_no_time_by_it() {
    let mut hall = Hall::open(local);
    let miner = hall.subscribed(0);
    for guess in 0..6 {
        hall.authorize(miner, &format!("guess-{guess}"));
        let exchange = &mut hall.scene.exchange;
        while let Some(check) = exchange.poll_check() {
            let now = hall.scene.now;
            exchange.handle_worker_checked(now, check.miner, check.number, CheckEnd::Wrong);
        }
        hall.tick(6);
    }
    assert_eq!(hall.closed(), [CloseReason::AuthorizeTimeout]);
}

#[test]
fn who_is_kept_waiting_again_and_again_holds_no_place_without_a_worker() {
    let mut hall = Hall::open(local);
    let miner = hall.subscribed(0);
    for worker in 0..9 {
        assert_eq!(hall.closed(), []);
        hall.authorize(miner, &format!("rig-{worker}"));
        hall.tick(40);
        hall.check(CheckEnd::Busy);
    }
    assert_eq!(hall.closed(), [CloseReason::Denied]);
}

#[test]
fn a_queue_that_is_full_closes_nobody_who_asks_for_many_before_its_time_is_over() {
    let mut hall = Hall::open(local);
    let miner = hall.subscribed(0);
    for worker in 0..30 {
        hall.authorize(miner, &format!("rig-{worker}"));
        hall.check(CheckEnd::Busy);
    }
    hall.tick(20);
    assert_eq!(hall.closed(), []);
    hall.tick(11);
    assert_eq!(hall.closed(), [CloseReason::AuthorizeTimeout]);
}

#[test]
fn what_a_miner_was_refused_before_it_had_a_worker_is_forgiven() {
    let mut hall = Hall::open(local);
    let miner = hall.subscribed(0);
    for end in [CheckEnd::Wrong; 8].into_iter().chain([CheckEnd::Right]) {
        hall.authorize(miner, "rig");
        hall.check(end);
    }
    for _ in 0..8 {
        hall.scene.miner_says(miner, b"rubbish");
        assert_eq!(hall.closed(), []);
    }
    hall.scene.miner_says(miner, b"rubbish");
    assert_eq!(hall.closed(), [CloseReason::Violation]);
}

#[test]
fn the_time_that_its_password_waited_for_is_not_the_miners_own_whatever_its_pool_says_then() {
    let mut hall = Hall::open(|settings| settings.authorize.is_local = true);
    let miner = hall.subscribed(0);
    hall.authorize(miner, "rig");
    hall.tick(40);
    hall.check(CheckEnd::Right);
    hall.answer_names(|_| false);
    hall.tick(1);
    assert_eq!(hall.closed(), []);
    hall.tick(31);
    assert_eq!(hall.closed(), [CloseReason::AuthorizeTimeout]);
}

#[test]
fn who_asks_and_reads_a_little_is_timed_out_all_the_same() {
    let mut hall = Hall::open(|_| {});
    hall.miner(0, "a");
    let asks = hall.scene.connect(1);
    for _ in 0..60 {
        let line = br#"{"id":9,"method":"mining.multi_version","params":[1]}"#;
        hall.scene.miner_says(asks, line);
        let now = hall.scene.now;
        hall.scene
            .exchange
            .handle_blocked(now, asks, 0, std::iter::empty(), b"");
        hall.tick(1);
        hall.scene.exchange.handle_writable(asks);
    }
    assert_eq!(hall.closed(), [CloseReason::SubscribeTimeout]);
}

#[test]
fn a_name_with_control_characters_reaches_no_pool() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.subscribed(0);
    for worker in [r"victim\u0000.x", r"a\nb", r"a\u007fb", r"a\u0085b"] {
        let id = hall.authorize(miner, worker);
        assert_eq!(answers(&hall.scene.flush().text).last(), Some(&(id, 24)));
    }
    assert_eq!(hall.heard(), []);
}

#[test]
fn params_behind_a_share_go_on_without_control_characters_or_not_at_all() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.miner(0, "a");
    for (extra, goes_on) in [(r#","x", [1]"#, true), (",\r\"x\"", false), (",\t1", false)] {
        hall.requests += 1;
        let (number, job, time) = (hall.requests, &hall.job, job_time());
        let line = format!(
            r#"{{"id":7,"method":"mining.submit","params":["a","{job}","{time}","{number:052x}","24{}"{extra}]}}"#,
            "0".repeat(72)
        );
        hall.scene.miner_says(miner, line.as_bytes());
        let link = hall.link;
        let sent = hall.scene.written(link);
        assert!(sent.contains("mining.submit"), "{sent:?}");
        assert_eq!(sent.contains(extra), goes_on, "{sent:?}");
        assert!(!sent.contains(['\r', '\t']), "{sent:?}");
    }
}

#[test]
fn what_a_pool_says_of_a_name_is_passed_on_also_from_memory() {
    let mut hall = Hall::open(|_| {});
    let miner = hall.subscribed(0);
    for is_asked in [true, false] {
        hall.authorize(miner, "rig");
        for (id, _, _) in hall.heard() {
            assert!(is_asked, "it is remembered");
            hall.pool_answers(id, r#""result":null,"error":[29,"account is banned",null]"#);
        }
        let text = hall.scene.flush().text;
        assert!(text.contains(r#"[29,"account is banned",null]"#), "{text}");
    }
    hall.authorize(miner, "other");
    let (id, _, _) = hall.heard().remove(0);
    hall.pool_answers(id, r#""result":false,"error":null"#);
    let text = hall.scene.flush().text;
    assert!(text.contains("[24,\"Unauthorized worker"), "{text}");
    let facts = std::iter::from_fn(|| hall.scene.exchange.poll_fact());
    let said: Vec<String> = facts
        .filter_map(|fact| match fact {
            Fact::WorkerDenied { said, .. } => Some(said),
            _ => None,
        })
        .collect();
    let banned = "[29] account is banned";
    assert_eq!(said, [banned, banned, ""]);
}

#[test]
fn of_many_denials_the_newest_are_remembered() {
    let mut hall = Hall::open(|_| {});
    for number in 0..17_000 {
        // Nobody denies so many to one address.
        hall.from(number);
        let miner = hall.subscribed(1);
        hall.authorize(miner, &format!("guess{number}"));
        if hall.answer_names(|_| false).is_empty() {
            hall.tick(1);
            hall.answer_names(|_| false);
        }
        hall.scene
            .exchange
            .handle_disconnect(miner, CloseReason::Closed);
        hall.scene.flush();
    }
    let miner = hall.subscribed(1);
    hall.authorize(miner, "guess16999");
    assert_eq!(hall.heard(), []);
    hall.tick(1);
    hall.authorize(miner, "guess0");
    assert_eq!(hall.heard().len(), 1);
}

#[test]
fn whatever_stops_an_authorize_is_said_with_24() {
    let mut hall = Hall::open(|settings| {
        settings.limits.miner.workers_max = 2;
        settings.limits.subscribe_wait = Duration::from_secs(3);
    });
    let code = |hall: &mut Hall, id: u32| {
        let told = answers(&hall.scene.flush().text);
        let of = told.iter().find(|(of, _)| *of == id);
        of.map(|(_, code)| *code)
    };
    let miner = hall.miner(0, "a");
    let id = hall.authorize(miner, &"x".repeat(300));
    assert_eq!(code(&mut hall, id), Some(24), "too long a name");
    hall.authorize(miner, "b");
    hall.answer_names(|_| true);
    let id = hall.authorize(miner, "c");
    assert_eq!(code(&mut hall, id), Some(24), "too many workers");
    let other = hall.subscribed(1);
    let id = hall.authorize(other, "d");
    hall.heard();
    hall.tick(6);
    assert_eq!(code(&mut hall, id), Some(24), "the pool does not answer");
    hall.lose();
    let id = hall.authorize(other, "e");
    hall.tick(5);
    assert_eq!(code(&mut hall, id), Some(24), "no pool is up");
}
