//! What TLS to miners counts.

use crate::tls::TlsFailure;

/// The TLS of one proxy's miners on one shard, or on all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsCounters {
    /// Miners connected over TLS, now.
    pub miners: u64,
    /// Whole hellos that wait for their handshake to begin, now.
    pub queued: u64,
    /// Handshakes that have begun and not ended, now.
    pub in_flight: u64,
    /// Handshakes begun.
    pub started: u64,
    /// Handshakes done in full.
    pub full: u64,
    /// Handshakes shortened by a ticket.
    pub resumed: u64,
    /// Handshakes that had to wait since others were in front of the bounds.
    pub paced: u64,
    /// Sends of ciphertext that were not taken whole, and whose rest was kept.
    pub kept: u64,
    /// Connections that failed, by [`TlsFailure`].
    pub failures: [u64; TlsFailure::ALL.len()],
}

impl TlsCounters {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (sum, cell) in self.cells_mut().zip(other.cells_mut()) {
            *sum += *cell;
        }
    }

    /// The failures with their labels.
    pub fn failures_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = TlsFailure::ALL.iter().map(|failure| failure.reason());
        reasons.zip(self.failures)
    }

    pub(super) fn cells_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self {
            miners,
            queued,
            in_flight,
            started,
            full,
            resumed,
            paced,
            kept,
            failures,
        } = self;
        let single = [
            miners, queued, in_flight, started, full, resumed, paced, kept,
        ];
        single.into_iter().chain(failures)
    }
}
