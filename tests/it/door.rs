//! Who gets in: first bytes, headers of the PROXY protocol, networks. While all that goes on at the door, a
//! miner inside works on.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::support::line::Heard;
use crate::support::proxy::TempFile;
use crate::support::scrape::{Admin, Scrape};
use crate::support::{AutoPool, Config, FakeMiner, Job, PATIENCE, Proxy, skip_without};

/// A proxy with a miner at work.
struct Hall {
    proxy: Proxy,
    _pool: AutoPool,
    admin: Admin,
    bystander: FakeMiner,
    job: Job,
    shares: u64,
}

/// A header for the miners that connect like everybody else where that needs one.
const NOTHING: &[u8] = b"";

impl Hall {
    /// With these keys of the listener and of the proxy. The bystander connects from 127.0.0.1, and begins
    /// with such a header.
    fn open(listen_keys: &[&str], keys: &[&str], header: &[u8]) -> Self {
        Self::open_with("", listen_keys, keys, header)
    }

    /// And with this on top of the config.
    fn open_with(top: &str, listen_keys: &[&str], keys: &[&str], header: &[u8]) -> Self {
        let pool = AutoPool::accepts_all();
        let mut config = Config::new(&pool.url()).keys(keys);
        for key in listen_keys {
            config = config.listen_key(key);
        }
        let yaml = format!("{top}{}{}", Admin::KEY, config.yaml());
        let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
        let admin = Admin::of(&proxy);
        let mut bystander = FakeMiner::connect_to(proxy.address("zcash"));
        bystander.send_raw(header);
        let job = bystander.start_mining("t1addr.bystander");
        Self {
            proxy,
            _pool: pool,
            admin,
            bystander,
            job,
            shares: 0,
        }
    }

    /// A connection from an address of this machine.
    fn connect_from(&self, source: [u8; 4]) -> FakeMiner {
        FakeMiner::connect_from(source, self.proxy.address("zcash"))
    }

    /// So many connections have ended at the door for this reason, and nobody else has noticed.
    #[track_caller]
    fn has_turned_away(&mut self, reason: &str, count: u32) {
        let series = format!("stratum_door_closes_total{{proxy=\"zcash\",reason=\"{reason}\"}}");
        let count = f64::from(count);
        self.admin.scrape_until(|it| it.value(&series) >= count);
        assert_eq!(self.admin.scrape().value(&series), count, "{reason}");
        self.shares += 1;
        let id = self.bystander.submit(&self.job, self.shares);
        self.bystander.expect_accepted(id);
    }

    /// Nobody waits in the door.
    fn is_door_empty(&self) {
        let waiting = "stratum_door_waiting{proxy=\"zcash\"}";
        self.admin.scrape_until(|it| it.value(waiting) == 0.0);
    }

    /// The miner at the other end of this connection mines, and the log knows it by this address.
    #[track_caller]
    fn mines_as(&mut self, miner: &mut FakeMiner, address: &str) {
        let job = miner.start_mining("t1addr.rig");
        let id = miner.submit(&job, 77);
        miner.expect_accepted(id);
        self.proxy.log_contains(&format!(
            "miner={address} worker=\"t1addr.rig\": authorized"
        ));
    }
}

/// With a reset: nothing stays behind of it in the kernel, and no FIN says that all is well.
#[track_caller]
fn is_reset(miner: &mut FakeMiner) {
    assert_eq!(miner.hear(PATIENCE), Heard::Closed);
    assert!(miner.was_reset(), "a FIN");
}

/// What HAProxy sends with send-proxy-v2, for this source and port 4242.
fn version_2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&source);
    header.extend_from_slice(&[
        127,
        0,
        0,
        1,
        4242_u16.to_be_bytes()[0],
        4242_u16.to_be_bytes()[1],
    ]);
    header.extend_from_slice(&[0x0d, 0x05]);
    header
}

fn version_1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 127.0.0.1 4242 3333\r\n").into_bytes()
}

// First bytes.

