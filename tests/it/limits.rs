//! What the machine gives, and what is told when that is not enough.

use crate::support::proxy::TempFile;
use crate::support::{Config, FakePool, PATIENCE, Program};

/// A config with these keys on top.
fn config(keys: &str) -> (FakePool, TempFile) {
    let pool = FakePool::start();
    let file = TempFile::new(&format!("{keys}{}", Config::new(&pool.url()).yaml()));
    (pool, file)
}

/// Starts under limits that are too low; gives what is told.
#[track_caller]
fn refused(limits: &str, cores: &str, keys: &str) -> String {
    let (_pool, file) = config(keys);
    let path = file.path().to_str().unwrap();
    let mut program = Program::run_limited(limits, &["--cores", cores, path]);
    let code = program.wait_exit(PATIENCE);
    let log = program.log();
    assert_eq!(code, 3, "{log}");
    log
}

#[track_caller]
fn starts(limits: &str, cores: &str, keys: &str) -> String {
    let (_pool, file) = config(keys);
    let path = file.path().to_str().unwrap();
    let program = Program::run_limited(limits, &["--cores", cores, path]);
    program.log_contains("ready: ");
    program.log()
}

#[test]
fn the_start_says_what_it_got() {
    let log = starts("ulimit -n 1000", "1", "");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for told in [
        &format!("machine: Linux {}; io_uring with ", kernel.trim()),
        "DEFER_TASKRUN",
        "descriptors 1000 (hard limit 1000)",
        "lockable memory in KiB ",
        "shards pinned to [",
        "ready: 1 shards, room for 1000 miners on each, 1000 on all, 1 proxies",
    ] {
        assert!(log.contains(told), "{told}:\n{log}");
    }
}

#[test]
fn the_soft_limit_is_raised() {
    let log = starts("ulimit -n 900 && ulimit -Sn 300", "2", "");
    assert!(log.contains("descriptors 300 raised to 900"), "{log}");
    assert!(log.contains("900 miners on each, 1800 on all"), "{log}");
}

#[test]
fn too_few_descriptors_for_the_shards_name_the_cure() {
    let log = refused("ulimit -n 40", "4", "");
    assert!(log.contains("limit of open files is 40"), "{log}");
    assert!(
        log.contains("ulimit -n") && log.contains("--cores"),
        "{log}"
    );
}

#[test]
fn more_miners_than_there_is_room_for_name_the_cure() {
    let log = refused("ulimit -n 1024", "2", "miners_expected: 5000\n");
    assert!(log.contains("miners_expected: 5000 on 2 shards"), "{log}");
    assert!(log.contains("ulimit -n 2751"), "{log}");
    assert!(log.contains("--cores 6"), "{log}");
    starts("ulimit -n 1024", "6", "miners_expected: 5000\n");
    starts("ulimit -n 2751", "2", "miners_expected: 5000\n");
}

#[test]
fn too_little_lockable_memory_names_the_cure() {
    for keys in ["", "admin: { listen: 127.0.0.1:0 }\n"] {
        let log = refused("ulimit -l 256", "1", keys);
        assert!(log.contains("256 KiB"), "{log}");
        assert!(
            log.contains("ulimit -l ") && log.contains("LimitMEMLOCK="),
            "{log}"
        );
    }
}
