//! A share: through the whole exchange, from the miner's line to the bytes for the pool and back, and the
//! step in which its line is written anew.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, to leave out what it does not measure"
)]

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{Dialect, Equihash, MinerRequest, ShareParts, ShareTerms};
use stratum_uring::proto::version_mask::VersionMask;
use stratum_uring::wire::Reader;

use crate::support::lines;
use crate::support::submitter::Submitter;

/// Shares on their way at once, in the bench that leaves the answers out.
const IN_FLIGHT: u64 = 256;

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

/// From the fields that the scanner found to the line for the pool, checks of the shape included.
fn rewrite(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("submit/equihash_200_9");
    let dialect = Equihash::new(Parameters::new(200, 9).expect("the parameters of Zcash"));
    let text = lines::submit(lines::WORKER, "1a2b3c4d", 7);
    let mut reader = Reader::new();
    let message = reader.read(text.as_bytes()).expect("a message");
    let request = dialect.read_miner_request(b"mining.submit", message.params);
    let Ok(MinerRequest::Submit(submit)) = request else {
        panic!("it is a submit: {request:?}");
    };
    let mut out = Vec::new();
    let terms = ShareTerms {
        extranonce2_len: 26,
        slot: &[0x12, 0x34],
        version_mask: VersionMask::NONE,
        time_max: u64::MAX,
    };
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("rewrite", |bencher| {
        bencher.iter(|| {
            out.clear();
            dialect
                .check_share(black_box(&submit), terms)
                .expect("the right shape");
            let parts = ShareParts {
                request_id: 16,
                worker: "t1account.farm",
                pool_job_id: br#""cccd""#,
                share_session: b"",
                slot: &[0x12, 0x34],
                submit: black_box(&submit),
            };
            black_box(dialect.write_share(&mut out, parts))
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::settings();
    targets = submit, rewrite
}
criterion_main!(benches);
