//! The practice pool inside the process, and the example config that uses it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::equihash::SET_48_5;
use crate::support::miner::Job;
use crate::support::{FakeMiner, Proxy};
use stratum_uring::practice::equihash::{meets_target, share_hash};
use stratum_uring::practice::solver::Solver;

/// The example config, listening on a port that is free.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy-config.example.yaml");
    let example = std::fs::read_to_string(path).unwrap();
    let mut out = String::new();
    for line in example.lines() {
        match line.split_once("- address:") {
            Some((before, _)) if !before.contains('#') => {
                out.push_str(before);
                out.push_str("- address: 127.0.0.1:0");
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn practice(parameters: &str, settings: &str) -> String {
    format!(
        "proxies:\n  - name: practice\n    dialect: equihash\n    equihash: {parameters}\n    \
         listen:\n      - address: 127.0.0.1:0\n    pools:\n      - url: \"practice:\"\n        \
         practice: {settings}\n"
    )
}

#[test]
fn the_example_config_is_ready_within_a_second() {
    let started = Instant::now();
    let proxy = Proxy::start(&example());
    // A second is the promise; the rest is for a busy machine.
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert!(proxy.accepts());
}

#[test]
fn a_miner_of_the_example_config_has_a_job_within_a_second() {
    let proxy = Proxy::start(&example());
    let connected = Instant::now();
    let (_miner, job) = FakeMiner::mining(&proxy, "rig1");
    assert!(
        connected.elapsed() < Duration::from_secs(2),
        "{:?}",
        connected.elapsed()
    );
    assert_eq!(job.params.at(1).text().len(), 8);
    assert_eq!(job.params.at(4).text().len(), 64);
    assert_eq!(job.target.map(|target| target.len()), Some(64));
}

#[test]
fn it_says_that_nothing_real_is_mined() {
    let proxy = Proxy::start_with(&["--cores", "1"], &example());
    let (_miner, _job) = FakeMiner::mining(&proxy, "rig1");
    let log = proxy.log().to_lowercase();
    assert!(log.contains("practice") && log.contains("real"), "{log}");
}

#[test]
fn miners_on_both_shards_get_jobs() {
    let proxy = Proxy::start(&example());
    let miners: Vec<_> = (0..30)
        .map(|rig| FakeMiner::mining(&proxy, &format!("rig{rig}")).0)
        .collect();
    let mut nonces: Vec<_> = miners.iter().map(|miner| &miner.nonce_1).collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 30);
}

#[test]
fn jobs_change() {
    let yaml = practice("{ n: 48, k: 5 }", "{ job_interval_seconds: 0.2 }");
    let proxy = Proxy::one_shard(&yaml);
    let (mut miner, first) = FakeMiner::mining(&proxy, "rig1");
    let mut ids = vec![first.id];
    while ids.len() < 6 {
        let job = miner.expect_job();
        assert!(!ids.contains(&job.id), "{} again", job.id);
        ids.push(job.id);
    }
}

#[test]
fn a_full_judge_refuses_a_solution_that_is_none() {
    let proxy = Proxy::one_shard(&practice("{ n: 48, k: 5 }", "{ judge: full }"));
    let (mut miner, job) = FakeMiner::mining(&proxy, "rig1");
    miner.set = SET_48_5;
    let id = miner.submit(&job, 1);
    let reply = miner.expect_result(id);
    assert!(matches!(reply.code(), Some(20 | 23)), "{}", reply.raw);
}

#[test]
fn a_judge_of_shapes_accepts_the_right_shape() {
    let proxy = Proxy::one_shard(&practice("{ n: 200, k: 9 }", "{ judge: shape }"));
    let (mut miner, job) = FakeMiner::mining(&proxy, "rig1");
    for seed in 0..20 {
        let id = miner.submit(&job, seed);
        miner.expect_accepted(id);
    }
}

#[test]
fn two_hundred_miners_are_all_accepted() {
    let proxy = Proxy::start(&practice("{ n: 200, k: 9 }", "{ judge: shape }"));
    let mut miners: Vec<_> = (0..200)
        .map(|rig| FakeMiner::mining(&proxy, &format!("rig{rig}")))
        .collect();
    let mut ids = Vec::new();
    for (miner, job) in &mut miners {
        ids.push(miner.submit(job, 1));
    }
    for ((miner, _), id) in miners.iter_mut().zip(ids) {
        miner.expect_accepted(id);
    }
}

/// Real solutions of one job for a miner, as (nonce_2, solution with its prefix), both hex.
pub(crate) fn solve(job: &Job) -> Vec<(String, String)> {
    let digits: String = (1..=6)
        .map(|at| job.params.at(at).text().to_owned())
        .collect();
    let header: [u8; 108] = unhex(&digits).try_into().unwrap();
    let target: [u8; 32] = unhex(job.target.as_ref().unwrap()).try_into().unwrap();
    let mut solver = Solver::new();
    let mut found = Vec::new();
    for count in 0..20_000_u64 {
        let nonce_hex = format!(
            "{}{count:0width$x}",
            job.nonce_1,
            width = 64 - job.nonce_1.len()
        );
        let nonce: [u8; 32] = unhex(&nonce_hex).try_into().unwrap();
        for solution in solver.solve(&header, &nonce) {
            let with_prefix: Vec<u8> = [0x24].iter().chain(solution).copied().collect();
            if meets_target(&share_hash(&header, &nonce, &with_prefix), &target) {
                let nonce_2 = nonce_hex[job.nonce_1.len()..].to_owned();
                found.push((nonce_2, hex(&with_prefix)));
            }
        }
        if found.len() >= 3 {
            break;
        }
    }
    found
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn real_solutions_are_judged_in_full_and_accepted() {
    let proxy = Proxy::start(&practice("{ n: 48, k: 5 }", "{ judge: full }"));
    let (mut miner, job) = FakeMiner::mining(&proxy, "rig1");
    let shares = solve(&job);
    assert!(shares.len() >= 3);
    for (nonce_2, solution) in &shares {
        let mut share = miner.share(&job, 0);
        share.nonce_2.clone_from(nonce_2);
        share.solution.clone_from(solution);
        let id = miner.send_share(&share);
        miner.expect_accepted(id);
    }
    // The same nonce with one bit of its solution changed is no solution.
    let (nonce_2, solution) = &shares[0];
    let mut share = miner.share(&job, 0);
    share.nonce_2.clone_from(nonce_2);
    let last = if solution.ends_with('0') { "1" } else { "0" };
    share.solution = format!("{}{last}", &solution[..solution.len() - 1]);
    let id = miner.send_share(&share);
    let reply = miner.expect_result(id);
    assert!(matches!(reply.code(), Some(20 | 23)), "{}", reply.raw);
}
