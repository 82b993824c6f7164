//! What a practice pool is told: its settings, fixed at the start, and its knobs, which tests turn
//! while it runs to make it behave as the worst pools do.

use std::num::NonZero;
use std::time::Duration;

use crate::practice::equihash::is_verifiable;
use crate::proto::dialect::equihash::Parameters;
use crate::proto::version_mask::VersionMask;

/// How deeply shares are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// As by a real pool: the hash against the target, and of Equihash the solution.
    Full,
    /// Everything but the proof of work, so that shares of filler bytes pass. The target isn't
    /// looked at, since filler could not meet it; but Monero's shares say what they hash to, and that
    /// must meet it.
    Shape,
}

/// What `mining.extranonce.subscribe` is answered. Real pools do all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtranonceSubscribe {
    /// `true`, as the extension asks.
    Accept,
    /// `false` and an error, as z-nomp.
    Refuse,
    /// Nothing at all, as Miningcore.
    Ignore,
}

/// What a practice pool's jobs are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PracticeCoin {
    /// Zcash and its kin.
    Equihash(Parameters),
    /// Bitcoin.
    Bitcoin,
    /// Monero, of whose shares only the shape can be judged.
    Monero,
}

/// What a practice pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PracticeSettings {
    /// What its jobs are of.
    pub coin: PracticeCoin,
    /// How deeply it judges.
    pub judge: Judge,
    /// Time from one job to the next. Zero for a pool that announces none by itself.
    pub job_interval: Duration,
    /// A new block, which makes older jobs stale, comes with every so many jobs.
    pub block_interval_jobs: u32,
    /// The share target, a big-endian number.
    pub target: [u8; 32],
    /// Length of the nonce_1 that a link gets, from 1 to [`NONCE_1_BYTES_MAX`].
    pub nonce_1_bytes: usize,
    /// Bytes that it leaves to a link of Bitcoin; those of Equihash have what is left of the nonce.
    pub extranonce2_bytes: usize,
    /// The version bits that it grants to a link of Bitcoin.
    pub version_mask: VersionMask,
    /// Whether links get a session id, with which they can come back to their nonce_1. Without, the
    /// id is `null`, as z-nomp has it.
    pub sessions: bool,
    /// What `mining.extranonce.subscribe` is answered.
    pub extranonce_subscribe: ExtranonceSubscribe,
    /// Whether each job is announced as clean, as z-nomp does, and not only the first of a block.
    pub always_clean: bool,
    /// For how many shares a repetition is noticed. Shares of older blocks are forgotten anyway.
    pub shares_remembered_max: usize,
}

/// Longest nonce_1: a miner needs bytes of its own. The longest that a real pool gave was 17.
pub const NONCE_1_BYTES_MAX: usize = 24;

/// Longest extranonce2: with the longest nonce_1 it still fits the script of a coinbase.
pub const EXTRANONCE2_BYTES_MAX: usize = 32;

/// What ckpool and DATUM grant.
const VERSION_MASK: VersionMask = VersionMask::new(0x1fff_e000);

impl Default for PracticeSettings {
    fn default() -> Self {
        Self {
            coin: PracticeCoin::Equihash(SMALLEST),
            judge: Judge::Full,
            job_interval: Duration::from_secs(30),
            block_interval_jobs: 4,
            target: [0xff; 32],
            nonce_1_bytes: 4,
            extranonce2_bytes: 8,
            version_mask: VERSION_MASK,
            sessions: true,
            extranonce_subscribe: ExtranonceSubscribe::Accept,
            always_clean: false,
            shares_remembered_max: 1_800_000,
        }
    }
}

/// 48,5, whose solutions cost microseconds.
const SMALLEST: Parameters = match Parameters::ALL {
    [.., smallest] => smallest,
};

/// Why no practice pool can be made of some settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// [`Judge::Full`] was asked for, and solutions of these parameters can't be verified.
    #[error("solutions of equihash {},{} cannot be verified: judge their shape", .0.n(), .0.k())]
    NotVerifiable(Parameters),
    /// [`Judge::Full`] was asked for, and nobody computes RandomX here.
    #[error("shares of monero cannot be verified: judge their shape")]
    NotComputable,
    /// The length of nonce_1 is none.
    #[error("nonce_1 must have 1 to {NONCE_1_BYTES_MAX} bytes, not {0}")]
    Nonce1Bytes(usize),
    /// The length of extranonce2 is none.
    #[error("extranonce2 must have up to {EXTRANONCE2_BYTES_MAX} bytes, not {0}")]
    Extranonce2Bytes(usize),
    /// A block needs a job.
    #[error("a new block cannot come with every 0 jobs")]
    BlockInterval,
}

impl PracticeSettings {
    pub(super) fn problem(&self) -> Option<SettingsError> {
        if let PracticeCoin::Equihash(parameters) = self.coin
            && self.judge == Judge::Full
            && !is_verifiable(parameters)
        {
            return Some(SettingsError::NotVerifiable(parameters));
        }
        if self.coin == PracticeCoin::Monero && self.judge == Judge::Full {
            return Some(SettingsError::NotComputable);
        }
        if !(1..=NONCE_1_BYTES_MAX).contains(&self.nonce_1_bytes) {
            return Some(SettingsError::Nonce1Bytes(self.nonce_1_bytes));
        }
        if self.extranonce2_bytes > EXTRANONCE2_BYTES_MAX {
            return Some(SettingsError::Extranonce2Bytes(self.extranonce2_bytes));
        }
        (self.block_interval_jobs == 0).then_some(SettingsError::BlockInterval)
    }
}

/// An error that a knob makes the pool answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the error.
    pub code: i32,
    /// What it says.
    pub text: String,
}

