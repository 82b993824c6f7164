//! Bitcoin's jobs and shares: what is hashed, and what a made-up job looks like.
//!
//! A miner's share is a block header: its merkle root comes from the coinbase, which holds extranonce1 and
//! extranonce2, and from the branches of the job.

use sha2::{Digest, Sha256};

use super::jobs::Random;
use crate::wire::{encode, hex};

/// Length of a block header.
pub const HEADER_LEN: usize = 80;

/// Branches of a made-up job: a block of some 4,000 transactions.
const BRANCHES: usize = 12;

const VERSION: u32 = 0x2000_0000;

/// The network's target as a header has it: of block 800,000.
const BITS: u32 = 0x1705_3894;

/// Height of the made-up blocks, as a coinbase has to begin: three bytes, little-endian.
const HEIGHT: [u8; 4] = [3, 0x01, 0x35, 0x0c];

/// What a pool writes behind its nonces.
const TAG: &[u8] = b"/practice: nothing real/";

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

    /// A job that looks like a real one, for nonces of this length together.
    pub(super) fn make(
        random: &mut Random,
        previous: [u8; 32],
        time: u32,
        extranonce_len: usize,
    ) -> Self {
        let byte = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
        let mut before = Vec::from([1, 0, 0, 0, 1]);
        before.extend_from_slice(&[0; 32]);
        before.extend_from_slice(&[0xff; 4]);
        before.push(byte(HEIGHT.len() + 5 + extranonce_len + TAG.len()));
        before.extend_from_slice(&HEIGHT);
        before.push(4);
        before.extend_from_slice(&time.to_le_bytes());
        let mut behind = TAG.to_vec();
        behind.extend_from_slice(&[0xff; 4]);
        // The pool's output, the witness commitment, and one more as merge mining leaves it.
        behind.push(3);
        behind.extend_from_slice(&625_000_000_u64.to_le_bytes());
        behind.extend_from_slice(&[0x16, 0, 0x14]);
        behind.extend_from_slice(&random.bytes()[..20]);
        for start in [
            &[0x26, 0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..],
            &[0x29, 0x6a, 0x27, b'n', b'o', b'b', b'o', b'd', b'y'],
        ] {
            behind.extend_from_slice(&[0; 8]);
            behind.extend_from_slice(start);
            let rest = usize::from(start[0]) + 1 - start.len();
            let filler = [random.bytes(), random.bytes()].concat();
            behind.extend_from_slice(&filler[..rest]);
        }
        behind.extend_from_slice(&[0; 4]);
        Self {
            previous,
            coinbase: [before, behind],
            branches: (0..BRANCHES).map(|_| random.bytes()).collect(),
            version: VERSION,
            bits: BITS,
        }
    }

    /// Appends the params of `mining.notify` between the id and the clean flag.
    pub(super) fn append_params(&self, time: u32, out: &mut Vec<u8>) {
        // Each four bytes of the hash are read as a number, and written highest byte first.
        let mut swapped = self.previous;
        swapped.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        let append = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.push(b'"');
            hex::append_encoded(out, bytes);
            out.push(b'"');
        };
        append(out, &swapped);
        for half in &self.coinbase {
            out.push(b',');
            append(out, half);
        }
        out.extend_from_slice(b",[");
        for (place, branch) in self.branches.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            append(out, branch);
        }
        out.push(b']');
        for number in [self.version, self.bits, time] {
            out.push(b',');
            encode::append_quoted(out, &hex::encode_u32_be(number));
        }
    }
}

/// The hash of a header as a big-endian number.
#[must_use]
pub fn share_hash(header: &[u8; HEADER_LEN]) -> [u8; 32] {
    let mut hash = sha256d(&[header]);
    hash.reverse();
    hash
}

/// SHA-256 of the SHA-256 of all of it.
fn sha256d(pieces: &[&[u8]]) -> [u8; 32] {
    let mut first = Sha256::new();
    for piece in pieces {
        first.update(piece);
    }
    Sha256::digest(first.finalize()).into()
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
        let mut random = Random::new(1);
        let mut work = Work::make(&mut random, [7; 32], 5, 12);
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

    #[test]
    fn a_made_up_job_has_the_size_and_the_shape_of_a_real_one() {
        let work = Work::make(&mut Random::new(1), [7; 32], 0x6849_afec, 12);
        let [before, behind] = &work.coinbase;
        let script = usize::from(before[41]);
        assert_eq!(script, before.len() - 42 + 12 + TAG.len());
        assert!((150..400).contains(&(before.len() + 12 + behind.len())));
        let mut out = Vec::new();
        work.append_params(0x6849_afec, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with(",\"20000000\",\"17053894\",\"6849afec\""));
        assert!((1_200..2_000).contains(&line.len()), "{}", line.len());
    }
}
