//! What a miner of Bitcoin may say.

use stratum_uring::proto::dialect::Coin;

use super::miner_side;

/// Runs the miner's side of the dialect on the lines in `data`.
pub fn run(data: &[u8]) {
    miner_side::run(Coin::Bitcoin, data);
}
