//! The command line.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stratum_uring::practice::PracticeCoin;
use stratum_uring::proto::dialect::equihash::Parameters;

use crate::hostile::attack::{ATTACKS, Attack};
use crate::pool::judge::{Jobs, Space};
use crate::pool::serve::Settings;
use crate::scenario::{SCENARIOS, Scenario};
use crate::tls::TlsKind;

/// Simulates a farm of Equihash, Bitcoin or Monero miners against a proxy or a pool.
///
/// Without --connect it starts stratum-uring itself, with the practice pool, on a free port of this
/// machine; nothing real is mined. Exits 0 when no share was lost and nothing was wrong, else 1.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadgen", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where the miners connect; without it the proxy is started here
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    pub(crate) connect: Option<SocketAddr>,

    /// How many miners
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) miners: u32,

    /// How long shares are sent, in seconds, counted from the last connect
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) duration: Duration,

    /// Shares per second of all miners together; 0 for none
    #[arg(long, value_name = "PER_SECOND", default_value = "1000", value_parser = parse_rate)]
    pub(crate) share_rate: f64,

    /// Keeps so many shares in flight, in place of a rate: shows how many a proxy can take
    #[arg(long, value_name = "SHARES", num_args = 0..=1, default_missing_value = "1000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "share_rate")]
    pub(crate) saturate: Option<u32>,

    /// Percent of the miners that read rarely, through a small window
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub(crate) slow_readers: f64,

    /// Percent of the miners that fall silent with their first job: they keep the connection and never
    /// read again
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub(crate) half_dead: f64,

    /// Percent of the miners that leave each second, one half of them by a reset, and come back
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub(crate) churn: f64,

    /// The pool behind the proxy that is started here
    #[arg(
        long,
        value_name = "KIND",
        default_value = "practice",
        conflicts_with = "connect"
    )]
    pub(crate) pool: PoolKind,

    /// Another program in place of the proxy: it is called with the addresses to listen at and of the
    /// mock pool, and tells on stderr as ours does where it listens and when it is ready
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["connect", "cores"])]
    pub(crate) relay: Option<PathBuf>,

    /// Words in front of the command that starts the proxy, as in "taskset -c 0"
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        conflicts_with = "connect"
    )]
    pub(crate) wrap: String,

    /// All miners talk alike, and no two shares of the farm have one id: for a relay that rewrites nothing
    #[arg(long)]
    pub(crate) alike: bool,

    /// Seconds from one job of the pool to the next
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        conflicts_with = "connect"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) job_interval: u32,

    /// Connects per second; as fast as they are accepted, if not given
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_connect_rate)]
    pub(crate) connect_rate: Option<f64>,

    /// Connects at a time that have no answer to their subscribe yet; 256 for each thread, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) handshakes: Option<u32>,

    /// Shards of the proxy that is started here; as many as hold the miners, one for each CPU at least
    #[arg(long, value_name = "N", conflicts_with = "connect")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) cores: Option<u32>,

    /// What the miners speak; shares of Bitcoin are real headers, those of Monero claim a hash
    #[arg(long, value_enum, default_value_t = Dialect::Equihash)]
    pub(crate) dialect: Dialect,

    /// Equihash parameters; shares of 48,5 are real, those of others are filler of the right shape
    #[arg(long, value_name = "N,K", default_value = "48,5", value_parser = parse_parameters)]
    pub(crate) parameters: Parameters,

    /// Threads of this load generator; as few as hold the miners, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) threads: Option<u32>,

    /// Miners connect with TLS, and look at no certificate; the proxy that is started here is given one
    #[arg(long, value_enum, value_name = "KEYS", num_args = 0..=1, default_missing_value = "full")]
    #[arg(conflicts_with = "relay")]
    pub(crate) tls: Option<TlsKind>,

    /// Writes the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// The process whose CPU time and memory are reported
    #[arg(long, value_name = "PID", requires = "connect")]
    pub(crate) pid: Option<u32>,
}

