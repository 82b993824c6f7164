//! Workers that are looked up for the exchanges of a shard. Hashes take long, and are checked on threads of
//! the executor, a few at a time.

use std::cell::RefCell;
use std::rc::Rc;

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
        let mut found = None;
        let mut answered = false;
        for turn in 0..count {
            let index = (self.hash_checks.next_proxy + turn) % count;
            let proxy = &mut self.proxies[index];
            while found.is_none()
                && let Some((digest, asked)) = proxy.hashes.next()
            {
                let Some(checker) = &proxy.checker else {
                    continue;
                };
                // What is known may have changed since it was asked for.
                match checker.look(&asked.worker, asked.password.expose()) {
                    Look::Hash(check) => {
                        found = Some(HashTask {
                            proxy: index,
                            check,
                        })
                    }
                    Look::Known(is_right) => {
                        answered = true;
                        proxy.hash_checked(now, digest, is_right);
                    }
                }
            }
            if found.is_some() {
                self.hash_checks.next_proxy = index + 1;
                self.hash_checks.running += 1;
                break;
            }
        }
        if answered {
            self.finish_round(now);
        }
        found
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

/// Checks one hash on a thread of the executor's pool.
pub(crate) async fn run(shard: Rc<RefCell<Shard>>, task: HashTask) {
    let HashTask { proxy, check } = task;
    let (check, is_right) = glommio::executor()
        .spawn_blocking(|| {
            let is_right = check.run();
            (check, is_right)
        })
        .await;
    shard.borrow_mut().hash_checked(proxy, &check, is_right);
}
