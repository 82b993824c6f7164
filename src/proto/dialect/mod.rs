//! Where one coin differs from another: method names, parameter order, who owns which nonce bytes.
//!
//! The exchange speaks to every coin through [`Dialect`]. A dialect reads what a peer sent into the
//! enums below and appends whole lines to a buffer that the caller owns; it keeps no state.

pub mod bitcoin;
mod common;
pub mod equihash;
pub mod monero;

use std::borrow::Cow;
use std::ops::Range;

use crate::proto::extranonce::{Extranonce1, SlotPlan, SlotWidth};
use crate::proto::job::{Job, JobId};
use crate::proto::share::{Reject, Submit};
use crate::proto::target::Target;
use crate::proto::version_mask::VersionMask;
use crate::wire::encode;
use crate::wire::json::Raw;
use crate::wire::request_id::RequestId;

pub use bitcoin::Bitcoin;
pub use equihash::Equihash;
pub use monero::Monero;

/// A coin, as far as a dialect must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coin {
    /// Zcash and its kin.
    Equihash(equihash::Parameters),
    /// Bitcoin, and every coin whose pools speak as Bitcoin's do.
    Bitcoin,
    /// Monero, and the coins whose miners are xmrig.
    Monero,
}

impl Coin {
    /// The dialect that this coin's pools and miners speak: the one list of them all.
    #[must_use]
    pub fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Self::Equihash(parameters) => Box::new(Equihash::new(parameters)),
            Self::Bitcoin => Box::new(Bitcoin),
            Self::Monero => Box::new(Monero),
        }
    }
}

/// What the proxy says of itself to a pool.
pub const AGENT: &str = concat!("stratum-uring/", env!("CARGO_PKG_VERSION"));

/// The same, as JSON text.
pub(crate) const AGENT_JSON: &str = concat!("\"stratum-uring/", env!("CARGO_PKG_VERSION"), "\"");

/// What goes into the subscribe that we send to a pool.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// The session that we would like back, as the JSON text the pool gave it.
    pub session_id: Option<&'a [u8]>,
    /// The host that we dialled.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The worker that is paid.
    pub worker: &'a str,
    /// Its password.
    pub password: &'a str,
    /// What we say of ourselves.
    pub introduction: &'a Introduction,
}

/// What the proxy says of itself and asks for when it greets a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// What we call our firmware. Some pools choose by it what their jobs look like.
    pub agent: String,
    /// Whether to ask for version bits, where the dialect knows them.
    pub version_rolling: bool,
    /// The algorithms that our miners know, where the dialect names some: `rx/0`. Empty says nothing.
    pub algorithms: Vec<String>,
}

impl Default for Introduction {
    fn default() -> Self {
        Self {
            agent: AGENT.to_owned(),
            version_rolling: true,
            algorithms: Vec::new(),
        }
    }
}

/// What a pool answered to our subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The session id as JSON text, where the pool gives one.
    pub session_id: Option<Box<[u8]>>,
    /// The bytes that the pool fixes.
    pub extranonce1: Extranonce1,
    /// Bytes that it leaves to us.
    pub extranonce2_len: usize,
    /// What it calls the session, as JSON text, where each share must say so. Then no two sessions are
    /// one nonce space, and none outlives its connection.
    pub share_session: Option<Box<[u8]>>,
    /// The first job, where it comes with the answer.
    pub job: Option<Box<Job>>,
}

