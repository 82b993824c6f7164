//! The miners: what they say, what their sockets take, and what they make of what they hear.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;
use stratum_uring::exchange::{CloseHow, CloseReason, MinerToken, Tag, Transmit};
use stratum_uring::proto::dialect::Coin;
use stratum_uring::wire::{Raw, RequestId};

use super::super::input::Input;
use super::super::written;
use super::{Farm, SHARE_FIRST, Share};

/// The workers that miners have.
const WORKERS: [&str; 2] = ["rig", "rig.2"];
/// Room beside the bound on what is queued: for the job, targets and nonce that are owed besides.
const SEND_ROOM: usize = 16 * 1024;

/// A send that was not taken whole: how much of it was, its pieces, and the bytes.
type Refused = (usize, Vec<(Tag, usize)>, Vec<u8>);

/// A miner and its socket.
#[derive(Default)]
pub(super) struct Miner {
    pub(super) token: Option<MinerToken>,
    generation: u32,
    /// By request id: lines said under it, how many of them are submits, and answers heard.
    said: HashMap<String, (u32, u32, u32)>,
    requests: u64,
    /// The newest job: its id, and the miner's nonce_1 (of Monero the slot's digits) with it.
    job: Option<(String, String)>,
    nonce_1: Option<String>,
    /// Bytes of extranonce2 that it was told to roll, where it was told.
    size: Option<usize>,
    /// How often it was told of a nonce space.
    tellings: u32,
    /// The params of a share that it may send again, and the place of that share among all.
    last_submit: Option<(String, usize)>,
    inbox: Vec<u8>,
    /// What its socket takes still; `None` is all.
    room: Option<usize>,
    /// What it did not take, for the exchange to be told.
    refused: Vec<Refused>,
    blocked: bool,
}

impl Miner {
    pub(super) const fn tellings(&self) -> u32 {
        self.tellings
    }

    fn tell_nonce(&mut self, nonce_1: &str) {
        if self.nonce_1.as_deref() != Some(nonce_1) {
            self.tellings += 1;
            self.nonce_1 = Some(nonce_1.to_owned());
        }
    }
}

/// The sockets during one flush.
struct Wire<'a> {
    miners: &'a mut [Miner],
    closed: Vec<(MinerToken, CloseReason)>,
    send_max: usize,
}

impl Wire<'_> {
    fn send(&mut self, token: MinerToken, bytes: Vec<u8>, pieces: Vec<(Tag, usize)>) {
        let miner = &mut self.miners[token.index as usize];
        assert_eq!(miner.token, Some(token), "A DEAD MINER IS SENT NOTHING");
        assert!(!bytes.is_empty(), "NOTHING IS NOT SENT");
        assert!(!miner.blocked, "A BLOCKED MINER IS SENT NOTHING");
        let len = bytes.len();
        assert!(
            len <= self.send_max,
            "WHAT IS QUEUED FOR A MINER HAS A BOUND: {len}"
        );
        let begun = !miner.refused.is_empty();
        let sent = miner.room.map_or(len, |room| room.min(len));
        let sent = if begun { 0 } else { sent };
        miner.inbox.extend_from_slice(&bytes[..sent]);
        miner.room = miner.room.map(|room| room - sent.min(room));
        if sent < len {
            miner.refused.push((sent, pieces, bytes));
        }
    }
}

impl Transmit for Wire<'_> {
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, tag: Tag) {
        self.send(miner, line.to_vec(), vec![(tag, line.len())]);
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        let bytes: Vec<&[u8]> = pieces.iter().map(|(bytes, _)| *bytes).collect();
        let named = pieces.iter().map(|(bytes, tag)| (*tag, bytes.len()));
        self.send(miner, bytes.concat(), named.collect());
    }

    fn close(&mut self, miner: MinerToken, _: CloseHow, reason: CloseReason) {
        self.closed.push((miner, reason));
    }
}

impl Farm {
    fn place(&self, who: usize) -> usize {
        who % self.miners.len()
    }

