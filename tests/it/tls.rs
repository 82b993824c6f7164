//! TLS with miners: who may come how, what a slow or a broken one costs the others, and certificates that
//! change while miners are in.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::support::proxy::TempFile;
use crate::support::scrape::{Admin, Scrape};
use crate::support::tls::{Certificates, Client, TLS_1_2, TLS_1_3};
use crate::support::{AutoPool, Config, FakeMiner, Job, PATIENCE, Program, Proxy, skip_without};

/// A proxy with a plain miner at work, and TLS on the same port.
struct Hall {
    proxy: Proxy,
    certificates: Certificates,
    _pool: AutoPool,
    admin: Admin,
}

impl Hall {
    /// With these keys of `tls:` and of the proxy.
    fn open(tls: &str, keys: &[&str]) -> Self {
        Self::with(Certificates::new(), tls, keys)
    }

    fn with(certificates: Certificates, tls: &str, keys: &[&str]) -> Self {
        Self::with_listener(certificates, tls, "", keys)
    }

    /// And with one more key of the listener.
    fn with_listener(certificates: Certificates, tls: &str, listener: &str, keys: &[&str]) -> Self {
        let pool = AutoPool::accepts_all();
        let mut config = Config::new(&pool.url()).listen_key(&certificates.key(tls));
        if !listener.is_empty() {
            config = config.listen_key(listener);
        }
        let yaml = format!("{}{}", Admin::KEY, config.keys(keys).yaml());
        let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
        let admin = Admin::of(&proxy);
        Self {
            proxy,
            certificates,
            _pool: pool,
            admin,
        }
    }

    fn address(&self) -> SocketAddr {
        self.proxy.address("zcash")
    }

    /// A plain miner at work.
    fn bystander(&self) -> (FakeMiner, Job) {
        FakeMiner::mining_at(self.address(), "t1addr.bystander")
    }

    /// This series comes to this value.
    #[track_caller]
    fn counts(&self, name: &str, value: u32) {
        let series = of(name);
        let value = f64::from(value);
        self.admin.scrape_until(|it| it.value(&series) == value);
    }

    #[track_caller]
    fn counts_failures(&self, reason: &str, count: u32) {
        let series = format!("stratum_tls_failures_total{{proxy=\"zcash\",reason=\"{reason}\"}}");
        let count = f64::from(count);
        self.admin.scrape_until(|it| it.value(&series) == count);
    }
}

fn of(name: &str) -> String {
    format!("{name}{{proxy=\"zcash\"}}")
}

/// A share of this miner is accepted.
#[track_caller]
fn mines(miner: &mut FakeMiner, job: &Job, seed: u64) {
    let id = miner.submit(job, seed);
    miner.expect_accepted(id);
}

const AUTO: &str = ", mode: auto";

