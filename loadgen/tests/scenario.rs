//! Pools that fail behind the real proxy, with miners and shares: the real binaries, a small farm.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn no_fault_of_a_pool_loses_a_share_or_closes_a_miner_that_can_stay() {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scenario.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .args(["scenario", "link-reset", "pool-killed", "pool-stopped"])
        // How fast this machine is today is no matter of this test.
        .args(["--miners", "300", "--share-rate", "300", "--slack", "60"])
        .arg("--json")
        .arg(&json);
    // Under cargo it brings the proxy up to date first; a test of the whole workspace has just done so.
    let proxy = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("stratum-uring");
    if proxy.is_file() {
        command.env_remove("CARGO");
    }
    let output = command.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}{told}");
    let json = std::fs::read_to_string(json).unwrap();
    assert!(
        json.starts_with(r#"{"clean":true,"scenarios":[{"name":"link-reset","#),
        "{json}"
    );
    assert_eq!(json.matches(r#""lost":0,"#).count(), 3, "{json}");
    // Those who were resumed, and a quarter of the miners, which can't be told of another nonce_1.
    assert_eq!(json.matches(r#""closed":0,"#).count(), 1, "{json}");
    assert_eq!(json.matches(r#""closed":75,"#).count(), 2, "{json}");
}
