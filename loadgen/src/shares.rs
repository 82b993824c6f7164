//! Makes the shares that miners submit.

use std::rc::Rc;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::practice::bitcoin::{self, Rolled};
use stratum_uring::practice::equihash::{NONCE_LEN, meets_target, share_hash};
use stratum_uring::practice::monero;
use stratum_uring::practice::solver::Solver;
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::proto::target::Target;
use stratum_uring::wire::hex;

use crate::job::Job;

/// What a miner works on.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) job: Rc<Job>,
    pub(crate) extranonce1: Extranonce1,
    pub(crate) target: Target,
    /// Of Bitcoin, the bytes of extranonce2, and the version bits that may be rolled.
    pub(crate) extranonce2_len: usize,
    pub(crate) version_bits: Option<u32>,
    /// Of Monero, the last byte of the nonce, where it is not the miner's.
    pub(crate) nonce_end: Option<u8>,
}

/// A share that was found, and the work that it is for.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) work: Work,
    found: Found,
}

#[derive(Debug)]
enum Found {
    Equihash {
        nonce: [u8; NONCE_LEN],
        /// With its length in front.
        solution: Vec<u8>,
    },
    Bitcoin {
        extranonce2: Vec<u8>,
        nonce: u32,
        version_bits: Option<u32>,
    },
    Monero {
        nonce: [u8; monero::NONCE_LEN],
        result: [u8; 32],
    },
}

impl Share {
    /// Whether it is still worth something to a miner with this work.
    pub(crate) fn is_for(&self, work: &Work) -> bool {
        Rc::ptr_eq(&self.work.job, &work.job) && self.work.extranonce1 == work.extranonce1
    }

    /// Appends the params of `mining.submit` behind the worker's name, or those of Monero's `submit` behind
    /// the session's.
    pub(crate) fn write_params(&self, out: &mut Vec<u8>) {
        out.push(b',');
        if let Found::Monero { nonce, result } = &self.found {
            out.extend_from_slice(b"\"job_id\":");
            out.extend_from_slice(&self.work.job.id);
            out.extend_from_slice(b",\"nonce\":\"");
            hex::append_encoded(out, nonce);
            out.extend_from_slice(b"\",\"result\":\"");
            hex::append_encoded(out, result);
            out.push(b'"');
            return;
        }
        out.extend_from_slice(&self.work.job.id);
        let mut append = |field: &[u8]| {
            out.extend_from_slice(b",\"");
            hex::append_encoded(out, field);
            out.push(b'"');
        };
        match &self.found {
            Found::Equihash { nonce, solution } => {
                append(self.work.job.time());
                append(&nonce[self.work.extranonce1.as_bytes().len()..]);
                append(solution);
            }
            Found::Bitcoin {
                extranonce2,
                nonce,
                version_bits,
            } => {
                append(extranonce2);
                append(&self.work.job.seconds().to_be_bytes());
                append(&nonce.to_be_bytes());
                if let Some(bits) = version_bits {
                    append(&bits.to_be_bytes());
                }
            }
            // Its params have names.
            Found::Monero { .. } => {}
        }
    }
}

/// Finds shares: real ones with 48,5, which takes some 50 microseconds for each nonce. Nobody solves
/// other parameters at a load generator's pace, so those get filler: random bytes of the right length
/// behind the right prefix, for a pool that judges only the shape. So do those of Monero.
#[derive(Debug)]
pub(crate) struct ShareMaker {
    coin: PracticeCoin,
    prefix: Vec<u8>,
    solver: Option<Solver>,
    random: fastrand::Rng,
    /// The next nonce of Monero, whose few bytes would soon come twice if they were random.
    nonce: u32,
}

/// Whether shares of this coin are real.
pub(crate) fn are_real(coin: PracticeCoin) -> bool {
    match coin {
        PracticeCoin::Equihash(parameters) => (parameters.n(), parameters.k()) == (48, 5),
        PracticeCoin::Bitcoin => true,
        PracticeCoin::Monero => false,
    }
}

/// Nonces that are tried of one extranonce2, whose merkle root costs as much as some ten of them.
const NONCES_TRIED: u32 = 128;

