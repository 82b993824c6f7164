//! `loadgen scenario`: pools that fail behind the real proxy, while miners submit shares.
//!
//! Each scenario has pools, every one a process of its own ([`crate::pool`]), the real proxy with a config
//! made for it, and the miners of this process. When all of them mine, and have for a while, the fault
//! comes ([`director`]); when they all have work again for a while the run ends. What it showed is held
//! against the scenario's rule ([`outcome`]).

mod director;
mod outcome;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;

use crate::cli::ScenarioArguments;
use crate::clock::Clock;
use crate::driver::MINERS_PER_THREAD_MAX;
use crate::fleet::{self, Plan};
use crate::pool::judge::{Space, smallest};
use crate::pool::process::{PoolProcess, Wanted as WantedPool};
use crate::proxy::{Proxy, Wanted};
use crate::role::Mixture;
use crate::run::{JsonFile, raise_descriptor_limit, watch_signals};
use crate::scenario::director::Director;
use crate::scenario::outcome::Outcome;
use crate::text;
use crate::tls::TlsMiners;
use crate::windows::Windows;

/// A fault, and what it may do to the miners.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pools: usize,
    /// Keys of the proxy's `failover` besides the pace of reconnects.
    failover: &'static str,
    /// Other keys of the proxy.
    keys: &'static str,
    /// Fewer shards show nothing.
    shards_min: u32,
    /// Whether miners must be seen to start on jobs before their own link announces them.
    wants_lead: bool,
    /// What is done, and how long after the first of them.
    steps: &'static [(Duration, Act)],
    rule: Rule,
    /// How long a miner that need not reconnect may be without work by the keys above, and by how the
    /// proxy dials.
    without_work_max: Duration,
    /// The run goes on for so long after the last step, at the least.
    watch: Duration,
    /// The pool that serves in the end.
    serves: usize,
}

/// What is done to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// All its links are reset. It takes them back at once.
    ResetLinks(usize),
    /// From now on every second link is told of jobs [`LATE`] after the others.
    BeLate(usize),
    /// SIGKILL.
    Kill(usize),
    /// SIGSTOP: its connections stay, and nothing is said on them any more.
    Stop(usize),
    /// Started in its old place, where it knows its sessions and jobs.
    Start(usize),
    /// Started in its old place as one that has forgotten everything.
    StartAnew(usize),
}

/// What a fault may do to the miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing: the session is resumed. Every share is accepted.
    Unnoticed,
    /// The work ends until a pool gives more. Nobody is closed, and shares may be stale.
    Waits,
    /// The work ends, and other work has another nonce_1: who can't take that is closed, and nobody else.
    Moves,
}

/// Shares have run for so long when the fault comes.
const BEFORE: Duration = Duration::from_secs(2);

/// By so much every second link of a pool that is late hears of a job later.
const LATE: Duration = Duration::from_millis(200);

/// All pools announce a job this often.
const JOB_INTERVAL: Duration = Duration::from_secs(1);

/// Between a share and the pool's answer: so some are in flight when the fault comes.
const POOL_DELAY: Duration = Duration::from_millis(30);

/// The pace at which the proxy closes those who can't be told of another nonce_1.
const RECONNECT_PER_SECOND: u32 = 1000;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a scenario is where it says nothing else: one pool, which is left for no other, and nothing happens.
const PLAIN: Scenario = Scenario {
    name: "",
    pools: 1,
    failover: "",
    keys: "",
    shards_min: 1,
    wants_lead: false,
    steps: &[],
    rule: Rule::Unnoticed,
    without_work_max: Duration::ZERO,
    watch: Duration::ZERO,
    serves: 0,
};

