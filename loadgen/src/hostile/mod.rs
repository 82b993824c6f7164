//! `loadgen hostile`: attackers beside honest miners, at the real proxy.
//!
//! First comes the run without an attack, then each attack, all with a proxy, a pool and miners of their
//! own: the pool is a process that judges each share ([`crate::pool`]), the honest miners are those of any
//! load ([`crate::fleet`]), some of which leave and come back all the time, and the attackers have a thread
//! and plain sockets ([`attackers`]). Each attack is played twice in a row, for memory that was taken once
//! must do again. What the honest ones felt while it was on ([`felt`]), when they had each of the pool's jobs
//! ([`jobs`]) and what the proxy's memory was is told, and judged ([`judge`]).

pub(crate) mod attack;
mod attackers;
mod ear;
mod felt;
mod jobs;
mod judge;

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;

use crate::cli::HostileArguments;
use crate::clock::Clock;
use crate::driver::MINERS_PER_THREAD_MAX;
use crate::fleet::{self, Moment, Plan};
use crate::hostile::attack::{ATTACKS, Attack};
use crate::hostile::attackers::{Attackers, Deeds};
use crate::hostile::felt::{Felt, Memory, Seen};
use crate::hostile::jobs::{JOB_INTERVAL, Jobs};
use crate::hostile::judge::{Rules, UNREAD_BYTES_MAX};
use crate::pool::judge::{Space, smallest};
use crate::pool::process::{PoolProcess, Wanted as WantedPool};
use crate::proxy::{CERTIFICATE, KEY, Proxy, Wanted};
use crate::role::Mixture;
use crate::run::{JsonFile, raise_descriptor_limit, watch_signals};
use crate::text;
use crate::tls::TlsMiners;
use crate::usage;
use crate::windows::Windows;

/// Honest miners have been at work for so long when the attack begins.
const BEFORE: Duration = Duration::from_secs(1);

/// So long it is quiet behind each play of the attack.
const AFTER: Duration = Duration::from_secs(1);

/// Percent of the honest miners that leave each second and come back.
const CHURN_PERCENT: f64 = 5.0;

/// A connection that says nothing of use is closed after so long at the most.
const TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// Runs what was asked for, and says whether no honest miner lost anything.
///
/// # Errors
///
/// A text that says what is in the way.
pub(crate) fn run(arguments: &HostileArguments) -> Result<bool, String> {
    let interrupted = watch_signals().map_err(|error| format!("no signals: {error}"))?;
    let mut json = arguments.json.as_deref().map(JsonFile::open).transpose()?;
    let descriptors = raise_descriptor_limit();
    let mut wanted: Vec<&'static Attack> = arguments.names.clone();
    if wanted.is_empty() {
        wanted = ATTACKS.iter().collect();
    }
    let mut runs: Vec<Felt> = Vec::new();
    text::print(felt::HEAD);
    for attack in std::iter::once(None).chain(wanted.into_iter().map(Some)) {
        let played = play(attack, arguments, runs.first(), descriptors, &interrupted);
        let felt = played.map_err(|error| match attack {
            Some(attack) => format!("{}: {error}", attack.name),
            None => error,
        })?;
        text::print(&felt.row());
        runs.push(felt);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    if let Some(json) = &mut json {
        json.write(&felt::json(&runs))?;
    }
    Ok(runs.iter().all(Felt::is_clean))
}

/// Plays one attack, or none. `quiet` is what the run without one showed.
fn play(
    attack: Option<&'static Attack>,
    arguments: &HostileArguments,
    quiet: Option<&Felt>,
    descriptors: usize,
    interrupted: &AtomicBool,
) -> Result<Felt, String> {
    let clock = Clock::start();
    let pool = PoolProcess::start(WantedPool {
        space: Space(0xa1),
        job_interval: JOB_INTERVAL,
        delay: Duration::ZERO,
    })?;
    let mut proxy = Proxy::start(
        &Wanted {
            coin: PracticeCoin::Equihash(smallest()),
            cores: arguments.cores,
            job_interval_seconds: 1,
            pool: None,
            relay: None,
            wrap: String::new(),
            config: Some(config(pool.address(), arguments)),
            tls: true,
            tied: true,
        },
        clock,
    )?;
    let miners = arguments.miners;
    let plan = Plan {
        destination: proxy.address(),
        miners,
        threads: (miners as usize).div_ceil(descriptors.min(MINERS_PER_THREAD_MAX)),
        coin: PracticeCoin::Equihash(smallest()),
        alike: false,
        duration: Duration::ZERO,
        share_rate: arguments.share_rate,
        saturate: None,
        connect_rate: None,
        handshakes: None,
        tls: arguments.tls,
        tls_miners: TlsMiners::Half,
        mixture: Mixture::default(),
        churn_percent: CHURN_PERCENT,
        apart: plays(arguments),
        times_rise: true,
        pid: Some(proxy.pid()),
    };
    let mut course = Course {
        attack,
        arguments,
        destination: proxy.address(),
        pid: proxy.pid(),
        clock,
        attackers: None,
        run: (Duration::ZERO, Duration::ZERO),
        memory: Memory::default(),
        deeds: Deeds::default(),
        error: None,
    };
    let mut alive = || proxy.is_running();
    let mut report = fleet::direct(clock, plan, interrupted, &mut alive, &mut |moment| {
        course.is_enough(&moment)
    })?;
    if let Some(error) = course.error {
        return Err(error);
    }
    report.failure = proxy.stop(clock).err();
    let rules = Rules::new(attack, miners, half(arguments), quiet);
    let zero = clock.since_1970().saturating_sub(clock.now());
    let seen = Seen {
        jobs: Jobs::of(&report, course.run, zero),
        memory: course.memory,
        deeds: course.deeds,
    };
    let mut felt = Felt::new(&rules, &report, seen);
    if interrupted.load(Ordering::Relaxed) {
        felt.failures.push("interrupted".to_owned());
    }
    Ok(felt)
}

/// The course of one run: quiet, the attack, quiet, the attack again, quiet.
struct Course<'a> {
    attack: Option<&'static Attack>,
    arguments: &'a HostileArguments,
    destination: SocketAddr,
    pid: u32,
    clock: Clock,
    attackers: Option<Attackers>,
    /// When shares began, and were last known to be due.
    run: (Duration, Duration),
    memory: Memory,
    deeds: Deeds,
    error: Option<String>,
}

