//! SIGHUP: the config is read again while miners are in. What can change changes, the rest is told of, and
//! a mistake changes nothing.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::line::Heard;
use crate::support::proxy::TempFile;
use crate::support::scrape::Admin;
use crate::support::tls::{Certificates, Client, TLS_1_3};
use crate::support::{AutoPool, Config, FakeMiner, Job, PATIENCE, Proxy};

/// A proxy with TLS, and its config.
struct Hall {
    proxy: Proxy,
    pool: AutoPool,
    certificates: Certificates,
    admin: Admin,
}

impl Hall {
    fn open() -> Self {
        let (pool, certificates) = (AutoPool::accepts_all(), Certificates::new());
        let yaml = yaml(&pool, &certificates, &[], "");
        let proxy = Proxy::start_with(&["--cores", "2", "-v"], &yaml);
        let admin = Admin::of(&proxy);
        Self {
            proxy,
            pool,
            certificates,
            admin,
        }
    }

    /// The config has these keys of the listener and of the proxy from now on.
    fn reread(&self, listen_keys: &[&str], keys: &str) {
        let yaml = yaml(&self.pool, &self.certificates, listen_keys, keys);
        self.proxy.reread(&yaml);
    }

    fn connect_from(&self, source: [u8; 4]) -> FakeMiner {
        FakeMiner::connect_from(source, self.proxy.address("zcash"))
    }

    fn mining_from(&self, source: [u8; 4]) -> (FakeMiner, Job) {
        let mut miner = self.connect_from(source);
        let job = miner.start_mining("t1addr.rig");
        (miner, job)
    }

    #[track_caller]
    fn counts(&self, name: &str, reason: &str, count: u32) {
        let series = format!("{name}{{proxy=\"zcash\",reason=\"{reason}\"}}");
        let count = f64::from(count);
        self.admin.scrape_until(|it| it.value(&series) == count);
    }
}

fn yaml(pool: &AutoPool, certificates: &Certificates, listen_keys: &[&str], keys: &str) -> String {
    let config = Config::new(&pool.url()).listen_key(&certificates.key(", mode: auto"));
    let config = listen_keys
        .iter()
        .fold(config, |config, key| config.listen_key(key));
    let config = if keys.is_empty() {
        config
    } else {
        config.key(keys)
    };
    format!("{}{}", Admin::KEY, config.yaml())
}

#[track_caller]
fn mines(miner: &mut FakeMiner, job: &Job, seed: u64) {
    let id = miner.submit(job, seed);
    miner.expect_accepted(id);
}

