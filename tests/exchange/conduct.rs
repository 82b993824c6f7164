//! How much miners send, and how much of it is wrong: who is closed for it, and who never is.

use std::time::Duration;

use stratum_uring::exchange::{CloseReason, ConductLimits, Fact, LinkKey, MinerToken, Settings};
use stratum_uring::proto::worker_name::MinerAddress;

use crate::scene::{SUBSCRIBE, Scene, job_time, notify};

pub(crate) const WINDOW: u16 = 20;

/// A farm of so many miners, each with a name and an address of its own.
pub(crate) struct Farm {
    pub(crate) scene: Scene,
    link: LinkKey,
    job: String,
    seed: u64,
}

impl Farm {
    pub(crate) fn new(miners: u32, conduct: impl FnOnce(&mut ConductLimits)) -> Self {
        Self::with(miners, |settings| conduct(&mut settings.limits.conduct))
    }

    pub(crate) fn with(miners: u32, change: impl FnOnce(&mut Settings)) -> Self {
        let mut scene = Scene::with(&["a"], |settings| {
            settings.limits.conduct.rejected_window = WINDOW;
            change(settings);
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

    pub(crate) fn join(&mut self, index: u32, worker: &str, address: u8) -> MinerToken {
        let miner = self.scene.connect(index);
        self.introduce(index, worker, address);
        miner
    }

    /// What the miner is told.
    pub(crate) fn introduce(&mut self, index: u32, worker: &str, address: u8) -> String {
        self.introduce_from(index, worker, MinerAddress([address; 16]))
    }

    fn introduce_from(&mut self, index: u32, worker: &str, address: MinerAddress) -> String {
        self.scene.exchange.hear_from(address);
        self.scene.miner_says(token(index), SUBSCRIBE);
        self.authorize(index, worker)
    }

    pub(crate) fn authorize(&mut self, index: u32, worker: &str) -> String {
        let line = format!(r#"{{"id":2,"method":"mining.authorize","params":["{worker}","x"]}}"#);
        self.scene.miner_says(token(index), line.as_bytes());
        let told = self.scene.flush().text;
        if let Some((_, params)) = told.split_once(r#""mining.notify","params":[""#) {
            params.split_once('"').unwrap().0.clone_into(&mut self.job);
        }
        told
    }

    /// One share that its pool judges like this; one without a verdict is malformed.
    pub(crate) fn share(&mut self, index: u32, worker: &str, verdict: Option<&str>) {
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

    pub(crate) fn shares(&mut self, index: u32, worker: &str, count: u16, verdict: Option<&str>) {
        for _ in 0..count {
            self.share(index, worker, verdict);
        }
    }

    /// A submit with these params.
    fn submit(&mut self, index: u32, params: &str) -> String {
        let line = format!(r#"{{"id":3,"method":"mining.submit","params":{params}}}"#);
        self.scene.miner_says(token(index), line.as_bytes());
        self.scene.flush().text
    }

    /// One for this job, of the right shape.
    fn submit_for(&mut self, index: u32, job: &str) -> String {
        let (time, solution) = (job_time(), "0".repeat(72));
        let nonce_2 = "0".repeat(52);
        self.submit(
            index,
            &format!(r#"["rig-{index}","{job}","{time}","{nonce_2}","24{solution}"]"#),
        )
    }

    /// An id so many behind that of the job.
    fn job_after(&self, jobs: i32) -> String {
        let id = u32::from_str_radix(&self.job, 16).unwrap();
        format!("{:x}", id.wrapping_add_signed(jobs * 0x100))
    }

    /// Requests that were refused for this reason.
    fn refused(&self, reason: &str) -> u64 {
        let counters = self.scene.exchange.counters();
        let mut refused = counters.refused_by_reason();
        refused.find(|(known, _)| *known == reason).unwrap().1
    }

    fn facts(&mut self) -> Vec<Fact> {
        std::iter::from_fn(|| self.scene.exchange.poll_fact()).collect()
    }

    /// Why miners were closed since the last look.
    pub(crate) fn closed(&mut self) -> Vec<CloseReason> {
        let facts = self.facts().into_iter();
        facts
            .filter_map(|fact| match fact {
                Fact::MinerClosed { reason, .. } => Some(reason),
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn token(index: u32) -> MinerToken {
    MinerToken {
        index,
        generation: 0,
    }
}

pub(crate) const ACCEPTED: Option<&str> = Some(r#""result":true,"error":null"#);
pub(crate) const LOW: Option<&str> = Some(r#""result":null,"error":[23,"low difficulty",null]"#);
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
    farm.share(41, "hall", ACCEPTED);
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

// What is a fault.

#[test]
fn a_submit_of_the_wrong_shape_is_a_share_like_any_other_and_a_fault() {
    let mut farm = Farm::new(20, |_| {});
    let before = farm.scene.exchange.counters().submits;
    let shapes = ["[]", "null", "7", "[1,2,3,4,5]", r#"["rig-3","1"]"#];
    let escaped = format!(r#"["rig-3","{}","\u0030","00","00"]"#, farm.job);
    for shape in shapes.into_iter().chain([escaped.as_str()]) {
        let told = farm.submit(3, shape);
        assert!(
            told.starts_with(r#"{"id":3,"result":null,"error":[20,"submit wants"#),
            "{told}"
        );
    }
    assert_eq!(farm.scene.exchange.counters().submits - before, 6);
    assert_eq!(farm.refused("malformed"), 6);
    for _ in 6..WINDOW {
        farm.submit(3, "[]");
    }
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    // They have the same pace, too, and past it are not looked at.
    let mut farm = Farm::new(20, |limits| limits.shares_per_second_max = 1);
    for _ in 0..2 * WINDOW {
        farm.submit(4, "[]");
    }
    assert_eq!(farm.refused("malformed"), 10);
    assert_eq!(farm.refused("too_many_shares"), u64::from(2 * WINDOW) - 10);
    assert_eq!(farm.closed(), []);
}

#[test]
fn a_job_that_nobody_ever_gave_is_a_fault() {
    for made_up in ["", "no hex", "123456789", "ahead", "far"] {
        let mut farm = Farm::new(20, |_| {});
        let job = match made_up {
            "ahead" => farm.job_after(1),
            "far" => farm.job_after(0x20_0000),
            job => job.to_owned(),
        };
        for _ in 0..WINDOW {
            let told = farm.submit_for(3, &job);
            assert!(told.contains("\"error\":[21,\"Job not found, it"), "{told}");
        }
        assert_eq!(farm.closed(), [CloseReason::TooManyFaults], "{job}");
        assert_eq!(farm.refused("job_never_given"), u64::from(WINDOW));
    }
}

#[test]
fn a_job_of_before_of_another_shard_or_of_an_earlier_run_is_nobodys_fault() {
    let mut farm = Farm::new(20, |_| {});
    let other_series = format!(
        "{:x}",
        u32::from_str_radix(&farm.job_after(500), 16).unwrap() + 1
    );
    for job in [farm.job_after(-1), farm.job_after(-100_000), other_series] {
        for _ in 0..2 * WINDOW {
            let told = farm.submit_for(3, &job);
            assert!(told.contains("[21,\"Job not found (=stale)\""), "{told}");
        }
    }
    assert_eq!(farm.closed(), []);
    assert_eq!(farm.refused("unknown_job"), 6 * u64::from(WINDOW));
}

#[test]
fn late_shares_do_not_make_up_for_wrong_ones() {
    let mut farm = Farm::new(20, |_| {});
    let old = farm.job_after(-1);
    for _ in 0..WINDOW {
        farm.submit_for(3, &old);
        farm.share(3, "rig-3", STALE);
        farm.share(3, "rig-3", LOW);
    }
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
}

#[test]
fn what_a_pool_means_by_20_its_text_says() {
    let mut farm = Farm::new(20, |_| {});
    for nobodys in [
        r#""result":null,"error":[20,"unknown-work",null]"#,
        r#""result":null,"error":"Invalid JobID""#,
        r#""result":null,"error":[20,"Unknown problem",null]"#,
    ] {
        farm.shares(3, "rig-3", 2 * WINDOW, Some(nobodys));
    }
    assert_eq!(farm.closed(), []);
    for (index, fault) in [
        (
            3,
            r#""result":null,"error":[20,"below threshold: low difficulty share",null]"#,
        ),
        (4, r#""result":null,"error":[34,"Invalid solution",null]"#),
    ] {
        farm.shares(index, &format!("rig-{index}"), WINDOW, Some(fault));
        assert_eq!(farm.closed(), [CloseReason::TooManyFaults], "{fault}");
    }
}

// Who is kept out.

#[test]
fn another_address_of_the_same_network_does_not_help() {
    let mut farm = Farm::new(20, |_| {});
    let address = |last: u8, network: u8| {
        let mut bytes = [0x20; 16];
        (bytes[7], bytes[15]) = (network, last);
        MinerAddress(bytes)
    };
    farm.scene.connect(40);
    farm.introduce_from(40, "hall", address(1, 0));
    farm.shares(40, "hall", WINDOW, LOW);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    farm.scene.connect(41);
    let told = farm.introduce_from(41, "hall", address(2, 0));
    assert!(told.contains("Kept out for a while"), "{told}");
    farm.scene.connect(42);
    let told = farm.introduce_from(42, "hall", address(1, 1));
    assert!(!told.contains("Kept out for a while"), "{told}");
}

#[test]
fn a_connection_that_never_found_a_good_share_keeps_no_name_from_being_kept_out() {
    let mut farm = Farm::new(20, |_| {});
    farm.join(40, "hall", 7);
    farm.join(41, "hall", 7);
    farm.share(41, "hall", LOW);
    farm.shares(40, "hall", WINDOW, LOW);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    assert_eq!(farm.scene.exchange.counters().kept_out, 1);
}

#[test]
fn a_name_that_is_kept_out_comes_in_again_once_somebody_mines_well_under_it() {
    let mut farm = Farm::new(20, |_| {});
    farm.join(40, "hall", 7);
    farm.join(41, "hall", 7);
    farm.shares(40, "hall", WINDOW, LOW);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    farm.scene.connect(42);
    assert!(farm.introduce(42, "hall", 7).contains("Kept out"));
    farm.share(41, "hall", ACCEPTED);
    // Namesakes may be thousands: they are looked through once a second, however often somebody asks.
    farm.scene.connect(45);
    assert!(farm.introduce(45, "hall", 7).contains("Kept out"));
    farm.scene.pass(Duration::from_secs(1));
    farm.scene.connect(43);
    assert!(!farm.introduce(43, "hall", 7).contains("Kept out"));
    farm.scene.connect(44);
    assert!(
        farm.introduce(44, "hall", 8).contains("true"),
        "another address was never kept out"
    );
}

#[test]
fn the_worker_whose_shares_are_wrong_is_kept_out_and_no_other_of_its_connection() {
    let mut farm = Farm::new(20, |_| {});
    farm.join(40, "good", 7);
    farm.authorize(40, "bad");
    farm.share(40, "good", ACCEPTED);
    farm.shares(40, "bad", WINDOW - 1, LOW);
    assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
    farm.scene.connect(41);
    assert!(!farm.introduce(41, "good", 7).contains("Kept out"));
    farm.scene.connect(42);
    assert!(farm.introduce(42, "bad", 7).contains("Kept out"));
}

#[test]
fn who_is_closed_is_closed_once_whatever_comes_of_its_last_shares() {
    let mut farm = Farm::new(20, |_| {});
    // Sixty in one round: three windows' worth.
    for _ in 0..3 * WINDOW {
        let line = r#"{"id":3,"method":"mining.submit","params":[]}"#;
        farm.scene.miner_says(token(3), line.as_bytes());
    }
    farm.scene.flush();
    let parted = farm.facts().into_iter();
    let parted = parted.filter(|fact| matches!(fact, Fact::TooManyFaults { .. }));
    assert_eq!(parted.count(), 1);
    assert_eq!(farm.scene.exchange.counters().kept_out, 1);
}

#[test]
fn a_submit_that_can_not_be_read_is_blamed_on_whom_it_names_or_on_nobody() {
    for (params, is_kept_out) in [(r#"["bad","1"]"#, true), ("[]", false)] {
        let mut farm = Farm::new(20, |_| {});
        farm.join(40, "good", 7);
        farm.authorize(40, "bad");
        for _ in 0..WINDOW {
            farm.submit(40, params);
        }
        assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
        farm.scene.connect(41);
        assert!(!farm.introduce(41, "good", 7).contains("Kept out"));
        farm.scene.connect(42);
        let told = farm.introduce(42, "bad", 7);
        assert_eq!(told.contains("Kept out"), is_kept_out, "{params}: {told}");
    }
}

#[test]
fn one_address_does_not_make_a_tenth_of_all_under_ever_new_names() {
    let mut farm = Farm::new(40, |_| {});
    for visit in 0..30 {
        let worker = format!("name-{visit}");
        farm.join(100, &worker, 250);
        farm.shares(100, &worker, WINDOW, LOW);
        assert_eq!(farm.closed(), [CloseReason::TooManyFaults], "visit {visit}");
        farm.scene.pass(Duration::from_secs(1));
        let now = farm.scene.now;
        farm.scene.exchange.handle_tick(now);
    }
    // A hall behind one address, half of which is wrong, stays.
    let mut farm = Farm::new(1, |_| {});
    for index in 1..40 {
        farm.join(index, &format!("rig-{index}"), 250);
    }
    for index in 1..20 {
        farm.shares(index, &format!("rig-{index}"), WINDOW, LOW);
        let now = farm.scene.now;
        farm.scene.exchange.handle_tick(now);
    }
    let closed = farm.closed().len();
    assert!((3..=5).contains(&closed), "{closed}");
}

// What is too long.

#[test]
fn a_user_agent_is_cut_and_its_miner_let_in() {
    let mut farm = Farm::with(1, |settings| settings.limits.miner.worker_len_max = 21);
    farm.scene.connect(1);
    let agent = "µ".repeat(100);
    let line = format!(r#"{{"id":1,"method":"mining.subscribe","params":["{agent}"]}}"#);
    farm.scene.miner_says(token(1), line.as_bytes());
    let told = farm.scene.flush().text;
    assert!(told.contains(r#""error":null"#), "{told}");
    let facts = farm.facts();
    let is_cut =
        |fact: &Fact| matches!(fact, Fact::Subscribed { agent, .. } if *agent == "µ".repeat(10));
    assert!(facts.iter().any(is_cut), "{facts:?}");
    assert_eq!(farm.scene.exchange.counters().agents_cut, 1);
}

#[test]
fn names_passwords_and_ids_that_are_too_long_are_counted_apart() {
    let mut farm = Farm::new(2, |_| {});
    let long = "x".repeat(257);
    for params in [format!(r#"["{long}","x"]"#), format!(r#"["rig","{long}"]"#)] {
        let line = format!(r#"{{"id":2,"method":"mining.authorize","params":{params}}}"#);
        farm.scene.miner_says(token(1), line.as_bytes());
    }
    let line = format!(r#"{{"id":"{long}","method":"mining.multi_version","params":[1]}}"#);
    farm.scene.miner_says(token(1), line.as_bytes());
    assert_eq!(farm.refused("too_long"), 3);
    for index in 0..20 {
        farm.authorize(1, &format!("worker-{index}"));
    }
    assert_eq!(farm.refused("too_many_workers"), 5);
    assert_eq!(farm.refused("malformed"), 0);
}
