//! One exchange on a stage: its miners and pools are the test, and so is the time.

use std::rc::Rc;
use std::time::Duration;

use stratum_uring::exchange::{
    Authorize, CloseHow, CloseReason, Command, Exchange, Limits, LinkKey, MinerToken, PoolLinks,
    PoolSettings, Settings, ShareReply, Tag, Transmit,
};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{Coin, Introduction};
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::time::Now;

/// When the pools' jobs were made.
pub(crate) const JOB_UNIX_SECONDS: u32 = 1_800_000_000;

pub(crate) const SUBSCRIBE: &[u8] = br#"{"id":1,"method":"mining.subscribe","params":[]}"#;
pub(crate) const AUTHORIZE: &[u8] = br#"{"id":2,"method":"mining.authorize","params":["rig","x"]}"#;

/// What the miners were told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) closed: usize,
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
pub(crate) struct Scene {
    pub(crate) exchange: Exchange,
    pub(crate) now: Now,
}

impl Scene {
    /// With pools on these hosts.
    pub(crate) fn new(hosts: &[&str]) -> Self {
        Self::with(hosts, |_| {})
    }

    /// With pools on these hosts and other settings than the defaults.
    pub(crate) fn with(hosts: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(
            Coin::Equihash(Parameters::new(48, 5).unwrap()),
            hosts,
            change,
        )
    }

    /// The same, of this coin.
    pub(crate) fn of(coin: Coin, hosts: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let pool = |host: &&str| PoolSettings {
            host: (*host).to_owned(),
            port: 3333,
            worker: "t1account.farm".to_owned(),
            password: "x".to_owned(),
            extranonce_subscribe: false,
            reconnect_hosts: Vec::new(),
            introduction: Introduction::default(),
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
            authorize: Authorize::default(),
            share_reply: ShareReply::Pool,
            keep_warm: false,
            limits: Limits::default(),
        };
        change(&mut settings);
        Self {
            exchange: Exchange::new(settings, coin.dialect()),
            now: Now {
                since_start: Duration::ZERO,
                unix_seconds: JOB_UNIX_SECONDS.into(),
            },
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.since_start += time;
    }

    pub(crate) fn connect(&mut self, index: u32) -> MinerToken {
        let generation = 0;
        let miner = MinerToken { index, generation };
        self.exchange.handle_connect(self.now, miner);
        miner
    }

    pub(crate) fn miner_says(&mut self, miner: MinerToken, line: &[u8]) {
        self.exchange.handle_miner_line(self.now, miner, line);
    }

    /// A miner subscribes and authorizes; returns the id of the job that it is given.
    pub(crate) fn begin_mining(&mut self, miner: MinerToken) -> String {
        self.miner_says(miner, SUBSCRIBE);
        self.miner_says(miner, AUTHORIZE);
        let told = self.flush().text;
        let (_, params) = told.split_once(r#""mining.notify","params":[""#).unwrap();
        params.split_once('"').unwrap().0.to_owned()
    }

    pub(crate) fn pool_says(&mut self, link: LinkKey, line: &[u8]) {
        self.exchange.handle_link_line(self.now, link, line);
    }

    /// The next dial: its link, and the host that is called.
    pub(crate) fn poll_dial(&mut self) -> Option<(LinkKey, String)> {
        while let Some(command) = self.exchange.poll_command() {
            if let Command::Dial { link, host, .. } = command {
                return Some((link, host));
            }
        }
        None
    }

    /// The dial that must have come is answered.
    pub(crate) fn expect_connected(&mut self) -> LinkKey {
        let (link, _) = self.poll_dial().expect("the pool is called");
        self.exchange.handle_link_connected(self.now, link);
        link
    }

    /// The pool answers the handshake.
    pub(crate) fn shake_hands(&mut self, link: LinkKey) {
        self.pool_says(link, br#"{"id":1,"result":[null,"a1b2c3d4"],"error":null}"#);
        self.pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
    }

    pub(crate) fn flush(&mut self) -> Told {
        let mut told = Told::default();
        self.exchange.flush(&mut told);
        told
    }

    /// What the pool is told since it was asked last.
    pub(crate) fn written(&mut self, link: LinkKey) -> String {
        let bytes = self.exchange.unwritten(link).to_vec();
        self.exchange.wrote(self.now, link, bytes.len());
        String::from_utf8(bytes).unwrap()
    }
}

/// The time of the jobs, as it stands in a header.
pub(crate) fn job_time() -> String {
    let bytes = JOB_UNIX_SECONDS.to_le_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn notify() -> String {
    let (zeros, time) = ("0".repeat(64), job_time());
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["j1","04000000","{zeros}","{zeros}","{zeros}","{time}","1f07ffff",true]}}"#
    )
}

/// A share of the right shape: 26 bytes of nonce, and 36 of solution behind their length.
pub(crate) fn share(job: &str) -> String {
    let (time, nonce_2, solution) = (job_time(), "0".repeat(52), "0".repeat(72));
    format!(
        r#"{{"id":3,"method":"mining.submit","params":["rig","{job}","{time}","{nonce_2}","24{solution}"]}}"#
    )
}
