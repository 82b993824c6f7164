//! Looks workers up in the workers file of a proxy, and checks their passwords.
//!
//! A plain password is compared at once. A hash takes milliseconds, so it is checked on a thread of the
//! executor's pool, a few at a time, and the verdict is remembered: a farm that comes back after a power cut
//! is let in from memory. Remembered is a keyed digest of name and password, under a key that the process
//! drew at its start, and no password.

use std::collections::HashSet;
use std::sync::Arc;

use argon2::{Argon2, PasswordHash, PasswordVerifier};

use crate::config::{Secret, WorkerPassword, Workers};

/// Workers that are remembered as right: as many as a link has room for.
const RIGHT_MAX: usize = 65_536;

/// And as wrong: these are kept apart, so that whoever guesses pushes nobody else out.
const WRONG_MAX: usize = 4096;

/// A low priority: what miners are told does not wait for who comes in.
const NICENESS: i32 = 10;

/// Stands for a worker and a password: a keyed digest of both.
pub(crate) type Digest = [u8; 16];

/// The workers of one proxy, as one shard knows them.
pub(crate) struct Checker {
    workers: Arc<Workers>,
    /// Counts the files that were read: a verdict by an older one is not remembered.
    revision: u32,
    key: [u8; 32],
    right: HashSet<Digest>,
    wrong: HashSet<Digest>,
}

/// What is known of a worker.
pub(crate) enum Look {
    /// Whether it may mine.
    Known(bool),
    /// Its password is to be held against a hash.
    Hash(HashCheck),
}

/// A password and the hash that it should have.
pub(crate) struct HashCheck {
    digest: Digest,
    revision: u32,
    hash: WorkerPassword,
    password: Secret,
}

impl Checker {
    /// With the workers of now.
    pub(crate) fn new(workers: Arc<Workers>) -> Self {
        let mut key = [0; 32];
        // So few bytes the kernel gives whole.
        let filled = rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty());
        let filled = filled.expect("a kernel that has io_uring has random bytes");
        debug_assert_eq!(filled, 32);
        Self {
            workers,
            revision: 0,
            key,
            right: HashSet::new(),
            wrong: HashSet::new(),
        }
    }

    /// Takes the workers that were read last. Where they are others, what was remembered is forgotten.
    pub(crate) fn take(&mut self, workers: &Arc<Workers>) {
        if !Arc::ptr_eq(workers, &self.workers) {
            self.workers = Arc::clone(workers);
            self.revision = self.revision.wrapping_add(1);
            self.right = HashSet::new();
            self.wrong = HashSet::new();
        }
    }

    /// Looks a worker up.
    pub(crate) fn look(&self, worker: &str, password: &str) -> Look {
        match self.workers.find(worker) {
            None => Look::Known(false),
            Some(WorkerPassword::Any) => Look::Known(true),
            Some(WorkerPassword::Plain(wanted)) => {
                // Digests are compared in constant time, and tell nothing of a length.
                let is_it = self.digest("", wanted.expose()) == self.digest("", password);
                Look::Known(is_it)
            }
            Some(hash) => {
                let digest = short(self.digest(worker, password));
                if self.right.contains(&digest) {
                    Look::Known(true)
                } else if self.wrong.contains(&digest) {
                    Look::Known(false)
                } else {
                    Look::Hash(HashCheck {
                        digest,
                        revision: self.revision,
                        hash: hash.clone(),
                        password: Secret::new(password),
                    })
                }
            }
        }
    }

    /// Remembers what came of a check. Says whether that holds: the file may have been read again since.
    pub(crate) fn learn(&mut self, check: &HashCheck, is_right: bool) -> bool {
        if check.revision != self.revision {
            return false;
        }
        let (known, max) = if is_right {
            (&mut self.right, RIGHT_MAX)
        } else {
            (&mut self.wrong, WRONG_MAX)
        };
        if known.len() >= max {
            known.clear();
        }
        known.insert(check.digest);
        true
    }

    fn digest(&self, worker: &str, password: &str) -> blake2b_simd::Hash {
        let mut state = blake2b_simd::Params::new().key(&self.key).to_state();
        state.update(&(worker.len() as u64).to_le_bytes());
        state.update(worker.as_bytes());
        state.update(password.as_bytes());
        state.finalize()
    }
}

fn short(hash: blake2b_simd::Hash) -> Digest {
    let whole = hash.as_array();
    std::array::from_fn(|index| whole[index])
}