impl Course<'_> {
    /// Does what is due, and says whether the run may end.
    fn is_enough(&mut self, moment: &Moment<'_>) -> bool {
        let rss = usage::of_process(self.pid).map_or(0, |usage| usage.rss_kib);
        let past = moment.now.saturating_sub(moment.began);
        self.run = (moment.began, moment.now);
        if past < BEFORE {
            self.memory.before = rss;
        }
        let again = again(self.arguments);
        let peak = &mut self.memory.peaks[usize::from(past >= again)];
        *peak = rss.max(*peak);
        self.memory.after = rss;
        let is_on = plays(self.arguments).meet(past, past);
        if !is_on {
            if let Some(attackers) = self.attackers.take() {
                self.deeds.add(attackers.end());
            }
        } else if let (Some(attack), None) = (self.attack, &self.attackers) {
            let miners = self.arguments.miners;
            match Attackers::begin(attack, miners, self.destination, self.clock) {
                Ok(attackers) => self.attackers = Some(attackers),
                Err(error) => self.error = Some(error),
            }
        }
        self.error.is_some() || past > again + half(self.arguments) + IN_THE_END
    }
}

/// How long it is quiet in the end: until the proxy has closed who says nothing, and has looked twice whether
/// memory may go back.
const IN_THE_END: Duration = Duration::from_secs(7);

/// How long the attack is played each time.
fn half(arguments: &HostileArguments) -> Duration {
    arguments.duration / 2
}

/// When it is played again, from the begin of the run.
fn again(arguments: &HostileArguments) -> Duration {
    BEFORE + half(arguments) + AFTER
}

/// When the attack is on, from the begin of the run.
fn plays(arguments: &HostileArguments) -> Windows {
    Windows::new([BEFORE, again(arguments)], half(arguments))
}

/// Its times are short, so that they are met while the attack lasts, there are fewer places for TLS
/// handshakes than `tls-unfinished` wants, and less room for what nobody reads than some ask for.
fn config(pool: SocketAddr, arguments: &HostileArguments) -> String {
    let seconds = (half(arguments) / 2)
        .min(TIMEOUT_MAX)
        .as_secs_f64()
        .max(0.1);
    // No less may be asked for.
    let subscribe = seconds.max(1.0);
    let cpus = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let shards = arguments.cores.map_or_else(cpus, |cores| cores as usize);
    let handshakes = (arguments.miners as usize).div_ceil(shards);
    format!(
        r#"admin:
  listen: 127.0.0.1:0
proxies:
  - name: loadgen
    dialect: equihash
    equihash: {{ n: 48, k: 5 }}
    listen:
      - address: 127.0.0.1:0
        tls: {{ certificate: {CERTIFICATE}, key: {KEY}, mode: auto }}
    pools:
      - url: stratum+tcp://{pool}
        worker: loadgen
        password: x
    limits:
      first_byte_timeout_seconds: {seconds}
      tls_handshake_timeout_seconds: {seconds}
      subscribe_timeout_seconds: {subscribe}
      tls_handshakes_max: {handshakes}
      unread_bytes_max: {UNREAD_BYTES_MAX}
      # Small, so that who sends wrong shares is found out within a short attack.
      rejected_window: 40
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_one_that_the_proxy_reads() {
        for (miners, seconds, cores) in [(1, 0, None), (15_000, 1000, Some(256)), (60, 2, Some(1))]
        {
            let arguments = HostileArguments {
                names: Vec::new(),
                miners,
                duration: Duration::from_secs(seconds),
                share_rate: 1.0,
                cores,
                tls: None,
                json: None,
            };
            let text = config(SocketAddr::from(([127, 0, 0, 1], 3333)), &arguments);
            let config = stratum_uring::config::Config::load(&text);
            assert!(config.is_ok(), "{config:?}\n{text}");
        }
    }
}
