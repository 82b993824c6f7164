//! A share through the whole exchange: from the miner's line to the bytes for the pool, and back.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, to leave out what it does not measure"
)]

#[path = "support/farm.rs"]
mod farm;
#[path = "support/lines.rs"]
mod lines;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use crate::farm::{Farm, token};

/// Shares for one job; then the pool announces the next one, as it would.
const SHARES_PER_JOB: u32 = 16 * 1024;

/// Shares on their way at once, in the bench that leaves the answers out.
const IN_FLIGHT: u64 = 256;

/// One miner that submits share after share.
struct Submitter {
    farm: Farm,
    line: Vec<u8>,
    /// Where in the line the digits are that make each share another one.
    nonce: usize,
    count: u32,
    /// Our request id of the next share.
    request_id: u64,
}

impl Submitter {
    fn new() -> Self {
        let mut submitter = Self {
            farm: Farm::new(1),
            line: Vec::new(),
            nonce: 0,
            count: 0,
            request_id: stratum_uring::proto::pool::SHARE_ID_FIRST,
        };
        submitter.take_job();
        submitter
    }

    fn take_job(&mut self) {
        const MARK: u32 = 0xfeed_beef;
        let text = lines::submit(lines::WORKER, &self.farm.job_id(), MARK);
        self.nonce = text.find("feedbeef").expect("the nonce's digits");
        self.line = text.into_bytes();
    }

    /// Makes the line another share; the work of a few nanoseconds.
    fn next_share(&mut self) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.count += 1;
        if self.count.is_multiple_of(SHARES_PER_JOB) {
            self.farm.announce();
            self.take_job();
        }
        for (place, digit) in self.line[self.nonce..][..8].iter_mut().rev().enumerate() {
            *digit = DIGITS[(self.count >> (4 * place)) as usize & 15];
        }
    }

    /// The miner's line goes in; what it makes for the pool is written.
    fn forward(&mut self) {
        let Farm {
            exchange,
            link,
            now,
            ..
        } = &mut self.farm;
        exchange.handle_miner_line(*now, token(0), black_box(&self.line));
        let len = black_box(exchange.unwritten(*link)).len();
        exchange.wrote(*now, *link, len);
    }

    /// The pool accepts the oldest share, and the miner is told.
    fn answer(&mut self) {
        let id = self.request_id;
        self.request_id += 1;
        let line = format!(r#"{{"id":{id},"result":true,"error":null}}"#);
        self.farm.hear_pool(line.as_bytes());
        self.farm.exchange.flush(&mut self.farm.sink);
    }

    /// Everything that was submitted was accepted, or the bench measured something else.
    fn check(&self) {
        let counters = self.farm.exchange.counters();
        assert_eq!(counters.refused.iter().sum::<u64>() + counters.rejected, 0);
        assert_eq!(counters.accepted, u64::from(self.count));
    }
}

fn submit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("submit/equihash_200_9");
    let mut submitter = Submitter::new();
    group.throughput(Throughput::Bytes(submitter.line.len() as u64));
    group.bench_function("forward", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let batch = left.min(IN_FLIGHT);
                let start = Instant::now();
                for _ in 0..batch {
                    submitter.next_share();
                    submitter.forward();
                }
                spent += start.elapsed();
                for _ in 0..batch {
                    submitter.answer();
                }
                left -= batch;
            }
            spent
        });
    });
    group.bench_function("round_trip", |bencher| {
        bencher.iter(|| {
            submitter.next_share();
            submitter.forward();
            submitter.answer();
        });
    });
    submitter.check();

    let mut duplicates = Submitter::new();
    duplicates.next_share();
    duplicates.forward();
    group.bench_function("duplicate", |bencher| {
        bencher.iter(|| {
            duplicates.forward();
            duplicates.farm.exchange.flush(&mut duplicates.farm.sink);
        });
    });
    group.finish();
}

criterion_group!(benches, submit);
criterion_main!(benches);