#[test]
fn strangers_are_closed_at_once_and_counted_by_kind() {
    let mut hall = Hall::open(&[], &[], NOTHING);
    let kinds: [(&str, &[&[u8]], &str); 5] = [
        (
            "http",
            &[b"GET / HTTP/1.1\r\n\r\n", b"POST /x", b"PRI * HTTP/2.0\r\n"],
            "admin.listen",
        ),
        (
            "tls_on_plain",
            &[b"\x16\x03\x01\x02\0\x01\0"],
            "stratum+tcp",
        ),
        (
            "proxy_header",
            &[&version_1("10.1.2.3"), &version_2([10, 1, 2, 3])],
            "send-proxy",
        ),
        ("ssh", &[b"SSH-2.0-OpenSSH_9.6\r\n"], "SSH"),
        ("binary", &[b"\0\0\0\x01", b"\x80\x2e\x01"], "binary"),
    ];
    for (reason, beginnings, cure) in kinds {
        let mut count = 0;
        for bytes in beginnings {
            let mut whole = hall.connect_from([127, 0, 0, 2]);
            whole.send_raw(bytes);
            is_reset(&mut whole);
            // In two pieces: what tells them apart may come in the second.
            let mut cut = hall.connect_from([127, 0, 0, 3]);
            cut.send_raw(&bytes[..1]);
            cut.send_raw(&bytes[1..]);
            is_reset(&mut cut);
            count += 2;
            hall.has_turned_away(reason, count);
        }
        let told = hall
            .proxy
            .log_contains(&format!("reason={reason}: turned away"));
        assert!(told.contains(cure), "{told}");
        let told = hall.proxy.log();
        let times = told
            .matches(&format!("reason={reason}: turned away"))
            .count();
        assert_eq!(times, 1, "a flood is told of once");
    }
    let scrape = hall.admin.scrape();
    let connects = "stratum_miner_connects_total{proxy=\"zcash\"}";
    assert_eq!(scrape.value(connects), 1.0, "none of them was a miner");
    hall.is_door_empty();
}

#[test]
fn who_says_nothing_is_closed_in_time() {
    let keys = ["limits: { first_byte_timeout_seconds: 0.5 }"];
    let mut hall = Hall::open(&[], &keys, NOTHING);
    let mut silent = hall.connect_from([127, 0, 0, 2]);
    let mut undecided = hall.connect_from([127, 0, 0, 2]);
    undecided.send_raw(b"GE");
    let mut left = hall.connect_from([127, 0, 0, 2]);
    left.finish();
    assert_eq!(left.hear(PATIENCE), Heard::Closed);
    is_reset(&mut silent);
    is_reset(&mut undecided);
    hall.has_turned_away("first_byte_timeout", 2);
    hall.has_turned_away("left", 1);
    hall.is_door_empty();
}

#[test]
fn a_miner_may_begin_with_white_space_and_in_pieces() {
    let mut hall = Hall::open(&[], &[], NOTHING);
    for beginning in [&b"\r\n"[..], b" ", b"\n\n", b"\r\n\r\n"] {
        let mut miner = hall.connect_from([127, 0, 0, 2]);
        for byte in beginning {
            miner.send_raw(&[*byte]);
            std::thread::yield_now();
        }
        let address = miner.local_address().to_string();
        hall.mines_as(&mut miner, &address);
    }
}

// The PROXY protocol.

const TRUSTED: &str = "proxy_protocol: { trusted: [127.0.0.1, 127.0.0.9] }";

#[test]
fn a_trusted_balancer_tells_the_real_address_however_its_header_is_cut() {
    let mut hall = Hall::open(&[TRUSTED], &[], b"PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\n");
    let headers = [version_1("10.1.2.3"), version_2([10, 1, 2, 3])];
    for header in &headers {
        for at in 0..=header.len() {
            let mut miner = hall.connect_from([127, 0, 0, 9]);
            // What is behind the header comes along with the second part.
            miner.send_raw(&header[..at]);
            miner.send_raw(&header[at..]);
            if at % 8 == 0 {
                hall.mines_as(&mut miner, "10.1.2.3:4242");
            } else {
                miner.request("mining.multi_version", "[1]");
            }
        }
        // Header and first line in one segment.
        let mut miner = hall.connect_from([127, 0, 0, 9]);
        let line = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"x\"]}\n";
        miner.send_raw(&[&header[..], line].concat());
        miner.expect_subscribed(1);
    }
    let v6 = b"PROXY TCP6 2001:db8::7 ::1 4242 3333\r\n";
    let mut miner = hall.connect_from([127, 0, 0, 9]);
    miner.send_raw(v6);
    hall.mines_as(&mut miner, "[2001:db8::7]:4242");
    let told = "miner=10.1.2.3:4242: connects through 127.0.0.9:";
    assert!(hall.proxy.log().contains(told));
    hall.is_door_empty();
}

