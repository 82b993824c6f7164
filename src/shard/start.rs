//! From a config to running shards, and back to an exit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::Config;
use crate::exchange::Counters;
use crate::metrics::Pulse;
use crate::ring;
use crate::shard::admin::{self, Watch};
use crate::shard::clock::Clock;
use crate::shard::ending::Ending;
use crate::shard::error::{RunError, StartError};
use crate::shard::machine::{Machine, Wanted, probe_rings};
use crate::shard::pace::Pace;
use crate::shard::reload::{self, Outcome, Reload, Reloader};
use crate::shard::started::{SERIES_MAX, StartedProxy};
use crate::shard::{ShardEvent, ShardSetup, files, mesh, report, spawn};

/// How often certificates are looked at that run out.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the summary is logged.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked whether memory may go back.
const MEMORY_INTERVAL: Duration = Duration::from_secs(2);
/// Shards at most, so that the ids of one proxy's shards differ.
pub(crate) const SHARDS_MAX: usize = SERIES_MAX;

/// A config and the file that it was read from, which SIGHUP reads again.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSource<'a> {
    /// As it was read for the start.
    pub config: &'a Config,
    /// Its file.
    pub path: &'a Path,
}

/// Runs the proxies of a config until a signal ends them.
///
/// # Errors
///
/// A [`RunError`], whose text says what to do, and which knows its exit code.
pub fn run(source: ConfigSource<'_>, cores: Option<usize>) -> Result<(), RunError> {
    let config = source.config;
    let machine = Machine::explore();
    let wanted = Wanted {
        shards: shards(config, cores, machine.cpus().len()),
        listeners: config.proxies.iter().map(|proxy| proxy.listen.len()).sum(),
        admin: config.admin.is_some(),
        miners: config.miners_expected,
    };
    run_on(&machine, source, &wanted).map_err(|error| match error {
        RunError::Start(error) => machine.explain(error, &wanted).into(),
        error @ RunError::ShardEnded { .. } => error,
    })
}

/// How many shards a config has where the command line says so many, or nothing, and there are so many CPUs.
pub(crate) fn shards(config: &Config, cores: Option<usize>, cpus: usize) -> usize {
    let configured = config.cores.map(std::num::NonZero::get);
    cores.or(configured).unwrap_or(cpus).clamp(1, SHARDS_MAX)
}

