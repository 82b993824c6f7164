//! Who may mine: the workers file and its passwords.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::SaltString};

use crate::support::line::Heard;
use crate::support::proxy::TempFile;
use crate::support::{
    A_MOMENT, Config, FakeMiner, FakePool, Json, NONCE_1, PATIENCE, POOL_PASSWORD, PoolJob,
    PoolLink, Program, Proxy, TARGET,
};

/// A hash of argon2 that takes this much memory in KiB.
fn argon2(password: &str, kib: u32) -> String {
    argon2_of_rounds(password, kib, 1)
}

fn argon2_of_rounds(password: &str, kib: u32, rounds: u32) -> String {
    let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
    let params = Params::new(kib, rounds, 1, None).unwrap();
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
        let mut first = FakeMiner::connect(&proxy);
        first.send_subscribe();
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
    // From here on it has a worker, and waits for no other one.
    miner.expect_accepted(last);
    miner.expect_error(wrong, 24);
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
    hall.proxy
        .log_contains("line 2: [0].pasword: unknown key; did you mean password?");
    hall.proxy
        .log_contains("the workers file before it holds on");
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

/// A hash that takes about this long to check, on this machine and as these tests are built.
pub(crate) fn slow_hash(password: &str, wanted: Duration) -> String {
    const KIB: u32 = 64 * 1024;
    let began = Instant::now();
    argon2(password, KIB);
    let rounds = wanted.as_micros() / began.elapsed().as_micros().max(1);
    argon2_of_rounds(password, KIB, u32::try_from(rounds.clamp(2, 64)).unwrap())
}

#[test]
fn a_flood_of_guesses_stops_nobody() {
    const GUESSERS: u64 = 6;
    let hash = slow_hash("horse", Duration::from_secs(2));
    let mut hall = Hall::open(&format!(
        "- name: rig\n- name: dear\n  password_hash: \"{hash}\"\n"
    ));
    let mut bystander = hall.miner();
    is_let_in(&mut bystander, "rig", "");
    let job = bystander.expect_job();
    assert_eq!(hall.proxy.threads_at(10), 0);
    let mut guessers: Vec<FakeMiner> = (0..GUESSERS).map(|_| hall.miner()).collect();
    for (number, guesser) in (0..).zip(&mut guessers) {
        send_authorize(guesser, "dear", &format!("guess {number}"));
    }
    // A hash is being checked, on a thread of a low priority, and no more than two are at a time.
    let deadline = Instant::now() + PATIENCE;
    while hall.proxy.threads_at(10) == 0 {
        assert!(Instant::now() < deadline, "no thread has the hashes");
        std::thread::yield_now();
    }
    // Shares pass meanwhile, and who needs no hash is let in.
    for seed in 1..=20 {
        let id = bystander.submit(&job, seed);
        let submit = hall.link.expect_submit();
        hall.link.accept(&submit.id);
        bystander.expect_accepted(id);
    }
    let mut newcomer = hall.miner();
    is_let_in(&mut newcomer, "rig", "");
    newcomer.expect_job();
    let at_once = hall.proxy.threads_at(10);
    assert!((1..=2).contains(&at_once), "{at_once} hashes at a time");
    // No guess has been answered by then: had the shard checked them itself, some would be.
    for guesser in &mut guessers {
        let heard = guesser.hear(Duration::from_millis(1));
        assert_eq!(heard, Heard::Silence, "the shares came behind the hashes");
    }
}

#[test]
fn every_guess_is_answered() {
    let hall = Hall::open(&format!(
        "- name: dear\n  password_hash: \"{}\"\n",
        argon2("horse", 1024)
    ));
    let mut guessers: Vec<FakeMiner> = (0..20).map(|_| hall.miner()).collect();
    for (number, guesser) in (0..).zip(&mut guessers) {
        for guess in 0..4 {
            send_authorize(guesser, "dear", &format!("guess {number} {guess}"));
        }
    }
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
fn a_password_that_is_sent_as_a_number_is_its_letters() {
    let hall = Hall::open("- name: five\n  password: \"5\"\n");
    let mut miner = hall.miner();
    for denied in ["[\"five\",50]", "[\"five\",5.0]", "[\"five\",true]"] {
        let id = miner.send_request("mining.authorize", denied);
        miner.expect_error(id, 24);
    }
    let id = miner.send_request("mining.authorize", "[\"five\",5]");
    miner.expect_accepted(id);
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

/// The next request of the proxy asks for this name; it is answered so.
fn expect_name(link: &mut PoolLink, worker: &str, password: &str, is_allowed: bool) {
    let asked = link.expect("mining.authorize");
    assert_eq!(asked.params.at(0).text(), worker);
    assert_eq!(asked.params.at(1).text(), password);
    if is_allowed {
        link.accept(&asked.id);
    } else {
        link.reject(&asked.id, 24, "Unknown worker");
    }
}

#[test]
fn the_pool_decides_and_a_name_that_it_denied_is_asked_for_again_after_a_while() {
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).key("authorize: { mode: pool, denied_retry_seconds: 1 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    let id = send_authorize(&mut miner, "acct.rig1", "pw1");
    expect_name(&mut link, "acct.rig1", "pw1", false);
    miner.expect_error(id, 24);
    // From memory: the pool hears nothing of it.
    is_denied(&mut miner, "acct.rig1", "pw1");
    miner.expect_silence();
    assert!(link.next_request(A_MOMENT).is_err(), "the pool heard of it");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let id = send_authorize(&mut miner, "acct.rig1", "pw1");
        match link.next_request(A_MOMENT) {
            Ok(asked) => {
                link.accept(&asked.id);
                miner.expect_accepted(id);
                break;
            }
            Err(_) => miner.expect_error(id, 24),
        };
        assert!(Instant::now() < deadline, "never asked again");
        // Some tries are free, and more would close it.
        miner = FakeMiner::connect(&proxy);
        miner.subscribe();
    }
    miner.worker = "acct.rig1".to_owned();
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    assert_eq!(submit.worker, "acct.rig1");
    link.accept(&submit.id);
    miner.expect_accepted(id);
}

#[test]
fn a_share_goes_out_under_the_name_that_the_template_makes() {
    for (template, name) in [
        ("{pool_worker}.{worker}", "t1account.farm.hall.rig7"),
        ("t1x.{rig}", "t1x.rig7"),
        ("{pool_worker}-{address}", "t1account.farm-127-0-0-1"),
        ("t1fixed", "t1fixed"),
    ] {
        let pool = FakePool::start();
        let config = Config::new(&pool.url()).key(&format!("worker_name: \"{template}\""));
        let proxy = Proxy::one_shard(&config.yaml());
        let mut miner = FakeMiner::connect(&proxy);
        let subscribe = miner.send_subscribe();
        let mut link = pool.accept_ready(NONCE_1);
        miner.expect_subscribed(subscribe);
        let id = send_authorize(&mut miner, "hall.rig7", "secret");
        if name != "t1fixed" {
            // Not the miner's password: that is nobody's business but in mode pool.
            expect_name(&mut link, name, POOL_PASSWORD, true);
        }
        miner.expect_accepted(id);
        miner.worker = "hall.rig7".to_owned();
        let job = miner.expect_job();
        let id = miner.submit(&job, 1);
        let submit = link.expect_submit();
        assert_eq!(submit.worker, name);
        link.accept(&submit.id);
        miner.expect_accepted(id);
    }
}

#[test]
fn names_are_asked_for_again_on_a_new_connection_before_any_share_goes_out() {
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).keys(&[
        "worker_name: \"{worker}\"",
        "failover: { resume_seconds: 20 }",
    ]);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe_session("session-1", NONCE_1);
    link.expect_authorize();
    link.reply_authorize();
    link.set_target(TARGET);
    link.notify(&PoolJob::new("pool-job-1"));
    miner.expect_subscribed(subscribe);
    let id = send_authorize(&mut miner, "rig1", "x");
    expect_name(&mut link, "rig1", POOL_PASSWORD, true);
    miner.expect_accepted(id);
    miner.worker = "rig1".to_owned();
    let job = miner.expect_job();
    let in_flight = miner.submit(&job, 1);
    link.expect_submit();
    drop(link);
    let mut link = pool.accept_link();
    let while_lost = miner.submit(&job, 2);
    link.expect_subscribe();
    link.reply_subscribe_session("session-1", NONCE_1);
    link.expect_authorize();
    link.reply_authorize();
    let asked = link.expect("mining.authorize");
    assert_eq!(asked.params.at(0).text(), "rig1");
    // Nothing goes out under the name until the answer is there.
    assert!(link.next_request(A_MOMENT).is_err(), "the pool heard of it");
    link.accept(&asked.id);
    for _ in 0..2 {
        let submit = link.expect_submit();
        assert_eq!(submit.worker, "rig1");
        link.accept(&submit.id);
    }
    let mut answered = [miner.expect_reply(), miner.expect_reply()].map(|reply| {
        reply.assert_accepted();
        reply.id.integer()
    });
    answered.sort_unstable();
    let ids = [in_flight, while_lost].map(|id| i64::try_from(id).ok());
    assert_eq!(answered, ids);
}

#[test]
fn the_next_pool_is_asked_for_all_names_and_who_it_denies_is_closed() {
    let (first, second) = (FakePool::start(), FakePool::start());
    let config = Config::new(&first.url()).fallback(&second.url()).keys(&[
        "worker_name: \"{worker}\"",
        "failover: { resume_seconds: 0.5 }",
    ]);
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miners = [FakeMiner::connect(&proxy), FakeMiner::connect(&proxy)];
    let subscribes = miners.each_mut().map(FakeMiner::send_subscribe);
    let mut link = first.accept_ready(NONCE_1);
    for ((miner, name), id) in miners.iter_mut().zip(["rig1", "rig2"]).zip(subscribes) {
        miner.expect_subscribed(id);
        miner
            .request("mining.extranonce.subscribe", "[]")
            .assert_accepted();
        let id = send_authorize(miner, name, "x");
        expect_name(&mut link, name, POOL_PASSWORD, true);
        miner.expect_accepted(id);
        name.clone_into(&mut miner.worker);
        miner.expect_job();
    }
    drop(first);
    drop(link);
    let mut link = second.accept_ready("aabbccdd");
    for _ in 0..2 {
        let asked = link.expect("mining.authorize");
        if asked.params.at(0).text() == "rig1" {
            link.accept(&asked.id);
        } else {
            link.reject(&asked.id, 24, "Unknown worker");
        }
    }
    miners[1].expect_closed();
    let job = miners[0].expect_job();
    let id = miners[0].submit(&job, 5);
    let submit = link.expect_submit();
    assert_eq!(submit.worker, "rig1");
    link.accept(&submit.id);
    miners[0].expect_accepted(id);
}

/// A proxy whose one worker has a hash that takes a while, and room for four that wait.
fn dear(kib: u32) -> (Proxy, FakePool, TempFile, PoolLink) {
    let hash = argon2("horse", kib);
    let file = TempFile::new(&format!("- name: dear-*\n  password_hash: \"{hash}\"\n"));
    let pool = FakePool::start();
    let path = file.path().display();
    let mode = format!("authorize: {{ mode: local, workers_file: \"{path}\" }}");
    let config = Config::new(&pool.url())
        .key(&mode)
        .key("limits: { password_checks_max: 4 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut first = FakeMiner::connect(&proxy);
    first.send_subscribe();
    let link = pool.accept_ready(NONCE_1);
    (proxy, pool, file, link)
}

#[test]
fn who_guesses_waits_behind_himself_alone() {
    let (proxy, _pool, _file, _link) = dear(16 * 1024);
    let address = proxy.address("zcash");
    let mut guessers: Vec<FakeMiner> = (0..40)
        .map(|_| FakeMiner::connect_from([127, 0, 0, 2], address))
        .collect();
    for (number, guesser) in (0..).zip(&mut guessers) {
        guesser.send_subscribe();
        send_authorize(guesser, "dear-1", &format!("guess {number}"));
    }
    let mut miner = FakeMiner::connect_from([127, 0, 0, 3], address);
    miner.subscribe();
    is_let_in(&mut miner, "dear-2", "horse");
}

#[test]
fn a_hall_with_one_password_costs_one_check_and_nobody_is_busy() {
    let (proxy, _pool, _file, _link) = dear(16 * 1024);
    let mut hall: Vec<FakeMiner> = (0..50).map(|_| FakeMiner::connect(&proxy)).collect();
    for miner in &mut hall {
        miner.send_subscribe();
        send_authorize(miner, "dear-7", "horse");
    }
    for miner in &mut hall {
        // To the subscribe and to the authorize.
        for _ in 0..2 {
            let reply = miner.expect_reply();
            assert_eq!(reply.code(), None, "{reply:?}");
        }
    }
}

#[test]
fn a_password_that_was_taken_away_lets_nobody_in_who_still_waits() {
    // A check takes longer than the shard to take the new file up.
    let (proxy, _pool, file, _link) = dear(512 * 1024);
    let mut late: Vec<FakeMiner> = (0..6).map(|_| FakeMiner::connect(&proxy)).collect();
    for (number, miner) in (0..).zip(&mut late) {
        miner.subscribe();
        send_authorize(miner, &format!("dear-{number}"), "horse");
    }
    std::fs::write(file.path(), "- name: dear-*\n  password: other\n").unwrap();
    proxy.signal("HUP");
    let codes: Vec<_> = late.iter_mut().map(|it| it.expect_reply().code()).collect();
    // The first two may have been checked before, and for the last ones there may have been no room.
    let denied = codes.iter().filter(|code| **code == Some(24)).count();
    assert!(denied >= 2, "{codes:?}");
    let let_in = codes.iter().filter(|code| code.is_none()).count();
    assert!(let_in <= 2, "{codes:?}");
}
