//! TLS without a socket: ciphertext in, plaintext out, and the reverse.
//!
//! - `hello`: whether a peer's first flight is whole, so that half of one costs nothing.
//! - `server`: the session of one miner.
//! - `certificates`: what the operator's PEM files hold, and the [`Acceptor`] that begins sessions with it.
//! - `failure`: why a connection failed, as a word for logs and metrics.
//! - [`client`]: our side of a link to a pool; [`roots`] says whom to believe.
//!
//! rustls does the work, with ring's cryptography and without its own buffers.

mod certificates;
pub mod client;
mod failure;
mod hello;
pub mod roots;
mod server;
mod trust;

pub use certificates::{
    Acceptor, CertificateFile, Expiry, FileError, KeyPairFiles, ServerFiles, Tickets,
};
pub use failure::TlsFailure;
pub use hello::{HANDSHAKE_RECORD, HELLO_LEN_MAX, Hello, look};
pub use server::{Event, RECORD_LEN_MAX, ServerSession, TlsError, encrypted_len_max};