/// All scenarios, in the order in which they run.
pub(crate) static SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "link-reset",
        failover: "resume_seconds: 3",
        steps: &[(Duration::ZERO, Act::ResetLinks(0))],
        rule: Rule::Unnoticed,
        without_work_max: Duration::ZERO,
        watch: millis(3000),
        ..PLAIN
    },
    Scenario {
        name: "pool-killed-and-back",
        failover: "resume_seconds: 6",
        steps: &[
            (Duration::ZERO, Act::Kill(0)),
            (millis(1000), Act::Start(0)),
        ],
        rule: Rule::Unnoticed,
        without_work_max: Duration::ZERO,
        watch: millis(6000),
        ..PLAIN
    },
    Scenario {
        name: "pool-killed",
        pools: 2,
        failover: "resume_seconds: 1",
        steps: &[(Duration::ZERO, Act::Kill(0))],
        rule: Rule::Moves,
        // Until the session is given up, and the next pool's link.
        without_work_max: millis(1000 + 1000),
        watch: millis(3000),
        serves: 1,
        ..PLAIN
    },
    Scenario {
        name: "pool-restarted-new-nonce",
        failover: "resume_seconds: 3",
        steps: &[
            (Duration::ZERO, Act::Kill(0)),
            (millis(300), Act::StartAnew(0)),
        ],
        rule: Rule::Moves,
        // A second dial within half a second, and a third a second later.
        without_work_max: millis(300 + 1500),
        watch: millis(3000),
        ..PLAIN
    },
    Scenario {
        name: "pool-stopped",
        pools: 2,
        failover: "resume_seconds: 1, no_reply_seconds: 2, no_job_seconds: 5",
        steps: &[(Duration::ZERO, Act::Stop(0))],
        rule: Rule::Moves,
        // Until the silence is one, until the session is given up, and the next pool's link.
        without_work_max: millis(2000 + 1000 + 1000),
        watch: millis(3000),
        serves: 1,
        ..PLAIN
    },
    Scenario {
        name: "no-pool",
        failover: "resume_seconds: 1",
        steps: &[
            (Duration::ZERO, Act::Kill(0)),
            (millis(5000), Act::Start(0)),
        ],
        rule: Rule::Waits,
        // The wait between two dials has doubled to no more than the outage has lasted.
        without_work_max: millis(5000 + 5000),
        watch: millis(3000),
        ..PLAIN
    },
    Scenario {
        name: "failback",
        pools: 2,
        failover: "resume_seconds: 1, stable_for_seconds: 3",
        steps: &[
            (Duration::ZERO, Act::Kill(0)),
            (millis(4000), Act::Start(0)),
        ],
        rule: Rule::Moves,
        // As `pool-killed`. The way back costs only those who reconnect.
        without_work_max: millis(1000 + 1000),
        watch: millis(9000),
        ..PLAIN
    },
    Scenario {
        name: "one-link-killed-and-back",
        failover: "resume_seconds: 6",
        keys: "pool_links: 1",
        shards_min: 2,
        steps: &[
            (Duration::ZERO, Act::Kill(0)),
            (millis(1000), Act::Start(0)),
        ],
        rule: Rule::Unnoticed,
        without_work_max: Duration::ZERO,
        watch: millis(6000),
        ..PLAIN
    },
    Scenario {
        name: "one-link-killed",
        pools: 2,
        failover: "resume_seconds: 1",
        keys: "pool_links: 1",
        shards_min: 2,
        steps: &[(Duration::ZERO, Act::Kill(0))],
        rule: Rule::Moves,
        without_work_max: millis(1000 + 1000),
        watch: millis(3000),
        serves: 1,
        ..PLAIN
    },
    Scenario {
        name: "job-exchange",
        failover: "resume_seconds: 3",
        keys: "job_exchange: { enabled: true }",
        shards_min: 2,
        wants_lead: true,
        steps: &[(Duration::ZERO, Act::BeLate(0))],
        rule: Rule::Unnoticed,
        without_work_max: Duration::ZERO,
        // Links that are young don't count, and then three jobs are to match.
        watch: millis(15_000),
        ..PLAIN
    },
];

/// The byte of each pool's nonce space.
const SPACES: [Space; 2] = [Space(0xa1), Space(0xb2)];

/// And after it has forgotten everything.
const SPACES_ANEW: [Space; 2] = [Space(0xa7), Space(0xb8)];

