//! Who may mine: the workers file and its passwords.

use std::time::Instant;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::SaltString};

use crate::support::proxy::TempFile;
use crate::support::{
    Config, FakeMiner, FakePool, Json, NONCE_1, PATIENCE, PoolLink, Program, Proxy,
};

/// A hash of argon2 that takes this much memory in KiB.
fn argon2(password: &str, kib: u32) -> String {
    let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
    let params = Params::new(kib, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.as_bytes(), &salt).unwrap();
    hash.to_string()
}

fn bcrypt(password: &str) -> String {
    bcrypt::hash_with_salt(password, 4, [7; 16])
        .unwrap()
        .to_string()
}

/// A proxy of one shard with this workers file, its pool's link, and a job.
struct Hall {
    proxy: Proxy,
    _pool: FakePool,
    link: PoolLink,
    file: TempFile,
}

impl Hall {
    fn open(workers: &str) -> Self {
        let file = TempFile::new(workers);
        let pool = FakePool::start();
        let path = file.path().display();
        let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
        let config = Config::new(&pool.url()).key(&mode);
        let proxy = Proxy::one_shard(&config.yaml());
        let first = FakeMiner::connect(&proxy);
        let link = pool.accept_ready(NONCE_1);
        drop(first);
        Self {
            proxy,
            _pool: pool,
            link,
            file,
        }
    }

    /// A miner that has subscribed.
    fn miner(&self) -> FakeMiner {
        let mut miner = FakeMiner::connect(&self.proxy);
        miner.subscribe();
        miner
    }

    /// The same again, under another file.
    fn rewrite(&self, workers: &str) {
        std::fs::write(self.file.path(), workers).unwrap();
        self.proxy.signal("HUP");
    }
}

fn params(worker: &str, password: &str) -> String {
    format!("[{},{}]", Json::from(worker), Json::from(password))
}

fn send_authorize(miner: &mut FakeMiner, worker: &str, password: &str) -> u64 {
    miner.send_request("mining.authorize", &params(worker, password))
}

#[track_caller]
fn is_let_in(miner: &mut FakeMiner, worker: &str, password: &str) {
    let id = send_authorize(miner, worker, password);
    miner.expect_accepted(id);
    worker.clone_into(&mut miner.worker);
}

#[track_caller]
fn is_denied(miner: &mut FakeMiner, worker: &str, password: &str) {
    let id = send_authorize(miner, worker, password);
    miner.expect_error(id, 24);
}

#[test]
fn who_stands_in_the_file_mines_and_nobody_else() {
    let mut hall = Hall::open(&format!(
        "- name: free-*\n- name: plain\n  password: s3cret\n- name: argon\n  password_hash: \"{}\"\n\
         - name: bcrypt\n  password_hash: \"{}\"\n",
        argon2("horse", 64),
        bcrypt("staple"),
    ));
    for (worker, password) in [
        ("free-7", "whatever"),
        ("plain", "s3cret"),
        ("argon", "horse"),
        ("bcrypt", "staple"),
    ] {
        let mut miner = hall.miner();
        is_denied(&mut miner, "stranger", "x");
        if worker != "free-7" {
            is_denied(&mut miner, worker, "wrong");
        }
        miner.expect_silence();
        is_let_in(&mut miner, worker, password);
        let job = miner.expect_job();
        let id = miner.submit(&job, 7);
        let submit = hall.link.expect_submit();
        assert_eq!(submit.worker, "t1account.farm");
        hall.link.accept(&submit.id);
        miner.expect_accepted(id);
    }
    let log = hall.proxy.log();
    assert!(log.contains("may not mine"), "{log}");
    assert!(!log.contains("s3cret") && !log.contains("wrong\""), "{log}");
}

#[test]
fn what_comes_behind_an_authorize_is_answered_behind_it() {
    let hall = Hall::open(&format!(
        "- name: argon\n  password_hash: \"{}\"\n",
        argon2("horse", 8192)
    ));
    let mut miner = FakeMiner::connect(&hall.proxy);
    let authorize = send_authorize(&mut miner, "argon", "horse");
    let asks = miner.send_request("mining.extranonce.subscribe", "[]");
    let subscribe = miner.send_subscribe();
    let wrong = send_authorize(&mut miner, "argon-2", "horse");
    let last = miner.send_request("mining.multi_version", "[1]");
    miner.expect_accepted(authorize);
    miner.expect_accepted(asks);
    miner.expect_subscribed(subscribe);
    miner.expect_error(wrong, 24);
    miner.expect_accepted(last);
    miner.expect_job();
}

#[test]
fn a_share_under_a_name_that_was_denied_is_refused() {
    let hall = Hall::open("- name: rig\n- name: other\n  password: right\n");
    let mut miner = hall.miner();
    is_let_in(&mut miner, "rig", "");
    let job = miner.expect_job();
    is_denied(&mut miner, "other", "wrong");
    let mut share = miner.share(&job, 1);
    share.worker = "other".to_owned();
    let id = miner.send_share(&share);
    miner.expect_error(id, 24);
}

