//! The program: arguments, config, start, wait, exit code.

mod cli;

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use stratum_uring::{config, shard};

fn main() -> ExitCode {
    let cli = Cli::parse_from_env();
    env_logger::Builder::new()
        .filter_module("stratum_uring", cli.log_level)
        .format_target(false)
        .init();
    match cli.command {
        Command::GenerateConfig => {
            // A reader that stops reading early, such as `head`, is content.
            drop(std::io::stdout().write_all(config::EXAMPLE.as_bytes()));
            ExitCode::SUCCESS
        }
        Command::Check { config } => match load(&config) {
            Ok(_) => {
                println!("{}: the config is good", config.display());
                ExitCode::SUCCESS
            }
            Err(code) => code,
        },
        Command::Run { config, cores } => match load(&config) {
            Ok(config) => match shard::run(&config, cores.map(NonZero::get)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("stratum-uring: {error}");
                    ExitCode::from(error.exit_code())
                }
            },
            Err(code) => code,
        },
    }
}

/// Reads a config, or prints every mistake in it.
fn load(path: &std::path::Path) -> Result<config::Config, ExitCode> {
    let mistakes = match std::fs::read(path) {
        Ok(bytes) => match config::Config::load_bytes(&bytes) {
            Ok(config) => return Ok(config),
            Err(errors) => errors.to_string(),
        },
        Err(error) => format!("can't be read: {error}"),
    };
    eprintln!("{}: {}", path.display(), mistakes.trim_end());
    Err(ExitCode::from(2))
}
