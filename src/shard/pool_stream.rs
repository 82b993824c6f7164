//! A pool link that the ring reads: its lines, and the TLS around them where there is any.
//!
//! What is for a plain pool is sent from the exchange's own buffer. For one with TLS a part of it is
//! encrypted, and no more before the socket has taken all of that part: so at most
//! [`ENCRYPTED_BYTES_MAX`] count as written that the kernel does not have yet.

use crate::exchange::{Exchange, LinkEnd, LinkKey};
use crate::proto::time::Now;
use crate::ring::{MinerRing, StreamId};
use crate::tls::client::{Agreed, ClientStream};
use crate::wire::line::{Tail, TailPool, cut};

/// What is encrypted at a time, in bytes of lines: four full records.
const ENCRYPTED_BYTES_MAX: usize = 64 * 1024;

/// Memory for decrypted bytes that a quiet link keeps.
const PLAIN_BYTES_KEPT: usize = 16 * 1024;

/// A pool link's connection.
pub(crate) struct PoolStream {
    pub(crate) id: StreamId,
    pub(crate) proxy: usize,
    pub(crate) link: LinkKey,
    tail: Tail,
    /// The pool takes no more bytes for now.
    pub(crate) blocked: bool,
    /// Whether it has said anything yet.
    heard: bool,
    tls: Option<Box<PoolTls>>,
}

/// The TLS of one link, once its handshake is done.
pub(crate) struct PoolTls {
    stream: ClientStream,
    /// What the pool said and nobody has heard yet.
    plain: Vec<u8>,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// Whether nobody asked who the pool is.
    pub(crate) insecure: bool,
}

impl PoolTls {
    /// A handshake that is done, with what has been read and not been sent on the way.
    pub(crate) fn new(
        stream: ClientStream,
        plain: Vec<u8>,
        unsent: Vec<u8>,
        insecure: bool,
    ) -> Self {
        Self {
            stream,
            plain,
            unsent,
            insecure,
        }
    }

    pub(crate) fn agreed(&self) -> Agreed {
        self.stream.agreed()
    }
}

impl PoolStream {
    pub(crate) fn new(id: StreamId, proxy: usize, link: LinkKey, tls: Option<PoolTls>) -> Self {
        Self {
            id,
            proxy,
            link,
            tail: Tail::default(),
            blocked: false,
            heard: false,
            tls: tls.map(Box::new),
        }
    }

    /// Tells the exchange what the pool said in these bytes. False if the connection is over.
    pub(crate) fn hear(
        &mut self,
        bytes: &mut [u8],
        tails: &mut TailPool,
        line_len_max: usize,
        exchange: &mut Exchange,
        now: Now,
    ) -> bool {
        let is_first = !self.heard;
        self.heard |= !bytes.is_empty();
        let Some(tls) = &mut self.tls else {
            if is_first && is_tls(bytes) {
                exchange.handle_link_closed(now, self.link, LinkEnd::Tls, TLS_UNEXPECTED);
                return false;
            }
            return self.hear_lines(bytes, tails, line_len_max, exchange, now);
        };
        let mut plain = std::mem::take(&mut tls.plain);
        let heard = tls.stream.handle_bytes(bytes, &mut plain, &mut tls.unsent);
        let closed = tls.stream.is_closed();
        // Lines that came ahead of the end count.
        let goes_on = self.hear_lines(&mut plain, tails, line_len_max, exchange, now);
        if let Some(tls) = &mut self.tls {
            plain.clear();
            plain.shrink_to(PLAIN_BYTES_KEPT);
            tls.plain = plain;
        }
        match heard {
            Ok(()) if closed => {
                exchange.handle_link_closed(now, self.link, LinkEnd::Closed, "");
                false
            }
            Ok(()) => goes_on,
            Err(error) => {
                let detail = format!("TLS: {error}");
                exchange.handle_link_closed(now, self.link, LinkEnd::Tls, &detail);
                false
            }
        }
    }

