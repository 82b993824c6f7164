//! The TLS around what the miners of a thread say and hear.
//!
//! [`Links`](crate::links::Links) thinks in lines. With TLS what it has for a connection passes through
//! [`Seals::seal`] on its way to the ring, and what came through [`Seals::open`]. Nobody's certificate is
//! looked at: whoever loads a proxy knows which one it is.

use std::collections::HashMap;

use stratum_uring::tls::client::{ClientStream, TlsClient, TlsError, Trust};

/// How often miners agree on keys from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TlsKind {
    /// Each connection, as most firmware does
    Full,
    /// The first connection of each miner; when it comes back it resumes its session
    Resume,
}

/// Which miners speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMiners {
    All,
    /// One half of them, of each kind of firmware; the others speak plainly.
    Half,
}

/// What came of the bytes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Lines, or parts of them, or nothing yet.
    Goes,
    /// The handshake is done: lines may be said from now on. `true` where it resumed a session.
    Ready(bool),
}

/// The connections of one thread.
#[derive(Debug)]
pub(crate) struct Seals {
    client: TlsClient,
    first_miner: u32,
    who: TlsMiners,
    /// By miner. A box, for most of them are idle in a large table.
    streams: Vec<Option<Box<ClientStream>>>,
    /// What TLS itself has to say, by miner, until the next send.
    unsaid: HashMap<usize, Vec<u8>>,
    sealed: Vec<u8>,
}

impl Seals {
    pub(crate) fn new(kind: TlsKind, who: TlsMiners, first_miner: u32, miners: usize) -> Self {
        // With a name for each miner each has its own session.
        let sessions = match kind {
            TlsKind::Full => 0,
            TlsKind::Resume => miners,
        };
        let client = TlsClient::new(Trust::Anybody, None).expect("no file that could be wrong");
        Self {
            client: client.with_sessions_kept(sessions),
            first_miner,
            who,
            streams: std::iter::repeat_with(|| None).take(miners).collect(),
            unsaid: HashMap::new(),
            sealed: Vec::new(),
        }
    }

    /// Whether this miner speaks TLS.
    pub(crate) fn has(&self, miner: usize) -> bool {
        // What a miner says first goes by the last two bits of its number.
        let number = self.first_miner as usize + miner;
        self.who == TlsMiners::All || number & 4 == 0
    }

    /// A miner is connected: it greets.
    pub(crate) fn begin(&mut self, miner: usize) {
        let number = self.first_miner as usize + miner;
        let out = self.unsaid.entry(miner).or_default();
        let stream = self
            .client
            .connect(&format!("miner-{number}.loadgen.invalid"), out);
        self.streams[miner] = Some(Box::new(stream.expect("a host name")));
    }

    /// Takes the TLS off these bytes; what is in it is appended to `plain`.
    pub(crate) fn open(
        &mut self,
        miner: usize,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        let Some(stream) = &mut self.streams[miner] else {
            return Ok(Opened::Goes);
        };
        let was_ready = stream.is_ready();
        let mut out = Vec::new();
        let opened = stream.handle_bytes(bytes, plain, &mut out);
        if !out.is_empty() {
            self.unsaid.entry(miner).or_default().append(&mut out);
        }
        opened?;
        Ok(match !was_ready && stream.is_ready() {
            true => Opened::Ready(stream.agreed().resumed),
            false => Opened::Goes,
        })
    }

    /// What is to be sent for these lines of a miner: first what TLS itself has to say. Empty where the
    /// connection is over.
    pub(crate) fn seal(&mut self, miner: usize, lines: &[u8]) -> &[u8] {
        self.sealed.clear();
        if let Some(mut unsaid) = self.unsaid.remove(&miner) {
            self.sealed.append(&mut unsaid);
        }
        if let Some(stream) = &mut self.streams[miner] {
            // One that has failed is closed in this round, and its miner comes back.
            drop(stream.encrypt(lines, &mut self.sealed));
        }
        &self.sealed
    }

    /// Sends these bytes again ahead of all else: the socket did not take them.
    pub(crate) fn say_first(&mut self, miner: usize, mut bytes: Vec<u8>) {
        let unsaid = self.unsaid.entry(miner).or_default();
        bytes.append(unsaid);
        *unsaid = bytes;
    }

    /// A miner for which there is something to be sent that is no line, if there is one.
    pub(crate) fn next_unsaid(&mut self) -> Option<(usize, Vec<u8>)> {
        let miner = *self.unsaid.keys().next()?;
        self.unsaid.remove_entry(&miner)
    }

    /// A connection is over.
    pub(crate) fn end(&mut self, miner: usize) {
        self.streams[miner] = None;
        self.unsaid.remove(&miner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_half_of_each_habit_speaks_tls() {
        let half = Seals::new(TlsKind::Full, TlsMiners::Half, 0, 64);
        for habit in 0..4 {
            let of_habit = (0..64).filter(|miner| miner % 4 == habit);
            assert_eq!(of_habit.filter(|miner| half.has(*miner)).count(), 8);
        }
        // A thread's first miner need not be the farm's.
        let second = Seals::new(TlsKind::Full, TlsMiners::Half, 4, 4);
        assert!((0..4).all(|miner| !second.has(miner)));
        let all = Seals::new(TlsKind::Full, TlsMiners::All, 0, 64);
        assert!((0..64).all(|miner| all.has(miner)));
    }
}
