//! What a miner may send, how much of it may be wrong, and who is kept out for it; over IPv6, too, and over
//! two shards.
//!
//! The kernel gives a connection to a shard by a hash of its ports, so where both shards are meant there are
//! enough connections for both.

use std::time::{Duration, Instant};

use crate::support::line::Heard;
use crate::support::miner::{Reply, Taken};
use crate::support::scrape::Admin;
use crate::support::{AutoPool, Config, FakeMiner, Job, PATIENCE, Proxy, Verdict};

/// So many that one shard gets none of them in one of eight million tests.
const MINERS: usize = 24;

/// Shares from this seed on are above the target, as their pool says.
const BAD: u64 = 0xbad0_0000;

/// The address of the miner whose shares are wrong, and of nobody else.
const ITS_ADDRESS: [u8; 4] = [127, 0, 0, 9];

const ITS_NAME: &str = "t1addr.bad";

/// A proxy with honest miners at work on all its shards.
struct Hall {
    proxy: Proxy,
    _pool: AutoPool,
    admin: Admin,
    miners: Vec<(FakeMiner, Job)>,
    shares: u64,
}

impl Hall {
    fn open(cores: &str, limits: &str) -> Self {
        Self::open_on("127.0.0.1:0", cores, limits)
    }

    fn open_on(listen: &str, cores: &str, limits: &str) -> Self {
        let pool = AutoPool::start(|submit| {
            if submit.nonce_2.contains("bad") {
                Verdict::Reject(23, "low difficulty share")
            } else {
                Verdict::Accept
            }
        });
        let limits = format!("limits: {{ rejected_window: 20, {limits} }}");
        let config = Config::new(&pool.url()).key(&limits).yaml();
        let config = config.replace("127.0.0.1:0", &format!("\"{listen}\""));
        let proxy = Proxy::start_with(&["--cores", cores], &(Admin::KEY.to_owned() + &config));
        let admin = Admin::of(&proxy);
        let rigs = 0..MINERS;
        let miners = rigs.map(|rig| {
            let mut miner = FakeMiner::connect_to(proxy.address("zcash"));
            let job = miner.start_mining(&format!("t1addr.rig{rig}"));
            (miner, job)
        });
        let miners = miners.collect();
        let mining = "stratum_miners_mining{proxy=\"zcash\"}";
        admin.scrape_until(|it| it.value(mining) == MINERS as f64);
        Self {
            proxy,
            _pool: pool,
            admin,
            miners,
            shares: 0,
        }
    }

    fn connect(&self) -> FakeMiner {
        let address = self.proxy.address("zcash");
        if address.is_ipv4() {
            FakeMiner::connect_from(ITS_ADDRESS, address)
        } else {
            FakeMiner::connect_to(address)
        }
    }

    fn closes(&self, reason: &str) -> f64 {
        self.admin
            .scrape()
            .value(&of_reason("stratum_miner_closes_total", reason))
    }

    /// A miner of this name sends one bad share after the other until it is closed for it. It may be excused
    /// a window or two, while a shard does not know yet how many miners the other one has.
    #[track_caller]
    fn is_closed_for_its_shares(&mut self, miner: &mut FakeMiner, job: &Job, worker: &str) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.shares += 1;
            let mut share = miner.share(job, BAD + self.shares);
            worker.clone_into(&mut share.worker);
            miner.send_share(&share);
            match miner.reply_or_close() {
                Taken::Answered(reply) => reply.assert_error(23),
                Taken::Closed => return,
            }
        }
        panic!("it was never closed:\n{}", self.proxy.log());
    }

    /// Whether a connection of this name is let in; one that is not is told so and closed.
    #[track_caller]
    fn lets_in(&self, mut miner: FakeMiner, worker: &str) -> bool {
        miner.subscribe();
        let reply = miner.request("mining.authorize", &format!("[\"{worker}\",\"x\"]"));
        if reply.is_accepted() {
            return true;
        }
        reply.assert_error(24);
        assert!(reply.error_text().starts_with("Kept out"), "{}", reply.raw);
        miner.expect_closed();
        false
    }

    /// All honest miners go on.
    #[track_caller]
    fn goes_on(&mut self) {
        self.shares += 1;
        for (miner, job) in &mut self.miners {
            let id = miner.submit(job, self.shares);
            miner.expect_accepted(id);
        }
    }
}

fn of_reason(name: &str, reason: &str) -> String {
    format!("{name}{{proxy=\"zcash\",reason=\"{reason}\"}}")
}

