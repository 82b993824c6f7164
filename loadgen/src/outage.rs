//! How long miners were without work when a pool failed. Pure.

use std::time::Duration;

use stratum_uring::practice::equihash::HEADER_LEN;

use crate::mock_pool::number_of;
use crate::pool::judge::Space;

/// Something that was done to a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at: Duration,
    /// The work that this pool had given until then is worth nothing any more. `None` where it stays
    /// good, as the session may be resumed.
    pub(crate) ends_work_of: Option<(Space, u64)>,
}

impl Fault {
    /// Whether a job with this header is worth something after the fault.
    fn leaves(&self, header: &[u8; HEADER_LEN]) -> bool {
        self.ends_work_of
            .is_none_or(|(space, last)| Space::of(header) != space || number_of(header) > last)
    }
}

/// What a fault did to the miners of a thread.
#[derive(Debug)]
pub(crate) struct Outage {
    fault: Option<Fault>,
    /// For each miner since when it has no work, if it has none, and for how long it had none before.
    without: Vec<(Option<Duration>, Duration)>,
    waiting: usize,
}

impl Outage {
    pub(crate) fn new(miners: usize) -> Self {
        Self {
            fault: None,
            without: vec![(None, Duration::ZERO); miners],
            waiting: 0,
        }
    }

    /// Miners that have no work.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether the first fault has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.fault.is_some()
    }

    pub(crate) fn handle_fault(&mut self, fault: Fault) {
        self.fault = Some(fault);
        if fault.ends_work_of.is_some() {
            for miner in 0..self.without.len() {
                self.lose_work(miner, fault.at);
            }
        }
    }

    /// The server closed a miner's connection.
    pub(crate) fn handle_closed(&mut self, miner: usize, now: Duration) {
        if self.has_begun() {
            self.lose_work(miner, now);
        }
    }

    /// A miner was told of a job.
    pub(crate) fn handle_job(&mut self, miner: usize, header: &[u8; HEADER_LEN], now: Duration) {
        let (since, total) = &mut self.without[miner];
        if let (Some(began), Some(fault)) = (*since, &self.fault)
            && fault.leaves(header)
        {
            *total += now.saturating_sub(began);
            *since = None;
            self.waiting -= 1;
        }
    }

    /// For each miner, how long it was without work until now.
    pub(crate) fn totals(&self, now: Duration) -> impl Iterator<Item = Duration> {
        self.without.iter().map(move |(since, total)| {
            let still = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            *total + still
        })
    }

    fn lose_work(&mut self, miner: usize, at: Duration) {
        let (since, _) = &mut self.without[miner];
        if since.is_none() {
            *since = Some(at);
            self.waiting += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(10);

    fn header(space: u8, number: u64) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[4] = space;
        header[60..68].copy_from_slice(&number.to_be_bytes());
        header
    }

    fn seconds(outage: &Outage) -> Vec<u64> {
        let now = AT + Duration::from_secs(9);
        outage.totals(now).map(|time| time.as_secs()).collect()
    }

    #[test]
    fn work_ends_with_its_pool_and_begins_with_the_first_job_that_is_worth_something() {
        let mut outage = Outage::new(3);
        outage.handle_fault(Fault {
            at: AT,
            ends_work_of: Some((Space(1), 7)),
        });
        assert_eq!(outage.waiting(), 3);
        let after = |seconds| AT + Duration::from_secs(seconds);
        outage.handle_job(0, &header(1, 7), after(1));
        outage.handle_job(0, &header(2, 7), after(2));
        outage.handle_closed(1, after(2));
        outage.handle_job(1, &header(1, 8), after(4));
        outage.handle_job(0, &header(2, 8), after(5));
        assert_eq!(seconds(&outage), [2, 4, 9]);
        assert_eq!(outage.waiting(), 1);
    }

    #[test]
    fn where_work_stays_good_only_a_closed_connection_costs_time() {
        let mut outage = Outage::new(2);
        outage.handle_closed(0, AT);
        assert!(
            !outage.has_begun() && outage.waiting() == 0,
            "before the fault"
        );
        outage.handle_fault(Fault {
            at: AT,
            ends_work_of: None,
        });
        outage.handle_closed(1, AT);
        outage.handle_job(1, &header(1, 1), AT + Duration::from_secs(3));
        outage.handle_closed(1, AT + Duration::from_secs(5));
        outage.handle_job(1, &header(1, 1), AT + Duration::from_secs(6));
        assert_eq!(seconds(&outage), [0, 4]);
    }
}
