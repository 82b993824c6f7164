//! The admin port: what it says, and whom it lets say what.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::support::proxy::TempFile;
use crate::support::scrape::{Admin, Client};
use crate::support::tls::Certificates;
use crate::support::{
    AutoPool, Config, FakeMiner, FakePool, NONCE_1, PATIENCE, POOL_WORKER, Program, Proxy, Scene,
    Verdict,
};

/// A time-out of the admin port, and what a busy machine adds.
const LONGEST: Duration = Duration::from_secs(60);

fn yaml(url: &str, keys: &[&str]) -> String {
    Admin::KEY.to_owned() + &Config::new(url).keys(keys).yaml()
}

fn idle() -> (FakePool, Proxy, Admin) {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&yaml(&pool.url(), &[]));
    let admin = Admin::of(&proxy);
    (pool, proxy, admin)
}

#[test]
fn figures_are_summed_over_the_shards() {
    let pool = AutoPool::start(|submit| match submit.nonce_2.ends_with('1') {
        true => Verdict::Accept,
        false => Verdict::Reject(23, "low"),
    });
    let proxy = Proxy::start(&yaml(&pool.url(), &[]));
    let admin = Admin::of(&proxy);
    let mut miners: Vec<_> = (0..40)
        .map(|rig| FakeMiner::mining(&proxy, &format!("t1addr.rig{rig}")))
        .collect();
    for (miner, job) in &mut miners {
        let ids = [1, 2].map(|seed| miner.submit(job, seed));
        miner.expect_accepted(ids[0]);
        miner.expect_error(ids[1], 23);
        let again = miner.submit(job, 1);
        miner.expect_error(again, 22);
    }
    let of = |name: &str| format!("{name}{{proxy=\"zcash\"}}");
    let refused = "stratum_requests_refused_total{proxy=\"zcash\",reason=\"duplicate\"}";
    let scrape = admin.scrape_until(|it| it.value(refused) >= 40.0);
    for (name, expected) in [
        ("stratum_miners", 40.0),
        ("stratum_miners_mining", 40.0),
        ("stratum_miners_waiting", 0.0),
        ("stratum_miner_connects_total", 40.0),
        ("stratum_slots", 131_072.0),
        ("stratum_slots_taken", 40.0),
        ("stratum_submits_total", 120.0),
        ("stratum_shares_accepted_total", 40.0),
        ("stratum_shares_rejected_total", 40.0),
        ("stratum_jobs_total", 2.0),
        ("stratum_without_pool_seconds", 0.0),
        ("stratum_share_reply_seconds_count", 80.0),
    ] {
        assert_eq!(scrape.value(&of(name)), expected, "{name}");
    }
    let last = "stratum_share_reply_seconds_bucket{le=\"+Inf\",proxy=\"zcash\"}";
    assert_eq!(scrape.value(last), 80.0);
    let links = format!(
        "stratum_pool_links_up{{proxy=\"zcash\",pool=\"{}\"}}",
        pool.url()
    );
    assert_eq!(scrape.value(&links), 2.0);
    // Both shards have some: a farm of 40 on one of two has a chance of 1 in 2^39.
    let held = [0, 1]
        .map(|shard| scrape.value(&format!("stratum_shard_connections{{shard=\"{shard}\"}}")));
    assert!(held[0] > 0.0 && held[1] > 0.0, "{held:?}");
    assert_eq!(held[0] + held[1], 40.0);
    let started = scrape.value("process_start_time_seconds");
    let job = scrape.value(&of("stratum_last_job_timestamp_seconds"));
    assert!(job >= started && started > 1e9, "{job} {started}");
    assert!(scrape.value("process_resident_memory_bytes") > 1e6);

    drop(miners);
    let scrape = admin.scrape_until(|it| it.value(&of("stratum_miners")) == 0.0);
    assert_eq!(scrape.sum("stratum_miner_closes_total"), 40.0);
    assert_eq!(scrape.value(&of("stratum_slots_taken")), 0.0);
}

