//! A pool that can be killed, stopped and started again: a process of its own, for `loadgen scenario`.
//!
//! - [`judge`]: what it says to a line. Pure.
//! - [`serve`]: the process: sockets, time and the commands of who started it.
//! - [`process`]: that process, as who started it sees it.
//!
//! Nothing that it must know after a restart is kept anywhere: its jobs follow from the time, and a
//! session's id is the session's nonce_1. So a pool that comes back with its old nonce space has forgotten
//! nothing but which shares it took, and one with another space knows no session and no job from before.

pub(crate) mod judge;
pub(crate) mod process;
pub(crate) mod serve;
