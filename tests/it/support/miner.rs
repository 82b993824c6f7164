//! A miner that says and expects what the test tells it to.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::equihash::{SET_200_9, Set};
use super::line::{Heard, LineSocket};
use super::{A_MOMENT, Json, PATIENCE, Proxy};

/// A job as the proxy announced it, with the target and the `nonce_1` in force.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) time: String,
    pub(crate) clean: bool,
    pub(crate) params: Json,
    pub(crate) target: Option<String>,
    pub(crate) nonce_1: String,
}

/// The five params of a submit. Fields are public so that a test can spoil them.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) worker: String,
    pub(crate) job: String,
    pub(crate) time: String,
    pub(crate) nonce_2: String,
    pub(crate) solution: String,
}

impl Share {
    pub(crate) fn params(&self) -> String {
        let fields = [
            &self.worker,
            &self.job,
            &self.time,
            &self.nonce_2,
            &self.solution,
        ];
        let quoted: Vec<String> = fields
            .iter()
            .map(|field| Json::from(field.as_str()).to_string())
            .collect();
        format!("[{}]", quoted.join(","))
    }
}

/// A reply of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) id: Json,
    pub(crate) result: Json,
    pub(crate) error: Json,
    pub(crate) raw: String,
}

impl Reply {
    /// The code of the error, or `None` where there is no error.
    pub(crate) fn code(&self) -> Option<i64> {
        self.error.at(0).integer()
    }

    pub(crate) fn error_text(&self) -> &str {
        self.error.at(1).text()
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.result == Json::Bool(true) && self.error.is_null()
    }

    #[track_caller]
    pub(crate) fn assert_accepted(&self) {
        assert!(self.is_accepted(), "not accepted: {}", self.raw);
    }

    /// An error is a ZIP 301 array of three, beside a null result.
    #[track_caller]
    pub(crate) fn assert_error(&self, code: i64) {
        assert!(self.result.is_null(), "a result: {}", self.raw);
        assert_eq!(self.error.items().len(), 3, "three parts: {}", self.raw);
        assert_eq!(self.code(), Some(code), "{}", self.raw);
        assert!(!self.error_text().is_empty(), "a text: {}", self.raw);
        assert!(self.error.at(2).is_null(), "null at the end: {}", self.raw);
    }
}

/// How the proxy took bad input.
#[derive(Debug)]
pub(crate) enum Taken {
    Answered(Reply),
    Closed,
}

/// One miner. Notices that come while it waits for a reply are kept, in order.
#[derive(Debug)]
pub(crate) struct FakeMiner {
    socket: LineSocket,
    pub(crate) set: Set,
    pub(crate) worker: String,
    pub(crate) nonce_1: String,
    target: Option<String>,
    notices: VecDeque<Json>,
    next_id: u64,
}