#[test]
fn counters_never_fall() {
    let pool = AutoPool::accepts_all();
    let proxy = Proxy::start(&yaml(&pool.url(), &[]));
    let admin = Admin::of(&proxy);
    let mut before = admin.scrape();
    for rig in 0..10 {
        let (mut miner, job) = FakeMiner::mining(&proxy, &format!("t1addr.rig{rig}"));
        let id = miner.submit(&job, 1);
        miner.expect_accepted(id);
        let scrape = admin.scrape();
        for (series, value) in &scrape.samples {
            let counts = series.contains("_total") || series.contains("_bucket");
            assert!(!counts || *value >= before.samples[series], "{series}");
        }
        before = scrape;
    }
}

#[test]
fn two_proxies_and_two_pools_have_series_of_their_own() {
    let pools = [(); 3].map(|()| AutoPool::accepts_all());
    let config = Config::new(&pools[0].url())
        .fallback(&pools[1].url())
        .proxy("other", &pools[2].url());
    let proxy = Proxy::start(&(Admin::KEY.to_owned() + &config.yaml()));
    let (mut miner, job) = FakeMiner::mining_at(proxy.address("other"), "t1addr.rig1");
    let id = miner.submit(&job, 1);
    miner.expect_accepted(id);
    let accepted = |name: &str| format!("stratum_shares_accepted_total{{proxy=\"{name}\"}}");
    let scrape = Admin::of(&proxy).scrape_until(|it| it.value(&accepted("other")) == 1.0);
    assert_eq!(scrape.value(&accepted("zcash")), 0.0);
    let up = |name: &str, pool: &AutoPool| {
        let url = pool.url();
        scrape.value(&format!(
            "stratum_pool_links_up{{proxy=\"{name}\",pool=\"{url}\"}}"
        ))
    };
    assert_eq!(up("zcash", &pools[0]) + up("zcash", &pools[1]), 0.0);
    assert_eq!(up("other", &pools[2]), 1.0);
}