/// A message of a pool that is no reply.
#[derive(Clone, Debug, PartialEq)]
pub enum PoolMessage<'a> {
    /// New work.
    Job(Job),
    /// The target of the next job and the later ones.
    Target(Target),
    /// Other bytes in front, from the next job on.
    Extranonce {
        /// The bytes that the pool fixes now.
        extranonce1: Extranonce1,
        /// Bytes that it leaves to us.
        extranonce2_len: usize,
    },
    /// The pool wants us to connect again, perhaps elsewhere.
    Reconnect {
        /// The host, or `None` for the same one.
        host: Option<Cow<'a, str>>,
        /// The port, or `None` for the same one.
        port: Option<u16>,
        /// Seconds to wait first.
        wait_seconds: u32,
    },
    /// A text for people.
    Text(Cow<'a, str>),
    /// Version bits that miners may roll from now on.
    VersionMask(VersionMask),
    /// The pool asks something that has this answer, as JSON text.
    Request(&'static str),
    /// Known, and of no use to us.
    Ignored,
    /// A method that we don't know.
    Unknown,
}

/// A request of a miner.
#[derive(Clone, Debug)]
pub enum MinerRequest<'a> {
    /// It asks for its part of the nonce space.
    Subscribe {
        /// What the firmware calls itself; empty where it does not say.
        agent: Cow<'a, str>,
    },
    /// It names a worker.
    Authorize {
        /// The worker's name.
        worker: Cow<'a, str>,
        /// Its password; empty where it sent none.
        password: Cow<'a, str>,
    },
    /// Subscribe and authorize in one, with one answer.
    Login {
        /// The worker's name.
        worker: Cow<'a, str>,
        /// Its password; empty where it sent none.
        password: Cow<'a, str>,
        /// What the firmware calls itself; empty where it does not say.
        agent: Cow<'a, str>,
    },
    /// It claims a share.
    Submit(Submit<'a>),
    /// It asks for the current job once more.
    GetJob,
    /// It can take another extranonce1 without a reconnect.
    ExtranonceSubscribe,
    /// Extensions (BIP 310) that it would like: see [`Dialect::configure`].
    Configure {
        /// Their names and what it says of each.
        params: Option<Raw<'a>>,
    },
    /// Something that needs no more than this polite result, as JSON text.
    Polite(&'static str),
    /// Something that wants no answer.
    Ignored,
}

/// What a miner has once its configure is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Whether it can take another extranonce1 without a reconnect.
    pub takes_extranonce: bool,
    /// The version bits that it can roll itself, where it asked to roll any.
    pub version_mask: Option<VersionMask>,
}

/// What a share is held against.
#[derive(Clone, Copy, Debug)]
pub struct ShareTerms<'a> {
    /// Bytes of extranonce2 that were left to the miner.
    pub extranonce2_len: usize,
    /// The bytes that we fixed for this miner.
    pub slot: &'a [u8],
    /// The version bits that it may roll.
    pub version_mask: VersionMask,
    /// The latest time that a share may have, in seconds since 1970.
    pub time_max: u64,
}

/// Something a pool sent that can't be right. The link is closed and the pool tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PoolFault(pub &'static str);

/// The parts from which the line of a share for the pool is made.
#[derive(Clone, Copy, Debug)]
pub struct ShareParts<'a> {
    /// Our request id.
    pub request_id: u64,
    /// The worker that the pool knows.
    pub worker: &'a str,
    /// The pool's own job id, as the JSON text it wrote.
    pub pool_job_id: &'a [u8],
    /// What the pool calls the session, where shares say so; else empty.
    pub share_session: &'a [u8],
    /// The bytes that we fixed for this miner.
    pub slot: &'a [u8],
    /// What the miner sent; checked.
    pub submit: &'a Submit<'a>,
}

/// One coin's way to speak Stratum, on both sides.
///
/// Everything appended to `out` is whole lines, ended by LF alone: nheqminer drops a line whose last
/// byte before the LF is not a brace.
pub trait Dialect: std::fmt::Debug {
    /// Whether subscribe and authorize are one request, whose answer holds the first job: on both sides.
    fn logs_in(&self) -> bool {
        false
    }

    /// Where the digits of the slot stand in the line of a job, where each miner has its own there: the
    /// line is then copied for each of them, and these digits changed.
    fn slot_in_job(&self) -> Option<usize> {
        None
    }

