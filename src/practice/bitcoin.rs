//! Bitcoin's jobs: what a made-up one looks like.

use super::jobs::Random;
use crate::wire::{encode, hex};

pub use crate::proto::dialect::bitcoin::work::{HEADER_LEN, Rolled, Work, share_hash};

/// Branches of a made-up job: a block of some 4,000 transactions.
const BRANCHES: usize = 12;

const VERSION: u32 = 0x2000_0000;

/// The network's target as a header has it: of block 800,000.
const BITS: u32 = 0x1705_3894;

/// Height of the made-up blocks, as a coinbase has to begin: three bytes, little-endian.
const HEIGHT: [u8; 4] = [3, 0x01, 0x35, 0x0c];

/// What a pool writes behind its nonces.
const TAG: &[u8] = b"/practice: nothing real/";

impl Work {
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

#[cfg(test)]
mod tests {
    use super::*;

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
