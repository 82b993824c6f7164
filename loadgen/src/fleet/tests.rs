use std::num::NonZero;

use stratum_uring::practice::{
    Judge, Knobs, PracticeCoin, PracticeServer, PracticeSettings, Refusal,
};
use stratum_uring::proto::dialect::equihash::Parameters;

mod terminator;

use super::*;

fn settings() -> PracticeSettings {
    let mut target = [0xff; 32];
    target[0] = 0x7f;
    PracticeSettings {
        target,
        job_interval: Duration::from_millis(250),
        block_interval_jobs: 1000,
        ..PracticeSettings::default()
    }
}

/// A plan of a second, that leads nowhere.
pub(crate) fn any_plan() -> Plan {
    Plan {
        destination: SocketAddr::from(([127, 0, 0, 1], 9)),
        miners: 200,
        threads: 2,
        coin: PracticeCoin::Equihash(Parameters::new(48, 5).unwrap()),
        alike: false,
        duration: Duration::from_secs(1),
        share_rate: 200.0,
        saturate: None,
        connect_rate: None,
        handshakes: None,
        mixture: Mixture::default(),
        tls: None,
        tls_miners: TlsMiners::All,
        churn_percent: 0.0,
        apart: Windows::default(),
        times_rise: true,
        pid: Some(std::process::id()),
    }
}

fn plan(pool: &PracticeServer, miners: u32, threads: usize) -> Plan {
    Plan {
        destination: pool.address(),
        miners,
        threads,
        ..any_plan()
    }
}

