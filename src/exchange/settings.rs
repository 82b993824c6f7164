//! What the exchange is told of the operator's wishes: small structs, not the config itself.

use std::time::Duration;

use crate::exchange::conduct::ConductLimits;
use crate::proto::dialect::Introduction;
use crate::proto::extranonce::SlotWidth;
use crate::proto::miner::MinerLimits;
use crate::proto::worker_name::WorkerName;

/// A pool, in the operator's order of preference.
#[derive(Clone)]
pub struct PoolSettings {
    /// Host name or address literal.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The worker that is paid.
    pub worker: String,
    /// Its password.
    pub password: String,
    /// Whether to ask the pool that our extranonce1 may change without a reconnect.
    pub extranonce_subscribe: bool,
    /// Hosts besides its own to which it may send us with `client.reconnect`.
    pub reconnect_hosts: Vec<String>,
    /// What we say of ourselves.
    pub introduction: Introduction,
}

impl std::fmt::Debug for PoolSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// Every bound of the exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What one miner's session may cost.
    pub miner: MinerLimits,
    /// How much a miner may send, and how much of it may be wrong.
    pub conduct: ConductLimits,
    /// Bytes queued for a miner that does not read.
    pub miner_outbox_bytes_max: usize,
    /// Bytes that wait for all miners that take none; above it those are closed that have the most.
    pub unread_bytes_max: usize,
    /// How long a miner may take no byte while some wait for it.
    pub miner_blocked: Duration,
    /// Unanswered shares of one miner.
    pub pending_shares_per_miner_max: u32,
    /// From connect to subscribe.
    pub subscribe_timeout: Duration,
    /// From subscribe to authorize.
    pub authorize_timeout: Duration,
    /// How long a subscribe waits for a pool.
    pub subscribe_wait: Duration,
    /// Bytes queued for a pool.
    pub pool_outbox_bytes_max: usize,
    /// How long a pool may take no byte while some wait for it.
    pub pool_outbox_stalled: Duration,
    /// Unanswered shares of one link.
    pub pending_shares_max: usize,
    /// How long a share waits for the pool's answer.
    pub reply_timeout: Duration,
    /// A pool that sends no job for so long is bad.
    pub no_job: Duration,
    /// A pool that answers no share for so long, while 16 or all of several wait, is bad.
    pub no_reply: Duration,
    /// For a link's name to be resolved and its connection to be made.
    pub dial_timeout: Duration,
    /// For each step of its handshake: subscribe, authorize.
    pub handshake_timeout: Duration,
    /// How long a lost link may be taken up again as if nothing had been.
    pub resume: Duration,
    /// How long a preferred pool must be well before miners go back to it.
    pub stable_for: Duration,
    /// How long a link without a miner is kept.
    pub link_unused: Duration,
    /// Miners closed for each second when only a reconnect can move them.
    pub reconnect_per_second: u32,
    /// Jobs that stay known however old they are.
    pub jobs_kept: usize,
    /// How long a job stays known however many came after it.
    pub job_kept: Duration,
    /// Jobs that stay known at the very most.
    pub jobs_kept_max: usize,
    /// Shares of one job that are remembered against duplicates.
    pub shares_remembered_per_job_max: usize,
    /// How far ahead of its job's time, or of our clock where that is later, a share's time may lie.
    pub ntime_ahead: Duration,
}

impl Default for Limits {
    /// The defaults of the config.
    fn default() -> Self {
        Self {
            miner: MinerLimits {
                workers_max: 16,
                worker_len_max: 256,
                protocol_errors_max: 8,
            },
            conduct: ConductLimits::default(),
            miner_outbox_bytes_max: 1024 * 1024,
            unread_bytes_max: 512 * 1024 * 1024,
            miner_blocked: Duration::from_secs(60),
            pending_shares_per_miner_max: 4096,
            subscribe_timeout: Duration::from_secs(15),
            authorize_timeout: Duration::from_secs(30),
            subscribe_wait: Duration::from_secs(30),
            pool_outbox_bytes_max: 64 * 1024 * 1024,
            pool_outbox_stalled: Duration::from_secs(10),
            pending_shares_max: 1024 * 1024,
            reply_timeout: Duration::from_secs(60),
            no_job: Duration::from_secs(240),
            no_reply: Duration::from_secs(60),
            dial_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(10),
            resume: Duration::from_secs(3),
            stable_for: Duration::from_secs(30),
            link_unused: Duration::from_secs(60),
            reconnect_per_second: 1000,
            jobs_kept: 8,
            job_kept: Duration::from_secs(120),
            jobs_kept_max: 64,
            shares_remembered_per_job_max: 1024 * 1024,
            ntime_ahead: Duration::from_secs(7200),
        }
    }
}

/// When a miner is told what became of its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareReply {
    /// When the pool has said so, and what it said.
    #[default]
    Pool,
    /// It is told that the share is accepted once our own checks passed, as long as the link to the pool
    /// is ready. What the pool says later is counted, and what is lost.
    Immediate,
}

/// Who connects to the pools of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolLinks {
    /// Each shard has links of its own.
    #[default]
    PerShard,
    /// Only the first so many shards have one each; every other shard borrows a part of one.
    Shared(usize),
}

/// When a shard starts its miners on a job that only a neighbour's link has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobExchange {
    /// Two links announced the same job when their announcements are no further apart.
    pub match_within: Duration,
    /// How long a share for such a job waits for the own link's announcement.
    pub hold: Duration,
}

/// Who may mine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorize {
    /// Whether the shell looks each worker up; else each is taken.
    pub is_local: bool,
    /// Whether the pool is shown each worker's own password, where it is asked for its name; else the pool's.
    pub shows_passwords: bool,
    /// The name that a pool is sent shares under. Where it is not fixed, the pool is asked for each first.
    /// Where it is, [`PoolSettings::worker`] is that name already.
    pub worker_name: WorkerName,
    /// After how long a pool is asked again about a name that it denied.
    pub denied_retry: Duration,
    /// Keys the numbers that stand for workers at their addresses, and for their names at pools: the same in
    /// all exchanges of a proxy.
    pub people_seed: u64,
}

/// How one proxy works on one shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which of the process's exchanges this is, for job ids that no other one makes.
    pub series: u8,
    /// The shard's number and their count: to whom letters go, and with which part of a nonce space to
    /// begin.
    pub part: (u32, u32),
    /// When the process started, in seconds since 1970, for job ids that no earlier run made.
    pub start_unix_seconds: u64,
    /// Keys the hashes and the jitter, so that a simulation replays and a stranger can't aim.
    pub seed: u64,
    /// At least one.
    pub pools: Vec<PoolSettings>,
    /// How many bytes of nonce space to fix for each miner.
    pub slot_width: SlotWidth,
    /// Miners on one link, at most 65,536.
    pub miners_per_link: u32,
    /// Links to the pool that this exchange may hold.
    pub links_max: usize,
    /// Who connects to the pools.
    pub pool_links: PoolLinks,
    /// When miners are started on a job that only a neighbour's link has announced; `None` for never.
    pub job_exchange: Option<JobExchange>,
    /// Parts of user agents, lower-case, whose firmware takes only the pool's own extranonce1.
    pub pass_through_agents: Vec<String>,
    /// Who may mine.
    pub authorize: Authorize,
    /// Whether a link to the next pool is kept ready while the one before serves.
    pub standby: bool,
    /// When a miner is told what became of its share.
    pub share_reply: ShareReply,
    /// Whether miners are given the last job again while no pool is up.
    pub keep_warm: bool,
    /// Every bound.
    pub limits: Limits,
}
