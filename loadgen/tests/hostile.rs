//! Attackers beside honest miners at the real proxy: the real binaries, a small farm, each attack for
//! three seconds, so that none rots.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn no_attack_costs_an_honest_miner_a_share_or_its_connection() {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hostile.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .arg("hostile")
        .args([
            "--miners",
            "60",
            "--share-rate",
            "60",
            "--duration",
            "3",
            "--tls",
        ])
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
        json.starts_with(r#"{"clean":true,"attacks":[{"name":"(none)","#),
        "{json}"
    );
    // Eleven attacks, and the run without one.
    assert_eq!(json.matches(r#""lost":0,"#).count(), 12, "{json}");
    // Who sends wrong shares is closed and kept out when it comes back; that it was is a rule of the run, as
    // is that each attack took place.
    // The run without an attack has no attackers, and all others have some.
    assert_eq!(json.matches(r#""connects":0,"#).count(), 1, "{json}");
    // In each of them honest miners left and came back.
    assert!(!json.contains(r#""returned":0,"#), "{json}");
}
