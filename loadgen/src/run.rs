//! One run, from the arguments to the report.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::Arguments;
use crate::clock::Clock;
use crate::driver::MINERS_PER_THREAD_MAX;
use crate::fleet::{self, Plan};
use crate::json;
use crate::proxy::{Proxy, Wanted};
use crate::report::Report;

/// Does what was asked, and says whether all was well.
///
/// # Errors
///
/// A text that says what is in the way.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let interrupted = watch_signals().map_err(|error| format!("no signals: {error}"))?;
    let per_thread = miners_per_thread();
    let miners = arguments.miners as usize;
    let needed = miners.div_ceil(per_thread);
    let threads = arguments.threads.map_or(needed, |threads| threads as usize);
    if threads < needed {
        return Err(format!(
            "{miners} miners need {needed} threads: one holds {per_thread}, by the limit of open files"
        ));
    }
    let clock = Clock::start();
    let mut proxy = match arguments.connect {
        Some(_) => None,
        None => Some(Proxy::start(
            Wanted {
                parameters: arguments.parameters,
                cores: arguments.cores,
                job_interval_seconds: arguments.job_interval,
            },
            clock,
        )?),
    };
    let own = proxy.as_ref().map(Proxy::address);
    let plan = Plan {
        destination: arguments.connect.or(own).ok_or("nowhere to connect")?,
        miners: arguments.miners,
        threads: threads.min(miners),
        parameters: arguments.parameters,
        duration: arguments.duration,
        share_rate: arguments.share_rate,
        connect_rate: arguments.connect_rate,
        pid: arguments.pid.or_else(|| proxy.as_ref().map(Proxy::pid)),
    };
    let mut alive = || proxy.as_mut().is_none_or(Proxy::is_running);
    let mut report = fleet::run(clock, plan, &interrupted, &mut alive)?;
    if let Some(proxy) = proxy {
        report.failure = proxy.stop(clock).err();
    }
    tell(&report, arguments)?;
    Ok(report.is_clean())
}

fn tell(report: &Report, arguments: &Arguments) -> Result<(), String> {
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, json::report(report))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// A signal ends the run early, with its report. A second one does nothing more: the proxy that was
/// started here must not be left behind.
fn watch_signals() -> std::io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// The table of each ring is bounded by the limit of open files, which is raised as far as it goes.
fn miners_per_thread() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let room = current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    room.clamp(1, MINERS_PER_THREAD_MAX)
}
