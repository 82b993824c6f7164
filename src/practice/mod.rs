//! The practice pool: a pool inside the process, for a first run, for tests and for load.
//!
//! **Nothing real is mined here.** The jobs are made up, no block of any chain stands behind them,
//! and a share that is accepted earns nothing. What is real is the conversation: jobs, targets and
//! answers have the shape that pools of such a coin give them, and shares are judged as these
//! pools judge them, down to the proof of work if it is asked for.
//!
//! From the inside out:
//!
//! - [`bitcoin`]: what a share of a job hashes to.
//! - [`equihash`]: is this solution one, and does it meet the target?
//! - [`monero`]: jobs, and what a share claims; its hash is nobody's to compute here.
//! - [`solver`]: finds real solutions for the small parameters 48,5 in microseconds.
//! - [`PracticePool`]: the pool itself. Pure: lines in, lines out, time as an argument.
//! - [`PracticeServer`]: the pool behind a TCP socket. Plain threads, since it has few links and is
//!   no part of a shard.
//!
//! Made-up jobs are in `jobs`, who has which nonce_1 in `sessions`, what is said in `answers`,
//! what can be wrong with a share in `shares`.
#![warn(missing_docs)]

mod answers;
pub mod bitcoin;
pub mod equihash;
mod jobs;
pub mod monero;
mod pool;
mod server;
mod sessions;
mod settings;
mod shares;
pub mod solver;

pub use self::{
    pool::{AcceptedShare, Fate, LinkId, PracticePool},
    server::PracticeServer,
    settings::{
        Counters, EXTRANONCE2_BYTES_MAX, ErrorShape, ExtranonceSubscribe, Judge, Knobs,
        NONCE_1_BYTES_MAX, PracticeCoin, PracticeSettings, Refusal, RejectedShares, SettingsError,
    },
};
