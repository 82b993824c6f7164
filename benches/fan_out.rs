//! A job through the exchange to all miners of a link. What the kernel does then is not in here.

#[allow(dead_code, reason = "each bench uses some of the farm")]
#[path = "support/farm.rs"]
mod farm;
#[allow(dead_code, reason = "each bench uses some of the lines")]
#[path = "support/lines.rs"]
mod lines;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use crate::farm::Farm;

const MINERS: u32 = 10_000;

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out/equihash_200_9");
    group.throughput(Throughput::Elements(u64::from(MINERS)));
    let mut farm = Farm::new(MINERS);
    let mut jobs = 0;
    let sends_before = farm.sink.sends;
    group.bench_function("job_to_10000_miners", |bencher| {
        bencher.iter(|| {
            jobs += 1;
            farm.announce();
        });
    });
    assert_eq!(farm.sink.sends - sends_before, jobs * MINERS as usize);

    // The two lines go out together, in one send for each miner.
    let sends_before = farm.sink.sends;
    jobs = 0;
    group.bench_function("target_and_job_to_10000_miners", |bencher| {
        bencher.iter(|| {
            jobs += 1;
            farm.hear_pool(lines::set_target(jobs.to_le_bytes()[0]).as_bytes());
            farm.announce();
        });
    });
    assert_eq!(farm.sink.sends - sends_before, jobs * MINERS as usize);
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
