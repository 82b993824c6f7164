//! Giving a miner its part of the nonce space, and taking it back.

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use stratum_uring::exchange::Slots;

const CAPACITY: u32 = 65_536;

fn slots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slots/equihash_200_9");
    for (name, live) in [
        ("come_and_go_alone", 0),
        ("come_and_go_among_65535", CAPACITY - 1),
    ] {
        let mut slots = Slots::new(CAPACITY, CAPACITY, (0, 1));
        for _ in 0..live {
            slots.take(0).expect("there is room");
        }
        let mut job = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                job += 1;
                let taken = slots.take(black_box(job)).expect("there is room");
                slots.give_back(taken.slot, job);
                taken
            });
        });
        assert_eq!(slots.live(), live);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::settings();
    targets = slots
}
criterion_main!(benches);
