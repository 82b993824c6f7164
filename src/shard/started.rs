//! One proxy of a config, from its sockets to what each shard needs of it.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::{
    AuthorizeMode, CoinConfig, Config, ListenConfig, PoolConfig, PoolUrl, PracticeConfig,
    ProxyConfig, SlotBytes,
};
use crate::exchange::{
    Authorize, ConductLimits, Counters, JobExchange, Limits, PoolLinks, PoolSettings, Settings,
    ShareReply,
};
use crate::metrics::{Expiries, Published};
use crate::practice::{Judge, PracticeCoin, PracticeServer, PracticeSettings};
use crate::proto::extranonce::SlotWidth;
use crate::proto::miner::MinerLimits;
use crate::shard::admin::WatchedProxy;
use crate::shard::door::counts::{Addresses, Bound, Room};
use crate::shard::door::rules::Rules;
use crate::shard::error::StartError;
use crate::shard::files::ProxyFiles;
use crate::shard::handshakes::HandshakeLimits;
use crate::shard::names::RESOLVE_TIMEOUT;
use crate::shard::reload::{Outcome, ProxyNews};
use crate::shard::space_watch::SpaceWatch;
use crate::shard::state::ShellLimits;
use crate::shard::worker_checks::Checker;
use crate::shard::{ProxySetup, listen};

/// Exchanges whose job ids differ: one byte of each id. With more, two proxies may use the same id,
/// which no miner of either sees.
pub(crate) const SERIES_MAX: usize = 256;
/// Shares that an embedded practice pool remembers against duplicates; 64 bytes or so each.
const PRACTICE_SHARES_REMEMBERED_MAX: usize = 256 * 1024;
/// Handshake steps of a link wait this long at the most, and no longer than a reply may take.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// A proxy with its sockets open.
pub(crate) struct StartedProxy {
    /// The number of its first exchange among all of the process.
    series: usize,
    config: ProxyConfig,
    pools: Vec<PoolSettings>,
    files: ProxyFiles,
    /// For each address one socket for each shard, and its rules.
    listeners: Vec<(Vec<std::net::TcpListener>, Arc<Rules>, Room)>,
    /// The address of each, with the port that was chosen.
    addresses: Vec<String>,
    published: Vec<Published>,
    expiries: Expiries,
    space_watch: SpaceWatch,
    /// Keys the numbers that stand for workers at their addresses.
    people_seed: u64,
    /// They stop when they are dropped.
    _practice: Vec<PracticeServer>,
}

impl StartedProxy {
    /// `connections` is how many there may be on all shards.
    pub(crate) fn start(
        config: &ProxyConfig,
        series: usize,
        shards: usize,
        connections: usize,
        now_unix_seconds: u64,
    ) -> Result<Self, StartError> {
        let name = &config.name;
        let per_address = config.limits.connections_per_address_max;
        let proxy_bound = Arc::new(Bound::new(config.limits.connections_max));
        let addresses =
            (per_address > 0).then(|| Arc::new(Addresses::new(per_address, connections)));
        let files = ProxyFiles::read(config, now_unix_seconds).map_err(StartError::Files)?;
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        for listen in &config.listen {
            let idle_timeout = config.limits.idle_timeout;
            let opened = listen::open(name, listen.address, idle_timeout, shards)?;
            let address = opened.first().and_then(|socket| socket.local_addr().ok());
            let address = address.unwrap_or(listen.address);
            log::info!("proxy={name}: listening on {address}");
            bound.push(address.to_string());
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
        warn_of_practice(config);
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
        let started = Self {
            series,
            people_seed: std::hash::RandomState::new().hash_one(series),
            config: config.clone(),
            pools,
            files,
            listeners,
            addresses: bound,
            expiries: Expiries::new(config.listen.len(), config.pools.len()),
            published: (0..shards)
                .map(|_| Published::new(config.pools.len()))
                .collect(),
            space_watch: SpaceWatch::new(shards),
            _practice: practice,
        };
        started.publish_expiries();
        Ok(started)
    }

    /// Tells when certificates run out.
    fn publish_expiries(&self) {
        let files = &self.files;
        self.expiries
            .publish(files.expiries(), files.client_expiries());
    }

    /// As logs and metrics call it.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// In what its hash rate is counted.
    pub(crate) fn rate_unit(&self) -> &'static str {
        self.config.coin.coin().dialect().rate_unit()
    }

