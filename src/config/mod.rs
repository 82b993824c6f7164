//! What the operator wrote, checked.
//!
//! [`Config::load`] makes a typed [`Config`] of a YAML text, or reports every mistake in it at
//! once, each with its line, its key and what would be right. Nothing behind it meets a value that
//! cannot be: defaults are filled in, and what depends on another key was held against it.
//!
//! `raw` knows YAML and places, `read` and `listen` know the keys, `limits` is the table of bounds,
//! `address` reads hosts and ports, `networks` networks, `pool_tls` how a pool is believed, `files` are
//! those that a config names, `live` what a running proxy takes up from a config that was read again,
//! `warnings` what is no mistake and hardly meant.

mod address;
mod authorize;
mod error;
mod files;
mod limits;
mod listen;
mod live;
mod locate;
mod networks;
mod pool_tls;
mod raw;
mod read;
#[cfg(test)]
mod tests;
mod warnings;
mod workers;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

pub use self::authorize::{AuthorizeConfig, AuthorizeMode};
pub use self::error::{ConfigError, ConfigErrors};
pub use self::files::ConfigFile;
pub use self::limits::{Failover, Limits};
pub use self::pool_tls::PoolTls;
pub use self::workers::{WorkerPassword, Workers};
use crate::proto::dialect::equihash::Parameters;
use crate::proto::dialect::{Coin, Introduction};

/// A config with every key, its default, its unit and why; it runs as it is.
pub const EXAMPLE: &str = include_str!("../../proxy-config.example.yaml");

/// Everything the operator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of shards; `None` is one for each CPU this process may use.
    pub cores: Option<NonZeroUsize>,
    /// Miners that will be connected at a time, of all proxies; the start fails where there is no room
    /// for them. `None` asks nothing.
    pub miners_expected: Option<u32>,
    /// Connections that all shards accept together in a second; 0 is no pace.
    pub accepts_per_second: u32,
    /// Where metrics and health are told; `None` is nowhere.
    pub admin: Option<AdminConfig>,
    /// At least one, with names that differ.
    pub proxies: Vec<ProxyConfig>,
}

/// The admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Port 0 lets the kernel choose. No listener of a proxy overlaps it.
    pub listen: SocketAddr,
    /// How long miners may still come and mine on when it was told to stop and says that it is not ready.
    pub drain: Duration,
}

/// One proxy: miners of one coin, and the pools they work for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Unique; stands in logs and metrics. 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// What it mines, and so how its miners and pools talk.
    pub coin: CoinConfig,
    /// At least one. No two listeners of a config overlap.
    pub listen: Vec<ListenConfig>,
    /// At least one, in order of preference.
    pub pools: Vec<PoolConfig>,
    /// How many bytes of nonce space tell two miners of a link apart.
    pub slot_bytes: SlotBytes,
    /// At most as many as the slots have room for.
    pub miners_per_link: u32,
    /// Links that one shard may open to a pool as they fill up; where the links are shared it has one.
    pub links_per_shard_max: u32,
    /// Who connects to the pools. With a number no miner needs a link of its own: there are slot bytes, and
    /// no agents that pass through.
    pub pool_links: PoolLinks,
    /// A miner whose user agent contains one of these gets the pool's own nonce_1 length. In lower
    /// case, to be looked for in the agent in lower case.
    pub pass_through_agents: Vec<String>,
    /// Who may mine, and under which name the pool hears of it.
    pub authorize: AuthorizeConfig,
    /// When a miner is told what became of its share.
    pub share_reply: ShareReply,
    /// Whether shards tell each other of jobs.
    pub job_exchange: JobExchange,
    /// When to leave a pool, and how.
    pub failover: Failover,
    /// Whether the next pool's link is kept ready all the time: `failover.standby`.
    pub standby: bool,
    /// Whether miners are given the last job again while no pool is up.
    pub keep_warm: bool,
    /// The bound of everything.
    pub limits: Limits,
}

/// What a proxy mines: `dialect`, and the keys of that dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoinConfig {
    /// `dialect: equihash`
    Equihash(EquihashConfig),
    /// `dialect: bitcoin`
    Bitcoin,
    /// `dialect: monero`
    Monero,
}

