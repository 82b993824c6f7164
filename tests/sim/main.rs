//! The exchanges under a storm: seeded, with virtual time, between model pools and model miners.
//!
//! One seed is one small farm for about a minute of virtual time, on one to four shards with the channels
//! between them. Its pools delay, reorder, reject, forget, reset, refuse, go silent, change nonce_1 and talk
//! rubbish; its miners pipeline, stall, vanish in mid-flight and lie, and reconnect to any shard. After every
//! step the invariants of `world/` are checked by name. Then the farm calms down, everything must come
//! to rest, and it is shut down.
//!
//! - `cargo test --test sim` plays 256 seeds,
//! - `SIM_SEED=7 cargo test --test sim` plays one; with `SIM_TRACE=1` it tells every line that is said,
//! - `SIM_SEEDS=10000 cargo test --release --test sim` is the soak.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of the models are small"
)]

mod miner;
mod pool;
mod random;
mod totals;
mod world;

use totals::Totals;

const SEEDS: u64 = 256;

/// A thread that found so many seeds that fail plays no more.
const FAILED_MAX: usize = 5;

/// Says which seed it was when an invariant is broken.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with SIM_SEED={} cargo test --test sim", self.0);
        }
    }
}

fn play(seed: u64) -> Totals {
    let _replay = Replay(seed);
    world::World::new(seed).run()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn the_invariants_hold_whatever_pools_and_miners_do() {
    if let Some(seed) = number("SIM_SEED") {
        println!("{:#?}", play(seed));
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    let (mut totals, mut failed) = (Totals::default(), Vec::new());
                    for seed in (first..seeds).step_by(threads as usize) {
                        // A soak goes on, and names them all.
                        match std::panic::catch_unwind(|| play(seed)) {
                            Ok(played) => totals.add(&played),
                            Err(_) => failed.push(seed),
                        }
                        if failed.len() == FAILED_MAX {
                            break;
                        }
                    }
                    (totals, failed)
                })
            })
            .collect();
        for part in parts {
            let (part, seeds) = part.join().expect("a seed that fails is caught");
            totals.add(&part);
            failed.extend(seeds);
        }
    });
    println!("{totals:#?}");
    assert!(
        failed.is_empty(),
        "seeds that fail, each told above: {failed:?}"
    );
    if seeds >= SEEDS {
        totals.assert_that_nothing_was_missed();
    }
}

#[test]
fn a_shutdown_in_the_midst_of_the_storm_leaves_nothing_behind() {
    for seed in 0..64 {
        let _replay = Replay(seed);
        let random = random::Rng::with_seed(seed);
        world::World::with(seed, random, 500 + 311 * seed).run_storm();
    }
}

#[test]
fn a_seed_is_played_alike_each_time() {
    assert_eq!(play(3), play(3));
}