#[test]
fn the_document_lists_every_series_and_reason_and_no_other() {
    let (_pool, _proxy, admin) = idle();
    let scrape = admin.scrape();
    let told: BTreeMap<String, String> = scrape
        .types
        .into_iter()
        .map(|(family, kind)| match kind.as_str() {
            "counter" => (family + "_total", kind),
            "info" => (family + "_info", kind),
            _ => (family, kind),
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once("## Every series").unwrap();
    let mut parts = text.split("\n### Reasons of `");
    let rows = |part: &str| -> Vec<(String, String)> {
        let rows = part.lines().filter_map(|line| {
            let (first, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            Some((first.to_owned(), rest.to_owned()))
        });
        rows.collect()
    };
    let table = rows(parts.next().unwrap()).into_iter();
    let listed: BTreeMap<String, String> = table
        .map(|(name, rest)| (name, rest.split_once(" |").unwrap().0.to_owned()))
        .collect();
    assert_eq!(listed, told);

    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in scrape.samples.keys() {
        if let Some((labels, reason)) = series.split_once("reason=\"") {
            let (name, reason) = (labels.split('{').next(), reason.split('"').next());
            let reasons = told.entry(name.unwrap().to_owned()).or_default();
            reasons.insert(reason.unwrap().to_owned());
        }
    }
    let listed: BTreeMap<String, BTreeSet<String>> = parts
        .map(|part| {
            let (name, part) = part.split_once('`').unwrap();
            let reasons = rows(part).into_iter().map(|(reason, _)| reason);
            (name.to_owned(), reasons.collect())
        })
        .collect();
    assert_eq!(listed, told);
}

/// Every word of a text that can only be the name of a series, with what follows it.
fn series_in(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = ["stratum_", "process_"].into_iter();
    let starts = starts.flat_map(|start| text.match_indices(start));
    starts.filter_map(move |(at, start)| {
        if text[..at].ends_with(is_letter) {
            return None;
        }
        let rest = &text[at..];
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        // The name of the crate, and the start of names.
        let is_name = end > start.len() && !rest[..end].starts_with("stratum_uring");
        is_name.then_some(rest.split_at(end))
    })
}

#[test]
fn alerts_and_documents_name_series_and_reasons_that_there_are() {
    let (_pool, _proxy, admin) = idle();
    let scrape = admin.scrape();
    let is_series = |name: &str| {
        let is_of = |(family, kind): (&String, &String)| {
            let suffixes: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count", ""],
                _ => &[""],
            };
            let suffix = name.strip_prefix(family.as_str());
            suffix.is_some_and(|it| suffixes.contains(&it))
        };
        scrape.types.iter().any(is_of)
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for file in [
        "README.md",
        "docs/metrics.md",
        "docs/operating.md",
        "docs/security.md",
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for (name, _) in series_in(&text) {
            assert!(is_series(name), "{file}: {name}");
            named += 1;
        }
    }
    assert!(named > 80, "{named}");

    let rules = std::fs::read_to_string(root.join("contrib/prometheus-rules.yaml")).unwrap();
    let rules: serde_yaml::Value = serde_yaml::from_str(&rules).unwrap();
    let of = |value: &serde_yaml::Value, key: &str| value[key].as_str().unwrap().to_owned();
    let groups = rules["groups"].as_sequence().unwrap();
    let rules = groups
        .iter()
        .flat_map(|it| it["rules"].as_sequence().unwrap());
    let mut alerts = BTreeSet::new();
    for rule in rules {
        let (alert, expr) = (of(rule, "alert"), of(rule, "expr"));
        assert!(["page", "ticket"].contains(&of(&rule["labels"], "severity").as_str()));
        assert!(of(&rule["annotations"], "summary").len() > 20, "{alert}");
        let mut has_series = expr.contains("up{");
        for (name, behind) in series_in(&expr) {
            assert!(is_series(name), "{alert}: {name}");
            has_series = true;
            let Some((labels, _)) = behind.strip_prefix('{').and_then(|it| it.split_once('}'))
            else {
                continue;
            };
            let Some((_, reasons)) = labels.split_once("reason") else {
                continue;
            };
            let reasons = reasons.split('"').nth(1).unwrap();
            for reason in reasons.split('|') {
                let series = format!("{name}{{proxy=\"zcash\",reason=\"{reason}\"}}");
                assert!(scrape.samples.contains_key(&series), "{alert}: {series}");
            }
        }
        assert!(has_series, "{alert}");
        assert!(alerts.insert(alert.clone()), "{alert} twice");
    }
    assert!(alerts.len() >= 15, "{alerts:?}");
    // Whoever is woken finds what to look at.
    let text = std::fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let words = text.split('`').filter(|word| word.starts_with("Stratum"));
    assert_eq!(words.map(str::to_owned).collect::<BTreeSet<_>>(), alerts);
}

#[test]
fn when_certificates_run_out_is_told_and_told_anew_after_a_reload() {
    let certificates = Certificates::new();
    certificates.make_until("hall", "hall.example", (2031, 1, 1));
    certificates.make_until("other", "other.example", (2030, 1, 1));
    certificates.make_until("farm", "farm.example", (2032, 1, 1));
    let path = |file: &str| certificates.path(file);
    let other = format!(
        ", certificates: [{{ certificate: \"{}\", key: \"{}\" }}]",
        path("other.pem"),
        path("other.key")
    );
    let ours = format!(
        "tls: {{ insecure: true, certificate: \"{}\", key: \"{}\" }}",
        path("farm.pem"),
        path("farm.key")
    );
    let pool = "stratum+tls://127.0.0.1:1";
    // The same pool with two workers is one series.
    let config = Config::new(pool)
        .listen_key(&certificates.key(&other))
        .pool_key(&ours)
        .fallback(pool)
        .pool_key(&ours)
        .proxy("plain", "stratum+tcp://127.0.0.1:1");
    let yaml = config.yaml().replacen(POOL_WORKER, "t1account.other", 1);
    let yaml = Admin::KEY.to_owned() + &yaml;
    let proxy = Proxy::one_shard(&yaml);
    let listener = format!(
        "stratum_certificate_expiry_timestamp_seconds{{proxy=\"zcash\",listener=\"{}\"}}",
        proxy.address("zcash")
    );
    let farm = format!(
        "stratum_client_certificate_expiry_timestamp_seconds{{proxy=\"zcash\",pool=\"{pool}\"}}"
    );
    let admin = Admin::of(&proxy);
    let scrape = admin.scrape();
    // The first that runs out counts, and whoever has none has no series.
    assert_eq!(scrape.value(&listener), 1_893_456_000.0);
    assert_eq!(scrape.value(&farm), 1_956_528_000.0);
    let series = scrape.samples.keys();
    assert_eq!(series.filter(|it| it.contains("expiry")).count(), 2);

    certificates.make_until("other", "other.example", (2033, 1, 1));
    certificates.make_until("farm", "farm.example", (2034, 1, 1));
    proxy.reread(&yaml);
    let scrape = admin.scrape_until(|it| it.value(&farm) == 2_019_686_400.0);
    assert_eq!(scrape.value(&listener), 1_924_992_000.0);

    // What can't be read takes nobody's place.
    certificates.make_until("farm", "farm.example", (2035, 1, 1));
    std::fs::write(certificates.path("other.pem"), "nothing").unwrap();
    proxy.reread(&yaml);
    let scrape = admin.scrape_until(|it| it.value(&farm) == 2_051_222_400.0);
    assert_eq!(scrape.value(&listener), 1_924_992_000.0);
}

#[test]
fn only_reading_is_taken() {
    let (_pool, _proxy, admin) = idle();
    let mut client = admin.connect();
    let whole = client.ask("GET", "/metrics").unwrap();
    let head = client.ask("HEAD", "/metrics").unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], whole.headers["content-type"]);
    assert_eq!(client.ask("GET", "/").unwrap().status, 404);
    assert_eq!(client.ask("GET", "/metrics/").unwrap().status, 404);
    assert_eq!(client.ask("GET", "/metrics?x=1").unwrap().status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = admin.connect().ask(method, "/metrics").unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut client = admin.connect();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{body}");
        client.send(request.as_bytes()).unwrap();
        assert_eq!(client.answer(true).unwrap().status, 413);
        assert!(client.is_closed_within(PATIENCE));
    }
}

#[test]
fn a_connection_is_used_again() {
    let (_pool, proxy, admin) = idle();
    let mut client = admin.connect();
    for _ in 0..200 {
        assert_eq!(client.ask("GET", "/healthz").unwrap().body, "alive\n");
    }
    // All at once, and in order.
    client
        .send(
            "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
                .repeat(50)
                .as_bytes(),
        )
        .unwrap();
    for _ in 0..50 {
        assert_eq!(client.answer(true).unwrap().status, 200);
    }
    assert!(proxy.accepts());
}

#[test]
fn rubbish_is_told_so_or_closed() {
    let (_pool, proxy, admin) = idle();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    let cases: [&[u8]; 7] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\n",
        long.as_bytes(),
        headers.as_bytes(),
    ];
    for bytes in cases {
        let mut client = admin.connect();
        // It may be closed before all of it is out.
        drop(client.send(bytes));
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert!(client.is_closed_within(PATIENCE), "{shown:?}");
    }
    assert_eq!(admin.get("/healthz").status, 200);
    assert!(proxy.accepts());
}