#[test]
fn who_speaks_for_himself_keeps_his_address() {
    let mut hall = Hall::open(&[TRUSTED], &[], b"PROXY UNKNOWN\r\n");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    for header in [&local[..], b"PROXY UNKNOWN whatever 1 2\r\n", &unix] {
        let mut miner = hall.connect_from([127, 0, 0, 9]);
        miner.send_raw(header);
        let address = miner.local_address().to_string();
        hall.mines_as(&mut miner, &address);
    }
}

#[test]
fn who_is_not_trusted_sends_no_header_and_needs_none() {
    let mut hall = Hall::open(&[TRUSTED], &[], b"PROXY UNKNOWN\r\n");
    for (count, header) in [version_1("10.1.2.3"), version_2([10, 1, 2, 3])]
        .iter()
        .enumerate()
    {
        let mut liar = hall.connect_from([127, 0, 0, 2]);
        liar.send_raw(header);
        is_reset(&mut liar);
        hall.has_turned_away("proxy_header_untrusted", u32::try_from(count).unwrap() + 1);
    }
    let told = hall
        .proxy
        .log_contains("reason=proxy_header_untrusted: turned away");
    assert!(told.contains("proxy_protocol.trusted"), "{told}");
    assert!(!hall.proxy.log().contains("miner=10.1.2.3"));
    let mut direct = hall.connect_from([127, 0, 0, 2]);
    let address = direct.local_address().to_string();
    hall.mines_as(&mut direct, &address);
}

#[test]
fn a_trusted_balancer_that_sends_no_header_or_a_bad_one_is_closed() {
    let keys = ["limits: { proxy_header_timeout_seconds: 3 }"];
    let mut hall = Hall::open(&[TRUSTED], &keys, b"PROXY UNKNOWN\r\n");
    // These wait for their end while the others are tried.
    let mut silent = hall.connect_from([127, 0, 0, 9]);
    let mut half = hall.connect_from([127, 0, 0, 9]);
    half.send_raw(&version_2([10, 1, 2, 3])[..20]);

    let missing: [&[u8]; 3] = [b"{\"id\":1}\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"];
    let too_long = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        vec![0; 1000],
    ]
    .concat();
    let never_ends = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 1000]].concat();
    let mut wrong_sum = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13".to_vec();
    wrong_sum.extend_from_slice(&[10, 1, 2, 3, 127, 0, 0, 1, 0, 1, 0, 2, 3, 0, 4, 1, 2, 3, 4]);
    let invalid: [&[u8]; 5] = [
        b"PROXY TCP4 10.1.2.3 127.0.0.1 4242\r\n",
        b"PROXY TCP4 10.1.2.3 127.0.0.1 4242 3333\n{\"id\":1}\r\n",
        &too_long,
        &never_ends,
        &wrong_sum,
    ];
    for (reason, attempts) in [
        ("proxy_header_missing", &missing[..]),
        ("proxy_header_invalid", &invalid[..]),
    ] {
        for (count, bytes) in attempts.iter().enumerate() {
            let mut balancer = hall.connect_from([127, 0, 0, 9]);
            balancer.send_raw(bytes);
            is_reset(&mut balancer);
            hall.has_turned_away(reason, u32::try_from(count).unwrap() + 1);
        }
    }
    // A header behind a header is nobody's.
    let mut nested = hall.connect_from([127, 0, 0, 9]);
    nested.send_raw(&[version_1("10.1.2.3"), version_1("10.1.2.4")].concat());
    is_reset(&mut nested);
    hall.has_turned_away("proxy_header", 1);
    is_reset(&mut silent);
    is_reset(&mut half);
    hall.has_turned_away("proxy_header_timeout", 2);
    hall.is_door_empty();
}

/// The same for a source of IPv6 and port 4242.
fn version_2_of_v6(source: Ipv6Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    header.extend_from_slice(&source.octets());
    header.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
    header.extend_from_slice(&4242_u16.to_be_bytes());
    header.extend_from_slice(&3333_u16.to_be_bytes());
    header
}

