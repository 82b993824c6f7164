//! The real binary: what it prints, what it writes, how it exits. Most tests have the practice pool in
//! their own process, where its knobs are at hand; one lets it start the real proxy.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use stratum_uring::practice::{Judge, Knobs, PracticeCoin, PracticeServer, PracticeSettings};
use stratum_uring::proto::dialect::equihash::Parameters;

/// A pool for filler, with a job every fifth of a second.
fn pool(knobs: Knobs) -> PracticeServer {
    let settings = PracticeSettings {
        coin: PracticeCoin::Equihash(Parameters::new(200, 9).unwrap()),
        judge: Judge::Shape,
        job_interval: Duration::from_millis(200),
        block_interval_jobs: 1000,
        ..PracticeSettings::default()
    };
    let pool = PracticeServer::start(settings, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    pool.turn_knobs(|turned| *turned = knobs);
    pool
}

fn loadgen(options: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(options.split_ascii_whitespace());
    // Under cargo it brings the proxy up to date first; a test of the whole workspace has just done so.
    let proxy = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("stratum-uring");
    if proxy.is_file() {
        command.env_remove("CARGO");
    }
    command.output().unwrap()
}

/// Runs against a pool, and returns the exit code, the table and the JSON.
fn run(pool: &PracticeServer, name: &str, options: &str) -> (Option<i32>, String, String) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let output = loadgen(&format!(
        "--connect {} --parameters 200,9 --miners 100 --duration 1 --json {} {options}",
        pool.address(),
        json.display(),
    ));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "no terminal");
    let table = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code(),
        table,
        std::fs::read_to_string(json).unwrap(),
    )
}

#[test]
fn a_farm_with_every_vice_loses_nothing() {
    let pool = pool(Knobs::default());
    let vices = "--slow-readers 10 --half-dead 10 --churn 30 --threads 2";
    let (code, table, json) = run(&pool, "vices", vices);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains("90 of 100 mining at the end, 10 fell silent, 10 read rarely"),
        "{table}"
    );
    assert!(table.contains("closed here on purpose"), "{table}");
    for said in [
        r#"{"clean":true,"#,
        r#""silent":10,"slow_readers":10,"#,
        r#""lost":0,"#,
        r#""latency_from_due":true,"#,
        r#""job_out_of_order":0,"#,
        r#""threads":[{"busy":"#,
    ] {
        assert!(json.contains(said), "no {said} in {json}");
    }
}

#[test]
fn saturation_is_told_as_a_closed_loop() {
    let pool = pool(Knobs::default());
    let (code, table, json) = run(&pool, "saturation", "--saturate 50 --handshakes 7");
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains("50 kept in flight") && table.contains("closed loop"),
        "{table}"
    );
    assert!(json.contains(r#""in_flight":50,"rate_reached":"#), "{json}");
    assert!(pool.counters().shares() > 1000, "{table}");
}

#[test]
fn a_share_that_is_never_answered_makes_it_fail() {
    let pool = pool(Knobs {
        never_reply_every_nth: NonZero::new(50),
        ..Knobs::default()
    });
    let (code, table, json) = run(&pool, "lost", "--share-rate 100");
    assert_eq!(code, Some(1), "{table}");
    assert!(json.starts_with(r#"{"clean":false,"#), "{json}");
}

#[test]
fn rubbish_makes_it_fail() {
    let pool = pool(Knobs {
        garbage: true,
        ..Knobs::default()
    });
    let (code, table, _) = run(&pool, "rubbish", "--share-rate 100");
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("unreadable line"), "{table}");
}

#[test]
fn the_proxy_that_it_starts_is_loaded_and_stopped() {
    let output = loadgen("--miners 50 --duration 1 --saturate 8 --churn 10 --job-interval 1");
    let table = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}{told}");
    assert!(table.contains("50 of 50 mining at the end"), "{table}");
    assert!(table.contains("\nproxy "), "{table}");
}

#[test]
fn a_farm_of_bitcoin_rolls_version_bits_and_loses_nothing() {
    let output = loadgen(
        "--dialect bitcoin --miners 50 --duration 1 --saturate 8 --churn 10 --job-interval 1",
    );
    let table = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}{told}");
    assert!(table.contains("50 of 50 mining at the end"), "{table}");
    assert!(table.contains("\nproxy "), "{table}");
}

#[test]
fn a_farm_of_monero_fills_several_links_and_loses_nothing() {
    let output = loadgen(
        "--dialect monero --miners 400 --duration 1 --saturate 8 --churn 10 --job-interval 1 --cores 1",
    );
    let table = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}{told}");
    assert!(table.contains("400 of 400 mining at the end"), "{table}");
    assert!(table.contains("\nproxy "), "{table}");
}

#[test]
fn each_miner_of_monero_is_told_a_blob_of_its_own_to_the_byte() {
    let output = loadgen(
        "--dialect monero --pool mock --miners 600 --duration 1 --share-rate 2000 --job-interval 1 \
         --slow-readers 5 --half-dead 5 --churn 10 --cores 2",
    );
    let table = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}{told}");
    assert!(
        !told.contains("ERROR"),
        "no two links are one nonce space: {told}"
    );
    assert!(table.contains("570 of 600 mining at the end"), "{table}");
    assert!(table.contains(" 0 rejected"), "{table}");
}

#[test]
fn more_bad_miners_than_miners_are_refused() {
    let output = loadgen("--connect 127.0.0.1:9 --slow-readers 60 --half-dead 50");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("60 % slow readers and 50 % half-dead"),
        "{told}"
    );
}
