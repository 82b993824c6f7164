//! Judges the proof of work of an Equihash share: the solution, and its hash against the target.
//!
//! The personalization is `ZcashPoW`, whatever coin the parameters belong to: a practice pool makes
//! its own rules, and no coin is mined by it.

use equihash::is_valid_solution;
use sha2::{Digest, Sha256};

use crate::proto::dialect::equihash::Parameters;

/// The bytes of a block header before the nonce: version, previous block, merkle root, commitments,
/// time, bits.
pub const HEADER_LEN: usize = 108;

/// The bytes of the nonce, nonce_1 first.
pub const NONCE_LEN: usize = 32;

/// Why a solution was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SolutionError {
    /// The verifier works on whole bytes, so 125,4 is beyond it. Nobody's share is at fault.
    #[error("equihash {},{} cannot be verified: n is not a multiple of 8", .0.n(), .0.k())]
    NotVerifiable(Parameters),
    /// The solution isn't one: of a wrong length, or its tree doesn't hold.
    #[error("{0}")]
    Invalid(equihash::Error),
}

/// Whether [`verify`] can judge solutions of these parameters.
#[must_use]
pub const fn is_verifiable(parameters: Parameters) -> bool {
    parameters.n().is_multiple_of(8)
}

/// Checks that `solution`, given without its length prefix, solves Equihash for this header and nonce.
///
/// # Errors
///
/// [`SolutionError::Invalid`] if it does not; [`SolutionError::NotVerifiable`] if nobody could say.
pub fn verify(
    parameters: Parameters,
    header: &[u8; HEADER_LEN],
    nonce: &[u8; NONCE_LEN],
    solution: &[u8],
) -> Result<(), SolutionError> {
    if !is_verifiable(parameters) {
        return Err(SolutionError::NotVerifiable(parameters));
    }
    is_valid_solution(parameters.n(), parameters.k(), header, nonce, solution)
        .map_err(SolutionError::Invalid)
}

/// The hash of a share as a big-endian number: double SHA-256 over the header, the nonce, and the
/// solution with its length prefix, read backwards.
#[must_use]
pub fn share_hash(
    header: &[u8; HEADER_LEN],
    nonce: &[u8; NONCE_LEN],
    solution_with_prefix: &[u8],
) -> [u8; 32] {
    let first = Sha256::new()
        .chain_update(header)
        .chain_update(nonce)
        .chain_update(solution_with_prefix)
        .finalize();
    let mut hash: [u8; 32] = Sha256::digest(first).into();
    hash.reverse();
    hash
}

