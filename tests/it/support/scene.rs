//! The middle of a conversation: one shard, one pool link, one miner with a job.

use super::{Config, FakeMiner, FakePool, Job, NONCE_1, PoolLink, Proxy};

/// Field order is drop order: the proxy ends first, so that it sees nobody leave.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) proxy: Proxy,
    pub(crate) pool: FakePool,
    pub(crate) link: PoolLink,
    pub(crate) miner: FakeMiner,
    /// The job that the pool calls `pool-job-1`.
    pub(crate) job: Job,
}

impl Scene {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With further keys of the proxy.
    pub(crate) fn with(keys: &[&str]) -> Self {
        Self::arranged(keys, |miner| miner.authorize("t1addr.rig1"))
    }

    /// With a miner that can take `mining.set_extranonce`.
    pub(crate) fn with_extranonce_miner(keys: &[&str]) -> Self {
        Self::arranged(keys, |miner| {
            miner
                .request("mining.extranonce.subscribe", "[]")
                .assert_accepted();
            miner.authorize("t1addr.rig1");
        })
    }

    fn arranged(keys: &[&str], handshake: impl Fn(&mut FakeMiner)) -> Self {
        let pool = FakePool::start();
        let proxy = Proxy::one_shard(&Config::new(&pool.url()).keys(keys).yaml());
        let mut miner = FakeMiner::connect(&proxy);
        let subscribe = miner.send_subscribe();
        let mut link = pool.accept_link();
        link.expect_subscribe();
        link.reply_subscribe_session("session-1", NONCE_1);
        link.expect_authorize();
        link.reply_authorize();
        link.set_target(super::TARGET);
        link.notify(&super::PoolJob::new("pool-job-1"));
        miner.expect_subscribed(subscribe);
        handshake(&mut miner);
        let job = miner.expect_job();
        Self {
            proxy,
            pool,
            link,
            miner,
            job,
        }
    }

    /// Another miner on the same link.
    pub(crate) fn another_miner(&self, worker: &str) -> (FakeMiner, Job) {
        FakeMiner::mining(&self.proxy, worker)
    }

    /// A share goes all the way and is accepted: everything works.
    #[track_caller]
    pub(crate) fn expect_share_passes(&mut self, seed: u64) {
        let id = self.miner.submit(&self.job, seed);
        let submit = self.link.expect_submit();
        self.link.accept(&submit.id);
        self.miner.expect_accepted(id);
    }

    /// The pool announces a job; from now on the scene's miner works on it.
    #[track_caller]
    pub(crate) fn announce(&mut self, job: &super::PoolJob) -> Job {
        self.link.notify(job);
        self.job = self.miner.expect_job();
        self.job.clone()
    }
}
