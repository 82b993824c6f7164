//! Workers that are looked up for the exchanges of a shard. Hashes take long, and are checked on threads of
//! the executor, a few at a time.

use std::cell::RefCell;
use std::rc::Weak;

use crate::config::Secret;
use crate::exchange::CheckEnd;
use crate::proto::time::Now;
use crate::shard::connection::household_of;
use crate::shard::state::{Proxy, Shard};
use crate::shard::worker_checks::{Digest, HashCheck, Look};

/// Hashes of one shard that are checked at a time; each may take the memory that its hash asks for.
pub(crate) const CHECKS_AT_ONCE: usize = 2;

/// Which hashes of a shard are being checked.
#[derive(Debug, Default)]
pub(crate) struct HashChecks {
    running: usize,
    /// Whose hash is next.
    next_proxy: usize,
}

/// A hash to be checked by a task of its own.
pub(crate) struct HashTask {
    proxy: usize,
    check: HashCheck,
}

impl Proxy {
    /// The next hash to check. What is known by now, which may have changed since it was asked for, is
    /// answered on the way.
    fn next_hash(&mut self, now: Now, answered: &mut bool) -> Option<HashCheck> {
        while let Some((digest, asked)) = self.hashes.next() {
            let Some(checker) = &self.checker else {
                continue;
            };
            match checker.look(&asked.worker, asked.password.expose()) {
                Look::Hash(check) => return Some(check),
                Look::Known(is_right) => {
                    *answered = true;
                    self.hash_checked(now, digest, is_right);
                }
            }
        }
        None
    }

    /// The exchange hears what came of a check, for all who asked for it.
    fn hash_checked(&mut self, now: Now, digest: Digest, is_right: bool) {
        for (miner, number) in self.hashes.end(digest) {
            let end = verdict(is_right);
            self.exchange.handle_worker_checked(now, miner, number, end);
        }
    }
}

impl Shard {
    /// Answers the exchanges that ask for workers, at once where that is possible.
    pub(crate) fn look_workers_up(&mut self, now: Now) {
        for proxy in &mut self.proxies {
            while let Some(asked) = proxy.exchange.poll_check() {
                let (miner, number) = (asked.miner, asked.number);
                let look = match &proxy.checker {
                    Some(checker) => checker.look(&asked.worker, &asked.password),
                    None => Look::Known(false),
                };
                match look {
                    Look::Known(is_right) => {
                        let end = verdict(is_right);
                        proxy
                            .exchange
                            .handle_worker_checked(now, miner, number, end);
                    }
                    Look::Hash(check) => {
                        // Of a miner that has left nobody waits for the verdict, but it will come again.
                        let address = household_of(&self.connections, miner);
                        let busy = proxy.hashes.add(
                            proxy.limits.password_checks_max,
                            address,
                            check.digest(),
                            (asked.worker, Secret::new(asked.password)),
                            (miner, number),
                        );
                        for (miner, number) in busy {
                            let end = CheckEnd::Busy;
                            proxy
                                .exchange
                                .handle_worker_checked(now, miner, number, end);
                        }
                    }
                }
            }
        }
    }

    /// The next hash to check, one of each proxy after the other, while there may be one more at a time.
    pub(crate) fn next_hash(&mut self) -> Option<HashTask> {
        if self.hash_checks.running >= CHECKS_AT_ONCE {
            return None;
        }
        let now = self.clock.now();
        let count = self.proxies.len();
        loop {
            let mut found = None;
            let mut answered = false;
            for turn in 0..count {
                let proxy = (self.hash_checks.next_proxy + turn) % count;
                let check = self.proxies[proxy].next_hash(now, &mut answered);
                if let Some(check) = check {
                    self.hash_checks.next_proxy = proxy + 1;
                    self.hash_checks.running += 1;
                    found = Some(HashTask { proxy, check });
                    break;
                }
            }
            if answered {
                self.finish_round(now);
            }
            // Who was answered may have come with another one behind.
            if found.is_some() || !answered {
                return found;
            }
        }
    }

    fn hash_checked(&mut self, index: usize, check: &HashCheck, is_right: bool) {
        let now = self.clock.now();
        self.hash_checks.running -= 1;
        let proxy = &mut self.proxies[index];
        let holds = match &mut proxy.checker {
            Some(checker) => checker.learn(check, is_right),
            None => false,
        };
        if holds {
            proxy.hash_checked(now, check.digest(), is_right);
        } else {
            // By a file that was read again meanwhile.
            proxy.hashes.again(check.digest());
        }
        self.finish_round(now);
    }
}

const fn verdict(is_right: bool) -> CheckEnd {
    if is_right {
        CheckEnd::Right
    } else {
        CheckEnd::Wrong
    }
}

/// Checks one hash on a thread of the executor's pool, for a shard that may end meanwhile.
pub(crate) async fn run(shard: Weak<RefCell<Shard>>, task: HashTask) {
    let HashTask { proxy, check } = task;
    let (check, is_right) = glommio::executor()
        .spawn_blocking(|| {
            let is_right = check.run();
            (check, is_right)
        })
        .await;
    if let Some(shard) = shard.upgrade() {
        shard.borrow_mut().hash_checked(proxy, &check, is_right);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Workers;
    use crate::exchange::MinerToken;
    use crate::shard::test_shard;
    use crate::shard::worker_checks::Checker;

    /// A shard with one proxy, whose workers are these.
    fn shard_with(workers: Workers) -> Shard {
        let mut shard = test_shard::start(None);
        shard.proxies[0].checker = Some(Checker::new(Arc::new(workers)));
        shard
    }

    fn take(shard: &mut Shard, workers: Workers) {
        let checker = shard.proxies[0].checker.as_mut().unwrap();
        checker.take(&Arc::new(workers));
    }

    /// Workers of these names whose passwords are hashes.
    fn hashed(names: &[&str]) -> Workers {
        let hash = bcrypt::hash_with_salt("x", 4, [7; 16]).unwrap();
        let worker = |name| format!("- name: {name}\n  password_hash: {hash}\n");
        let text: String = names.iter().map(worker).collect();
        Workers::load(&text).unwrap()
    }

    #[test]
    fn what_an_answer_lets_come_begins_at_once() {
        let mut shard = shard_with(hashed(&["first", "second"]));
        let now = shard.clock.now();
        let miner = MinerToken {
            index: 0,
            generation: 0,
        };
        let exchange = &mut shard.proxies[0].exchange;
        exchange.handle_connect(now, miner);
        for worker in ["first", "second"] {
            let line = format!(
                "{{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"{worker}\",\"x\"]}}"
            );
            exchange.handle_miner_line(now, miner, line.as_bytes());
        }
        shard.finish_round(now);
        // The first one is answered without a check, and what stood behind it needs one.
        take(&mut shard, hashed(&["second"]));
        let hash = shard.next_hash().expect("a thread is free");
        assert!(hash.check.run());
        assert_eq!(shard.hash_checks.running, 1);
        assert!(shard.next_hash().is_none());
    }
}
