//! A miner's claim against a job, and why it may be refused.

use std::borrow::Cow;
use std::fmt;

/// Fields of a share that has the most of them: Monero's.
pub const FIELDS_MAX: usize = 5;

/// A `mining.submit`, cut into its parts but not yet checked. Borrows the line.
#[derive(Clone, Debug)]
pub struct Submit<'a> {
    /// The worker that claims it; `None` where a miner has but one, and does not name it.
    pub worker: Option<Cow<'a, str>>,
    /// The job id as the miner wrote it: one of ours, if the share is good.
    pub job_id: &'a [u8],
    /// The dialect's own fields, as many as it has, the others empty: for Equihash time, nonce_2 and
    /// solution, as the text between the quotes.
    pub fields: [&'a [u8]; FIELDS_MAX],
    /// Params behind those that the dialect knows, as JSON text with a leading comma; most send none.
    pub extra: &'a [u8],
}

/// Why a share, or another request, is refused here. The link stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// A request that can't be read as what its method says.
    Malformed(&'static str),
    /// The method is none that we know.
    UnknownMethod,
    /// A name, a password or an id is longer than it may be.
    TooLong(&'static str),
    /// The connection has as many workers as it may have.
    TooManyWorkers,
    /// The job is not one of those still known: too old, or of a lost pool.
    UnknownJob,
    /// The job was never given to anybody: its id is none of ours, or one that is not due yet.
    JobNeverGiven,
    /// The same nonce and solution came before.
    Duplicate,
    /// The worker was not authorized on this connection.
    UnauthorizedWorker,
    /// Nothing was subscribed to on this connection.
    NotSubscribed,
    /// The pool link's queue is full.
    PoolBusy,
    /// The miner has more unanswered shares than it may have.
    TooManyUnanswered,
    /// The link went away before the pool answered, and can't be resumed.
    LinkLost,
    /// The pool did not answer in time.
    PoolSilent,
    /// No pool is up, and its job was only to keep the machine warm.
    KeptWarm,
    /// Its job was begun on a neighbour's word, and the own link did not announce it in time.
    EarlyJob,
    /// Every slot of every link is taken.
    Full,
    /// No pool came up in the time that a subscribe waits.
    NoPool,
    /// It rolled version bits that were not granted to it.
    VersionBits,
    /// There is no such worker, or its password is another one.
    WorkerDenied,
    /// The pool did not say in time whether it takes the worker's name.
    NameUnanswered,
    /// The pool denied too many names of this address, and is not asked for another one by now.
    TooManyDenied,
    /// Too many workers are being looked up.
    AuthorizeBusy,
    /// The miner sent more shares than it may.
    TooManyShares,
    /// The worker is kept out for a while, since too many of its shares were wrong.
    KeptOut,
}

impl Reject {
    /// What the miner is told.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed(text) | Self::TooLong(text) => text,
            Self::TooManyWorkers => "Too many workers on one connection",
            Self::UnknownMethod => "Method not found",
            Self::UnknownJob => "Job not found (=stale)",
            Self::JobNeverGiven => "Job not found, it was never given",
            Self::Duplicate => "Duplicate share",
            Self::UnauthorizedWorker => "Unauthorized worker",
            Self::NotSubscribed => "Not subscribed",
            Self::PoolBusy => "Pool busy",
            Self::TooManyUnanswered => "Too many unanswered shares",
            Self::LinkLost => "Job not found (=stale), the pool link was lost",
            Self::PoolSilent => "No answer from the pool in time",
            Self::KeptWarm => "Job not found (=stale), no pool is up",
            Self::EarlyJob => "Job not found (=stale), it was not confirmed in time",
            Self::Full => "The proxy is full",
            Self::NoPool => "No pool is up, try again",
            Self::VersionBits => "Version bits outside of the mask",
            Self::WorkerDenied => "Unauthorized worker: unknown, or the wrong password",
            Self::NameUnanswered => "The pool does not say in time whether it takes the worker",
            Self::TooManyDenied => {
                "The pool denied too many workers of your address, try again later"
            }
            Self::AuthorizeBusy => "Busy, try again",
            Self::TooManyShares => "Too many shares in a second",
            Self::KeptOut => "Kept out for a while: too many shares were wrong",
        }
    }

    /// The error code of ZIP 301 that the miner is told.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::UnknownJob
            | Self::JobNeverGiven
            | Self::LinkLost
            | Self::KeptWarm
            | Self::EarlyJob => 21,
            Self::Duplicate => 22,
            Self::UnauthorizedWorker
            | Self::WorkerDenied
            | Self::NameUnanswered
            | Self::TooManyDenied
            | Self::AuthorizeBusy
            | Self::KeptOut => 24,
            Self::NotSubscribed => 25,
            Self::UnknownMethod => -3,
            Self::Malformed(_)
            | Self::TooLong(_)
            | Self::TooManyWorkers
            | Self::PoolBusy
            | Self::TooManyUnanswered
            | Self::TooManyShares
            | Self::PoolSilent
            | Self::Full
            | Self::NoPool
            | Self::VersionBits => 20,
        }
    }

    /// Every label that [`Reject::reason`] gives, in the order of [`Reject::index`].
    pub const REASONS: [&'static str; 24] = [
        "malformed",
        "unknown_method",
        "unknown_job",
        "duplicate",
        "unauthorized_worker",
        "not_subscribed",
        "pool_busy",
        "too_many_unanswered",
        "link_lost",
        "pool_silent",
        "full",
        "no_pool",
        "kept_warm",
        "early_job",
        "version_bits",
        "worker_denied",
        "authorize_busy",
        "too_many_shares",
        "kept_out",
        "job_never_given",
        "too_long",
        "too_many_workers",
        "name_unanswered",
        "too_many_denied",
    ];

    /// The place of this reason among [`Reject::REASONS`], for arrays of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Malformed(_) => 0,
            Self::UnknownMethod => 1,
            Self::UnknownJob => 2,
            Self::Duplicate => 3,
            Self::UnauthorizedWorker => 4,
            Self::NotSubscribed => 5,
            Self::PoolBusy => 6,
            Self::TooManyUnanswered => 7,
            Self::LinkLost => 8,
            Self::PoolSilent => 9,
            Self::Full => 10,
            Self::NoPool => 11,
            Self::KeptWarm => 12,
            Self::EarlyJob => 13,
            Self::VersionBits => 14,
            Self::WorkerDenied => 15,
            Self::AuthorizeBusy => 16,
            Self::TooManyShares => 17,
            Self::KeptOut => 18,
            Self::JobNeverGiven => 19,
            Self::TooLong(_) => 20,
            Self::TooManyWorkers => 21,
            Self::NameUnanswered => 22,
            Self::TooManyDenied => 23,
        }
    }

    /// The label in logs and counters.
    #[must_use]
    pub fn reason(self) -> &'static str {
        Self::REASONS.get(self.index()).copied().unwrap_or("other")
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Reject {}
