//! The files that a proxy's config names: read at the start, by `--check`, and again on SIGHUP.

use std::sync::Arc;

use crate::config::{Config, ConfigError, ConfigErrors, ProxyConfig, Workers};
use crate::shard::clock::Clock;
use crate::shard::miner_tls::ListenerTls;
use crate::shard::pool_link::PoolAccess;
use crate::shard::{pool_tls, tls_files};

/// What stands in them.
pub(crate) struct ProxyFiles {
    /// Of each listener.
    pub(crate) tls: Vec<Option<ListenerTls>>,
    /// How each pool is reached.
    pub(crate) access: Vec<PoolAccess>,
    /// Who may mine, where a file says so.
    pub(crate) workers: Option<Arc<Workers>>,
}

impl ProxyFiles {
    /// Reads them for the first time.
    ///
    /// # Errors
    ///
    /// Every file that can't be used, at its place in the config.
    pub(crate) fn read(config: &ProxyConfig, now_unix_seconds: u64) -> Result<Self, ConfigErrors> {
        let mut mistakes = Vec::new();
        let files = Self {
            tls: all_of(tls_files::load(config, &[]), &mut mistakes),
            access: all_of(pool_tls::load(config), &mut mistakes),
            workers: read_workers(config).unwrap_or_else(|mut wrong| {
                mistakes.append(&mut wrong);
                None
            }),
        };
        if let Some(mistakes) = ConfigErrors::of(mistakes) {
            return Err(mistakes);
        }
        files.warn_of_expiry(&config.name, now_unix_seconds);
        if let Some(workers) = &files.workers {
            log_workers(config, workers, "may mine");
        }
        Ok(files)
    }

    /// Reads them again. Where one can't be used, what it is for stays as it was, and that is told.
    pub(crate) fn reread(&mut self, config: &ProxyConfig, now_unix_seconds: u64) {
        let name = &config.name;
        let tls = tls_files::load(config, &self.tls);
        replace(name, &mut self.tls, tls, |listener| {
            format!("listen[{listener}]: the certificates that are in use stay")
        });
        self.warn_of_expiry(name, now_unix_seconds);
        replace(name, &mut self.access, pool_tls::load(config), |pool| {
            format!("pools[{pool}] is believed as before")
        });
        match read_workers(config) {
            // The same file again: what is remembered of passwords stays true.
            Ok(workers) if workers == self.workers => {}
            Ok(workers) => {
                self.workers = workers;
                if let Some(workers) = &self.workers {
                    log_workers(config, workers, "may mine from now on");
                }
            }
            Err(mistakes) => tell(name, &mistakes, "the workers file before it holds on"),
        }
    }

    /// Tells of each certificate of a listener that is not good, or not for long.
    pub(crate) fn warn_of_expiry(&self, proxy: &str, now_unix_seconds: u64) {
        for tls in self.tls.iter().flatten() {
            tls_files::warn_of_expiry(proxy, &tls.acceptor, now_unix_seconds);
        }
    }
}

fn read_workers(config: &ProxyConfig) -> Result<Option<Arc<Workers>>, Vec<ConfigError>> {
    let file = config.authorize.workers_file.as_ref();
    Ok(file.map(Workers::read).transpose()?.map(Arc::new))
}

fn log_workers(config: &ProxyConfig, workers: &Workers, what: &str) {
    if let Some(file) = &config.authorize.workers_file {
        log::info!(
            "proxy={}: {} workers and patterns of {} {what}",
            config.name,
            workers.len(),
            file.path.display()
        );
    }
}

/// What was read, one of each listener or pool; and what was wrong with the others.
fn all_of<T>(read: Vec<Result<T, Vec<ConfigError>>>, mistakes: &mut Vec<ConfigError>) -> Vec<T> {
    let mut noted = |mut wrong| mistakes.append(&mut wrong);
    read.into_iter()
        .filter_map(|one| one.map_err(&mut noted).ok())
        .collect()
}

/// Takes what was read anew in the place of what is in use, one by one. Where that can't be used it is told,
/// and `what_stays` says what goes on in its place.
fn replace<T>(
    proxy: &str,
    in_use: &mut [T],
    read: Vec<Result<T, Vec<ConfigError>>>,
    what_stays: impl Fn(usize) -> String,
) {
    for (index, (place, read)) in in_use.iter_mut().zip(read).enumerate() {
        match read {
            Ok(newer) => *place = newer,
            Err(mistakes) => tell(proxy, &mistakes, &what_stays(index)),
        }
    }
}

fn tell(proxy: &str, mistakes: &[ConfigError], what_stays: &str) {
    for mistake in mistakes {
        log::error!("proxy={proxy}: SIGHUP: {mistake}");
    }
    log::error!("proxy={proxy}: SIGHUP: {what_stays}");
}

/// Reads every file that a config names, as a start would, and forgets it again. Other than a start it takes
/// a certificate that is out of date for a mistake.
///
/// # Errors
///
/// Every file that can't be used, at its place in the config.
pub fn check_files(config: &Config) -> Result<(), ConfigErrors> {
    let now = Clock::start().now().unix_seconds;
    let mut mistakes = Vec::new();
    for proxy in &config.proxies {
        tls_files::check(proxy, now, &mut mistakes);
        pool_tls::check(proxy, &mut mistakes);
        mistakes.extend(read_workers(proxy).err().unwrap_or_default());
    }
    ConfigErrors::of(mistakes).map_or(Ok(()), Err)
}
