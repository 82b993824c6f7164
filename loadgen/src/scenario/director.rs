//! Does to the pools what a scenario has them suffer, while the fleet runs.

use std::time::Duration;

use crate::clock::Clock;
use crate::fleet::Moment;
use crate::outage::Fault;
use crate::pool::judge::Jobs;
use crate::pool::process::PoolProcess;
use crate::scenario::outcome::Outcome;
use crate::scenario::{Act, BEFORE, JOB_INTERVAL, LATE, Rule, SPACES, SPACES_ANEW, Scenario};

/// All have work for so long again before a run ends.
const CALM: Duration = Duration::from_secs(2);

/// Who has no work so long after the bound gets none any more.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Director {
    scenario: &'static Scenario,
    clock: Clock,
    pools: Vec<PoolProcess>,
    miners: u64,
    bound: Duration,
    /// The step that comes next.
    next: usize,
    /// When the first step was taken, and the last one.
    fault: Option<Duration>,
    last: Duration,
    calm_since: Option<Duration>,
    error: Option<String>,
}

impl Director {
    pub(super) fn new(
        scenario: &'static Scenario,
        clock: Clock,
        pools: Vec<PoolProcess>,
        miners: u32,
        bound: Duration,
    ) -> Self {
        Self {
            scenario,
            clock,
            pools,
            miners: u64::from(miners),
            bound,
            next: 0,
            fault: None,
            last: Duration::ZERO,
            calm_since: None,
            error: None,
        }
    }

    /// Takes the steps that are due, and says whether the run may end.
    pub(super) fn is_enough(&mut self, moment: &Moment<'_>) -> bool {
        let now = moment.now;
        while let Some((after, act)) = self.scenario.steps.get(self.next) {
            let due = self
                .fault
                .map_or(moment.began + BEFORE, |fault| fault + *after);
            if now < due {
                return false;
            }
            if self.next == 0 {
                moment.control.tell(self.fault_now());
            }
            if let Err(error) = self.take(*act) {
                self.error = Some(error);
                return true;
            }
            self.last = self.clock.now();
            self.fault = self.fault.or(Some(self.last));
            self.next += 1;
        }
        let totals = moment.totals;
        let calm = totals.waiting == 0 && totals.mining == self.miners;
        self.calm_since = calm.then(|| self.calm_since.unwrap_or(now));
        let is_calm = self.calm_since.is_some_and(|since| now - since >= CALM);
        let watched = now.saturating_sub(self.last);
        (is_calm && watched >= self.scenario.watch)
            || watched > self.scenario.watch + self.bound + PATIENCE
    }

    fn fault_now(&self) -> Fault {
        let space = self.pools[0].space();
        let jobs = Jobs {
            space,
            interval: JOB_INTERVAL,
        };
        let number = jobs.number(self.clock.since_1970());
        Fault {
            at: self.clock.now(),
            ends_work_of: (self.scenario.rule != Rule::Unnoticed).then_some((space, number)),
        }
    }

    fn take(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::ResetLinks(pool) => self.pools[pool].reset_links(),
            Act::BeLate(pool) => self.pools[pool].be_late(LATE),
            Act::Kill(pool) => {
                self.pools[pool].kill();
                Ok(())
            }
            Act::Stop(pool) => self.pools[pool].stop(),
            Act::Start(pool) => self.pools[pool].start_again(SPACES[pool]),
            Act::StartAnew(pool) => self.pools[pool].start_again(SPACES_ANEW[pool]),
        }
    }

    /// Adds what the pools have to say.
    ///
    /// # Errors
    ///
    /// A text, when a step could not be taken, or the pool that must serve does not answer.
    pub(super) fn finish(mut self, outcome: &mut Outcome) -> Result<(), String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let verdicts = self.pools[self.scenario.serves].verdicts()?;
        if verdicts.accepted == 0 {
            outcome
                .failures
                .push("no share came to the pool that should serve".to_owned());
        }
        if verdicts.wrong > 0 {
            outcome.failures.push(format!(
                "{} shares of the wrong job or nonce_1",
                verdicts.wrong
            ));
        }
        outcome.pool_duplicates = verdicts.duplicate;
        Ok(())
    }
}
