//! One run, from the arguments to the report.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::{Arguments, Command, PoolKind};
use crate::clock::Clock;
use crate::driver::MINERS_PER_THREAD_MAX;
use crate::fleet::{self, Plan};
use crate::json;
use crate::mock_pool::MockPool;
use crate::pool::serve;
use crate::proxy::{Proxy, Wanted};
use crate::role::Mixture;
use crate::tls::TlsMiners;
use crate::windows::Windows;
use crate::{hostile, scenario, tied};

/// Does what was asked, and says whether all was well.
///
/// # Errors
///
/// A text that says what is in the way.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    match &arguments.command {
        None => run_load(arguments),
        Some(Command::Scenario(scenario)) => scenario::run(scenario),
        Some(Command::Hostile(hostile)) => hostile::run(hostile),
        Some(Command::Pool(pool)) => serve::serve(&pool.settings(), Clock::start()).map(|()| true),
        Some(Command::Tied { parent, command }) => Err(tied::become_program(*parent, command)),
    }
}

/// Loads a proxy, and says whether all was well.
fn run_load(arguments: &Arguments) -> Result<bool, String> {
    let interrupted = watch_signals().map_err(|error| format!("no signals: {error}"))?;
    let mut json = arguments.json.as_deref().map(JsonFile::open).transpose()?;
    let descriptors = raise_descriptor_limit();
    let per_thread = descriptors.min(MINERS_PER_THREAD_MAX);
    let miners = arguments.miners as usize;
    let needed = miners.div_ceil(per_thread);
    let threads = arguments.threads.map_or(needed, |threads| threads as usize);
    if threads < needed {
        return Err(format!(
            "{miners} miners need {needed} threads: one holds {per_thread}, by the limit of open files"
        ));
    }
    let (slow, half_dead) = (arguments.slow_readers, arguments.half_dead);
    let mixture = Mixture::new(slow, half_dead)
        .ok_or_else(|| format!("{slow} % slow readers and {half_dead} % half-dead are too many"))?;
    let clock = Clock::start();
    let pool = start_pool(arguments, clock)?;
    let mut proxy = match arguments.connect {
        Some(_) => None,
        None => Some(start_proxy(arguments, descriptors, pool.as_ref(), clock)?),
    };
    let own = proxy.as_ref().map(Proxy::address);
    let plan = Plan {
        destination: arguments.connect.or(own).ok_or("nowhere to connect")?,
        miners: arguments.miners,
        threads: threads.min(miners),
        coin: arguments.coin(),
        alike: arguments.alike,
        duration: arguments.duration,
        share_rate: arguments.share_rate,
        saturate: arguments.saturate,
        connect_rate: arguments.connect_rate,
        handshakes: arguments.handshakes,
        mixture,
        tls: arguments.tls,
        tls_miners: TlsMiners::All,
        churn_percent: arguments.churn,
        apart: Windows::default(),
        times_rise: arguments.connect.is_none(),
        pid: arguments.pid.or_else(|| proxy.as_ref().map(Proxy::pid)),
    };
    let mut alive = || proxy.as_mut().is_none_or(Proxy::is_running);
    let mut report = fleet::run(clock, plan, &interrupted, &mut alive)?;
    if let Some(proxy) = proxy {
        report.failure = proxy.stop(clock).err();
    }
    if let Some(pool) = pool {
        report.announced = pool.announced();
        let wrong = pool.wrong();
        let found = (wrong > 0).then(|| format!("the mock pool found {wrong} shares wrong"));
        report.failure = report.failure.or(found);
    }
    // A report that nobody reads to its end, as through `head`, is no failure.
    drop(io::stdout().write_all(report.table().as_bytes()));
    if let Some(json) = &mut json {
        json.write(&json::report(&report))?;
    }
    Ok(report.is_clean())
}