    pub(super) fn connect(&mut self, who: usize) {
        let place = self.place(who);
        if self.miners[place].token.is_some() {
            return;
        }
        let generation = self.miners[place].generation + 1;
        let token = MinerToken {
            index: u32::try_from(place).expect("few"),
            generation,
        };
        self.miners[place] = Miner {
            token: Some(token),
            generation,
            ..Miner::default()
        };
        self.scene.exchange.handle_connect(self.scene.now, token);
    }

    pub(super) fn disconnect(&mut self, who: usize) {
        let place = self.place(who);
        if let Some(token) = self.miners[place].token.take() {
            let exchange = &mut self.scene.exchange;
            exchange.handle_disconnect(token, CloseReason::Closed);
        }
    }

    /// A miner says a line, whatever it is.
    fn says(&mut self, place: usize, line: &[u8], is_raw: bool) {
        let Some(token) = self.miners[place].token else {
            return;
        };
        self.tell(|| format!("miner {place} > {}", line.escape_ascii()));
        let miner = &mut self.miners[place];
        let (id, is_submit) = match self.reader.read(line) {
            Ok(message) => {
                let id = match message.id {
                    Some(id) => RequestId::parse(id.bytes()),
                    None => Some(RequestId::NULL),
                };
                let method = message.method.and_then(Raw::as_str);
                let submit = matches!(
                    (self.coin, method),
                    (Coin::Monero, Some(b"submit"))
                        | (Coin::Equihash(_) | Coin::Bitcoin, Some(b"mining.submit"))
                );
                (
                    id.clone().unwrap_or(RequestId::NULL),
                    submit && id.is_some(),
                )
            }
            Err(_) => (RequestId::NULL, false),
        };
        // Two ways to write one number are one id here.
        let id: Value = serde_json::from_slice(id.as_bytes()).expect("an id is JSON");
        let said = miner.said.entry(id.to_string()).or_default();
        said.0 += 1;
        self.raw_submits |= is_raw && is_submit;
        said.1 += u32::from(is_submit);
        self.scene
            .exchange
            .handle_miner_line(self.scene.now, token, line);
    }

    fn next_id(&mut self, place: usize) -> u64 {
        self.miners[place].requests += 1;
        1000 + self.miners[place].requests
    }