#[test]
fn the_file_is_read_again_on_sighup_and_a_broken_one_is_not_taken() {
    let hall = Hall::open("- name: old\n");
    let mut stays = hall.miner();
    is_let_in(&mut stays, "old", "");
    stays.expect_job();
    hall.rewrite("- name: new\n  password: \"s3cret\"\n");
    hall.proxy.log_contains("may mine from now on");
    // Shards take it at their next tick.
    let mut miner = hall.miner();
    let deadline = Instant::now() + PATIENCE;
    while send_and_hear(&mut miner, "new", "s3cret").is_some() {
        assert!(Instant::now() < deadline, "the new file is not used");
        miner = hall.miner();
    }
    is_denied(&mut hall.miner(), "old", "");
    hall.rewrite("- name: newer\n  pasword: \"hush\"\n");
    let line = hall.proxy.log_contains("has mistakes");
    assert!(
        line.contains("line 2: [0].pasword: unknown key; did you mean password?"),
        "{line}"
    );
    is_let_in(&mut hall.miner(), "new", "s3cret");
    stays.expect_no_other_reply();
    assert!(!hall.proxy.log().contains("hush"));
}

/// The error's code, if it is one.
fn send_and_hear(miner: &mut FakeMiner, worker: &str, password: &str) -> Option<i64> {
    let id = send_authorize(miner, worker, password);
    miner.expect_result(id).code()
}

#[test]
fn who_guesses_passwords_is_closed() {
    let hall = Hall::open("- name: rig\n  password: right\n");
    let mut miner = hall.miner();
    for guess in 0..9 {
        send_authorize(&mut miner, "rig", &format!("guess {guess}"));
    }
    let lines = miner.expect_closed();
    assert_eq!(lines.len(), 9, "{lines:?}");
}

#[test]
fn a_flood_of_guesses_stops_nobody() {
    const GUESSERS: u64 = 20;
    let mut hall = Hall::open(&format!(
        "- name: rig\n- name: dear\n  password_hash: \"{}\"\n",
        argon2("horse", 4 * 1024)
    ));
    let mut bystander = hall.miner();
    is_let_in(&mut bystander, "rig", "");
    let job = bystander.expect_job();
    let mut guessers: Vec<FakeMiner> = (0..GUESSERS).map(|_| hall.miner()).collect();
    for (number, guesser) in (0..).zip(&mut guessers) {
        for guess in 0..4 {
            send_authorize(guesser, "dear", &format!("guess {number} {guess}"));
        }
    }
    // Its shares pass while the hashes are checked: there are 80 of them.
    for seed in 1..=20 {
        let id = bystander.submit(&job, seed);
        let submit = hall.link.expect_submit();
        hall.link.accept(&submit.id);
        bystander.expect_accepted(id);
    }
    let mut newcomer = hall.miner();
    is_let_in(&mut newcomer, "rig", "");
    newcomer.expect_job();
    for guesser in &mut guessers {
        for _ in 0..4 {
            guesser.expect_reply().assert_error(24);
        }
    }
}

#[test]
fn more_hashes_than_may_wait_are_to_come_again() {
    let file = TempFile::new(&format!(
        "- name: dear\n  password_hash: \"{}\"\n",
        argon2("horse", 8 * 1024)
    ));
    let pool = FakePool::start();
    let path = file.path().display();
    let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
    let config = Config::new(&pool.url())
        .key(&mode)
        .key("limits: { password_checks_max: 1 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miners: Vec<FakeMiner> = (0..30).map(|_| FakeMiner::connect(&proxy)).collect();
    for (number, miner) in (0..).zip(&mut miners) {
        send_authorize(miner, "dear", &format!("guess {number}"));
    }
    let mut busy = 0;
    for miner in &mut miners {
        let reply = miner.expect_reply();
        reply.assert_error(24);
        busy += usize::from(reply.error_text() == "Busy, try again");
    }
    assert!(busy > 0, "30 hashes of 8 MiB were checked as they came");
}

#[test]
fn a_check_of_the_config_tells_of_the_workers_too() {
    let workers = TempFile::new("- name: a\n  password_hash: \"$argon2id$v=19$oops\"\n");
    let path = workers.path().display();
    let config = Config::new("stratum+tcp://127.0.0.1:1").key(&format!(
        "authorize: {{ mode: local, workers_file: \"{path}\" }}"
    ));
    let config = TempFile::new(&config.yaml());
    let mut program = Program::run(["--check", config.path().to_str().unwrap()]);
    assert_eq!(program.wait_exit(PATIENCE), 2);
    let log = program.log();
    assert!(
        log.contains(&format!(
            "{path}: line 2: [0].password_hash: this is no PHC"
        )),
        "{log}"
    );
    assert!(!log.contains("oops"), "{log}");
}

#[test]
fn a_login_of_monero_has_its_password_checked() {
    let file = TempFile::new(&format!(
        "- name: rig\n  password_hash: \"{}\"\n",
        bcrypt("x")
    ));
    let pool = FakePool::start();
    let path = file.path().display();
    let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
    let config = Config::new(&pool.url()).dialect("monero").key(&mode);
    let proxy = Proxy::one_shard(&config.yaml());
    let login = |password: &str| {
        format!(
            r#"{{"id":1,"jsonrpc":"2.0","method":"login","params":{{"login":"rig","pass":"{password}","agent":"XMRig/6"}}}}"#
        )
    };
    let mut denied = FakeMiner::connect(&proxy);
    denied.send_line(&login("y"));
    assert!(denied.expect_line().contains("Unauthorized worker"));
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_line(&login("x"));
    let mut link = pool.accept_link();
    let asked = link.expect("login");
    let blob = format!("{}00000000{}", "07".repeat(39), "2f".repeat(33));
    link.send_line(&format!(
        r#"{{"id":{},"jsonrpc":"2.0","error":null,"result":{{"id":"s","job":{{"blob":"{blob}","job_id":"j","target":"b88d0600"}},"status":"OK"}}}}"#,
        asked.id,
    ));
    let answer = miner.expect_reply();
    assert_eq!(answer.result.get("status").text(), "OK");
}
