//! Whether the process is well, and whether it wants miners: what a supervisor and a load balancer ask.

use std::time::Duration;

use crate::metrics::{ProxySample, ShardSample};

/// A shard ticks four times a second. One that has not for so long serves nobody.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Where the process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not every shard takes miners yet.
    Starting,
    /// Every listener is open.
    Running,
    /// It was told to stop: miners should go elsewhere, though they may be let in for a while.
    Stopping,
}

/// Whether every shard is alive: else a restart is due.
///
/// # Errors
///
/// The text names the shard that is stuck.
pub fn alive(shards: &[ShardSample]) -> Result<(), String> {
    for (number, shard) in shards.iter().enumerate() {
        // Before its first tick the age is that of the process.
        if let Some(age) = shard.tick_age.filter(|age| *age >= STUCK_AFTER) {
            let seconds = age.as_secs();
            return Err(format!(
                "shard {number} is stuck: its last tick was {seconds} s ago"
            ));
        }
    }
    Ok(())
}

/// Whether new miners should be sent here: every listener is open, every shard is alive, and each proxy
/// whose miners need a pool has a link to one. A link that is away no longer than it may be taken up
/// again is not missed, and a proxy without miners needs none.
///
/// # Errors
///
/// The text says what is in the way.
pub fn ready(stage: Stage, shards: &[ShardSample], proxies: &[ProxySample]) -> Result<(), String> {
    match stage {
        Stage::Starting => return Err("starting: not every shard takes miners yet".to_owned()),
        Stage::Stopping => return Err("stopping: send miners elsewhere".to_owned()),
        Stage::Running => alive(shards)?,
    }
    for proxy in proxies {
        let counters = &proxy.counters;
        let without = Duration::from_millis(counters.without_link_millis);
        // A shard without a link is one pool's refusal; the miners of the others are served.
        if counters.links_up == 0 && without > proxy.resume {
            return Err(format!(
                "proxy {}: no link to a pool for {} s, {} miners need one",
                proxy.name,
                without.as_secs(),
                counters.mining + counters.waiting,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Counters;

    fn shard(age: Option<u64>) -> ShardSample {
        ShardSample {
            tick_age: age.map(Duration::from_secs),
            ..ShardSample::default()
        }
    }

    fn proxy(links_up: u64, without_link_millis: u64) -> ProxySample {
        ProxySample {
            name: "zcash".to_owned(),
            resume: Duration::from_secs(3),
            counters: Counters {
                waiting: 2,
                links_up,
                without_link_millis,
                ..Counters::default()
            },
            ..ProxySample::default()
        }
    }

    #[test]
    fn a_stuck_shard_is_named() {
        assert_eq!(
            alive(&[shard(Some(0)), shard(Some(4)), shard(None)]),
            Ok(())
        );
        let told = alive(&[shard(Some(0)), shard(Some(5))]).unwrap_err();
        assert!(told.starts_with("shard 1 is stuck"), "{told}");
        assert!(ready(Stage::Running, &[shard(Some(9))], &[]).is_err());
    }

    #[test]
    fn it_is_ready_between_the_start_and_the_stop() {
        assert!(ready(Stage::Starting, &[], &[]).is_err());
        assert!(ready(Stage::Running, &[], &[]).is_ok());
        assert!(ready(Stage::Stopping, &[], &[]).is_err());
    }

    #[test]
    fn a_proxy_that_misses_a_pool_for_longer_than_a_resume_is_not_ready() {
        let is_ready = |proxy| ready(Stage::Running, &[], &[proxy]);
        assert!(is_ready(proxy(0, 3000)).is_ok());
        assert!(is_ready(proxy(1, 60_000)).is_ok());
        let told = is_ready(proxy(0, 4000)).unwrap_err();
        assert_eq!(
            told,
            "proxy zcash: no link to a pool for 4 s, 2 miners need one"
        );
    }
}