/// Runs what was asked for, and says whether every rule was kept.
///
/// # Errors
///
/// A text that says what is in the way.
pub(crate) fn run(arguments: &ScenarioArguments) -> Result<bool, String> {
    let interrupted = watch_signals().map_err(|error| format!("no signals: {error}"))?;
    let mut json = arguments.json.as_deref().map(JsonFile::open).transpose()?;
    let descriptors = raise_descriptor_limit();
    let named = arguments.names.iter().copied();
    let mut wanted: Vec<&Scenario> = named.collect();
    if wanted.is_empty() {
        wanted = SCENARIOS.iter().collect();
    }
    let mut outcomes = Vec::new();
    text::print(outcome::HEAD);
    for scenario in wanted {
        let outcome = play(scenario, arguments, descriptors, &interrupted)
            .map_err(|error| format!("{}: {error}", scenario.name))?;
        text::print(&outcome.row());
        outcomes.push(outcome);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    if let Some(json) = &mut json {
        json.write(&outcome::json(&outcomes))?;
    }
    Ok(outcomes.iter().all(Outcome::is_clean))
}

fn play(
    scenario: &'static Scenario,
    arguments: &ScenarioArguments,
    descriptors: usize,
    interrupted: &AtomicBool,
) -> Result<Outcome, String> {
    let clock = Clock::start();
    let pools = SPACES[..scenario.pools].iter().map(|space| {
        PoolProcess::start(WantedPool {
            space: *space,
            job_interval: JOB_INTERVAL,
            delay: POOL_DELAY,
        })
    });
    let pools: Vec<PoolProcess> = pools.collect::<Result<_, _>>()?;
    let addresses: Vec<_> = pools.iter().map(PoolProcess::address).collect();
    let mut proxy = Proxy::start(
        &Wanted {
            coin: PracticeCoin::Equihash(smallest()),
            cores: scenario.shards(arguments.cores),
            job_interval_seconds: 1,
            pool: None,
            relay: None,
            wrap: String::new(),
            config: Some(config(scenario, &addresses)),
            tls: false,
            tied: true,
        },
        clock,
    )?;
    let miners = arguments.miners;
    let threads = (miners as usize).div_ceil(descriptors.min(MINERS_PER_THREAD_MAX));
    let plan = Plan {
        destination: proxy.address(),
        miners,
        threads,
        coin: PracticeCoin::Equihash(smallest()),
        alike: false,
        duration: Duration::ZERO,
        share_rate: arguments.share_rate,
        saturate: None,
        connect_rate: None,
        handshakes: None,
        tls: None,
        tls_miners: TlsMiners::All,
        mixture: Mixture::default(),
        churn_percent: 0.0,
        apart: Windows::default(),
        times_rise: true,
        pid: Some(proxy.pid()),
    };
    let bound = scenario.bound(miners, arguments.slack);
    let mut director = Director::new(scenario, clock, pools, miners, bound);
    let mut alive = || proxy.is_running();
    let mut report = fleet::direct(clock, plan, interrupted, &mut alive, &mut |moment| {
        director.is_enough(&moment)
    })?;
    let answered = report.tally.shares_sent - report.tally.shares_lost;
    let read = proxy.submits(clock, answered)?;
    let lead = proxy.job_lead()?;
    report.failure = proxy.stop(clock).err();
    let mut outcome = Outcome::new(scenario, bound, &report, read);
    if scenario.wants_lead {
        outcome.gained(lead);
    }
    director.finish(&mut outcome)?;
    if interrupted.load(Ordering::Relaxed) {
        outcome.failures.push("interrupted".to_owned());
    }
    Ok(outcome)
}

impl Scenario {
    /// How many shards the proxy gets; `None` is one for each CPU.
    fn shards(&self, wanted: Option<u32>) -> Option<u32> {
        let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if wanted.is_none() && cpus() >= self.shards_min as usize {
            return None;
        }
        Some(wanted.unwrap_or(1).max(self.shards_min))
    }

    /// How long a miner may be without work. It is a bound of the rule, with some slack for the machine:
    /// no proxy could be told from a slow computer otherwise.
    fn bound(&self, miners: u32, slack: Duration) -> Duration {
        let pace = f64::from(miners.div_ceil(4)) / f64::from(RECONNECT_PER_SECOND);
        match self.rule {
            Rule::Unnoticed => Duration::ZERO,
            Rule::Waits => self.without_work_max + slack,
            Rule::Moves => {
                let reconnect = Duration::from_secs_f64(pace) + crate::links::RECONNECT_AFTER;
                self.without_work_max + reconnect + slack
            }
        }
    }
}

fn config(scenario: &Scenario, pools: &[SocketAddr]) -> String {
    let pools = pools.iter().map(|address| {
        format!(
            "      - url: stratum+tcp://{address}\n        worker: loadgen\n        password: x\n"
        )
    });
    format!(
        r#"admin:
  listen: 127.0.0.1:0
proxies:
  - name: loadgen
    dialect: equihash
    equihash: {{ n: 48, k: 5 }}
    listen:
      - address: 127.0.0.1:0
    pools:
{pools}    {keys}
    failover: {{ {failover}, reconnect_per_second: {RECONNECT_PER_SECOND} }}
"#,
        pools = pools.collect::<String>(),
        failover = scenario.failover,
        keys = scenario.keys,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_config_that_the_proxy_reads() {
        for scenario in &SCENARIOS {
            let pools = [3333, 3334].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let text = config(scenario, &pools[..scenario.pools]);
            let config = stratum_uring::config::Config::load(&text);
            assert!(config.is_ok(), "{config:?}\n{text}");
        }
    }

    #[test]
    fn every_scenario_names_pools_that_it_has() {
        for scenario in &SCENARIOS {
            let acts = scenario.steps.iter().map(|(_, act)| match *act {
                Act::ResetLinks(pool)
                | Act::BeLate(pool)
                | Act::Kill(pool)
                | Act::Stop(pool)
                | Act::Start(pool)
                | Act::StartAnew(pool) => pool,
            });
            let highest = acts.chain([scenario.serves]).max();
            assert!(highest < Some(scenario.pools), "{}", scenario.name);
            assert!(scenario.steps.is_sorted_by_key(|(after, _)| *after));
            assert_eq!(
                scenario.steps[0].0,
                Duration::ZERO,
                "the fault is the first step"
            );
        }
    }

    #[test]
    fn the_bound_grows_with_those_who_must_reconnect() {
        let slack = Duration::from_secs(3);
        let bound = |miners| SCENARIOS[2].bound(miners, slack).as_secs_f64();
        assert!((bound(5000) - bound(1000) - 1.0).abs() < 1e-9);
        assert_eq!(SCENARIOS[0].bound(5000, slack), Duration::ZERO);
    }
}
