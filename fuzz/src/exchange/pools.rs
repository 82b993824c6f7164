//! The pools: what they say, and what they make of what reaches them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use stratum_uring::exchange::{LinkEnd, LinkKey, MinerToken};
use stratum_uring::proto::dialect::{Coin, PoolMessage};
use stratum_uring::wire::Raw;

use super::super::input::Input;
use super::super::written;
use super::scene::{JOB_UNIX_SECONDS, job_time};
use super::{Farm, SHARE_FIRST};

/// A connection that the exchange asked for.
pub(super) struct Dialled {
    pub(super) link: LinkKey,
    host: String,
    connected: bool,
    /// Our subscribe, or login, waits for its answer.
    subscribes: bool,
    stalled: bool,
    /// Ids of shares that wait, and of names, as they stand on the wire.
    pending: Vec<String>,
    /// Our own worker logged in; what is authorized behind it are names.
    logged_in: bool,
    /// Names that wait, by their ids, and those that the pool has taken.
    asked: HashMap<String, String>,
    names: HashSet<String>,
    inbox: Vec<u8>,
    /// Lines of ours waited when the session became another: they come all the same.
    catches_up: bool,
}

impl Dialled {
    pub(super) fn new(link: LinkKey, host: String) -> Self {
        Self {
            link,
            host,
            connected: false,
            subscribes: false,
            stalled: false,
            pending: Vec::new(),
            logged_in: false,
            asked: HashMap::new(),
            names: HashSet::new(),
            inbox: Vec::new(),
            catches_up: false,
        }
    }
}

/// What was said on a link, over all its connections, of the session that it has.
#[derive(Default)]
pub(super) struct Told {
    host: String,
    /// The pool's own bytes in front, as digits, and how many it leaves.
    extranonce: Option<(String, usize)>,
    /// What the pool calls the session, where shares say so.
    session: Option<Box<[u8]>>,
    /// They hold from the next job on.
    next: Option<(String, usize)>,
    /// Job ids, as JSON text.
    jobs: HashSet<String>,
    /// By the bytes in front of a miner's own: who submitted with them last, and that miner's tellings.
    users: HashMap<String, Vec<(MinerToken, u32)>>,
}

impl Told {
    fn begin(&mut self, host: &str, extranonce: (String, usize)) {
        *self = Self {
            host: host.to_owned(),
            extranonce: Some(extranonce),
            ..Self::default()
        };
    }
}

impl Farm {
    /// One of the connections that are asked for or there.
    fn dial_of(&self, who: usize, connected: bool) -> Option<usize> {
        let fits = |place: &usize| self.dialled[*place].connected == connected;
        let places: Vec<usize> = (0..self.dialled.len()).filter(fits).collect();
        (!places.is_empty()).then(|| places[who % places.len()])
    }

    pub(super) fn answer_dial(&mut self, who: usize, input: &mut Input<'_>) {
        let Some(place) = self.dial_of(who, false) else {
            return;
        };
        let (link, now) = (self.dialled[place].link, self.scene.now);
        if input.byte() < 24 {
            self.dialled.remove(place);
            let end = LinkEnd::ConnectFailed;
            self.scene
                .exchange
                .handle_link_closed(now, link, end, "refused");
        } else {
            self.dialled[place].connected = true;
            // What an earlier connection announced holds no more.
            if let Some(told) = self.told.get_mut(&link.index) {
                told.next = None;
            }
            self.tell(|| format!("{link:?} connected"));
            self.scene.exchange.handle_link_connected(now, link);
        }
    }

    pub(super) fn close_link(&mut self, who: usize) {
        if let Some(place) = self.dial_of(who, true) {
            let link = self.dialled.remove(place).link;
            self.tell(|| format!("{link:?} reset"));
            let exchange = &mut self.scene.exchange;
            exchange.handle_link_closed(self.scene.now, link, LinkEnd::Reset, "");
        }
    }

    pub(super) fn stall(&mut self, who: usize) {
        if let Some(place) = self.dial_of(who, true) {
            self.dialled[place].stalled ^= true;
        }
    }

    fn pool_says(&mut self, place: usize, line: &[u8]) {
        let (link, host) = (self.dialled[place].link, self.dialled[place].host.clone());
        if !self.is_current(link) {
            return;
        }
        self.tell(|| format!("{link:?} {host} > {}", line.escape_ascii()));
        self.note(place, &host, line);
        self.scene.pool_says(link, line);
    }

