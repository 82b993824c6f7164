//! Two pools or more in virtual time, and miners that move between them.

use std::time::Duration;

use stratum_uring::exchange::{Command, Fact, LinkEnd, LinkKey, MinerToken, Settings};

use crate::scene::{AUTHORIZE, SUBSCRIBE, Scene, Told, notify};

/// Two pools or more in virtual time: which are up, what they were called for, what they heard.
pub(crate) struct Farm {
    pub(crate) scene: Scene,
    /// The shard's number.
    pub(crate) shard: u32,
    /// Hosts that refuse to be connected.
    pub(crate) down: Vec<&'static str>,
    /// Hosts that take the connection and refuse to subscribe.
    pub(crate) refuse: Vec<&'static str>,
    /// The links that are connected, and where.
    pub(crate) links: Vec<(LinkKey, String)>,
    pub(crate) dials: Vec<String>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) told: Told,
    pub(crate) jobs: u32,
    /// The nonce_1 of all connections, where they have one.
    pub(crate) nonce_1: Option<&'static str>,
}

impl Farm {
    pub(crate) fn new(
        hosts: &[&str],
        down: &[&'static str],
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut shard = 0;
        Self {
            scene: Scene::with(hosts, |settings| {
                // These pools say nothing of their own accord.
                settings.limits.no_job = Duration::from_secs(1_000_000);
                change(settings);
                shard = settings.part.0;
            }),
            shard,
            down: down.to_vec(),
            refuse: Vec::new(),
            links: Vec::new(),
            dials: Vec::new(),
            facts: Vec::new(),
            told: Told::default(),
            jobs: 0,
            nonce_1: None,
        }
    }

    /// A miner that mines; `moves` is one that takes another nonce without a reconnect.
    pub(crate) fn miner(&mut self, index: u32, moves: bool) -> MinerToken {
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
    pub(crate) fn on_the_second(
        moves: bool,
        change: impl FnOnce(&mut Settings),
    ) -> (Self, MinerToken) {
        let mut farm = Self::new(&["a", "b"], &["a"], change);
        let miner = farm.miner(0, moves);
        farm.pass(5);
        assert_eq!(farm.serving(), ["b"]);
        (farm, miner)
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            self.step();
        }
    }

    pub(crate) fn step(&mut self) {
        self.scene.pass(Duration::from_millis(250));
        self.scene.exchange.handle_tick(self.scene.now);
        self.obey();
    }

    /// Does what the exchange wants.
    pub(crate) fn obey(&mut self) {
        while let Some(command) = self.scene.exchange.poll_command() {
            match command {
                Command::Dial { link, host, .. } => self.dialled(link, host),
                Command::HangUp(link) => self.links.retain(|(key, _)| *key != link),
            }
        }
        self.hear();
    }

    pub(crate) fn hear(&mut self) {
        while let Some(fact) = self.scene.exchange.poll_fact() {
            self.facts.push(fact);
        }
        self.scene.exchange.flush(&mut self.told);
    }

    pub(crate) fn dialled(&mut self, link: LinkKey, host: String) {
        let now = self.scene.now;
        self.dials.push(host.clone());
        if self.down.contains(&host.as_str()) {
            let end = LinkEnd::ConnectFailed;
            self.scene.exchange.handle_link_closed(now, link, end, "");
            return;
        }
        self.scene.exchange.handle_link_connected(now, link);
        if self.refuse.contains(&host.as_str()) {
            let refusal = br#"{"id":1,"result":null,"error":[20,"one from each address",null]}"#;
            return self.scene.pool_says(link, refusal);
        }
        // Else each has a nonce_1 of its own, which tells the host.
        let first = host.as_bytes()[0];
        let own = format!("{first:02x}{:02x}{:04x}", self.shard, self.dials.len());
        let nonce_1 = self.nonce_1.unwrap_or(&own);
        let subscribed = format!(r#"{{"id":1,"result":[null,"{nonce_1}"],"error":null}}"#);
        self.scene.pool_says(link, subscribed.as_bytes());
        self.scene
            .pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
        self.scene.written(link);
        self.links.push((link, host));
        self.announce(link);
    }

    pub(crate) fn announce(&mut self, link: LinkKey) {
        self.jobs += 1;
        let line = notify().replace("\"j1\"", &format!("\"j{}\"", self.jobs));
        self.scene.pool_says(link, line.as_bytes());
    }

    /// The pool goes away, with all links to it.
    pub(crate) fn fails(&mut self, host: &'static str) {
        self.down.push(host);
        for (link, _) in self.links.extract_if(.., |(_, at)| at == host) {
            let now = self.scene.now;
            self.scene
                .exchange
                .handle_link_closed(now, link, LinkEnd::Reset, "");
        }
    }

    pub(crate) fn recovers(&mut self, host: &str) {
        self.down.retain(|down| *down != host);
    }

    pub(crate) fn link_to(&self, host: &str) -> LinkKey {
        let found = self.links.iter().rev().find(|(_, at)| at == host);
        found.expect("a link to it").0
    }

    /// The pools that serve.
    pub(crate) fn serving(&self) -> Vec<&str> {
        let hosts = ["a", "b", "c"].into_iter().enumerate();
        hosts
            .filter(|(pool, _)| self.scene.exchange.links_up_of(*pool) > 0)
            .map(|(_, host)| host)
            .collect()
    }

    /// The job that was said last, and the miners' text since the last call.
    pub(crate) fn heard(&mut self) -> (Option<String>, String) {
        self.hear();
        let text = std::mem::take(&mut self.told.text);
        let job = text
            .rsplit_once(r#""mining.notify","params":[""#)
            .and_then(|(_, params)| params.split_once('"'))
            .map(|(job, _)| job.to_owned());
        (job, text)
    }

    /// How long it takes until this is so.
    pub(crate) fn seconds_until(&mut self, is_so: impl Fn(&Self) -> bool) -> u64 {
        let begin = self.scene.now.since_start;
        for _ in 0..4 * 7200 {
            if is_so(self) {
                return (self.scene.now.since_start - begin).as_secs();
            }
            self.step();
        }
        panic!("never; pools {:?} serve", self.serving());
    }

    pub(crate) fn count(&self, is: fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|fact| is(fact)).count()
    }
}

pub(crate) const fn is_return(fact: &Fact) -> bool {
    matches!(fact, Fact::TakenOver { returned: true, .. })
}

/// A farm with two miners, which the first pool serves.
pub(crate) fn on_the_first(change: impl FnOnce(&mut Settings)) -> Farm {
    let mut farm = Farm::new(&["a", "b", "c"], &[], change);
    farm.miner(0, true);
    farm.miner(1, false);
    farm.pass(30);
    assert_eq!(farm.serving(), ["a"]);
    farm.heard();
    farm
}

pub(crate) const fn is_failover(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::TakenOver {
            returned: false,
            ..
        }
    )
}
