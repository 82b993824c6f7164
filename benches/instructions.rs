//! What `benches/instructions` counts: each path in a function of its own, which callgrind is told to
//! collect, after a warm-up that it does not see.
//!
//! By hand: `cargo run --release --example instructions -- PATH COUNT`.

#[allow(dead_code, reason = "each bench uses some of it")]
mod support;

use crate::support::farm::Farm;
use crate::support::submitter::Submitter;

/// Shares and jobs before the first one that counts: tables and buffers have grown by then.
const WARM_UP: u32 = 2000;

/// A miner's line, to the bytes for the pool.
#[inline(never)]
fn counted_share_in(submitter: &mut Submitter) {
    submitter.forward();
}

/// The pool's answer, to the bytes for the miner.
#[inline(never)]
fn counted_share_answer(submitter: &mut Submitter) {
    submitter.hear_reply();
}

/// A share that came before, refused.
#[inline(never)]
fn counted_share_again(submitter: &mut Submitter) {
    submitter.forward();
    submitter.farm.exchange.flush(&mut submitter.farm.sink);
}

/// A pool's job, to all miners.
#[inline(never)]
fn counted_job(farm: &mut Farm, line: &str) {
    farm.send_job(line);
}

fn shares(count: u32, again: bool) {
    let mut submitter = Submitter::new();
    for _ in 0..WARM_UP {
        submitter.next_share();
        submitter.forward();
        submitter.answer();
    }
    for _ in 0..count {
        submitter.next_share();
        counted_share_in(&mut submitter);
        if again {
            counted_share_again(&mut submitter);
        }
        submitter.next_reply();
        counted_share_answer(&mut submitter);
    }
}

fn jobs(miners: u32, count: u32) {
    let mut farm = Farm::new(miners);
    for _ in 0..20 {
        farm.announce();
    }
    let sends = farm.sink.sends;
    for _ in 0..count {
        let line = farm.next_job();
        counted_job(&mut farm, &line);
    }
    let sent = farm.sink.sends - sends;
    assert_eq!(
        sent,
        miners as usize * count as usize,
        "a job was not sent to all"
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, count] = arguments.as_slice() else {
        eprintln!("usage: instructions share|again|job_1|job_10001 COUNT");
        std::process::exit(2);
    };
    let count = count.parse().expect("a count");
    match path.as_str() {
        "share" => shares(count, false),
        "again" => shares(count, true),
        "job_1" => jobs(1, count),
        "job_10001" => jobs(10_001, count),
        _ => panic!("no path {path}"),
    }
}