#[test]
fn two_hundred_connections_keep_neither_a_scraper_nor_a_miner_out() {
    let mut scene_pool = AutoPoolScene::start();
    let admin = scene_pool.admin;
    // Half of them ask for half a thing, the others are content to be there.
    let mut held: Vec<Client> = Vec::new();
    for number in 0..200 {
        let mut client = admin.connect();
        if number % 2 == 0 {
            drop(client.send(b"GET /metrics HT"));
        }
        held.push(client);
        if number % 20 == 0 {
            scene_pool.expect_share_passes();
            assert_eq!(admin.get("/healthz").status, 200);
        }
    }
    let displaced = "stratum_admin_closes_total{reason=\"displaced\"}";
    let scrape = admin.scrape();
    assert!(
        scrape.value(displaced) >= 180.0,
        "{}",
        scrape.value(displaced)
    );
    // Descriptors of the shards, and these sixteen.
    assert!(scrape.value("process_open_fds") < 100.0);
    drop(held);
    scene_pool.expect_share_passes();
}

#[test]
fn displaced_connections_leave_nothing_behind() {
    let (_pool, proxy, admin) = idle();
    let displace = |count| {
        let held: Vec<Client> = (0..count).map(|_| admin.connect()).collect();
        // All before it were accepted.
        assert_eq!(admin.get("/healthz").status, 200);
        drop(held);
    };
    displace(200);
    let before = proxy.memory_kib();
    for _ in 0..5 {
        displace(500);
    }
    let grown = proxy.memory_kib().saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB");
}

