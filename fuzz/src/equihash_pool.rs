//! What a pool of Equihash may say.

use stratum_uring::proto::dialect::Coin;
use stratum_uring::proto::dialect::equihash::Parameters;

use super::pool_side;

/// Runs the pool's side of the dialect on the lines in `data`.
pub fn run(data: &[u8]) {
    pool_side::run(
        Coin::Equihash(Parameters::new(48, 5).expect("a set of a coin")),
        data,
    );
}
