//! Simulates a farm of Equihash, Bitcoin or Monero miners against stratum-uring, or any other proxy or pool.
//!
//! - [`miner`]: one miner, what it says and hears, and which [`role`] it plays. Pure, as are [`job`],
//!   [`monero`], [`verdict`], [`shares`] and [`schedule`].
//! - [`farm`]: the miners of one thread, and what happened to them ([`tally`]). Pure.
//! - [`links`], [`driver`]: the thread itself: a ring of connections, the time, the rate.
//! - [`fleet`]: all threads, from stage to stage; [`nonces`] watches over all of them.
//! - [`proxy`]: starts the proxy where none was named. [`usage`]: what it cost.
//! - [`scenario`]: what becomes of the miners when a [`pool`] fails; [`outage`] counts it, and [`tied`]
//!   sees to it that no child is left behind.
//! - [`hostile`]: what becomes of the miners when others attack the proxy.
//! - [`report`], [`table`], [`json`]: what is told; [`progress`], with [`meter`]: and meanwhile.

mod cli;
mod clock;
mod driver;
mod farm;
mod fleet;
mod habits;
mod hostile;
mod job;
mod json;
mod links;
mod meter;
mod miner;
mod mock_pool;
mod monero;
mod nonces;
mod outage;
mod pool;
mod progress;
mod proxy;
mod report;
mod role;
mod run;
mod scenario;
mod schedule;
mod shares;
mod table;
mod tally;
mod text;
mod tied;
mod tls;
mod usage;
mod verdict;
mod windows;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match run::run(&cli::Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where stderr is full or closed, the exit code says it.
            drop(writeln!(std::io::stderr(), "loadgen: {error}"));
            ExitCode::FAILURE
        }
    }
}
