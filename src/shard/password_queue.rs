//! Workers that are looked up for the exchanges of a shard, and the queue of hashes that this takes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::exchange::{CheckEnd, MinerToken};
use crate::proto::time::Now;
use crate::shard::state::Shard;
use crate::shard::worker_checks::{HashCheck, Look};

/// Hashes of one shard that are checked at a time; each may take the memory that its hash asks for.
pub(crate) const CHECKS_AT_ONCE: usize = 2;

/// An authorize that waits for its hash.
struct Waiting {
    proxy: usize,
    miner: MinerToken,
    number: u32,
    check: HashCheck,
}

/// The hashes that a shard has to check, in the order in which they came.
#[derive(Default)]
pub(crate) struct PasswordQueue {
    waiting: VecDeque<Waiting>,
    running: usize,
}

/// A hash to be checked by a task of its own.
pub(crate) struct HashTask(Waiting);

impl Shard {
    /// Answers the exchanges that ask for workers, at once where that is possible.
    pub(crate) fn look_workers_up(&mut self, now: Now) {
        for (index, proxy) in self.proxies.iter_mut().enumerate() {
            while let Some(asked) = proxy.exchange.poll_check() {
                let look = match &proxy.checker {
                    Some(checker) => checker.look(&asked.worker, &asked.password),
                    None => Look::Known(false),
                };
                let end = match look {
                    Look::Known(true) => CheckEnd::Right,
                    Look::Known(false) => CheckEnd::Wrong,
                    Look::Hash(check) => {
                        let waiting = &mut self.passwords.waiting;
                        if waiting.len() < proxy.limits.password_checks_max {
                            waiting.push_back(Waiting {
                                proxy: index,
                                miner: asked.miner,
                                number: asked.number,
                                check,
                            });
                            continue;
                        }
                        CheckEnd::Busy
                    }
                };
                let (miner, number) = (asked.miner, asked.number);
                proxy
                    .exchange
                    .handle_worker_checked(now, miner, number, end);
            }
        }
    }

    /// The next hash to check, while there may be one more at a time.
    pub(crate) fn next_hash(&mut self) -> Option<HashTask> {
        if self.passwords.running >= CHECKS_AT_ONCE {
            return None;
        }
        let next = self.passwords.waiting.pop_front()?;
        self.passwords.running += 1;
        Some(HashTask(next))
    }

    fn hash_checked(&mut self, proxy: usize, miner: MinerToken, number: u32, is_right: bool) {
        let now = self.clock.now();
        self.passwords.running -= 1;
        let end = if is_right {
            CheckEnd::Right
        } else {
            CheckEnd::Wrong
        };
        let exchange = &mut self.proxies[proxy].exchange;
        exchange.handle_worker_checked(now, miner, number, end);
        self.finish_round(now);
    }
}

/// Checks one hash on a thread of the executor's pool.
pub(crate) async fn run(shard: Rc<RefCell<Shard>>, task: HashTask) {
    let HashTask(Waiting {
        proxy,
        miner,
        number,
        check,
    }) = task;
    let (digest, revision) = check.key();
    let is_right = glommio::executor().spawn_blocking(|| check.run()).await;
    let mut shard = shard.borrow_mut();
    if let Some(checker) = &mut shard.proxies[proxy].checker {
        checker.learn(digest, revision, is_right);
    }
    shard.hash_checked(proxy, miner, number, is_right);
}
