//! From a config to running shards, and back to an exit.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ipnet::IpNet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::{
    AuthorizeMode, CoinConfig, Config, ConfigErrors, ListenConfig, PoolConfig, PoolUrl,
    PracticeConfig, ProxyConfig, SlotBytes,
};
use crate::exchange::{
    Authorize, ConductLimits, Counters, JobExchange, Limits, PoolLinks, PoolSettings, Settings,
    ShareReply,
};
use crate::metrics::{Published, Pulse};
use crate::practice::{Judge, PracticeCoin, PracticeServer, PracticeSettings};
use crate::proto::extranonce::SlotWidth;
use crate::proto::miner::MinerLimits;
use crate::shard::admin::{self, Watch, WatchedProxy};
use crate::shard::clock::Clock;
use crate::shard::door::counts::{Addresses, Bound, Room};
use crate::shard::door::rules::Rules;
use crate::shard::error::{RunError, StartError};
use crate::shard::handshakes::HandshakeLimits;
use crate::shard::machine::{Machine, Wanted, probe_rings};
use crate::shard::miner_tls::ListenerTls;
use crate::shard::pace::Pace;
use crate::shard::pool_link::PoolAccess;
use crate::shard::reload::{self, Reload, Reloader};
use crate::shard::space_watch::SpaceWatch;
use crate::shard::state::ShellLimits;
use crate::shard::workers_file::WorkersFile;
use crate::shard::{
    ProxySetup, ShardEvent, ShardSetup, listen, mesh, pool_tls, report, spawn, tls_files,
};
use crate::tls::Acceptor;

/// A second signal stops at once; one that comes sooner is the same signal twice.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(500);
/// How often certificates are looked at that run out.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the summary is logged.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// Exchanges whose job ids differ: one byte of each id. With more, two proxies may use the same id,
/// which no miner of either sees.
const SERIES_MAX: usize = 256;
/// Shards at most, so that the ids of one proxy's shards differ.
pub(crate) const SHARDS_MAX: usize = SERIES_MAX;
/// Shares that an embedded practice pool remembers against duplicates; 64 bytes or so each.
const PRACTICE_SHARES_REMEMBERED_MAX: usize = 256 * 1024;
/// Time for a pool's name to be resolved, before the connect has its own.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshake steps of a link wait this long at the most, and no longer than a reply may take.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Runs the proxies of a config until a signal ends them.
///
/// # Errors
///
/// A [`RunError`], whose text says what to do, and which knows its exit code.
pub fn run(config: &Config, cores: Option<usize>) -> Result<(), RunError> {
    let machine = Machine::explore();
    let configured = config.cores.map(std::num::NonZero::get);
    let wanted = Wanted {
        shards: cores
            .or(configured)
            .unwrap_or_else(|| machine.cpus().len())
            .clamp(1, SHARDS_MAX),
        listeners: config.proxies.iter().map(|proxy| proxy.listen.len()).sum(),
        admin: config.admin.is_some(),
        miners: config.miners_expected,
    };
    run_on(&machine, config, &wanted).map_err(|error| match error {
        RunError::Start(error) => machine.explain(error, &wanted).into(),
        error @ RunError::ShardEnded { .. } => error,
    })
}