/// What else it does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Scenario(ScenarioArguments),
    Hostile(HostileArguments),
    Pool(PoolArguments),
    /// Becomes another program, which ends with its parent
    #[command(hide = true)]
    Tied {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Kills, stops and restarts pools behind the real proxy while miners submit shares, and tells how long
/// the miners were without work, how many lost their connection, and what became of the shares.
///
/// Exits 0 when no share was lost and each rule was kept, else 1.
#[derive(Args, Clone, Debug)]
pub(crate) struct ScenarioArguments {
    /// Which ones, in this order; without a name, all but those that are marked as not yet working
    #[arg(value_name = "NAME", value_parser = parse_scenario)]
    pub(crate) names: Vec<&'static Scenario>,

    /// How many miners
    #[arg(long, value_name = "N", default_value_t = 5000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) miners: u32,

    /// Shares per second of all miners together
    #[arg(long, value_name = "PER_SECOND", default_value = "2000", value_parser = parse_rate)]
    pub(crate) share_rate: f64,

    /// Seconds for a slow machine, on top of how long the rule lets a miner be without work
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    pub(crate) slack: Duration,

    /// Shards of the proxy; one for each CPU, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) cores: Option<u32>,

    /// Writes the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Attacks the real proxy while honest miners submit shares, and tells what they felt of it beside a run
/// without an attack, and what the proxy's memory was before, meanwhile and after.
///
/// Exits 0 when no honest share was lost or refused, no honest miner closed, whoever left came back soon,
/// attackers were closed where they must be, and an attack took no more memory when it was played again;
/// else 1.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostileArguments {
    #[arg(value_name = "NAME", value_parser = parse_attack)]
    #[arg(help = format!("Which attacks, in this order; without a name, all: {}", names(&ATTACKS)))]
    pub(crate) names: Vec<&'static Attack>,

    /// How many honest miners; attackers are as many as fit to them
    #[arg(long, value_name = "N", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) miners: u32,

    /// How long each attack lasts, in seconds; it is played in two halves
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) duration: Duration,

    /// Shares per second of all honest miners together
    #[arg(long, value_name = "PER_SECOND", default_value = "500", value_parser = parse_rate)]
    pub(crate) share_rate: f64,

    /// One half of the honest miners connect with TLS
    #[arg(long, value_enum, value_name = "KEYS", num_args = 0..=1, default_missing_value = "full")]
    pub(crate) tls: Option<TlsKind>,

    /// Shards of the proxy; one for each CPU, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) cores: Option<u32>,

    /// Writes the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

fn parse_attack(text: &str) -> Result<&'static Attack, String> {
    let attack = ATTACKS.iter().find(|it| it.name == text);
    attack.ok_or_else(|| format!("write one of {}", names(&ATTACKS)))
}

/// The names of all, in their order.
fn names(attacks: &[Attack]) -> String {
    let names: Vec<&str> = attacks.iter().map(|it| it.name).collect();
    names.join(" ")
}

fn parse_scenario(text: &str) -> Result<&'static Scenario, String> {
    let known = || {
        let names = SCENARIOS.iter().map(|it| it.name);
        format!("write one of {}", names.collect::<Vec<_>>().join(" "))
    };
    SCENARIOS
        .iter()
        .find(|it| it.name == text)
        .ok_or_else(known)
}

/// A pool that judges shares of Equihash 48,5 and gives a known session its nonce_1 again, even after it
/// was killed and restarted. It serves until it is killed.
///
/// It says where it listens, and takes the commands `reset`, which resets its links, `late` with a number of
/// milliseconds by which every second link hears of jobs later, and `verdicts`, which prints how many shares
/// were accepted, stale, duplicate and wrong.
#[derive(Args, Clone, Debug)]
pub(crate) struct PoolArguments {
    /// Where it listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", value_parser = parse_address)]
    pub(crate) listen: SocketAddr,

    /// The byte that each nonce_1 begins with, two hex digits; sessions of another one are not known
    #[arg(long, value_name = "HEX", default_value = "a1", value_parser = parse_byte)]
    pub(crate) nonce: u8,

    /// Milliseconds from one job to the next
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3_600_000))]
    pub(crate) job_interval_ms: u32,

    /// Milliseconds by which each line of the pool is late, as over a real network
    #[arg(long, value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) delay_ms: u32,
}

impl PoolArguments {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            listen: self.listen,
            jobs: Jobs {
                space: Space(self.nonce),
                interval: Duration::from_millis(self.job_interval_ms.into()),
            },
            delay: Duration::from_millis(self.delay_ms.into()),
        }
    }
}

fn parse_byte(text: &str) -> Result<u8, String> {
    let byte = u8::from_str_radix(text, 16);
    byte.ok()
        .filter(|_| text.len() == 2)
        .ok_or_else(|| "write two hex digits".to_owned())
}

/// What judges the shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolKind {
    /// The proxy's own practice pool, in its process: it looks into each share
    Practice,
    /// One in this process that takes everything and costs little; of Monero it looks into each share too
    Mock,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("write HOST:PORT ({error})"))?;
    addresses
        .next()
        .ok_or_else(|| "the host has no address".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.0..=1e7).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write a number of seconds, 0 to 10000000".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.0..=1e7).contains(rate))
        .ok_or_else(|| "write a number, 0 to 10000000".to_owned())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    parse_rate(text)
        .ok()
        .filter(|percent| *percent <= 100.0)
        .ok_or_else(|| "write a number, 0 to 100".to_owned())
}

