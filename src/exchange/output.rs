//! The bytes for one pool link: what is still to be written, and what may have to be written again.

use crate::exchange::pending::PendingShares;

/// Shares that were written are kept until the pool answers them, so that they can go out once more
/// when the session is resumed. Above this many bytes the oldest can't: some pools never answer.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes let go at the front before the rest is moved there.
const GAP_BYTES_MAX: usize = 64 * 1024;

/// Memory for bytes that a quiet link keeps: a few hundred shares.
const CAPACITY_KEPT: usize = 512 * 1024;

/// One link's output as a stream: shares are appended at its end and keep their place in it.
///
/// ```text
/// base              written             end
/// |  gap |  kept    |     queued        |
/// ```
#[derive(Debug, Default)]
pub(crate) struct LinkOutput {
    bytes: Vec<u8>,
    /// The stream position of `bytes[0]`.
    base: u64,
    /// Bytes at the front that nobody needs any more.
    gap: usize,
    /// Bytes from the front that were written.
    written: usize,
}

impl LinkOutput {
    /// The stream position behind the last byte.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The buffer, to append to.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes back everything from this position on.
    pub(crate) fn truncate(&mut self, position: u64) {
        let len = position.saturating_sub(self.base);
        self.bytes
            .truncate(usize::try_from(len).unwrap_or(usize::MAX));
    }

    /// What is to be written next.
    #[must_use]
    pub(crate) fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Says that so many bytes were written.
    pub(crate) fn wrote(&mut self, len: usize) {
        self.written = (self.written + len).min(self.bytes.len());
    }

    /// Lets go of what was written and is answered: everything before the oldest pending share.
    pub(crate) fn release(&mut self, pending: &PendingShares) {
        let needed = pending
            .oldest()
            .map_or_else(|| self.end(), |oldest| oldest.start);
        let needed = usize::try_from(needed.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let kept_max = self.written.saturating_sub(KEPT_BYTES_MAX);
        self.gap = self.gap.max(needed.max(kept_max).min(self.written));
        if self.gap == self.bytes.len() {
            self.base += self.gap as u64;
            self.bytes.clear();
            self.written = 0;
            self.gap = 0;
        } else if self.gap > GAP_BYTES_MAX && self.gap > self.bytes.len() / 2 {
            self.base += self.gap as u64;
            self.bytes.drain(..self.gap);
            self.written -= self.gap;
            self.gap = 0;
        }
    }

    /// What was written goes out no more, were the session taken up again: it was found for other nonce bytes
    /// than the session has now. The shares stay pending, for the pool may still answer them.
    pub(crate) const fn let_go_of_written(&mut self) {
        self.gap = self.written;
    }

    /// Gives back memory that a burst needed and that lies idle now. Not for each share: for a tick.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > CAPACITY_KEPT && self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes
                .shrink_to(CAPACITY_KEPT.max(2 * self.bytes.len()));
        }
    }

    /// Prepares for a resumed session: only unanswered shares remain, all of them unwritten. Returns
    /// how many go out for the second time.
    ///
    /// A share whose bytes were let go stays pending and is answered by its time-out.
    pub(crate) fn rewind(&mut self, pending: &mut PendingShares) -> usize {
        let mut again = Vec::new();
        let mut resent = 0;
        let (base, end) = (self.base, self.end());
        for share in pending.iter_mut() {
            let place = share
                .start
                .checked_sub(base)
                .and_then(|start| usize::try_from(start).ok());
            let line = place
                .filter(|&start| start >= self.gap)
                .and_then(|start| self.bytes.get(start..start + share.len));
            let (Some(start), Some(line)) = (place, line) else {
                continue;
            };
            if start < self.written {
                share.resent = true;
                resent += 1;
            }
            share.start = end + again.len() as u64;
            again.extend_from_slice(line);
        }
        self.base = end;
        self.bytes = again;
        self.gap = 0;
        self.written = 0;
        resent
    }

    /// Drops everything: the session is over.
    pub(crate) fn clear(&mut self) {
        self.base = self.end();
        self.bytes.clear();
        self.gap = 0;
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::facts::MinerToken;
    use crate::exchange::pending::{Owner, Pending};
    use crate::wire::request_id::RequestId;

    fn share(output: &mut LinkOutput, pending: &mut PendingShares, line: &[u8]) -> u64 {
        let id = pending.next_id();
        let start = output.end();
        output.buffer().extend_from_slice(line);
        pending.push(Pending {
            owner: Owner::Miner(MinerToken {
                index: 0,
                generation: 0,
            }),
            id: RequestId::NULL,
            since: std::time::Duration::ZERO,
            start,
            len: line.len(),
            work: 1,
            resent: false,
            answered: false,
            worker: 0,
            account: None,
        });
        id
    }

    #[test]
    fn a_resumed_session_sends_what_was_not_answered_and_nothing_else() {
        let mut output = LinkOutput::default();
        let mut pending = PendingShares::default();
        let _first = share(&mut output, &mut pending, b"one\n");
        let second = share(&mut output, &mut pending, b"two\n");
        share(&mut output, &mut pending, b"three\n");
        output.wrote(9);
        pending.take(second).unwrap();
        output.release(&pending);
        assert_eq!(output.rewind(&mut pending), 2);
        assert_eq!(output.unwritten(), b"one\nthree\n");
        assert_eq!(output.rewind(&mut pending), 0, "nothing was written since");
        assert_eq!(output.unwritten(), b"one\nthree\n");
    }

    #[test]
    fn a_session_with_other_bytes_sends_only_what_was_not_written() {
        let mut output = LinkOutput::default();
        let mut pending = PendingShares::default();
        let first = share(&mut output, &mut pending, b"one\n");
        share(&mut output, &mut pending, b"two\n");
        output.wrote(4);
        output.let_go_of_written();
        share(&mut output, &mut pending, b"three\n");
        assert_eq!(output.rewind(&mut pending), 0);
        assert_eq!(output.unwritten(), b"two\nthree\n");
        assert!(pending.take(first).is_some(), "its answer may still come");
    }

    #[test]
    fn what_is_answered_is_let_go() {
        let mut output = LinkOutput::default();
        let mut pending = PendingShares::default();
        let line = [b'x'; 3000];
        for _ in 0..1000 {
            let id = share(&mut output, &mut pending, &line);
            output.wrote(line.len());
            if id > SHARES_BEHIND {
                pending.take(id - SHARES_BEHIND);
            }
            output.release(&pending);
        }
        assert!(output.bytes.len() < 40 * line.len() + 3 * GAP_BYTES_MAX);
    }
    const SHARES_BEHIND: u64 = 30;

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let mut output = LinkOutput::default();
        let mut pending = PendingShares::default();
        let line = [b'x'; 3000];
        for _ in 0..5000 {
            share(&mut output, &mut pending, &line);
        }
        output.wrote(5000 * line.len());
        output.shrink();
        assert!(output.bytes.capacity() > 5000 * line.len());
        while !pending.is_empty() {
            pending.take(pending.oldest_id()).unwrap();
        }
        output.release(&pending);
        output.shrink();
        assert!(output.bytes.capacity() <= CAPACITY_KEPT);
    }

    #[test]
    fn a_share_taken_back_leaves_no_trace() {
        let mut output = LinkOutput::default();
        output.buffer().extend_from_slice(b"kept\n");
        let end = output.end();
        output.buffer().extend_from_slice(b"gone\n");
        output.truncate(end);
        assert_eq!(output.unwritten(), b"kept\n");
    }
}
