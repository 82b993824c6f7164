//! Reading a line: by the scanner, by simd-json where the scanner gives up, and by the two crates that one
//! would take instead, each used as well as it can be.

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use stratum_uring::wire::Reader;

use crate::support::lines;

/// A message as serde would have it, with nothing copied that need not be.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

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
    for (kind, text) in [("submit", &submit), ("notify", &notify)] {
        let mut group = criterion.benchmark_group(format!("{kind}/equihash_200_9"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("simd_json", |bencher| {
            let mut bytes = text.clone().into_bytes();
            let mut buffers = simd_json::Buffers::new(bytes.len());
            bencher.iter(|| {
                // It reads in place; without an escape it leaves the bytes as they are.
                let tape = simd_json::to_tape_with_buffers(black_box(&mut bytes), &mut buffers);
                black_box(tape.expect("a message"));
            });
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| {
                let message: Envelope<'_> =
                    serde_json::from_slice(black_box(text.as_bytes())).expect("a message");
                let params = message.params.map_or("[]", RawValue::get);
                let fields: Vec<&RawValue> = serde_json::from_str(params).expect("an array");
                black_box((message.id, message.method, message.result, message.error));
                black_box(fields);
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = support::settings();
    targets = json
}
criterion_main!(benches);