fn parse_connect_rate(text: &str) -> Result<f64, String> {
    parse_rate(text)
        .ok()
        .filter(|rate| *rate > 0.0)
        .ok_or_else(|| "write a number above 0, up to 10000000".to_owned())
}

/// What simulated miners speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    Equihash,
    Bitcoin,
    Monero,
}

impl Arguments {
    /// What is mined.
    pub(crate) const fn coin(&self) -> PracticeCoin {
        match self.dialect {
            Dialect::Equihash => PracticeCoin::Equihash(self.parameters),
            Dialect::Bitcoin => PracticeCoin::Bitcoin,
            Dialect::Monero => PracticeCoin::Monero,
        }
    }
}

fn parse_parameters(text: &str) -> Result<Parameters, String> {
    let known = || {
        let sets = Parameters::ALL.map(|set| format!("{},{}", set.n(), set.k()));
        format!("write one of {}", sets.join(" "))
    };
    let (n, k) = text.split_once(',').ok_or_else(known)?;
    let number = |text: &str| text.trim().parse().ok();
    number(n)
        .zip(number(k))
        .and_then(|(n, k)| Parameters::new(n, k))
        .ok_or_else(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Arguments, clap::Error> {
        let words = arguments.split_ascii_whitespace();
        Arguments::try_parse_from(std::iter::once("loadgen").chain(words))
    }

    #[test]
    fn without_arguments_a_thousand_miners_send_real_shares() {
        let arguments = parse("").unwrap();
        assert_eq!(arguments.miners, 1000);
        assert!((arguments.share_rate - 1000.0).abs() < 1e-9);
        assert_eq!(arguments.duration, Duration::from_secs(10));
        assert!(crate::shares::are_real(arguments.coin()));
        let bitcoin = parse("--dialect bitcoin").unwrap().coin();
        assert!(bitcoin == PracticeCoin::Bitcoin && crate::shares::are_real(bitcoin));
        assert_eq!(arguments.connect, None);
    }

    #[test]
    fn all_options_are_read() {
        let arguments = parse(
            "--connect 127.0.0.1:3333 --miners 7 --duration 0.5 --share-rate 2.5 \
             --connect-rate 100 --json out.json --pid 1 --parameters 200,9 --threads 2",
        )
        .unwrap();
        assert_eq!(arguments.connect, "127.0.0.1:3333".parse().ok());
        assert_eq!(arguments.duration, Duration::from_millis(500));
        assert_eq!(arguments.parameters.n(), 200);
    }

    #[test]
    fn mistakes_are_told() {
        for mistake in [
            "--connect nowhere",
            "--miners 0",
            "--duration -1",
            "--share-rate NaN",
            "--connect-rate 0",
            "--parameters 200",
            "--parameters 210,9",
            "--pid 1",
            "--connect 127.0.0.1:1 --cores 2",
            "--connect 127.0.0.1:1 --job-interval 2",
            "--saturate --share-rate 5",
            "--saturate 0",
            "--churn 101",
            "--half-dead -1",
            "--handshakes 0",
            "--connect 127.0.0.1:1 --pool mock",
            "--pool none",
            "--dialect kaspa",
            "--relay a --cores 2",
        ] {
            assert!(parse(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn scenarios_are_named_or_all() {
        let scenario = |text: &str| match parse(text).unwrap().command {
            Some(Command::Scenario(scenario)) => scenario,
            other => panic!("{other:?}"),
        };
        assert!(scenario("scenario").names.is_empty());
        assert_eq!(scenario("scenario").miners, 5000);
        let named = scenario("scenario pool-killed link-reset --miners 3 --share-rate 4");
        let names = named.names.iter().map(|it| it.name);
        assert_eq!(names.collect::<Vec<_>>(), ["pool-killed", "link-reset"]);
        for mistake in [
            "scenario war",
            "--miners 3 scenario",
            "pool --nonce a",
            "pool --nonce zz",
        ] {
            assert!(parse(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn the_help_of_hostile_names_every_attack() {
        let help = parse("hostile --help").unwrap_err().to_string();
        for attack in &ATTACKS {
            assert!(help.contains(attack.name), "{}: {help}", attack.name);
        }
    }

    #[test]
    fn bad_miners_and_loads_without_a_rate_are_read() {
        let arguments =
            parse("--slow-readers 5 --half-dead 0.5 --churn 1.5 --handshakes 9").unwrap();
        let percents = [arguments.slow_readers, arguments.half_dead, arguments.churn];
        assert_eq!(percents.map(|percent| percent * 10.0), [50.0, 5.0, 15.0]);
        assert_eq!((arguments.saturate, arguments.handshakes), (None, Some(9)));
        assert_eq!(parse("--saturate").unwrap().saturate, Some(1000));
        assert_eq!(
            parse("--saturate 64 --miners 3").unwrap().saturate,
            Some(64)
        );
    }
}
