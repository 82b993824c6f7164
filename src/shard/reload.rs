//! What SIGHUP changes while the proxies run.
//!
//! The main thread reads the config and the files that it names again, and hands the outcome to every shard,
//! which takes it up at its next tick. What can't be read leaves everything as it was, and says so. Who is
//! connected stays, but for those whom `deny` names now: an operator who writes that wants them gone.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use crate::config::Workers;
use crate::shard::door::rules::Rules;
use crate::shard::miner_tls::ListenerTls;
use crate::shard::pool_link::PoolAccess;

/// How things are from now on, of each proxy.
#[derive(Debug)]
pub(crate) struct Reload(pub(crate) Vec<ProxyNews>);

/// Of one proxy.
#[derive(Debug)]
pub(crate) struct ProxyNews {
    /// Of each listener: whom it lets in and believes.
    pub(crate) rules: Vec<Arc<Rules>>,
    /// Of each listener: what begins its new TLS sessions.
    pub(crate) tls: Vec<Option<ListenerTls>>,
    /// How its pools are reached by the links that are made from now on.
    pub(crate) access: Vec<PoolAccess>,
    /// Who may mine, where a file says so. The same one as before where nothing changed.
    pub(crate) workers: Option<Arc<Workers>>,
}

/// What was not taken up, for the last word of a reload.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whether that is the whole config.
    pub(crate) config_stays: bool,
    /// What else has mistakes and so stays as it was.
    stay: Vec<String>,
    /// Whether something that changed holds from the next start.
    pub(crate) waits: bool,
}

impl Outcome {
    /// A file of this key of a proxy has mistakes.
    pub(crate) fn stays(&mut self, proxy: &str, key: fmt::Arguments<'_>) {
        self.stay.push(format!("proxy={proxy} {key}"));
    }

    /// Logs it. What was wrong was told before.
    pub(crate) fn tell(&self, path: &Path) {
        let path = path.display();
        let later = if self.waits {
            "; what changed in the keys above holds from the next start"
        } else {
            ""
        };
        let stay = self.stay.join(", ");
        match (self.config_stays, self.stay.is_empty()) {
            (true, true) => log::warn!(
                "SIGHUP: {path} has mistakes, see above, so the config that is in use stays; the files that \
                 it names were read again"
            ),
            (true, false) => log::warn!(
                "SIGHUP: mistakes, see above, so this stays as it was: the config that is in use, {stay}; \
                 the other files were read again"
            ),
            (false, false) => log::warn!(
                "SIGHUP: mistakes, see above, so this stays as it was: {stay}; {path} and the other files \
                 were read again{later}"
            ),
            (false, true) if self.waits => {
                log::warn!("SIGHUP: {path} and the files that it names were read again{later}");
            }
            (false, true) => {
                log::info!("SIGHUP: {path} and the files that it names were read again");
            }
        }
    }
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