/// The shapes that real pools give an error. The examples are of code 21.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorShape {
    /// `"result":null,"error":[21,"job not found",null]`, as specified.
    #[default]
    Array,
    /// `"result":null,"error":[21,"job not found"]`, as z-nomp has it at times.
    ArrayOfTwo,
    /// `"result":false,"error":{"code":21,"message":"job not found","data":null}`, as Miningcore.
    Object,
    /// `"result":false,"error":"job not found"`.
    String,
    /// `"result":false,"error":true`.
    Boolean,
    /// `"result":false,"error":null`: refused, and no word why.
    FalseOnly,
    /// `"reject-reason":"job not found","result":false,"error":null`, as ckpool.
    RejectReason,
}

/// How a practice pool misbehaves. By default it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knobs {
    /// Answers leave this much later. A job that comes meanwhile does not overtake them. Only the
    /// server has time to do this; the pure pool does not.
    pub reply_delay: Duration,
    /// Every so many shares, one is refused with this error, and not judged.
    pub reject_every_nth: Option<(NonZero<u64>, Refusal)>,
    /// Every so many shares, one is judged and counted but not answered.
    pub never_reply_every_nth: Option<NonZero<u64>>,
    /// The link ends with its share of this number, which was judged but is not answered.
    pub close_after_shares: Option<NonZero<u64>>,
    /// Reads everything and says nothing, not even jobs.
    pub silent: bool,
    /// Sends a line of rubbish before each answer.
    pub garbage: bool,
    /// Refuses each `mining.subscribe`.
    pub refuse_subscribe: Option<Refusal>,
    /// Refuses each `mining.authorize`.
    pub refuse_authorize: Option<Refusal>,
    /// The shape of errors.
    pub error_shape: ErrorShape,
    /// Answers `true` to each share whatever became of it, as z-nomp does. Counters tell the truth.
    pub always_true: bool,
    /// Keeps a list of the accepted shares, for assertions.
    pub record: bool,
}

/// What has happened at a practice pool so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Links that came.
    pub links_opened: u64,
    /// Links that went.
    pub links_closed: u64,
    /// Subscribes that got a nonce_1.
    pub subscribes: u64,
    /// Those of them that came back to the nonce_1 of an earlier link.
    pub resumes: u64,
    /// Workers that were authorized.
    pub authorizes: u64,
    /// Jobs that were made.
    pub jobs: u64,
    /// Blocks that were made up.
    pub blocks: u64,
    /// Shares that were accepted.
    pub shares_accepted: u64,
    /// Shares that were judged and refused.
    pub shares_rejected: RejectedShares,
    /// Shares that a knob refused.
    pub shares_rejected_by_knob: u64,
    /// Shares that a knob left unanswered; they are counted as accepted or rejected too.
    pub shares_unanswered: u64,
    /// Lines that were no request.
    pub lines_unreadable: u64,
    /// Requests for a method that this pool does not have.
    pub methods_unknown: u64,
}

impl Counters {
    /// Shares that came, whatever became of them.
    #[must_use]
    pub fn shares(&self) -> u64 {
        self.shares_accepted + self.shares_rejected.total() + self.shares_rejected_by_knob
    }
}

/// Refused shares by the number that they were answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectedShares {
    /// 20: what has no number of its own; lengths, times, and solutions that are none.
    pub other: u64,
    /// 21: of an unknown job, or of one that a new block made stale.
    pub stale: u64,
    /// 22: sent before.
    pub duplicate: u64,
    /// 23: the hash is above the target.
    pub low_difficulty: u64,
    /// 24: by a worker that was not authorized on this link.
    pub unauthorized: u64,
    /// 25: on a link that did not subscribe.
    pub not_subscribed: u64,
}

impl RejectedShares {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.other
            + self.stale
            + self.duplicate
            + self.low_difficulty
            + self.unauthorized
            + self.not_subscribed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_a_pool() {
        let settings = PracticeSettings::default();
        assert_eq!(
            settings.coin,
            PracticeCoin::Equihash(Parameters::new(48, 5).unwrap())
        );
        assert_eq!(settings.problem(), None);
    }

    #[test]
    fn a_full_judge_needs_parameters_that_can_be_verified() {
        let flux = Parameters::new(125, 4).unwrap();
        let mut settings = PracticeSettings {
            coin: PracticeCoin::Equihash(flux),
            ..PracticeSettings::default()
        };
        assert_eq!(settings.problem(), Some(SettingsError::NotVerifiable(flux)));
        settings.judge = Judge::Shape;
        assert_eq!(settings.problem(), None);
        settings.coin = PracticeCoin::Monero;
        assert_eq!(settings.problem(), None);
        settings.judge = Judge::Full;
        assert_eq!(settings.problem(), Some(SettingsError::NotComputable));
    }

    #[test]
    fn numbers_that_make_no_pool_are_refused() {
        for len in [0, NONCE_1_BYTES_MAX + 1] {
            let settings = PracticeSettings {
                nonce_1_bytes: len,
                ..PracticeSettings::default()
            };
            assert_eq!(settings.problem(), Some(SettingsError::Nonce1Bytes(len)));
        }
        let settings = PracticeSettings {
            extranonce2_bytes: EXTRANONCE2_BYTES_MAX + 1,
            ..PracticeSettings::default()
        };
        assert_eq!(
            settings.problem(),
            Some(SettingsError::Extranonce2Bytes(33))
        );
        let settings = PracticeSettings {
            block_interval_jobs: 0,
            ..PracticeSettings::default()
        };
        assert_eq!(settings.problem(), Some(SettingsError::BlockInterval));
    }
}
