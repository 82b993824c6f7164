//! How much miners send, and how much of it is wrong: who is closed for it, and who never is.

use std::time::Duration;

use stratum_uring::exchange::{CloseReason, ConductLimits, Fact, LinkKey, MinerToken};
use stratum_uring::proto::worker_name::MinerAddress;

use crate::scene::{SUBSCRIBE, Scene, job_time, notify};

const WINDOW: u16 = 20;

/// A farm of so many miners, each with a name and an address of its own.
struct Farm {
    scene: Scene,
    link: LinkKey,
    job: String,
    seed: u64,
}

impl Farm {
    fn new(miners: u32, conduct: impl FnOnce(&mut ConductLimits)) -> Self {
        let mut scene = Scene::with(&["a"], |settings| {
            settings.limits.conduct.rejected_window = WINDOW;
            conduct(&mut settings.limits.conduct);
        });
        scene.connect(0);
        let link = scene.expect_connected();
        scene.shake_hands(link);
        scene.pool_says(link, notify().as_bytes());
        let mut farm = Self {
            scene,
            link,
            job: String::new(),
            seed: 0,
        };
        farm.introduce(0, "rig-0", 0);
        for index in 1..miners {
            farm.join(
                index,
                &format!("rig-{index}"),
                u8::try_from(index % 200).unwrap(),
            );
        }
        // The handshake goes out by itself.
        farm.scene.written(link);
        farm.facts();
        farm
    }

    fn join(&mut self, index: u32, worker: &str, address: u8) -> MinerToken {
        let miner = self.scene.connect(index);
        self.introduce(index, worker, address);
        miner
    }

