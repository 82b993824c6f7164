//! The workers file of a proxy, read at the start and on SIGHUP.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use crate::config::Workers;
use crate::shard::worker_checks::Checker;

/// The file, with the shards that know what stands in it.
#[derive(Debug)]
pub(crate) struct WorkersFile {
    proxy: String,
    path: PathBuf,
    workers: Arc<Workers>,
    shards: Vec<mpsc::Sender<Arc<Workers>>>,
}

impl WorkersFile {
    /// Reads it for the first time.
    ///
    /// # Errors
    ///
    /// Every mistake in it.
    pub(crate) fn open(proxy: &str, path: PathBuf) -> Result<Self, String> {
        let workers = Workers::read(&path)?;
        log::info!(
            "proxy={proxy}: {} workers and patterns of {} may mine",
            workers.len(),
            path.display()
        );
        Ok(Self {
            proxy: proxy.to_owned(),
            path,
            workers: Arc::new(workers),
            shards: Vec::new(),
        })
    }

    /// What one more shard looks workers up with.
    pub(crate) fn checker(&mut self) -> Checker {
        let (sender, updates) = mpsc::channel();
        self.shards.push(sender);
        Checker::new(Arc::clone(&self.workers), updates)
    }

    /// Reads it again. One with a mistake changes nothing. Who mines stays; it is asked when it comes again.
    pub(crate) fn reload(&self) {
        let proxy = &self.proxy;
        match Workers::read(&self.path) {
            Ok(workers) => {
                let count = workers.len();
                let workers = Arc::new(workers);
                for shard in &self.shards {
                    // A shard that ended needs no workers.
                    drop(shard.send(Arc::clone(&workers)));
                }
                log::info!(
                    "proxy={proxy}: {count} workers and patterns of {} may mine from now on",
                    self.path.display()
                );
            }
            Err(mistakes) => log::error!(
                "proxy={proxy}: the workers file has mistakes, and the one before it holds on: {mistakes}"
            ),
        }
    }
}
