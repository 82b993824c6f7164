//! Under the seccomp profile for containers, whatever the proxy does must go on: what is forbidden it must
//! not need. `.ci/run sandbox` has a load there; here is what no load does.

use std::process::Command;

use crate::support::proxy::TempFile;
use crate::support::scrape::Admin;
use crate::support::tls::{Certificates, Client, TLS_1_3};
use crate::support::{Config, FakeMiner, FakePool, NONCE_1, PATIENCE, PoolLink, Proxy};

const WRAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/with-seccomp");

/// Whether the profile can be loaded here: that takes Python and libseccomp.
fn is_there() -> bool {
    let code = |words: &[&str]| {
        let status = Command::new(WRAP).args(words).output();
        status.ok().and_then(|output| output.status.code())
    };
    match code(&["true"]) {
        Some(0) => {
            let folder = format!(
                "{}/sandbox-{}",
                std::env::temp_dir().display(),
                std::process::id()
            );
            assert_ne!(
                code(&["mkdir", &folder]),
                Some(0),
                "the profile forbids nothing"
            );
            true
        }
        Some(1) => panic!("the profile can't be loaded"),
        _ => {
            eprintln!("skipped: there is no Python or no libseccomp here");
            false
        }
    }
}

#[track_caller]
fn mines(miner: &mut FakeMiner, link: &mut PoolLink, worker: &str) {
    let params = format!("[\"{worker}\",\"horse\"]");
    miner.request("mining.authorize", &params).assert_accepted();
    worker.clone_into(&mut miner.worker);
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    miner.expect_accepted(id);
}

#[test]
fn names_tls_hashes_metrics_and_reloads_need_nothing_that_the_profile_forbids() {
    if !is_there() {
        return;
    }
    let certificates = Certificates::new();
    let hash = bcrypt::hash_with_salt("horse", 4, [7; 16]).unwrap();
    let workers = |name: &str| format!("- name: {name}\n  password_hash: \"{hash}\"\n");
    let file = TempFile::new(&workers("rig"));
    let pool = FakePool::start();
    let path = file.path().display();
    // By name, so that the C library asks its resolver.
    let config = Config::new(&format!("stratum+tcp://localhost:{}", pool.port()))
        .listen_key(&certificates.key(", mode: auto"))
        .key(&format!(
            "authorize: {{ mode: local, workers_file: \"{path}\" }}"
        ));
    let yaml = format!("{}{}", Admin::KEY, config.yaml());
    let mut proxy = Proxy::start_wrapped(&[WRAP], &["--cores", "2"], &yaml);
    assert_eq!(Admin::of(&proxy).get("/healthz").status, 200);

    let bridge = Client::new(TLS_1_3).bridge(proxy.address("zcash"));
    let mut miner = FakeMiner::connect_to(bridge.address);
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    mines(&mut miner, &mut link, "rig");
    bridge.expect_open();
    assert!(proxy.threads_at(10) > 0, "no thread gave way for the hash");

    std::fs::write(file.path(), workers("other")).unwrap();
    certificates.make("hall", "hall.example");
    proxy.signal("HUP");
    proxy.log_contains("may mine from now on");
    proxy.log_contains("were read again");
    let metrics = Admin::of(&proxy).scrape();
    assert!(metrics.value("process_open_fds") > 0.0);
    assert!(metrics.value("process_resident_memory_bytes") > 0.0);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(PATIENCE), 0);
}
