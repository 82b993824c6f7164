//! Block 415000 of Zcash, mined through the proxy.
//!
//! The block's nonce is `c2fd607c776a` and then 26 bytes of the miner. Which slot a miner gets is
//! the proxy's choice, so one test gives the pool the whole prefix and our slot no byte, and the
//! other takes every one-byte slot until one is the right byte.

use sha2::{Digest, Sha256};

use crate::support::equihash::{block_415000 as block, from_hex, to_hex};
use crate::support::pool::Submit;
use crate::support::{
    Config, FakeMiner, FakePool, Job, POOL_WORKER, PoolJob, PoolLink, Proxy, Share, TARGET,
};

#[test]
fn the_block_reaches_the_pool_through_a_link_without_slots() {
    let (pool, proxy) = start("slot_bytes: 0");
    let mut miner = FakeMiner::connect(&proxy);
    miner.send_line(
        r#"{"id":1,"method":"mining.subscribe","params":["test/1.0",null,"proxy.local",3333]}"#,
    );
    let mut link = welcome(&pool, "c2fd607c776a");
    assert_eq!(
        miner.expect_line(),
        r#"{"id":1,"result":[null,"c2fd607c776a"],"error":null}"#
    );
    miner.nonce_1 = "c2fd607c776a".to_owned();
    miner.send_line(r#"{"id":2,"method":"mining.authorize","params":["t1addr.rig1","x"]}"#);
    assert_eq!(
        miner.expect_line(),
        r#"{"id":2,"result":true,"error":null}"#
    );
    let job = expect_the_job(&mut miner);
    submit_the_block(&mut miner, &job);
    let submit = link.expect_submit();
    assert_is_the_block(&submit, "c2fd607c776a");
    link.accept(&submit.id);
    assert_eq!(
        miner.expect_line(),
        r#"{"id":4,"result":true,"error":null}"#
    );
}

#[test]
fn the_block_reaches_the_pool_with_a_slot_byte_in_the_nonce() {
    let (pool, proxy) = start("slot_bytes: 1");
    let mut miners = vec![FakeMiner::connect(&proxy)];
    let id = miners[0].send_subscribe();
    let mut link = welcome(&pool, "c2fd607c77");
    miners[0].expect_subscribed(id);
    // 256 miners have all 256 slots, so one of them has this one.
    while miners.last().unwrap().nonce_1 != "c2fd607c776a" {
        assert!(miners.len() < 256, "no miner has the slot 6a");
        let mut miner = FakeMiner::connect(&proxy);
        miner.subscribe();
        miners.push(miner);
    }
    let mut miner = miners.pop().unwrap();
    miner.authorize("t1addr.rig1");
    let job = expect_the_job(&mut miner);
    submit_the_block(&mut miner, &job);
    let submit = link.expect_submit();
    assert_is_the_block(&submit, "c2fd607c77");
    link.accept(&submit.id);
    miner.expect_accepted(4);
}

#[test]
fn the_submit_to_the_pool_is_this_line_to_the_byte() {
    let (pool, proxy) = start("slot_bytes: 0");
    let mut miner = FakeMiner::connect(&proxy);
    let id = miner.send_subscribe();
    let mut link = welcome(&pool, "c2fd607c776a");
    miner.expect_subscribed(id);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    submit_the_block(&mut miner, &job);
    let submit = link.expect_submit();
    let expected = format!(
        r#"{{"id":{},"method":"mining.submit","params":["{POOL_WORKER}","j1","{}","{}","{}"]}}"#,
        submit.id,
        block::TIME,
        &block::NONCE[12..],
        block::SOLUTION,
    );
    assert_eq!(submit.raw, expected);
}

fn start(slot_bytes: &str) -> (FakePool, Proxy) {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).key(slot_bytes).yaml());
    (pool, proxy)
}

fn welcome(pool: &FakePool, nonce_1: &str) -> PoolLink {
    let mut link = pool.accept_link();
    link.welcome(nonce_1);
    link.notify(&PoolJob {
        id: "j1".to_owned(),
        version: block::VERSION.to_owned(),
        previous: block::PREVIOUS.to_owned(),
        merkle: block::MERKLE.to_owned(),
        reserved: block::RESERVED.to_owned(),
        time: block::TIME.to_owned(),
        bits: block::BITS.to_owned(),
        clean: true,
        extras: Vec::new(),
    });
    link
}

/// Target and job as the transcript has them, but for the job id.
fn expect_the_job(miner: &mut FakeMiner) -> Job {
    let target = miner.expect_notice().to_string();
    assert_eq!(
        target,
        format!(r#"{{"id":null,"method":"mining.set_target","params":["{TARGET}"]}}"#)
    );
    let job = miner.expect_job();
    let expected = format!(
        r#"["{}","{}","{}","{}","{}","{}","{}",true]"#,
        job.id,
        block::VERSION,
        block::PREVIOUS,
        block::MERKLE,
        block::RESERVED,
        block::TIME,
        block::BITS,
    );
    assert_eq!(job.params.to_string(), expected);
    job
}

fn submit_the_block(miner: &mut FakeMiner, job: &Job) {
    let share = Share {
        worker: "t1addr.rig1".to_owned(),
        job: job.id.clone(),
        time: block::TIME.to_owned(),
        nonce_2: block::NONCE[12..].to_owned(),
        solution: block::SOLUTION.to_owned(),
    };
    let params = share.params();
    miner.send_line(&format!(
        r#"{{"id":4,"method":"mining.submit","params":{params}}}"#
    ));
}

/// What the pool makes of the share: header, double SHA-256, the hash that the world knows.
fn assert_is_the_block(submit: &Submit, pool_nonce_1: &str) {
    assert_eq!(submit.worker, POOL_WORKER);
    assert_eq!(submit.job, "j1");
    let nonce = format!("{pool_nonce_1}{}", submit.nonce_2);
    assert_eq!(nonce, block::NONCE);
    let header = [
        block::VERSION,
        block::PREVIOUS,
        block::MERKLE,
        block::RESERVED,
        &submit.time,
        block::BITS,
        &nonce,
        &submit.solution,
    ]
    .concat();
    let mut hash = Sha256::digest(Sha256::digest(from_hex(&header)));
    hash.reverse();
    assert_eq!(to_hex(&hash), block::HASH);
}