fn run_on(machine: &Machine, config: &Config, wanted: &Wanted) -> Result<(), RunError> {
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
    let stopping = Arc::new(AtomicBool::new(false));
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
            stopping: Arc::clone(&stopping),
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
            stopping: Arc::clone(&stopping),
            events: events.clone(),
        })?;
    }
    let mut awaited = shards + usize::from(wanted.admin);
    while awaited > 0 {
        match inbox.recv() {
            Ok(ShardEvent::Ready) => awaited -= 1,
            Ok(ShardEvent::Failed(error)) => return Err(error.into()),
            Ok(ShardEvent::Ended(shard, detail)) => return Err(ended(shard, detail)),
            Ok(ShardEvent::Signal(SIGINT | SIGTERM)) => return Ok(()),
            Ok(ShardEvent::Signal(_)) => {}
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
    let end = serve(clock, &inbox, &mut proxies, &reloader, &stopping);
    drop(admin_port);
    end
}

/// Waits for the end, and logs the summary meanwhile.
fn serve(
    clock: Clock,
    inbox: &mpsc::Receiver<ShardEvent>,
    proxies: &mut [StartedProxy],
    reloader: &Reloader,
    stopping: &AtomicBool,
) -> Result<(), RunError> {
    let mut before: Vec<Counters> = proxies.iter().map(StartedProxy::counters).collect();
    let mut summed_at = clock.now().since_start;
    let mut running = reloader.shards();
    let mut expiry_told = clock.now().since_start;
    let mut signalled_at = None;
    loop {
        let passed = clock.now().since(summed_at);
        let wait = SUMMARY_INTERVAL.saturating_sub(passed);
        match inbox.recv_timeout(wait) {
            Ok(ShardEvent::Signal(SIGHUP)) => {
                for file in proxies.iter().filter_map(|proxy| proxy.workers.as_ref()) {
                    file.reload();
                }
                reload(proxies, reloader, clock.now().unix_seconds);
                expiry_told = clock.now().since_start;
            }
            // `timeout` and some service managers signal the process and its group: one after the other.
            Ok(ShardEvent::Signal(_))
                if signalled_at.is_some_and(|at| clock.now().since(at) < SECOND_SIGNAL_AFTER) => {}
            Ok(ShardEvent::Signal(_)) if stopping.load(Ordering::Relaxed) => {
                log::warn!("a second signal: stopping without waiting");
                return Ok(());
            }
            Ok(ShardEvent::Signal(signal)) => {
                let name = if signal == SIGINT {
                    "SIGINT"
                } else {
                    "SIGTERM"
                };
                log::info!(
                    "{name}: no new miners; shares in flight are answered, then all is closed"
                );
                stopping.store(true, Ordering::Relaxed);
                signalled_at = Some(clock.now().since_start);
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
                log_summaries(proxies, &mut before, SUMMARY_INTERVAL);
                summed_at += SUMMARY_INTERVAL;
                if clock.now().since(expiry_told) >= EXPIRY_INTERVAL {
                    expiry_told = clock.now().since_start;
                    let now = clock.now().unix_seconds;
                    proxies.iter().for_each(|proxy| proxy.warn_of_expiry(now));
                }
            }
        }
    }
}

/// Reads files again and hands them to the shards. Where one can't be read its proxy keeps all that it has.
fn reload(proxies: &mut [StartedProxy], reloader: &Reloader, now_unix_seconds: u64) {
    let mut news = Reload::default();
    for proxy in proxies {
        match proxy.reload_tls() {
            Ok(0) => {}
            Ok(count) => {
                let name = &proxy.name;
                log::info!(
                    "proxy={name}: SIGHUP: the files of {count} listeners with TLS were read again"
                );
                proxy.warn_of_expiry(now_unix_seconds);
            }
            Err(errors) => {
                let name = &proxy.name;
                for error in errors.as_slice() {
                    log::error!("proxy={name}: SIGHUP: {error}");
                }
                log::error!("proxy={name}: SIGHUP: the certificates that are in use stay");
            }
        }
        news.acceptors.extend(proxy.acceptors());
        news.pools.push(proxy.reload_pools());
    }
    log::info!(
        "SIGHUP: files that the config names were read again; the config itself is read at the start alone"
    );
    reloader.send(news);
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
        let unit = proxy.config.coin.coin().dialect().rate_unit();
        report::log_summary(&proxy.name, unit, before, &now, passed.as_secs_f64());
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

/// A proxy with its sockets open.
struct StartedProxy {
    name: String,
    /// The number of its first exchange among all of the process.
    series: usize,
    config: ProxyConfig,
    pools: Vec<PoolSettings>,
    access: Vec<PoolAccess>,
    /// Of each listener.
    tls: Vec<Option<ListenerTls>>,
    /// For each address one socket for each shard, and its rules.
    listeners: Vec<(Vec<std::net::TcpListener>, Arc<Rules>, Room)>,
    published: Vec<Published>,
    space_watch: SpaceWatch,
    /// Who may mine, where a file says so.
    workers: Option<WorkersFile>,
    /// Keys the numbers that stand for workers at their addresses.
    people_seed: u64,
    /// They stop when they are dropped.
    _practice: Vec<PracticeServer>,
}

impl StartedProxy {
    /// `connections` is how many there may be on all shards.
    fn start(
        config: &ProxyConfig,
        series: usize,
        shards: usize,
        connections: usize,
        now_unix_seconds: u64,
    ) -> Result<Self, StartError> {
        let name = config.name.clone();
        let per_address = config.limits.connections_per_address_max;
        let proxy_bound = Arc::new(Bound::new(config.limits.connections_max));
        let addresses =
            (per_address > 0).then(|| Arc::new(Addresses::new(per_address, connections)));
        let mut tls = Vec::new();
        let mut mistakes = Vec::new();
        for listen in &config.listen {
            match listen.tls.as_ref().map(|it| tls_files::load(it, None)) {
                Some(Ok(loaded)) => {
                    tls_files::warn_of_expiry(&name, &loaded.acceptor, now_unix_seconds);
                    tls.push(Some(loaded));
                }
                Some(Err(mut wrong)) => mistakes.append(&mut wrong),
                None => tls.push(None),
            }
        }
        if let Some(errors) = ConfigErrors::of(mistakes) {
            return Err(StartError::Files(errors));
        }
        let mut listeners = Vec::new();
        for listen in &config.listen {
            let idle_timeout = config.limits.idle_timeout;
            let opened = listen::open(&name, listen.address, idle_timeout, shards)?;
            if let Some(address) = opened.first().and_then(|socket| socket.local_addr().ok()) {
                log::info!("proxy={name}: listening on {address}");
            }
            let room = Room {
                proxy: Arc::clone(&proxy_bound),
                listener: Arc::new(Bound::new(listen.connections_max)),
                addresses: addresses.clone(),
            };
            listeners.push((opened, Arc::new(rules(listen)), room));
        }
        if config.job_exchange.enabled && shards == 1 {
            log::info!("proxy={name}: job_exchange: one shard: nothing to exchange");
        }
        let access = pool_tls::load(config).map_err(StartError::Files)?;
        let mut pools = Vec::new();
        let mut practice = Vec::new();
        for pool in &config.pools {
            let (host, port) = match &pool.url {
                PoolUrl::Tcp { host, port, .. } => (host.clone(), *port),
                PoolUrl::Practice(settings) => {
                    let server = start_practice(config, settings)?;
                    let address = server.address();
                    practice.push(server);
                    (address.ip().to_string(), address.port())
                }
            };
            pools.push(PoolSettings {
                host,
                port,
                // The one name of all shares, where there is one.
                worker: config
                    .authorize
                    .worker_name
                    .fixed(&pool.worker)
                    .unwrap_or_else(|| pool.worker.clone()),
                password: pool.password.expose().to_owned(),
                extranonce_subscribe: pool.extranonce_subscribe,
                reconnect_hosts: pool.reconnect_hosts.clone(),
                introduction: pool.introduction.clone(),
            });
        }
        let file = config.authorize.workers_file.clone();
        let workers = file.map(|path| WorkersFile::open(&name, path)).transpose();
        let workers = workers.map_err(|detail| StartError::Workers { detail })?;
        Ok(Self {
            name,
            series,
            workers,
            people_seed: std::hash::RandomState::new().hash_one(series),
            config: config.clone(),
            pools,
            access,
            listeners,
            tls,
            published: (0..shards)
                .map(|_| Published::new(config.pools.len()))
                .collect(),
            space_watch: SpaceWatch::new(shards),
            _practice: practice,
        })
    }

    /// Reads the files of its listeners again. Says how many have any.
    fn reload_tls(&mut self) -> Result<usize, ConfigErrors> {
        let mut mistakes = Vec::new();
        let mut tls = Vec::new();
        for (listen, before) in self.config.listen.iter().zip(&self.tls) {
            let before = before.as_ref().map(|it| &it.acceptor);
            match listen.tls.as_ref().map(|it| tls_files::load(it, before)) {
                Some(Ok(loaded)) => tls.push(Some(loaded)),
                Some(Err(mut wrong)) => mistakes.append(&mut wrong),
                None => tls.push(None),
            }
        }
        if let Some(errors) = ConfigErrors::of(mistakes) {
            return Err(errors);
        }
        self.tls = tls;
        Ok(self.tls.iter().flatten().count())
    }

    /// Reads the files of its pools again, for links that are made from now on. `None` where one can't be
    /// read, which is told.
    fn reload_pools(&mut self) -> Option<Vec<PoolAccess>> {
        match pool_tls::load(&self.config) {
            Ok(access) => {
                self.access.clone_from(&access);
                Some(access)
            }
            Err(errors) => {
                let name = &self.name;
                for error in errors.as_slice() {
                    log::error!("proxy={name}: SIGHUP: {error}");
                }
                log::error!("proxy={name}: SIGHUP: pools are believed as before");
                None
            }
        }
    }

    /// Of each listener, what begins its TLS sessions.
    fn acceptors(&self) -> impl Iterator<Item = Option<Acceptor>> {
        let listeners = self.tls.iter();
        listeners.map(|tls| tls.as_ref().map(|tls| tls.acceptor.clone()))
    }

    fn warn_of_expiry(&self, now_unix_seconds: u64) {
        for tls in self.tls.iter().flatten() {
            tls_files::warn_of_expiry(&self.name, &tls.acceptor, now_unix_seconds);
        }
    }

    /// Where its numbers are found.
    fn watched(&self) -> WatchedProxy {
        WatchedProxy {
            name: self.name.clone(),
            resume: self.config.failover.resume,
            pools: self.pool_names(),
            published: self.published.clone(),
        }
    }

    /// Each pool as logs and metrics call it.
    fn pool_names(&self) -> Vec<String> {
        let name = |pool: &PoolConfig| match &pool.url {
            PoolUrl::Practice(_) => "practice".to_owned(),
            url @ PoolUrl::Tcp { .. } => url.to_string(),
        };
        self.config.pools.iter().map(name).collect()
    }

    fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.published {
            sum.add(&shard.read());
        }
        sum
    }

    /// When miners are started on a neighbour's job; never where there is no neighbour.
    fn job_exchange(&self) -> Option<JobExchange> {
        let config = self.config.job_exchange;
        let is_on = config.enabled && self.published.len() > 1;
        is_on.then_some(JobExchange {
            match_within: config.match_within,
            hold: config.hold,
        })
    }

    /// What shard `number` needs of this proxy. Asked for once for each shard, in order.
    fn setup(&mut self, number: usize, start_unix_seconds: u64) -> ProxySetup {
        let pools = self.pool_names();
        let listeners = self
            .listeners
            .iter_mut()
            .filter_map(|(sockets, rules, room)| {
                Some((sockets.pop()?, Arc::clone(rules), room.clone()))
            });
        let limits = &self.config.limits;
        ProxySetup {
            name: self.name.clone(),
            pools,
            access: self.access.clone(),
            listeners: listeners.collect(),
            tls: self.tls.clone(),
            settings: Settings {
                series: u8::try_from((self.series + number) % SERIES_MAX).unwrap_or(0),
                part: (as_u32(number), as_u32(self.published.len())),
                start_unix_seconds,
                seed: std::hash::RandomState::new().hash_one(number),
                pools: self.pools.clone(),
                slot_width: match self.config.slot_bytes {
                    SlotBytes::Auto => SlotWidth::Auto,
                    SlotBytes::Fixed(len) => SlotWidth::Fixed(len),
                },
                miners_per_link: self.config.miners_per_link,
                standby: self.config.standby,
                links_max: match self.config.pool_links {
                    crate::config::PoolLinks::PerShard => self.config.links_per_shard_max as usize,
                    crate::config::PoolLinks::Number(_) => 1,
                },
                pass_through_agents: self.config.pass_through_agents.clone(),
                pool_links: match self.config.pool_links {
                    crate::config::PoolLinks::PerShard => PoolLinks::PerShard,
                    crate::config::PoolLinks::Number(links) => {
                        PoolLinks::Shared(links.min(self.published.len()))
                    }
                },
                job_exchange: self.job_exchange(),
                share_reply: match self.config.share_reply {
                    crate::config::ShareReply::Pool => ShareReply::Pool,
                    crate::config::ShareReply::Immediate => ShareReply::Immediate,
                },
                keep_warm: self.config.keep_warm,
                authorize: Authorize {
                    is_local: self.config.authorize.mode == AuthorizeMode::Local,
                    shows_passwords: self.config.authorize.mode == AuthorizeMode::Pool,
                    worker_name: self.config.authorize.worker_name.clone(),
                    denied_retry: self.config.authorize.denied_retry,
                    people_seed: self.people_seed,
                },
                limits: exchange_limits(&self.config),
            },
            checker: self.workers.as_mut().map(WorkersFile::checker),
            coin: self.config.coin.coin(),
            limits: ShellLimits {
                miner_line_len_max: limits.miner_line_bytes_max,
                pool_line_len_max: limits.pool_line_bytes_max,
                first_byte_timeout: limits.first_byte_timeout,
                handshakes: HandshakeLimits {
                    per_second: limits.tls_handshakes_per_second,
                    in_flight_max: limits.tls_handshakes_max,
                    timeout: limits.tls_handshake_timeout,
                },
                proxy_header_timeout: limits.proxy_header_timeout,
                connect_timeout: limits.connect_timeout,
                shutdown: limits.shutdown,
                password_checks_max: limits.password_checks_max,
            },
            published: self.published[number].clone(),
            space_watch: self.space_watch.clone(),
        }
    }
}

/// Whom a listener lets in and believes.
fn rules(listen: &ListenConfig) -> Rules {
    let networks = |networks: &[IpNet]| networks.iter().copied().collect();
    Rules {
        trusted: networks(&listen.trusted),
        allow: listen.allow.as_deref().map(networks),
        deny: networks(&listen.deny),
    }
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn start_practice(
    config: &ProxyConfig,
    practice: &PracticeConfig,
) -> Result<PracticeServer, StartError> {
    let name = &config.name;
    let coin = match config.coin {
        CoinConfig::Equihash(equihash) => PracticeCoin::Equihash(equihash.parameters),
        CoinConfig::Bitcoin => PracticeCoin::Bitcoin,
        CoinConfig::Monero => PracticeCoin::Monero,
    };
    let settings = PracticeSettings {
        coin,
        judge: match practice.judge {
            crate::config::Judge::Full => Judge::Full,
            crate::config::Judge::Shape => Judge::Shape,
        },
        job_interval: practice.job_interval,
        block_interval_jobs: practice.block_interval_jobs,
        target: practice.target,
        nonce_1_bytes: practice.nonce_1_bytes,
        extranonce2_bytes: practice.extranonce2_bytes,
        shares_remembered_max: PRACTICE_SHARES_REMEMBERED_MAX,
        ..PracticeSettings::default()
    };
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let server =
        PracticeServer::start(settings, loopback).map_err(|source| StartError::Practice {
            proxy: name.clone(),
            source,
        })?;
    log::warn!(
        "proxy={name}: works for the embedded practice pool: nothing real is mined, and nobody is paid"
    );
    Ok(server)
}

fn exchange_limits(config: &ProxyConfig) -> Limits {
    let (limits, failover) = (&config.limits, &config.failover);
    Limits {
        miner: MinerLimits {
            workers_max: limits.workers_per_miner_max,
            worker_len_max: limits.worker_bytes_max,
            protocol_errors_max: u8::try_from(limits.protocol_errors_max).unwrap_or(u8::MAX),
        },
        conduct: ConductLimits {
            messages_per_second_max: limits.messages_per_second_max,
            shares_per_second_max: limits.shares_per_second_max,
            rejected_window: u16::try_from(limits.rejected_window).unwrap_or(u16::MAX),
            rejected_percent_max: u8::try_from(limits.rejected_percent_max).unwrap_or(u8::MAX),
            rejected_ban: limits.rejected_ban,
        },
        miner_outbox_bytes_max: limits.miner_outbox_bytes_max,
        miner_blocked: limits.miner_blocked,
        pending_shares_per_miner_max: as_u32(limits.pending_shares_per_miner_max),
        subscribe_timeout: limits.subscribe_timeout,
        authorize_timeout: limits.authorize_timeout,
        subscribe_wait: failover.subscribe_wait,
        pool_outbox_bytes_max: limits.pool_outbox_bytes_max,
        pool_outbox_stalled: limits.pool_outbox_stalled,
        pending_shares_max: limits.pending_shares_max,
        reply_timeout: limits.reply_timeout,
        dial_timeout: limits.connect_timeout + RESOLVE_TIMEOUT,
        handshake_timeout: HANDSHAKE_TIMEOUT_MAX.min(limits.reply_timeout),
        resume: failover.resume,
        stable_for: failover.stable_for,
        no_job: failover.no_job,
        no_reply: failover.no_reply,
        link_unused: Limits::default().link_unused,
        reconnect_per_second: failover.reconnect_per_second,
        jobs_kept: limits.jobs_kept,
        job_kept: limits.job_kept,
        jobs_kept_max: limits.jobs_kept_max,
        shares_remembered_per_job_max: limits.shares_remembered_per_job_max,
        ntime_ahead: limits.ntime_ahead,
    }
}
