//! Lines as miners and pools send them, of Equihash 200,9.

/// Digits of the pool's nonce_1: 4 bytes, as most pools give.
pub(crate) const NONCE_1: &str = "c2fd607c";

/// The worker of every miner.
pub(crate) const WORKER: &str = "t1addr.rig1";

/// A subscribe as ZIP 301 has it.
pub(crate) fn subscribe() -> String {
    r#"{"id":1,"method":"mining.subscribe","params":["bench/1.0",null,"proxy.local",3333]}"#
        .to_owned()
}

/// An authorize of [`WORKER`].
pub(crate) fn authorize() -> String {
    format!(r#"{{"id":2,"method":"mining.authorize","params":["{WORKER}","x"]}}"#)
}

/// A job of a pool; a real header, that of Zcash block 415000, but for the job's own number.
pub(crate) fn notify(job_id: &str, clean: bool) -> String {
    const PREVHASH: &str = "5274b43b9e4ad8f43e93f78463d24dcfe531aeb4719819f4f97f7e0300000000";
    const MERKLE: &str = "663073bc4bfa95c9bec36aad7268a573049797bdfc5aa4c743fbe4820aa393ce";
    let reserved = "0".repeat(64);
    let header =
        format!(r#""04000000","{PREVHASH}","{MERKLE}","{reserved}","a8becc5b","e1ab031c""#);
    format!(r#"{{"id":null,"method":"mining.notify","params":["{job_id}",{header},{clean}]}}"#)
}

/// A target of a pool, with `byte` where two targets differ.
pub(crate) fn set_target(byte: u8) -> String {
    let rest = "f".repeat(58);
    format!(r#"{{"id":null,"method":"mining.set_target","params":["0007{byte:02x}{rest}"]}}"#)
}

/// A share of a miner: filler of the right shape. `nonce` makes it another one.
pub(crate) fn submit(worker: &str, job_id: &str, nonce: u32) -> String {
    let nonce_2 = format!("{nonce:08x}{}", "0".repeat(44));
    let solution = format!("fd4005{}", "5a".repeat(1344));
    let share = format!(r#""{job_id}","a8becc5b","{nonce_2}","{solution}""#);
    format!(r#"{{"id":4,"method":"mining.submit","params":["{worker}",{share}]}}"#)
}
