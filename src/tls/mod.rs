//! TLS without a socket: ciphertext in, plaintext out, and the reverse.
//!
//! - `hello`: whether a peer's first flight is whole, so that half of one costs nothing.
//! - `records`: the records of one connection, whichever side we are.
//! - `server`: the session of one miner, in front of that.
//! - `certificates`: what the operator's PEM files hold, and the [`Acceptor`] that begins sessions with it.
//! - `expiry`: until when certificates are good.
//! - `failure`: why a connection failed, as a word for logs and metrics.
//! - `words`: what is wrong with a file or a miner's certificate, for the operator.
//! - [`client`]: our side of a link to a pool, likewise; [`roots`] says whom to believe.
//!
//! rustls does the work, with ring's cryptography and without its own buffers.

mod certificates;
pub mod client;
mod expiry;
mod failure;
mod hello;
mod records;
pub mod roots;
mod server;
mod trust;
mod words;

pub use certificates::{
    Acceptor, CertificateFile, FileError, KeyPairFiles, PemFile, ServerFiles, Tickets,
};
pub use expiry::Expiry;
pub use failure::TlsFailure;
pub use hello::{HANDSHAKE_RECORD, HELLO_LEN_MAX, Hello, look};
pub use records::{Event, RECORD_LEN_MAX, encrypted_len_max};
pub use server::{ServerSession, TlsError};
