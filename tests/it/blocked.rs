//! Miners that don't take what they are sent, plain and with TLS: who takes nothing for a while is closed for
//! it, and who takes it slowly is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::scrape::Admin;
use crate::support::tls::{Certificates, Client, TLS_1_2, TLS_1_3};
use crate::support::{AutoPool, Config, PATIENCE, Proxy};

/// A proxy of one shard that closes who takes no byte for a second, and keeps a lot for each until then.
struct Hall {
    proxy: Proxy,
    admin: Admin,
    _certificates: Certificates,
    _pool: AutoPool,
}

/// As the log and the metrics call it.
const BLOCKED: &str = "stratum_miner_closes_total{proxy=\"zcash\",reason=\"blocked\"}";

impl Hall {
    fn open() -> Self {
        let (pool, certificates) = (AutoPool::accepts_all(), Certificates::new());
        let config = Config::new(&pool.url())
            .listen_key(&certificates.key(", mode: auto"))
            .key(
                "limits: { miner_blocked_seconds: 1, miner_outbox_bytes_max: 33554432, \
                 messages_per_second_max: 0 }",
            );
        let yaml = format!("{}{}", Admin::KEY, config.yaml());
        let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
        Self {
            admin: Admin::of(&proxy),
            proxy,
            _certificates: certificates,
            _pool: pool,
        }
    }

    fn address(&self) -> SocketAddr {
        self.proxy.address("zcash")
    }

    /// Sends lines whose answers, which nobody reads, are 10 MB: more than a kernel takes for one connection.
    fn ask_until_blocked(&self, mut send: impl FnMut(&[u8])) {
        let ask = "\"method\":\"mining.multi_version\",\"params\":[1]";
        let lines: String = (0..2000)
            .map(|id| format!("{{\"id\":\"{id:060}\",{ask}}}\n"))
            .collect();
        let series = "stratum_miner_sends_cut_short_total{proxy=\"zcash\"}";
        let before = self.admin.scrape().value(series);
        for _ in 0..50 {
            send(lines.as_bytes());
        }
        self.admin.scrape_until(|it| it.value(series) > before);
    }

    /// One that does not read, with TLS where a client says which; and its socket.
    fn deaf(&self, client: Option<&Client>) -> TcpStream {
        match client {
            None => {
                let mut socket = narrow(self.address());
                self.ask_until_blocked(|lines| socket.write_all(lines).unwrap());
                socket
            }
            Some(client) => {
                let (mut connection, mut socket) = (client.connection(), narrow(self.address()));
                while connection.is_handshaking() {
                    connection.complete_io(&mut socket).unwrap();
                }
                connection.set_buffer_limit(None);
                self.ask_until_blocked(|lines| {
                    connection.writer().write_all(lines).unwrap();
                    while connection.wants_write() {
                        connection.write_tls(&mut socket).unwrap();
                    }
                });
                socket
            }
        }
    }
}

/// Its kernel takes only so much more than it has read, and says so soon when it reads.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn clients() -> [Option<Client>; 3] {
    [None, Some(Client::new(TLS_1_2)), Some(Client::new(TLS_1_3))]
}

#[test]
fn a_miner_that_takes_nothing_for_a_while_is_closed_for_it_with_tls_or_without() {
    let hall = Hall::open();
    for (count, client) in (1_u32..).zip(clients()) {
        let mut deaf = hall.deaf(client.as_ref());
        hall.admin
            .scrape_until(|it| it.value(BLOCKED) == f64::from(count));
        hall.proxy.log_contains("reason=blocked");
        // With a reset: what lay in the kernel for it is gone.
        let mut bytes = [0; 16 * 1024];
        let end = loop {
            match deaf.read(&mut bytes) {
                Ok(0) => break "a FIN".to_owned(),
                Ok(_) => {}
                Err(error) => break error.kind().to_string(),
            }
        };
        assert_eq!(end, "connection reset");
    }
}

#[test]
fn a_miner_that_reads_slowly_all_the_time_is_not_closed_with_tls_or_without() {
    let hall = Hall::open();
    for client in clients() {
        let mut slow = hall.deaf(client.as_ref());
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        // A part of what the kernel has for it, in several times the time after which it would be closed.
        let mut bytes = [0; 16 * 1024];
        let start = Instant::now();
        let mut taken = 0;
        while start.elapsed() < Duration::from_secs(4) {
            let len = slow.read(&mut bytes).expect("it is still there");
            assert_ne!(len, 0, "closed after {taken} bytes");
            taken += len;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(hall.admin.scrape().value(BLOCKED), 0.0, "{taken} bytes");
    }
}
