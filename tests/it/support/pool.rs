//! A pool that says and expects what the test tells it to.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::line::{Heard, LineSocket};
use super::{A_MOMENT, Json, PATIENCE, TARGET};

/// The listening side. Nothing happens on it but what the test calls.
#[derive(Debug)]
pub(crate) struct FakePool {
    listener: TcpListener,
    address: SocketAddr,
}

impl FakePool {
    pub(crate) fn start() -> Self {
        Self::closed().open()
    }

    /// A pool whose kernel takes only so many bytes more than it has read, and says so soon when it reads.
    pub(crate) fn narrow(bytes: usize) -> Self {
        let pool = Self::closed();
        pool.socket.set_recv_buffer_size(bytes).unwrap();
        pool.open()
    }

    /// A pool that is down: its port is taken, and whoever connects is refused.
    pub(crate) fn closed() -> ClosedPool {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        ClosedPool { socket, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("stratum+tcp://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next connection of the proxy.
    pub(crate) fn accept_link(&self) -> PoolLink {
        self.accept_within(PATIENCE)
            .expect("the proxy connects to the pool")
    }

    pub(crate) fn accept_within(&self, patience: Duration) -> Option<PoolLink> {
        let deadline = Instant::now() + patience;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    return Some(PoolLink::new(LineSocket::new(stream)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("accept: {error}"),
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn expect_no_link(&self) {
        assert!(
            self.accept_within(A_MOMENT).is_none(),
            "the proxy connected once more"
        );
    }

    /// The next connection, with the handshake done and the job `pool-job-1` announced.
    pub(crate) fn accept_ready(&self, nonce_1: &str) -> PoolLink {
        let mut link = self.accept_link();
        link.welcome(nonce_1);
        link.notify(&PoolJob::new("pool-job-1"));
        link
    }
}

/// See [`FakePool::closed`].
#[derive(Debug)]
pub(crate) struct ClosedPool {
    socket: Socket,
    address: SocketAddr,
}

impl ClosedPool {
    pub(crate) fn url(&self) -> String {
        format!("stratum+tcp://{}", self.address)
    }

    /// The pool comes up.
    pub(crate) fn open(self) -> FakePool {
        self.socket.listen(128).unwrap();
        let listener = TcpListener::from(self.socket);
        listener.set_nonblocking(true).unwrap();
        FakePool {
            listener,
            address: self.address,
        }
    }
}

/// A pool that neither takes nor refuses a connection: its queue is full, so whoever connects waits.
#[derive(Debug)]
pub(crate) struct DeafPool {
    listener: Socket,
    _queued: Vec<Socket>,
}

impl DeafPool {
    pub(crate) fn start() -> Self {
        let ClosedPool { socket, address } = FakePool::closed();
        socket.listen(0).unwrap();
        let mut queued = Vec::new();
        loop {
            let peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let connected = peer.connect_timeout(&address.into(), A_MOMENT);
            queued.push(peer);
            if connected.is_err() {
                break;
            }
        }
        Self {
            listener: socket,
            _queued: queued,
        }
    }

    pub(crate) fn url(&self) -> String {
        let address = self.listener.local_addr().unwrap().as_socket().unwrap();
        format!("stratum+tcp://{address}")
    }
}

/// A job in the words of the pool. Fields are the JSON strings of the notify, in its order.
#[derive(Clone, Debug)]
pub(crate) struct PoolJob {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) previous: String,
    pub(crate) merkle: String,
    pub(crate) reserved: String,
    pub(crate) time: String,
    pub(crate) bits: String,
    pub(crate) clean: bool,
    /// What follows the clean flag, as JSON.
    pub(crate) extras: Vec<String>,
}

impl PoolJob {
    /// A clean job whose content follows from its id, so that two ids have two contents.
    pub(crate) fn new(id: &str) -> Self {
        let seed = id.bytes().fold(7u64, |hash, byte| {
            hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        Self {
            id: id.to_owned(),
            version: "04000000".to_owned(),
            previous: "5274b43b9e4ad8f43e93f78463d24dcfe531aeb4719819f4f97f7e0300000000".to_owned(),
            merkle: format!("{seed:016x}").repeat(4),
            reserved: "0".repeat(64),
            time: "a8becc5b".to_owned(),
            bits: "e1ab031c".to_owned(),
            clean: true,
            extras: Vec::new(),
        }
    }

    pub(crate) fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    pub(crate) fn params(&self) -> String {
        let fields = [
            &self.id,
            &self.version,
            &self.previous,
            &self.merkle,
            &self.reserved,
            &self.time,
            &self.bits,
        ];
        let mut out = String::from("[");
        for field in fields {
            out.push_str(&format!("{},", Json::from(field.as_str())));
        }
        out.push_str(&self.clean.to_string());
        for extra in &self.extras {
            out.push_str(&format!(",{extra}"));
        }
        out.push(']');
        out
    }
}

/// A request of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: Json,
    pub(crate) method: String,
    pub(crate) params: Json,
    pub(crate) raw: String,
}

/// A `mining.submit` of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Submit {
    pub(crate) id: Json,
    pub(crate) worker: String,
    pub(crate) job: String,
    pub(crate) time: String,
    pub(crate) nonce_2: String,
    pub(crate) solution: String,
    pub(crate) raw: String,
}

/// One connection of the proxy, seen from the pool.
#[derive(Debug)]
pub(crate) struct PoolLink {
    socket: LineSocket,
    subscribe_id: Json,
    authorize_id: Json,
}

impl PoolLink {
    pub(crate) fn new(socket: LineSocket) -> Self {
        Self {
            socket,
            subscribe_id: Json::Null,
            authorize_id: Json::Null,
        }
    }

    /// Subscribe, authorize and a target: what every pool says before its first job.
    pub(crate) fn welcome(&mut self, nonce_1: &str) {
        self.expect_subscribe();
        self.reply_subscribe(nonce_1);
        self.expect_authorize();
        self.reply_authorize();
        self.set_target(TARGET);
    }

    pub(crate) fn expect_subscribe(&mut self) -> Request {
        let request = self.expect("mining.subscribe");
        self.subscribe_id = request.id.clone();
        request
    }

    pub(crate) fn reply_subscribe(&mut self, nonce_1: &str) {
        self.reply_subscribe_with(&format!("[null,\"{nonce_1}\"]"));
    }

    /// The subscribe reply with a session id to resume with.
    pub(crate) fn reply_subscribe_session(&mut self, session: &str, nonce_1: &str) {
        self.reply_subscribe_with(&format!("[\"{session}\",\"{nonce_1}\"]"));
    }

    pub(crate) fn reply_subscribe_with(&mut self, result: &str) {
        let id = &self.subscribe_id;
        let line = format!("{{\"id\":{id},\"result\":{result},\"error\":null}}");
        self.send_line(&line);
    }

    pub(crate) fn expect_authorize(&mut self) -> Request {
        let request = self.expect("mining.authorize");
        self.authorize_id = request.id.clone();
        request
    }

    pub(crate) fn reply_authorize(&mut self) {
        let id = self.authorize_id.clone();
        self.accept(&id);
    }

    pub(crate) fn set_target(&mut self, target: &str) {
        self.send_line(&format!(
            "{{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"{target}\"]}}"
        ));
    }

    pub(crate) fn set_extranonce(&mut self, nonce_1: &str) {
        self.send_line(&format!(
            "{{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"{nonce_1}\"]}}"
        ));
    }

    pub(crate) fn notify(&mut self, job: &PoolJob) {
        let params = job.params();
        self.send_line(&format!(
            "{{\"id\":null,\"method\":\"mining.notify\",\"params\":{params}}}"
        ));
    }

    pub(crate) fn expect_submit(&mut self) -> Submit {
        let Request {
            id, params, raw, ..
        } = self.expect("mining.submit");
        assert!(params.items().len() >= 5, "five params: {raw}");
        let field = |index: usize| params.at(index).text().to_owned();
        Submit {
            id,
            worker: field(0),
            job: field(1),
            time: field(2),
            nonce_2: field(3),
            solution: field(4),
            raw,
        }
    }

    pub(crate) fn accept(&mut self, id: &Json) {
        self.send_line(&format!("{{\"id\":{id},\"result\":true,\"error\":null}}"));
    }

    pub(crate) fn reject(&mut self, id: &Json, code: i64, text: &str) {
        self.send_line(&format!(
            "{{\"id\":{id},\"result\":null,\"error\":[{code},\"{text}\",null]}}"
        ));
    }

    /// The next request, which must be of this method. A `mining.extranonce.subscribe` before it is
    /// answered with true, as the proxy may send one whenever it likes.
    pub(crate) fn expect(&mut self, method: &str) -> Request {
        loop {
            let request = self
                .next_request(PATIENCE)
                .unwrap_or_else(|heard| panic!("{method} expected, not {heard:?}"));
            if request.method == method {
                return request;
            }
            assert_eq!(
                request.method, "mining.extranonce.subscribe",
                "{method} expected"
            );
            self.accept(&request.id);
        }
    }

    /// The next request of the proxy, or what came in its place.
    pub(crate) fn next_request(&mut self, patience: Duration) -> Result<Request, Heard> {
        let raw = match self.socket.hear(patience) {
            Heard::Line(raw) => raw,
            other => return Err(other),
        };
        assert!(!raw.contains('\r'), "a carriage return: {raw:?}");
        let json = Json::parse(&raw).expect("JSON from the proxy");
        assert!(!json.get("id").is_null(), "a request has an id: {raw}");
        Ok(Request {
            id: json.get("id").clone(),
            method: json.get("method").text().to_owned(),
            params: json.get("params").clone(),
            raw,
        })
    }

    /// The next line, whatever it is.
    pub(crate) fn expect_line(&mut self) -> String {
        match self.socket.hear(PATIENCE) {
            Heard::Line(raw) => raw,
            other => panic!("a line expected, not {other:?}"),
        }
    }

    /// Fails if a share comes within a moment.
    pub(crate) fn expect_no_submit(&mut self) {
        match self.next_request(A_MOMENT) {
            Ok(request) => assert_ne!(request.method, "mining.submit", "{}", request.raw),
            Err(heard) => assert_eq!(heard, Heard::Silence),
        }
    }

    /// The proxy hangs up. What it still sends is passed over.
    pub(crate) fn expect_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.socket.hear(PATIENCE) {
                Heard::Closed => return,
                Heard::Line(_) | Heard::Silence => {}
            }
        }
        panic!("the proxy keeps the link");
    }

    pub(crate) fn expect_open(&mut self) {
        assert_ne!(
            self.socket.hear(A_MOMENT),
            Heard::Closed,
            "the link is gone"
        );
    }

    pub(crate) fn send_line(&mut self, line: &str) {
        self.socket.send_line(line);
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.send(bytes);
    }

    /// Goes away with a reset.
    pub(crate) fn reset(self) {
        self.socket.reset();
    }

    /// Goes away with a FIN.
    pub(crate) fn close(self) {
        drop(self);
    }
}
