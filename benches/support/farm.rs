//! An exchange with a pool and with miners that mine, ready for a bench.

use std::rc::Rc;
use std::time::Duration;

use stratum_uring::exchange::{
    Authorize, CloseHow, CloseReason, Command, Exchange, Limits, LinkKey, MinerToken, PoolLinks,
    PoolSettings, Settings, ShareReply, Tag, Transmit,
};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{Equihash, Introduction};
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::time::Now;

use super::lines;

/// Takes what an exchange sends, and keeps no more of it than a bench wants to know.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// Sends.
    pub(crate) sends: usize,
    /// Bytes of them.
    pub(crate) bytes: usize,
    /// The last line that many miners were sent alike, and so the last job.
    pub(crate) shared: Option<Rc<[u8]>>,
}

impl Transmit for Sink {
    fn send_shared(&mut self, _: MinerToken, line: &Rc<[u8]>, _: Tag) {
        self.sends += 1;
        self.bytes += line.len();
        if !self
            .shared
            .as_ref()
            .is_some_and(|last| Rc::ptr_eq(last, line))
        {
            self.shared = Some(Rc::clone(line));
        }
    }

    fn send_pieces(&mut self, _: MinerToken, pieces: &[(&[u8], Tag)]) {
        self.sends += 1;
        self.bytes += pieces.iter().map(|(bytes, _)| bytes.len()).sum::<usize>();
    }

    fn close(&mut self, miner: MinerToken, how: CloseHow, reason: CloseReason) {
        panic!("{miner:?} is closed: {how:?}, {reason:?}");
    }
}

/// A pool link that is up, and miners that are subscribed and authorized.
#[derive(Debug)]
pub(crate) struct Farm {
    pub(crate) exchange: Exchange,
    pub(crate) link: LinkKey,
    pub(crate) now: Now,
    pub(crate) sink: Sink,
    jobs: u32,
}

impl Farm {
    /// So many miners, each with its target and its first job.
    pub(crate) fn new(miners: u32) -> Self {
        Self::answering(miners, ShareReply::Pool)
    }

    /// As [`Farm::new`], with the say of when a miner is told of its share.
    pub(crate) fn answering(miners: u32, share_reply: ShareReply) -> Self {
        let parameters = Parameters::new(200, 9).expect("the parameters of Zcash");
        let settings = Settings {
            part: (0, 1),
            series: 0,
            start_unix_seconds: 1_800_000_000,
            seed: 1,
            pools: vec![PoolSettings {
                host: "pool.example".to_owned(),
                port: 3333,
                worker: "t1account.farm".to_owned(),
                password: "x".to_owned(),
                extranonce_subscribe: false,
                reconnect_hosts: Vec::new(),
                introduction: Introduction::default(),
            }],
            slot_width: SlotWidth::Auto,
            miners_per_link: 65_536,
            links_max: 1,
            standby: false,
            pass_through_agents: Vec::new(),
            pool_links: PoolLinks::PerShard,
            job_exchange: None,
            authorize: Authorize::default(),
            share_reply,
            keep_warm: false,
            limits: Limits::default(),
        };
        let mut exchange = Exchange::new(settings, Box::new(Equihash::new(parameters)));
        let now = Now {
            since_start: Duration::from_secs(1),
            unix_seconds: 1_800_000_001,
        };
        exchange.handle_connect(now, token(0));
        let Some(Command::Dial { link, .. }) = exchange.poll_command() else {
            panic!("the first miner makes the exchange dial its pool");
        };
        exchange.handle_link_connected(now, link);
        let nonce_1 = lines::NONCE_1;
        let subscribed = format!(r#"{{"id":1,"result":[null,"{nonce_1}"],"error":null}}"#);
        let authorized = r#"{"id":2,"result":true,"error":null}"#;
        for line in [&subscribed, authorized, &lines::set_target(0)] {
            exchange.handle_link_line(now, link, line.as_bytes());
        }
        let written = exchange.unwritten(link).len();
        exchange.wrote(now, link, written);
        let mut farm = Self {
            exchange,
            link,
            now,
            sink: Sink::default(),
            jobs: 0,
        };
        farm.announce();
        for index in 0..miners {
            if index > 0 {
                farm.exchange.handle_connect(now, token(index));
            }
            for line in [lines::subscribe(), lines::authorize()] {
                farm.exchange
                    .handle_miner_line(now, token(index), line.as_bytes());
            }
        }
        farm.exchange.flush(&mut farm.sink);
        // A newcomer's first jobs go out with its target; then a job is one line for all.
        farm.announce();
        farm.announce();
        while farm.exchange.poll_fact().is_some() {}
        assert_eq!(farm.exchange.counters().mining, u64::from(miners));
        farm
    }

    /// The pool announces a job, half a minute after the last one, and all miners are sent it.
    pub(crate) fn announce(&mut self) {
        let line = self.next_job();
        self.send_job(&line);
    }

    /// The line of the pool's next job.
    pub(crate) fn next_job(&mut self) -> String {
        self.jobs += 1;
        lines::notify(&format!("{:x}", self.jobs), true)
    }

    /// That line comes, and all miners are sent it.
    pub(crate) fn send_job(&mut self, line: &str) {
        self.now.since_start += Duration::from_secs(30);
        self.now.unix_seconds += 30;
        self.hear_pool(line.as_bytes());
        self.exchange.flush(&mut self.sink);
    }

    /// The pool says a line.
    pub(crate) fn hear_pool(&mut self, line: &[u8]) {
        self.exchange.handle_link_line(self.now, self.link, line);
    }

    /// The id of the last job, as the miners were told it.
    pub(crate) fn job_id(&self) -> String {
        let line = self.sink.shared.as_deref().expect("a job was announced");
        let line = std::str::from_utf8(line).expect("a line of ours");
        let (_, params) = line.split_once("[\"").expect("a job has params");
        let (id, _) = params.split_once('"').expect("the first one is its id");
        id.to_owned()
    }
}

/// The name of a miner's connection.
pub(crate) const fn token(index: u32) -> MinerToken {
    MinerToken {
        index,
        generation: 0,
    }
}