#[test]
fn plain_miners_and_both_versions_of_tls_mine_through_one_port() {
    let hall = Hall::open(AUTO, &[]);
    let (mut plain, plain_job) = hall.bystander();
    let mut others = Vec::new();
    for version in [TLS_1_2, TLS_1_3] {
        let bridge = Client::new(version).bridge(hall.address());
        let (miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
        assert_eq!(
            bridge.expect_open().certificate,
            hall.certificates.der("hall")
        );
        others.push((miner, job, bridge));
    }
    for seed in 0..20 {
        mines(&mut plain, &plain_job, seed);
        for (miner, job, _) in &mut others {
            mines(miner, job, seed);
        }
    }
    hall.counts("stratum_tls_miners", 2);
    hall.counts("stratum_tls_handshakes_full_total", 2);
    hall.counts("stratum_miners", 3);
    for (miner, _, bridge) in others {
        miner.close();
        drop(bridge);
    }
    hall.counts("stratum_tls_miners", 0);
    hall.counts("stratum_tls_handshakes_in_flight", 0);
    mines(&mut plain, &plain_job, 99);
}

#[test]
fn a_shutdown_says_so_with_a_close_notify() {
    let hall = Hall::open(AUTO, &[]);
    for version in [TLS_1_2, TLS_1_3] {
        let bridge = Client::new(version).bridge(hall.address());
        let mut miner = FakeMiner::connect_to(bridge.address);
        miner.subscribe();
        bridge.expect_open();
        // Lines that can't be read, until the proxy has enough.
        (0..9).for_each(|_| miner.send_raw(b"{\n"));
        assert!(bridge.expect_closed(), "with a close_notify");
    }
    let bridge = Client::new(TLS_1_3).bridge(hall.address());
    let mut miner = FakeMiner::connect_to(bridge.address);
    miner.subscribe();
    bridge.expect_open();
    hall.proxy.signal("TERM");
    assert!(bridge.expect_closed(), "with a close_notify");
}

#[test]
fn a_plain_miner_is_turned_away_where_tls_is_required() {
    let hall = Hall::open("", &[]);
    let mut plain = FakeMiner::connect_to(hall.address());
    plain.send_subscribe();
    plain.expect_closed();
    let series = "stratum_door_closes_total{proxy=\"zcash\",reason=\"plain_on_tls\"}";
    hall.admin.scrape_until(|it| it.value(series) == 1.0);
    hall.proxy.log_contains("stratum+ssl");
    let bridge = Client::new(TLS_1_3).bridge(hall.address());
    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
    mines(&mut miner, &job, 1);
}

#[test]
fn a_balancer_in_front_says_first_for_whom_it_connects() {
    const TRUSTED: &str = "proxy_protocol: { trusted: [127.0.0.1] }";
    let version_1 = b"PROXY TCP4 10.1.2.3 127.0.0.1 4242 3333\r\n".to_vec();
    let mut version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    version_2.extend_from_slice(&[10, 1, 2, 4, 127, 0, 0, 1, 0x10, 0x92, 0x0d, 0x05]);
    for mode in ["", AUTO] {
        let hall = Hall::with_listener(Certificates::new(), mode, TRUSTED, &[]);
        let mut count = 0;
        for (header, address) in [(&version_1, "10.1.2.3:4242"), (&version_2, "10.1.2.4:4242")] {
            let len = header.len();
            // Header and hello apart, together, and cut in either.
            for cut in [len, usize::MAX, 7, len + 1, len + 40] {
                for version in [TLS_1_2, TLS_1_3] {
                    let client = Client::new(version).behind(header, cut);
                    let bridge = client.bridge(hall.address());
                    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
                    mines(&mut miner, &job, 1);
                    count += 1;
                    hall.proxy.log_contains(&format!(
                        "miner={address} worker=\"t1addr.rig1\": authorized"
                    ));
                }
            }
            // Who speaks plainly behind the header may, or may not.
            let mut plain = FakeMiner::connect_to(hall.address());
            plain.send_raw(header);
            if mode == AUTO {
                let job = plain.start_mining("t1addr.rig2");
                mines(&mut plain, &job, 1);
            } else {
                plain.send_subscribe();
                plain.expect_closed();
            }
        }
        hall.counts("stratum_tls_handshakes_full_total", count);
    }
}

#[test]
fn the_certificate_follows_the_name() {
    let certificates = Certificates::new();
    certificates.make("east", "*.east.example");
    let (pem, key) = (certificates.path("east.pem"), certificates.path("east.key"));
    let more = format!(", certificates: [ {{ certificate: \"{pem}\", key: \"{key}\" }} ]");
    let hall = Hall::with(certificates, &more, &[]);
    for version in [TLS_1_2, TLS_1_3] {
        let client = Client::new(version);
        for (name, file) in [
            ("hall.example", "hall"),
            ("pool.east.example", "east"),
            ("unknown.example", "hall"),
            ("127.0.0.1", "hall"),
        ] {
            let client = client.clone().asking_for(name);
            let (connection, _) = client.shake(hall.address()).unwrap();
            let shown = connection.peer_certificates().unwrap()[0].to_vec();
            assert_eq!(shown, hall.certificates.der(file), "{name}");
        }
    }
}

#[test]
fn miners_come_back_with_a_ticket() {
    let hall = Hall::open(AUTO, &[]);
    for (count, version) in [(1, TLS_1_2), (2, TLS_1_3)] {
        let client = Client::new(version);
        for is_resumed in [false, true] {
            let bridge = client.bridge(hall.address());
            let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
            assert_eq!(bridge.expect_open().is_resumed, is_resumed);
            mines(&mut miner, &job, 1);
            miner.close();
        }
        hall.counts("stratum_tls_handshakes_resumed_total", count);
        hall.counts("stratum_tls_handshakes_full_total", count);
    }
}

#[test]
fn miners_without_the_certificate_that_is_asked_for_stay_out() {
    let certificates = Certificates::new();
    let signer = certificates.make_signer("ca");
    certificates.make_signed("rig", &signer);
    let stranger = certificates.make_signer("other-ca");
    certificates.make_signed("stranger", &stranger);
    let ca = format!(", client_ca: \"{}\"", certificates.path("ca.pem"));
    let hall = Hall::with(certificates, &ca, &[]);
    for (count, version) in [(1, TLS_1_2), (2, TLS_1_3)] {
        let known = Some((&hall.certificates, "rig"));
        let bridge = Client::with_certificate(version, known).bridge(hall.address());
        let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
        bridge.expect_open();
        mines(&mut miner, &job, 1);
        let unknown = Some((&hall.certificates, "stranger"));
        for (client, reason) in [
            (Client::new(version), "no_client_certificate"),
            (
                Client::with_certificate(version, unknown),
                "bad_client_certificate",
            ),
        ] {
            // A client of TLS 1.3 is done before it hears that it may not come in.
            if let Ok((mut connection, mut socket)) = client.shake(hall.address()) {
                let failed = (0..10).find_map(|_| connection.complete_io(&mut socket).err());
                assert!(failed.is_some(), "{reason}");
            }
            hall.counts_failures(reason, count);
        }
        mines(&mut miner, &job, 2);
    }
    for cure in ["shows no certificate", "no signer in client_ca"] {
        hall.proxy.log_contains(cure);
    }
    hall.counts("stratum_tls_handshakes_in_flight", 0);
}

#[test]
fn a_reload_changes_what_newcomers_see_and_closes_nobody() {
    let hall = Hall::open(AUTO, &[]);
    let client = Client::new(TLS_1_3);
    let bridge = client.bridge(hall.address());
    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
    let old = hall.certificates.der("hall");
    assert_eq!(bridge.expect_open().certificate, old);

    hall.certificates.make("hall", "new.example");
    hall.proxy.signal("HUP");
    hall.proxy.log_contains("were read again");
    let new = hall.certificates.der("hall");
    let shown = || {
        let (connection, _) = Client::new(TLS_1_3).shake(hall.address()).unwrap();
        connection.peer_certificates().unwrap()[0].to_vec()
    };
    // A shard takes it up at its next tick.
    let mut tries = 0;
    while shown() != new {
        tries += 1;
        assert!(tries < 1000, "never taken up");
    }
    mines(&mut miner, &job, 1);
    // The ticket of before still counts.
    let again = client.bridge(hall.address());
    let (mut other, other_job) = FakeMiner::mining_at(again.address, "t1addr.rig2");
    assert!(again.expect_open().is_resumed);
    mines(&mut other, &other_job, 2);

    std::fs::write(hall.certificates.path("hall.key"), "nothing").unwrap();
    hall.proxy.signal("HUP");
    let line = hall.proxy.log_contains("no key is in it");
    assert!(line.contains("listen[0].tls.key"), "{line}");
    hall.proxy
        .log_contains("the certificates that are in use stay");
    assert_eq!(shown(), new);
    mines(&mut miner, &job, 3);
    mines(&mut other, &other_job, 4);
}

#[test]
fn half_a_hello_has_no_place_and_is_closed_in_time() {
    let keys = "limits: { tls_handshakes_max: 2, tls_handshake_timeout_seconds: 1 }";
    let hall = Hall::open(AUTO, &[keys]);
    let hello = Client::new(TLS_1_3).hello();
    let mut halves: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut half = TcpStream::connect(hall.address()).unwrap();
            half.write_all(&hello[..hello.len() - 1]).unwrap();
            half
        })
        .collect();
    // More than there are places, and a miner gets in all the same.
    let bridge = Client::new(TLS_1_3).bridge(hall.address());
    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
    mines(&mut miner, &job, 1);
    hall.counts_failures("timed_out", 20);
    for half in &mut halves {
        half.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(half.read(&mut [0; 100]).unwrap_or(0), 0, "closed");
    }
    // A whole hello has one, and gives it back when its peer stays silent or leaves.
    let whole: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut whole = TcpStream::connect(hall.address()).unwrap();
            whole.write_all(&hello).unwrap();
            whole
        })
        .collect();
    hall.admin
        .scrape_until(|it| it.value(&of("stratum_tls_handshakes_started_total")) >= 3.0);
    drop(whole);
    let bridge = Client::new(TLS_1_2).bridge(hall.address());
    let (mut other, other_job) = FakeMiner::mining_at(bridge.address, "t1addr.rig2");
    mines(&mut other, &other_job, 1);
    hall.counts("stratum_tls_handshakes_in_flight", 0);
}

