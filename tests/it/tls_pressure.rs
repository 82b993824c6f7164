//! TLS under pressure: more handshakes than there is time or room for, peers that begin and never finish, and
//! one that asks for more than it reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use socket2::{Domain, Socket, Type};

use crate::support::pool::DeafPool;
use crate::support::scrape::Admin;
use crate::support::tls::{Certificates, Client, TLS_1_2, TLS_1_3};
use crate::support::{AutoPool, Config, FakeMiner, PATIENCE, Proxy};

/// A proxy with TLS, on one shard.
struct Hall {
    proxy: Proxy,
    _certificates: Certificates,
    _pool: AutoPool,
    admin: Admin,
}

impl Hall {
    fn open(limits: &str) -> Self {
        let (pool, certificates) = (AutoPool::accepts_all(), Certificates::new());
        let config = Config::new(&pool.url())
            .listen_key(&certificates.key(""))
            .key(&format!("limits: {{ {limits} }}"));
        let yaml = format!("{}{}", Admin::KEY, config.yaml());
        let proxy = Proxy::start_with(&["--cores", "1"], &yaml);
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

    fn value(&self, name: &str) -> f64 {
        self.admin
            .scrape()
            .value(&format!("{name}{{proxy=\"zcash\"}}"))
    }

    fn failures(&self, reason: &str) -> f64 {
        let name = "stratum_tls_failures_total";
        let series = format!("{name}{{proxy=\"zcash\",reason=\"{reason}\"}}");
        self.admin.scrape().value(&series)
    }
}

/// Peers that send a whole hello and nothing more.
fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let hello = Client::new(TLS_1_3).hello();
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(&hello).unwrap();
        peers.push(peer);
    }
    peers
}

#[test]
fn nobody_is_closed_for_the_time_that_it_waits_for_us() {
    // Three seconds' worth of handshakes, each of which may take one.
    let hall = Hall::open("tls_handshakes_per_second: 20, tls_handshake_timeout_seconds: 1");
    let address = hall.address();
    let clients: Vec<_> = (0..60)
        .map(|number| {
            let version = if number % 2 == 0 { TLS_1_2 } else { TLS_1_3 };
            thread::spawn(move || Client::new(version).shake(address).map(drop))
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), Ok(()));
    }
    for reason in ["timed_out", "made_room"] {
        assert_eq!(hall.failures(reason), 0.0, "{reason}");
    }
    let paced = hall.value("stratum_tls_handshakes_paced_total");
    assert!(paced > 20.0, "only {paced} have waited");
    hall.proxy.log_contains("s for its TLS handshake");
}

#[test]
fn a_hello_has_its_turn_in_time_while_a_link_is_being_connected() {
    let (pool, certificates) = (DeafPool::start(), Certificates::new());
    let config = Config::new(&pool.url())
        .listen_key(&certificates.key(""))
        .key("limits: { tls_handshakes_per_second: 40, connect_timeout_seconds: 60 }");
    let yaml = format!("{}{}", Admin::KEY, config.yaml());
    let proxy = Proxy::start_with(&["--cores", "1"], &yaml);
    let address = proxy.address("zcash");
    // With the first one the dial begins.
    let first = Client::new(TLS_1_3).shake(address).unwrap();
    let start = Instant::now();
    let clients: Vec<_> = (0..100)
        .map(|_| thread::spawn(move || Client::new(TLS_1_3).shake(address).map(drop)))
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), Ok(()));
    }
    // At their pace that is 2.5 s; with a few at each tick alone it were 5 s.
    let taken = start.elapsed();
    assert!(taken > Duration::from_secs(2), "no pace: {taken:?}");
    assert!(taken < Duration::from_millis(3_750), "late: {taken:?}");
    drop(first);
}

#[test]
fn who_begins_and_never_ends_makes_room_for_a_miner() {
    let hall = Hall::open("tls_handshakes_max: 4, tls_handshake_timeout_seconds: 600");
    let silent = silent(hall.address(), 10);
    let series = "stratum_tls_handshakes_in_flight{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(series) == 4.0);
    let bridge = Client::new(TLS_1_3).bridge(hall.address());
    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig");
    let id = miner.submit(&job, 1);
    miner.expect_accepted(id);
    // Eight made room; the last two are in nobody's way.
    assert!(hall.failures("made_room") >= 7.0);
    assert_eq!(hall.failures("timed_out"), 0.0);
    hall.proxy
        .log_contains("many begin TLS here and don't go on");
    drop(silent);
    hall.admin.scrape_until(|it| it.value(series) == 0.0);
}

#[test]
fn who_leaves_while_it_waits_is_not_counted_as_waiting() {
    let hall = Hall::open("tls_handshakes_max: 1, tls_handshake_timeout_seconds: 600");
    let peers = silent(hall.address(), 20);
    let queued = "stratum_tls_handshakes_queued{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(queued) >= 15.0);
    drop(peers);
    hall.admin.scrape_until(|it| it.value(queued) == 0.0);
    let bridge = Client::new(TLS_1_2).bridge(hall.address());
    FakeMiner::mining_at(bridge.address, "t1addr.rig");
}

