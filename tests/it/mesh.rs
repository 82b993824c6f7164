//! Two shards that talk: one link for both, jobs of one for the other, and a pool that both leave.
//!
//! The kernel gives a connection to a shard by a hash of its ports, so there are enough miners for both.

use crate::support::{Config, FakePool, Proxy};

#[test]
fn one_shard_says_that_it_has_nobody_to_exchange_jobs_with() {
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).key("job_exchange: { enabled: true }");
    let proxy = Proxy::one_shard(&config.yaml());
    let log = proxy.log();
    let told = log.matches("one shard: nothing to exchange").count();
    assert_eq!(told, 1, "{log}");
    drop(proxy);
    let proxy = Proxy::start(&config.yaml());
    assert!(!proxy.log().contains("nothing to exchange"));
}
