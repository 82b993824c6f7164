//! How often a shard looks who of the blocked miners and pools takes something nevertheless: four times while
//! one may take nothing.

use std::time::Duration;

use crate::exchange::Limits;
use crate::shard::TICK;

/// Looks while somebody may take nothing.
const LOOKS: u32 = 4;

/// When to look at whom. Miners, of whom many may be blocked, are looked at in parts, one in each tick, so no
/// tick has them all to do; pools are few, and are looked at together.
#[derive(Debug)]
pub(crate) struct Looks {
    /// The ticks in which all miners have their turn.
    pub(crate) miner_parts: usize,
    pools_every: Duration,
    next_pools: Duration,
}

impl Looks {
    /// As often as the strictest of these limits wants it.
    pub(crate) fn within<'a>(limits: impl Iterator<Item = &'a Limits> + Clone) -> Self {
        let strictest = |wait: fn(&Limits) -> Duration| {
            let wait = limits.clone().map(wait).min();
            wait.map_or(TICK, |wait| wait / LOOKS)
        };
        let ticks = strictest(|it| it.miner_blocked).as_millis() / TICK.as_millis();
        Self {
            miner_parts: usize::try_from(ticks).unwrap_or(usize::MAX).max(1),
            pools_every: strictest(|it| it.pool_outbox_stalled),
            next_pools: TICK,
        }
    }

    /// Whether it is time to look at pools.
    pub(crate) fn are_pools_due(&mut self, now: Duration) -> bool {
        let are_due = now >= self.next_pools;
        if are_due {
            self.next_pools = now + self.pools_every;
        }
        are_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(miner_blocked: u64, pool_outbox_stalled: u64) -> Limits {
        Limits {
            miner_blocked: Duration::from_secs(miner_blocked),
            pool_outbox_stalled: Duration::from_secs(pool_outbox_stalled),
            ..Limits::default()
        }
    }

    #[test]
    fn pools_that_may_wait_for_less_time_hurry_no_look_at_miners() {
        let both = [limits(60, 10), limits(600, 600)];
        let mut looks = Looks::within(both.iter());
        assert_eq!(looks.miner_parts, 60, "15 seconds");
        let times = (1..=400).filter(|tick| looks.are_pools_due(TICK * *tick));
        assert_eq!(times.count(), 40, "each 2.5 of 100 seconds");
        let strict = Looks::within([limits(1, 600)].iter());
        assert_eq!(strict.miner_parts, 1, "all at each tick");
        assert_eq!(Looks::within([].iter()).miner_parts, 1);
    }
}
