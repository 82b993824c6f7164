//! How often a ring met its bounds.

/// Counts since the ring was made. Each is a bound that was hit or a thing that was dropped, so that
/// an operator sees which size is too small; none of them is a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Sends that the socket took only in part, or not at all. The rest is the caller's to send.
    pub short_sends: u64,
    /// Receives that found no buffer. The bytes wait in the socket until there is one again.
    pub buffers_exhausted: u64,
    /// Times that a listener stopped accepting because the table was full.
    pub table_full: u64,
    /// Times that accepting stopped because its pace was reached.
    pub accepts_paced: u64,
    /// Accepts that failed, those of connections that the peer gave up included.
    pub accept_errors: u64,
    /// Times that the kernel had more completions than their queue holds. It keeps the others until
    /// the queue has been emptied.
    pub completion_overflows: u64,
    /// Completions that came for a connection that was being closed, or whose place was another's by
    /// then, and were dropped. The cancellations that a close asks for are not among them.
    pub stale_completions: u64,
}
