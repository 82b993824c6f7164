//! A mining proxy for large farms: thread-per-core on io_uring.
//!
//! What the protocol says is pure; what the machine does is a thin shell around it. Read from the
//! inside out:
//!
//! - [`wire`]: bytes. Lines, JSON, hex, request ids.
//! - [`proto`]: the rules of one link. Sessions, jobs, shares, targets, and the dialects of coins.
//! - [`exchange`]: the proxy itself. Joins the miners and the pool links of one shard; driven with
//!   events, answers with actions. No socket, no clock, no async.
//! - [`config`]: what the operator wrote, checked.
//! - [`ring`]: the miners' sockets, on io_uring. The one home of `unsafe`.
//! - [`tls`]: TLS without a socket: ciphertext in, plaintext out.
//! - [`metrics`]: counters that others read, and the admin page.
//! - [`shard`]: the shell. One pinned thread that drives an exchange with a ring.
//! - [`practice`]: the embedded pool, for a first run, for tests and for load.

#[macro_use]
mod reasons;

pub mod config;
pub mod exchange;
pub mod metrics;
pub mod practice;
pub mod proto;
pub mod ring;
pub mod shard;
pub mod tls;
pub mod wire;