    /// Takes up what it may of a config that was read again, where one was, and the files that it names.
    pub(crate) fn reload(
        &mut self,
        newer: Option<&Config>,
        now_unix_seconds: u64,
        outcome: &mut Outcome,
    ) -> ProxyNews {
        if let Some(newer) = newer.and_then(|newer| newer.proxy(self.name())) {
            let changed = self.config.take_live(newer);
            if !changed.is_empty() {
                log::warn!(
                    "proxy={}: SIGHUP: what changed in {} holds from the next start",
                    self.name(),
                    changed.join(", ")
                );
                outcome.waits = true;
            }
        }
        self.files.reread(&self.config, now_unix_seconds, outcome);
        self.publish_expiries();
        let listeners = self.config.listen.iter();
        ProxyNews {
            rules: listeners.map(|listen| Arc::new(rules(listen))).collect(),
            tls: self.files.tls.clone(),
            access: self.files.access.clone(),
            workers: self.files.workers.clone(),
        }
    }

    /// Tells of each certificate that is not good, or not for long.
    pub(crate) fn warn_of_expiry(&self, now_unix_seconds: u64) {
        self.files
            .warn_of_expiry(&self.config.name, now_unix_seconds);
    }

    /// Where its numbers are found.
    pub(crate) fn watched(&self) -> WatchedProxy {
        WatchedProxy {
            name: self.config.name.clone(),
            resume: self.config.failover.resume,
            pools: self.pool_names(),
            listeners: self.addresses.clone(),
            published: self.published.clone(),
            expiries: self.expiries.clone(),
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

    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.published {
            sum.add(&shard.read());
        }
        sum
    }

    /// Connections that have ended: in the door, in TLS or behind both.
    pub(crate) fn connections_ended(&self) -> u64 {
        let ended = self.published.iter().map(|shard| {
            let (counters, door, tls) = (shard.read(), shard.door(), shard.tls());
            let ended = counters.closes.iter().chain(&door.ends);
            ended.chain(&tls.failures).sum::<u64>()
        });
        ended.sum()
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
    pub(crate) fn setup(&mut self, number: usize, start_unix_seconds: u64) -> ProxySetup {
        let pools = self.pool_names();
        let listeners = self
            .listeners
            .iter_mut()
            .filter_map(|(sockets, rules, room)| {
                Some((sockets.pop()?, Arc::clone(rules), room.clone()))
            });
        let limits = &self.config.limits;
        ProxySetup {
            name: self.config.name.clone(),
            pools,
            access: self.files.access.clone(),
            listeners: listeners.collect(),
            tls: self.files.tls.clone(),
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
                limits: exchange_limits(&self.config, self.published.len()),
            },
            checker: self.files.workers.clone().map(Checker::new),
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
    Ok(server)
}

/// Tells of a proxy with a practice pool, which is for a first run.
pub(crate) fn warn_of_practice(config: &ProxyConfig) {
    let is_practice = |pool: &PoolConfig| matches!(pool.url, PoolUrl::Practice(_));
    if config.pools.iter().any(is_practice) {
        log::warn!(
            "proxy={}: works for the embedded practice pool: nothing real is mined, and nobody is paid",
            config.name
        );
    }
}

/// The limits of one of so many exchanges; what all have together is parted.
fn exchange_limits(config: &ProxyConfig, shards: usize) -> Limits {
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
        unread_bytes_max: limits.unread_bytes_max / shards.max(1),
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