#[test]
fn garbage_that_begins_like_tls_is_closed_and_counted() {
    let hall = Hall::open(AUTO, &[]);
    let (mut bystander, job) = hall.bystander();
    let mut spoiled = Client::new(TLS_1_3).hello();
    spoiled[5 + 4] = 9;
    spoiled[60..].fill(0xff);
    let too_long = [&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 100]].concat();
    for (bytes, reason) in [
        (b"\x16\x03\x01\x00\x05hello".to_vec(), "not_tls"),
        (too_long, "hello_too_long"),
        (spoiled, "protocol"),
    ] {
        let mut socket = TcpStream::connect(hall.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&bytes).unwrap();
        let mut told = Vec::new();
        drop(socket.read_to_end(&mut told));
        assert!(
            told.is_empty() || told[0] == 0x15,
            "an alert or nothing: {told:?}"
        );
        hall.counts_failures(reason, 1);
    }
    // After the handshake, too.
    let (_connection, mut socket) = Client::new(TLS_1_3).shake(hall.address()).unwrap();
    socket.write_all(&[0x17, 3, 3, 0, 20]).unwrap();
    socket.write_all(&[7; 20]).unwrap();
    drop(socket.read_to_end(&mut Vec::new()));
    hall.counts_failures("protocol", 2);
    let series = "stratum_miner_closes_total{proxy=\"zcash\",reason=\"tls\"}";
    hall.admin.scrape_until(|it| it.value(series) == 1.0);
    mines(&mut bystander, &job, 1);
    hall.counts("stratum_miners", 1);
}

