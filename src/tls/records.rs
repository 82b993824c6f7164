//! The records of one connection, in the caller's buffers: what both sides of TLS have in common.
//!
//! rustls' unbuffered API says what is next to be done and leaves the bytes to us. It keeps the place of what
//! it has seen of a message that is not whole, so it must be given those bytes again each time, in front of
//! what came since, and when something is written too. [`Records`] keeps just them, and nothing else.
//!
//! ```text
//!  receive ──▶ tail + bytes ──▶ rustls ──▶ Event     what it is done with is let go, the rest is the tail
//!                                  └─────▶ output    handshake messages, tickets, alerts
//!  encrypt ──▶ tail ──▶ rustls ──▶ out
//! ```
//!
//! Invariant: `tail` is what rustls was given and not done with, and at most [`Side::TAIL_LEN_MAX`] bytes.

use std::fmt;
use std::mem;
use std::ops::DerefMut;

use rustls::Error;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedConnectionCommon,
    UnbufferedStatus, WriteTraffic,
};

/// The longest record: 16 KiB, what a cipher may add, and the header (RFC 5246, 6.2.3).
pub const RECORD_LEN_MAX: usize = 16 * 1024 + 2048 + 5;

/// Plaintext in one record (RFC 8446, 5.1).
const PLAINTEXT_LEN_MAX: usize = 16 * 1024;

/// What a record adds to its plaintext: a header of 5 bytes, in TLS 1.2 a nonce of 8, in TLS 1.3 a type, and
/// a tag of 16.
const RECORD_OVERHEAD: usize = 32;

/// Room for a message that rustls puts in front of data, as a new key, or behind it, as an alert.
const ASIDE_LEN_MAX: usize = 128;

/// Messages of its own that rustls may have when we want to write.
const WRITE_STEPS_MAX: usize = 8;

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
    /// The peer will send no more. Comes once, and last.
    PeerClosed,
}

/// One end of a connection, as rustls has it.
pub(super) trait Side: DerefMut<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data;

    /// What is kept at most of a message that is not whole.
    const TAIL_LEN_MAX: usize;

    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    /// A miner's certificate is the longest thing that it says before it mines.
    const TAIL_LEN_MAX: usize = RECORD_LEN_MAX;

    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    /// A pool's chain of certificates: rustls takes a message of 64 KiB, which is five records.
    const TAIL_LEN_MAX: usize = 5 * RECORD_LEN_MAX;

    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(bytes)
    }
}

/// Why a connection can't go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum RecordsError {
    #[error(transparent)]
    Rustls(#[from] Error),
    #[error("a message longer than any should be")]
    MessageTooLong,
    /// TLS 1.2 can't change its keys, and AES-GCM is safe for 2^24 records with one.
    #[error("as much was said as the keys of TLS 1.2 are good for; a new connection has new ones")]
    KeysUsedUp,
    #[error("the handshake is not done, or the connection is over")]
    NotOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshaking,
    Open,
    /// Nothing is received or sent any more: it has failed, or we have said goodbye.
    Over,
}

/// The records of one connection.
pub(super) struct Records<S> {
    connection: S,
    /// What was received and rustls is not done with; empty between two messages.
    tail: Vec<u8>,
    stage: Stage,
    peer_closed: bool,
}

impl<S> fmt::Debug for Records<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("stage", &self.stage)
            .field("tail", &self.tail.len())
            .field("peer_closed", &self.peer_closed)
            .finish_non_exhaustive()
    }
}

impl<S: Side> Records<S> {
    pub(super) const fn new(connection: S) -> Self {
        Self {
            connection,
            tail: Vec::new(),
            stage: Stage::Handshaking,
            peer_closed: false,
        }
    }

    /// For what was agreed on.
    pub(super) const fn connection(&self) -> &S {
        &self.connection
    }

    /// Whether the handshake is done, and the connection not over.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether it has failed, which was told, or has been closed by us.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether the peer has said that it says no more.
    pub(super) const fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Bytes of a message that is not whole.
    pub(super) const fn tail_len(&self) -> usize {
        self.tail.len()
    }

