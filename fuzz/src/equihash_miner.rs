//! What a miner of Equihash may say.

use stratum_uring::proto::dialect::Coin;
use stratum_uring::proto::dialect::equihash::Parameters;

use super::miner_side;

/// Runs the miner's side of the dialect on the lines in `data`.
pub fn run(data: &[u8]) {
    miner_side::run(
        Coin::Equihash(Parameters::new(48, 5).expect("a set of a coin")),
        data,
    );
}