    /// Keeps what a line means to the session of its link.
    fn note(&mut self, place: usize, host: &str, line: &[u8]) {
        let Ok(message) = self.reader.read(line) else {
            return;
        };
        let is_early = self.dialled[place].subscribes;
        let told = self.told.entry(self.dialled[place].link.index).or_default();
        if let Some(method) = message.method.and_then(Raw::as_str) {
            match self.dialect.read_pool_message(method, message.params) {
                Ok(PoolMessage::Job(job)) => {
                    if let Some(next) = told.next.take()
                        && Some(&next) != told.extranonce.as_ref()
                    {
                        told.begin(host, next);
                        let dialled = &mut self.dialled[place];
                        let unwritten = self.scene.exchange.unwritten(dialled.link);
                        dialled.catches_up = !unwritten.is_empty() || !dialled.asked.is_empty();
                    }
                    told.jobs
                        .insert(String::from_utf8_lossy(&job.pool_id).into_owned());
                }
                // Before the answer to subscribe there is nothing that it could change.
                Ok(PoolMessage::Extranonce { .. }) if is_early => {}
                Ok(PoolMessage::Extranonce {
                    extranonce1,
                    extranonce2_len,
                }) => told.next = Some((format!("{extranonce1:?}"), extranonce2_len)),
                _ => {}
            }
            return;
        }
        let is_first = |id: Raw<'_>| {
            let text = id
                .as_str()
                .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            id.as_u64().or(text) == Some(1)
        };
        if !message.id.is_some_and(is_first) || !std::mem::take(&mut self.dialled[place].subscribes)
        {
            return;
        }
        let result = message
            .result
            .map(|result| self.dialect.read_subscription(result));
        let Some(Ok(subscription)) = result else {
            return;
        };
        told.next = None;
        let extranonce = (
            format!("{:?}", subscription.extranonce1),
            subscription.extranonce2_len,
        );
        // A session that the pool calls by the same name goes on.
        let session = subscription.share_session;
        if told.host != host
            || told.extranonce.as_ref() != Some(&extranonce)
            || told.session != session
        {
            told.begin(host, extranonce);
            told.session = session;
        }
        if let Some(job) = subscription.job {
            told.jobs
                .insert(String::from_utf8_lossy(&job.pool_id).into_owned());
        }
    }

    /// The answers to a handshake; with a job in front of the last one, or behind.
    pub(super) fn shake_hands(&mut self, who: usize, input: &mut Input<'_>) {
        let Some(place) = self.dial_of(who, true) else {
            return;
        };
        let how = input.byte();
        // Few different bytes, so that sessions come back, and links are given the same.
        let nonce_1 = [
            "a1b2c3d4",
            "a1b2c3d5",
            "b1",
            "c1c2c3",
            "",
            "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
            "a1b2c3d400",
            "a1b2c3d40000",
        ][usize::from(how & 7)];
        let link = self.dialled[place].link;
        if self.coin == Coin::Monero {
            let id = ["s1", "s2"][usize::from(how >> 7)];
            let job = monero_job("1", usize::from(how >> 4) & 3);
            let extensions = if how & 64 > 0 {
                r#","extensions":["nicehash"]"#
            } else {
                ""
            };
            let line = format!(
                r#"{{"id":1,"result":{{"id":"{id}","job":{job},"status":"OK"{extensions}}},"error":null}}"#
            );
            return self.pool_says(place, line.as_bytes());
        }
        let mut lines = vec![match self.coin {
            Coin::Bitcoin => {
                let size = [8, 4, 3, 2][usize::from(how >> 4) & 3];
                format!(
                    r#"{{"id":1,"result":[[["mining.notify","s1"]],"{nonce_1}",{size}],"error":null}}"#
                )
            }
            _ => format!(r#"{{"id":1,"result":["s1","{nonce_1}"],"error":null}}"#),
        }];
        if how & 128 > 0 {
            let mask =
                r#"{"id":4,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"}}"#;
            lines.insert(0, mask.to_owned());
        }
        if how & 64 > 0 {
            lines.push(self.job_line(how, true));
        }
        lines.push(r#"{"id":2,"result":true,"error":null}"#.to_owned());
        for line in lines {
            if let Some(place) = self.dialled.iter().position(|dialled| dialled.link == link) {
                self.pool_says(place, line.as_bytes());
            }
        }
    }

    fn job_line(&self, what: u8, clean: bool) -> String {
        // Ids come again, and mean other work then.
        let id = ["\"j1\"", "\"j2\"", "3", "\"j-\\u00e9\""][usize::from(what & 3)];
        let content = usize::from(what >> 2) & 15;
        let zeros = "0".repeat(64);
        let params = match self.coin {
            Coin::Equihash(_) => format!(
                r#"[{id},"04000000","{content:064x}","{zeros}","{zeros}","{}","1f07ffff",{clean}]"#,
                job_time()
            ),
            Coin::Bitcoin => format!(
                r#"[{id},"{content:064x}","00","00",[],"20000000","17053894","{:08x}",{clean}]"#,
                JOB_UNIX_SECONDS
            ),
            Coin::Monero => {
                let job = monero_job(&id.replace(['"', '\\'], ""), content);
                return format!(r#"{{"jsonrpc":"2.0","method":"job","params":{job}}}"#);
            }
        };
        format!(r#"{{"id":null,"method":"mining.notify","params":{params}}}"#)
    }

    pub(super) fn announce(&mut self, who: usize, input: &mut Input<'_>) {
        let what = input.byte();
        if let Some(place) = self.dial_of(who, true) {
            let line = self.job_line(what, what & 64 > 0);
            self.pool_says(place, line.as_bytes());
        }
    }

    pub(super) fn set_target(&mut self, who: usize, input: &mut Input<'_>) {
        let number = 1 + u32::from(input.byte());
        if let Some(place) = self.dial_of(who, true) {
            let line = match self.coin {
                Coin::Equihash(_) => {
                    format!(r#"{{"id":null,"method":"mining.set_target","params":["{number:x}"]}}"#)
                }
                _ => {
                    format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{number}]}}"#)
                }
            };
            self.pool_says(place, line.as_bytes());
        }
    }

    pub(super) fn set_extranonce(&mut self, who: usize, input: &mut Input<'_>) {
        let how = input.byte();
        if let Some(place) = self.dial_of(who, true) {
            let nonce_1 = ["a1b2c3d4", "d1d2d3", "e1e2e3e4e5", "b1"][usize::from(how & 3)];
            let size = [8, 4, 3, 1][usize::from(how >> 2) & 3];
            let line = format!(
                r#"{{"id":null,"method":"mining.set_extranonce","params":["{nonce_1}",{size}]}}"#
            );
            self.pool_says(place, line.as_bytes());
        }
    }

    /// An answer to a share that waits, to none, or to one that was answered before.
    pub(super) fn judge(&mut self, who: usize, input: &mut Input<'_>) {
        let how = input.byte();
        let Some(place) = self.dial_of(who, true) else {
            return;
        };
        let pending = &mut self.dialled[place].pending;
        if pending.is_empty() {
            return;
        }
        let at = usize::from(how >> 4) % pending.len();
        let id = if how & 8 > 0 {
            pending[at].clone()
        } else {
            pending.remove(at)
        };
        // A second answer counts for nothing.
        if let Some(name) = self.dialled[place].asked.remove(&id)
            && how & 7 < 4
        {
            self.dialled[place].names.insert(name);
        }
        let verdict = match how & 7 {
            0..=3 => r#""result":true,"error":null"#,
            4 => r#""result":null,"error":[23,"low difficulty",null]"#,
            5 => r#""result":false,"error":null,"reject-reason":"stale""#,
            6 => r#""result":null,"error":{"code":22,"message":"duplicate share"}"#,
            _ => r#""error":"21:stale""#,
        };
        let line = format!(r#"{{"id":{id},{verdict}}}"#);
        self.pool_says(place, line.as_bytes());
    }

    pub(super) fn pool_says_anything(&mut self, who: usize, input: &mut Input<'_>) {
        let len = usize::from(input.byte());
        let lines = input.take(len);
        let Some(place) = self.dial_of(who, true) else {
            return;
        };
        let link = self.dialled[place].link;
        for line in lines.split(|&byte| byte == b'\n') {
            if let Some(place) = self.dialled.iter().position(|dialled| dialled.link == link) {
                self.pool_says(place, line);
            }
        }
    }

    pub(super) fn write_to_pools(&mut self) {
        for place in 0..self.dialled.len() {
            let Dialled {
                link,
                connected,
                stalled,
                ..
            } = self.dialled[place];
            let bytes = self.scene.exchange.unwritten(link).to_vec();
            if !connected || bytes.is_empty() {
                continue;
            }
            // One that takes bytes slowly takes half a line.
            let len = if stalled {
                bytes.len().min(40)
            } else {
                bytes.len()
            };
            self.scene.exchange.wrote(self.scene.now, link, len);
            self.dialled[place].inbox.extend_from_slice(&bytes[..len]);
            let mut inbox = std::mem::take(&mut self.dialled[place].inbox);
            let whole = inbox
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |end| end + 1);
            for line in written::lines(&inbox[..whole]) {
                self.reaches_pool(place, &line);
            }
            inbox.drain(..whole);
            self.dialled[place].inbox = inbox;
            let dialled = &mut self.dialled[place];
            let is_all = self.scene.exchange.unwritten(link).is_empty();
            dialled.catches_up &= !is_all || !dialled.asked.is_empty();
        }
    }

    fn reaches_pool(&mut self, place: usize, line: &Value) {
        self.tell(|| format!("{:?} < {line}", self.dialled[place].link));
        let catches_up = self.dialled[place].catches_up;
        match line["method"].as_str() {
            Some("mining.submit" | "submit") if catches_up => {}
            Some("mining.subscribe" | "login") => self.dialled[place].subscribes = true,
            Some("mining.authorize") => self.name_reaches_pool(place, line),
            Some("mining.submit" | "submit") => self.share_reaches_pool(place, line),
            _ => {}
        }
    }

    fn name_reaches_pool(&mut self, place: usize, line: &Value) {
        let dialled = &mut self.dialled[place];
        if !std::mem::replace(&mut dialled.logged_in, true) {
            return;
        }
        assert!(self.is_named, "OUR OWN WORKER LOGS IN ONCE: {line}");
        let name = line["params"][0].as_str().expect("a name").to_owned();
        assert!(!name.contains(char::is_control), "A NAME IS PLAIN: {line}");
        let id = line["id"].to_string();
        dialled.asked.insert(id.clone(), name);
        dialled.pending.push(id);
    }

    fn share_reaches_pool(&mut self, place: usize, line: &Value) {
        let link = self.dialled[place].link;
        self.dialled[place].pending.push(line["id"].to_string());
        let told = self.told.get_mut(&link.index).expect("a session");
        let params = &line["params"];
        if self.is_named {
            let name = params[0].as_str().expect("a name");
            assert!(
                self.dialled[place].names.contains(name),
                "A SHARE GOES OUT UNDER A NAME THAT ITS POOL HAS TAKEN: {line}"
            );
        }
        let (job, number) = match self.coin {
            Coin::Equihash(_) => (
                &params[1],
                params[4].as_str().and_then(|text| text.get(2..)),
            ),
            Coin::Bitcoin => (&params[1], params[4].as_str()),
            Coin::Monero => (&params["job_id"], params["result"].as_str()),
        };
        let known = told
            .jobs
            .iter()
            .any(|known| serde_json::from_str::<Value>(known).is_ok_and(|known| known == *job));
        assert!(
            known,
            "A SHARE REACHES A POOL ONLY UNDER A JOB OF ITS SESSION: {line}"
        );
        // One that no miner of ours made on purpose has no number.
        let number = number
            .and_then(|digits| usize::from_str_radix(digits.trim_start_matches('0'), 16).ok());
        let number = number.and_then(|number| number.checked_sub(SHARE_FIRST));
        let Some(share) = number.and_then(|number| self.shares.get(number)) else {
            return;
        };
        assert!(
            !self.is_named || params[0] == share.worker || self.raw_submits,
            "A SHARE GOES OUT UNDER ITS OWN NAME: {line}"
        );
        let Some(nonce_1) = &share.nonce_1 else {
            return;
        };
        let (extranonce1, _) = told.extranonce.as_ref().expect("a session has one");
        let nonce = match self.coin {
            Coin::Equihash(_) => params[3]
                .as_str()
                .map(|rest| format!("{extranonce1}{rest}")),
            Coin::Bitcoin => params[2]
                .as_str()
                .map(|rest| format!("{extranonce1}{rest}")),
            Coin::Monero => params["nonce"].as_str().map(str::to_owned),
        };
        let found = match self.coin {
            Coin::Monero => format!("{}{}", share.nonce_2, nonce_1),
            _ => format!("{}{}", nonce_1, share.nonce_2),
        };
        // A line that the fuzzer wrote may bear any number: it is somebody else's share then.
        if nonce.as_deref() != Some(&found) {
            assert!(
                self.raw_submits,
                "A SHARE GOES OUT AS IT WAS FOUND: {line} {found}"
            );
            return;
        }
        let users = told.users.entry(nonce_1.clone()).or_default();
        let user = (share.miner, share.tellings);
        if let Some(before) = users.iter().position(|known| *known == user) {
            let others = users[before + 1..].iter().filter(|(other, tellings)| {
                let other_now = &self.miners[other.index as usize];
                other_now.token == Some(*other) && other_now.tellings() == *tellings
            });
            assert_eq!(
                others.count(),
                0,
                "NO TWO LIVE MINERS SHARE NONCE SPACE: {line}"
            );
        } else {
            users.push(user);
        }
    }
}

/// A job of Monero: a blob of 76 bytes whose nonce is zero.
fn monero_job(id: &str, content: usize) -> String {
    let start = "07".repeat(39);
    let rest = format!("{content:066x}");
    format!(r#"{{"blob":"{start}00000000{rest}","job_id":"{id}","target":"b88d0600"}}"#)
}
