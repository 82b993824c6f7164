//! What the door counts: the connections that are between accept and their first line, and those that
//! never got further.

/// Makes an enum of reasons with a label for each.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$why:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$why])* $variant,)+ }

        impl $name {
            /// Every reason, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label in logs and counters.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

reasons! {
    /// Why a connection ended before it was a miner's.
    DoorEnd {
        /// The peer left without a word, as a health check or a port scan does.
        Left = "left",
        /// No first byte came in time.
        FirstByteTimeout = "first_byte_timeout",
        /// A TLS hello where the listener has no TLS.
        TlsOnPlain = "tls_on_plain",
        /// A request of a browser, a scraper or a scanner.
        Http = "http",
        /// A header of the PROXY protocol where none is expected.
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
