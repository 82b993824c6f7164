//! Who may mine, and under which name the pool hears of it: `authorize` and `worker_name`.

use std::time::Duration;

use super::files::ConfigFile;
use super::raw::{Node, Section, shown};
use super::{CoinConfig, PoolLinks};
use crate::proto::worker_name::WorkerName;

/// Who may mine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizeConfig {
    /// Who decides.
    pub mode: AuthorizeMode,
    /// The file of workers; there is one with [`AuthorizeMode::Local`] alone.
    pub workers_file: Option<ConfigFile>,
    /// After how long a pool is asked again about a worker that it denied.
    pub denied_retry: Duration,
    /// The name that the pool is sent shares under.
    pub worker_name: WorkerName,
}

/// Who decides whether a worker may mine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizeMode {
    /// Nobody: each is taken.
    Any,
    /// The workers file.
    Local,
    /// The pool, which is shown the miner's own name and password.
    Pool,
}

const MODES: [(&str, AuthorizeMode); 3] = [
    ("any", AuthorizeMode::Any),
    ("local", AuthorizeMode::Local),
    ("pool", AuthorizeMode::Pool),
];

const FILE_WANTED: &str = "write a path, e.g. workers_file: workers.yaml";

/// Reads both keys. `pool_links` and `coin` may forbid some of it.
pub(super) fn authorize(
    section: &mut Section<'_>,
    coin: Option<CoinConfig>,
    pool_links: PoolLinks,
) -> AuthorizeConfig {
    let mut below = section.section("authorize");
    let mode = below.get("mode").and_then(|node| node.choice(&MODES, &[]));
    let mode = mode.unwrap_or(AuthorizeMode::Any);
    let file = below.get("workers_file");
    match (mode, &file) {
        (AuthorizeMode::Local, None) => {
            below.mistake("workers_file", format!("missing; {FILE_WANTED}"));
        }
        (AuthorizeMode::Any | AuthorizeMode::Pool, Some(node)) => {
            node.mistake("only for mode: local; leave it out");
        }
        _ => {}
    }
    let workers_file = file.and_then(|node| node.file(FILE_WANTED));
    let denied_retry = below.number("denied_retry_seconds", 60.0, 1.0..=86_400.0);
    let asks_pool = mode == AuthorizeMode::Pool;
    if asks_pool && let Some(why) = no_names(coin, pool_links) {
        below.mistake("mode", format!("pool {why}; write mode: any or local"));
    }
    below.finish(&[]);

    let node = section.get("worker_name");
    let written = node
        .as_ref()
        .and_then(|node| template(node, coin, pool_links));
    if let (Some(node), Some(template)) = (&node, &written)
        && asks_pool
        && template.is_fixed()
    {
        node.mistake(
            "with authorize mode: pool each worker has a name of its own; write one with {worker} or {rig} \
             in it, or leave it out, which is \"{worker}\"",
        );
    }
    let default = || match mode {
        AuthorizeMode::Pool => WorkerName::pass_through(),
        AuthorizeMode::Any | AuthorizeMode::Local => WorkerName::default(),
    };
    AuthorizeConfig {
        mode,
        workers_file,
        denied_retry,
        worker_name: written.unwrap_or_else(default),
    }
}

fn template(
    node: &Node<'_>,
    coin: Option<CoinConfig>,
    pool_links: PoolLinks,
) -> Option<WorkerName> {
    let text = node.text("write a template in quotes: worker_name: \"{pool_worker}\"")?;
    let template = match WorkerName::parse(text) {
        Ok(template) => template,
        Err(why) => {
            node.mistake(format!("{} is no template: {why}", shown(text)));
            return None;
        }
    };
    if !template.is_fixed()
        && let Some(why) = no_names(coin, pool_links)
    {
        node.mistake(format!(
            "a name for each miner {why}; write one of text and {{pool_worker}} alone"
        ));
        return None;
    }
    Some(template)
}

/// Why miners can't have names of their own at the pool, if they can't.
fn no_names(coin: Option<CoinConfig>, pool_links: PoolLinks) -> Option<&'static str> {
    if coin == Some(CoinConfig::Monero) {
        return Some(
            "can't be had with dialect: monero, where a link logs in once, under one name",
        );
    }
    if let PoolLinks::Number(_) = pool_links {
        return Some(
            "can't be had with a number of pool_links, where shards share a link and its one name",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(dialect: &str, keys: &str) -> Result<AuthorizeConfig, String> {
        let text = format!(
            "proxies:\n  - name: a\n    dialect: {dialect}\n    listen: [ {{ address: \"0.0.0.0:1\" }} ]\n    \
             pools: [ {{ url: \"stratum+tcp://a:1\", worker: w }} ]\n{keys}"
        );
        match Config::load(&text) {
            Ok(mut config) => Ok(config.proxies.remove(0).authorize),
            Err(errors) => Err(errors.to_string()),
        }
    }

    #[test]
    fn each_mode_has_its_name_for_the_pool() {
        let of = |keys: &str| load("equihash", keys).unwrap();
        let any = of("");
        assert_eq!(any.mode, AuthorizeMode::Any);
        assert_eq!(any.worker_name, WorkerName::default());
        let local = of("    authorize: { mode: local, workers_file: w.yaml }\n");
        assert_eq!(local.mode, AuthorizeMode::Local);
        let file = local.workers_file.unwrap();
        assert_eq!(file.path.to_str(), Some("w.yaml"));
        assert_eq!(file.key(), "proxies[0].authorize.workers_file");
        let pool = of("    authorize: { mode: pool, denied_retry_seconds: 5 }\n");
        assert_eq!(pool.worker_name, WorkerName::pass_through());
        assert_eq!(pool.denied_retry, Duration::from_secs(5));
        let named = of("    worker_name: \"{pool_worker}.{rig}\"\n");
        assert_eq!(
            named.worker_name,
            WorkerName::parse("{pool_worker}.{rig}").unwrap()
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        for (dialect, keys, wanted) in [
            (
                "equihash",
                "    authorize: { mode: local }\n",
                "authorize.workers_file: missing",
            ),
            (
                "equihash",
                "    authorize: { workers_file: a }\n",
                "authorize.workers_file: only for mode: local",
            ),
            (
                "equihash",
                "    authorize: { mode: all }\n",
                "authorize.mode: \"all\" is unknown; write any or local or pool",
            ),
            (
                "equihash",
                "    authorize: { mode: pool }\n    worker_name: \"{pool_worker}\"\n",
                "worker_name: with authorize mode: pool each worker has a name of its own",
            ),
            (
                "equihash",
                "    authorize: { mode: pool }\n    pool_links: 1\n",
                "authorize.mode: pool can't be had with a number of pool_links",
            ),
            (
                "equihash",
                "    worker_name: \"{worker}\"\n    pool_links: 1\n",
                "worker_name: a name for each miner can't be had with a number of pool_links",
            ),
            (
                "monero",
                "    authorize: { mode: pool }\n",
                "authorize.mode: pool can't be had with dialect: monero",
            ),
            (
                "monero",
                "    worker_name: \"{address}\"\n",
                "worker_name: a name for each miner can't be had with dialect: monero",
            ),
            (
                "equihash",
                "    worker_name: \"{name}\"\n",
                "worker_name: \"{name}\" is no template: {name} is unknown; there are {pool_worker}",
            ),
        ] {
            let errors = load(dialect, keys).unwrap_err();
            assert!(errors.contains(wanted), "{wanted}\n{errors}");
        }
        assert!(load("monero", "    worker_name: \"x.{pool_worker}\"\n").is_ok());
    }
}
