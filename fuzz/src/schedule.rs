//! The simulation of `tests/sim`, with the fuzzer's bytes in place of the seed's choices.
//!
//! They say what kind of farm it is, who says what and when, what pools do with a share, how much a socket
//! takes and how late a letter is. The invariants are those of the simulation, checked after every step. The
//! shutdown comes in the midst of the storm: the calm behind it takes most of a seed's time.

#[path = "../../tests/sim/miner.rs"]
mod miner;
#[path = "../../tests/sim/pool.rs"]
mod pool;
#[allow(dead_code, reason = "the simulation uses more of it")]
#[path = "../../tests/sim/random.rs"]
mod random;
#[allow(dead_code, reason = "the simulation uses more of it")]
#[path = "../../tests/sim/totals.rs"]
mod totals;
#[allow(dead_code, reason = "the simulation uses more of it")]
#[path = "../../tests/sim/world/mod.rs"]
mod world;

/// Milliseconds of storm: as long as a thousand choices last, and a farm needs to lose its pools.
const STORM: u64 = 10_000;

/// Two bytes for what a seed decides by itself; then the choices.
pub fn run(data: &[u8]) {
    let (seed, choices) = data.split_at(data.len().min(2));
    let seed = seed
        .iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let random = random::Rng::of(choices.to_vec(), seed);
    let totals = world::World::with(seed, random, STORM).run_storm();
    assert!(totals.accepted <= totals.submits);
}
