//! What is hashed for a share of Bitcoin.
//!
//! A miner's share is a block header: its merkle root comes from the coinbase, which holds extranonce1 and
//! extranonce2, and from the branches of the job.

use crate::proto::dialect::common::sha256d;
use crate::proto::dialect::{Extranonce1, ShareTerms, common};
use crate::proto::job::Job;
use crate::proto::share::Submit;
use crate::wire::hex;

/// Length of a block header.
pub const HEADER_LEN: usize = 80;

/// A job as `mining.notify` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The hash of the block before, in the order of the header.
    pub previous: [u8; 32],
    /// The coinbase up to the nonces, and behind them.
    pub coinbase: [Vec<u8>; 2],
    /// The branches of the merkle tree, from the coinbase up.
    pub branches: Vec<[u8; 32]>,
    /// The header's version, before anybody rolls it.
    pub version: u32,
    /// The network's target, as a header has it.
    pub bits: u32,
}

/// What a share says besides its job.
#[derive(Clone, Copy, Debug)]
pub struct Rolled<'a> {
    /// Extranonce1 and extranonce2.
    pub extranonce: [&'a [u8]; 2],
    /// The time in the header, in Unix seconds.
    pub time: u32,
    /// The nonce of the header.
    pub nonce: u32,
    /// The version bits that may be rolled, and how they are.
    pub version: (u32, u32),
}

impl Work {
    /// What a pool announced; `None` where that has another form, which the dialect takes for no job.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let fields: Vec<&[u8]> = common::strings_of(&job.body).collect();
        let [
            previous,
            before,
            behind,
            branches @ ..,
            version,
            bits,
            _time,
        ] = fields.as_slice()
        else {
            return None;
        };
        // Each four bytes of the hash are read as a number, and written highest byte first.
        let mut previous: [u8; 32] = hex::decode_to_array(previous).ok()?;
        previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        let branches = branches
            .iter()
            .map(|digits| hex::decode_to_array(digits).ok());
        Some(Self {
            previous,
            coinbase: [bytes(before)?, bytes(behind)?],
            branches: branches.collect::<Option<_>>()?,
            version: hex::parse_u32_be(version)?,
            bits: hex::parse_u32_be(bits)?,
        })
    }

    /// The header that a share claims.
    #[must_use]
    pub fn header(&self, rolled: &Rolled<'_>) -> [u8; HEADER_LEN] {
        let [before, behind] = &self.coinbase;
        let [extranonce1, extranonce2] = rolled.extranonce;
        let coinbase = sha256d(&[before, extranonce1, extranonce2, behind]);
        let join = |root: [u8; 32], branch: &[u8; 32]| sha256d(&[&root, branch]);
        let root = self.branches.iter().fold(coinbase, join);
        let (mask, bits) = rolled.version;
        let version = (self.version & !mask) | (bits & mask);
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&self.previous);
        header[36..68].copy_from_slice(&root);
        header[68..72].copy_from_slice(&rolled.time.to_le_bytes());
        header[72..76].copy_from_slice(&self.bits.to_le_bytes());
        header[76..].copy_from_slice(&rolled.nonce.to_le_bytes());
        header
    }
}

/// See [`Dialect::share_hash`](crate::proto::dialect::Dialect::share_hash).
pub(super) fn hash_of(
    job: &Job,
    extranonce1: &Extranonce1,
    terms: ShareTerms<'_>,
    submit: &Submit<'_>,
) -> Option<[u8; 32]> {
    let [extranonce2, time, nonce, bits, _] = submit.fields;
    let word = super::word;
    let mut own = terms.slot.to_vec();
    own.extend(bytes(extranonce2)?);
    // Without a sixth param nothing was rolled.
    let version = if bits.is_empty() {
        (0, 0)
    } else {
        (terms.version_mask.bits(), word(bits)?)
    };
    let header = Work::of(job)?.header(&Rolled {
        extranonce: [extranonce1.as_bytes(), &own],
        time: word(time)?,
        nonce: word(nonce)?,
        version,
    });
    Some(share_hash(&header))
}

fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; digits.len() / 2];
    hex::decode_into(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// The hash of a header as a big-endian number.
#[must_use]
pub fn share_hash(header: &[u8; HEADER_LEN]) -> [u8; 32] {
    let mut hash = sha256d(&[header]);
    hash.reverse();
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(digits: &str) -> Vec<u8> {
        let mut bytes = vec![0; digits.len() / 2];
        hex::decode_into(digits.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        hex::append_encoded(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_genesis_block_is_a_share_of_its_own_hash() {
        let work = Work {
            previous: [0; 32],
            coinbase: [
                unhex(&format!(
                    "0100000001{}ffffffff4d04ffff001d010445",
                    "00".repeat(32)
                )),
                unhex(
                    "2f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64\
                     206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe\
                     5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e5\
                     1ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000",
                ),
            ],
            branches: Vec::new(),
            version: 1,
            bits: 0x1d00_ffff,
        };
        let rolled = Rolled {
            extranonce: [&unhex("54686520"), &unhex("54696d6573203033")],
            time: 0x495f_ab29,
            nonce: 0x7c2b_ac1d,
            version: (0, 0),
        };
        let header = work.header(&rolled);
        assert_eq!(
            text(&share_hash(&header)),
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
        );
        let other = Rolled { nonce: 1, ..rolled };
        assert_ne!(work.header(&other), header);
        let masked = Rolled {
            version: (0xff00, 0xffff_0201),
            ..rolled
        };
        assert_eq!(work.header(&masked)[..4], [1, 2, 0, 0]);
    }

    #[test]
    fn branches_join_from_the_coinbase_up() {
        let mut work = Work {
            previous: [7; 32],
            coinbase: [vec![1; 60], vec![2; 90]],
            branches: vec![[3; 32], [4; 32], [5; 32]],
            version: 1,
            bits: 0x1705_3894,
        };
        let rolled = Rolled {
            extranonce: [&[1; 4], &[2; 8]],
            time: 5,
            nonce: 6,
            version: (0, 0),
        };
        let root = |work: &Work| work.header(&rolled)[36..68].to_vec();
        let whole = root(&work);
        work.branches.truncate(1);
        let first = root(&work);
        let branch = work.branches.remove(0);
        assert_eq!(first, sha256d(&[&root(&work), &branch]));
        assert_ne!(whole, first);
    }
}