fn run_on(machine: &Machine, source: ConfigSource<'_>, wanted: &Wanted) -> Result<(), RunError> {
    let config = source.config;
    let features = probe_rings()?;
    let clock = Clock::start();
    let (events, inbox) = mpsc::channel();
    watch_signals(&events)?;
    let (shards, cpus) = (wanted.shards, machine.cpus());
    let pinned = shards <= cpus.len();
    if !pinned {
        log::warn!(
            "--cores {shards} is more than the {} CPUs that this process may use: shards are not pinned, \
             and share them",
            cpus.len()
        );
    }
    files::warn(config, shards);
    let connections_max = machine.miners_per_shard(wanted)?;
    machine.log(features, wanted, pinned);
    let started = clock.now();
    let now = started.unix_seconds;
    let mut proxies = Vec::new();
    for (index, proxy) in config.proxies.iter().enumerate() {
        let room = shards * connections_max as usize;
        proxies.push(StartedProxy::start(
            proxy,
            index * shards,
            shards,
            room,
            now,
        )?);
    }
    let drain = config.admin.map_or(Duration::ZERO, |admin| admin.drain);
    let mut ending = Ending::new(drain);
    let running = Arc::new(AtomicBool::new(false));
    let pulses: Vec<Pulse> = (0..shards).map(|_| Pulse::default()).collect();
    let mut admin_port = None;
    if let Some(admin) = &config.admin {
        let address = admin::probe(admin.listen)?;
        let watch = Watch {
            clock,
            started_unix_seconds: started.unix_seconds,
            pulses: pulses.clone(),
            proxies: proxies.iter().map(StartedProxy::watched).collect(),
            running: Arc::clone(&running),
            leaving: Arc::clone(&ending.leaving),
        };
        admin_port = Some(admin::spawn(address, watch, events.clone())?);
    }
    let mut meshes = mesh::make(shards).map_err(StartError::Bells)?.into_iter();
    let (reloader, reloads) = reload::channel(shards);
    for (number, (pulse, reloads)) in pulses.into_iter().zip(reloads).enumerate() {
        let setups = proxies
            .iter_mut()
            .map(|proxy| proxy.setup(number, started.unix_seconds))
            .collect();
        spawn(ShardSetup {
            number,
            cpu: cpus.get(number).copied().filter(|_| pinned),
            clock,
            connections_max,
            pace: Pace::new(config.accepts_per_second, shards),
            proxies: setups,
            mesh: meshes.next(),
            pulse,
            reloads,
            stopping: Arc::clone(&ending.stopping),
            events: events.clone(),
        })?;
    }
    let mut awaited = shards + usize::from(wanted.admin);
    let mut early_signal = None;
    while awaited > 0 {
        match inbox.recv() {
            Ok(ShardEvent::Ready) => awaited -= 1,
            Ok(ShardEvent::Failed(error)) => return Err(error.into()),
            Ok(ShardEvent::Ended(shard, detail)) => return Err(ended(shard, detail)),
            Ok(ShardEvent::Signal(SIGINT | SIGTERM)) => return Ok(()),
            // What was read may be older than what it wants to be read.
            Ok(ShardEvent::Signal(signal)) => early_signal = Some(signal),
            Err(mpsc::RecvError) => break,
        }
    }
    running.store(true, Ordering::Relaxed);
    log::info!(
        "ready: {shards} shards, room for {connections_max} miners on each, {} on all, {} proxies; no fee \
         is taken",
        shards * connections_max as usize,
        proxies.len()
    );
    if let Some(signal) = early_signal {
        drop(events.send(ShardEvent::Signal(signal)));
    }
    let end = serve(source, clock, &inbox, &mut proxies, &reloader, &mut ending);
    drop(admin_port);
    end
}

/// Waits for the end, and logs the summary meanwhile.
fn serve(
    source: ConfigSource<'_>,
    clock: Clock,
    inbox: &mpsc::Receiver<ShardEvent>,
    proxies: &mut [StartedProxy],
    reloader: &Reloader,
    ending: &mut Ending,
) -> Result<(), RunError> {
    let mut before: Vec<Counters> = proxies.iter().map(StartedProxy::counters).collect();
    let mut summed_at = clock.now().since_start;
    let mut running = reloader.shards();
    let mut expiry = Expiry {
        told: clock.now().since_start,
    };
    let mut freed = FreedMemory::default();
    loop {
        let now = clock.now();
        ending.handle_time(now.since_start);
        let passed = now.since(summed_at);
        let wait = SUMMARY_INTERVAL.saturating_sub(passed).min(MEMORY_INTERVAL);
        let until_due = ending.due().map(|at| at.saturating_sub(now.since_start));
        let wait = until_due.map_or(wait, |until| until.min(wait));
        match inbox.recv_timeout(wait) {
            Ok(ShardEvent::Signal(SIGHUP)) => {
                reload(&source, proxies, reloader, clock.now().unix_seconds);
                expiry.told = clock.now().since_start;
            }
            Ok(ShardEvent::Signal(signal)) => {
                if ending.handle_signal(signal, clock.now().since_start) {
                    return Ok(());
                }
            }
            Ok(ShardEvent::Ended(_, None)) => {
                running -= 1;
                if running == 0 {
                    let passed = clock.now().since(summed_at);
                    log_summaries(proxies, &mut before, passed);
                    log::info!("stopped");
                    return Ok(());
                }
            }
            Ok(ShardEvent::Ended(shard, detail)) => return Err(ended(shard, detail)),
            Ok(ShardEvent::Failed(error)) => return Err(error.into()),
            Ok(ShardEvent::Ready) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let ended = proxies.iter().map(StartedProxy::connections_ended).sum();
                let counters: Vec<_> = proxies.iter().map(StartedProxy::counters).collect();
                let miners = counters.iter().map(|it| it.miners).sum();
                let unread = counters.iter().map(|it| it.unread_bytes).sum();
                let begun = clock.now().since_start;
                if freed.is_enough(begun, ended, miners, unread) {
                    ring::give_back_memory();
                    let took = clock.now().since(begun);
                    freed.rest(begun, took);
                    log::debug!(
                        "freed memory was given back in {took:?}; {ended} connections have ended"
                    );
                }
                if clock.now().since(summed_at) < SUMMARY_INTERVAL {
                    continue;
                }
                log_summaries(proxies, &mut before, SUMMARY_INTERVAL);
                summed_at += SUMMARY_INTERVAL;
                let now = clock.now();
                if expiry.is_due(now.since_start) {
                    let now = now.unix_seconds;
                    proxies.iter().for_each(|proxy| proxy.warn_of_expiry(now));
                }
            }
        }
    }
}

