//! The TLS of one miner: ciphertext in, plaintext out, and the reverse.
//!
//! A [`ServerSession`] knows no socket. What was received is given to it where it lies, and is decrypted
//! there; only the beginning of a record whose end has not come is copied, and kept for as long. What is to
//! be sent is encrypted into the caller's memory. An idle session owns nothing but rustls' own state, about
//! 3 KiB.
//!
//! ```text
//!  receive(ciphertext) ──▶ Event::Opened, Event::Plaintext, Event::PeerClosed
//!                     └──▶ output: the handshake's messages, tickets, alerts
//!  encrypt(plaintext)  ──▶ records, to be sent in this order and behind that output
//! ```

use rustls::server::UnbufferedServerConnection;
use rustls::{HandshakeKind, ProtocolVersion};

use super::failure::TlsFailure;
use super::records::{Event, Records, RecordsError};
use super::words::of_miner;

/// A session that can't go on. Its last alert, if it has one, is in the output.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TlsError {
    /// Which kind.
    pub failure: TlsFailure,
    /// In words for an operator where it is about the peer's certificate, else in rustls'.
    pub detail: String,
}

impl TlsError {
    fn new(error: &RecordsError) -> Self {
        Self {
            failure: TlsFailure::of(error),
            detail: match error {
                RecordsError::Rustls(error) => of_miner(error),
                _ => None,
            }
            .unwrap_or_else(|| error.to_string()),
        }
    }
}

/// One miner's TLS, from its whole `ClientHello` on.
#[derive(Debug)]
pub struct ServerSession(Records<UnbufferedServerConnection>);

impl ServerSession {
    pub(super) const fn new(connection: UnbufferedServerConnection) -> Self {
        Self(Records::new(connection))
    }

    /// Whether the handshake is done, and the session not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Whether the peer came with a ticket.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.0.connection().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// `TLS 1.2` or `TLS 1.3`; empty before it is known.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.0.connection().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "",
        }
    }

    /// Bytes of a message that is not whole; at most [`RECORD_LEN_MAX`](super::RECORD_LEN_MAX).
    #[must_use]
    pub fn tail_len(&self) -> usize {
        self.0.tail_len()
    }

    /// Takes what was received, tells what it meant, and appends what is to be sent to `output`. What comes
    /// behind the peer's or our end is let go.
    ///
    /// # Errors
    ///
    /// The session is over, which is told once: send the output, which ends with an alert, and close.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        output: &mut Vec<u8>,
        tell: impl FnMut(Event<'_>),
    ) -> Result<(), TlsError> {
        let received = self.0.receive(bytes, output, tell);
        received.map_err(|error| TlsError::new(&error))
    }

    /// Encrypts `plaintext` into `out`, which has [`encrypted_len_max`](super::encrypted_len_max) bytes, and
    /// returns how many of them are to be sent, in any case: before an error it is the alert. None when the
    /// session is over.
    ///
    /// The error is that the session is over with this, as it is after 2^24 records of TLS 1.2, or that the
    /// handshake is not done. It is told once: send what there is, and close.
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut [u8]) -> (usize, Result<(), TlsError>) {
        if self.0.is_over() {
            return (0, Ok(()));
        }
        let (len, outcome) = self.0.encrypt(plaintext, out);
        (len, outcome.map_err(|error| TlsError::new(&error)))
    }

    /// Says that we will send no more, into `out` of [`encrypted_len_max`](super::encrypted_len_max) of
    /// nothing, and returns how many bytes of it are to be sent. The session is over.
    pub fn close_notify(&mut self, out: &mut [u8]) -> usize {
        self.0.close_notify(out)
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
pub(super) mod tests;
