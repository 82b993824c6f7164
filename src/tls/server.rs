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

use std::fmt;
use std::mem;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{HandshakeKind, ProtocolVersion};

use super::failure::TlsFailure;

/// The longest record: 16 KiB, what a cipher may add, and the header (RFC 5246, 6.2.3). No more than one
/// that is not whole is kept.
pub const RECORD_LEN_MAX: usize = 16 * 1024 + 2048 + 5;

/// Plaintext in one record (RFC 8446, 5.1).
const PLAINTEXT_LEN_MAX: usize = 16 * 1024;

/// What a record adds to its plaintext: a header of 5 bytes, in TLS 1.2 a nonce of 8, in TLS 1.3 a type, and
/// a tag of 16.
const RECORD_OVERHEAD: usize = 32;

/// Room for a message that rustls puts in front of data, as a new key.
const ASIDE_LEN_MAX: usize = 128;

/// Memory that so much plaintext needs at most when it is encrypted.
#[must_use]
pub const fn encrypted_len_max(plaintext: usize) -> usize {
    plaintext + (plaintext / PLAINTEXT_LEN_MAX + 1) * RECORD_OVERHEAD + ASIDE_LEN_MAX
}

/// What received bytes meant.
#[derive(Debug)]
pub enum Event<'a> {
    /// The handshake is done. Comes once, and first.
    Opened,
    /// Bytes of the peer.
    Plaintext(&'a [u8]),
    /// The peer will send no more.
    PeerClosed,
}

/// A session that can't go on. Its last alert, if it has one, is in the output.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TlsError {
    /// Which kind.
    pub failure: TlsFailure,
    /// In rustls' words.
    pub detail: String,
}

impl TlsError {
    fn new(error: &rustls::Error) -> Self {
        Self {
            failure: TlsFailure::of(error),
            detail: error.to_string(),
        }
    }

    fn protocol(detail: &str) -> Self {
        Self {
            failure: TlsFailure::Protocol,
            detail: detail.to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshaking,
    Open,
    /// Nothing can be received or sent any more.
    Over,
}

/// One miner's TLS, from its whole `ClientHello` on.
pub struct ServerSession {
    connection: UnbufferedServerConnection,
    /// What was received and rustls could not use yet; empty between two records.
    tail: Vec<u8>,
    stage: Stage,
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSession")
            .field("stage", &self.stage)
            .field("tail", &self.tail.len())
            .finish_non_exhaustive()
    }
}

impl ServerSession {
    pub(super) const fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection,
            tail: Vec::new(),
            stage: Stage::Handshaking,
        }
    }

    /// Whether the handshake is done, and the session not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the peer came with a ticket.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// `TLS 1.2` or `TLS 1.3`; empty before it is known.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "",
        }
    }

    /// Bytes of a record that is not whole.
    #[must_use]
    pub fn tail_len(&self) -> usize {
        self.tail.len()
    }

    /// Takes what was received, tells what it meant, and appends what is to be sent to `output`.
    ///
    /// # Errors
    ///
    /// The session is over: send the output, which ends with an alert, and close.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        output: &mut Vec<u8>,
        mut tell: impl FnMut(Event<'_>),
    ) -> Result<(), TlsError> {
        if self.stage == Stage::Over {
            return Ok(());
        }
        let left = if self.tail.is_empty() {
            let used = self.process(bytes, output, &mut tell)?;
            let rest = bytes.get(used..).unwrap_or_default();
            self.tail.extend_from_slice(rest);
            rest.len()
        } else {
            let mut tail = mem::take(&mut self.tail);
            tail.extend_from_slice(bytes);
            let used = self.process(&mut tail, output, &mut tell)?;
            tail.drain(..used);
            // A quiet session owns no buffer.
            if !tail.is_empty() {
                self.tail = tail;
            }
            self.tail.len()
        };
        if left > RECORD_LEN_MAX {
            self.stage = Stage::Over;
            return Err(TlsError::protocol("a message longer than a record"));
        }
        Ok(())
    }

    /// Lets rustls work through these bytes; returns how many of them it is done with. The others are to be
    /// given again, in front of what comes next.
    fn process(
        &mut self,
        bytes: &mut [u8],
        output: &mut Vec<u8>,
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            let mut discard = discard;
            let mut goes_on = true;
            let outcome = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    // Without early data there is no plaintext before the handshake's end.
                    if self.stage == Stage::Handshaking {
                        self.stage = Stage::Open;
                        tell(Event::Opened);
                    }
                    let mut outcome = Ok(());
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                tell(Event::Plaintext(record.payload));
                            }
                            Err(error) => {
                                outcome = Err(error);
                                break;
                            }
                        }
                    }
                    outcome
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut data, output);
                    Ok(())
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(())
                }
                Ok(ConnectionState::PeerClosed) => {
                    tell(Event::PeerClosed);
                    Ok(())
                }
                // Blocked, or ready to write, or closed by both; early data is never offered.
                Ok(_) => {
                    goes_on = false;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.stage = Stage::Over;
                let rest = bytes.get_mut(used..).unwrap_or_default();
                self.take_alert(rest, output);
                return Err(TlsError::new(&error));
            }
            used += discard;
            if self.stage == Stage::Handshaking && !self.connection.is_handshaking() {
                self.stage = Stage::Open;
                tell(Event::Opened);
            }
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// What rustls wants the peer to know of an error. The bytes are those at which it arose: rustls counts
    /// on them being there.
    fn take_alert(&mut self, bytes: &mut [u8], output: &mut Vec<u8>) {
        // Only while there is something: rustls would look at the bytes again.
        while self.connection.wants_write() {
            let state = self.connection.process_tls_records(bytes).state;
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                return;
            };
            append(&mut data, output);
        }
    }

    /// Encrypts `plaintext` into `out`, which has [`encrypted_len_max`] bytes, and returns how many of them
    /// are to be sent; none before the handshake is done or when the session is over.
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut [u8]) -> usize {
        self.write(out, |traffic, out| traffic.encrypt(plaintext, out))
    }

    /// Says that we will send no more, into `out` of [`encrypted_len_max`] of nothing.
    pub fn close_notify(&mut self, out: &mut [u8]) -> usize {
        self.write(out, |traffic, out| traffic.queue_close_notify(out))
    }

    fn write(
        &mut self,
        out: &mut [u8],
        mut write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> usize {
        if self.stage != Stage::Open {
            return 0;
        }
        let mut written = 0;
        for _ in 0..WRITE_STEPS_MAX {
            let out = out.get_mut(written..).unwrap_or_default();
            // With the tail, of which rustls may know a part.
            match self.connection.process_tls_records(&mut self.tail).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let last = write(&mut traffic, out);
                    debug_assert!(last.is_ok(), "{last:?} with {} bytes", out.len());
                    return match last {
                        Ok(len) => written + len,
                        Err(_) => {
                            self.stage = Stage::Over;
                            written
                        }
                    };
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(out) {
                    Ok(len) => written += len,
                    Err(_) => break,
                },
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => break,
            }
        }
        self.stage = Stage::Over;
        written
    }
}

/// Messages of its own that rustls may have when we want to write.
const WRITE_STEPS_MAX: usize = 8;

fn append(data: &mut EncodeTlsData<'_, ServerConnectionData>, output: &mut Vec<u8>) {
    let start = output.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        output.resize(start + needed.required_size, 0);
        let place = output.get_mut(start..).unwrap_or_default();
        let len = data.encode(place).unwrap_or_default();
        output.truncate(start + len);
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
