//! The exchange, through its public methods alone: no socket, and time is what the test says it is.
//!
//! Here is what takes too long, or too much, for a peer over loopback: wrong clocks, minutes of a bad
//! pool, ten thousand miners, millions of lines.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "exchange/early.rs"]
mod early;

use std::rc::Rc;
use std::time::Duration;

use stratum_uring::exchange::{
    CloseHow, CloseReason, Command, Exchange, Fact, Limits, LinkEnd, LinkKey, MinerToken,
    PoolLinks, PoolSettings, Settings, ShareReply, Tag, Transmit,
};
use stratum_uring::proto::dialect::Equihash;
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::time::Now;

/// When the pools' jobs were made.
const JOB_UNIX_SECONDS: u32 = 1_800_000_000;

const SUBSCRIBE: &[u8] = br#"{"id":1,"method":"mining.subscribe","params":[]}"#;
const AUTHORIZE: &[u8] = br#"{"id":2,"method":"mining.authorize","params":["rig","x"]}"#;

/// What the miners were told.
#[derive(Default)]
struct Told {
    text: String,
    closed: usize,
}

impl Transmit for Told {
    fn send_shared(&mut self, _: MinerToken, line: &Rc<[u8]>, _: Tag) {
        self.text.push_str(&String::from_utf8_lossy(line));
    }

    fn send_pieces(&mut self, _: MinerToken, pieces: &[(&[u8], Tag)]) {
        for (piece, _) in pieces {
            self.text.push_str(&String::from_utf8_lossy(piece));
        }
    }

    fn close(&mut self, _: MinerToken, _: CloseHow, _: CloseReason) {
        self.closed += 1;
    }
}

/// An exchange, and what time it is.
struct Scene {
    exchange: Exchange,
    now: Now,
}

impl Scene {
    /// With pools on these hosts.
    fn new(hosts: &[&str]) -> Self {
        Self::with(hosts, |_| {})
    }

    /// With pools on these hosts and other settings than the defaults.
    fn with(hosts: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let pool = |host: &&str| PoolSettings {
            host: (*host).to_owned(),
            port: 3333,
            worker: "t1account.farm".to_owned(),
            password: "x".to_owned(),
            extranonce_subscribe: false,
            reconnect_hosts: Vec::new(),
        };
        let mut settings = Settings {
            part: (0, 1),
            series: 0,
            start_unix_seconds: JOB_UNIX_SECONDS.into(),
            seed: 1,
            pools: hosts.iter().map(pool).collect(),
            slot_width: SlotWidth::Auto,
            miners_per_link: 65_536,
            links_max: 1,
            standby: false,
            pass_through_agents: Vec::new(),
            pool_links: PoolLinks::PerShard,
            job_exchange: None,
            share_reply: ShareReply::Pool,
            keep_warm: false,
            limits: Limits::default(),
        };
        change(&mut settings);
        let dialect = Equihash::new(Parameters::new(48, 5).unwrap());
        Self {
            exchange: Exchange::new(settings, Box::new(dialect)),
            now: Now {
                since_start: Duration::ZERO,
                unix_seconds: JOB_UNIX_SECONDS.into(),
            },
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.since_start += time;
    }

    fn connect(&mut self, index: u32) -> MinerToken {
        let generation = 0;
        let miner = MinerToken { index, generation };
        self.exchange.handle_connect(self.now, miner);
        miner
    }

    fn miner_says(&mut self, miner: MinerToken, line: &[u8]) {
        self.exchange.handle_miner_line(self.now, miner, line);
    }

    /// A miner subscribes and authorizes; returns the id of the job that it is given.
    fn begin_mining(&mut self, miner: MinerToken) -> String {
        self.miner_says(miner, SUBSCRIBE);
        self.miner_says(miner, AUTHORIZE);
        let told = self.flush().text;
        let (_, params) = told.split_once(r#""mining.notify","params":[""#).unwrap();
        params.split_once('"').unwrap().0.to_owned()
    }

    fn pool_says(&mut self, link: LinkKey, line: &[u8]) {
        self.exchange.handle_link_line(self.now, link, line);
    }

    /// The next dial: its link, and the host that is called.
    fn poll_dial(&mut self) -> Option<(LinkKey, String)> {
        while let Some(command) = self.exchange.poll_command() {
            if let Command::Dial { link, host, .. } = command {
                return Some((link, host));
            }
        }
        None
    }

    /// The dial that must have come is answered.
    fn expect_connected(&mut self) -> LinkKey {
        let (link, _) = self.poll_dial().expect("the pool is called");
        self.exchange.handle_link_connected(self.now, link);
        link
    }

    /// The pool answers the handshake.
    fn shake_hands(&mut self, link: LinkKey) {
        self.pool_says(link, br#"{"id":1,"result":[null,"a1b2c3d4"],"error":null}"#);
        self.pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
    }

    fn flush(&mut self) -> Told {
        let mut told = Told::default();
        self.exchange.flush(&mut told);
        told
    }

    /// What the pool is told since it was asked last.
    fn written(&mut self, link: LinkKey) -> String {
        let bytes = self.exchange.unwritten(link).to_vec();
        self.exchange.wrote(self.now, link, bytes.len());
        String::from_utf8(bytes).unwrap()
    }
}

/// The time of the jobs, as it stands in a header.
fn job_time() -> String {
    let bytes = JOB_UNIX_SECONDS.to_le_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn notify() -> String {
    let (zeros, time) = ("0".repeat(64), job_time());
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["j1","04000000","{zeros}","{zeros}","{zeros}","{time}","1f07ffff",true]}}"#
    )
}

/// A share of the right shape: 26 bytes of nonce, and 36 of solution behind their length.
fn share(job: &str) -> String {
    let (time, nonce_2, solution) = (job_time(), "0".repeat(52), "0".repeat(72));
    format!(
        r#"{{"id":3,"method":"mining.submit","params":["rig","{job}","{time}","{nonce_2}","24{solution}"]}}"#
    )
}

#[test]
fn a_share_passes_where_our_clock_is_wrong() {
    let mut scene = Scene::new(&["a"]);
    // A board without a battery wakes in 1970.
    scene.now.unix_seconds = 1000;
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    scene.written(link);
    scene.miner_says(miner, share(&job).as_bytes());
    let written = scene.written(link);
    let told = scene.flush().text;
    assert!(written.contains("mining.submit"), "{told}");
}

/// A pool may move its miners elsewhere; one that says nothing else is of no use.
fn gives_way_though_it_shakes_hands(shakes_hands: bool) {
    let mut scene = Scene::new(&["a", "b"]);
    scene.connect(0);
    let mut hosts = Vec::new();
    for _ in 0..200 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, host)) = scene.poll_dial() {
            hosts.push(host);
            scene.exchange.handle_link_connected(scene.now, link);
            if shakes_hands {
                scene.shake_hands(link);
            }
            scene.pool_says(
                link,
                br#"{"id":null,"method":"client.reconnect","params":["",0,0]}"#,
            );
        }
    }
    assert!(hosts.iter().any(|host| host == "b"), "{hosts:?}");
}