impl CoinConfig {
    /// The longest line of a miner, unless the operator says otherwise: of Bitcoin all are short, and
    /// Monero's logins name every algorithm, some with its speed.
    pub(crate) const fn miner_line_bytes_max(self) -> usize {
        match self {
            Self::Bitcoin => 4096,
            Self::Equihash(_) => 8192,
            Self::Monero => 16_384,
        }
    }

    /// The coin, as its dialect knows it.
    #[must_use]
    pub const fn coin(self) -> Coin {
        match self {
            Self::Equihash(equihash) => Coin::Equihash(equihash.parameters),
            Self::Bitcoin => Coin::Bitcoin,
            Self::Monero => Coin::Monero,
        }
    }
}

/// An Equihash coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EquihashConfig {
    /// `n` and `k`.
    pub parameters: Parameters,
    /// What the hash is personalized with, as `ZcashPoW`.
    pub personalization: [u8; 8],
}

/// Where miners connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// Connections at a time; 0 is no bound.
    pub connections_max: u32,
    /// Load balancers, each of whose connections begins with a header of the PROXY protocol; of nobody
    /// else's is one taken. None where the protocol is not used: `proxy_protocol.trusted`.
    pub trusted: Vec<IpNet>,
    /// The networks whose miners may be here; `None` is everybody.
    pub allow: Option<Vec<IpNet>>,
    /// Those whose miners may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// `None` is plain TCP alone.
    pub tls: Option<ListenTls>,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// Whether plain miners may come too.
    pub mode: TlsMode,
    /// At least one; the first is shown to whoever asks for a name that none of them has.
    pub certificates: Vec<CertificateConfig>,
    /// Who signs the certificates that miners must have; `None` asks for none.
    pub client_ca: Option<ConfigFile>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateConfig {
    /// The certificate first, then those between it and its root.
    pub certificate: ConfigFile,
    /// Its private key.
    pub key: ConfigFile,
}

/// Who may come to a listener with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Miners that speak TLS.
    Required,
    /// Plain ones too; the first byte tells them apart.
    Auto,
}

/// One pool and our account there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Where it is.
    pub url: PoolUrl,
    /// The name that every share is sent under. `practice` for a practice pool without one.
    pub worker: String,
    /// Most pools take any.
    pub password: Secret,
    /// Hosts besides its own to which `client.reconnect` may send us. In lower case.
    pub reconnect_hosts: Vec<String>,
    /// Whether to ask the pool for `mining.set_extranonce`.
    pub extranonce_subscribe: bool,
    /// What we say of ourselves: `user_agent`, `version_rolling`, `algorithms`.
    pub introduction: Introduction,
}

impl PoolConfig {
    fn files_mut(&mut self) -> impl Iterator<Item = &mut ConfigFile> {
        let tls = match &mut self.url {
            PoolUrl::Tcp { tls, .. } => tls.as_deref_mut(),
            PoolUrl::Practice(_) => None,
        };
        tls.into_iter().flat_map(PoolTls::files_mut)
    }
}

/// Where a pool is. Prints as it is written in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolUrl {
    /// TCP, plain or with TLS.
    Tcp {
        /// A host name in lower case or an IP address; IPv6 without brackets.
        host: String,
        /// Never 0.
        port: u16,
        /// How the pool's certificate is checked; `None` is plain.
        tls: Option<Box<PoolTls>>,
        /// Whether a header of the PROXY protocol, version 1, goes ahead of all else.
        proxy_header: bool,
    },
    /// The pool in this process.
    Practice(PracticeConfig),
}

impl fmt::Display for PoolUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                host, port, tls, ..
            } => {
                let scheme = tls.as_ref().map_or("stratum+tcp", |_| "stratum+tls");
                match host.contains(':') {
                    true => write!(f, "{scheme}://[{host}]:{port}"),
                    false => write!(f, "{scheme}://{host}:{port}"),
                }
            }
            Self::Practice(_) => f.write_str("practice:"),
        }
    }
}

/// How the embedded practice pool behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PracticeConfig {
    /// How it judges shares.
    pub judge: Judge,
    /// Time between two jobs.
    pub job_interval: Duration,
    /// Every so many jobs is one on a new block, with its clean flag set.
    pub block_interval_jobs: u32,
    /// The target of its shares, big-endian. Never zero.
    pub target: [u8; 32],
    /// Length of the nonce_1 that it gives a link; of Bitcoin, extranonce1.
    pub nonce_1_bytes: usize,
    /// Of Bitcoin, length of the extranonce2 that it leaves to a link.
    pub extranonce2_bytes: usize,
}