#[test]
fn who_asks_by_halves_or_never_reads_is_closed() {
    let (_pool, proxy, admin) = idle();
    let mut half = admin.connect();
    half.send(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
    let mut silent = admin.connect();
    // Answers of 10 KiB, until nothing more is taken.
    let mut reader = admin.connect();
    let memory = proxy.memory_kib();
    let timeout = Some(Duration::from_millis(300));
    reader.stream().set_write_timeout(timeout).unwrap();
    let requests = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let mut batches = 0;
    while reader.send(requests.as_bytes()).is_ok() {
        batches += 1;
        assert!(batches < 100_000, "it is read without end");
    }
    let grown = proxy.memory_kib().saturating_sub(memory);
    assert!(grown < 4096, "{grown} KiB");
    assert!(half.is_closed_within(LONGEST));
    assert!(silent.is_closed_within(LONGEST));
    let timed_out = "stratum_admin_closes_total{reason=\"timed_out\"}";
    let deadline = std::time::Instant::now() + LONGEST;
    while admin.scrape().value(timed_out) < 3.0 {
        assert!(std::time::Instant::now() < deadline, "the reader stays");
    }
    let mut rest = Vec::new();
    // What had been sent is there, and then it is over.
    drop(reader.stream().read_to_end(&mut rest));
    assert_eq!(admin.get("/healthz").status, 200);
}

#[test]
fn it_is_ready_until_miners_miss_a_pool_and_again_when_it_is_back() {
    let closed = FakePool::closed();
    let keys = ["failover: { resume_seconds: 0.1 }"];
    let proxy = Proxy::one_shard(&yaml(&closed.url(), &keys));
    let admin = Admin::of(&proxy);
    // Nobody needs a pool yet.
    assert_eq!(admin.get("/readyz").status, 200);
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let answer = admin.status_becomes("/readyz", 503);
    assert!(
        answer.body.contains("proxy zcash: no link to a pool"),
        "{}",
        answer.body
    );
    assert_eq!(
        admin.get("/healthz").status,
        200,
        "a restart brings no pool back"
    );
    let waiting = "stratum_miners_waiting{proxy=\"zcash\"}";
    assert_eq!(admin.scrape().value(waiting), 1.0);
    let pool = closed.open();
    let link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner.authorize("t1addr.rig1");
    admin.status_becomes("/readyz", 200);
    drop((link, pool));
    admin.status_becomes("/readyz", 503);
    let without = "stratum_without_pool_seconds{proxy=\"zcash\"}";
    assert!(admin.scrape().value(without) > 0.0);
    miner.close();
    admin.status_becomes("/readyz", 200);
}

#[test]
fn it_is_not_ready_while_it_drains_and_still_tells_figures() {
    let pool = FakePool::start();
    let mut proxy = Proxy::one_shard(&yaml(&pool.url(), &[]));
    let admin = Admin::of(&proxy);
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = pool.accept_ready(NONCE_1);
    link.set_target(crate::support::TARGET);
    link.notify(&crate::support::PoolJob::new("pool-job-1"));
    miner.expect_subscribed(id);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    proxy.signal("TERM");
    let answer = admin.status_becomes("/readyz", 503);
    assert!(answer.body.contains("stopping"), "{}", answer.body);
    assert_eq!(admin.get("/healthz").status, 200);
    admin.scrape_until(|it| it.value("stratum_miners{proxy=\"zcash\"}") == 1.0);
    link.accept(&submit.id);
    miner.expect_accepted(id);
    assert_eq!(proxy.wait_exit(PATIENCE), 0);
}

#[test]
fn a_taken_admin_port_exits_3_and_names_the_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let pool = FakePool::start();
    let yaml = format!(
        "admin: {{ listen: \"{address}\" }}\n{}",
        Config::new(&pool.url()).yaml()
    );
    let file = TempFile::new(&yaml);
    let mut program = Program::run([file.path().to_str().unwrap()]);
    assert_eq!(program.wait_exit(PATIENCE), 3);
    let log = program.log();
    let told = format!("admin.listen: {address} is in use");
    assert!(log.contains(&told) && log.contains("ss -ltnp"), "{log}");
}

