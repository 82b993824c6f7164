//! Idle is who acknowledges nothing, and not who finds nothing.

use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};

use crate::support::line::Heard;
use crate::support::scrape::Admin;
use crate::support::{AutoPool, Config, FakeMiner, PATIENCE, Proxy};

/// The least that a config may ask for is 9 seconds: keepalive is counted in whole ones.
const IDLE: &str = "limits: { idle_timeout_seconds: 9 }";

#[test]
fn a_machine_that_is_gone_is_closed_and_one_that_finds_nothing_stays() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).key(IDLE);
    let yaml = format!("{}{}", Admin::KEY, config.yaml());
    let proxy = Proxy::start_with(&["--cores", "1", "-v"], &yaml);
    let admin = Admin::of(&proxy);
    let (mut unlucky, job) = FakeMiner::mining(&proxy, "t1addr.unlucky");
    let (gone, _) = FakeMiner::mining(&proxy, "t1addr.gone");
    // From now on its kernel sees no packet, and so acknowledges none, as if the cable were cut.
    let nothing = SockFilter::new(RETURN, 0, 0, 0);
    SockRef::from(&gone.writer())
        .attach_filter(&[nothing])
        .unwrap();

    let closed = "stratum_miner_closes_total{proxy=\"zcash\",reason=\"idle\"}";
    // Nothing comes to the other one either: no job, no answer; and all that time it sends nothing.
    let deadline = Instant::now() + 6 * PATIENCE;
    while admin.scrape().value(closed) < 1.0 {
        assert!(
            Instant::now() < deadline,
            "the machine that is gone is held"
        );
        let heard = unlucky.hear(Duration::from_millis(500));
        assert_eq!(heard, Heard::Silence);
    }
    let told = proxy.log_contains("worker=\"t1addr.gone\" reason=idle: disconnected");
    assert!(told.contains(&gone.local_address().to_string()), "{told}");
    let id = unlucky.submit(&job, 1);
    unlucky.expect_accepted(id);
    assert_eq!(admin.scrape().value(closed), 1.0);
}

/// `BPF_RET | BPF_K` of a classic filter: so many bytes of the packet are let through.
const RETURN: u16 = 0x06;

#[test]
fn a_day_may_pass_where_the_operator_says_so() {
    let pool = AutoPool::accepts_all();
    let config = Config::new(&pool.url()).key("limits: { idle_timeout_seconds: 86400 }");
    let proxy = Proxy::one_shard(&config.yaml());
    let (mut miner, job) = FakeMiner::mining(&proxy, "t1addr.rig");
    let id = miner.submit(&job, 1);
    miner.expect_accepted(id);
}