    /// Takes what was received, tells what it meant, and appends what is to be sent to `output`. What comes
    /// behind the end is let go.
    ///
    /// # Errors
    ///
    /// The connection is over: the output ends with an alert, if there is one for it.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        output: &mut Vec<u8>,
        mut tell: impl FnMut(Event<'_>),
    ) -> Result<(), RecordsError> {
        if self.stage == Stage::Over || self.peer_closed {
            return Ok(());
        }
        if self.tail.is_empty() {
            let used = self.process(bytes, output, &mut tell)?;
            let rest = bytes.get(used..).unwrap_or_default();
            self.tail.extend_from_slice(rest);
        } else {
            let mut tail = mem::take(&mut self.tail);
            tail.extend_from_slice(bytes);
            let used = self.process(&mut tail, output, &mut tell)?;
            tail.drain(..used);
            // A quiet connection owns no buffer.
            if !tail.is_empty() {
                self.tail = tail;
            }
        }
        if self.peer_closed {
            self.tail = Vec::new();
        } else if self.tail.len() > S::TAIL_LEN_MAX {
            self.end();
            return Err(RecordsError::MessageTooLong);
        }
        Ok(())
    }

    /// Lets rustls work through these bytes; returns how many of them it is done with.
    fn process(
        &mut self,
        bytes: &mut [u8],
        output: &mut Vec<u8>,
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, RecordsError> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.connection.process(rest);
            let mut goes_on = true;
            let outcome = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    // Without early data there is no plaintext before the handshake's end.
                    if self.stage == Stage::Handshaking {
                        self.stage = Stage::Open;
                        tell(Event::Opened);
                    }
                    loop {
                        match traffic.next_record() {
                            Some(Ok(record)) => {
                                discard += record.discard;
                                tell(Event::Plaintext(record.payload));
                            }
                            Some(Err(error)) => break Err(error),
                            None => break Ok(()),
                        }
                    }
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
                    self.peer_closed = true;
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
                let rest = bytes.get_mut(used..).unwrap_or_default();
                self.take_alert(rest, output);
                self.end();
                return Err(RecordsError::Rustls(error));
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
            let state = self.connection.process(bytes).state;
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                return;
            };
            append(&mut data, output);
        }
    }

    /// Encrypts `plaintext` into `out`, which has [`encrypted_len_max`] bytes for it, and returns how many of
    /// them are to be sent, whatever else comes of it.
    pub(super) fn encrypt(
        &mut self,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> (usize, Result<(), RecordsError>) {
        self.write(out, |traffic, out| traffic.encrypt(plaintext, out))
    }

    /// Says that we will send no more, into `out` of [`encrypted_len_max`] of nothing. The connection is over
    /// with that.
    pub(super) fn close_notify(&mut self, out: &mut [u8]) -> usize {
        let (len, _) = self.write(out, |traffic, out| traffic.queue_close_notify(out));
        self.end();
        len
    }

    fn write(
        &mut self,
        out: &mut [u8],
        mut write: impl FnMut(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> (usize, Result<(), RecordsError>) {
        if self.stage != Stage::Open {
            return (0, Err(RecordsError::NotOpen));
        }
        let mut written = 0;
        let mut failed = None;
        for _ in 0..WRITE_STEPS_MAX {
            let out = out.get_mut(written..).unwrap_or_default();
            // With the tail, of which rustls may know a part.
            match self.connection.process(&mut self.tail).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) if failed.is_none() => {
                    match write(&mut traffic, out) {
                        Ok(len) => return (written + len, Ok(())),
                        // It goes on for the alert.
                        Err(EncryptError::EncryptExhausted) => {
                            failed = Some(RecordsError::KeysUsedUp);
                        }
                        Err(EncryptError::InsufficientSize(error)) => {
                            debug_assert!(false, "{error:?} and {} bytes of room", out.len());
                            break;
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(out) {
                    Ok(len) => written += len,
                    Err(_) => break,
                },
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => break,
                Err(error) => {
                    failed = Some(RecordsError::Rustls(error));
                    break;
                }
            }
        }
        self.end();
        (written, Err(failed.unwrap_or(RecordsError::NotOpen)))
    }

    /// Nothing is received or sent any more.
    fn end(&mut self) {
        self.stage = Stage::Over;
        self.tail = Vec::new();
    }
}

/// Appends a message of rustls' own.
fn append<Data>(data: &mut EncodeTlsData<'_, Data>, output: &mut Vec<u8>) {
    let start = output.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        output.resize(start + needed.required_size, 0);
        let place = output.get_mut(start..).unwrap_or_default();
        let len = data.encode(place).unwrap_or_default();
        output.truncate(start + len);
    }
}

#[cfg(test)]
pub(super) mod tests;
