//! What the process tells (its log, its metrics, its answer to a check) has no secret in it; and what it does
//! not need it does not have.

use crate::support::proxy::TempFile;
use crate::support::scrape::Admin;
use crate::support::tls::{Certificates, Client, TLS_1_3};
use crate::support::{
    Config, FakeMiner, FakePool, Json, NONCE_1, PATIENCE, POOL_PASSWORD, PoolLink, Program, Proxy,
};

/// Where the miners of this file come from; the pools are at another address.
const HALL: [u8; 4] = [127, 0, 0, 21];

/// Passwords, each in one place alone, so that a leak says where it was.
const PLAIN: &str = "pl4in-Pa55";
const HASHED: &str = "h4shed-Pa55";
const WRONG: &str = "wr0ng-Pa55";
const AT_THE_POOL: &str = "p00l-w0rker-Pa55";
const MISTAKEN: &str = "m1staken-Pa55";

/// Two proxies, one with the workers of a file and TLS, one whose pool knows its workers; and all that must
/// not be told of them.
struct Hall {
    proxy: Proxy,
    admin: Admin,
    certificates: Certificates,
    workers: TempFile,
    yaml: String,
    /// The link of each proxy.
    links: [PoolLink; 2],
    _pools: [FakePool; 2],
    secrets: Vec<String>,
}

impl Hall {
    fn open() -> Self {
        let certificates = Certificates::new();
        let hash = bcrypt::hash_with_salt(HASHED, 4, [7; 16])
            .unwrap()
            .to_string();
        let workers = TempFile::new(&format!(
            "- name: rig-plain\n  password: {PLAIN}\n- name: rig-hashed\n  password_hash: \"{hash}\"\n"
        ));
        let pools = [FakePool::start(), FakePool::start()];
        let path = workers.path().display();
        let local = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
        let config = Config::new(&pools[0].url())
            .listen_key(&certificates.key(", mode: auto"))
            .key(&local)
            .proxy("asks", &pools[1].url())
            .key("authorize: { mode: pool }");
        let yaml = format!("{}{}", Admin::KEY, config.yaml());
        let proxy = Proxy::start_with(&["--cores", "1", "-vv"], &yaml);
        let admin = Admin::of(&proxy);
        let links = [("zcash", &pools[0]), ("asks", &pools[1])].map(|(name, pool)| {
            let mut first = FakeMiner::connect_from(HALL, proxy.address(name));
            first.send_subscribe();
            pool.accept_ready(NONCE_1)
        });
        let mut secrets = [PLAIN, HASHED, WRONG, AT_THE_POOL, MISTAKEN, POOL_PASSWORD]
            .map(str::to_owned)
            .to_vec();
        // Salt and digest; what stands before them says the algorithm alone.
        secrets.push(hash[hash.len() - 53..].to_owned());
        secrets.extend(lines_of_key(&certificates));
        Self {
            proxy,
            admin,
            certificates,
            workers,
            yaml,
            links,
            _pools: pools,
            secrets,
        }
    }

    fn miner(&self, proxy: &str) -> FakeMiner {
        let mut miner = FakeMiner::connect_from(HALL, self.proxy.address(proxy));
        miner.subscribe();
        miner
    }

    #[track_caller]
    fn has_no_secret(&self, text: &str) {
        assert!(!text.is_empty());
        for secret in &self.secrets {
            assert!(!text.contains(secret.as_str()), "`{secret}` in:\n{text}");
        }
    }

    /// What `--check` says of a config, and how it ends.
    fn check(yaml: &str) -> (i32, String) {
        let file = TempFile::new(yaml);
        let mut program = Program::run(["-vv", "--check", file.path().to_str().unwrap()]);
        let code = program.wait_exit(PATIENCE);
        (code, program.log() + &program.stdout())
    }
}

/// The inner lines of the key's PEM, and their parts.
fn lines_of_key(certificates: &Certificates) -> Vec<String> {
    let pem = std::fs::read_to_string(certificates.path("hall.key")).unwrap();
    let inner = pem.lines().filter(|line| !line.starts_with("-----"));
    let parts: Vec<String> = inner.map(|line| line[..24].to_owned()).collect();
    assert!(parts.len() >= 2, "{pem}");
    parts
}

fn authorize(miner: &mut FakeMiner, worker: &str, password: &str) -> u64 {
    let params = format!("[{},{}]", Json::from(worker), Json::from(password));
    miner.send_request("mining.authorize", &params)
}