#[test]
fn a_pool_that_only_says_reconnect_gives_way_to_the_next() {
    gives_way_though_it_shakes_hands(false);
}

#[test]
fn a_pool_that_shakes_hands_and_says_reconnect_gives_way_to_the_next() {
    gives_way_though_it_shakes_hands(true);
}

#[test]
fn each_step_of_the_handshake_has_its_time() {
    let mut scene = Scene::new(&["a"]);
    scene.connect(0);
    let link = scene.expect_connected();
    // Ten seconds are enough for each, and too few for both.
    scene.pass(Duration::from_secs(6));
    scene.pool_says(link, br#"{"id":1,"result":[null,"a1b2c3d4"],"error":null}"#);
    scene.pass(Duration::from_secs(6));
    scene.exchange.handle_tick(scene.now);
    assert!(scene.exchange.is_current(link));
}

#[test]
fn ten_thousand_closes_at_once_are_all_told() {
    const MINERS: usize = 10_000;
    let mut scene = Scene::new(&["a"]);
    for index in 0..MINERS {
        let miner = scene.connect(u32::try_from(index).unwrap());
        scene.miner_says(miner, SUBSCRIBE);
    }
    assert_eq!(scene.flush().closed, 0);
    while scene.exchange.poll_fact().is_some() {}
    // No pool ever answers.
    scene.pass(Duration::from_secs(60));
    scene.exchange.handle_tick(scene.now);
    let closed = scene.flush().closed;
    let facts = std::iter::from_fn(|| scene.exchange.poll_fact());
    let told = facts.filter(|fact| matches!(fact, Fact::MinerClosed { .. }));
    assert_eq!((closed, told.count()), (MINERS, MINERS));
}

/// Who is sent what, in order: the miner, and whether it is only what all are sent.
#[derive(Default)]
struct Sends(Vec<(u32, bool)>);

impl Transmit for Sends {
    fn send_shared(&mut self, miner: MinerToken, _: &Rc<[u8]>, tag: Tag) {
        assert!(matches!(tag, Tag::Job | Tag::CleanJob));
        self.0.push((miner.index, true));
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        let own = |tag| matches!(tag, Tag::Rest | Tag::Replies);
        let shared = !pieces.iter().any(|(_, tag)| own(*tag));
        self.0.push((miner.index, shared));
    }

    fn close(&mut self, miner: MinerToken, _: CloseHow, reason: CloseReason) {
        panic!("{miner:?} is closed: {reason:?}");
    }
}

/// Miners at work that are owed the pool's next job.
fn farm_with_a_job_to_send(miners: u32) -> (Scene, LinkKey, Vec<MinerToken>) {
    let mut scene = Scene::new(&["a"]);
    let first = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(first);
    let mut tokens = vec![first];
    for index in 1..miners {
        let miner = scene.connect(index);
        scene.begin_mining(miner);
        tokens.push(miner);
    }
    scene.pool_says(link, notify().as_bytes());
    (scene, link, tokens)
}

#[test]
fn replies_go_out_between_the_parts_of_a_job_and_not_behind_it() {
    const MINERS: u32 = 65_536;
    const PART: usize = 512;
    let (mut scene, _, tokens) = farm_with_a_job_to_send(MINERS);
    let mut sends = Sends::default();
    let mut jobs = vec![0_u32; tokens.len()];
    let mut answered = Vec::new();
    let mut parts = 0_usize;
    loop {
        let more = scene.exchange.flush_some(&mut sends, PART);
        let shared = sends.0.iter().filter(|(_, shared)| *shared).count();
        assert!(shared <= PART, "{shared} in one part");
        // Whoever was answered since the last part comes before the job of all others.
        let first: Vec<u32> = sends
            .0
            .iter()
            .map(|(miner, _)| *miner)
            .take(answered.len())
            .collect();
        assert_eq!(first, answered);
        for (miner, shared) in sends.0.drain(..) {
            assert_eq!(shared, !answered.contains(&miner));
            jobs[miner as usize] += 1;
        }
        if !more {
            break;
        }
        parts += 1;
        // Two that the job may have reached or not are refused a share.
        answered = vec![
            u32::try_from(parts * 7919).unwrap() % MINERS,
            u32::try_from(parts * 104_729 + 1).unwrap() % MINERS,
        ];
        for miner in &answered {
            scene.miner_says(tokens[*miner as usize], share("00000000").as_bytes());
        }
    }
    assert_eq!(parts, 65_536 / PART - 1);
    // Each was sent the job; those who were answered behind it, one send more.
    let twice = jobs.iter().filter(|&&sends| sends == 2).count();
    assert!(jobs.iter().all(|&sends| sends == 1 || sends == 2));
    assert!(twice < 2 * parts, "an answer takes the job along");
    assert!(!scene.exchange.flush_some(&mut sends, PART));
    assert!(sends.0.is_empty(), "nothing is left over");
}

#[test]
fn a_newer_job_overtakes_the_one_that_is_going_out() {
    let (mut scene, link, tokens) = farm_with_a_job_to_send(1000);
    let mut sends = Sends::default();
    assert!(scene.exchange.flush_some(&mut sends, 300));
    scene.pool_says(link, notify().as_bytes());
    let mut parts = 1;
    while scene.exchange.flush_some(&mut sends, 300) {
        parts += 1;
    }
    // Whoever waits for the older job waits once.
    assert_eq!(parts, 4);
    // Those 300 got both jobs, all others only the newer one.
    assert_eq!(sends.0.len(), tokens.len() + 300);
}

#[test]
fn a_miner_that_leaves_amid_a_fan_out_is_passed_over() {
    let (mut scene, _, tokens) = farm_with_a_job_to_send(1000);
    let mut sends = Sends::default();
    assert!(scene.exchange.flush_some(&mut sends, 1));
    for miner in &tokens[..500] {
        scene
            .exchange
            .handle_disconnect(*miner, CloseReason::Closed);
    }
    // Their places are others' by now.
    for index in 0..500 {
        let generation = 1;
        let miner = MinerToken { index, generation };
        scene.exchange.handle_connect(scene.now, miner);
    }
    sends.0.clear();
    while scene.exchange.flush_some(&mut sends, 1) {}
    assert!(sends.0.iter().all(|(miner, _)| *miner >= 500));
    assert!(sends.0.len() >= 499);
}

#[test]
fn a_pool_that_asks_without_end_fills_no_memory() {
    let mut scene = Scene::new(&["a"]);
    scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.written(link);
    let bound = Limits::default().pool_outbox_bytes_max;
    for _ in 0..2_000_000 {
        scene.pool_says(
            link,
            br#"{"id":7,"method":"client.get_version","params":[]}"#,
        );
    }
    let unwritten = scene.exchange.unwritten(link).len();
    // The link is given up, or only some of the questions get an answer.
    assert!(
        unwritten <= bound + 1024 || !scene.exchange.is_current(link),
        "{unwritten}"
    );
}

#[test]
fn a_longer_nonce_that_leaves_fewer_slots_moves_the_miners_that_have_no_place() {
    const MINERS: u32 = 300;
    let mut scene = Scene::new(&["a"]);
    let mut link = None;
    for index in 0..MINERS {
        let miner = scene.connect(index);
        if index == 0 {
            let up = scene.expect_connected();
            scene.shake_hands(up);
            scene.pool_says(up, notify().as_bytes());
            link = Some(up);
        }
        scene.begin_mining(miner);
        let asks = br#"{"id":5,"method":"mining.extranonce.subscribe","params":[]}"#;
        scene.miner_says(miner, asks);
    }
    let link = link.unwrap();
    scene.flush();
    // 9 of 32 bytes are left: two for a slot would leave a miner fewer than 8.
    let nonce_1 = "b2".repeat(23);
    let line = format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{nonce_1}"]}}"#);
    scene.pool_says(link, line.as_bytes());
    assert_eq!(scene.flush().text, "", "it holds from the next job on");
    scene.pool_says(link, notify().as_bytes());
    let told = scene.flush();
    let of = |what: &str| told.text.matches(what).count();
    assert_eq!(
        (of("mining.set_extranonce"), of("mining.notify")),
        (256, 256)
    );
    let mut slots: Vec<_> = told.text.split(&nonce_1).skip(1).collect();
    slots.iter_mut().for_each(|rest| *rest = &rest[..3]);
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), 256, "one byte for each");
    assert!(slots.iter().all(|slot| slot.ends_with('"')), "{slots:?}");
    scene.pass(Duration::from_secs(1));
    scene.exchange.handle_tick(scene.now);
    let closed = scene.flush().closed;
    assert_eq!(closed, MINERS as usize - 256);
    assert_eq!(scene.exchange.counters().mining, 256);
    // And back: all have a place again.
    for index in 0..MINERS - 256 {
        let miner = scene.connect(1000 + index);
        scene.miner_says(miner, SUBSCRIBE);
    }
    assert!(scene.flush().text.contains("error"), "it is full");
    let line = line.replace(&nonce_1, "c3c3c3c3");
    scene.pool_says(link, line.as_bytes());
    scene.pool_says(link, notify().as_bytes());
    let told = scene.flush().text;
    assert_eq!(told.matches("\"c3c3c3c3").count(), 256);
    let miner = scene.connect(2000);
    scene.begin_mining(miner);
}

