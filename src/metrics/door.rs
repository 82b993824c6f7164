//! What the door counts: the connections that are between accept and their first line, and those that
//! never got further.

reasons! {
    /// Why a connection ended before it was a miner's.
    DoorEnd {
        /// The peer left without a word, as a health check or a port scan does.
        Left = "left",
        /// No first byte came in time.
        FirstByteTimeout = "first_byte_timeout",
        /// Its address may not be here.
        Denied = "denied",
        /// The proxy has as many connections as it may have.
        ProxyFull = "connections_max",
        /// The listener has.
        ListenerFull = "listener_connections_max",
        /// Its address has.
        AddressFull = "connections_per_address_max",
        /// No header of the PROXY protocol from an address that is trusted to send one.
        HeaderMissing = "proxy_header_missing",
        /// A header from there that can't be right.
        HeaderInvalid = "proxy_header_invalid",
        /// A header from there that was not whole in time.
        HeaderTimeout = "proxy_header_timeout",
        /// A header from an address that is not trusted to send one.
        HeaderUntrusted = "proxy_header_untrusted",
        /// A TLS hello where the listener has no TLS.
        TlsOnPlain = "tls_on_plain",
        /// A miner without TLS where the listener requires it.
        PlainOnTls = "plain_on_tls",
        /// A request of a browser, a scraper or a scanner.
        Http = "http",
        /// A header of the PROXY protocol at a listener that expects none, or behind another one.
        ProxyHeader = "proxy_header",
        /// The greeting of SSH.
        Ssh = "ssh",
        /// Bytes with which no text begins.
        Binary = "binary",
    }
}

/// The door of one proxy on one shard, or on all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoorCounters {
    /// Connections that have not passed it yet, now.
    pub waiting: u64,
    /// Connections that ended in it, by [`DoorEnd`].
    pub ends: [u64; DoorEnd::ALL.len()],
}

impl DoorCounters {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (sum, cell) in self.cells_mut().zip(other.cells_mut()) {
            *sum += *cell;
        }
    }

    /// The ends with their labels.
    pub fn ends_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = DoorEnd::ALL.iter().map(|end| end.reason());
        reasons.zip(self.ends.iter().copied())
    }

    pub(super) fn cells_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { waiting, ends } = self;
        std::iter::once(waiting).chain(ends)
    }
}
