//! Bitcoin through the real binary: blocks of signet, chains of proxies, and another dialect beside it.

use std::net::SocketAddr;
use std::time::Duration;

use stratum_uring::practice::bitcoin::{HEADER_LEN, Rolled, Work, share_hash};
use stratum_uring::practice::{PracticeCoin, PracticeServer, PracticeSettings};
use stratum_uring::proto::dialect::bitcoin::target_of;
use stratum_uring::proto::dialect::equihash::Parameters;

use crate::practice::solve;
use crate::support::equihash::{from_hex, to_hex};
use crate::support::{Config, FakeMiner, FakePool, Json, NONCE_1, POOL_WORKER, Proxy};

/// A difficulty that one header in 256 meets.
const EASY: f64 = 1.0 / 16_777_216.0;

fn practice_pool(coin: PracticeCoin) -> PracticeServer {
    let mut target = [0xff; 32];
    target[0] = 0;
    if coin == PracticeCoin::Bitcoin {
        target = *target_of(EASY).unwrap().as_bytes();
    }
    let settings = PracticeSettings {
        coin,
        target,
        job_interval: Duration::ZERO,
        ..PracticeSettings::default()
    };
    let pool = PracticeServer::start(settings, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    pool.turn_knobs(|knobs| knobs.record = true);
    pool
}

fn url(address: SocketAddr) -> String {
    format!("stratum+tcp://{address}")
}

/// A miner that rolls version bits, with what it was told.
struct Roller {
    miner: FakeMiner,
    mask: u32,
    extranonce1: Vec<u8>,
    extranonce2_len: usize,
    difficulty: String,
    job: Json,
}

impl Roller {
    fn mining(address: SocketAddr) -> Self {
        let mut miner = FakeMiner::connect_to(address);
        let asked = r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#;
        let reply = miner.request("mining.configure", asked);
        let mask = reply.result.get("version-rolling.mask").text();
        let mask = u32::from_str_radix(mask, 16).unwrap();
        let reply = miner.request("mining.subscribe", r#"["roller/1"]"#);
        let extranonce1 = from_hex(reply.result.at(1).text());
        let len = reply.result.at(2).integer().unwrap();
        miner
            .request("mining.authorize", r#"["rig","x"]"#)
            .assert_accepted();
        let difficulty = miner.expect_notice();
        assert_eq!(difficulty.get("method").text(), "mining.set_difficulty");
        let difficulty = difficulty.get("params").at(0).to_string();
        let job = miner.expect_notice();
        assert_eq!(job.get("method").text(), "mining.notify");
        Self {
            miner,
            mask,
            extranonce1,
            extranonce2_len: usize::try_from(len).unwrap(),
            difficulty,
            job: job.get("params").clone(),
        }
    }

    fn header(&self, extranonce2: &[u8], nonce: u32, bits: u32) -> [u8; HEADER_LEN] {
        let number = |at: usize| u32::from_str_radix(self.job.at(at).text(), 16).unwrap();
        let mut previous = from_hex(self.job.at(1).text());
        previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        let branches = self.job.at(4).items().iter();
        let work = Work {
            previous: previous.try_into().unwrap(),
            coinbase: [
                from_hex(self.job.at(2).text()),
                from_hex(self.job.at(3).text()),
            ],
            branches: branches
                .map(|branch| from_hex(branch.text()).try_into().unwrap())
                .collect(),
            version: number(5),
            bits: number(6),
        };
        work.header(&Rolled {
            extranonce: [&self.extranonce1, extranonce2],
            time: number(7),
            nonce,
            version: (self.mask, bits),
        })
    }

    /// Finds a share with these version bits, and submits it; returns its hash.
    fn mine(&mut self, bits: u32) -> [u8; 32] {
        let target = *target_of(EASY).unwrap().as_bytes();
        let extranonce2 = vec![0x5a; self.extranonce2_len];
        let hash = |nonce| share_hash(&self.header(&extranonce2, nonce, bits));
        let nonce = (0..).find(|&nonce| hash(nonce) <= target).unwrap();
        let hash = hash(nonce);
        let params = format!(
            r#"["rig","{}","{}","{}","{nonce:08x}","{bits:08x}"]"#,
            self.job.at(0).text(),
            to_hex(&extranonce2),
            self.job.at(7).text(),
        );
        self.miner
            .request("mining.submit", &params)
            .assert_accepted();
        hash
    }
}

#[test]
fn rolled_shares_are_right_through_one_proxy_and_through_two() {
    let pool = practice_pool(PracticeCoin::Bitcoin);
    let first = Config::new(&url(pool.address())).dialect("bitcoin");
    let first = Proxy::start(&first.yaml());
    let second = Config::new(&url(first.any_address())).dialect("bitcoin");
    let second = Proxy::start(&second.yaml());
    let mut hashes = Vec::new();
    for (address, len) in [(first.any_address(), 6), (second.any_address(), 4)] {
        for bits in [0x0002_4000, 0] {
            let mut roller = Roller::mining(address);
            assert_eq!((roller.mask, roller.extranonce2_len), (0x1fff_e000, len));
            assert_eq!(roller.difficulty, "0.0000000596046447753906");
            hashes.push(roller.mine(bits));
        }
    }
    // The pool made the very same headers of them.
    let accepted = pool.accepted_shares();
    let accepted: Vec<_> = accepted.iter().map(|share| share.hash.unwrap()).collect();
    assert_eq!(accepted, hashes);
    assert_eq!(pool.counters().shares_rejected.total(), 0);
}

#[test]
fn shares_of_equihash_are_right_through_two_proxies() {
    let pool = practice_pool(PracticeCoin::Equihash(Parameters::new(48, 5).unwrap()));
    let set = "equihash: { n: 48, k: 5 }";
    let first = Proxy::start(&Config::new(&url(pool.address())).key(set).yaml());
    let second = Proxy::start(&Config::new(&url(first.any_address())).key(set).yaml());
    let (mut miner, job) = FakeMiner::mining(&second, "rig");
    assert_eq!(miner.nonce_1.len(), 2 * (4 + 2 + 2));
    let (nonce_2, solution) = solve(&job).remove(0);
    let mut share = miner.share(&job, 0);
    (share.nonce_2, share.solution) = (nonce_2, solution);
    let id = miner.send_share(&share);
    miner.expect_accepted(id);
    let nonce = to_hex(&pool.accepted_shares()[0].nonce);
    assert_eq!(nonce, format!("{}{}", miner.nonce_1, share.nonce_2));
}

#[test]
fn two_dialects_work_side_by_side_on_the_same_shards() {
    let (bitcoin, zcash) = (practice_pool(PracticeCoin::Bitcoin), FakePool::start());
    let config = Config::new(&zcash.url())
        .proxy("bitcoin", &url(bitcoin.address()))
        .dialect("bitcoin");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut roller = Roller::mining(proxy.address("bitcoin"));
    roller.mine(0x0000_2000);
    let mut miner = FakeMiner::connect_to(proxy.address("zcash"));
    let id = miner.send_subscribe();
    let mut link = zcash.accept_ready(NONCE_1);
    miner.expect_subscribed(id);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let submit = link.expect_submit();
    link.accept(&submit.id);
    miner.expect_accepted(id);
    roller.mine(0x0000_4000);
    assert_eq!(bitcoin.counters().shares_accepted, 2);
}

/// A block of signet with rolled version bits, from pool2win/p2pool-v2's
/// tests/test_data/validation/stratum/with_version_rolling.
#[test]
fn a_block_reaches_the_pool_to_the_byte_with_a_slot_in_its_extranonce() {
    const NOTIFY: &str = r#""87f914a7745ea340051038babb56406514af8b63338ade65002bfbde00000000","01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff2d023c01000402b6786804209eec010c","0a636b706f6f6c0a2f7032706f6f6c76322fffffffff030011102401000000160014274466e754a1c12d0a2d2cc34ceb70d8e017053a00e1f50500000000160014a248cf2f99f449511b22bab1a3d001719f84cd090000000000000000266a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf900000000",[],"20000000","1e0377ae","6878b602",true]"#;
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).dialect("bitcoin");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let configure = miner.send_request(
        "mining.configure",
        r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#,
    );
    let subscribe = miner.send_request("mining.subscribe", r#"["test/1.0"]"#);
    let mut link = pool.accept_link();
    let asked = link.expect("mining.configure");
    assert_eq!(
        asked.params.to_string(),
        r#"[["version-rolling"],{"version-rolling.mask":"ffffffff","version-rolling.min-bit-count":2}]"#
    );
    link.expect_subscribe();
    link.send_line(&format!(
        r#"{{"result":{{"version-rolling":true,"version-rolling.mask":"1fffe000"}},"id":{},"error":null}}"#,
        asked.id
    ));
    link.reply_subscribe_with(
        r#"[[["mining.set_difficulty","1"],["mining.notify","6878b603"]],"03b67868",8]"#,
    );
    link.expect_authorize();
    link.reply_authorize();
    link.send_line(r#"{"id":null,"method":"mining.set_difficulty","params":[1]}"#);
    link.send_line(&format!(
        r#"{{"id":null,"method":"mining.notify","params":["6878b60200000001",{NOTIFY}}}"#
    ));
    let reply = miner.expect_result(configure);
    assert_eq!(
        reply.result.to_string(),
        r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#
    );
    let reply = miner.expect_result(subscribe);
    assert_eq!(reply.result.at(1).text(), "03b678680000");
    miner.authorize("w");
    assert_eq!(
        miner.expect_notice().to_string(),
        r#"{"id":null,"method":"mining.set_difficulty","params":[1]}"#
    );
    let job = miner.expect_notice();
    let id = job.get("params").at(0).text().to_owned();
    assert_eq!(
        job.get("params").to_string(),
        format!(r#"["{id}",{NOTIFY}"#)
    );
    let submit = miner.send_request(
        "mining.submit",
        &format!(r#"["w","{id}","000000000000","6878b602","58f90070","083ac000"]"#),
    );
    let request = link.expect("mining.submit");
    assert_eq!(
        request.raw,
        format!(
            r#"{{"id":{},"method":"mining.submit","params":["{POOL_WORKER}","6878b60200000001","0000000000000000","6878b602","58f90070","083ac000"]}}"#,
            request.id
        )
    );
    link.accept(&request.id);
    miner.expect_accepted(submit);
}
