//! Makes the shares that miners submit.

use std::rc::Rc;

use stratum_uring::practice::equihash::{NONCE_LEN, meets_target, share_hash};
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
}

/// A share that was found, and the work that it is for.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) work: Work,
    nonce: [u8; NONCE_LEN],
    /// With its length in front.
    solution: Vec<u8>,
}

impl Share {
    /// Whether it is still worth something to a miner with this work.
    pub(crate) fn is_for(&self, work: &Work) -> bool {
        Rc::ptr_eq(&self.work.job, &work.job) && self.work.extranonce1 == work.extranonce1
    }

    /// Appends the params of `mining.submit` behind the worker's name.
    pub(crate) fn write_params(&self, out: &mut Vec<u8>) {
        out.push(b',');
        out.extend_from_slice(&self.work.job.id);
        let own = &self.nonce[self.work.extranonce1.as_bytes().len()..];
        for field in [self.work.job.time(), own, &self.solution] {
            out.extend_from_slice(b",\"");
            hex::append_encoded(out, field);
            out.push(b'"');
        }
    }
}

/// Finds shares: real ones with 48,5, which takes some 50 microseconds for each nonce. Nobody solves
/// other parameters at a load generator's pace, so those get filler: random bytes of the right length
/// behind the right prefix, for a pool that judges only the shape.
#[derive(Debug)]
pub(crate) struct ShareMaker {
    parameters: Parameters,
    prefix: Vec<u8>,
    solver: Option<Solver>,
    random: fastrand::Rng,
}

/// Whether shares of these parameters are real.
pub(crate) fn are_real(parameters: Parameters) -> bool {
    (parameters.n(), parameters.k()) == (48, 5)
}

impl ShareMaker {
    pub(crate) fn new(parameters: Parameters) -> Self {
        let digits = parameters.solution_prefix_hex().as_bytes();
        let mut prefix = vec![0; digits.len() / 2];
        hex::decode_into(digits, &mut prefix).expect("the prefix is hex");
        Self {
            parameters,
            prefix,
            solver: are_real(parameters).then(Solver::new),
            random: fastrand::Rng::new(),
        }
    }

    /// Whether a share costs nothing, so that none need be found ahead.
    pub(crate) fn is_instant(&self) -> bool {
        self.solver.is_none()
    }

    /// Tries one random nonce; most often something comes of it.
    pub(crate) fn attempt(&mut self, work: &Work) -> Option<Share> {
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
            solution.resize(prefix_len + self.parameters.solution_len(), 0);
            self.random.fill(&mut solution[prefix_len..]);
        }
        Some(Share {
            work: work.clone(),
            nonce,
            solution,
        })
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
        }
    }

    #[test]
    fn shares_of_the_small_parameters_are_real_and_meet_the_target() {
        let parameters = Parameters::new(48, 5).unwrap();
        let mut maker = ShareMaker::new(parameters);
        let mut target = [0xff; 32];
        target[0] = 0x3f;
        let work = work(target);
        let mut found = 0;
        for _ in 0..200 {
            let Some(share) = maker.attempt(&work) else {
                continue;
            };
            found += 1;
            assert_eq!(share.nonce[..6], *work.extranonce1.as_bytes());
            let solution = &share.solution[1..];
            verify(parameters, &work.job.header, &share.nonce, solution).unwrap();
            let hash = share_hash(&work.job.header, &share.nonce, &share.solution);
            assert!(meets_target(&hash, &target));
        }
        assert!((10..100).contains(&found), "{found} of 200");
    }

    #[test]
    fn other_parameters_get_filler_of_the_right_shape() {
        for parameters in Parameters::ALL {
            if are_real(parameters) {
                continue;
            }
            let mut maker = ShareMaker::new(parameters);
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