    fn hear_lines(
        &mut self,
        bytes: &mut [u8],
        tails: &mut TailPool,
        line_len_max: usize,
        exchange: &mut Exchange,
        now: Now,
    ) -> bool {
        let mut lines = cut(&mut self.tail, tails, bytes, line_len_max);
        while let Some(line) = lines.next() {
            let Ok(line) = line else {
                exchange.handle_link_closed(now, self.link, LinkEnd::LineTooLong, "");
                return false;
            };
            exchange.handle_link_line(now, self.link, line);
        }
        true
    }

    /// Why the connection ended, with what may be behind it: a pool with TLS takes our first line for a
    /// broken record, and as a rule closes without a word.
    pub(crate) fn why_ended(&self, detail: String) -> String {
        const SILENT: &str = "before the pool said a word; if it has TLS at this port, write \
            stratum+tls:// in its url";
        match detail.as_str() {
            _ if self.heard || self.tls.is_some() => detail,
            "" => SILENT.to_owned(),
            _ => format!("{detail}, {SILENT}"),
        }
    }

    /// Writes what the pool takes. False if the connection is over.
    pub(crate) fn write(
        &mut self,
        ring: &mut MinerRing,
        exchange: &mut Exchange,
        now: Now,
    ) -> bool {
        let written = match &mut self.tls {
            None => {
                let bytes = exchange.unwritten(self.link);
                if bytes.is_empty() {
                    return true;
                }
                let waiting = bytes.len();
                ring.send_stream(self.id, bytes).map(|sent| {
                    self.blocked = sent < waiting;
                    exchange.wrote(now, self.link, sent);
                })
            }
            Some(tls) => loop {
                if !tls.unsent.is_empty() {
                    match ring.send_stream(self.id, &tls.unsent) {
                        Ok(sent) => drop(tls.unsent.drain(..sent)),
                        Err(error) => break Err(error),
                    }
                    if !tls.unsent.is_empty() {
                        self.blocked = true;
                        break Ok(());
                    }
                }
                let bytes = part(exchange.unwritten(self.link));
                if bytes.is_empty() {
                    break Ok(());
                }
                if let Err(error) = tls.stream.encrypt(bytes, &mut tls.unsent) {
                    let detail = format!("TLS: {error}");
                    exchange.handle_link_closed(now, self.link, LinkEnd::Tls, &detail);
                    return false;
                }
                let len = bytes.len();
                exchange.wrote(now, self.link, len);
            },
        };
        if let Err(error) = &written {
            let detail = error.to_string();
            exchange.handle_link_closed(now, self.link, LinkEnd::Reset, &detail);
        }
        written.is_ok()
    }

    /// Ends the connection: says goodbye where TLS wants that, and gives back what it had.
    pub(crate) fn end(&mut self, ring: &mut MinerRing, tails: &mut TailPool) {
        self.tail.release(tails);
        if let Some(tls) = &mut self.tls
            && !self.blocked
        {
            tls.stream.close(&mut tls.unsent);
            // It is over in any case; whoever does not hear of it finds out by the FIN.
            drop(ring.send_stream(self.id, &tls.unsent));
        }
    }
}

/// Whether the first bytes of a pool are a record of TLS: an alert, which some have for our first line, or a
/// part of a handshake. No line begins so.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}

/// What is said of a pool that answers so.
const TLS_UNEXPECTED: &str = "the pool speaks TLS at this port: write stratum+tls:// in its url";

/// What is encrypted next: whole lines, where one ends early enough.
fn part(bytes: &[u8]) -> &[u8] {
    let Some(most) = bytes.get(..ENCRYPTED_BYTES_MAX) else {
        return bytes;
    };
    let end = most.iter().rposition(|&byte| byte == b'\n');
    end.and_then(|end| most.get(..=end)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_encrypted_whole_where_that_is_possible() {
        assert_eq!(part(b"a\nb"), b"a\nb");
        let long = [b'x'; ENCRYPTED_BYTES_MAX + 1];
        assert_eq!(part(&long).len(), ENCRYPTED_BYTES_MAX);
        let mut lines = vec![b'x'; 2 * ENCRYPTED_BYTES_MAX];
        lines[9] = b'\n';
        assert_eq!(part(&lines).len(), 10);
        lines[ENCRYPTED_BYTES_MAX - 1] = b'\n';
        assert_eq!(part(&lines).len(), ENCRYPTED_BYTES_MAX);
    }
}
