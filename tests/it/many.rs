//! Many miners at once, on two shards.

use std::collections::HashSet;

use crate::support::equihash::SET_48_5;
use crate::support::{AutoPool, Config, FakeMiner, Json, POOL_WORKER, Proxy, Verdict};

const MINERS: usize = 300;

fn start(pool: &AutoPool, keys: &[&str]) -> Proxy {
    let config = Config::new(&pool.url())
        .key("equihash: { n: 48, k: 5 }")
        .keys(keys);
    Proxy::start(&config.yaml())
}

/// All connect, then all subscribe, then all authorize, so that they are under way together.
fn connect(proxy: &Proxy, count: usize) -> Vec<FakeMiner> {
    let mut miners: Vec<_> = (0..count).map(|_| FakeMiner::connect(proxy)).collect();
    for miner in &mut miners {
        miner.set = SET_48_5;
        miner.send_subscribe();
    }
    for (rig, miner) in miners.iter_mut().enumerate() {
        miner.expect_subscribed(1);
        let worker = format!("t1addr.rig{rig:03}");
        miner.send_request("mining.authorize", &format!("[\"{worker}\",\"x\"]"));
        miner.worker = worker;
    }
    for miner in &mut miners {
        miner.expect_accepted(2);
    }
    miners
}

#[test]
fn three_hundred_miners_have_three_hundred_nonces() {
    let pool = AutoPool::accepts_all();
    let proxy = start(&pool, &[]);
    let miners = connect(&proxy, MINERS);
    let nonces: HashSet<&str> = miners.iter().map(|miner| miner.nonce_1.as_str()).collect();
    assert_eq!(nonces.len(), MINERS);
    assert!(nonces.iter().all(|nonce| nonce.len() == 12), "{nonces:?}");
}

#[test]
fn every_miner_gets_a_job_and_an_answer_to_its_share() {
    let pool = AutoPool::accepts_all();
    let proxy = start(&pool, &[]);
    let mut miners = connect(&proxy, MINERS);
    // The same seed for all: only the slots make the shares differ.
    for miner in &mut miners {
        let job = miner.expect_job();
        miner.submit(&job, 1);
    }
    for miner in &mut miners {
        miner.expect_accepted(3);
    }
    let seen: HashSet<String> = (0..MINERS).map(|_| pool.next_share().nonce).collect();
    let expected: HashSet<String> = miners
        .iter()
        .map(|miner| format!("{}{:052x}", miner.nonce_1, 1))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn every_answer_goes_to_the_miner_that_asked() {
    // The pool judges by the last digit of the miner's part, which the miner knows.
    let pool = AutoPool::start(|submit| {
        let last = submit.nonce_2.bytes().last().unwrap();
        match last % 3 {
            0 => Verdict::Accept,
            1 => Verdict::Reject(23, "Low difficulty share"),
            _ => Verdict::Reject(21, "Job not found"),
        }
    });
    let proxy = start(&pool, &[]);
    let mut miners = connect(&proxy, MINERS);
    for (rig, miner) in miners.iter_mut().enumerate() {
        let job = miner.expect_job();
        for round in 0..3 {
            miner.submit(&job, (rig * 3 + round) as u64);
        }
    }
    for (rig, miner) in miners.iter_mut().enumerate() {
        for round in 0..3 {
            let last = format!("{:x}", rig * 3 + round).bytes().last().unwrap();
            let id = Json::from(3 + round as u64);
            let reply = miner.expect_reply();
            assert_eq!(reply.id, id, "{}", reply.raw);
            let code = match last % 3 {
                0 => None,
                1 => Some(23),
                _ => Some(21),
            };
            assert_eq!(reply.code(), code, "rig {rig}: {}", reply.raw);
        }
    }
}

#[test]
fn the_pool_sees_one_worker() {
    let pool = AutoPool::accepts_all();
    let proxy = start(&pool, &[]);
    let mut miners = connect(&proxy, 50);
    for miner in &mut miners {
        let job = miner.expect_job();
        miner.submit(&job, 1);
    }
    for _ in 0..50 {
        assert_eq!(pool.next_share().submit.worker, POOL_WORKER);
    }
}

#[test]
fn a_farm_that_comes_back_at_once_is_served_at_once() {
    let pool = AutoPool::accepts_all();
    // As many slots as miners: the second farm gets in only when the first one's are free again.
    let proxy = start(&pool, &["slot_bytes: 1", "links_per_shard_max: 1"]);
    for _ in 0..3 {
        let mut miners = connect(&proxy, 120);
        for miner in &mut miners {
            let job = miner.expect_job();
            miner.submit(&job, 1);
        }
        for miner in &mut miners {
            miner.expect_accepted(3);
        }
        for miner in miners {
            miner.reset();
        }
    }
}
