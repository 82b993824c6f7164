//! What a pool of Monero may say.

use stratum_uring::proto::dialect::Coin;

use super::pool_side;

/// Runs the pool's side of the dialect on the lines in `data`.
pub fn run(data: &[u8]) {
    pool_side::run(Coin::Monero, data);
}