#[test]
fn who_sends_wrong_shares_is_kept_out_by_name_and_address_on_both_shards() {
    let mut hall = Hall::open("2", "rejected_ban_seconds: 600");
    let mut miner = hall.connect();
    let job = miner.start_mining(ITS_NAME);
    let good = miner.submit(&job, 1);
    miner.expect_accepted(good);
    hall.is_closed_for_its_shares(&mut miner, &job, ITS_NAME);
    hall.proxy.log_contains("too many");
    // Each shard counts it when it knows.
    let kept_out = "stratum_workers_kept_out_total{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(kept_out) == 2.0);
    for _ in 0..MINERS {
        assert!(!hall.lets_in(hall.connect(), ITS_NAME));
    }
    assert!(hall.lets_in(hall.connect(), "t1addr.other"));
    let elsewhere = FakeMiner::connect_from([127, 0, 0, 8], hall.proxy.address("zcash"));
    assert!(hall.lets_in(elsewhere, ITS_NAME));
    let refused = of_reason("stratum_miner_closes_total", "kept_out");
    hall.admin
        .scrape_until(|it| it.value(&refused) == MINERS as f64);
    assert_eq!(hall.closes("too_many_faults"), 1.0);
    hall.goes_on();
}

#[test]
fn who_was_kept_out_may_come_back_when_its_time_is_over() {
    let mut hall = Hall::open("1", "rejected_ban_seconds: 2");
    let mut miner = hall.connect();
    let job = miner.start_mining(ITS_NAME);
    let begun = Instant::now();
    hall.is_closed_for_its_shares(&mut miner, &job, ITS_NAME);
    let closed = Instant::now();
    while !hall.lets_in(hall.connect(), ITS_NAME) {
        assert!(closed.elapsed() < PATIENCE, "it is kept out for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "it came too soon"
    );
    hall.goes_on();
}

#[test]
fn the_worker_of_the_wrong_shares_is_kept_out_and_not_the_first_of_its_connection() {
    let mut hall = Hall::open("1", "rejected_ban_seconds: 600");
    let mut miner = hall.connect();
    let job = miner.start_mining("t1addr.first");
    miner.authorize("t1addr.second");
    hall.is_closed_for_its_shares(&mut miner, &job, "t1addr.second");
    assert!(hall.lets_in(hall.connect(), "t1addr.first"));
    assert!(!hall.lets_in(hall.connect(), "t1addr.second"));
}

#[test]
fn a_name_under_which_another_mines_well_is_let_in_by_both_shards() {
    let mut hall = Hall::open("2", "rejected_ban_seconds: 600");
    let mut neighbour = hall.connect();
    let its_job = neighbour.start_mining(ITS_NAME);
    let id = neighbour.submit(&its_job, 1);
    neighbour.expect_accepted(id);
    let mut miner = hall.connect();
    let job = miner.start_mining(ITS_NAME);
    hall.is_closed_for_its_shares(&mut miner, &job, ITS_NAME);
    // The neighbour's shard says so to the other one, which may take a moment.
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < MINERS {
        assert!(Instant::now() < deadline, "a whole hall is shut out");
        in_a_row = if hall.lets_in(hall.connect(), ITS_NAME) {
            in_a_row + 1
        } else {
            0
        };
    }
    let id = neighbour.submit(&its_job, 2);
    neighbour.expect_accepted(id);
}

#[test]
fn made_up_jobs_and_submits_of_no_shape_are_shares_too_and_close_who_sends_them() {
    let mut hall = Hall::open("1", "rejected_ban_seconds: 600");
    let malformed = of_reason("stratum_requests_refused_total", "malformed");
    let never_given = of_reason("stratum_requests_refused_total", "job_never_given");
    let mut sent = 0.0;
    for (params, code) in [
        ("[]", 20),
        (r#"["t1addr.bad",7,"00",[],{}]"#, 20),
        (r#"["t1addr.bad","no job","00000000","00","00"]"#, 21),
        (r#"["t1addr.bad","AHEAD","00000000","00","00"]"#, 21),
    ] {
        let mut miner = hall.connect();
        // Another name each time, for it is kept out.
        let worker = format!("{ITS_NAME}-{sent}");
        let job = miner.start_mining(&worker);
        let ahead = u32::from_str_radix(&job.id, 16)
            .unwrap()
            .wrapping_add(0x100);
        let params = params
            .replace("AHEAD", &format!("{ahead:x}"))
            .replace(ITS_NAME, &worker);
        for _ in 0..20 {
            let id = miner.send_request("mining.submit", &params);
            miner.expect_error(id, code);
        }
        miner.expect_closed();
        sent += 20.0;
        hall.admin
            .scrape_until(|it| it.value(&malformed) + it.value(&never_given) == sent);
        hall.goes_on();
    }
    let submits = "stratum_submits_total{proxy=\"zcash\"}";
    let honest = 4 * MINERS;
    hall.admin
        .scrape_until(|it| it.value(submits) == sent + honest as f64);
}

#[test]
fn messages_have_a_pace_past_which_a_miner_is_closed() {
    let mut hall = Hall::open("2", "messages_per_second_max: 20");
    let mut miner = hall.connect();
    miner.start_mining(ITS_NAME);
    let line = "{\"id\":7,\"method\":\"mining.multi_version\",\"params\":[1]}\n";
    miner.send_raw(line.repeat(400).as_bytes());
    let answers = miner.expect_closed().len();
    assert!((150..400).contains(&answers), "{answers}");
    let ends = "stratum_miner_closes_total{proxy=\"zcash\",reason=\"too_many_messages\"}";
    hall.admin.scrape_until(|it| it.value(ends) == 1.0);
    hall.proxy
        .log_contains("reason=too_many_messages: closed: it sent more than limits.messages_");
    hall.goes_on();
}

#[test]
fn shares_have_a_pace_past_which_they_are_refused_and_the_miner_stays() {
    let mut hall = Hall::open("2", "shares_per_second_max: 2");
    let mut miner = hall.connect();
    let job = miner.start_mining(ITS_NAME);
    let ids: Vec<u64> = (0..60).map(|seed| miner.submit(&job, seed)).collect();
    let replies: Vec<_> = ids.iter().map(|_| miner.expect_reply()).collect();
    let accepted = replies.iter().filter(|reply| reply.is_accepted()).count();
    assert!((20..60).contains(&accepted), "{accepted}");
    let is_paced =
        |reply: &&Reply| reply.code() == Some(20) && reply.error_text().contains("second");
    assert_eq!(replies.iter().filter(is_paced).count(), 60 - accepted);
    let refused = "stratum_requests_refused_total{proxy=\"zcash\",reason=\"too_many_shares\"}";
    let wanted = 60 - accepted;
    hall.admin
        .scrape_until(|it| it.value(refused) == wanted as f64);
    miner
        .request("mining.multi_version", "[1]")
        .assert_accepted();
    hall.goes_on();
}

#[test]
fn the_bound_on_connections_is_one_of_all_shards() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).key("limits: { connections_max: 6 }");
    let proxy = Proxy::start(&(Admin::KEY.to_owned() + &config.yaml()));
    let admin = Admin::of(&proxy);
    let connect = |_| FakeMiner::connect_to(proxy.address("zcash"));
    let mut miners: Vec<FakeMiner> = (0..MINERS).map(connect).collect();
    let turned_away = "stratum_door_closes_total{proxy=\"zcash\",reason=\"connections_max\"}";
    admin.scrape_until(|it| it.value(turned_away) == (MINERS - 6) as f64);
    let closed = |miner: &mut FakeMiner| miner.hear(Duration::from_millis(20)) == Heard::Closed;
    miners.retain_mut(|miner| !closed(miner));
    assert_eq!(miners.len(), 6);
    for (rig, miner) in miners.iter_mut().enumerate() {
        miner.start_mining(&format!("t1addr.rig{rig}"));
    }
}

// IPv6.

#[test]
fn who_comes_over_ipv6_mines_and_is_kept_out_like_everybody_else() {
    let mut hall = Hall::open_on("[::1]:0", "2", "rejected_ban_seconds: 600");
    assert!(hall.proxy.address("zcash").is_ipv6());
    hall.goes_on();
    let mut miner = hall.connect();
    let job = miner.start_mining(ITS_NAME);
    hall.is_closed_for_its_shares(&mut miner, &job, ITS_NAME);
    let kept_out = "stratum_workers_kept_out_total{proxy=\"zcash\"}";
    hall.admin.scrape_until(|it| it.value(kept_out) == 2.0);
    for _ in 0..MINERS {
        assert!(!hall.lets_in(hall.connect(), ITS_NAME));
    }
    assert!(hall.lets_in(hall.connect(), "t1addr.other"));
    hall.goes_on();
}

#[test]
fn a_listener_for_both_families_knows_the_networks_of_both() {
    let pool = AutoPool::accepts_all();
    for (rules, is_v6_let_in) in [
        ("allow: [127.0.0.0/29, \"::1\"]", true),
        ("allow: [127.0.0.0/29]", false),
        ("deny: [127.0.0.9, \"::/64\"]", false),
        ("deny: [127.0.0.9]", true),
    ] {
        let config = Config::new(&pool.url()).listen_key(rules).yaml();
        let config = config.replace("127.0.0.1:0", "\"[::]:0\"");
        let proxy = Proxy::start(&config);
        let v4 = proxy.address("zcash");
        let mut miner = FakeMiner::connect_from([127, 0, 0, 2], v4);
        let job = miner.start_mining("t1addr.rig");
        let id = miner.submit(&job, 1);
        miner.expect_accepted(id);
        let mut stranger = FakeMiner::connect_from([127, 0, 0, 9], v4);
        assert_eq!(stranger.hear(PATIENCE), Heard::Closed, "{rules}");
        let v6 = format!("[::1]:{}", v4.port()).parse().unwrap();
        let mut miner = FakeMiner::connect_to(v6);
        if is_v6_let_in {
            let job = miner.start_mining("t1addr.rig-6");
            let id = miner.submit(&job, 2);
            miner.expect_accepted(id);
        } else {
            assert_eq!(miner.hear(PATIENCE), Heard::Closed, "{rules}");
        }
    }
}
