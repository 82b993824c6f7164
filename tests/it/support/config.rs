//! Writes the config of a test.

use std::fmt::Write;

use super::{POOL_PASSWORD, POOL_WORKER};

/// A config with one proxy, named `zcash`, or with more.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    proxies: Vec<Section>,
}

#[derive(Clone, Debug)]
struct Section {
    name: String,
    dialect: &'static str,
    pools: Vec<Pool>,
    listen_keys: Vec<String>,
    keys: Vec<String>,
}

#[derive(Clone, Debug)]
struct Pool {
    url: String,
    keys: Vec<String>,
}

impl Pool {
    fn new(url: &str) -> Self {
        let (url, keys) = (url.to_owned(), Vec::new());
        Self { url, keys }
    }
}

impl Config {
    /// One proxy for the pool of this URL.
    pub(crate) fn new(url: &str) -> Self {
        Self {
            proxies: Vec::new(),
        }
        .proxy("zcash", url)
    }

    /// Adds a proxy; what follows belongs to it.
    pub(crate) fn proxy(mut self, name: &str, url: &str) -> Self {
        self.proxies.push(Section {
            name: name.to_owned(),
            dialect: "equihash",
            pools: vec![Pool::new(url)],
            listen_keys: Vec::new(),
            keys: Vec::new(),
        });
        self
    }

    /// The proxy speaks another dialect than Equihash.
    pub(crate) fn dialect(mut self, dialect: &'static str) -> Self {
        self.last().dialect = dialect;
        self
    }

    /// Adds a pool behind those that the proxy has.
    pub(crate) fn fallback(mut self, url: &str) -> Self {
        self.last().pools.push(Pool::new(url));
        self
    }

    /// Adds a key of the pool that was added last, as YAML on one line.
    pub(crate) fn pool_key(mut self, line: &str) -> Self {
        let pool = self.last().pools.last_mut().unwrap();
        pool.keys.push(line.to_owned());
        self
    }

    /// Adds a key of the proxy, as YAML on one line.
    pub(crate) fn key(mut self, line: &str) -> Self {
        self.last().keys.push(line.to_owned());
        self
    }

    /// Adds a key of the proxy's listener.
    pub(crate) fn listen_key(mut self, line: &str) -> Self {
        self.last().listen_keys.push(line.to_owned());
        self
    }

    pub(crate) fn keys(self, lines: &[&str]) -> Self {
        lines.iter().fold(self, |config, line| config.key(line))
    }

    pub(crate) fn yaml(&self) -> String {
        let mut out = String::from("proxies:\n");
        for Section {
            name,
            dialect,
            pools,
            listen_keys,
            keys,
        } in &self.proxies
        {
            write!(
                out,
                "  - name: {name}\n    dialect: {dialect}\n    listen:\n      \
                 - address: 127.0.0.1:0\n"
            )
            .unwrap();
            for key in listen_keys {
                writeln!(out, "        {key}").unwrap();
            }
            out.push_str("    pools:\n");
            for Pool { url, keys } in pools {
                write!(
                    out,
                    "      - url: \"{url}\"\n        worker: {POOL_WORKER}\n        \
                     password: \"{POOL_PASSWORD}\"\n"
                )
                .unwrap();
                for key in keys {
                    writeln!(out, "        {key}").unwrap();
                }
            }
            for key in keys {
                writeln!(out, "    {key}").unwrap();
            }
        }
        out
    }

    fn last(&mut self) -> &mut Section {
        self.proxies.last_mut().unwrap()
    }
}