#[test]
fn a_miner_that_reads_late_gets_every_byte_in_its_place() {
    let limits = "limits: { miner_outbox_bytes_max: 67108864, messages_per_second_max: 0 }";
    let hall = Hall::open(AUTO, &[limits]);
    let (mut bystander, job) = hall.bystander();
    for version in [TLS_1_2, TLS_1_3] {
        let (mut connection, mut socket) = Client::new(version).shake(hall.address()).unwrap();
        let kept = of("stratum_tls_sends_kept_total");
        let before = hall.admin.scrape().value(&kept);
        let mut asked = 0_u64;
        // It asks and does not read, until the proxy has to keep what it says.
        loop {
            let mut lines = String::new();
            for _ in 0..2000 {
                asked += 1;
                lines += &format!(
                    "{{\"id\":{asked},\"method\":\"mining.multi_version\",\"params\":[1]}}\n"
                );
            }
            connection.set_buffer_limit(None);
            connection.writer().write_all(lines.as_bytes()).unwrap();
            while connection.wants_write() {
                connection.write_tls(&mut socket).unwrap();
            }
            if hall.admin.scrape().value(&kept) > before {
                break;
            }
            assert!(asked < 2_000_000, "never blocked");
        }
        mines(&mut bystander, &job, asked);
        let mut text = Vec::new();
        let mut answered = 0;
        while answered < asked {
            if connection.wants_read() && connection.read_tls(&mut socket).unwrap() == 0 {
                panic!("closed after {answered} of {asked}");
            }
            let state = connection.process_new_packets().expect("good records");
            let start = text.len();
            text.resize(start + state.plaintext_bytes_to_read(), 0);
            connection.reader().read_exact(&mut text[start..]).unwrap();
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                answered += 1;
                let line = String::from_utf8(text.drain(..=end).collect()).unwrap();
                assert!(
                    line.starts_with(&format!("{{\"id\":{answered},")),
                    "{answered}: {line}"
                );
            }
        }
        socket.shutdown(Shutdown::Both).unwrap();
    }
    mines(&mut bystander, &job, 1);
}

/// Shares a second of this miner, one after the other and with a look at the metrics behind each, until that
/// is over. Their seeds come behind `first`.
fn pace_of(
    hall: &Hall,
    miner: &mut FakeMiner,
    job: &Job,
    first: u64,
    is_over: impl Fn(&Scrape, u32) -> bool,
) -> f64 {
    let start = Instant::now();
    let mut shares = 0;
    loop {
        shares += 1;
        mines(miner, job, first + u64::from(shares));
        if is_over(&hall.admin.scrape(), shares) {
            return f64::from(shares) / start.elapsed().as_secs_f64();
        }
    }
}

