//! The exchange's answers, put into the ring; encrypted on the way where the miner has TLS.

use std::rc::Rc;

use crate::exchange::{CloseHow, CloseReason, MinerToken, Tag, Transmit};
use crate::ring::{Close, MinerRing, Token};
use crate::shard::connection::Connection;
use crate::shard::miner_tls::MinerTls;
use crate::tls::{ServerSession, TlsError, encrypted_len_max};

/// What the exchange sends with.
pub(crate) struct Sender<'a> {
    pub(crate) ring: &'a mut MinerRing,
    /// Empty where no listener has TLS: then there is nothing to look for.
    pub(crate) connections: &'a mut [Option<Connection>],
    /// For pieces that go into one record.
    pub(crate) scratch: &'a mut Vec<u8>,
    /// Whose session ended with what it was to say.
    pub(crate) failed: &'a mut Vec<(Token, TlsError)>,
}

const fn ring_token(miner: MinerToken) -> Token {
    Token {
        index: miner.index,
        generation: miner.generation,
    }
}

/// The TLS of a miner, if it has.
fn tls_of(connections: &mut [Option<Connection>], token: Token) -> Option<&mut MinerTls> {
    let connection = connections.get_mut(token.index as usize)?.as_mut()?;
    connection
        .tls
        .as_deref_mut()
        .filter(|_| connection.generation == token.generation)
}

fn session_of(connections: &mut [Option<Connection>], token: Token) -> Option<&mut ServerSession> {
    tls_of(connections, token)?.session.as_deref_mut()
}

/// Encrypts straight into the ring's memory.
///
/// # Errors
///
/// The session is over with this, and to be closed.
fn send_encrypted(
    ring: &mut MinerRing,
    session: &mut ServerSession,
    token: Token,
    bytes: &[u8],
) -> Result<(), TlsError> {
    let len_max = encrypted_len_max(bytes.len());
    let mut outcome = Ok(());
    ring.send_written(token, len_max, 0, |place| {
        let (len, encrypted) = session.encrypt(bytes, place);
        outcome = encrypted;
        len
    });
    outcome
}

impl Transmit for Sender<'_> {
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, tag: Tag) {
        let token = ring_token(miner);
        match session_of(self.connections, token) {
            None => self.ring.send_shared(token, line, tag as u8),
            Some(session) => {
                let sent = send_encrypted(self.ring, session, token, line);
                self.failed.extend(sent.err().map(|error| (token, error)));
            }
        }
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        let token = ring_token(miner);
        let Some(session) = session_of(self.connections, token) else {
            let mut tagged: [(&[u8], u8); 6] = [(&[], 0); 6];
            for (tagged, (bytes, tag)) in tagged.iter_mut().zip(pieces) {
                *tagged = (bytes, *tag as u8);
            }
            return self.ring.send_copied(token, &tagged[..pieces.len()]);
        };
        let sent = if let [(bytes, _)] = pieces {
            send_encrypted(self.ring, session, token, bytes)
        } else {
            // One record for all of them costs less than one for each.
            self.scratch.clear();
            for (bytes, _) in pieces {
                self.scratch.extend_from_slice(bytes);
            }
            let sent = send_encrypted(self.ring, session, token, self.scratch);
            self.scratch.shrink_to(SCRATCH_KEPT);
            sent
        };
        self.failed.extend(sent.err().map(|error| (token, error)));
    }

    fn close(&mut self, miner: MinerToken, how: CloseHow, _: CloseReason) {
        let token = ring_token(miner);
        let how = match how {
            CloseHow::Graceful => Close::Graceful,
            CloseHow::Reset => Close::Reset,
        };
        if how == Close::Graceful
            && let Some(tls) = tls_of(self.connections, token)
            && !tls.is_blocked
            && let Some(session) = tls.session.as_deref_mut()
        {
            let len_max = encrypted_len_max(0);
            self.ring
                .send_written(token, len_max, 0, |place| session.close_notify(place));
        }
        self.ring.close(token, how);
    }
}

/// Memory for pieces that is kept for the next ones.
const SCRATCH_KEPT: usize = 64 * 1024;