#[test]
fn a_second_instance_does_not_share_the_admin_port() {
    let (pool, mut first, admin) = idle();
    let other = format!(
        "admin: {{ listen: \"{}\" }}\n{}",
        admin.0,
        Config::new(&pool.url()).yaml()
    );
    let file = TempFile::new(&other);
    let mut second = Program::run([file.path().to_str().unwrap()]);
    assert_eq!(second.wait_exit(PATIENCE), 3);
    assert!(second.log().contains("admin.listen"), "{}", second.log());
    assert!(first.is_running());
    assert_eq!(admin.get("/healthz").status, 200);
}

#[test]
fn a_restart_gets_its_admin_port_back_at_once() {
    let (pool, mut proxy, admin) = idle();
    // The proxy closes first, so its side of the connection lingers in the kernel.
    let mut client = admin.connect();
    client.ask("GET", "/healthz").unwrap();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PATIENCE), 0);
    let yaml = format!(
        "admin: {{ listen: \"{}\" }}\n{}",
        admin.0,
        Config::new(&pool.url()).yaml()
    );
    let again = Proxy::one_shard(&yaml);
    assert_eq!(Admin::of(&again).get("/healthz").status, 200);
}

#[test]
fn without_the_key_there_is_no_port() {
    let scene = Scene::start();
    assert!(!scene.proxy.log().contains("admin"));
}

/// A miner that mines beside an admin port.
struct AutoPoolScene {
    _pool: AutoPool,
    _proxy: Proxy,
    admin: Admin,
    miner: FakeMiner,
    job: crate::support::Job,
    seed: u64,
}

impl AutoPoolScene {
    fn start() -> Self {
        let pool = AutoPool::accepts_all();
        let proxy = Proxy::one_shard(&yaml(&pool.url(), &[]));
        let (miner, job) = FakeMiner::mining(&proxy, "t1addr.rig1");
        Self {
            admin: Admin::of(&proxy),
            _pool: pool,
            _proxy: proxy,
            miner,
            job,
            seed: 0,
        }
    }

    fn expect_share_passes(&mut self) {
        self.seed += 1;
        let id = self.miner.submit(&self.job, self.seed);
        self.miner.expect_accepted(id);
    }
}