#[test]
fn a_balancer_that_connects_over_ipv6_tells_the_real_address_and_that_is_what_counts() {
    let pool = AutoPool::accepts_all();
    let open = |trusted: &str| {
        let config = Config::new(&pool.url())
            .listen_key(&format!("proxy_protocol: {{ trusted: [\"{trusted}\"] }}"))
            .listen_key("deny: [\"2001:db8:66::/48\", 10.66.0.0/16]");
        let yaml = config.yaml().replace("127.0.0.1:0", "\"[::1]:0\"");
        Proxy::start_with(&["--cores", "1", "-v"], &format!("{}{yaml}", Admin::KEY))
    };
    let closes = |proxy: &Proxy, reason: &str, count: u32| {
        let series = format!("stratum_door_closes_total{{proxy=\"zcash\",reason=\"{reason}\"}}");
        let count = f64::from(count);
        Admin::of(proxy).scrape_until(|it| it.value(&series) == count);
    };
    let version_1 = |source: &str| format!("PROXY TCP6 {source} ::1 4242 3333\r\n").into_bytes();
    let far = "2001:db8::7";
    let headers = [version_1(far), version_2_of_v6(far.parse().unwrap())];

    // By its network.
    let proxy = open("::/64");
    let address = proxy.address("zcash");
    for header in &headers {
        for at in [0, 1, 13, 20, header.len() - 1, header.len()] {
            let mut miner = FakeMiner::connect_to(address);
            miner.send_raw(&header[..at]);
            miner.send_raw(&header[at..]);
            let job = miner.start_mining("t1addr.rig");
            let id = miner.submit(&job, 77);
            miner.expect_accepted(id);
            proxy.log_contains("miner=[2001:db8::7]:4242 worker=\"t1addr.rig\": authorized");
        }
    }
    assert!(proxy.log().contains("connects through [::1]:"));
    let denied = "2001:db8:66::1";
    for header in [
        version_1(denied),
        version_2_of_v6(denied.parse().unwrap()),
        b"PROXY TCP4 10.66.0.1 127.0.0.1 4242 3333\r\n".to_vec(),
    ] {
        let mut miner = FakeMiner::connect_to(address);
        miner.send_raw(&header);
        is_reset(&mut miner);
    }
    closes(&proxy, "denied", 3);
    let mut bare = FakeMiner::connect_to(address);
    bare.send_raw(b"{\"id\":1}\n");
    is_reset(&mut bare);
    closes(&proxy, "proxy_header_missing", 1);

    // Another network is trusted, so this one speaks for himself.
    let proxy = open("2001:db8::/32");
    let address = proxy.address("zcash");
    for header in &headers {
        let mut liar = FakeMiner::connect_to(address);
        liar.send_raw(header);
        is_reset(&mut liar);
    }
    closes(&proxy, "proxy_header_untrusted", 2);
    let mut direct = FakeMiner::connect_to(address);
    let job = direct.start_mining("t1addr.rig");
    let id = direct.submit(&job, 77);
    direct.expect_accepted(id);
}

// Networks.

#[test]
fn networks_are_let_in_or_not_by_the_real_address() {
    let listen = [
        TRUSTED,
        "allow: [127.0.0.0/29, 10.0.0.0/8]",
        "deny: [127.0.0.3, 10.66.0.0/16]",
    ];
    let mut hall = Hall::open(&listen, &[], b"PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\n");
    let mut allowed = hall.connect_from([127, 0, 0, 2]);
    let address = allowed.local_address().to_string();
    hall.mines_as(&mut allowed, &address);
    let mut count = 0;
    for source in [[127, 0, 0, 3], [127, 0, 0, 8]] {
        let mut denied = hall.connect_from(source);
        is_reset(&mut denied);
        count += 1;
        hall.has_turned_away("denied", count);
    }
    // The balancer itself is in none of the networks, and need not be.
    let mut miner = hall.connect_from([127, 0, 0, 9]);
    miner.send_raw(&version_1("10.1.2.3"));
    hall.mines_as(&mut miner, "10.1.2.3:4242");
    for source in ["10.66.0.1", "192.0.2.1", "127.0.0.3"] {
        let mut denied = hall.connect_from([127, 0, 0, 9]);
        denied.send_raw(&[version_1(source), b"{\"id\":1}\n".to_vec()].concat());
        is_reset(&mut denied);
        count += 1;
        hall.has_turned_away("denied", count);
    }
    assert!(
        hall.proxy
            .log()
            .contains("miner=10.66.0.1:4242 reason=denied")
    );
    hall.is_door_empty();
}