/// Whether a share with this hash is worth its target. Both are big-endian numbers, and a hash equal
/// to the target passes.
#[must_use]
pub fn meets_target(hash: &[u8; 32], target: &[u8; 32]) -> bool {
    hash <= target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex<const N: usize>(digits: &str) -> [u8; N] {
        let mut bytes = [0; N];
        faster_hex::hex_decode(digits.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    fn one_less(mut number: [u8; 32]) -> [u8; 32] {
        for byte in number.iter_mut().rev() {
            let borrow = *byte == 0;
            *byte = byte.wrapping_sub(1);
            if !borrow {
                break;
            }
        }
        number
    }

    struct Vector {
        parameters: Parameters,
        header: [u8; HEADER_LEN],
        nonce: [u8; NONCE_LEN],
        solution_with_prefix: Vec<u8>,
        hash: [u8; 32],
    }

    impl Vector {
        fn solution(&self) -> &[u8] {
            &self.solution_with_prefix[self.parameters.solution_prefix_hex().len() / 2..]
        }
    }

    /// Zcash mainnet, block 415000.
    fn mainnet() -> Vector {
        Vector {
            parameters: Parameters::new(200, 9).unwrap(),
            header: unhex(concat!(
                "040000005274b43b9e4ad8f43e93f78463d24dcfe531aeb4719819f4f97f7e0300000000",
                "663073bc4bfa95c9bec36aad7268a573049797bdfc5aa4c743fbe4820aa393ce",
                "0000000000000000000000000000000000000000000000000000000000000000a8becc5be1ab031c",
            )),
            nonce: unhex("c2fd607c776a7a0000000000000000000000000000000000000000003eb21819"),
            solution_with_prefix: unhex::<1347>(MAINNET_SOLUTION).to_vec(),
            hash: unhex("0000000001ab37793ce771262b2ffa082519aa3fe891250a1adb43baaf856168"),
        }
    }

    /// Zcash regtest, the genesis block.
    fn regtest() -> Vector {
        Vector {
            parameters: Parameters::new(48, 5).unwrap(),
            header: unhex(concat!(
                "040000000000000000000000000000000000000000000000000000000000000000000000",
                "db4d7a85b768123f1dff1d4c4cece70083b2d27e117b4ac2e31d087988a5eac4",
                "0000000000000000000000000000000000000000000000000000000000000000dae5494d0f0f0f20",
            )),
            nonce: unhex("0900000000000000000000000000000000000000000000000000000000000000"),
            solution_with_prefix: unhex::<37>(concat!(
                "24",
                "01936b7db1eb4ac39f151b8704642d0a8bda13ec547d54cd5e43ba142fc6d8877cab07b3",
            ))
            .to_vec(),
            hash: unhex("029f11d80ef9765602235e1bc9727e3eb6ba20839319f761fee920d63401e327"),
        }
    }

    #[test]
    fn blocks_of_zcash_are_solutions() {
        for block in [mainnet(), regtest()] {
            verify(
                block.parameters,
                &block.header,
                &block.nonce,
                block.solution(),
            )
            .unwrap();
        }
    }

    #[test]
    fn a_changed_bit_or_length_is_no_solution() {
        for block in [mainnet(), regtest()] {
            let judge = |header: &[u8; HEADER_LEN], nonce: &[u8; NONCE_LEN], solution: &[u8]| {
                verify(block.parameters, header, nonce, solution).is_ok()
            };
            let solution = block.solution();
            let mut changed = solution.to_vec();
            changed[17] ^= 4;
            assert!(!judge(&block.header, &block.nonce, &changed));
            let mut nonce = block.nonce;
            nonce[31] ^= 1;
            assert!(!judge(&block.header, &nonce, solution));
            let mut header = block.header;
            header[0] ^= 1;
            assert!(!judge(&header, &block.nonce, solution));
            assert!(!judge(
                &block.header,
                &block.nonce,
                &solution[..solution.len() - 1]
            ));
            assert!(!judge(
                &block.header,
                &block.nonce,
                &block.solution_with_prefix
            ));
            assert!(!judge(&block.header, &block.nonce, &[]));
        }
    }

    #[test]
    fn what_cannot_be_verified_says_so() {
        let flux = Parameters::new(125, 4).unwrap();
        let verdict = verify(flux, &[0; HEADER_LEN], &[0; NONCE_LEN], &[0; 52]);
        assert!(matches!(verdict, Err(SolutionError::NotVerifiable(set)) if set == flux));
        let verifiable = Parameters::ALL
            .into_iter()
            .filter(|set| is_verifiable(*set));
        assert_eq!(verifiable.count(), Parameters::ALL.len() - 1);
    }

    #[test]
    fn the_share_hash_is_the_block_hash() {
        for block in [mainnet(), regtest()] {
            assert_eq!(
                share_hash(&block.header, &block.nonce, &block.solution_with_prefix),
                block.hash
            );
        }
    }

    #[test]
    fn a_target_equal_to_the_hash_is_met_and_one_less_is_not() {
        for block in [mainnet(), regtest()] {
            assert!(meets_target(&block.hash, &block.hash));
            assert!(!meets_target(&block.hash, &one_less(block.hash)));
            assert!(meets_target(&block.hash, &[0xff; 32]));
            assert!(!meets_target(&block.hash, &[0; 32]));
        }
    }

    const MAINNET_SOLUTION: &str = concat!(
        "fd400500949d55de0cc633e0cce41e4649ef4aa3349f0100290ffe281b947b3b53fbd2f35b1ce292649b",
        "96ac6e0883af3a6844b95592e74556da344b4701961cd4130c68219cfa1341d5afb5049eb0e8be4a2d92",
        "d678c40785e33705548b5f3a54f0a4c39a2f58ee784a24163cd86f54812327df55e1d55ca84b6e7b887a",
        "7cbfb9091a585bdb8ea4759307c56c1b3dafc669245a6f654b6f730052266a01ad4f9c0b59ed4e17712b",
        "3e72df0498aa8de4888f993531c60acded1d4b66e89de0b6482cccd4a712f5cf9d4ca83be0f922de2c1d",
        "bb3a1407480dbe8795993d8be640988abfe7a8a1b33a12131c451e1abc0d83fb851862c637ce724d5fe9",
        "7aa9a806cf34bab509f4554b0cd10a7ddfd5821b091ad2c90c1aa1d81eb3d72db41993b648f41e2138ff",
        "9531a30ff73b22140e4ebd7baa33848e512d99300c5c131c6e75f5714a5c6dcb178b4a4978dac83ad412",
        "fbd692019250c553049aad457984bedfc96ae701c659bc7007a97d0a9002b945bdec45a945ef6285b2cd",
        "553b4c09d907c627863f0399e8725b4ff7fc5979e3cff22814508448ef8b9831c285959333396aa362a5",
        "1cf205097afabec15e41fb6e30b622374bf58b37ef9d1b241ead5a682b98b65749a57568e238d50afd41",
        "7e1e960e7b5a064fd9f694d783a2cbcd58552dedbb9e5e1123674ef73a524196cf05d3e524660549ffe7",
        "bd6568057135ffd5afd943f6da11cbb597e8ccecd77ecbe909de0631bfa29cd3e3d5544671ba80256153",
        "d6e9990b88ad8e0cf4989bef4be457f9c7b0f1aacd6e0ef320605c29ed0cd2eb6cfce216c52a31758020",
        "1cad7a0943d24b7b06d5bf758761dd96e11970b5ded697222b2c77e7f256a605ac755549c1651f25adfc",
        "9d53d9117e3a0bb409eee4a600120472949c7dda1c2edb3c330c7f96179982916457d331e96309dd24df",
        "74eedd00e7db497ee130f77de666eb557fb316e87adaf1813ce426a458a6eee3a85b2ab88f6553aadae8",
        "de652e211a1d9f334d596b5eb6173407efcc2e8154bb9ca1212aa9a1a1121d2f5a7712cf25cc8148b805",
        "2e0d2e09f20e5ba2a98277e975b0eed9a89206966337163f215c9d04a6598b0958d333d846773c69e5ab",
        "fd0a0427f3660614dd82b79adb851a0d58b62df5f0b3ac836e6e25f3a51f49a99ade57796fe9fcc26f0a",
        "1f94ff0819fe52b75087edbed3a81626eb5416c66557f11c0fcedff223d6aa8cd5c35386e5b4b95a0f03",
        "92ca301a38b3687d094493b9e9d264d07a190ce57d116804382a3fabe15af4df4fa043f0287aa1ed5568",
        "d9ef5d12510d010ccdab4eb616f6df13bb3126ef43d9d65735e4e4c04b576348d040b535055a3d5ae191",
        "b75f0612f3b24066a05245f27fe57bda66bd6dec7e4fc9cb236802062adde3cd0e313482c92a0c721102",
        "b1f38b015ab8d01559cbcb40f674e9efad5ee9c2fe133faa55ca1dd0ff26710f9da819cc1459cb7ed260",
        "dad3db0596258d47c74c32a8b852b671c5a0caa2001603d90c91a7df2e2d4ee9ae9bf1a6b1ec88151c62",
        "360d03024d2e2d0114084f6b88c5bba24aa7cecfac16e91e0baf3d8653e218093e81d2a63c32eff1d903",
        "0f9e1414ece420daa24e0dd5b845b3274bb839ca1c53bcc0194242d74b2631b9495a654fbbdcbfad779f",
        "7322b60736249880604821d96924e3fa397f354a5ecca34f614da5456f9b36338c37d8f6fbf626be9834",
        "77766022872746da10a1771ceb02dd8aac01ba186bf1488630479e1284da0190fce8b59ac6b0fd416bee",
        "56b72f0a5845153557ff0f4950a0dc5be65ce942d22e18534c4e0efabb2d1525dc4858b9b0f77d474a12",
        "5ebc250e08fedbfaa66f453d90932cab3ff45221909968e51e6bc254d509adeb75cba76d48fe024e3e66",
        "d8df5e",
    );
}
