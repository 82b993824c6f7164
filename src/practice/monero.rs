//! Monero's jobs and shares: what a made-up job looks like, and what a share's result claims.
//!
//! A job is a block's header with the root of its transactions, in which the miner rolls four bytes. The
//! hash is RandomX, which takes a machine some milliseconds and 256 MiB, so nobody computes it here.

use sha2::{Digest, Sha256};

use super::jobs::Random;
use crate::wire::{encode, hex};

/// Length of the nonce.
pub const NONCE_LEN: usize = 4;

/// Length of a made-up blob: that of a block with 1 to 127 transactions.
pub const BLOB_LEN: usize = 76;

/// Where the nonce stands in a blob.
pub const NONCE: std::ops::Range<usize> = 39..39 + NONCE_LEN;

/// Where the hash of the block before stands in a blob, and the root of the transactions.
const PREVIOUS: std::ops::Range<usize> = 7..39;
const ROOT: std::ops::Range<usize> = 43..75;

/// Version of the made-up blocks, and the one that miners vote for.
const VERSIONS: [u8; 2] = [16, 16];

/// Transactions of the made-up blocks.
const TRANSACTIONS: u8 = 29;

/// Names the set of data that RandomX hashes with. Real ones are the hash of an older block.
const SEED_HASH: [u8; 32] = *b"practice: nothing real is mined!";

/// A job as all links have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    blob: [u8; BLOB_LEN],
    /// Counts the blocks.
    height: u64,
}

impl Work {
    /// A job on this block, with this root of its transactions.
    #[must_use]
    pub fn new(previous: [u8; 32], root: [u8; 32], time: u32, height: u64) -> Self {
        let mut blob = [0; BLOB_LEN];
        blob[..2].copy_from_slice(&VERSIONS);
        blob[2..7].copy_from_slice(&varint(time));
        blob[PREVIOUS].copy_from_slice(&previous);
        blob[ROOT].copy_from_slice(&root);
        blob[BLOB_LEN - 1] = TRANSACTIONS;
        Self { blob, height }
    }

    /// A job that looks like a real one.
    pub(super) fn make(random: &mut Random, previous: [u8; 32], time: u32, height: u64) -> Self {
        Self::new(previous, random.bytes(), time, height)
    }

    /// The blob of the link with this nonce_1, its nonce zero. As with real pools no two links have the
    /// same one: the transaction that pays the pool has other bytes in it, which changes the root.
    #[must_use]
    pub fn blob(&self, nonce_1: &[u8]) -> [u8; BLOB_LEN] {
        let mut blob = self.blob;
        let own = blob[ROOT].iter_mut().zip(nonce_1);
        own.for_each(|(byte, own)| *byte = *own);
        blob
    }

    /// Appends the job as an object, as it stands in an answer to a login and in an announcement.
    pub fn append(&self, id: &str, nonce_1: &[u8], target: &[u8; 32], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"blob\":\"");
        hex::append_encoded(out, &self.blob(nonce_1));
        out.extend_from_slice(b"\",\"job_id\":");
        encode::append_string(out, id);
        out.extend_from_slice(b",\"target\":\"");
        hex::append_encoded(out, &highest(target).to_le_bytes());
        out.extend_from_slice(b"\",\"algo\":\"rx/0\",\"height\":");
        encode::append_u64(out, self.height);
        out.extend_from_slice(b",\"seed_hash\":\"");
        hex::append_encoded(out, &SEED_HASH);
        out.extend_from_slice(b"\"}");
    }
}

/// Whether a share's result claims to meet the target: its last eight bytes, a little-endian number, are
/// held against the target's first eight. Whether it is the blob's hash, nobody looks.
#[must_use]
pub fn claims_target(result: &[u8; 32], target: &[u8; 32]) -> bool {
    let last = result.last_chunk().copied().unwrap_or([0xff; 8]);
    u64::from_le_bytes(last) < highest(target)
}

/// What simulated miners claim in place of the hash: bytes of the blob's SHA-256, and behind them a number
/// that meets the target. A pool of their own sees by it that a share is for the blob that it gave.
#[must_use]
pub fn stand_in(blob: &[u8], target: &[u8; 32]) -> [u8; 32] {
    let mut result: [u8; 32] = Sha256::digest(blob).into();
    if let Some(last) = result.last_chunk_mut() {
        let number = u64::from_le_bytes(*last) % highest(target).max(1);
        *last = number.to_le_bytes();
    }
    result
}

/// Whether a result is one of these for this blob, whatever the target.
#[must_use]
pub fn is_stand_in(result: &[u8; 32], blob: &[u8]) -> bool {
    let hash: [u8; 32] = Sha256::digest(blob).into();
    result[..24] == hash[..24]
}

/// The part of a target that Monero's miners know.
fn highest(target: &[u8; 32]) -> u64 {
    u64::from_be_bytes(target.first_chunk().copied().unwrap_or_default())
}

/// Seven bits in each byte, the lowest first: five bytes, as any time from 1978 on has.
fn varint(number: u32) -> [u8; 5] {
    std::array::from_fn(|place| {
        let bits = u8::try_from(number >> (7 * place) & 0x7f).unwrap_or_default();
        if place < 4 { bits | 0x80 } else { bits }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_shape_of_a_real_one() {
        // The first fields of a blob of a pool: versions 7 and 7, and the time behind them.
        assert_eq!(varint(0x59b0_0380), [0x80, 0x87, 0xc0, 0xcd, 0x05]);
        let work = Work::make(&mut Random::new(1), [7; 32], 1_790_000_000, 3);
        let blob = work.blob(&[]);
        assert_eq!(blob[..2], [16, 16]);
        assert_eq!(blob[7..39], [7; 32]);
        assert_eq!(blob[39..43], [0; 4], "the nonce is the miner's");
        assert_eq!(blob[75], 29);
    }

    #[test]
    fn links_differ_in_the_root_and_nowhere_else() {
        let work = Work::make(&mut Random::new(1), [7; 32], 1_790_000_000, 3);
        let [one, two] = [[1, 2, 3, 4], [1, 2, 3, 5]].map(|nonce_1| work.blob(&nonce_1));
        assert_ne!(one, two);
        assert_eq!(one[..46], two[..46]);
        assert_eq!(one[47..], two[47..]);
    }

    #[test]
    fn what_stands_for_a_hash_is_of_one_blob_and_meets_any_target() {
        for first in [
            [0xff; 8],
            [0, 0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0xff, 0, 0, 0, 0, 0],
        ] {
            let mut target = [0; 32];
            target[..8].copy_from_slice(&first);
            let result = stand_in(b"one", &target);
            assert!(claims_target(&result, &target));
            assert!(is_stand_in(&result, b"one") && !is_stand_in(&result, b"two"));
        }
    }

    #[test]
    fn the_end_of_a_result_is_held_against_the_start_of_a_target() {
        let mut target = [0; 32];
        target[..8].copy_from_slice(&[0, 0, 0, 0, 0, 0, 1, 0]);
        let mut result = [0xff; 32];
        result[24..].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert!(claims_target(&result, &target));
        result[24..].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        assert!(!claims_target(&result, &target));
        assert!(!claims_target(&[0xff; 32], &[0xff; 32]), "not even then");
    }
}