impl FakeMiner {
    /// Connects to the first listener.
    pub(crate) fn connect(proxy: &Proxy) -> Self {
        Self::connect_to(proxy.any_address())
    }

    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        Self::on(LineSocket::connect(address))
    }

    /// Connects from another address of this machine, 127.0.0.x.
    pub(crate) fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        Self::on(LineSocket::connect_from(source, address))
    }

    fn on(socket: LineSocket) -> Self {
        Self {
            socket,
            set: SET_200_9,
            worker: String::new(),
            nonce_1: String::new(),
            target: None,
            notices: VecDeque::new(),
            next_id: 1,
        }
    }

    /// Connects and goes through the handshake; the pool must be up or play by itself.
    pub(crate) fn mining(proxy: &Proxy, worker: &str) -> (Self, Job) {
        Self::mining_at(proxy.any_address(), worker)
    }

    pub(crate) fn mining_at(address: SocketAddr, worker: &str) -> (Self, Job) {
        let mut miner = Self::connect_to(address);
        let job = miner.start_mining(worker);
        (miner, job)
    }

    /// Goes through the handshake, to the first job.
    pub(crate) fn start_mining(&mut self, worker: &str) -> Job {
        self.subscribe();
        self.authorize(worker);
        self.expect_job()
    }

    // Requests.

    pub(crate) fn send_request(&mut self, method: &str, params: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send_line(&format!(
            "{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}"
        ));
        id
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn request(&mut self, method: &str, params: &str) -> Reply {
        let id = self.send_request(method, params);
        self.expect_result(id)
    }

    pub(crate) fn send_subscribe(&mut self) -> u64 {
        self.send_request(
            "mining.subscribe",
            "[\"fake/1.0\",null,\"proxy.local\",3333]",
        )
    }

    pub(crate) fn subscribe(&mut self) -> String {
        let id = self.send_subscribe();
        self.expect_subscribed(id)
    }

    /// The reply to a subscribe; returns `nonce_1`.
    pub(crate) fn expect_subscribed(&mut self, id: u64) -> String {
        let reply = self.expect_result(id);
        assert!(reply.error.is_null(), "refused: {}", reply.raw);
        assert_eq!(reply.result.items().len(), 2, "{}", reply.raw);
        reply.result.at(1).text().clone_into(&mut self.nonce_1);
        self.nonce_1.clone()
    }

    pub(crate) fn authorize(&mut self, worker: &str) {
        let params = format!("[{},\"x\"]", Json::from(worker));
        self.request("mining.authorize", &params).assert_accepted();
        if self.worker.is_empty() {
            worker.clone_into(&mut self.worker);
        }
    }

    /// A request that changes nothing. When its reply is the next one, no other was on its way.
    #[track_caller]
    pub(crate) fn expect_no_other_reply(&mut self) {
        self.request("mining.multi_version", "[1]");
    }

    // Shares.

    /// A share with the right shape, another one for each seed.
    pub(crate) fn share(&self, job: &Job, seed: u64) -> Share {
        let digits = 64 - job.nonce_1.len();
        Share {
            worker: self.worker.clone(),
            job: job.id.clone(),
            time: job.time.clone(),
            nonce_2: format!("{seed:0digits$x}"),
            solution: self.set.solution(seed),
        }
    }

    pub(crate) fn send_share(&mut self, share: &Share) -> u64 {
        self.send_request("mining.submit", &share.params())
    }

    /// Sends a share with the right shape and returns its request id.
    pub(crate) fn submit(&mut self, job: &Job, seed: u64) -> u64 {
        let share = self.share(job, seed);
        self.send_share(&share)
    }

    // What must come.

    /// The next reply, which must be the one to this request.
    #[track_caller]
    pub(crate) fn expect_result(&mut self, id: u64) -> Reply {
        let reply = self.expect_reply();
        assert_eq!(reply.id, Json::from(id), "another's reply: {}", reply.raw);
        reply
    }

    #[track_caller]
    pub(crate) fn expect_accepted(&mut self, id: u64) {
        self.expect_result(id).assert_accepted();
    }

    #[track_caller]
    pub(crate) fn expect_error(&mut self, id: u64, code: i64) -> Reply {
        let reply = self.expect_result(id);
        reply.assert_error(code);
        reply
    }

    /// The next reply to any request; notices on the way are kept.
    #[track_caller]
    pub(crate) fn expect_reply(&mut self) -> Reply {
        match self.reply_or_close() {
            Taken::Answered(reply) => reply,
            Taken::Closed => panic!("closed instead of a reply"),
        }
    }

    /// The next reply, or the end of the connection.
    #[track_caller]
    pub(crate) fn reply_or_close(&mut self) -> Taken {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no reply");
            let raw = match self.socket.hear(PATIENCE) {
                Heard::Line(raw) => raw,
                Heard::Closed => return Taken::Closed,
                Heard::Silence => panic!("no reply, and no close"),
            };
            let json = parse(&raw);
            if *json.get("method") == Json::Null {
                return Taken::Answered(Reply {
                    id: json.get("id").clone(),
                    result: json.get("result").clone(),
                    error: json.get("error").clone(),
                    raw,
                });
            }
            self.notices.push_back(json);
        }
    }

    /// The next `mining.notify`, with the target before it.
    #[track_caller]
    pub(crate) fn expect_job(&mut self) -> Job {
        loop {
            let notice = self.expect_notice();
            match notice.get("method").text() {
                "mining.set_target" => {
                    self.target = Some(notice.get("params").at(0).text().to_owned());
                }
                "mining.set_extranonce" => {
                    let nonce_1 = notice.get("params").at(0).text();
                    nonce_1.clone_into(&mut self.nonce_1);
                }
                "mining.notify" => {
                    let params = notice.get("params").clone();
                    return Job {
                        id: params.at(0).text().to_owned(),
                        time: params.at(5).text().to_owned(),
                        clean: *params.at(7) == Json::Bool(true),
                        target: self.target.clone(),
                        nonce_1: self.nonce_1.clone(),
                        params,
                    };
                }
                other => panic!("not a job: {other}"),
            }
        }
    }

    /// The next notification of any method.
    #[track_caller]
    pub(crate) fn expect_notice(&mut self) -> Json {
        if let Some(notice) = self.notices.pop_front() {
            return notice;
        }
        let raw = self.expect_line();
        let json = parse(&raw);
        assert!(json.get("id").is_null(), "a notice has no id: {raw}");
        assert!(!json.get("method").is_null(), "not a notice: {raw}");
        json
    }

    /// The next line as it came.
    #[track_caller]
    pub(crate) fn expect_line(&mut self) -> String {
        match self.socket.hear(PATIENCE) {
            Heard::Line(raw) => {
                parse(&raw);
                raw
            }
            other => panic!("a line expected, not {other:?}"),
        }
    }

    /// Nothing comes for a moment.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        assert_eq!(self.notices.pop_front(), None);
        assert_eq!(self.socket.hear(A_MOMENT), Heard::Silence);
    }

    /// The proxy closes the connection; returns the lines that came before.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        while Instant::now() < deadline {
            match self.socket.hear(PATIENCE) {
                Heard::Line(raw) => lines.push(raw),
                Heard::Closed => return lines,
                Heard::Silence => {}
            }
        }
        panic!("the proxy keeps the connection; it sent {lines:?}");
    }

    // The bare socket.

    pub(crate) fn send_line(&mut self, line: &str) {
        self.socket.send_line(line);
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.send(bytes);
    }

    /// What comes in this time, uninterpreted.
    pub(crate) fn hear(&mut self, patience: Duration) -> Heard {
        self.socket.hear(patience)
    }

    /// Whether the connection ended with a reset, and not with a FIN.
    pub(crate) fn was_reset(&self) -> bool {
        self.socket.was_reset()
    }

    pub(crate) fn finish(&mut self) {
        self.socket.finish();
    }

    pub(crate) fn reset(self) {
        self.socket.reset();
    }

    pub(crate) fn close(self) {
        drop(self);
    }

    /// A second handle, to write from another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.socket.another_handle()
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }
}

/// Every line to a miner is JSON, and ends in a bare line feed: some firmware drops the line when
/// its last byte is not `}`.
#[track_caller]
fn parse(raw: &str) -> Json {
    assert!(raw.ends_with('}'), "the last byte: {raw:?}");
    Json::parse(raw).unwrap_or_else(|error| panic!("{error}"))
}
