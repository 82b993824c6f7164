//! Arguments, exit codes, and what a mistake in a config is told.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::support::proxy::{TempFile, has_not_panicked};
use crate::support::{Config, FakePool, PATIENCE, Program, Proxy};

/// Runs to the end; gives the exit code, stdout and stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut program = Program::run(arguments);
    let code = program.wait_exit(PATIENCE);
    (code, program.stdout(), program.log())
}

/// Runs with a config of this text.
fn run_with(arguments: &[&str], yaml: &str) -> (i32, String, String) {
    let file = TempFile::new(yaml);
    let mut all = arguments.to_vec();
    all.push(file.path().to_str().unwrap());
    run(&all)
}

fn good() -> String {
    Config::new("stratum+tcp://pool.example:3333").yaml()
}

#[test]
fn version_is_printed() {
    let (code, out, _) = run(&["-V"]);
    assert_eq!(code, 0);
    assert_eq!(
        out.trim(),
        concat!("stratum-uring ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_names_every_option() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for option in [
        "--cores",
        "--check",
        "--generate-config",
        "--config",
        "-q",
        "-v",
        "-V",
    ] {
        assert!(out.contains(option), "{option}:\n{out}");
    }
}

#[test]
fn generate_config_prints_the_example_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy-config.example.yaml");
    let example = std::fs::read_to_string(path).unwrap();
    for option in ["-g", "--generate-config"] {
        let (code, out, _) = run(&[option]);
        assert_eq!(code, 0);
        assert_eq!(out.trim_end(), example.trim_end());
    }
}

#[test]
fn the_generated_config_passes_the_check() {
    let (_, example, _) = run(&["-g"]);
    let (code, _, log) = run_with(&["-t"], &example);
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_good_config_passes_the_check() {
    for option in ["-t", "--check"] {
        let (code, _, log) = run_with(&[option], &good());
        assert_eq!(code, 0, "{log}");
    }
}

/// A disk that is full. Whoever writes there is told `ENOSPC`.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn what_can_not_be_printed_changes_no_exit_code() {
    let (good, bad) = (TempFile::new(&good()), TempFile::new("proxies: []\n"));
    for (file, expected) in [(&good, 0), (&bad, 2)] {
        let mut check = Command::new(env!("CARGO_BIN_EXE_stratum-uring"));
        check.arg("--check").arg(file.path()).stdin(Stdio::null());
        let output = check.stdout(full()).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{log}");
        has_not_panicked(&log);
        let output = check.stdout(full()).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(expected));
    }
}

#[test]
fn the_check_opens_no_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let yaml = good().replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let (code, _, log) = run_with(&["-t"], &yaml);
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_config_may_be_named_with_an_option() {
    let file = TempFile::new(&good());
    for option in ["-c", "--config"] {
        let (code, _, log) = run(&["-t", option, file.path().to_str().unwrap()]);
        assert_eq!(code, 0, "{log}");
    }
}

#[test]
fn two_mistakes_are_both_reported_with_key_and_line() {
    let yaml = good()
        .replace("dialect: equihash", "dialect: equihush")
        .replace("listen:", "lissen:");
    for arguments in [&["-t"][..], &[]] {
        let (code, out, log) = run_with(arguments, &yaml);
        let told = out + &log;
        assert_eq!(code, 2, "{told}");
        let dialect = told.lines().find(|line| line.contains("dialect"));
        assert!(
            dialect.is_some_and(|line| line.contains("line 3")),
            "{told}"
        );
        let listen = told.lines().find(|line| line.contains("lissen"));
        assert!(listen.is_some_and(|line| line.contains("line 4")), "{told}");
        assert!(
            listen.is_some_and(|line| line.contains("listen?")),
            "the nearest key: {told}"
        );
    }
}

#[track_caller]
fn is_a_mistake(yaml: &str, key: &str) {
    let (code, out, log) = run_with(&["-t"], yaml);
    let told = out + &log;
    assert_eq!(code, 2, "{told}");
    assert!(told.contains(key), "{key}: {told}");
}

#[test]
fn an_unknown_key_is_a_mistake() {
    is_a_mistake(
        &format!("{}    miners_per_lnk: 5\n", good()),
        "miners_per_link",
    );
}

#[test]
fn a_proxy_without_pools_is_a_mistake() {
    let yaml = "proxies:\n  - name: a\n    dialect: equihash\n    listen:\n      \
                - address: 127.0.0.1:0\n    pools: []\n";
    is_a_mistake(yaml, "pools");
}

#[test]
fn no_proxies_are_a_mistake() {
    is_a_mistake("proxies: []\n", "proxies");
}

#[test]
fn an_empty_config_is_a_mistake() {
    is_a_mistake("", "config");
}

#[test]
fn what_is_no_yaml_is_a_mistake() {
    is_a_mistake("proxies: [\n", "line");
}