fn run_against(settings: PracticeSettings, knobs: Knobs, change: fn(&mut Plan)) -> (Report, u64) {
    let pool = PracticeServer::start(settings, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    pool.turn_knobs(|turned| *turned = knobs);
    let mut plan = plan(&pool, 200, 2);
    change(&mut plan);
    let interrupted = AtomicBool::new(false);
    let report = run(Clock::start(), plan, &interrupted, &mut || true).unwrap();
    (report, pool.counters().shares())
}

#[test]
fn real_shares_of_200_miners_are_all_accepted_by_a_pool_that_judges_them_fully() {
    let (report, judged) = run_against(settings(), Knobs::default(), |_| {});
    let tally = &report.tally;
    assert!(report.is_clean(), "{}", report.table());
    assert_eq!((tally.connects, tally.subscribes), (200, 200));
    assert_eq!(report.rejected(), 0, "{}", report.table());
    assert!(tally.shares_sent >= 100, "{}", report.table());
    assert_eq!(tally.shares_accepted, tally.shares_sent);
    assert_eq!(judged, tally.shares_sent);
    assert!(report.fan_out().to_all >= 1, "{}", report.table());
    assert!(report.proxy.is_some());
}

#[test]
fn filler_passes_a_pool_that_judges_the_shape() {
    let mut settings = settings();
    settings.coin = PracticeCoin::Equihash(Parameters::new(200, 9).unwrap());
    settings.judge = Judge::Shape;
    let (report, judged) = run_against(settings, Knobs::default(), |plan| {
        plan.coin = PracticeCoin::Equihash(Parameters::new(200, 9).unwrap());
        plan.connect_rate = Some(1000.0);
    });
    assert!(
        report.is_clean() && report.rejected() == 0,
        "{}",
        report.table()
    );
    assert!(judged >= 100 && judged == report.tally.shares_accepted);
    assert!(report.connect_time() > Duration::from_millis(150));
}

#[test]
fn what_is_rejected_or_never_answered_is_counted() {
    let nth = |number| NonZero::new(number).unwrap();
    let refusal = Refusal {
        code: 21,
        text: "so it goes".to_owned(),
    };
    let knobs = Knobs {
        reject_every_nth: Some((nth(10), refusal)),
        ..Knobs::default()
    };
    let (report, _) = run_against(settings(), knobs, |_| {});
    assert!(report.rejected() > 0);
    assert_eq!(
        report.rejected(),
        report.tally.shares_rejected["21 so it goes"]
    );
    assert!(report.is_clean(), "{}", report.table());

    let knobs = Knobs {
        never_reply_every_nth: Some(nth(50)),
        ..Knobs::default()
    };
    let (report, judged) = run_against(settings(), knobs, |_| {});
    assert!(report.tally.shares_lost > 0 && !report.is_clean());
    assert_eq!(
        report.tally.shares_accepted + report.tally.shares_lost,
        judged
    );
}

#[test]
fn rubbish_is_wrong_and_a_lost_miner_comes_back() {
    let knobs = Knobs {
        garbage: true,
        close_after_shares: NonZero::new(2),
        ..Knobs::default()
    };
    let (report, _) = run_against(settings(), knobs, |plan| {
        plan.miners = 20;
        plan.duration = Duration::from_secs(3);
    });
    assert!(report.tally.wrong_total() > 0, "{}", report.table());
    assert!(report.disconnects() > 0 && report.tally.shares_lost > 0);
    assert!(report.tally.connects > 20, "{}", report.table());
}

#[test]
fn a_port_where_nobody_listens_is_given_up_with_the_reason() {
    // Bound, so that nobody else gets it, and closed.
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let pool = PracticeServer::start(settings(), anywhere).unwrap();
    let mut plan = plan(&pool, 10, 2);
    drop(pool);
    plan.duration = Duration::from_secs(600);
    let clock = Clock::start();
    let interrupted = AtomicBool::new(false);
    let error = run(clock, plan, &interrupted, &mut || true).unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
    assert!(clock.now() < Duration::from_secs(20));
}

#[test]
fn an_interrupt_ends_it_with_a_report() {
    let pool = PracticeServer::start(settings(), SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut plan = plan(&pool, 10, 1);
    plan.duration = Duration::from_secs(600);
    let interrupted = AtomicBool::new(false);
    let mut looks = 0;
    let mut alive = || {
        looks += 1;
        if looks == 50 {
            interrupted.store(true, Ordering::Relaxed);
        }
        true
    };
    let report = run(Clock::start(), plan, &interrupted, &mut alive).unwrap();
    assert!(report.is_clean(), "{}", report.table());
    assert!(report.run < Duration::from_secs(60));
}

#[test]
fn saturation_sends_as_fast_as_answers_come() {
    let mut settings = settings();
    settings.coin = PracticeCoin::Equihash(Parameters::new(200, 9).unwrap());
    settings.judge = Judge::Shape;
    let knobs = Knobs {
        reply_delay: Duration::from_millis(100),
        ..Knobs::default()
    };
    let (report, _) = run_against(settings, knobs, |plan| {
        plan.coin = PracticeCoin::Equihash(Parameters::new(200, 9).unwrap());
        plan.saturate = Some(30);
    });
    assert!(report.is_clean(), "{}", report.table());
    // Thirty for each tenth of a second, and no more, however slow the machine is.
    let sent = report.tally.shares_sent;
    assert!((60..=330).contains(&sent), "{}", report.table());
    assert_eq!(report.tally.shares_accepted, sent);
}

#[test]
fn slow_readers_and_half_dead_miners_hold_nobody_up() {
    let (report, _) = run_against(settings(), Knobs::default(), |plan| {
        plan.mixture = Mixture::new(10.0, 10.0).unwrap();
    });
    assert!(report.is_clean(), "{}", report.table());
    assert_eq!((report.mining, report.silent, report.slow), (180, 20, 20));
    assert!(report.fan_out().to_all >= 1, "{}", report.table());
    assert!(report.tally.shares_accepted > 0);
}

#[test]
fn miners_that_are_sent_away_come_back_and_nothing_is_lost() {
    let (report, _) = run_against(settings(), Knobs::default(), |plan| {
        plan.churn_percent = 50.0;
        plan.share_rate = 1000.0;
    });
    assert!(report.is_clean(), "{}", report.table());
    let tally = &report.tally;
    assert!(tally.churned >= 50, "{}", report.table());
    assert_eq!(tally.connects, 200 + tally.churned, "{}", report.table());
    assert_eq!(report.mining, 200);
    let answered = tally.shares_accepted + report.rejected();
    assert_eq!(answered + tally.shares_abandoned, tally.shares_sent);
}

#[test]
fn miners_of_monero_are_told_their_first_job_with_their_login() {
    let mut settings = settings();
    (settings.coin, settings.judge) = (PracticeCoin::Monero, Judge::Shape);
    let (report, judged) = run_against(settings, Knobs::default(), |plan| {
        plan.coin = PracticeCoin::Monero;
        plan.mixture = Mixture::new(5.0, 5.0).unwrap();
        plan.churn_percent = 20.0;
    });
    assert!(report.is_clean(), "{}", report.table());
    assert_eq!((report.mining, report.silent, report.slow), (190, 10, 10));
    assert_eq!(report.rejected(), 0, "{}", report.table());
    let tally = &report.tally;
    assert!(tally.churned > 0 && tally.subscribes == tally.connects);
    assert_eq!(
        tally.shares_accepted + tally.shares_abandoned,
        tally.shares_sent
    );
    assert!(judged >= tally.shares_accepted && report.fan_out().to_all >= 1);
}

#[test]
fn miners_with_tls_mine_as_those_without() {
    for kind in [TlsKind::Full, TlsKind::Resume] {
        let pool = PracticeServer::start(settings(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let pool = pool.unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let destination = terminator::start(pool.address(), Arc::clone(&end));
        let plan = Plan {
            destination,
            miners: 30,
            churn_percent: 50.0,
            tls: Some(kind),
            ..plan(&pool, 30, 2)
        };
        let interrupted = AtomicBool::new(false);
        let report = run(Clock::start(), plan, &interrupted, &mut || true).unwrap();
        end.store(true, Ordering::Relaxed);
        assert!(report.is_clean(), "{}", report.table());
        let tally = &report.tally;
        assert!(tally.churned >= 5 && tally.shares_accepted > 0);
        let expected = match kind {
            TlsKind::Full => (tally.connects, 0),
            TlsKind::Resume => (30, tally.churned),
        };
        let handshakes = (tally.tls_full, tally.tls_resumed);
        assert_eq!(handshakes, expected, "{}", report.table());
    }
}