/// When it is told again which certificates run out: a day after the start, a reload, or the last time.
#[derive(Debug)]
struct Expiry {
    told: Duration,
}

impl Expiry {
    fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now.saturating_sub(self.told) >= EXPIRY_INTERVAL;
        if is_due {
            self.told = now;
        }
        is_due
    }
}

/// When a crowd that has left is reason to give memory back: not for a few, and not while it still leaves.
#[derive(Debug, Default)]
struct FreedMemory {
    /// Connections that had ended by the last look.
    ended: u64,
    /// And when memory was given back last.
    given_back: u64,
    /// Since then, the most bytes that waited for miners who did not read.
    unread: u64,
    /// None is given back before.
    rests_until: Duration,
}

impl FreedMemory {
    /// Fewer hold little that would be freed.
    const CROWD: u64 = 256;

    /// And so many bytes that a few did not read are little, too.
    const UNREAD: u64 = 1024 * 1024;

    /// Shards that want memory meanwhile wait, so that no more than one part in so many is spent on it,
    /// whoever comes and goes.
    const REST: u32 = 1000;

    /// Whether to give back now, when so many connections have ended since the start, so many miners are
    /// here, and so many bytes wait for those that do not read. Where a farm is large, a few of it come and
    /// go all the time.
    fn is_enough(&mut self, now: Duration, ended: u64, miners: u64, unread: u64) -> bool {
        let lately = ended.saturating_sub(self.ended);
        self.ended = ended;
        self.unread = self.unread.max(unread);
        let left = ended.saturating_sub(self.given_back);
        let is_crowd = left >= Self::CROWD.max(miners / 16) && lately <= left / 8;
        let is_read = self.unread >= Self::UNREAD && unread <= self.unread / 8;
        let is_enough = (is_crowd || is_read) && now >= self.rests_until;
        if is_enough {
            self.given_back = ended;
            self.unread = unread;
        }
        is_enough
    }

    /// It was given back, and took so long.
    fn rest(&mut self, begun: Duration, took: Duration) {
        self.rests_until = begun + took * Self::REST;
    }
}

/// Reads the config again, and the files that it names, and hands what came of it to the shards. Where the
/// config has a mistake nothing of it is taken up.
fn reload(
    source: &ConfigSource<'_>,
    proxies: &mut [StartedProxy],
    reloader: &Reloader,
    now_unix_seconds: u64,
) {
    let path = source.path.display();
    let mut outcome = Outcome::default();
    let newer = match Config::read(source.path) {
        Ok(newer) => {
            let changed = source.config.changed(&newer);
            if !changed.is_empty() {
                let changed = changed.join(", ");
                log::warn!("SIGHUP: {path}: {changed}: that holds from the next start");
                outcome.waits = true;
            }
            files::warn(&newer, reloader.shards());
            Some(newer)
        }
        Err(mistakes) => {
            for mistake in mistakes.as_slice() {
                log::error!("SIGHUP: {path}: {mistake}");
            }
            log::error!("SIGHUP: the config that is in use stays");
            outcome.config_stays = true;
            None
        }
    };
    let news = proxies.iter_mut();
    let news = news.map(|proxy| proxy.reload(newer.as_ref(), now_unix_seconds, &mut outcome));
    reloader.send(Reload(news.collect()));
    outcome.tell(source.path);
}

