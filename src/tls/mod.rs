//! TLS by rustls: bytes in, bytes out, no socket and no thread.
//!
//! [`client`] is our side of a link to a pool, [`roots`] says whom to believe.

pub mod client;
pub mod roots;
mod trust;
