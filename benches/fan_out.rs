//! A job: encoded for the miners, and through the exchange to all miners of a link. What the kernel does
//! then is not in here.

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{Dialect, Equihash, PoolMessage};
use stratum_uring::proto::job::JobId;
use stratum_uring::wire::Reader;

use crate::support::farm::Farm;
use crate::support::lines;

/// All that one pool link can have.
const MINERS: u32 = 65_536;

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out/equihash_200_9");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(MINERS)));
    let mut farm = Farm::new(MINERS);
    let mut jobs = 0;
    let sends_before = farm.sink.sends;
    group.bench_function("job_to_65536_miners", |bencher| {
        bencher.iter(|| {
            jobs += 1;
            farm.announce();
        });
    });
    assert_eq!(farm.sink.sends - sends_before, jobs * MINERS as usize);

    // The two lines go out together, in one send for each miner.
    let sends_before = farm.sink.sends;
    jobs = 0;
    group.bench_function("target_and_job_to_65536_miners", |bencher| {
        bencher.iter(|| {
            jobs += 1;
            farm.hear_pool(lines::set_target(jobs.to_le_bytes()[0]).as_bytes());
            farm.announce();
        });
    });
    assert_eq!(farm.sink.sends - sends_before, jobs * MINERS as usize);
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let dialect = Equihash::new(Parameters::new(200, 9).expect("the parameters of Zcash"));
    let text = lines::notify("cccd", true);
    let mut reader = Reader::new();
    let message = reader.read(text.as_bytes()).expect("a message");
    let message = dialect.read_pool_message(b"mining.notify", message.params);
    let Ok(PoolMessage::Job(job)) = message else {
        panic!("it is a job: {message:?}");
    };
    let mut group = criterion.benchmark_group("notify/equihash_200_9");
    let mut out = Vec::new();
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            dialect.write_job(&mut out, black_box(&job), JobId(0x1a2b_3c4d), true);
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::settings();
    targets = encode, fan_out
}
criterion_main!(benches);