/// Starts the pool behind what is to be measured, where that is one of this process.
fn start_pool(arguments: &Arguments, clock: Clock) -> Result<Option<MockPool>, String> {
    match (arguments.pool, &arguments.relay) {
        (PoolKind::Mock, _) => {
            let interval = Duration::from_secs(arguments.job_interval.into());
            MockPool::start(clock, interval, arguments.coin()).map(Some)
        }
        (PoolKind::Practice, None) => Ok(None),
        (PoolKind::Practice, Some(_)) => {
            Err("a relay needs a pool outside itself: add --pool mock".to_owned())
        }
    }
}

/// Starts what is to be measured.
fn start_proxy(
    arguments: &Arguments,
    descriptors: usize,
    pool: Option<&MockPool>,
    clock: Clock,
) -> Result<Proxy, String> {
    let wanted = Wanted {
        coin: arguments.coin(),
        cores: match arguments.cores {
            Some(cores) => Some(cores),
            None => shards_for(arguments.miners as usize, descriptors, cpus())?,
        },
        job_interval_seconds: arguments.job_interval,
        pool: pool.map(MockPool::address),
        relay: arguments.relay.clone(),
        wrap: arguments.wrap.clone(),
        config: None,
        tls: arguments.tls.is_some(),
        tied: false,
    };
    Proxy::start(&wanted, clock)
}

/// Where the report goes as JSON. Opened before the run, since afterwards it is too late to hear that it
/// can't be written; what was in it stays until there is something new.
#[derive(Debug)]
pub(crate) struct JsonFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> JsonFile<'a> {
    pub(crate) fn open(path: &'a Path) -> Result<Self, String> {
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(false).open(path);
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        }
    }

    pub(crate) fn write(&mut self, report: &[u8]) -> Result<(), String> {
        // A pipe has no length.
        drop(self.file.set_len(0));
        self.file
            .write_all(report)
            .map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

/// A signal ends the run early, with its report. A second one does nothing more: the proxy that was
/// started here must not be left behind.
pub(crate) fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// The limit of open files, which bounds the table of each ring, ours and the proxy's. Raised as far as
/// it goes; the proxy does the same.
pub(crate) fn raise_descriptor_limit() -> usize {
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
    room.max(1)
}

/// CPUs that we, and so the proxy, may use.
fn cpus() -> usize {
    let allowed = rustix::thread::sched_getaffinity(None);
    allowed.map_or(1, |set| set.count() as usize)
}

/// Shards that have room for so many miners, where one for each CPU, which is the proxy's own choice,
/// would not.
fn shards_for(miners: usize, descriptors: usize, cpus: usize) -> Result<Option<u32>, String> {
    // The kernel chooses the shard of a connection by a hash, so some get more than their part.
    let room = (descriptors.min(MINERS_PER_SHARD_MAX) * 4 / 5).max(1);
    let shards = miners.div_ceil(room);
    if shards <= cpus {
        return Ok(None);
    }
    if shards > SHARDS_MAX {
        return Err(format!(
            "{miners} miners need {shards} shards and the proxy has {SHARDS_MAX} at the most: raise the \
             limit of open files, which is {descriptors}"
        ));
    }
    Ok(u32::try_from(shards).ok())
}

/// What a shard of the proxy holds, whatever the limit of open files.
const MINERS_PER_SHARD_MAX: usize = 65_536;

/// Shards of a proxy at the most.
const SHARDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_as_many_as_have_room() {
        let shards = |miners, descriptors| shards_for(miners, descriptors, 2);
        assert_eq!(shards(1000, 20_000), Ok(None));
        assert_eq!(shards(32_000, 20_000), Ok(None));
        assert_eq!(shards(32_001, 20_000), Ok(Some(3)));
        assert_eq!(shards(65_536, 20_000), Ok(Some(5)));
        assert_eq!(shards(65_536, 1_048_576), Ok(None));
        assert_eq!(shards(1_000_000, 1_048_576), Ok(Some(20)));
        assert!(shards(1_000_000, 1024).unwrap_err().contains("open files"));
    }

    #[test]
    fn a_file_that_can_not_be_written_is_told_before_the_run() {
        let error = JsonFile::open(Path::new("/nonexistent/report.json")).unwrap_err();
        assert!(error.contains("/nonexistent/report.json"), "{error}");
    }
}