    fn asks(&mut self, place: usize, method: &str, params: &str) {
        let id = self.next_id(place);
        let line = format!(r#"{{"id":{id},"method":"{method}","params":{params}}}"#);
        self.says(place, line.as_bytes(), false);
    }

    pub(super) fn greet(&mut self, who: usize, input: &mut Input<'_>) {
        let place = self.place(who);
        let how = input.byte();
        let worker = WORKERS[usize::from(how & 1)];
        if self.coin == Coin::Monero {
            let agent = ["xmrig/6", "pass/1"][usize::from(how & 2 > 0)];
            let params = format!(r#"{{"login":"{worker}","pass":"x","agent":"{agent}"}}"#);
            return self.asks(place, "login", &params);
        }
        if how & 4 > 0 {
            self.asks(place, "mining.extranonce.subscribe", "[]");
        }
        if how & 8 > 0 {
            let mask = r#"[["version-rolling","subscribe-extranonce"],{"version-rolling.mask":"1fffe000"}]"#;
            self.asks(place, "mining.configure", mask);
        }
        if how & 16 == 0 {
            let agent = [r#"["gminer"]"#, r#"["pass/1"]"#][usize::from(how & 2 > 0)];
            self.asks(place, "mining.subscribe", agent);
        }
        if how & 32 == 0 {
            self.asks(place, "mining.authorize", &format!(r#"["{worker}","x"]"#));
        }
    }

    /// A share for the miner's job, or now and then for another's.
    pub(super) fn submit(&mut self, who: usize, input: &mut Input<'_>) {
        let place = self.place(who);
        let how = input.byte();
        let other = self.place(usize::from(how >> 4));
        let from = if how & 15 == 1 { other } else { place };
        let (Some(token), Some((job, nonce_1))) =
            (self.miners[place].token, self.miners[from].job.clone())
        else {
            return;
        };
        let number = SHARE_FIRST + self.shares.len();
        let noise = u64::from(how) << 32 | number as u64;
        let params;
        let nonce_2;
        let worker = WORKERS[usize::from(how & 4 > 0 && self.is_named)];
        match self.coin {
            Coin::Equihash(_) => {
                let width = 64 - nonce_1.len().min(62);
                nonce_2 = format!("{noise:0width$x}");
                params = format!(
                    r#"["{worker}","{job}","{}","{nonce_2}","24{number:072x}"]"#,
                    super::scene::job_time()
                );
            }
            Coin::Bitcoin => {
                let width = 2 * self.miners[place].size.unwrap_or(4);
                let digits = format!("{noise:064x}");
                nonce_2 = digits[64 - width.min(64)..].to_owned();
                let bits = if how & 2 > 0 { r#","00002000""# } else { "" };
                params = format!(
                    r#"["{worker}","{job}","{nonce_2}","{:08x}","{number:08x}"{bits}]"#,
                    super::scene::JOB_UNIX_SECONDS
                );
            }
            Coin::Monero => {
                nonce_2 = format!("{:06x}", noise & 0xff_ffff);
                params = format!(
                    r#"{{"id":"1","job_id":"{job}","nonce":"{nonce_2}{nonce_1}","result":"{number:064x}"}}"#
                );
            }
        }
        self.shares.push(Share {
            miner: token,
            worker,
            // Under another's job it is no share that was found, and any slot is as good.
            nonce_1: (from == place).then_some(nonce_1),
            nonce_2,
            tellings: self.miners[place].tellings,
        });
        let method = if self.coin == Coin::Monero {
            "submit"
        } else {
            "mining.submit"
        };
        self.miners[place].last_submit = Some((params.clone(), self.shares.len() - 1));
        self.asks(place, method, &params);
    }

    /// The same share once more, perhaps from another miner.
    pub(super) fn submit_again(&mut self, who: usize, input: &mut Input<'_>) {
        let place = self.place(who);
        let from = if input.byte() < 200 { place } else { 0 };
        if from != place && self.coin == Coin::Monero {
            return;
        }
        if let Some((params, share)) = self.miners[from].last_submit.clone() {
            if from != place {
                // From now on it goes out under one slot or the other.
                self.shares[share].nonce_1 = None;
            }
            let method = if self.coin == Coin::Monero {
                "submit"
            } else {
                "mining.submit"
            };
            self.asks(place, method, &params);
        }
    }

    pub(super) fn miner_says_anything(&mut self, who: usize, input: &mut Input<'_>) {
        let place = self.place(who);
        let len = usize::from(input.byte());
        let line = input.take(len).to_vec();
        for line in line.split(|&byte| byte == b'\n') {
            self.says(place, line, true);
        }
    }

    /// A socket takes a few bytes more, or all of them.
    pub(super) fn takes_bytes(&mut self, who: usize, input: &mut Input<'_>) {
        let place = self.place(who);
        let room = usize::from(input.byte());
        self.tell_blocked(place);
        let miner = &mut self.miners[place];
        miner.room = (room < 255).then_some(4 * room);
        if let Some(token) = miner.token
            && std::mem::take(&mut miner.blocked)
        {
            self.scene.exchange.handle_writable(token);
        }
    }

    pub(super) fn takes_all(&mut self, who: usize) {
        self.takes_bytes(who, &mut Input::new(&[255]));
        self.finish_round();
    }

    /// The exchange is told what a socket did not take, as the ring does: later.
    fn tell_blocked(&mut self, place: usize) {
        let miner = &mut self.miners[place];
        let refused = std::mem::take(&mut miner.refused);
        let Some(token) = miner.token.filter(|_| !refused.is_empty()) else {
            return;
        };
        miner.blocked = true;
        for (sent, pieces, bytes) in refused {
            let pieces = pieces.into_iter();
            let exchange = &mut self.scene.exchange;
            exchange.handle_blocked(self.scene.now, token, sent, pieces, &bytes);
        }
    }

    pub(super) fn flush(&mut self) {
        // What was refused in the round before is told before more is sent.
        for place in 0..self.miners.len() {
            self.tell_blocked(place);
        }
        let mut wire = Wire {
            send_max: 2 * self.outbox_bytes_max + SEND_ROOM,
            miners: &mut self.miners,
            closed: Vec::new(),
        };
        self.scene.exchange.flush_some(&mut wire, self.fan_out_max);
        let closed = wire.closed;
        for place in 0..self.miners.len() {
            self.hears(place);
        }
        for (token, reason) in closed {
            self.closed(token, reason);
        }
    }

    fn hears(&mut self, place: usize) {
        let inbox = std::mem::take(&mut self.miners[place].inbox);
        let whole = inbox
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        for value in written::lines(&inbox[..whole]) {
            self.hears_line(place, &value);
        }
        self.miners[place].inbox = inbox[whole..].to_vec();
    }

    fn hears_line(&mut self, place: usize, line: &Value) {
        self.tell(|| format!("miner {place} < {line}"));
        let miner = &mut self.miners[place];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match line["method"].as_str() {
            Some("mining.notify") => {
                let nonce_1 = miner.nonce_1.clone().expect("A JOB IS FOR WHO MINES");
                miner.job = text(&line["params"][0]).map(|id| (id, nonce_1));
            }
            Some("job") => Self::hears_job(miner, &line["params"]),
            Some("mining.set_extranonce") => {
                let nonce_1 = text(&line["params"][0]).expect("nonce_1");
                miner.size = line["params"][1].as_u64().map(|size| size as usize);
                miner.tell_nonce(&nonce_1);
            }
            Some("mining.set_target" | "mining.set_difficulty" | "mining.set_version_mask") => {}
            Some(other) => panic!("a miner hears {other}"),
            None => {
                let id = line["id"].to_string();
                let Some((lines, _, answers)) = miner.said.get_mut(&id) else {
                    panic!("NO MINER GETS ANOTHER'S ANSWER: {line}");
                };
                *answers += 1;
                assert!(answers <= lines, "EVERY REQUEST GETS ONE ANSWER: {line}");
                match &line["result"] {
                    Value::Array(result) if self.coin != Coin::Monero && result.len() >= 2 => {
                        let nonce_1 = text(&result[1]).expect("nonce_1");
                        miner.size = result
                            .get(2)
                            .and_then(Value::as_u64)
                            .map(|size| size as usize);
                        miner.tell_nonce(&nonce_1);
                    }
                    Value::Object(result) if result.contains_key("job") => {
                        Self::hears_job(miner, &line["result"]["job"]);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A job of Monero, in which the slot stands.
    fn hears_job(miner: &mut Miner, job: &Value) {
        let blob = job["blob"].as_str().expect("a blob");
        let slot = blob.get(84..86).expect("a blob holds the nonce").to_owned();
        miner.tell_nonce(&slot);
        let id = job["job_id"].as_str().expect("an id of ours").to_owned();
        miner.job = Some((id, slot));
    }

    /// A miner's connection is over. At the end of a shutdown everything was answered before.
    fn closed(&mut self, token: MinerToken, reason: CloseReason) {
        let miner = &mut self.miners[token.index as usize];
        assert_eq!(miner.token.take(), Some(token), "a live miner is closed");
        let settled = miner.refused.is_empty() && !miner.blocked;
        if reason != CloseReason::Shutdown || !settled {
            return;
        }
        for (id, (lines, submits, answers)) in &miner.said {
            assert!(
                answers >= submits,
                "EVERY SUBMIT IS ANSWERED: {id} {lines} {submits} {answers}"
            );
        }
    }
}