/// What a practice pool looks at in a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// Solution and hash too. The config has parameters for which that is possible.
    Full,
    /// Job, lengths and duplicates.
    Shape,
}

/// Length of the part of nonce_2 that tells two miners of a link apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotBytes {
    /// 2 where the pool leaves room for it, else 1.
    Auto,
    /// 0, 1 or 2.
    Fixed(u8),
}

/// Who connects to the pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolLinks {
    /// Each shard.
    PerShard,
    /// So many shards have one link each, or all where they are fewer; the others share these. Never 0.
    Number(usize),
}

/// Whether miners are started on a job that only another shard's link has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobExchange {
    /// Off by default.
    pub enabled: bool,
    /// Two links announced the same job when their announcements are no further apart.
    pub match_within: Duration,
    /// How long a share for such a job waits for its own link to announce it.
    pub hold: Duration,
}

/// When a miner is told what became of its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareReply {
    /// When the pool has said so.
    Pool,
    /// Once our own checks passed, as long as the link to the pool is ready.
    Immediate,
}

/// A word that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a word from being printed.
    #[must_use]
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The word itself, to be sent to a pool and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Config {
    /// Reads a config.
    ///
    /// # Errors
    ///
    /// Every mistake in it, not just the first. After a YAML syntax error there is only that one.
    pub fn load(text: &str) -> Result<Self, ConfigErrors> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("longer than {TEXT_BYTES_MAX} bytes; this is no config");
            return Err(ConfigError::of_file(message).into());
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value = raw::parse_yaml(text)?;
        let mistakes = raw::Mistakes::default();
        let config = read::config(&raw::Node::root(&value, &mistakes));
        match config {
            Some(mut config) if mistakes.is_empty() => {
                config.files_mut().for_each(|file| file.locate(text));
                Ok(config)
            }
            _ => Err(mistakes.into_errors(text)),
        }
    }

    /// Reads the file of a config. Paths in it begin beside it.
    ///
    /// # Errors
    ///
    /// As [`Config::load_bytes`]; and that the file can't be read.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let bytes = files::read_bounded(path)
            .map_err(|error| ConfigError::of_file(format!("can't be read: {error}")))?;
        let mut config = Self::load_bytes(&bytes)?;
        config.find_files(path.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    /// Paths of files that are not absolute begin in this folder, which is the config's own.
    fn find_files(&mut self, folder: &Path) {
        self.files_mut().for_each(|file| file.begin_in(folder));
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut ConfigFile> {
        self.proxies.iter_mut().flat_map(|proxy| {
            let listeners = proxy.listen.iter_mut();
            let tls = listeners.filter_map(|listener| listener.tls.as_mut());
            let of_listeners = tls.flat_map(|tls| {
                let pairs = tls.certificates.iter_mut();
                let pairs = pairs.flat_map(|pair| [&mut pair.certificate, &mut pair.key]);
                pairs.chain(&mut tls.client_ca)
            });
            let pools = proxy.pools.iter_mut();
            of_listeners
                .chain(pools.flat_map(PoolConfig::files_mut))
                .chain(&mut proxy.authorize.workers_file)
        })
    }

    /// Reads a config from the bytes of a file.
    ///
    /// # Errors
    ///
    /// As [`Config::load`]; and what is not UTF-8, with the line where it begins not to be.
    pub fn load_bytes(bytes: &[u8]) -> Result<Self, ConfigErrors> {
        Self::load(text_of(bytes)?)
    }
}

/// The text of a file, which is UTF-8.
fn text_of(bytes: &[u8]) -> Result<&str, ConfigErrors> {
    std::str::from_utf8(bytes).map_err(|error| {
        let read = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let message = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            "the file is UTF-16; save it as UTF-8"
        } else {
            "the file is not UTF-8 here; save it as UTF-8"
        };
        let error = ConfigError {
            line: Some(1 + read.iter().filter(|byte| **byte == b'\n').count()),
            ..ConfigError::of_file(message)
        };
        error.into()
    })
}

/// Longest config. A thousand proxies fit in.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