#[test]
fn two_hundred_that_come_back_at_once_do_not_stop_a_bystander() {
    const MINERS: usize = 200;
    let hall = Hall::open(AUTO, &["limits: { tls_handshakes_per_second: 100 }"]);
    let (mut bystander, job) = hall.bystander();
    let client = Client::new(TLS_1_3);
    let hello = client.hello();
    let alone = pace_of(&hall, &mut bystander, &job, 0, |_, shares| shares == 100);
    // Hellos of peers that go no further: each costs the proxy its part of the handshake.
    let mut storm: Vec<TcpStream> = (0..MINERS)
        .map(|_| {
            let mut socket = TcpStream::connect(hall.address()).unwrap();
            socket.write_all(&hello).unwrap();
            socket
        })
        .collect();
    let started = of("stratum_tls_handshakes_started_total");
    let storm_is_over = |it: &Scrape, _| it.value(&started) >= MINERS as f64;
    let pace = pace_of(&hall, &mut bystander, &job, 1000, storm_is_over);
    assert!(
        pace > alone / 4.0,
        "{pace} shares a second, and {alone} without the storm"
    );
    let paced = hall
        .admin
        .scrape()
        .value(&of("stratum_tls_handshakes_paced_total"));
    assert!(paced > 0.0, "they had to wait");
    for socket in &mut storm {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(socket.read(&mut [0; 100]).unwrap() > 0, "each is answered");
    }
    drop(storm);
    hall.counts("stratum_tls_handshakes_in_flight", 0);
    mines(&mut bystander, &job, u64::MAX);
}

#[test]
fn openssl_mines_beside_a_plain_miner() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skip_without("openssl");
    }
    let hall = Hall::open(AUTO, &[]);
    let (mut plain, job) = hall.bystander();
    for (seed, version) in (0..).zip(["-tls1_2", "-tls1_3"]) {
        let (address, mut openssl) = through_openssl(version, hall.address());
        let (mut miner, own_job) = FakeMiner::mining_at(address, "t1account.openssl");
        mines(&mut miner, &own_job, 100 + seed);
        mines(&mut plain, &job, seed);
        drop(openssl.kill());
        drop(openssl.wait());
    }
}

#[test]
fn certificates_made_as_the_readme_says_let_a_miner_in() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skip_without("openssl");
    }
    let certificates = Certificates::new();
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("<!-- client certificates -->").unwrap();
    let commands = rest.split("```").nth(1).unwrap();
    let status = Command::new("sh")
        .args(["-euc", commands.strip_prefix("sh").unwrap()])
        .current_dir(certificates.folder())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{commands}");
    let ca = format!(", client_ca: \"{}\"", certificates.path("miners-ca.pem"));
    let hall = Hall::with(certificates, &ca, &[]);
    for version in [TLS_1_2, TLS_1_3] {
        let own = Some((&hall.certificates, "rig-01"));
        let bridge = Client::with_certificate(version, own).bridge(hall.address());
        let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
        bridge.expect_open();
        mines(&mut miner, &job, 1);
    }
}

/// A port whose first connection goes through `openssl s_client` to the proxy.
fn through_openssl(version: &str, proxy: SocketAddr) -> (SocketAddr, Child) {
    let mut openssl = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-connect",
            &proxy.to_string(),
            version,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = openssl.stdin.take().unwrap();
    let mut output = openssl.stdout.take().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut miner, _) = listener.accept().unwrap();
        let mut back = miner.try_clone().unwrap();
        thread::spawn(move || drop(copy(&mut output, &mut back)));
        let mut bytes = [0; 4096];
        // Each write goes out at once, which a buffered copy would not do.
        while let Ok(len @ 1..) = miner.read(&mut bytes) {
            if input
                .write_all(&bytes[..len])
                .and_then(|()| input.flush())
                .is_err()
            {
                return;
            }
        }
    });
    (address, openssl)
}

