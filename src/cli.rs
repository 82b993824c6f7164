//! The command line.
//!
//! [`Arguments`] is what clap reads; [`Cli`] is what it means, with nothing left to check. Bad
//! usage is told by clap, with exit code 2.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser};
use log::LevelFilter;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cli {
    pub(crate) command: Command,
    /// Warn with -q and for a check, else info; debug with -v, trace with -vv.
    pub(crate) log_level: LevelFilter,
}

/// One of the things the program can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Run the proxies of a config.
    Run {
        config: PathBuf,
        /// One shard for each; stronger than what the config says.
        cores: Option<NonZeroUsize>,
    },
    /// Read a config and report every mistake in it.
    Check { config: PathBuf },
    /// Print the example config.
    GenerateConfig,
    /// Make a certificate and its key for a hall.
    GenerateCertificate {
        /// Host names and addresses that it is for.
        names: Vec<String>,
        /// Where the files go.
        folder: PathBuf,
    },
}

impl Cli {
    /// Reads the arguments of the process. Prints and exits on bad usage (2), `--help` and
    /// `--version` (0).
    pub(crate) fn parse_from_env() -> Self {
        Self::new(Arguments::parse()).unwrap_or_else(|error| error.exit())
    }

    fn new(arguments: Arguments) -> Result<Self, clap::Error> {
        let log_level = match (arguments.quiet || arguments.check, arguments.verbose) {
            (true, 0) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (_, 1) => LevelFilter::Debug,
            (_, _) => LevelFilter::Trace,
        };
        let command = if let Some(Subcommand::GenCert { names, out }) = arguments.subcommand {
            Command::GenerateCertificate { names, folder: out }
        } else if arguments.generate_config {
            Command::GenerateConfig
        } else {
            let config = arguments
                .config_option
                .or(arguments.config)
                .ok_or_else(|| {
                    Arguments::command().error(
                    ErrorKind::MissingRequiredArgument,
                    "no config given; `stratum-uring -g > proxy.yaml` writes one to begin with, \
                     and `stratum-uring proxy.yaml` runs it",
                )
                })?;
            if arguments.check {
                Command::Check { config }
            } else {
                let cores = arguments.cores;
                Command::Run { config, cores }
            }
        };
        Ok(Self { command, log_level })
    }
}

/// A mining proxy for large farms: thread-per-core on io_uring.
#[derive(Debug, Parser)]
#[command(
    name = "stratum-uring",
    version,
    after_help = "Exit codes: 0 done or check passed, 1 failed while running, \
                  2 bad usage or config,\n\
                  3 the machine is in the way (kernel, limit, port), with the cure",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    subcommand: Option<Subcommand>,

    /// The config to run
    config: Option<PathBuf>,

    /// The config to run, as an option
    #[arg(short, long = "config", value_name = "FILE", conflicts_with = "config")]
    config_option: Option<PathBuf>,

    /// One shard for each core (overrides the config; default: every CPU this process may use)
    #[arg(long, value_name = "N", value_parser = parse_cores)]
    cores: Option<NonZeroUsize>,

    /// Read the config and the files that it names, report every mistake with its key and place, warn as
    /// the start would, exit
    #[arg(short = 't', long)]
    check: bool,

    /// Print the commented example config
    #[arg(short, long, conflicts_with_all = ["config", "config_option", "cores", "check"])]
    generate_config: bool,

    /// Log warnings and errors only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Log each connect, subscribe, authorize and disconnect too
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// What is asked for by its name. A config of that name is `./gen-cert`.
#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Make a self-signed certificate and its key for a hall: stratum-uring.pem and stratum-uring.key
    GenCert {
        /// A host name or IP address by which miners connect; several times for several [default: localhost]
        #[arg(long = "name", value_name = "HOST")]
        names: Vec<String>,

        /// The folder for the two files; none that is there is overwritten
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

fn parse_cores(text: &str) -> Result<NonZeroUsize, String> {
    let cores = text
        .parse()
        .ok()
        .filter(|cores: &NonZeroUsize| cores.get() <= CORES_MAX);
    cores.ok_or_else(|| format!("write a whole number from 1 to {CORES_MAX}"))
}

/// As in the config: with more, the job ids of two shards could be the same.
const CORES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = std::iter::once("stratum-uring").chain(line.split_whitespace());
        Arguments::try_parse_from(words).and_then(Cli::new)
    }

    fn run(config: &str, cores: Option<usize>) -> Command {
        Command::Run {
            config: config.into(),
            cores: cores.and_then(NonZeroUsize::new),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_config_is_run_checked_or_printed() {
        let check = || Command::Check { config: "a".into() };
        for (line, command) in [
            ("cfg.yaml", run("cfg.yaml", None)),
            ("--cores 8 cfg.yaml", run("cfg.yaml", Some(8))),
            ("-c a", run("a", None)),
            ("--config a --cores=256", run("a", Some(256))),
            ("-t a", check()),
            ("--check --config a --cores 2", check()),
            ("-g", Command::GenerateConfig),
            ("--generate-config", Command::GenerateConfig),
            ("./gen-cert", run("./gen-cert", None)),
            (
                "gen-cert --name a.example --name 10.0.0.1 --out tls",
                Command::GenerateCertificate {
                    names: vec!["a.example".to_owned(), "10.0.0.1".to_owned()],
                    folder: "tls".into(),
                },
            ),
        ] {
            assert_eq!(parse(line).unwrap().command, command, "{line}");
        }
    }

    #[test]
    fn the_log_level_follows_q_and_v() {
        for (line, level) in [
            ("-q a", LevelFilter::Warn),
            ("a", LevelFilter::Info),
            ("-v a", LevelFilter::Debug),
            ("-vv a", LevelFilter::Trace),
            ("-t a", LevelFilter::Warn),
            ("-t -v a", LevelFilter::Debug),
            ("-v --verbose -v a", LevelFilter::Trace),
        ] {
            assert_eq!(parse(line).unwrap().log_level, level, "{line}");
        }
    }

    #[test]
    fn bad_usage_ends_with_2() {
        for line in [
            "",
            "-t",
            "a b",
            "a -c b",
            "-q -v a",
            "-g a",
            "-g -t",
            "--cores 0 a",
            "--cores -1 a",
            "--cores 257 a",
            "--cores x a",
            "--core 1 a",
            "-x",
            "gen-cert a",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.use_stderr(), "{line}");
        }
        let error = parse("").unwrap_err().to_string();
        assert!(error.contains("stratum-uring -g > proxy.yaml"), "{error}");
    }

    #[test]
    fn help_and_version_end_with_0() {
        for line in ["-h", "--help", "-V", "--version"] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 0, "{line}");
        }
        let version = parse("-V").unwrap_err().to_string();
        assert_eq!(
            version.trim(),
            concat!("stratum-uring ", env!("CARGO_PKG_VERSION"))
        );
    }
}
