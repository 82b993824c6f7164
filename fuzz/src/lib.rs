//! The bodies of the fuzz targets: plain functions that take bytes and panic where something is wrong.
//!
//! Each is run in two ways: by a target of `fuzz/fuzz_targets` under libFuzzer, which looks for bytes that
//! reach new code, and by `tests/corpus.rs` on every test run, over the inputs that are kept in
//! `fuzz/corpus`. None of them asks for no more than "it does not panic": what is read in two ways must be
//! read alike, what we write must be read back as it was meant, and what has a bound must keep it.

pub mod bitcoin_miner;
pub mod bitcoin_pool;
pub mod config;
pub mod equihash_miner;
pub mod equihash_pool;
pub mod exchange;
pub mod hex;
mod input;
pub mod json;
pub mod line;
mod miner_side;
pub mod monero_miner;
pub mod monero_pool;
mod pool_side;
pub mod proxy_header;
pub mod schedule;
pub mod tls;
mod written;
