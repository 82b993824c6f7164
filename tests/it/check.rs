//! `--check`: it says what a start would say of a config and its files, and fails where a start would.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::proxy::TempFile;
use crate::support::tls::Certificates;
use crate::support::{Config, PATIENCE, Program};

const NOWHERE: &str = "stratum+tcp://127.0.0.1:1";

/// What `--check` says of a config, and its exit code.
fn check(yaml: &str) -> (i32, String) {
    let file = TempFile::new(yaml);
    let mut program = Program::run(["--check", file.path().to_str().unwrap()]);
    let code = program.wait_exit(PATIENCE);
    (code, program.told())
}

/// The check passes, and warns with all of these words in one line.
#[track_caller]
fn warns(yaml: &str, words: &[&str]) {
    let (code, said) = check(yaml);
    assert_eq!(code, 0, "{said}");
    let is_it = |line: &str| line.contains("WARN") && words.iter().all(|word| line.contains(word));
    assert!(said.lines().any(is_it), "no {words:?} in: {said}");
}

/// The start warns with the same words.
#[track_caller]
fn start_warns(yaml: &str, word: &str) {
    let file = TempFile::new(yaml);
    let program = Program::run(["--cores", "1", file.path().to_str().unwrap()]);
    let line = program.log_contains(word);
    assert!(line.contains("WARN"), "{line}");
}

#[track_caller]
fn says_nothing(yaml: &str) {
    assert_eq!(check(yaml), (0, String::new()));
}

#[test]
fn a_certificate_out_of_date_is_a_warning_as_at_the_start() {
    let certificates = Certificates::new();
    let yaml = Config::new(NOWHERE)
        .listen_key(&certificates.key(""))
        .yaml();
    says_nothing(&yaml);
    certificates.make_until("hall", "hall.example", (2020, 5, 1));
    warns(&yaml, &["proxy=zcash", "hall.pem", "EXPIRED on May  1"]);
    certificates.make_between("hall", "hall.example", (4000, 1, 1), (4096, 1, 1));
    warns(&yaml, &["proxy=zcash", "hall.pem", "good only from"]);
}

#[test]
fn our_own_certificate_out_of_date_is_a_warning_too() {
    let certificates = Certificates::new();
    certificates.make_until("farm", "farm.example", (2020, 5, 1));
    let ours = format!(
        "tls: {{ insecure: true, certificate: \"{}\", key: \"{}\" }}",
        certificates.path("farm.pem"),
        certificates.path("farm.key")
    );
    let config = Config::new("stratum+tls://127.0.0.1:1").pool_key(&ours);
    let words = ["farm.pem", "EXPIRED on May  1", "turns us away"];
    warns(&config.yaml(), &words);
}

#[test]
fn whom_nobody_looks_at_and_work_for_nobody_are_told_of() {
    let config = Config::new("stratum+tls://127.0.0.1:1").pool_key("tls: { insecure: true }");
    warns(&config.yaml(), &["INSECURE", "stratum+tls://127.0.0.1:1"]);
    let practice = Config::new("practice:").yaml();
    warns(&practice, &["proxy=zcash", "nobody is paid"]);
    start_warns(&practice, "nobody is paid");
}

#[test]
fn a_bound_for_all_that_is_less_than_one_of_each_shard_is_told_of() {
    let yaml = |cores: &str, bytes: &str| {
        let limits = format!("limits: {{ unread_bytes_max: {bytes} }}");
        format!(
            "cores: {cores}\n{}",
            Config::new(NOWHERE).key(&limits).yaml()
        )
    };
    let words = ["proxy=zcash", "limits.unread_bytes_max", "write 4194304"];
    warns(&yaml("4", "4194303"), &words);
    says_nothing(&yaml("4", "4194304"));
    let wide = yaml("4", "1048576, miner_outbox_bytes_max: 1048577");
    start_warns(&wide, "with 1 shards");
}

#[test]
fn a_deny_that_leaves_nobody_is_told_of() {
    for (keys, words) in [
        (
            &["allow: [10.1.0.0/16, 10.2.3.4]", "deny: [10.0.0.0/8]"][..],
            &["zcash", "listen[0].deny", "covers all of allow"][..],
        ),
        (
            &["deny: [0.0.0.0/0]"],
            &["zcash", "listen[0].deny", "0.0.0.0/0"],
        ),
        (&["deny: [\"::/0\"]"], &["zcash", "listen[0].deny", "::/0"]),
        (
            &["proxy_protocol: { trusted: [0.0.0.0/0] }"],
            &["zcash", "listen[0].proxy_protocol.trusted", "0.0.0.0/0"],
        ),
    ] {
        let config = Config::new(NOWHERE);
        let config = keys
            .iter()
            .fold(config, |config, key| config.listen_key(key));
        warns(&config.yaml(), words);
        start_warns(&config.yaml(), words[1]);
    }
    let good = Config::new(NOWHERE)
        .listen_key("allow: [10.0.0.0/8]")
        .listen_key("deny: [10.1.0.0/16, 192.168.0.0/16]");
    says_nothing(&good.yaml());
}

#[test]
fn workers_that_never_count_are_told_of() {
    let workers = TempFile::new(
        "- name: two*\n  password: a\n- name: two-b*\n  password: b\n- name: three\n- name: \"*\"\n",
    );
    let path = workers.path().to_str().unwrap();
    let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
    let yaml = Config::new(NOWHERE).key(&mode).yaml();
    warns(&yaml, &[path, "\"two-b*\"", "\"two*\"", "never"]);
    warns(&yaml, &[path, "\"*\"", "without a password"]);
    start_warns(&yaml, "\"two-b*\"");
}