#[test]
fn nothing_secret_is_in_what_is_told_and_nobody_in_the_metrics() {
    let mut hall = Hall::open();
    let mut inside = Vec::new();
    for (worker, password) in [("rig-plain", PLAIN), ("rig-hashed", HASHED)] {
        let mut miner = hall.miner("zcash");
        let id = authorize(&mut miner, worker, WRONG);
        miner.expect_error(id, 24);
        let id = authorize(&mut miner, worker, password);
        miner.expect_accepted(id);
        inside.push(miner);
    }
    // Over TLS too.
    let bridge = Client::new(TLS_1_3).bridge(hall.proxy.address("zcash"));
    let mut miner = FakeMiner::connect_to(bridge.address);
    miner.subscribe();
    let id = authorize(&mut miner, "rig-plain", PLAIN);
    miner.expect_accepted(id);
    inside.push(miner);
    // A pool that is asked for workers hears their passwords, and nobody else does.
    for (worker, is_allowed) in [("rig-denied", false), ("rig-known", true)] {
        let mut miner = hall.miner("asks");
        let id = authorize(&mut miner, worker, AT_THE_POOL);
        let asked = hall.links[1].expect("mining.authorize");
        assert_eq!(asked.params.at(1).text(), AT_THE_POOL);
        if is_allowed {
            hall.links[1].accept(&asked.id);
            miner.expect_accepted(id);
        } else {
            hall.links[1].reject(&asked.id, 24, "Unknown worker");
            miner.expect_error(id, 24);
        }
        inside.push(miner);
    }
    // A line that can't be read, with a password in it.
    let mut broken = hall.miner("zcash");
    broken.send_line(&format!(
        "{{\"id\":7,\"method\":\"mining.authorize\",\"params\":[\"rig-plain\",\"{PLAIN}\""
    ));
    inside.push(broken);

    // SIGHUP with a mistake in each file.
    std::fs::write(
        hall.workers.path(),
        format!("- name: rig-plain\n  pasword: {MISTAKEN}\n"),
    )
    .unwrap();
    hall.proxy.signal("HUP");
    hall.proxy
        .log_contains("the workers file before it holds on");
    let misspelt = hall.yaml.replace("password:", "pasword:");
    hall.proxy.reread(&misspelt);
    hall.proxy.log_contains("the config that is in use stays");
    let key = hall.certificates.path("hall.key");
    let pem = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, pem.replace("-----END", "?\n-----END")).unwrap();
    hall.proxy.reread(&hall.yaml);
    hall.proxy.log_contains("hall.key");

    // What it says on the way out counts as well.
    let metrics = ["/metrics", "/healthz", "/readyz"].map(|path| hall.admin.get(path).body);
    hall.proxy.signal("TERM");
    assert_eq!(hall.proxy.wait_exit(PATIENCE), 0);
    let log = hall.proxy.log();
    assert!(
        log.contains("rig-plain") && log.contains("rig-known"),
        "{log}"
    );
    hall.has_no_secret(&log);
    let address = std::net::Ipv4Addr::from(HALL).to_string();
    assert!(log.contains(&address), "{log}");
    for page in metrics {
        hall.has_no_secret(&page);
        for told in ["rig-", "t1account", &address] {
            assert!(!page.contains(told), "{told}:\n{page}");
        }
    }
}

#[test]
fn a_check_shows_no_secret_of_a_good_config_or_a_broken_one() {
    let hall = Hall::open();
    let (code, told) = Hall::check(&hall.yaml);
    assert_eq!(code, 0, "{told}");
    hall.has_no_secret(&told);
    for (mistake, cure) in [("password:", "pasword:"), ("worker: ", "worker: [")] {
        let (code, told) = Hall::check(&hall.yaml.replace(mistake, cure));
        assert_eq!(code, 2, "{told}");
        hall.has_no_secret(&told);
    }
    let key = hall.certificates.path("hall.key");
    let pem = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, pem.replace("-----END", "?\n-----END")).unwrap();
    let (code, told) = Hall::check(&hall.yaml);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("hall.key"), "{told}");
    hall.has_no_secret(&told);
}

/// The value of a line of `/proc/PID/status`.
fn status_of(process: &str, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim().to_owned()
}

const NO_CAPABILITY: &str = "0000000000000000";

#[test]
fn it_mines_without_a_capability_and_has_no_file_open_for_writing() {
    const O_ACCMODE: u32 = 3;
    // Whoever has capabilities gives them up for it; others have none to give.
    let wrap: &[&str] = match status_of("self", "CapEff:").as_str() {
        NO_CAPABILITY => &[],
        _ => &[
            "setpriv",
            "--inh-caps=-all",
            "--bounding-set=-all",
            "--no-new-privs",
        ],
    };
    let pool = FakePool::start();
    let yaml = format!("{}{}", Admin::KEY, Config::new(&pool.url()).yaml());
    let proxy = Proxy::start_wrapped(wrap, &["--cores", "1"], &yaml);
    let mut miner = FakeMiner::connect_to(proxy.address("zcash"));
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    miner.expect_accepted(id);
    assert_eq!(Admin::of(&proxy).get("/healthz").status, 200);

    let process = proxy.pid().to_string();
    for set in ["CapEff:", "CapPrm:", "CapAmb:"] {
        assert_eq!(status_of(&process, set), NO_CAPABILITY, "{set}");
    }
    let mut files = 0;
    for entry in std::fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let entry = entry.unwrap();
        // One that is closed meanwhile is none.
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        if !target.is_absolute() {
            continue;
        }
        let number = entry.file_name().into_string().unwrap();
        let Ok(info) = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        assert_eq!(flags & O_ACCMODE, 0, "{} is writable", target.display());
        files += 1;
    }
    assert!(files > 0, "not even standard input was seen");
}
