//! Reading a line: by the scanner, and by simd-json where the scanner gives up.

#[allow(dead_code, reason = "each bench uses some of the lines")]
#[path = "support/lines.rs"]
mod lines;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratum_uring::wire::Reader;

fn json(criterion: &mut Criterion) {
    let submit = lines::submit(lines::WORKER, "1a2b3c4d", 7);
    // One escape is enough: the scanner leaves the whole line to simd-json.
    let escaped = lines::submit(r"t1addr.rig\u0031", "1a2b3c4d", 7);
    let notify = lines::notify("cccd", true);
    let subscribe = lines::subscribe();
    let reply = r#"{"id":16,"result":true,"error":null}"#.to_owned();
    for (kind, way, text) in [
        ("submit", "scan", &submit),
        ("submit", "fallback", &escaped),
        ("notify", "scan", &notify),
        ("subscribe", "scan", &subscribe),
        ("reply", "scan", &reply),
    ] {
        let mut reader = Reader::new();
        let mut group = criterion.benchmark_group(format!("{kind}/equihash_200_9"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(way, |bencher| {
            bencher.iter(|| {
                let message = reader.read(black_box(text.as_bytes()));
                black_box(message.expect("a message"));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, json);
criterion_main!(benches);