#[test]
fn a_path_that_is_no_file_is_a_mistake_and_no_wait() {
    let certificates = Certificates::new();
    let zero = |key: &str| {
        let path = certificates.path(key);
        let tls = certificates.key(&format!(
            ", client_ca: \"{}\"",
            certificates.path("hall.pem")
        ));
        let tls = tls.replacen(&path, "/dev/zero", if key == "hall.pem" { 1 } else { 9 });
        Config::new(NOWHERE).listen_key(&tls).yaml()
    };
    let ca = certificates.key(", client_ca: /dev/zero");
    let pool = |tls: &str| {
        Config::new("stratum+tls://127.0.0.1:1")
            .pool_key(tls)
            .yaml()
    };
    let workers = Config::new(NOWHERE).key("authorize: { mode: local, workers_file: /dev/zero }");
    for (yaml, key) in [
        (zero("hall.pem"), "tls.certificate"),
        (zero("hall.key"), "tls.key"),
        (Config::new(NOWHERE).listen_key(&ca).yaml(), "tls.client_ca"),
        (pool("tls: { ca: /dev/zero }"), "tls.ca"),
        (workers.yaml(), "authorize.workers_file"),
    ] {
        let (code, said) = check(&yaml);
        assert_eq!(code, 2, "{key}: {said}");
        assert!(
            said.contains(key) && said.contains("no regular file"),
            "{key}: {said}"
        );
    }
    let mut program = Program::run(["--check", "/dev/zero"]);
    assert_eq!(program.wait_exit(PATIENCE), 2);
    assert!(
        program.told().contains("no regular file"),
        "{}",
        program.told()
    );
}

#[test]
fn a_file_beyond_its_bound_is_a_mistake() {
    let certificates = Certificates::new();
    let file = File::create(certificates.path("hall.key")).unwrap();
    file.set_len(1 << 40).unwrap();
    let (code, said) = check(
        &Config::new(NOWHERE)
            .listen_key(&certificates.key(""))
            .yaml(),
    );
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("tls.key") && said.contains("longer than"),
        "{said}"
    );
}

#[test]
fn a_config_may_come_through_a_pipe_and_a_link() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_stratum-uring"))
        .args(["--check", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let yaml = Config::new(NOWHERE).yaml();
    let mut pipe = check.stdin.take().unwrap();
    pipe.write_all(yaml.as_bytes()).unwrap();
    drop(pipe);
    assert_eq!(check.wait().unwrap().code(), Some(0));

    let certificates = Certificates::new();
    std::os::unix::fs::symlink("hall.key", certificates.path("link.key")).unwrap();
    let tls = certificates.key("").replace("hall.key", "link.key");
    says_nothing(&Config::new(NOWHERE).listen_key(&tls).yaml());
}

#[test]
fn a_client_ca_that_is_not_there_has_a_cure_of_its_own() {
    let certificates = Certificates::new();
    let tls = certificates.key(", client_ca: /nonexistent/ca.pem");
    let (code, said) = check(&Config::new(NOWHERE).listen_key(&tls).yaml());
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("openssl") && !said.contains("gen-cert"),
        "{said}"
    );
}

#[test]
fn each_mistake_in_a_file_is_told_with_the_configs_path() {
    let config = Config::new(NOWHERE).listen_key("tls: { certificate: /none/a, key: /none/b }");
    let file = TempFile::new(&config.yaml());
    let path = file.path().to_str().unwrap();
    for arguments in [&["--check", path][..], &["--cores", "1", path]] {
        let mut program = Program::run(arguments);
        assert_eq!(program.wait_exit(PATIENCE), 2, "{}", program.told());
        let log = program.told();
        for key in ["tls.certificate", "tls.key"] {
            let line = log.lines().find(|line| line.contains(key));
            assert!(line.is_some_and(|line| line.contains(path)), "{key}: {log}");
        }
    }
}

/// What `gen-cert` prints below its first line is what a listener's `tls:` is.
#[test]
fn a_certificate_that_we_made_is_named_as_it_stands() {
    let certificates = Certificates::new();
    let folder = certificates.folder().join("with a space, and more");
    std::fs::create_dir(&folder).unwrap();
    let mut program = Program::run(["gen-cert", "--out", folder.to_str().unwrap()]);
    assert_eq!(program.wait_exit(PATIENCE), 0, "{}", program.told());
    let printed = program.stdout();
    let key = printed.lines().find(|line| line.trim().starts_with("tls:"));
    says_nothing(&Config::new(NOWHERE).listen_key(key.unwrap().trim()).yaml());
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused() {
    let certificates = Certificates::new();
    let folder = certificates.folder().to_str().unwrap();
    for name in [
        "bad name",
        "",
        "a..b",
        "300.1.1.1",
        "h\u{e4}ll.example",
        "-a.example",
    ] {
        let name_option = format!("--name={name}");
        let mut program = Program::run(["gen-cert", &name_option, "--out", folder]);
        assert_eq!(
            program.wait_exit(PATIENCE),
            2,
            "{name:?}: {}",
            program.stdout()
        );
        assert!(
            program.told().contains("host name"),
            "{name:?}: {}",
            program.told()
        );
        assert!(!certificates.folder().join("stratum-uring.key").exists());
    }
    let good = [
        "hall.example",
        "*.hall.example",
        "hall",
        "10.0.0.1",
        "fd00::1",
    ];
    let arguments = good.iter().flat_map(|name| ["--name", name]);
    let all = ["gen-cert"]
        .into_iter()
        .chain(arguments)
        .chain(["--out", folder]);
    let mut program = Program::run(all);
    assert_eq!(program.wait_exit(PATIENCE), 0, "{}", program.told());
}