#[test]
fn a_balancer_may_look_whether_we_are_there_and_not_mine() {
    let mut hall = Hall::open(
        &[TRUSTED, "allow: [10.0.0.0/8]"],
        &[],
        &version_1("10.1.2.3"),
    );
    for header in [
        &b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"[..],
        b"PROXY UNKNOWN\r\n",
    ] {
        let mut check = hall.connect_from([127, 0, 0, 9]);
        check.send_raw(header);
        check.close();
    }
    hall.has_turned_away("left", 2);
    // Who says something without an address has the balancer's own.
    let mut nobody = hall.connect_from([127, 0, 0, 9]);
    nobody.send_raw(b"PROXY UNKNOWN\r\n{\"id\":1}\n");
    is_reset(&mut nobody);
    hall.has_turned_away("denied", 1);
    hall.is_door_empty();
    let told = hall.proxy.log();
    assert_eq!(told.matches("turned away").count(), 1, "{told}");
}

// How many.

/// Lets a miner go and waits until the proxy knows.
#[track_caller]
fn leaves(hall: &Hall, miner: FakeMiner) {
    let ends = ["stratum_miner_closes_total", "stratum_door_closes_total"];
    let before = hall.admin.scrape();
    let before = ends.map(|it| before.sum(it)).iter().sum::<f64>();
    miner.close();
    hall.admin
        .scrape_until(|it| ends.map(|end| it.sum(end)).iter().sum::<f64>() > before);
}

#[test]
fn a_full_proxy_or_listener_closes_one_more_until_another_leaves() {
    for (listen_keys, keys, reason, cure) in [
        (
            &["connections_max: 3"][..],
            &[][..],
            "listener_connections_max",
            "its connections_max allows",
        ),
        (
            &[],
            &["limits: { connections_max: 3 }"],
            "connections_max",
            "limits.connections_max",
        ),
    ] {
        let mut hall = Hall::open(listen_keys, keys, NOTHING);
        let mut miner = hall.connect_from([127, 0, 0, 2]);
        let address = miner.local_address().to_string();
        hall.mines_as(&mut miner, &address);
        // One that has not said a word has its place too.
        let silent = hall.connect_from([127, 0, 0, 3]);
        for count in 1..=2 {
            let mut one_more = hall.connect_from([127, 0, 0, 4]);
            is_reset(&mut one_more);
            hall.has_turned_away(reason, count);
        }
        let told = format!("reason={reason}: turned away");
        assert!(hall.proxy.log_contains(&told).contains(cure));
        let mut inside = Vec::new();
        for who in [silent, miner] {
            leaves(&hall, who);
            let mut next = hall.connect_from([127, 0, 0, 4]);
            let address = next.local_address().to_string();
            hall.mines_as(&mut next, &address);
            inside.push(next);
        }
        let mut one_more = hall.connect_from([127, 0, 0, 4]);
        is_reset(&mut one_more);
        hall.has_turned_away(reason, 3);
    }
}

