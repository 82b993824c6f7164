//! A whole exchange under an arbitrary schedule of lines of miners and pools, in all dialects.
//!
//! The simulation (see `schedule.rs`) knows what each of its lines means, and so can ask for much. Here
//! lines may be anything: what somebody meant is asked of the dialect, and what is checked holds for all:
//!
//! - what reaches anybody is whole lines of JSON;
//! - every submit gets exactly one answer, and no miner gets an answer that it did not ask for;
//! - a share reaches a pool only under a job of the link's session, and byte for byte as it was found;
//! - where workers have names of their own, it goes out under its own, which the pool has taken;
//! - no two live miners share nonce space;
//! - what is queued has a bound, and who is blocked is sent nothing;
//! - after the drain nothing is owned.

mod miners;
mod pools;
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests of the exchange use more of it, and a failed unwrap is a failed test"
)]
#[path = "../../tests/exchange/scene.rs"]
mod scene;

use std::collections::HashMap;
use std::time::Duration;

use stratum_uring::exchange::{CheckEnd, Command, LinkKey, MinerToken, ShareReply};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{Coin, Dialect};
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::worker_name::WorkerName;
use stratum_uring::wire::Reader;

use super::input::Input;
use miners::Miner;
use pools::{Dialled, Told};
use scene::Scene;

/// Places for miners. Few, so that they meet.
const MINERS: usize = 6;
/// An input that says more is played so far.
const STEPS_MAX: usize = 500;
/// The number of the first share: none that a fuzzer writes by chance.
const SHARE_FIRST: usize = 0x5eed_0000;
const TICK: Duration = Duration::from_millis(250);
/// How long a shutdown waits for shares that are on their way.
const SHUTDOWN_TICKS: usize = 20;

/// Three bytes choose the settings; each step after them is a byte for what happens, and what that takes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let coin = input.one_of(&[
        Coin::Equihash(Parameters::new(48, 5).expect("a set of a coin")),
        Coin::Bitcoin,
        Coin::Monero,
    ]);
    let mut farm = Farm::new(coin, &mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        farm.step(&mut input);
        farm.finish_round();
    }
    farm.shut_down();
}

/// A share that a miner made, by the number that stands in it.
struct Share {
    miner: MinerToken,
    worker: &'static str,
    /// What the miner had in front of its own part of the nonce, and its own part.
    nonce_1: Option<String>,
    nonce_2: String,
    /// How often that miner was told of a nonce space before.
    tellings: u32,
}

struct Farm {
    coin: Coin,
    dialect: Box<dyn Dialect>,
    scene: Scene,
    reader: Reader,
    miners: Vec<Miner>,
    /// What the exchange is connected to, or wants to be, in the order of the dials.
    dialled: Vec<Dialled>,
    /// By the link's index: what its pools said of its session.
    told: HashMap<usize, Told>,
    shares: Vec<Share>,
    fan_out_max: usize,
    outbox_bytes_max: usize,
    /// Each worker has a name of its own at the pools.
    is_named: bool,
    /// A miner said a share that we did not make: what goes out may be that one.
    raw_submits: bool,
    is_ending: bool,
    /// Tell what is said, for a person who looks into one input: `FUZZ_TRACE=1`.
    trace: bool,
}