#[test]
fn parameters_that_no_coin_uses_are_a_mistake() {
    is_a_mistake(
        &format!("{}    equihash: {{ n: 200, k: 8 }}\n", good()),
        "equihash",
    );
}

#[test]
fn a_full_judge_that_cannot_judge_is_a_mistake() {
    let yaml = "proxies:\n  - name: flux\n    dialect: equihash\n    \
                equihash: { n: 125, k: 4, personalization: ZelProof }\n    listen:\n      \
                - address: 127.0.0.1:0\n    pools:\n      - url: \"practice:\"\n        \
                practice: { judge: full }\n";
    is_a_mistake(yaml, "judge");
}

#[test]
fn a_password_in_a_broken_config_is_not_shown() {
    let yaml = good().replace("worker:", "wroker:");
    let (code, out, log) = run_with(&["-t"], &yaml);
    assert_eq!(code, 2);
    assert!(!(out + &log).contains("secret"));
}

#[test]
fn a_config_that_is_not_there_exits_2() {
    let (code, _, log) = run(&["/nonexistent/stratum-uring.yaml"]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("/nonexistent/stratum-uring.yaml"), "{log}");
}

#[test]
fn no_config_at_all_exits_2() {
    let (code, ..) = run(&[]);
    assert_eq!(code, 2);
}

#[test]
fn an_unknown_option_exits_2() {
    let (code, ..) = run(&["--coers", "2"]);
    assert_eq!(code, 2);
}

#[test]
fn no_cores_and_more_than_256_exit_2() {
    for cores in ["0", "257"] {
        let (code, _, log) = run_with(&["--cores", cores], &good());
        assert_eq!(code, 2, "{cores}");
        assert!(log.contains("1 to 256"), "{log}");
    }
}

#[test]
fn a_port_in_use_exits_3_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let yaml = good().replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let (code, _, log) = run_with(&[], &yaml);
    assert_eq!(code, 3, "{log}");
    assert!(log.contains(&port.to_string()), "{log}");
}

#[test]
fn a_second_instance_exits_3_and_the_first_one_lives() {
    let pool = FakePool::start();
    let yaml = Config::new(&pool.url()).yaml();
    let mut first = Proxy::start(&yaml);
    let port = first.port("zcash");
    let second = yaml.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let (code, _, log) = run_with(&["--cores", "2"], &second);
    assert_eq!(code, 3, "{log}");
    assert!(log.contains(&port.to_string()), "{log}");
    assert!(first.is_running() && first.accepts());
}

#[test]
fn a_mistake_in_the_second_listener_opens_none_for_good() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let yaml = good().replace(
        "      - address: 127.0.0.1:0\n",
        &format!("      - address: 127.0.0.1:0\n      - address: 127.0.0.1:{port}\n"),
    );
    let (code, _, log) = run_with(&[], &yaml);
    assert_eq!(code, 3, "{log}");
}

#[test]
fn more_cores_than_the_machine_has_work_with_a_warning() {
    let pool = FakePool::start();
    let cores = thread::available_parallelism().unwrap().get() + 1;
    let cores = cores.to_string();
    let yaml = Config::new(&pool.url()).yaml();
    let proxy = Proxy::start_with(&["--cores", &cores], &yaml);
    assert!(proxy.accepts());
    let log = proxy.log();
    assert!(log.to_lowercase().contains("warn"), "{log}");
    assert!(log.contains("pinned"), "{log}");
}

#[test]
fn cores_may_stand_in_the_config() {
    let pool = FakePool::start();
    let yaml = format!("cores: 1\n{}", Config::new(&pool.url()).yaml());
    assert!(Proxy::start_with(&[], &yaml).accepts());
}

#[test]
fn all_shards_share_the_port_that_was_chosen() {
    let pool = FakePool::start();
    let proxy = Proxy::start(&Config::new(&pool.url()).yaml());
    assert_eq!(proxy.listeners(), 1, "one line for each listener");
}

#[test]
fn a_proxy_may_have_two_listeners() {
    let pool = FakePool::start();
    let yaml = Config::new(&pool.url()).yaml().replace(
        "      - address: 127.0.0.1:0\n",
        "      - address: 127.0.0.1:0\n      - address: \"[::1]:0\"\n",
    );
    let proxy = Proxy::start(&yaml);
    assert_eq!(proxy.listeners(), 2);
    assert!(proxy.accepts());
}

#[test]
fn quiet_says_nothing_of_what_goes_well() {
    // Quiet, it names no port, so it must be told one. No other test uses this address.
    let free = TcpListener::bind("127.0.7.7:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let yaml = good().replace("127.0.0.1:0", &address.to_string());
    let file = TempFile::new(&yaml);
    let mut program = Program::run(["-q", file.path().to_str().unwrap()]);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline && program.is_running());
    }
    program.signal("TERM");
    assert_eq!(program.wait_exit(PATIENCE), 0);
    assert!(!program.log().contains("listening on"), "{}", program.log());
}