#[test]
fn a_handshake_that_fails_gives_its_place_back() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let certificate = TempFile::new(&certificate.pem());
    let key = TempFile::new(&key.serialize_pem());
    let tls = format!(
        "tls: {{ mode: auto, certificate: {:?}, key: {:?} }}",
        certificate.path(),
        key.path()
    );
    let listen_keys = ["connections_max: 2", tls.as_str()];
    let keys = ["limits: { connections_max: 2, connections_per_address_max: 1 }"];
    let mut hall = Hall::open(&listen_keys, &keys, NOTHING);
    let mut failures = 0.0;
    let mut has_failed = |hall: &Hall| {
        failures += 1.0;
        let failed = |it: &Scrape| it.sum("stratum_tls_failures_total");
        hall.admin.scrape_until(|it| failed(it) == failures);
    };
    for _ in 0..3 {
        let mut broken = hall.connect_from([127, 0, 0, 2]);
        broken.send_raw(b"\x16\x03\x01\0\x06\x01\0\0\x02\xff\xff");
        // An alert may come first, and its bytes may look like a line.
        while broken.hear(PATIENCE) != Heard::Closed {}
        has_failed(&hall);
        let mut left = hall.connect_from([127, 0, 0, 2]);
        left.send_raw(b"\x16\x03\x01\x02");
        left.close();
        has_failed(&hall);
    }
    let mut miner = hall.connect_from([127, 0, 0, 2]);
    let address = miner.local_address().to_string();
    hall.mines_as(&mut miner, &address);
    let mut one_more = hall.connect_from([127, 0, 0, 2]);
    is_reset(&mut one_more);
    hall.has_turned_away("listener_connections_max", 1);
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let keys = ["limits: { connections_per_address_max: 2 }"];
    let mut hall = Hall::open(&[TRUSTED], &keys, b"PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\n");
    let mut count = 0;
    let mut inside = Vec::new();
    // Directly, and through a balancer, whose own address is nobody's.
    for (source, header) in [
        ([127, 0, 0, 2], NOTHING.to_vec()),
        ([127, 0, 0, 3], NOTHING.to_vec()),
        ([127, 0, 0, 9], version_1("10.1.2.3")),
        ([127, 0, 0, 9], version_2([10, 1, 2, 4])),
    ] {
        for _ in 0..2 {
            let mut miner = hall.connect_from(source);
            miner.send_raw(&header);
            miner.start_mining("t1addr.rig");
            inside.push((source, header.clone(), miner));
        }
        let mut one_more = hall.connect_from(source);
        one_more.send_raw(&header);
        is_reset(&mut one_more);
        count += 1;
        hall.has_turned_away("connections_per_address_max", count);
    }
    while let Some((source, header, miner)) = inside.pop() {
        leaves(&hall, miner);
        let mut next = hall.connect_from(source);
        next.send_raw(&header);
        next.start_mining("t1addr.rig");
        leaves(&hall, next);
    }
    hall.has_turned_away("connections_per_address_max", count);
}

#[test]
fn accepts_keep_their_pace_and_nobody_is_refused() {
    let mut hall = Hall::open_with("accepts_per_second: 40\n", &[], &[], NOTHING);
    let mut miners: Vec<FakeMiner> = (0..120)
        .map(|_| {
            let mut miner = hall.connect_from([127, 0, 0, 2]);
            miner.send_subscribe();
            miner
        })
        .collect();
    for miner in &mut miners {
        miner.expect_subscribed(1);
    }
    let paced = hall.admin.scrape().value("stratum_accepts_paced_total");
    assert!(paced >= 1.0, "{paced}");
    let connects = "stratum_miner_connects_total{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(connects) == 121.0);
    hall.has_turned_away("left", 0);
}

// A real balancer.

/// It ends with the test.
struct Balancer(std::process::Child);

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The miners come through `HAProxy`, as Debian has it.
#[test]
fn haproxy_tells_the_real_addresses_in_both_versions() {
    use std::process::{Command, Stdio};

    let Some(haproxy) = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        return skip_without("haproxy");
    };
    for send in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        let mut hall = Hall::open(&[TRUSTED], &[], b"PROXY UNKNOWN\r\n");
        let target = hall.proxy.address("zcash");
        // HAProxy can't say which port it chose; this one was free a moment ago.
        let front = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        drop(front);
        let config = TempFile::new(&format!(
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
             frontend miners\n  bind {address}\n  unique-id-format x%rt\n  default_backend proxies\n\
             backend proxies\n  server one {target} {send} source 127.0.0.9\n"
        ));
        let child = Command::new(haproxy)
            .args(["-db", "-q", "-f", config.path().to_str().unwrap()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut balancer = Balancer(child);
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            let ended = balancer.0.try_wait().unwrap();
            assert!(ended.is_none(), "haproxy ended: {send}");
            assert!(
                std::time::Instant::now() < deadline,
                "haproxy never listens"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        for last in [21, 22, 23] {
            let mut miner = FakeMiner::connect_from([127, 0, 0, last], address);
            let real = miner.local_address().to_string();
            hall.mines_as(&mut miner, &real);
            let told = format!("miner={real}: connects through 127.0.0.9:");
            assert!(hall.proxy.log().contains(&told), "{send}");
        }
    }
}
