//! A miner's claim against a job, and why it may be refused.

use std::borrow::Cow;

/// A `mining.submit`, cut into its parts but not yet checked. Borrows the line.
#[derive(Clone, Debug)]
pub struct Submit<'a> {
    /// The worker that claims it.
    pub worker: Cow<'a, str>,
    /// The job id as the miner wrote it: one of ours, if the share is good.
    pub job_id: &'a [u8],
    /// The dialect's own fields, as the text between the quotes: for Equihash time, nonce_2, solution.
    pub fields: [&'a [u8]; 3],
    /// Params behind those that the dialect knows, as JSON text with a leading comma; most send none.
    pub extra: &'a [u8],
}

/// Why a share, or another request, is refused here. The link stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// A request that can't be read as what its method says.
    #[error("{0}")]
    Malformed(&'static str),
    /// The method is none that we know.
    #[error("Method not found")]
    UnknownMethod,
    /// The job is not one of those still known: too old, of a lost pool, or never ours.
    #[error("Job not found (=stale)")]
    UnknownJob,
    /// The same nonce and solution came before.
    #[error("Duplicate share")]
    Duplicate,
    /// The worker was not authorized on this connection.
    #[error("Unauthorized worker")]
    UnauthorizedWorker,
    /// Nothing was subscribed to on this connection.
    #[error("Not subscribed")]
    NotSubscribed,
    /// The pool link's queue is full.
    #[error("Pool busy")]
    PoolBusy,
    /// The miner has more unanswered shares than it may have.
    #[error("Too many unanswered shares")]
    TooManyUnanswered,
    /// The link went away before the pool answered, and can't be resumed.
    #[error("Job not found (=stale), the pool link was lost")]
    LinkLost,
    /// The pool did not answer in time.
    #[error("No answer from the pool in time")]
    PoolSilent,
    /// Every slot of every link is taken.
    #[error("The proxy is full")]
    Full,
    /// No pool came up in the time that a subscribe waits.
    #[error("No pool is up, try again")]
    NoPool,
}

impl Reject {
    /// The error code of ZIP 301 that the miner is told.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::UnknownJob | Self::LinkLost => 21,
            Self::Duplicate => 22,
            Self::UnauthorizedWorker => 24,
            Self::NotSubscribed => 25,
            Self::UnknownMethod => -3,
            Self::Malformed(_)
            | Self::PoolBusy
            | Self::TooManyUnanswered
            | Self::PoolSilent
            | Self::Full
            | Self::NoPool => 20,
        }
    }

    /// Every label that [`Reject::reason`] gives, in the order of [`Reject::index`].
    pub const REASONS: [&'static str; 12] = [
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
        }
    }

    /// The label in logs and counters.
    #[must_use]
    pub fn reason(self) -> &'static str {
        Self::REASONS.get(self.index()).copied().unwrap_or("other")
    }
}
