//! What SIGHUP changes while the proxies run.
//!
//! The main thread reads the files again and hands the outcome to every shard, which takes it up at its next
//! tick. What can't be read leaves everything as it was, and says so. Nobody is closed for it.

use std::sync::Arc;
use std::sync::mpsc;

use crate::shard::pool_link::PoolAccess;
use crate::tls::Acceptor;

/// News for all shards. A part that is not there stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Reload {
    /// For each listener of the ring, in its order: what begins its new TLS sessions.
    pub(crate) acceptors: Vec<Option<Acceptor>>,
    /// For each proxy: how its pools are reached by the links that are made from now on.
    pub(crate) pools: Vec<Option<Vec<PoolAccess>>>,
}

/// Hands news to the shards.
#[derive(Debug)]
pub(crate) struct Reloader(Vec<mpsc::Sender<Arc<Reload>>>);

/// Where a shard finds them.
pub(crate) type Reloads = mpsc::Receiver<Arc<Reload>>;

/// One end for the main thread, and one for each shard.
pub(crate) fn channel(shards: usize) -> (Reloader, Vec<Reloads>) {
    let (senders, receivers) = (0..shards).map(|_| mpsc::channel()).unzip();
    (Reloader(senders), receivers)
}

impl Reloader {
    pub(crate) const fn shards(&self) -> usize {
        self.0.len()
    }

    /// A shard that has ended needs none.
    pub(crate) fn send(&self, reload: Reload) {
        let reload = Arc::new(reload);
        for shard in &self.0 {
            drop(shard.send(Arc::clone(&reload)));
        }
    }
}