    /// What a miner's speed is counted in.
    fn rate_unit(&self) -> &'static str {
        "H/s"
    }

    /// Appends what we ask of a pool ahead of our subscribe, if there is anything. Both go out together,
    /// since some pools never answer this.
    fn write_configure(&self, out: &mut Vec<u8>, request_id: u64) {
        let _ = (out, request_id);
    }

    /// The version bits that a pool grants in its answer to that.
    fn read_configured(&self, result: Raw<'_>) -> VersionMask {
        let _ = result;
        VersionMask::NONE
    }

    /// Appends what tells a pool that we are still there, where it closes links that say nothing;
    /// `share_session` is what it calls the session. The answer is passed over.
    fn write_keepalive(&self, out: &mut Vec<u8>, request_id: u64, share_session: &[u8]) {
        let _ = (out, request_id, share_session);
    }

    /// Appends our subscribe to a pool.
    fn write_subscribe(&self, out: &mut Vec<u8>, request_id: u64, subscribe: Subscribe<'_>);

    /// Appends our authorize to a pool.
    fn write_authorize(&self, out: &mut Vec<u8>, request_id: u64, worker: &str, password: &str);

    /// Appends the request that the pool may change our extranonce1 without a reconnect.
    fn write_extranonce_subscribe(&self, out: &mut Vec<u8>, request_id: u64);

    /// Reads the result of our subscribe, in every shape that pools use.
    ///
    /// # Errors
    ///
    /// A fault where no extranonce1 can be found in it.
    fn read_subscription(&self, result: Raw<'_>) -> Result<Subscription, PoolFault>;

    /// Divides the bytes that a pool leaves us between its miners, who may roll these version bits too.
    /// `None` where they are too few even for a link of each miner's own.
    fn plan(
        &self,
        width: SlotWidth,
        extranonce2_len: usize,
        version_mask: VersionMask,
    ) -> Option<SlotPlan>;

    /// Reads a pool's message that has a method.
    ///
    /// # Errors
    ///
    /// A fault where a known method's params can't be right.
    fn read_pool_message<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<PoolMessage<'a>, PoolFault>;

    /// Reads a miner's request.
    ///
    /// # Errors
    ///
    /// What the miner is to be told where the method is unknown or its params can't be read.
    fn read_miner_request<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<MinerRequest<'a>, Reject>;

    /// Whether a miner's request of this method claims a share.
    fn is_submit(&self, method: &[u8]) -> bool {
        method == b"mining.submit"
    }

    /// Whether a pool's rejection of a share says that its miner is at fault: it was sent before, is above
    /// its target, or solves nothing. All else is nobody's fault: it came late, the pool could not look at
    /// it, or its words mean nothing to us.
    fn is_own_fault(&self, code: i64, text: &str) -> bool {
        common::is_own_fault(code, text)
    }

    /// Answers a miner's configure: appends the result, as JSON text. `pool` are the version bits that
    /// its pool grants. `None` where they must be known for the answer and are not.
    fn configure(
        &self,
        params: Option<Raw<'_>>,
        pool: Option<VersionMask>,
        result: &mut Vec<u8>,
    ) -> Option<Granted>;

    /// Appends other version bits for a miner that rolls some.
    fn write_version_mask(&self, out: &mut Vec<u8>, mask: VersionMask) {
        let _ = (out, mask);
    }

    /// Appends the answer to a miner's subscribe: the pool's bytes with the miner's slot behind. `job` is
    /// the miner's line of the current job, where the answer is to hold it; else it is empty.
    fn write_subscription(
        &self,
        out: &mut Vec<u8>,
        id: &RequestId,
        extranonce1: &Extranonce1,
        extranonce2_len: usize,
        job: &[u8],
    );

    /// Appends the answer to [`MinerRequest::GetJob`]; `job` is the miner's line of the current job.
    fn write_requested_job(&self, out: &mut Vec<u8>, id: &RequestId, job: &[u8]) {
        let _ = job;
        self.write_result(out, id.as_bytes(), b"null");
    }

    /// Appends the job for miners, under our id.
    fn write_job(&self, out: &mut Vec<u8>, job: &Job, id: JobId, clean: bool);

    /// Appends the target for miners.
    fn write_target(&self, out: &mut Vec<u8>, target: &Target);

    /// Appends a miner's new extranonce1.
    fn write_extranonce(
        &self,
        out: &mut Vec<u8>,
        extranonce1: &Extranonce1,
        extranonce2_len: usize,
    );

    /// The job's own time in seconds since 1970: the pool's clock, as far as we know it.
    fn job_time(&self, job: &Job) -> u64;

    /// What a job says of itself that the config says otherwise, if anything.
    fn oddity(&self, job: &Job) -> Option<String>;

    /// Checks a share's shape: hex and lengths, its time, and the bits that it rolls.
    ///
    /// # Errors
    ///
    /// What the miner is to be told.
    fn check_share(&self, submit: &Submit<'_>, terms: ShareTerms<'_>) -> Result<(), Reject>;

    /// The hash of a share, as a number with its highest byte first, to be held against a target: of a share
    /// that was checked, and `extranonce1` is the pool's. `None` where nobody computes it here.
    fn share_hash(
        &self,
        job: &Job,
        extranonce1: &Extranonce1,
        terms: ShareTerms<'_>,
        submit: &Submit<'_>,
    ) -> Option<[u8; 32]> {
        let _ = (job, extranonce1, terms, submit);
        None
    }

    /// Appends the share for the pool, its hex in lower case, and says which bytes of `out` are the
    /// share's identity: two shares of one job are the same share when these bytes are.
    fn write_share(&self, out: &mut Vec<u8>, share: ShareParts<'_>) -> Range<usize>;

    /// Appends the answer to a miner's request that was granted; both are JSON text.
    fn write_result(&self, out: &mut Vec<u8>, id: &[u8], result: &[u8]) {
        encode::reply_result(out, id, result);
    }

    /// Appends the answer to a share that was accepted, or to a request that needs no other.
    fn write_accepted(&self, out: &mut Vec<u8>, id: &[u8]) {
        encode::reply_true(out, id);
    }

    /// Appends the answer to what was not.
    fn write_error(&self, out: &mut Vec<u8>, id: &[u8], code: i64, text: &str) {
        encode::reply_error(out, id, code, text);
    }
}