impl ShareMaker {
    pub(crate) fn new(coin: PracticeCoin) -> Self {
        let digits = match coin {
            PracticeCoin::Equihash(parameters) => parameters.solution_prefix_hex().as_bytes(),
            PracticeCoin::Bitcoin | PracticeCoin::Monero => b"",
        };
        let is_equihash = matches!(coin, PracticeCoin::Equihash(_));
        let mut random = fastrand::Rng::new();
        let mut prefix = vec![0; digits.len() / 2];
        hex::decode_into(digits, &mut prefix).expect("the prefix is hex");
        Self {
            coin,
            prefix,
            solver: (is_equihash && are_real(coin)).then(Solver::new),
            nonce: random.u32(..),
            random,
        }
    }

    /// Whether a share costs nothing, so that none need be found ahead.
    pub(crate) fn is_instant(&self) -> bool {
        !are_real(self.coin)
    }

    /// Tries one random nonce; most often something comes of it.
    pub(crate) fn attempt(&mut self, work: &Work) -> Option<Share> {
        let found = match self.coin {
            PracticeCoin::Equihash(parameters) => self.attempt_equihash(parameters, work),
            PracticeCoin::Bitcoin => self.attempt_bitcoin(work),
            PracticeCoin::Monero => self.claim_monero(work),
        };
        let work = || work.clone();
        found.map(|found| Share {
            work: work(),
            found,
        })
    }

    fn attempt_bitcoin(&mut self, work: &Work) -> Option<Found> {
        let job = work.job.bitcoin.as_ref()?;
        let mut extranonce2 = vec![0; work.extranonce2_len];
        self.random.fill(&mut extranonce2);
        let version_bits = work.version_bits.map(|mask| mask & self.random.u32(..));
        let bits = version_bits.unwrap_or_default();
        let first = self.random.u32(..);
        let mut header = job.header(&Rolled {
            extranonce: [work.extranonce1.as_bytes(), &extranonce2],
            time: work.job.seconds(),
            nonce: first,
            version: (bits, bits),
        });
        let nonces = (0..NONCES_TRIED).map(|count| first.wrapping_add(count));
        for nonce in nonces {
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            if meets_target(&bitcoin::share_hash(&header), work.target.as_bytes()) {
                return Some(Found::Bitcoin {
                    extranonce2,
                    nonce,
                    version_bits,
                });
            }
        }
        None
    }

    fn claim_monero(&mut self, work: &Work) -> Option<Found> {
        self.nonce = self.nonce.wrapping_add(1);
        let mut nonce = self.nonce.to_le_bytes();
        let [.., last] = &mut nonce;
        *last = work.nonce_end.unwrap_or(*last);
        let mut blob = work.job.blob.to_vec();
        blob.get_mut(monero::NONCE)?.copy_from_slice(&nonce);
        let result = monero::stand_in(&blob, work.target.as_bytes());
        Some(Found::Monero { nonce, result })
    }

    fn attempt_equihash(&mut self, parameters: Parameters, work: &Work) -> Option<Found> {
        let fixed = work.extranonce1.as_bytes();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce);
        nonce[..fixed.len()].copy_from_slice(fixed);
        let mut solution = self.prefix.clone();
        let prefix_len = solution.len();
        if let Some(solver) = &mut self.solver {
            let header = &work.job.header;
            let found = solver.solve(header, &nonce).iter().any(|body| {
                solution.truncate(prefix_len);
                solution.extend_from_slice(body);
                let hash = share_hash(header, &nonce, &solution);
                meets_target(&hash, work.target.as_bytes())
            });
            if !found {
                return None;
            }
        } else {
            solution.resize(prefix_len + parameters.solution_len(), 0);
            self.random.fill(&mut solution[prefix_len..]);
        }
        Some(Found::Equihash { nonce, solution })
    }
}

#[cfg(test)]
mod tests {
    use stratum_uring::practice::equihash::{HEADER_LEN, verify};

    use super::*;

    fn work(target: [u8; 32]) -> Work {
        Work {
            job: Rc::new(Job::example("\"7\"", [7; HEADER_LEN])),
            extranonce1: Extranonce1::parse(b"a1b2c3d4e5f6").unwrap(),
            target: Target::from_bytes(target),
            extranonce2_len: 0,
            version_bits: None,
            nonce_end: None,
        }
    }

