//! Cutting received bytes into lines.

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratum_uring::wire::{Tail, TailPool, cut};

use crate::support::lines;

const LINE_LEN_MAX: usize = 8 * 1024;

/// Takes every line of these pieces, which are of one link; returns how many there were.
fn cut_all(tail: &mut Tail, pool: &mut TailPool, pieces: &mut [&mut [u8]]) -> usize {
    let mut count = 0;
    for piece in pieces {
        let mut lines = cut(tail, pool, piece, LINE_LEN_MAX);
        while let Some(line) = lines.next() {
            black_box(line.expect("no line is too long"));
            count += 1;
        }
    }
    count
}

fn line(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line/equihash_200_9");
    let mut pool = TailPool::new(4);
    let mut tail = Tail::default();
    let submit = format!("{}\n", lines::submit(lines::WORKER, "1a2b3c4d", 7));
    let bytes_of = |text: &str| Throughput::Bytes(text.len() as u64);

    let mut whole = submit.clone().into_bytes();
    group.throughput(bytes_of(&submit));
    group.bench_function("submit_whole", |bencher| {
        bencher.iter(|| cut_all(&mut tail, &mut pool, &mut [&mut whole]));
    });

    // As it comes where a line crosses the end of a receive buffer: the tail is copied.
    let mut split = submit.clone().into_bytes();
    let (first, second) = split.split_at_mut(submit.len() / 2);
    let mut pieces = [first, second];
    group.bench_function("submit_in_two_pieces", |bencher| {
        bencher.iter(|| cut_all(&mut tail, &mut pool, &mut pieces));
    });

    // What firmware pipelines, and what comes of a link that was full for a moment.
    let handshakes = format!("{}\n{}\n", lines::subscribe(), lines::authorize()).repeat(16);
    let mut many = handshakes.clone().into_bytes();
    group.throughput(bytes_of(&handshakes));
    group.bench_function("32_short_lines", |bencher| {
        bencher.iter(|| cut_all(&mut tail, &mut pool, &mut [&mut many]));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::settings();
    targets = line
}
criterion_main!(benches);