/// Waits until something is so: a shard takes up what is new at its next tick.
#[track_caller]
fn becomes(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never became so");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the proxy answers a miner that begins so.
fn lets_in(hall: &Hall, source: [u8; 4], header: &[u8]) -> bool {
    let mut miner = hall.connect_from(source);
    miner.send_raw(header);
    miner.send_subscribe();
    matches!(miner.hear(PATIENCE), Heard::Line(_))
}

const ROGUE: [u8; 4] = [127, 0, 0, 3];
const OTHER: [u8; 4] = [127, 0, 0, 2];

#[test]
fn whom_deny_names_goes_wherever_he_is_and_nobody_else() {
    let hall = Hall::open();
    let (mut honest, job) = hall.mining_from(OTHER);
    let mut rogues: Vec<FakeMiner> = (0..4).map(|_| hall.mining_from(ROGUE).0).collect();
    // One that has said nothing yet, and one in the middle of its TLS hello.
    let silent = hall.connect_from(ROGUE);
    let mut half = hall.connect_from(ROGUE);
    let hello = Client::new(TLS_1_3).hello();
    half.send_raw(&hello[..hello.len() - 1]);
    let connections = "stratum_door_waiting{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(connections) == 1.0);

    hall.reread(&["deny: [127.0.0.3]"], "");
    rogues.extend([silent, half]);
    for rogue in &mut rogues {
        rogue.expect_closed();
    }
    hall.counts("stratum_miner_closes_total", "network_denied", 4);
    hall.counts("stratum_door_closes_total", "denied", 2);
    hall.admin.scrape_until(|it| it.value(connections) == 0.0);
    hall.connect_from(ROGUE).expect_closed();
    hall.counts("stratum_door_closes_total", "denied", 3);
    mines(&mut honest, &job, 1);

    hall.reread(&[], "");
    becomes(|| lets_in(&hall, ROGUE, b""));
    mines(&mut honest, &job, 2);
}

#[test]
fn a_narrower_allow_is_for_newcomers() {
    let hall = Hall::open();
    let (mut before, job) = hall.mining_from(OTHER);
    hall.reread(&["allow: [127.0.0.3]"], "");
    becomes(|| !lets_in(&hall, OTHER, b""));
    mines(&mut before, &job, 1);
    let (mut allowed, job) = hall.mining_from(ROGUE);
    mines(&mut allowed, &job, 2);
}

#[test]
fn who_is_trusted_to_tell_an_address_can_change() {
    let hall = Hall::open();
    let header = b"PROXY TCP4 10.1.2.3 127.0.0.1 4242 3333\r\n";
    let mut early = hall.connect_from(OTHER);
    early.send_raw(header);
    early.expect_closed();
    hall.counts("stratum_door_closes_total", "proxy_header", 1);
    hall.reread(&["proxy_protocol: { trusted: [127.0.0.2] }"], "");
    becomes(|| lets_in(&hall, OTHER, header));
    hall.proxy.log_contains("miner=10.1.2.3:4242");
}

#[test]
fn a_mistake_in_the_config_changes_nothing_and_names_its_line() {
    let hall = Hall::open();
    let (mut honest, job) = hall.mining_from(OTHER);
    hall.reread(&["deny: [127.0.0.2/8]"], "");
    let line = hall.proxy.log_contains("has bits behind its prefix");
    assert!(
        line.contains("line ") && line.contains("listen[0].deny"),
        "{line}"
    );
    hall.proxy.log_contains("the config that is in use stays");
    hall.proxy.reread("proxies: [");
    hall.proxy.log_contains("while parsing a flow node");
    mines(&mut honest, &job, 1);
    let (mut other, job) = hall.mining_from(ROGUE);
    mines(&mut other, &job, 2);
}

#[test]
fn what_holds_from_the_next_start_is_named() {
    let hall = Hall::open();
    let (mut honest, job) = hall.mining_from(OTHER);
    hall.reread(&["deny: [127.0.0.3]"], "limits: { connections_max: 1 }");
    let line = hall.proxy.log_contains("holds from the next start");
    assert!(
        line.contains("proxy=zcash: SIGHUP: what changed in limits"),
        "{line}"
    );
    // What can change has changed all the same, and of the rest nothing.
    hall.proxy.log_contains("were read again");
    becomes(|| !lets_in(&hall, ROGUE, b""));
    let (mut second, second_job) = hall.mining_from(OTHER);
    mines(&mut second, &second_job, 1);
    mines(&mut honest, &job, 2);
}

#[test]
fn a_workers_file_may_have_another_name() {
    let workers = TempFile::new("- name: t1addr.old\n");
    let others = TempFile::new("- name: t1addr.new\n");
    let pool = AutoPool::accepts_all();
    let yaml = |file: &TempFile| {
        let path = file.path().display();
        let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
        Config::new(&pool.url()).key(&mode).yaml()
    };
    let proxy = Proxy::one_shard(&yaml(&workers));
    let mut old = FakeMiner::connect(&proxy);
    let old_job = old.start_mining("t1addr.old");
    proxy.reread(&yaml(&others));
    let name = others.path().display().to_string();
    let line = proxy.log_contains("may mine from now on");
    assert!(line.contains(&name), "{line}");
    // A shard takes it up at its next tick; who mines goes on.
    let authorize = |worker: &str| {
        let mut miner = FakeMiner::connect(&proxy);
        miner.subscribe();
        miner.request("mining.authorize", &format!("[\"{worker}\",\"x\"]"))
    };
    becomes(|| authorize("t1addr.new").is_accepted());
    authorize("t1addr.old").assert_error(24);
    mines(&mut old, &old_job, 1);
}

#[test]
fn a_broken_certificate_stays_as_it_was_and_keeps_no_other_listener_from_its_own() {
    let (broken, other) = (Certificates::new(), Certificates::new());
    let pool = AutoPool::accepts_all();
    let second = format!("\n      - address: 127.0.0.1:0\n        {}", other.key(""));
    let keys = broken.key("") + &second;
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).listen_key(&keys).yaml());
    let addresses = proxy.addresses();
    let shown = |listener: usize| {
        let (connection, _) = Client::new(TLS_1_3).shake(addresses[listener]).unwrap();
        connection.peer_certificates().unwrap()[0].to_vec()
    };
    let old = broken.der("hall");
    broken.make("hall", "new.example");
    std::fs::write(broken.path("hall.key"), "nothing").unwrap();
    other.make("hall", "new.example");
    proxy.signal("HUP");
    let line = proxy.log_contains("no key is in it");
    assert!(line.contains("listen[0].tls.key"), "{line}");
    assert!(line.contains(&broken.path("hall.key")), "{line}");
    proxy.log_contains("listen[0]: the certificates that are in use stay");
    proxy.log_contains("were read again");
    // A shard takes it up at its next tick.
    let deadline = Instant::now() + PATIENCE;
    while shown(1) != other.der("hall") {
        assert!(Instant::now() < deadline, "never taken up");
    }
    assert_eq!(shown(0), old);
    // And when it is mended it is taken up as well.
    broken.make("hall", "newer.example");
    proxy.signal("HUP");
    while shown(0) != broken.der("hall") {
        assert!(Instant::now() < deadline, "never taken up");
    }
}