    #[test]
    fn shares_of_the_small_parameters_are_real_and_meet_the_target() {
        let parameters = Parameters::new(48, 5).unwrap();
        let mut maker = ShareMaker::new(PracticeCoin::Equihash(parameters));
        let mut target = [0xff; 32];
        target[0] = 0x3f;
        let work = work(target);
        let mut found = 0;
        for _ in 0..200 {
            let Some(share) = maker.attempt(&work) else {
                continue;
            };
            found += 1;
            let Found::Equihash { nonce, solution } = &share.found else {
                panic!("{share:?}");
            };
            assert_eq!(nonce[..6], *work.extranonce1.as_bytes());
            verify(parameters, &work.job.header, nonce, &solution[1..]).unwrap();
            let hash = share_hash(&work.job.header, nonce, solution);
            assert!(meets_target(&hash, &target));
        }
        assert!((10..100).contains(&found), "{found} of 200");
    }

    #[test]
    fn shares_of_bitcoin_are_headers_that_meet_the_target() {
        let mut book = crate::job::JobBook::of(PracticeCoin::Bitcoin);
        let (zeros, branch) = ("0".repeat(64), "ab".repeat(32));
        let line = format!(
            r#"{{"params":["7","{zeros}","0102","0304",["{branch}"],"20000000","17053894","6849afec",true]}}"#
        );
        let mut reader = stratum_uring::wire::Reader::new();
        let job = book
            .read(reader.read(line.as_bytes()).unwrap().params)
            .unwrap();
        let mut target = [0xff; 32];
        target[0] = 0;
        let work = Work {
            job,
            extranonce1: Extranonce1::parse(b"a1b2c3d40000").unwrap(),
            target: Target::from_bytes(target),
            extranonce2_len: 6,
            version_bits: Some(0x1fff_e000),
            nonce_end: None,
        };
        let mut maker = ShareMaker::new(PracticeCoin::Bitcoin);
        let share = (0..1000).find_map(|_| maker.attempt(&work)).unwrap();
        let mut text = Vec::new();
        share.write_params(&mut text);
        let text = String::from_utf8(text).unwrap();
        let fields: Vec<_> = text.split(',').map(|it| it.trim_matches('"')).collect();
        let ["", "7", extranonce2, "6849afec", nonce, bits] = fields[..] else {
            panic!("{text}");
        };
        let number = |digits: &str| hex::parse_u32_be(digits.as_bytes()).unwrap();
        let mut own = [0; 6];
        hex::decode_into(extranonce2.as_bytes(), &mut own).unwrap();
        let job = work.job.bitcoin.as_ref().unwrap();
        let header = job.header(&Rolled {
            extranonce: [work.extranonce1.as_bytes(), &own],
            time: 0x6849_afec,
            nonce: number(nonce),
            version: (0x1fff_e000, number(bits)),
        });
        assert!(meets_target(&bitcoin::share_hash(&header), &target));
        assert_eq!(number(bits) & !0x1fff_e000, 0);
    }

    #[test]
    fn other_parameters_get_filler_of_the_right_shape() {
        for parameters in Parameters::ALL {
            if are_real(PracticeCoin::Equihash(parameters)) {
                continue;
            }
            let mut maker = ShareMaker::new(PracticeCoin::Equihash(parameters));
            let work = work([0; 32]);
            let texts = [(); 2].map(|()| {
                let mut text = Vec::new();
                maker.attempt(&work).unwrap().write_params(&mut text);
                String::from_utf8(text).unwrap()
            });
            assert_ne!(texts[0], texts[1]);
            let fields: Vec<_> = texts[0].split(',').collect();
            assert_eq!(fields[..3], ["", "\"7\"", "\"07070707\""]);
            assert_eq!(fields[3].len(), 2 + 2 * 26);
            let solution = fields[4].trim_matches('"');
            assert_eq!(solution.len(), parameters.solution_hex_len());
            assert!(solution.starts_with(parameters.solution_prefix_hex()));
        }
    }
}