#[test]
fn memory_goes_back_when_a_crowd_has_left() {
    let hall = Hall::open("tls_handshakes_per_second: 100000, tls_handshakes_max: 4096");
    let mut miner = Client::new(TLS_1_3).shake(hall.address()).unwrap();
    let before = hall.proxy.memory_kib();
    let crowd = silent(hall.address(), 2000);
    let name = "stratum_tls_handshakes_in_flight{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(name) == 2000.0);
    let peak = hall.proxy.memory_kib();
    assert!(peak > before + 2000, "{before} KiB, and {peak} for a crowd");
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    let bound = before + (peak - before) / 2;
    while hall.proxy.memory_kib() > bound {
        let now = hall.proxy.memory_kib();
        assert!(Instant::now() < deadline, "{before}, {peak}, still {now}");
        thread::sleep(Duration::from_millis(50));
    }
    // Whoever stays notices nothing.
    let (connection, socket) = &mut miner;
    let line = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
    connection.writer().write_all(line).unwrap();
    connection.write_tls(socket).unwrap();
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') {
        assert!(connection.read_tls(socket).unwrap() > 0);
        connection.process_new_packets().unwrap();
        drop(connection.reader().read_to_end(&mut answer));
    }
}

const QUESTIONS: u32 = 2000;

/// Asks so many times, for answers that repeat a long id, and reads a small part of them. Says whether it is
/// still connected.
fn asks_more_than_it_reads(connection: &mut ClientConnection, socket: &mut TcpStream) -> bool {
    asks(connection, socket) && matches!(socket.read(&mut [0; 30 * 1024]), Ok(1..))
}

fn asks(connection: &mut ClientConnection, socket: &mut TcpStream) -> bool {
    let lines: String = (0..QUESTIONS)
        .map(|id| {
            format!("{{\"id\":\"{id:060}\",\"method\":\"mining.multi_version\",\"params\":[1]}}\n")
        })
        .collect();
    connection.writer().write_all(lines.as_bytes()).unwrap();
    while connection.wants_write() {
        if connection.write_tls(socket).is_err() {
            return false;
        }
    }
    true
}

#[test]
fn who_asks_for_more_than_it_reads_is_closed_and_costs_little() {
    // More than a socket takes at once, so that what was kept goes out in parts.
    let hall = Hall::open("miner_outbox_bytes_max: 8388608, messages_per_second_max: 0");
    for version in [TLS_1_2, TLS_1_3] {
        let (mut connection, mut socket) = Client::new(version).shake(hall.address()).unwrap();
        connection.set_buffer_limit(None);
        let before = hall.proxy.memory_kib();
        let mut asked = 0;
        let mut is_open = true;
        while is_open && asked < 1_000_000 {
            asked += QUESTIONS;
            is_open = asks_more_than_it_reads(&mut connection, &mut socket);
        }
        assert!(!is_open, "{asked} answers, and never closed");
        let grown = hall.proxy.memory_kib().saturating_sub(before);
        assert!(grown < 64 * 1024, "{grown} KiB for one miner");
    }
    let series = "stratum_miner_closes_total{proxy=\"zcash\",reason=\"outbox_full\"}";
    hall.admin.scrape_until(|it| it.value(series) == 2.0);
}

#[test]
fn what_waits_for_all_who_read_a_little_has_one_bound() {
    const MINERS: usize = 8;
    const UNREAD: &str = "stratum_unread_bytes{proxy=\"zcash\"}";
    const CLOSED: &str = "stratum_miner_closes_total{proxy=\"zcash\",reason=\"unread\"}";
    let hall = Hall::open(
        "miner_outbox_bytes_max: 33554432, unread_bytes_max: 16777216, messages_per_second_max: 0",
    );
    let before = hall.proxy.memory_kib();
    let mut miners = Vec::new();
    for _ in 0..MINERS {
        let scrape = hall.admin.scrape();
        let (waited, closed) = (scrape.value(UNREAD), scrape.value(CLOSED));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.connect(&hall.address().into()).unwrap();
        let (mut connection, mut socket) = Client::new(TLS_1_3).shake_over(socket.into()).unwrap();
        connection.set_buffer_limit(None);
        // Some eight megabytes of answers wait as lines, as one alone may have. Then it reads some, so that
        // all of them are encrypted, of which its socket takes a part: what is left no longer waits as lines.
        for _ in 0..60 {
            asks(&mut connection, &mut socket);
        }
        hall.admin
            .scrape_until(|it| it.value(UNREAD) - waited > 4e6 || it.value(CLOSED) > closed);
        let mut left = 2 * 1024 * 1024;
        while left > 0 {
            match socket.read(&mut [0; 16 * 1024]) {
                Ok(len @ 1..) => left -= len.min(left),
                _ => break,
            }
        }
        miners.push(socket);
    }
    hall.admin
        .scrape_until(|it| it.value(CLOSED) >= MINERS as f64 / 2.0);
    assert!(hall.admin.scrape().value(UNREAD) < 17e6);
    let grown = hall.proxy.memory_kib().saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} KiB for those who do not read");
}