impl Farm {
    fn new(coin: Coin, input: &mut Input<'_>) -> Self {
        let (ways, width, bounds) = (input.byte(), input.byte(), input.byte());
        let hosts: &[&str] = if ways & 1 == 0 { &["a"] } else { &["a", "b"] };
        let outbox_bytes_max = if bounds & 1 > 0 { 900 } else { 1024 * 1024 };
        // A login of Monero is one worker's, and its pools have no word for another.
        let is_named = width & 8 > 0 && coin != Coin::Monero;
        let scene = Scene::of(coin, hosts, |settings| {
            settings.standby = ways & 2 > 0;
            settings.keep_warm = ways & 4 > 0;
            settings.links_max = 1 + usize::from(ways & 8 > 0);
            if ways & 16 > 0 {
                settings.share_reply = ShareReply::Immediate;
            }
            if ways & 32 > 0 {
                settings.pass_through_agents = vec!["pass".to_owned()];
            }
            for pool in &mut settings.pools {
                pool.extranonce_subscribe = ways & 64 > 0;
            }
            settings.slot_width = match width & 3 {
                3 => SlotWidth::Auto,
                len => SlotWidth::Fixed(len),
            };
            settings.miners_per_link = if width & 4 > 0 { 2 } else { 65_536 };
            if is_named {
                settings.authorize.worker_name = WorkerName::pass_through();
            }
            settings.authorize.is_local = width & 16 > 0;
            settings.authorize.shows_passwords = width & 32 > 0;
            settings.authorize.denied_retry = Duration::from_secs(u64::from(width >> 6));
            if width & 128 > 0 {
                let conduct = &mut settings.limits.conduct;
                (conduct.rejected_window, conduct.rejected_percent_max) = (4, 50);
                conduct.rejected_ban = Duration::from_secs(2);
            }
            let limits = &mut settings.limits;
            if bounds & 1 > 0 {
                limits.miner_outbox_bytes_max = outbox_bytes_max;
                limits.unread_bytes_max = 2 * outbox_bytes_max;
                limits.pool_outbox_bytes_max = 2000;
            }
            if bounds & 2 > 0 {
                limits.pending_shares_per_miner_max = 3;
                limits.pending_shares_max = 5;
            }
            if bounds & 4 > 0 {
                (limits.jobs_kept, limits.jobs_kept_max) = (1, 2);
                limits.job_kept = Duration::from_secs(1);
            }
            if bounds & 8 > 0 {
                limits.reply_timeout = Duration::from_secs(2);
                limits.no_reply = Duration::from_secs(3);
                limits.stable_for = Duration::from_secs(1);
            }
        });
        Self {
            coin,
            dialect: coin.dialect(),
            scene,
            reader: Reader::new(),
            miners: (0..MINERS).map(|_| Miner::default()).collect(),
            dialled: Vec::new(),
            told: HashMap::new(),
            shares: Vec::new(),
            fan_out_max: 1 + usize::from(bounds >> 5),
            outbox_bytes_max,
            is_named,
            raw_submits: false,
            is_ending: false,
            trace: std::env::var("FUZZ_TRACE").is_ok(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        // The high bits say to whom it happens, where nothing more is to be chosen.
        let who = usize::from(what >> 5);
        match what & 31 {
            0..=1 => self.connect(who),
            2 => self.disconnect(who),
            3..=4 => self.greet(who, input),
            5..=9 => self.submit(who, input),
            10 => self.submit_again(who, input),
            11 => self.miner_says_anything(who, input),
            12 => self.takes_bytes(who, input),
            13..=14 => self.answer_dial(who, input),
            15 => self.close_link(who),
            16..=18 => self.shake_hands(who, input),
            19..=21 => self.announce(who, input),
            22 => self.set_target(who, input),
            23 => self.set_extranonce(who, input),
            24..=26 => self.judge(who, input),
            27 => self.pool_says_anything(who, input),
            28 => self.stall(who),
            29..=30 => self.pass(1 + who),
            _ => self.pass(8 * input.below(40)),
        }
    }

    fn pass(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.scene.pass(TICK);
            self.scene.exchange.handle_tick(self.scene.now);
            self.look_workers_up();
            self.finish_round();
        }
    }

    /// What the shell finds in the workers file: one of two workers, and now and then no time to look.
    fn look_workers_up(&mut self) {
        while let Some(check) = self.scene.exchange.poll_check() {
            let end = match (&*check.worker, check.number % 5) {
                (_, 4) => CheckEnd::Busy,
                ("rig", _) => CheckEnd::Right,
                ("rig.2", 0..2) => CheckEnd::Right,
                _ => CheckEnd::Wrong,
            };
            let exchange = &mut self.scene.exchange;
            exchange.handle_worker_checked(self.scene.now, check.miner, check.number, end);
        }
    }

    /// What the shell does at the end of a round.
    fn finish_round(&mut self) {
        self.write_to_pools();
        self.flush();
        while self.scene.exchange.poll_fact().is_some() {}
        while let Some(command) = self.scene.exchange.poll_command() {
            self.tell(|| format!("{command:?}"));
            match command {
                Command::Dial { link, host, .. } => {
                    assert!(!self.is_ending, "NOTHING IS DIALLED IN SHUTDOWN");
                    self.dialled.push(Dialled::new(link, host));
                }
                Command::HangUp(link) => self.dialled.retain(|dialled| dialled.link != link),
            }
        }
        let exchange = &self.scene.exchange;
        self.dialled
            .retain(|dialled| exchange.is_current(dialled.link));
        let letters = self.scene.exchange.poll_letter();
        assert!(
            letters.is_none(),
            "there is nobody to write to: {letters:?}"
        );
        let counters = self.scene.exchange.counters();
        let live = self.miners.iter().filter(|miner| miner.token.is_some());
        assert_eq!(counters.miners, live.count() as u64, "MINERS ARE COUNTED");
        assert!(counters.mining <= counters.miners, "MINERS ARE COUNTED");
    }

    fn shut_down(&mut self) {
        self.scene.exchange.begin_shutdown();
        self.is_ending = true;
        for _ in 0..SHUTDOWN_TICKS {
            if self.scene.exchange.is_drained() {
                break;
            }
            self.pass(1);
        }
        for who in 0..MINERS {
            self.takes_all(who);
        }
        self.scene.exchange.finish_shutdown(self.scene.now);
        self.finish_round();
        // A miner that took nothing before may have been told only a part.
        let counters = self.scene.exchange.counters();
        let left = (
            counters.miners,
            counters.mining,
            counters.waiting,
            counters.links_up,
            counters.unread_bytes,
        );
        assert_eq!(left, (0, 0, 0, 0, 0), "AFTER SHUTDOWN NOTHING IS OWNED");
        assert!(self.dialled.is_empty(), "AFTER SHUTDOWN NOTHING IS OWNED");
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let now = self.scene.now.since_start.as_millis();
            println!("{now:>7} {}", what());
        }
    }

    fn is_current(&self, link: LinkKey) -> bool {
        self.scene.exchange.is_current(link)
    }
}
