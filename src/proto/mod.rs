//! The rules of one link at a time: sessions, jobs, shares, targets, and the dialects of coins.
//!
//! Pure: no socket, no clock, no heap beyond what a job or a name needs.
#![warn(missing_docs, clippy::indexing_slicing)]

pub mod dialect;
pub mod extranonce;
pub mod job;
pub mod miner;
pub mod pool;
pub mod share;
pub mod target;
pub mod time;
pub mod version_mask;
pub mod worker_name;
