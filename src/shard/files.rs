//! The files that a proxy's config names: read at the start, by `--check`, and again on SIGHUP.

use std::sync::Arc;

use crate::config::{Config, ConfigError, ConfigErrors, ProxyConfig, Workers};
use crate::shard::clock::Clock;
use crate::shard::machine::allowed_cpus;
use crate::shard::miner_tls::ListenerTls;
use crate::shard::pool_link::PoolAccess;
use crate::shard::reload::Outcome;
use crate::shard::start::shards;
use crate::shard::started::warn_of_practice;
use crate::shard::{pool_tls, tls_files};
use crate::tls::Expiry;

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

    /// Reads them again. Where one can't be used, what it is for stays as it was; that is told, and the key
    /// noted.
    pub(crate) fn reread(
        &mut self,
        config: &ProxyConfig,
        now_unix_seconds: u64,
        outcome: &mut Outcome,
    ) {
        let name = &config.name;
        let tls = tls_files::load(config, &self.tls);
        replace(name, &mut self.tls, tls, |listener| {
            outcome.stays(name, format_args!("listen[{listener}].tls"));
            format!("listen[{listener}]: the certificates that are in use stay")
        });
        replace(name, &mut self.access, pool_tls::load(config), |pool| {
            outcome.stays(name, format_args!("pools[{pool}].tls"));
            format!("pools[{pool}] is believed as before")
        });
        self.warn_of_expiry(name, now_unix_seconds);
        match read_workers(config) {
            // The same file again: what is remembered of passwords stays true.
            Ok(workers) if workers == self.workers => {}
            Ok(workers) => {
                self.workers = workers;
                if let Some(workers) = &self.workers {
                    log_workers(config, workers, "may mine from now on");
                }
            }
            Err(mistakes) => {
                outcome.stays(name, format_args!("authorize.workers_file"));
                tell(name, &mistakes, "the workers file before it holds on");
            }
        }
    }

    /// For each listener when the first of its certificates runs out, in seconds since 1970.
    pub(crate) fn expiries(&self) -> impl Iterator<Item = Option<i64>> {
        self.tls.iter().map(|tls| {
            let expiries = tls.iter().flat_map(|tls| tls.acceptor.expiries());
            expiries.map(|expiry| expiry.not_after).min()
        })
    }

    /// The same for each pool that is shown a certificate of ours.
    pub(crate) fn client_expiries(&self) -> impl Iterator<Item = Option<i64>> {
        let secure = self.access.iter().map(|access| access.secure.as_ref());
        secure.map(|secure| Some(secure?.expiry.as_ref()?.not_after))
    }

    /// Tells of each certificate of ours that is not good, or not for long.
    pub(crate) fn warn_of_expiry(&self, proxy: &str, now_unix_seconds: u64) {
        let warn = |expiry: &Expiry, then: &str| {
            if let Some(warning) = expiry.warning(now_unix_seconds, then) {
                log::warn!("proxy={proxy}: {warning}");
            }
        };
        let listeners = self.tls.iter().flatten();
        for expiry in listeners.flat_map(|tls| tls.acceptor.expiries()) {
            warn(expiry, "miners that verify it turn away");
        }
        let pools = self.access.iter().filter_map(|it| it.secure.as_ref());
        for expiry in pools.filter_map(|secure| secure.expiry.as_ref()) {
            warn(expiry, "the pool that wants to see it turns us away");
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
        for warning in workers.warnings() {
            log::warn!("proxy={}: {}: {warning}", config.name, file.path.display());
        }
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
    mut what_stays: impl FnMut(usize) -> String,
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

/// Reads every file that a config names, warns of all that a start would warn of, and forgets it again.
///
/// # Errors
///
/// Every file that can't be used, at its place in the config.
pub fn check(config: &Config) -> Result<(), ConfigErrors> {
    let now = Clock::start().now().unix_seconds;
    warn(config, shards(config, None, allowed_cpus().len()));
    let mut mistakes = Vec::new();
    for proxy in &config.proxies {
        warn_of_practice(proxy);
        if let Err(errors) = ProxyFiles::read(proxy, now) {
            mistakes.extend_from_slice(errors.as_slice());
        }
    }
    ConfigErrors::of(mistakes).map_or(Ok(()), Err)
}

/// Tells what is hardly meant in a config, where it is for so many shards.
pub(crate) fn warn(config: &Config, shards: usize) {
    for warning in config.warnings(shards) {
        log::warn!("{warning}");
    }
}