impl HashCheck {
    /// Stands for the worker and the password.
    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }

    /// Holds the password against its hash: milliseconds, and for some hashes hundreds of them.
    pub(crate) fn run(&self) -> bool {
        // Of this thread alone. Where it is forbidden, the thread is one among the others.
        let nice = rustix::process::getpriority_process(None);
        if nice.is_ok_and(|nice| nice < NICENESS) {
            let _ = rustix::process::setpriority_process(None, NICENESS);
        }
        let password = self.password.expose().as_bytes();
        match &self.hash {
            WorkerPassword::Argon2(hash) => PasswordHash::new(hash.expose())
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            WorkerPassword::Bcrypt(hash) => {
                bcrypt::verify(password, hash.expose()).unwrap_or(false)
            }
            WorkerPassword::Any | WorkerPassword::Plain(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "- name: free\n- name: plain\n  password: s3cret\n- name: argon\n  password_hash: \
                        $argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$HASH\n- name: bcrypt-*\n  \
                        password_hash: BCRYPT\n";

    fn text() -> String {
        use argon2::PasswordHasher;
        let salt = argon2::password_hash::SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash = argon2.hash_password(b"horse", &salt).unwrap().to_string();
        let bcrypt = bcrypt::hash_with_salt("staple", 4, [7; 16]).unwrap();
        FILE.replace(
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$HASH",
            &hash,
        )
        .replace("BCRYPT", &bcrypt.to_string())
    }

    fn checker() -> Checker {
        Checker::new(Arc::new(Workers::load(&text()).unwrap()))
    }

    /// Whether it may mine, and whether that was known at once.
    fn verdict(checker: &mut Checker, worker: &str, password: &str) -> (bool, bool) {
        match checker.look(worker, password) {
            Look::Known(is_right) => (is_right, true),
            Look::Hash(check) => {
                let is_right = check.run();
                assert!(checker.learn(&check, is_right));
                (is_right, false)
            }
        }
    }

    #[test]
    fn each_kind_of_password_is_checked() {
        let mut checker = checker();
        assert_eq!(verdict(&mut checker, "free", "anything"), (true, true));
        assert_eq!(verdict(&mut checker, "plain", "s3cret"), (true, true));
        assert_eq!(verdict(&mut checker, "plain", "s3cre"), (false, true));
        assert_eq!(verdict(&mut checker, "argon", "horse"), (true, false));
        assert_eq!(verdict(&mut checker, "argon", "house"), (false, false));
        assert_eq!(verdict(&mut checker, "bcrypt-7", "staple"), (true, false));
        assert_eq!(verdict(&mut checker, "bcrypt-7", "maple"), (false, false));
        assert_eq!(verdict(&mut checker, "nobody", "s3cret"), (false, true));
    }

    #[test]
    fn a_verdict_is_remembered_for_this_name_and_password_alone() {
        let mut checker = checker();
        for known in [false, true] {
            assert_eq!(verdict(&mut checker, "bcrypt-1", "staple"), (true, known));
            assert_eq!(verdict(&mut checker, "bcrypt-1", "maple"), (false, known));
        }
        assert_eq!(verdict(&mut checker, "bcrypt-2", "staple"), (true, false));
    }

    #[test]
    fn another_file_forgets_what_was_known() {
        let mut checker = checker();
        assert!(verdict(&mut checker, "argon", "horse").0);
        let same = Arc::clone(&checker.workers);
        checker.take(&same);
        assert_eq!(verdict(&mut checker, "argon", "horse"), (true, true));
        let Look::Hash(late) = checker.look("argon", "house") else {
            panic!("it was not asked before");
        };
        let other = Workers::load("- name: argon\n  password: other\n").unwrap();
        checker.take(&Arc::new(other));
        assert_eq!(verdict(&mut checker, "argon", "horse"), (false, true));
        assert_eq!(verdict(&mut checker, "argon", "other"), (true, true));
        assert!(!checker.learn(&late, true));
        assert!(checker.right.is_empty(), "that was by the file before");
    }

    #[test]
    fn who_guesses_pushes_nobody_out() {
        let mut checker = checker();
        let check = |number: u64| {
            let mut digest = Digest::default();
            digest[..8].copy_from_slice(&number.to_le_bytes());
            HashCheck {
                digest,
                revision: 0,
                hash: WorkerPassword::Any,
                password: Secret::new(""),
            }
        };
        checker.learn(&check(u64::MAX), true);
        for number in 0..2 * WRONG_MAX as u64 + 1 {
            checker.learn(&check(number), false);
        }
        assert!(checker.wrong.len() <= WRONG_MAX);
        assert!(checker.right.contains(&check(u64::MAX).digest));
    }
}
