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
