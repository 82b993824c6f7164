//! Monero through the real binary: two miners on one link, each with its own byte of the nonce.

use crate::support::{Config, FakeMiner, FakePool, POOL_WORKER, Proxy};

const LOGIN: &str = r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"rig","pass":"x","agent":"XMRig/6"}}"#;

/// A blob with these digits for its nonce.
fn blob(nonce: &str) -> String {
    format!("{}{nonce}{}", "07".repeat(39), "2f".repeat(33))
}

#[test]
fn two_miners_search_apart_and_their_shares_come_under_the_pools_session() {
    let pool = FakePool::start();
    let config = Config::new(&pool.url()).dialect("monero");
    let proxy = Proxy::one_shard(&config.yaml());
    let mut miners = [FakeMiner::connect(&proxy), FakeMiner::connect(&proxy)];
    for miner in &mut miners {
        miner.send_line(LOGIN);
    }
    let mut link = pool.accept_link();
    let login = link.expect("login");
    assert_eq!(login.params.get("login").text(), POOL_WORKER);
    link.send_line(&format!(
        r#"{{"id":{},"jsonrpc":"2.0","error":null,"result":{{"id":"session-7","job":{{"blob":"{}","job_id":"j/1","target":"b88d0600"}},"status":"OK"}}}}"#,
        login.id,
        blob("00000000"),
    ));
    let mut slots = Vec::new();
    for miner in &mut miners {
        let answer = miner.expect_reply();
        let job = answer.result.get("job");
        let slot = job.get("blob").text()[84..86].to_owned();
        assert_eq!(job.get("blob").text(), blob(&format!("000000{slot}")));
        let id = job.get("job_id").text();
        let result = "ab".repeat(32);
        miner.send_line(&format!(
            r#"{{"id":2,"jsonrpc":"2.0","method":"submit","params":{{"id":"1","job_id":"{id}","nonce":"d00300{slot}","result":"{result}"}}}}"#
        ));
        let share = link.expect("submit");
        assert_eq!(
            share.params.to_string(),
            format!(
                r#"{{"id":"session-7","job_id":"j/1","nonce":"d00300{slot}","result":"{result}"}}"#
            )
        );
        link.send_line(&format!(
            r#"{{"id":{},"jsonrpc":"2.0","error":null,"result":{{"status":"OK"}}}}"#,
            share.id
        ));
        assert_eq!(
            miner.expect_line(),
            r#"{"id":2,"jsonrpc":"2.0","error":null,"result":{"status":"OK"}}"#
        );
        slots.push(slot);
    }
    assert_ne!(slots[0], slots[1]);
}