/// What `--check` says of a listener with such a `tls:`, and its exit code.
fn check(tls: &str) -> (i32, String) {
    let config = Config::new("stratum+tcp://127.0.0.1:1").listen_key(tls);
    let file = TempFile::new(&config.yaml());
    let mut program = Program::run(["--check", file.path().to_str().unwrap()]);
    let code = program.wait_exit(PATIENCE);
    (code, program.log())
}

#[test]
fn a_check_reads_the_files_and_says_which_is_wrong() {
    let certificates = Certificates::new();
    assert_eq!(check(&certificates.key("")).0, 0);
    let pair = |certificate: &str, key: &str| {
        let (certificate, key) = (certificates.path(certificate), certificates.path(key));
        format!("tls: {{ certificate: \"{certificate}\", key: \"{key}\" }}")
    };
    certificates.make("other", "other.example");
    let key = std::fs::read_to_string(certificates.path("hall.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for (tls, place, text) in [
        (
            pair("gone.pem", "hall.key"),
            "tls.certificate",
            "there is no such file",
        ),
        (
            pair("hall.pem", "gone.key"),
            "tls.key",
            "there is no such file",
        ),
        (
            pair("hall.pem", "other.key"),
            "tls.key",
            "does not fit the certificate",
        ),
        (
            pair("hall.key", "hall.key"),
            "tls.certificate",
            "no certificate is in it",
        ),
        (pair("hall.pem", "hall.pem"), "tls.key", "no key is in it"),
    ] {
        let (code, said) = check(&tls);
        assert_eq!(code, 2, "{tls}: {said}");
        let wanted = format!("line 6: proxies[0].listen[0].{place}: ");
        assert!(
            said.contains(&wanted) && said.contains(text),
            "{tls}: {said}"
        );
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn an_expired_certificate_is_told_of_and_used() {
    let certificates = Certificates::new();
    certificates.make_until("hall", "hall.example", (2020, 5, 1));
    let hall = Hall::with(certificates, AUTO, &[]);
    assert!(
        hall.proxy.log().contains("EXPIRED on"),
        "{}",
        hall.proxy.log()
    );
    let bridge = Client::new(TLS_1_3).bridge(hall.address());
    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
    mines(&mut miner, &job, 1);
}

#[test]
fn a_start_without_its_certificate_fails_as_a_bad_config() {
    let certificates = Certificates::new();
    std::fs::remove_file(certificates.path("hall.key")).unwrap();
    let config = Config::new("stratum+tcp://127.0.0.1:1").listen_key(&certificates.key(""));
    let file = TempFile::new(&config.yaml());
    let mut program = Program::run(["--cores", "1", file.path().to_str().unwrap()]);
    assert_eq!(program.wait_exit(PATIENCE), 2, "{}", program.log());
    assert!(program.log().contains("tls.key"), "{}", program.log());
}

#[test]
fn a_certificate_that_we_made_serves_a_hall() {
    use std::os::unix::fs::PermissionsExt;
    let certificates = Certificates::new();
    let folder = certificates.folder().to_str().unwrap();
    let arguments = [
        "gen-cert",
        "--name",
        "hall.example",
        "--name",
        "10.0.0.1",
        "--out",
        folder,
    ];
    let mut program = Program::run(arguments);
    assert_eq!(program.wait_exit(PATIENCE), 0, "{}", program.log());
    let (pem, key) = (
        certificates.path("stratum-uring.pem"),
        certificates.path("stratum-uring.key"),
    );
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What is there stays.
    let before = std::fs::read(&key).unwrap();
    let mut program = Program::run(arguments);
    assert_eq!(program.wait_exit(PATIENCE), 2);
    assert!(
        program.log().contains("not overwritten"),
        "{}",
        program.log()
    );
    assert_eq!(std::fs::read(&key).unwrap(), before);

    std::fs::rename(&pem, certificates.path("hall.pem")).unwrap();
    std::fs::rename(&key, certificates.path("hall.key")).unwrap();
    let hall = Hall::with(certificates, "", &[]);
    let bridge = Client::new(TLS_1_3).bridge(hall.address());
    let (mut miner, job) = FakeMiner::mining_at(bridge.address, "t1addr.rig1");
    mines(&mut miner, &job, 1);
}

#[test]
fn a_proxy_without_tls_tells_a_hello_what_would_help() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let error = Client::new(TLS_1_3).shake(proxy.any_address());
    assert!(error.is_err());
    proxy.log_contains("give the listener `tls:`");
}