fn ended(shard: usize, detail: Option<String>) -> RunError {
    RunError::ShardEnded {
        shard,
        detail: detail.unwrap_or_else(|| "nobody knows why".to_owned()),
    }
}

fn log_summaries(proxies: &[StartedProxy], before: &mut [Counters], passed: Duration) {
    for (proxy, before) in proxies.iter().zip(before) {
        let now = proxy.counters();
        let unit = proxy.rate_unit();
        report::log_summary(proxy.name(), unit, before, &now, passed.as_secs_f64());
        *before = now;
    }
}

fn watch_signals(events: &mpsc::Sender<ShardEvent>) -> Result<(), StartError> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(StartError::Signals)?;
    let events = events.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if events.send(ShardEvent::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .map_err(StartError::Signals)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn certificates_are_told_of_once_a_day() {
        let hour = |hour: u32| Duration::from_secs(3600) * hour;
        let mut expiry = Expiry { told: hour(1) };
        let times = |expiry: &mut Expiry, hours: std::ops::RangeInclusive<u32>| {
            hours
                .filter(|it| expiry.is_due(hour(*it)))
                .collect::<Vec<_>>()
        };
        assert_eq!(times(&mut expiry, 1..=72), [25, 49]);
        // A reload tells of them, too.
        expiry.told = hour(72);
        assert_eq!(times(&mut expiry, 73..=120), [96, 120]);
    }

    #[test]
    fn memory_goes_back_once_when_a_crowd_has_left() {
        let mut freed = FreedMemory::default();
        assert!(!freed.is_enough(NOW, 255, 10, 0), "a few");
        assert!(!freed.is_enough(NOW, 10_000, 10, 0), "they are leaving");
        assert!(!freed.is_enough(NOW, 20_000, 10, 0), "they are leaving");
        assert!(
            freed.is_enough(NOW, 20_100, 10, 0),
            "all but some latecomers are gone"
        );
        assert!(!freed.is_enough(NOW, 20_100, 10, 0), "once");
        assert!(!freed.is_enough(NOW, 20_355, 10, 0), "a few");
    }

    #[test]
    fn memory_goes_back_now_and_then_where_some_leave_all_the_time() {
        let mut freed = FreedMemory::default();
        let looks = 1..=80;
        let times = looks
            .filter(|look| freed.is_enough(NOW, look * 1000, 10, 0))
            .count();
        assert_eq!(times, 10);
        assert!(
            !freed.is_enough(NOW, 84_000, 65_536, 0),
            "a sixteenth of a farm"
        );
        assert!(freed.is_enough(NOW, 84_500, 65_536, 0));
    }

    #[test]
    fn memory_goes_back_when_much_is_read_at_last() {
        let mut freed = FreedMemory::default();
        let mut times = Vec::new();
        let unread = [
            0, 900_000, 4_000_000, 600_000, 400_000, 300_000, 0, 2_000_000, 0,
        ];
        for (look, unread) in unread.into_iter().enumerate() {
            if freed.is_enough(NOW, 3, 10, unread) {
                times.push(look);
            }
        }
        assert_eq!(times, [4, 8]);
    }

    #[test]
    fn giving_memory_back_takes_a_thousandth_of_the_time_at_most() {
        let second = Duration::from_secs;
        let mut freed = FreedMemory::default();
        let mut times = Vec::new();
        // Somebody fills it and reads at each look.
        for look in 1..=60 {
            freed.is_enough(second(2 * look), 3, 10, 4_000_000);
            if freed.is_enough(second(2 * look), 3, 10, 0) {
                freed.rest(second(2 * look), Duration::from_millis(30));
                times.push(2 * look);
            }
        }
        assert_eq!(times, [2, 32, 62, 92]);
        // What was put off is not forgotten.
        assert!(freed.is_enough(second(122), 3, 10, 0));
    }
}
