//! Machines that are kept warm while no pool is up.

use crate::support::{NONCE_1, PoolJob, Scene};

#[test]
fn a_miner_has_old_work_while_no_pool_is_up_and_then_work_that_counts() {
    let keep_warm = "failover: { resume_seconds: 1, keep_warm: true }";
    let mut scene = Scene::with_extranonce_miner(&[keep_warm]);
    scene.link.close();
    // It takes the connection and says nothing: it is not up.
    scene.link = scene.pool.accept_link();
    let old = scene.miner.expect_job();
    assert_ne!(
        old.id, scene.job.id,
        "some firmware ignores a job that it knows"
    );
    assert!(old.clean);
    let id = scene.miner.submit(&old, 1);
    let reply = scene.miner.expect_error(id, 21);
    assert!(reply.error_text().contains("no pool is up"), "{reply:?}");
    scene.proxy.log_contains("NOTHING THAT THEY FIND COUNTS");
    scene.link.welcome(NONCE_1);
    scene.announce(&PoolJob::new("after"));
    scene.expect_share_passes(2);
    scene.proxy.log_contains("no longer kept warm");
}
