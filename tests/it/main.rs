//! End to end: the real binary between scripted pools and scripted miners, over loopback.
//!
//! Each test starts its own proxy on port 0 and reads like a script: what one side says, what the
//! other side must hear. Nothing waits for a time to pass where it can wait for a condition; every
//! wait has a deadline. `support` holds the actors.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read the clock for their deadlines, and a failed unwrap is a failed test"
)]

mod support;

mod auth;
mod bad_input;
mod bitcoin;
mod blocked;
mod busy_pool;
mod check;
mod cli;
mod conduct;
mod door;
mod failover;
mod fairness;
mod flood;
mod handshake;
mod idle;
mod jobs;
mod limits;
mod many;
mod mesh;
mod metrics;
mod monero;
mod pool_tls;
mod practice;
mod proxies;
mod regression;
mod reload;
mod sandbox;
mod secrets;
mod shares;
mod shutdown;
mod tls;
mod tls_pressure;
mod vector;
mod warm;