/// A farm of one whose shares are answered at once: the scene, its link, its miner, its job.
fn answered_at_once() -> (Scene, LinkKey, MinerToken, String) {
    let mut scene = Scene::with(&["a"], |settings| {
        settings.share_reply = ShareReply::Immediate;
    });
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    scene.written(link);
    (scene, link, miner, job)
}

/// The share that [`share`] makes, as one of many.
fn share_with(job: &str, id: u32) -> String {
    let nonce_2 = format!("{id:052x}");
    let line = share(job).replace(&"0".repeat(52), &nonce_2);
    line.replacen(r#""id":3"#, &format!(r#""id":{id}"#), 1)
}

const TRUE: &str = r#""result":true,"error":null}"#;

#[test]
fn a_share_is_answered_once_and_at_once_where_the_operator_wants_it() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert_eq!(scene.flush().text, format!("{{\"id\":40,{TRUE}\n"));
    assert!(scene.written(link).contains("mining.submit"));
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert!(scene.flush().text.contains("[22,"), "a duplicate");
    scene.miner_says(miner, share_with(&job, 41).as_bytes());
    assert_eq!(scene.flush().text, format!("{{\"id\":41,{TRUE}\n"));
    assert!(!scene.exchange.is_drained(), "the pool has not answered");
    scene.pool_says(link, br#"{"id":16,"result":true,"error":null}"#);
    scene.pool_says(link, br#"{"id":17,"result":null,"error":[23,"low",null]}"#);
    assert_eq!(scene.flush().text, "", "there is no second answer");
    assert!(scene.exchange.is_drained());
    let counters = scene.exchange.counters();
    assert_eq!((counters.accepted, counters.rejected), (1, 1));
    assert_eq!(counters.immediate_rejected, 1);
    assert_eq!((counters.immediate_lost, counters.unanswered()), (0, 0));
}

#[test]
fn a_share_answered_at_once_that_no_pool_answers_is_counted_as_lost() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    scene.written(link);
    assert!(scene.flush().text.ends_with(&format!("{TRUE}\n")));
    scene.pass(Limits::default().reply_timeout + Duration::from_secs(1));
    scene.exchange.handle_tick(scene.now);
    assert_eq!(scene.flush().text, "");
    assert_eq!(scene.exchange.counters().immediate_lost, 1);
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    assert!(facts.contains(&Fact::ImmediateLost { pool: 0, shares: 1 }));
}

#[test]
fn a_share_for_a_lost_link_waits_and_ends_with_its_session() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert!(scene.flush().text.contains(TRUE));
    scene.written(link);
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    scene.miner_says(miner, share_with(&job, 41).as_bytes());
    assert_eq!(scene.flush().text, "", "nobody knows who will carry it");
    scene.pass(Limits::default().resume);
    scene.exchange.handle_tick(scene.now);
    let told = scene.flush().text;
    assert!(
        told.contains(r#""id":41,"result":null,"error":[21,"#),
        "{told}"
    );
    assert!(!told.contains(r#""id":40"#), "{told}");
    let counters = scene.exchange.counters();
    assert_eq!((counters.immediate_lost, counters.unanswered()), (1, 2));
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    assert!(facts.contains(&Fact::ImmediateLost { pool: 0, shares: 1 }));
    assert!(facts.contains(&Fact::SharesLost { pool: 0, shares: 1 }));
}

#[test]
fn a_resumed_session_judges_the_shares_answered_at_once_and_those_that_waited() {
    let (mut scene, link, miner, job) = answered_at_once();
    scene.miner_says(miner, share_with(&job, 40).as_bytes());
    assert!(scene.flush().text.contains(TRUE));
    scene.written(link);
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    scene.miner_says(miner, share_with(&job, 41).as_bytes());
    scene.pass(Duration::from_millis(500));
    scene.exchange.handle_tick(scene.now);
    let link = scene.expect_connected();
    scene.written(link);
    scene.shake_hands(link);
    scene.written(link);
    let resent = scene.written(link);
    assert_eq!(resent.matches("mining.submit").count(), 2, "{resent}");
    scene.pool_says(link, br#"{"id":16,"error":[22,"duplicate share",null]}"#);
    scene.pool_says(link, br#"{"id":17,"result":true,"error":null}"#);
    let told = scene.flush().text;
    assert!(told.contains(&format!("{{\"id\":41,{TRUE}\n")), "{told}");
    assert!(!told.contains(r#""id":40"#), "{told}");
    let counters = scene.exchange.counters();
    assert_eq!((counters.accepted, counters.unanswered()), (2, 0));
}

#[test]
fn a_miner_answered_at_once_is_bounded_in_what_the_pool_has_not_answered() {
    let mut scene = Scene::with(&["a"], |settings| {
        settings.share_reply = ShareReply::Immediate;
        settings.limits.pending_shares_per_miner_max = 2;
    });
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    for id in 40..43 {
        scene.miner_says(miner, share_with(&job, id).as_bytes());
    }
    let told = scene.flush().text;
    assert_eq!(told.matches(TRUE).count(), 2, "{told}");
    assert!(
        told.contains(r#"{"id":42,"result":null,"error":[20,"#),
        "{told}"
    );
    scene.pool_says(link, br#"{"id":16,"result":true,"error":null}"#);
    scene.miner_says(miner, share_with(&job, 43).as_bytes());
    assert!(scene.flush().text.contains(TRUE));
}

/// A farm of one, with or without `keep_warm`, whose only pool is lost and then can't be reached for two
/// minutes. Returns what the miner was told meanwhile.
fn without_a_pool_for_two_minutes(keep_warm: bool) -> (Scene, MinerToken, String) {
    let mut scene = Scene::with(&["a"], |settings| settings.keep_warm = keep_warm);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(miner);
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    let mut told = String::new();
    for _ in 0..480 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, _)) = scene.poll_dial() {
            let end = LinkEnd::ConnectFailed;
            scene.exchange.handle_link_closed(scene.now, link, end, "");
        }
        told.push_str(&scene.flush().text);
    }
    (scene, miner, told)
}

/// The ids of the jobs in what a miner was told.
fn job_ids(told: &str) -> Vec<String> {
    let jobs = told.split(r#""mining.notify","params":[""#).skip(1);
    jobs.map(|job| job.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn without_a_pool_a_miner_hears_nothing_unless_the_operator_keeps_it_warm() {
    let (mut scene, _, told) = without_a_pool_for_two_minutes(false);
    assert_eq!(told, "");
    assert_eq!(scene.exchange.counters().kept_warm, 0);
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let is_warm = |fact: &Fact| matches!(fact, Fact::WarmBegins { .. } | Fact::WarmEnds { .. });
    assert!(!facts.iter().any(is_warm));
}

#[test]
fn a_miner_that_is_kept_warm_has_work_that_counts_for_nothing() {
    let (mut scene, miner, told) = without_a_pool_for_two_minutes(true);
    // After 8 seconds, and then twice a minute: each a clean job under an id of its own.
    let ids = job_ids(&told);
    assert_eq!(ids.len(), 4, "{told}");
    assert!(
        ids.iter()
            .all(|id| ids.iter().filter(|it| *it == id).count() == 1)
    );
    assert_eq!(told.matches(",true]").count(), 4, "{told}");
    scene.miner_says(miner, share(&ids[3]).as_bytes());
    let told = scene.flush().text;
    assert!(told.contains("[21,"), "{told}");
    let counters = scene.exchange.counters();
    let refused: Vec<_> = counters.refused_by_reason().collect();
    assert!(refused.contains(&("kept_warm", 1)), "{refused:?}");
    assert_eq!(counters.kept_warm, 1);
    let newcomer = scene.connect(1);
    scene.miner_says(newcomer, SUBSCRIBE);
    assert_eq!(scene.flush().text, "", "a newcomer waits for a pool");
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let is_warm = |fact: &&Fact| matches!(fact, Fact::WarmBegins { .. } | Fact::WarmEnds { .. });
    let warm: Vec<&Fact> = facts.iter().filter(is_warm).collect();
    assert_eq!(warm, [&Fact::WarmBegins { pool: 0, miners: 1 }]);
}

#[test]
fn a_pool_that_comes_back_ends_what_kept_its_miners_warm() {
    let (mut scene, miner, _) = without_a_pool_for_two_minutes(true);
    let link = loop {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        scene.flush();
        if let Some((link, _)) = scene.poll_dial() {
            break link;
        }
    };
    scene.exchange.handle_link_connected(scene.now, link);
    scene.shake_hands(link);
    assert_eq!(scene.exchange.counters().kept_warm, 0);
    // The pool has no job yet, and nobody is given the old one.
    scene.miner_says(
        miner,
        br#"{"id":9,"method":"mining.authorize","params":["two","x"]}"#,
    );
    assert_eq!(job_ids(&scene.flush().text), [""; 0]);
    scene.pool_says(link, notify().as_bytes());
    let told = scene.flush().text;
    let ids = job_ids(&told);
    assert_eq!(
        (ids.len(), told.matches(",true]").count()),
        (1, 1),
        "{told}"
    );
    scene.written(link);
    scene.written(link);
    scene.miner_says(miner, share(&ids[0]).as_bytes());
    assert!(scene.written(link).contains("mining.submit"));
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let ends = |fact: &&Fact| matches!(fact, Fact::WarmEnds { miners: 1, .. });
    assert_eq!(facts.iter().filter(ends).count(), 1);
}

/// The pools called after a link of the first one was lost, which refuses for so long.
fn called_while_refused_for(refused: Duration) -> (Scene, Vec<String>) {
    let mut scene = Scene::new(&["a", "b"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(miner);
    scene.pass(Duration::from_secs(60));
    scene
        .exchange
        .handle_link_closed(scene.now, link, LinkEnd::Reset, "");
    let lost = scene.now.since_start;
    let mut hosts = Vec::new();
    for _ in 0..40 {
        scene.pass(Duration::from_millis(250));
        scene.exchange.handle_tick(scene.now);
        while let Some((link, host)) = scene.poll_dial() {
            let refuses = host == "a" && scene.now.since(lost) < refused;
            hosts.push(host);
            if refuses {
                let end = LinkEnd::ConnectFailed;
                scene.exchange.handle_link_closed(scene.now, link, end, "");
            } else {
                scene.exchange.handle_link_connected(scene.now, link);
                scene.shake_hands(link);
            }
        }
    }
    (scene, hosts)
}

#[test]
fn a_pool_that_is_away_for_a_moment_keeps_its_miners_though_another_stands_ready() {
    let (mut scene, hosts) = called_while_refused_for(Duration::from_secs(2));
    let count = |host: &str| hosts.iter().filter(|called| *called == host).count();
    assert!(count("a") > 2 && count("b") == 1, "{hosts:?}");
    assert_eq!(scene.flush().closed, 0);
    let up = [0, 1].map(|pool| scene.exchange.links_up_of(pool));
    assert_eq!(up, [1, 0]);
}

#[test]
fn a_pool_that_is_away_for_longer_gives_way_within_a_second() {
    let (scene, hosts) = called_while_refused_for(Duration::from_secs(60));
    let tries = hosts.iter().filter(|host| *host == "a").count();
    assert!(tries > 2 && tries < 20, "{hosts:?}");
    assert!(hosts.iter().any(|host| host == "b"), "{hosts:?}");
    let up = [0, 1].map(|pool| scene.exchange.links_up_of(pool));
    assert_eq!(up, [0, 1]);
}

#[test]
fn why_shares_fail_is_told_once_a_minute() {
    let mut scene = Scene::new(&["a"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    let tagged = notify().replace(",true]", r#",true,"144_5"]"#);
    scene.pool_says(link, tagged.as_bytes());
    let job = scene.begin_mining(miner);
    for _ in 0..5 {
        let short = share(&job).replace("0\"]}", "\"]}");
        scene.miner_says(miner, short.as_bytes());
    }
    scene.miner_says(miner, share(&job).as_bytes());
    scene.pool_says(link, br#"{"id":16,"result":null,"error":[23,"low",null]}"#);
    let facts: Vec<Fact> = std::iter::from_fn(|| scene.exchange.poll_fact()).collect();
    let count = |is: fn(&Fact) -> bool| facts.iter().filter(|fact| is(fact)).count();
    assert_eq!(count(|fact| matches!(fact, Fact::ShareRefused { .. })), 1);
    assert_eq!(
        count(|fact| matches!(fact, Fact::ShareRejected { code: 23, .. })),
        1
    );
    assert_eq!(count(|fact| matches!(fact, Fact::JobOdd { .. })), 1);
}

// Back to a preferred pool.

/// Two pools or more in virtual time: which are up, what they were called for, what they heard.
struct Farm {
    scene: Scene,
    /// Hosts that refuse to be connected.
    down: Vec<&'static str>,
    /// The links that are connected, and where.
    links: Vec<(LinkKey, String)>,
    dials: Vec<String>,
    facts: Vec<Fact>,
    told: Told,
    jobs: u32,
}

impl Farm {
    fn new(hosts: &[&str], down: &[&'static str], change: impl FnOnce(&mut Settings)) -> Self {
        Self {
            scene: Scene::with(hosts, |settings| {
                // These pools say nothing of their own accord.
                settings.limits.no_job = Duration::from_secs(1_000_000);
                change(settings);
            }),
            down: down.to_vec(),
            links: Vec::new(),
            dials: Vec::new(),
            facts: Vec::new(),
            told: Told::default(),
            jobs: 0,
        }
    }

    /// A miner that mines; `moves` is one that takes another nonce without a reconnect.
    fn miner(&mut self, index: u32, moves: bool) -> MinerToken {
        let miner = self.scene.connect(index);
        self.scene.miner_says(miner, SUBSCRIBE);
        if moves {
            let line = br#"{"id":9,"method":"mining.extranonce.subscribe","params":[]}"#;
            self.scene.miner_says(miner, line);
        }
        self.scene.miner_says(miner, AUTHORIZE);
        miner
    }

    /// A farm with one miner, which the second pool serves since the first one is down.
    fn on_the_second(moves: bool, change: impl FnOnce(&mut Settings)) -> (Self, MinerToken) {
        let mut farm = Self::new(&["a", "b"], &["a"], change);
        let miner = farm.miner(0, moves);
        farm.pass(5);
        assert_eq!(farm.serving(), ["b"]);
        (farm, miner)
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            self.step();
        }
    }

    fn step(&mut self) {
        self.scene.pass(Duration::from_millis(250));
        self.scene.exchange.handle_tick(self.scene.now);
        while let Some(command) = self.scene.exchange.poll_command() {
            match command {
                Command::Dial { link, host, .. } => self.dialled(link, host),
                Command::HangUp(link) => self.links.retain(|(key, _)| *key != link),
            }
        }
        self.hear();
    }

    fn hear(&mut self) {
        while let Some(fact) = self.scene.exchange.poll_fact() {
            self.facts.push(fact);
        }
        self.scene.exchange.flush(&mut self.told);
    }

    fn dialled(&mut self, link: LinkKey, host: String) {
        let now = self.scene.now;
        self.dials.push(host.clone());
        if self.down.contains(&host.as_str()) {
            let end = LinkEnd::ConnectFailed;
            self.scene.exchange.handle_link_closed(now, link, end, "");
            return;
        }
        self.scene.exchange.handle_link_connected(now, link);
        // Each connection has a nonce_1 of its own, which tells the host.
        let first = host.as_bytes()[0];
        let subscribed = format!(
            r#"{{"id":1,"result":[null,"{first:02x}{:06x}"],"error":null}}"#,
            self.dials.len()
        );
        self.scene.pool_says(link, subscribed.as_bytes());
        self.scene
            .pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
        self.scene.written(link);
        self.links.push((link, host));
        self.announce(link);
    }

    fn announce(&mut self, link: LinkKey) {
        self.jobs += 1;
        let line = notify().replace("\"j1\"", &format!("\"j{}\"", self.jobs));
        self.scene.pool_says(link, line.as_bytes());
    }

    /// The pool goes away, with all links to it.
    fn fails(&mut self, host: &'static str) {
        self.down.push(host);
        for (link, _) in self.links.extract_if(.., |(_, at)| at == host) {
            let now = self.scene.now;
            self.scene
                .exchange
                .handle_link_closed(now, link, LinkEnd::Reset, "");
        }
    }

    fn recovers(&mut self, host: &str) {
        self.down.retain(|down| *down != host);
    }

    fn link_to(&self, host: &str) -> LinkKey {
        let found = self.links.iter().rev().find(|(_, at)| at == host);
        found.expect("a link to it").0
    }

    /// The pools that serve.
    fn serving(&self) -> Vec<&str> {
        let hosts = ["a", "b", "c"].into_iter().enumerate();
        hosts
            .filter(|(pool, _)| self.scene.exchange.links_up_of(*pool) > 0)
            .map(|(_, host)| host)
            .collect()
    }

    /// The job that was said last, and the miners' text since the last call.
    fn heard(&mut self) -> (Option<String>, String) {
        self.hear();
        let text = std::mem::take(&mut self.told.text);
        let job = text
            .rsplit_once(r#""mining.notify","params":[""#)
            .and_then(|(_, params)| params.split_once('"'))
            .map(|(job, _)| job.to_owned());
        (job, text)
    }

    /// How long it takes until this is so.
    fn seconds_until(&mut self, is_so: impl Fn(&Self) -> bool) -> u64 {
        let begin = self.scene.now.since_start;
        for _ in 0..4 * 7200 {
            if is_so(self) {
                return (self.scene.now.since_start - begin).as_secs();
            }
            self.step();
        }
        panic!("never; pools {:?} serve", self.serving());
    }

    fn count(&self, is: fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|fact| is(fact)).count()
    }
}

const fn is_return(fact: &Fact) -> bool {
    matches!(fact, Fact::TakenOver { returned: true, .. })
}

#[test]
fn miners_go_back_to_the_preferred_pool_when_it_was_well_for_half_a_minute() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.pass(600);
    assert_eq!(farm.serving(), ["b"]);
    farm.heard();
    farm.recovers("a");
    let probed = farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
    assert!(probed <= 30, "asked after {probed} s");
    farm.pass(29);
    assert_eq!(farm.serving(), ["b"]);
    assert_eq!(farm.heard().1, "", "nobody notices the probe");
    farm.pass(2);
    let (_, text) = farm.heard();
    assert_eq!(farm.count(is_return), 1);
    let moved = text.find(r#""mining.set_extranonce","params":["61"#);
    let job = text.find(r#""mining.notify""#);
    assert!(moved.is_some() && moved < job, "{text}");
    assert!(text.trim_end().ends_with("true]}"), "a clean job: {text}");
    assert_eq!(farm.told.closed, 0);
    // Whoever comes now works for it too, and the other link is hung up soon.
    farm.miner(1, false);
    assert!(farm.heard().1.contains(r#"[null,"61"#));
    farm.pass(10);
    assert_eq!(farm.serving(), ["a"]);
    assert_eq!(farm.links.len(), 1);
}

#[test]
fn no_share_is_lost_by_going_back() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    let (old_job, _) = farm.heard();
    let old_job = old_job.expect("a job");
    let b = farm.link_to("b");
    farm.scene.written(b);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.pass(29);
    farm.scene.miner_says(miner, share(&old_job).as_bytes());
    let written = farm.scene.written(b);
    assert!(written.contains("mining.submit"));
    farm.pass(2);
    assert_eq!(farm.count(is_return), 1);
    let (new_job, _) = farm.heard();
    // What was on its way to us while the miner was told goes where its job came from.
    let late = share(&old_job).replace("240000", "240001");
    farm.scene.miner_says(miner, late.as_bytes());
    let late = farm.scene.written(b);
    assert!(
        late.contains(&written[written.len() - 200..written.len() - 100]),
        "{late}"
    );
    // The same share again is a duplicate there as well.
    farm.scene.miner_says(miner, share(&old_job).as_bytes());
    assert!(farm.heard().1.contains("[22,"), "a duplicate");
    // The pool takes its time, and is waited for.
    farm.pass(20);
    assert_eq!(farm.serving(), ["a", "b"]);
    farm.scene
        .pool_says(b, br#"{"id":16,"result":true,"error":null}"#);
    farm.scene
        .pool_says(b, br#"{"id":17,"result":true,"error":null}"#);
    let text = farm.heard().1;
    assert_eq!(text.matches(r#""result":true"#).count(), 2, "{text}");
    farm.pass(1);
    assert_eq!(farm.serving(), ["a"]);
    // A share for the new job goes to the new pool.
    let a = farm.link_to("a");
    farm.scene.written(a);
    let share = share(&new_job.expect("a job"));
    farm.scene.miner_says(miner, share.as_bytes());
    assert!(farm.scene.written(a).contains("mining.submit"));
}

#[test]
fn a_pool_that_never_answers_a_share_is_left_all_the_same() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    let job = farm.heard().0.expect("a job");
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.pass(29);
    farm.scene.miner_says(miner, share(&job).as_bytes());
    farm.scene.written(farm.link_to("b"));
    let seconds = farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert!((59..=62).contains(&seconds), "{seconds}");
    assert!(farm.heard().1.contains(r#""error":[20,"#));
}

#[test]
fn who_can_not_be_told_works_on_until_its_turn_to_reconnect() {
    let (mut farm, _) = Farm::on_the_second(false, |settings| {
        settings.limits.reconnect_per_second = 1;
    });
    let miners: Vec<_> = (1..10).map(|index| farm.miner(index, false)).collect();
    let old_job = farm.heard().0.expect("a job");
    farm.recovers("a");
    farm.seconds_until(|farm| farm.count(is_return) == 1);
    farm.heard();
    let b = farm.link_to("b");
    farm.scene.written(b);
    // One each second: the last one of them still mines.
    farm.pass(4);
    assert!((4..=6).contains(&farm.told.closed), "{}", farm.told.closed);
    farm.announce(b);
    assert!(farm.heard().0.is_some(), "the next job comes too");
    farm.scene.miner_says(miners[8], share(&old_job).as_bytes());
    assert!(farm.scene.written(b).contains("mining.submit"));
    // It is closed when it has its answer.
    farm.pass(20);
    assert_eq!(farm.told.closed, 9);
    farm.scene
        .pool_says(b, br#"{"id":16,"result":true,"error":null}"#);
    farm.pass(2);
    assert_eq!(farm.told.closed, 10);
    farm.pass(5);
    assert_eq!(farm.serving(), ["a"]);
}

#[test]
fn a_pool_that_does_not_stay_well_must_be_well_for_twice_as_long_each_time() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    let mut waits = Vec::new();
    for _ in 0..10 {
        farm.recovers("a");
        farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
        waits.push(farm.seconds_until(|farm| farm.serving().first() == Some(&"a")));
        farm.pass(60);
        farm.fails("a");
        farm.pass(10);
        assert_eq!(farm.serving(), ["b"]);
    }
    let expected = [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600];
    let close = |(wait, expected): (&u64, &u64)| wait.abs_diff(*expected) <= 1;
    assert!(waits.iter().zip(&expected).all(close), "{waits:?}");
    // A return that lasts ten minutes was right.
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving().first() == Some(&"a"));
    farm.pass(601);
    farm.fails("a");
    farm.pass(10);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
    let wait = farm.seconds_until(|farm| farm.serving().first() == Some(&"a"));
    assert!(wait.abs_diff(30) <= 1, "{wait}");
}

#[test]
fn a_link_that_is_resumed_is_no_failed_return() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    farm.fails("a");
    farm.recovers("a");
    farm.pass(20);
    assert_eq!(farm.serving(), ["a"]);
    assert_eq!(
        farm.count(|fact| matches!(fact, Fact::ReturnFailed { .. })),
        0
    );
}

#[test]
fn the_trouble_of_a_probe_disturbs_nobody() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    let job = farm.heard().0.expect("a job");
    farm.recovers("a");
    let b = farm.link_to("b");
    for trouble in 0..6 {
        farm.seconds_until(|farm| farm.links.iter().any(|(_, host)| host == "a"));
        farm.pass(5);
        let a = farm.link_to("a");
        let line: &[u8] = match trouble {
            0 => br#"{"id":null,"method":"mining.notify","params":["1"]}"#,
            1 => br#"{"id":null,"method":"mining.set_target","params":["zz"]}"#,
            2 => br#"{"id":null,"method":"client.reconnect","params":[]}"#,
            3 => br#"{"id":null,"method":"mining.set_extranonce","params":["6100"]}"#,
            4 => br#"{"id":null,"method":"client.reconnect","params":["thief",1,0]}"#,
            _ => br#"{"id":16,"result":true,"error":null}"#,
        };
        farm.scene.pool_says(a, line);
        farm.announce(a);
        let now = farm.scene.now;
        farm.scene
            .exchange
            .handle_link_closed(now, a, LinkEnd::Reset, "");
        farm.links.retain(|(link, _)| *link != a);
        farm.step();
    }
    assert_eq!(farm.heard().1, "", "miners hear nothing of it");
    assert_eq!((farm.serving(), farm.told.closed), (vec!["b"], 0));
    farm.scene.written(b);
    farm.scene.miner_says(miner, share(&job).as_bytes());
    assert!(farm.scene.written(b).contains("mining.submit"));
    // And it does not count as a link that serves.
    let counters = farm.scene.exchange.counters();
    assert_eq!((counters.links_up, counters.slots_taken), (1, 1));
}

#[test]
fn a_dead_preferred_pool_is_asked_twice_a_minute_or_so() {
    let (mut farm, _) = Farm::on_the_second(true, |_| {});
    farm.pass(60);
    farm.dials.clear();
    farm.pass(3600);
    let dials = farm.dials.len();
    assert!((120..=240).contains(&dials), "{dials}");
    assert_eq!(farm.links.len(), 1);
}

#[test]
fn the_best_pool_that_is_well_is_taken_and_then_a_better_one() {
    let mut farm = Farm::new(&["a", "b", "c"], &["a", "b"], |_| {});
    farm.miner(0, true);
    farm.pass(10);
    assert_eq!(farm.serving(), ["c"]);
    farm.recovers("b");
    farm.seconds_until(|farm| farm.serving() == ["b"]);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert_eq!(farm.told.closed, 0);
    assert_eq!(farm.count(is_return), 2);
}

#[test]
fn all_links_of_a_shard_go_back_one_after_the_other() {
    let mut farm = Farm::new(&["a", "b"], &["a"], |settings| {
        settings.miners_per_link = 10;
        settings.links_max = 3;
    });
    for index in 0..30 {
        farm.miner(index, true);
        farm.pass(3);
    }
    assert_eq!(farm.scene.exchange.links_up_of(1), 3);
    farm.recovers("a");
    farm.seconds_until(|farm| farm.serving() == ["a"]);
    assert_eq!(farm.scene.exchange.links_up_of(0), 3);
    assert_eq!((farm.count(is_return), farm.told.closed), (3, 0));
    assert_eq!(farm.scene.exchange.counters().slots_taken, 30);
}

#[test]
fn nobody_is_sent_away_for_a_preference() {
    let (mut farm, _) = Farm::on_the_second(true, |settings| {
        settings.miners_per_link = 4096;
    });
    for index in 1..300 {
        farm.miner(index, true);
    }
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    // From now on its links leave room for 256 miners only.
    let a = farm.link_to("a");
    let narrow = "61".repeat(24);
    let line = format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{narrow}"]}}"#);
    farm.scene.pool_says(a, line.as_bytes());
    farm.announce(a);
    farm.pass(120);
    assert_eq!(farm.serving(), ["b"]);
    assert_eq!(
        farm.count(|fact| matches!(fact, Fact::NoRoomToReturn { .. })),
        1
    );
}

#[test]
fn a_shard_that_has_no_miner_left_lets_its_probe_go_too() {
    let (mut farm, miner) = Farm::on_the_second(true, |_| {});
    farm.recovers("a");
    farm.seconds_until(|farm| farm.links.len() == 2);
    farm.scene
        .exchange
        .handle_disconnect(miner, CloseReason::Closed);
    farm.pass(62);
    assert_eq!(farm.links.len(), 0);
    farm.dials.clear();
    farm.pass(600);
    assert_eq!(farm.dials.len(), 0, "{:?}", farm.dials);
}

// The next pool's link, ready before it is needed.

/// A farm with two miners, which the first pool serves.
fn on_the_first(change: impl FnOnce(&mut Settings)) -> Farm {
    let mut farm = Farm::new(&["a", "b", "c"], &[], change);
    farm.miner(0, true);
    farm.miner(1, false);
    farm.pass(30);
    assert_eq!(farm.serving(), ["a"]);
    farm.heard();
    farm
}

const fn is_failover(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::TakenOver {
            returned: false,
            ..
        }
    )
}

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

/// A farm of one miner at the first of two pools, whose second `second` is played before each tick. Returns
/// the host that is called first within so many seconds, and when.
fn leaves_within(seconds: u64, mut second: impl FnMut(&mut Scene, LinkKey, u64)) -> Option<u64> {
    let mut scene = Scene::new(&["a", "b"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(miner);
    for at in 0..seconds {
        if scene.exchange.is_current(link) {
            second(&mut scene, link, at);
            let _ = scene.written(link);
        }
        for _ in 0..4 {
            scene.pass(Duration::from_millis(250));
            scene.exchange.handle_tick(scene.now);
            if let Some((_, host)) = scene.poll_dial() {
                assert_eq!(host, "b");
                return Some(at);
            }
        }
    }
    None
}

/// A job of its own; miners are told of it.
fn announce(scene: &mut Scene, link: LinkKey, at: u64) -> String {
    let id = format!("\"j{at}\"");
    scene.pool_says(link, notify().replace("\"j1\"", &id).as_bytes());
    let told = scene.flush().text;
    let (_, params) = told.rsplit_once(r#""mining.notify","params":[""#).unwrap();
    params.split_once('"').unwrap().0.to_owned()
}

/// The only miner sends a share that no other is like.
fn submit(scene: &mut Scene, job: &str, number: u64) {
    let digits = format!("\"{number:052x}\"");
    let line = share(job).replace(&format!("\"{}\"", "0".repeat(52)), &digits);
    let (index, generation) = (0, 0);
    scene.miner_says(MinerToken { index, generation }, line.as_bytes());
}

#[test]
fn a_pool_that_sends_no_job_gives_way_to_the_next() {
    assert_eq!(leaves_within(300, |_, _, _| {}), Some(240));
    let some = |scene: &mut Scene, link, at: u64| {
        if at.is_multiple_of(200) {
            announce(scene, link, at);
        }
    };
    assert_eq!(leaves_within(1000, some), None);
}

#[test]
fn a_pool_that_answers_no_share_while_many_wait_gives_way_to_the_next() {
    let silent = |scene: &mut Scene, link, at| {
        let job = announce(scene, link, at);
        submit(scene, &job, at);
    };
    assert_eq!(leaves_within(120, silent), Some(60));
}

#[test]
fn a_pool_that_answers_some_shares_is_kept() {
    let mut expected = 16;
    let some = |scene: &mut Scene, link, at: u64| {
        let job = announce(scene, link, at);
        submit(scene, &job, at);
        if at % 50 == 49 {
            let reply = format!(r#"{{"id":{expected},"result":true,"error":null}}"#);
            scene.pool_says(link, reply.as_bytes());
            expected += 50;
        }
    };
    assert_eq!(leaves_within(300, some), None);
}

#[test]
fn one_share_without_an_answer_only_times_out() {
    let mut refused = 0;
    let one = |scene: &mut Scene, link, at: u64| {
        let job = announce(scene, link, at);
        if at.is_multiple_of(100) {
            submit(scene, &job, at);
        }
        refused = scene.exchange.counters().refused.iter().sum();
    };
    assert_eq!(leaves_within(300, one), None);
    assert_eq!(refused, 3, "each is answered in its time");
}
