//! The actors of the tests: [`Proxy`], [`FakePool`], [`FakeMiner`], and [`Scene`], which has one
//! of each in the middle of a conversation.

pub(crate) mod auto_pool;
pub(crate) mod config;
pub(crate) mod equihash;
pub(crate) mod json;
pub(crate) mod line;
pub(crate) mod miner;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod scene;
pub(crate) mod scrape;
pub(crate) mod tls;
pub(crate) mod tls_front;

use std::time::Duration;

pub(crate) use auto_pool::{AutoPool, Verdict};
pub(crate) use config::Config;
pub(crate) use json::Json;
pub(crate) use miner::{FakeMiner, Job, Share};
pub(crate) use pool::{FakePool, PoolJob, PoolLink};
pub(crate) use proxy::{Program, Proxy};
pub(crate) use scene::Scene;

/// How long a test waits for what must come. Long, since only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test listens for what must not come.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(200);

/// The `nonce_1` that scripted pools give, 4 bytes as most real ones.
pub(crate) const NONCE_1: &str = "c2fd607c";

/// Difficulty 1 of the Zcash pools.
pub(crate) const TARGET: &str = "0007ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// The worker and the password of the pools in [`Config`].
pub(crate) const POOL_WORKER: &str = "t1account.farm";
pub(crate) const POOL_PASSWORD: &str = "d=12,secret";

/// Says that a test tries nothing, as this tool is not installed. That is a failure where
/// `STRATUM_URING_NEED_TOOLS=1` says that all of them are.
pub(crate) fn skip_without(tool: &str) {
    let are_needed = std::env::var_os("STRATUM_URING_NEED_TOOLS").is_some_and(|it| it == "1");
    assert!(
        !are_needed,
        "{tool} is not installed (apt-get install {tool})"
    );
    eprintln!("skipped: {tool} is not installed (apt-get install {tool})");
}
