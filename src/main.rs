//! The program: arguments, config, start, wait, exit code.

mod cli;
mod gen_cert;
mod log_queue;

use std::io::{self, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::log_queue::LogQueue;
use stratum_uring::config::{self, Config, ConfigErrors};
use stratum_uring::shard::{self, ConfigSource, RunError, StartError};

fn main() -> ExitCode {
    let cli = Cli::parse_from_env();
    let log = match LogQueue::start() {
        Ok(log) => log,
        Err(error) => {
            drop(writeln!(io::stderr(), "stratum-uring: no thread: {error}"));
            return ExitCode::from(3);
        }
    };
    env_logger::Builder::new()
        .filter_module("stratum_uring", cli.log_level)
        .format_target(false)
        .target(env_logger::Target::Pipe(Box::new(log.writer())))
        .init();
    let code = execute(cli.command, &log);
    // What is not read by then is lost: an end that waits for a reader may never come.
    log.drain();
    code
}

/// Does what was asked. All that goes to stderr goes through the log's queue, since its thread may hold
/// stderr for good; stdout may be full or closed, and that is no fault of the config.
fn execute(command: Command, log: &LogQueue) -> ExitCode {
    match command {
        Command::GenerateConfig => {
            // A reader that stops reading early, such as `head`, is content.
            drop(io::stdout().write_all(config::EXAMPLE.as_bytes()));
            ExitCode::SUCCESS
        }
        Command::GenerateCertificate { names, folder } => {
            match gen_cert::generate(&names, &folder) {
                Ok(text) => {
                    drop(io::stdout().write_all(text.as_bytes()));
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    log.tell(format_args!("stratum-uring: gen-cert: {error}"));
                    ExitCode::from(2)
                }
            }
        }
        Command::Check { config } => {
            match load(&config, log).and_then(|it| check(&config, &it, log)) {
                Ok(()) => {
                    let path = config.display();
                    drop(writeln!(io::stdout(), "{path}: the config is good"));
                    ExitCode::SUCCESS
                }
                Err(code) => code,
            }
        }
        Command::Run {
            config: path,
            cores,
        } => match load(&path, log) {
            Ok(config) => {
                let source = ConfigSource {
                    config: &config,
                    path: &path,
                };
                match shard::run(source, cores.map(NonZero::get)) {
                    Ok(()) => ExitCode::SUCCESS,
                    // What is wrong with a file is told as what is wrong with the config.
                    Err(RunError::Start(StartError::Files(mistakes))) => {
                        tell(&path, &mistakes, log)
                    }
                    Err(error) => {
                        log.tell(format_args!("stratum-uring: {error}"));
                        ExitCode::from(error.exit_code())
                    }
                }
            }
            Err(code) => code,
        },
    }
}

/// Reads a config, or tells every mistake in it.
fn load(path: &Path, log: &LogQueue) -> Result<Config, ExitCode> {
    Config::read(path).map_err(|mistakes| tell(path, &mistakes, log))
}

/// Reads the files that a config names, or tells every mistake in them.
fn check(path: &Path, config: &Config, log: &LogQueue) -> Result<(), ExitCode> {
    shard::check(config).map_err(|mistakes| tell(path, &mistakes, log))
}

/// Tells every mistake in a config, each with its path. The exit code says that it is the config's fault.
fn tell(path: &Path, mistakes: &ConfigErrors, log: &LogQueue) -> ExitCode {
    for mistake in mistakes.as_slice() {
        log.tell(format_args!("{}: {mistake}", path.display()));
    }
    ExitCode::from(2)
}
