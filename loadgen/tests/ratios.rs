//! The table of `benches/ratios`, made of reports that were written here: which figures it judges.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The row for the intake of miners, and whether the script found all good: the relay took 10 ms for 1,000 of
/// them, and the proxy so many, told in steps of `grain` seconds.
fn intake(folder: &str, proxy_millis: u32, grain: Option<&str>) -> (String, bool) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let grain = grain.map(|grain| format!(r#""cpu_grain_seconds":{grain},"#));
    for (kind, millis) in [("relay", 10), ("proxy", proxy_millis)] {
        let report = format!(
            "{{\"cpu_ramp_seconds\":{},\"cpu_run_seconds\":0.5,{}\"wanted\":1000,\"sent\":25000,\
             \"rate_reached\":5000,\"received_in_run\":8000,\"latency_seconds\":{{\"p50\":0.0001}},\
             \"rss_bytes\":1,\"rss_idle_bytes\":1,\"rss_start_bytes\":1}}",
            f64::from(millis) / 1000.0,
            grain.as_deref().unwrap_or_default(),
        );
        for run in ["jobs", "shares-5000"] {
            std::fs::write(folder.join(format!("{kind}-{run}-1.json")), &report).unwrap();
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/ratios");
    let mut command = Command::new(script);
    command.args(["-t", "-d", "monero", "-o"]).arg(&folder);
    let output = command.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find(|line| line.contains("take in a miner"));
    (row.unwrap().to_owned(), output.status.success())
}

#[test]
fn a_short_time_is_judged_only_where_it_is_more_than_some_ticks() {
    let (row, good) = intake("exact", 20, Some("0.000000001"));
    assert!(row.contains("ABOVE 1.5") && !good, "{row}");
    let (row, good) = intake("exact", 14, Some("0.000000001"));
    assert!(row.contains("met 1.5") && good, "{row}");
    // A report of before says nothing of its steps: they were ticks.
    for (folder, grain) in [("ticks", Some("0.01")), ("before", None)] {
        let (row, good) = intake(folder, 20, grain);
        assert!(
            row.contains("2.00") && !row.contains("ABOVE") && good,
            "{row}"
        );
    }
}
