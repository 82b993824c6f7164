//! The exchange at work takes no memory from the heap: not for a share, and not for a miner of a job.
//!
//! A binary of its own, since it brings an allocator that counts (for each thread on its own).

#[allow(dead_code, reason = "each bench uses some of it")]
#[path = "../benches/support/mod.rs"]
mod support;

use allocation_counter::{AllocationInfo, measure};
use stratum_uring::exchange::ShareReply;

use crate::support::farm::{Farm, token};
use crate::support::submitter::Submitter;

/// Shares before the first one that counts, and those that count; a new job comes for every 500.
const WARM_UP: u32 = 10_000;
const SHARES: u32 = 10_000;
const SHARES_PER_JOB: u32 = 500;

/// Jobs before the first one that counts, and those that count.
const JOBS: u32 = 20;

/// Allocations for a job, however many miners it is for: what is kept of it (the pool's id, the params)
/// and the line that all its miners share.
const PER_JOB: u64 = 5;

fn add(sum: &mut AllocationInfo, one: AllocationInfo) {
    sum.count_total += one.count_total;
    sum.bytes_total += one.bytes_total;
}

/// Heap allocations of so many shares, from the miner's line to the pool and from its answer back.
fn of_shares(submitter: &mut Submitter, count: u32) -> AllocationInfo {
    let mut sum = AllocationInfo::default();
    for _ in 0..count {
        // The pool's next job may come in here: it is counted below.
        submitter.next_share();
        add(&mut sum, measure(|| submitter.forward()));
        add(&mut sum, measure(|| submitter.answer()));
    }
    submitter.check();
    sum
}

#[test]
fn a_share_and_its_answer_allocate_nothing() {
    for reply in [ShareReply::Pool, ShareReply::Immediate] {
        let mut submitter = Submitter::answering(SHARES_PER_JOB, reply);
        of_shares(&mut submitter, WARM_UP);
        let info = of_shares(&mut submitter, SHARES);
        assert_eq!(info.count_total, 0, "{reply:?}: {} bytes", info.bytes_total);
    }
}

#[test]
fn a_share_that_is_refused_allocates_nothing() {
    let mut submitter = Submitter::with(SHARES_PER_JOB);
    of_shares(&mut submitter, WARM_UP);
    submitter.next_share();
    submitter.forward();
    submitter.answer();
    let mut sum = AllocationInfo::default();
    for _ in 0..SHARES {
        let Submitter { farm, line, .. } = &mut submitter;
        let one = measure(|| {
            farm.exchange.handle_miner_line(farm.now, token(0), line);
            farm.exchange.flush(&mut farm.sink);
        });
        add(&mut sum, one);
    }
    assert_eq!(sum.count_total, 0, "{} bytes", sum.bytes_total);
}

/// The most that one job takes from the heap, with so many miners.
fn most_of_jobs(miners: u32) -> u64 {
    let mut farm = Farm::new(miners);
    (0..JOBS).for_each(|_| farm.announce());
    let jobs = (0..JOBS).map(|_| {
        let line = farm.next_job();
        measure(|| farm.send_job(&line)).count_total
    });
    jobs.max().expect("some jobs")
}

#[test]
fn a_job_allocates_the_same_for_one_miner_and_for_ten_thousand() {
    let (one, many) = (most_of_jobs(1), most_of_jobs(10_000));
    assert_eq!(one, many);
    assert!(many <= PER_JOB, "{many} for a job");
}