    /// What the miner is told.
    fn introduce(&mut self, index: u32, worker: &str, address: u8) -> String {
        let miner = token(index);
        self.scene.exchange.hear_from(MinerAddress([address; 16]));
        self.scene.miner_says(miner, SUBSCRIBE);
        let line = format!(r#"{{"id":2,"method":"mining.authorize","params":["{worker}","x"]}}"#);
        self.scene.miner_says(miner, line.as_bytes());
        let told = self.scene.flush().text;
        if let Some((_, params)) = told.split_once(r#""mining.notify","params":[""#) {
            params.split_once('"').unwrap().0.clone_into(&mut self.job);
        }
        told
    }

    /// One share that its pool judges like this; one without a verdict is malformed.
    fn share(&mut self, index: u32, worker: &str, verdict: Option<&str>) {
        self.seed += 1;
        let (time, job, solution) = (job_time(), &self.job, "0".repeat(72));
        let nonce_2 = match verdict {
            Some(_) => format!("{:052x}", self.seed),
            None => "zz".to_owned(),
        };
        let line = format!(
            r#"{{"id":3,"method":"mining.submit","params":["{worker}","{job}","{time}","{nonce_2}","24{solution}"]}}"#
        );
        self.scene.miner_says(token(index), line.as_bytes());
        if let Some(verdict) = verdict {
            let written = self.scene.written(self.link);
            let line = written.lines().last().unwrap_or_default();
            let id = line
                .strip_prefix(r#"{"id":"#)
                .and_then(|rest| rest.split_once(','));
            let id = id.map_or("0", |(id, _)| id);
            let answer = format!(r#"{{"id":{id},{verdict}}}"#);
            self.scene.pool_says(self.link, answer.as_bytes());
        }
        self.scene.flush();
    }

    fn shares(&mut self, index: u32, worker: &str, count: u16, verdict: Option<&str>) {
        for _ in 0..count {
            self.share(index, worker, verdict);
        }
    }

    fn facts(&mut self) -> Vec<Fact> {
        std::iter::from_fn(|| self.scene.exchange.poll_fact()).collect()
    }

    /// Why miners were closed since the last look.
    fn closed(&mut self) -> Vec<CloseReason> {
        let facts = self.facts().into_iter();
        facts
            .filter_map(|fact| match fact {
                Fact::MinerClosed { reason, .. } => Some(reason),
                _ => None,
            })
            .collect()
    }
}

fn token(index: u32) -> MinerToken {
    MinerToken {
        index,
        generation: 0,
    }
}

const ACCEPTED: Option<&str> = Some(r#""result":true,"error":null"#);
const LOW: Option<&str> = Some(r#""result":null,"error":[23,"low difficulty",null]"#);
const STALE: Option<&str> = Some(r#""result":null,"error":[21,"job not found",null]"#);

#[test]
fn a_miner_half_of_whose_shares_are_wrong_is_closed_and_kept_out_for_a_while() {
    let mut farm = Farm::new(20, |_| {});
    farm.shares(3, "rig-3", WINDOW / 2, ACCEPTED);
    farm.shares(3, "rig-3", WINDOW / 4, LOW);
    farm.shares(3, "rig-3", WINDOW / 4 - 1, None);
    assert_eq!(farm.closed(), []);
    farm.share(3, "rig-3", None);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    assert_eq!(farm.scene.exchange.counters().kept_out, 1);
    // The name is kept out at this address and at no other, and the address under no other name.
    farm.join(30, "rig-3", 99);
    farm.join(31, "rig-30", 3);
    assert_eq!(farm.closed(), []);
    farm.scene.connect(32);
    let told = farm.introduce(32, "rig-3", 3);
    assert!(told.contains("[24,\"Kept out for a while"), "{told}");
    assert_eq!(farm.closed(), [CloseReason::KeptOut]);
    farm.scene.pass(Duration::from_secs(601));
    farm.join(33, "rig-3", 3);
    assert_eq!(farm.closed(), []);
}

#[test]
fn late_shares_are_nobodys_fault() {
    let mut farm = Farm::new(20, |_| {});
    farm.shares(3, "rig-3", 3 * WINDOW, STALE);
    farm.shares(
        3,
        "rig-3",
        2 * WINDOW,
        Some(r#""result":false,"error":"Stale""#),
    );
    assert_eq!(farm.closed(), []);
    assert_eq!(
        farm.scene.exchange.counters().rejected,
        5 * u64::from(WINDOW)
    );
}

#[test]
fn nobody_is_closed_where_a_tenth_of_all_are_like_that() {
    let mut farm = Farm::new(20, |_| {});
    for index in 0..3 {
        farm.shares(index, &format!("rig-{index}"), WINDOW, LOW);
    }
    // Two of twenty are a tenth; with the third it is more, also when the two are gone.
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults; 2]);
    let mut farm = Farm::new(5, |_| {});
    farm.shares(1, "rig-1", 4 * WINDOW, LOW);
    assert_eq!(farm.closed(), []);
    assert!(farm.scene.exchange.counters().faults_excused > 0);
}

#[test]
fn a_name_that_others_mine_well_under_is_not_kept_out() {
    let mut farm = Farm::new(20, |_| {});
    farm.join(40, "hall", 7);
    farm.join(41, "hall", 7);
    farm.shares(40, "hall", WINDOW, LOW);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    assert_eq!(farm.scene.exchange.counters().kept_out, 0);
    farm.join(42, "hall", 7);
    assert_eq!(farm.closed(), []);
}

#[test]
fn shares_beyond_the_pace_are_refused_and_counted() {
    let mut farm = Farm::new(12, |limits| limits.shares_per_second_max = 2);
    farm.shares(1, "rig-1", 20, ACCEPTED);
    assert_eq!(farm.scene.exchange.counters().accepted, 20);
    farm.share(1, "rig-1", ACCEPTED);
    let counters = farm.scene.exchange.counters();
    assert_eq!(counters.accepted, 20);
    let refused: Vec<_> = counters.refused_by_reason().collect();
    assert!(refused.contains(&("too_many_shares", 1)), "{refused:?}");
    assert_eq!(farm.closed(), [], "the miner stays");
    farm.scene.pass(Duration::from_secs(1));
    farm.share(1, "rig-1", ACCEPTED);
    assert_eq!(farm.scene.exchange.counters().accepted, 21);
}

#[test]
fn a_miner_that_sends_too_many_lines_is_closed() {
    let mut farm = Farm::new(2, |limits| limits.messages_per_second_max = 10);
    let line = br#"{"id":9,"method":"mining.multi_version","params":[1]}"#;
    for _ in 0..98 {
        farm.scene.miner_says(token(1), line);
    }
    farm.scene.flush();
    assert_eq!(
        farm.closed(),
        [],
        "with the subscribe and the authorize a hundred"
    );
    farm.scene.miner_says(token(1), line);
    farm.scene.flush();
    assert_eq!(farm.closed(), [CloseReason::TooManyMessages]);
}

#[test]
fn a_worker_that_is_kept_out_leaves_the_others_of_a_connection_in_peace() {
    let mut farm = Farm::new(20, |_| {});
    farm.shares(3, "rig-3", WINDOW, LOW);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    farm.join(30, "proxy", 3);
    let told = farm.introduce(30, "rig-3", 3);
    assert!(told.contains("[24,\"Kept out for a while"), "{told}");
    farm.shares(30, "proxy", 1, ACCEPTED);
    assert_eq!(farm.closed(), []);
    assert_eq!(farm.scene.exchange.counters().accepted, 1);
}
