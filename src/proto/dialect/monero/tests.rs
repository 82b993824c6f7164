use super::*;
use crate::wire::json::Reader;

const BLOB: &str = "070780e6b9d60586ba419a0c224e3c6c3e134cc45c4fa04d8ee2d91c2595463c57eef0a4f0796c000000002fcc\
                    4d62fa6c77e76c30017c768be5c61d83ec9d3a085d524ba8053ecc3224660d";

fn with<T>(json: &str, use_it: impl FnOnce(Raw<'_>) -> T) -> T {
    let line = format!("{{\"params\":{json}}}");
    let mut reader = Reader::new();
    use_it(reader.read(line.as_bytes()).unwrap().params.unwrap())
}

fn target_text(digits: &str) -> Option<String> {
    let mut out = Vec::new();
    append_target(&mut out, &read_target(digits.as_bytes())?);
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn a_target_is_passed_on_as_it_was() {
    for digits in [
        "b88d0600",
        "ffffffff",
        "ffffff7f",
        "711b0d00",
        "1f85eb51b81e0500",
    ] {
        assert_eq!(target_text(digits).as_deref(), Some(digits));
    }
    // 10,000, as xmrig-proxy's description has it.
    assert_eq!(read_target(b"b88d0600").unwrap().work(), 10_000);
    for bad in [
        "",
        "b88d06",
        "00000000",
        "0000000000000000",
        "b88d060g",
        "-1000000",
    ] {
        assert_eq!(target_text(bad), None, "{bad}");
    }
}

#[test]
fn a_job_is_read_in_any_order_and_the_rest_of_it_kept() {
    let good = format!(
        r#"{{"id":"s","target":"b88d0600","algo":"rx/0","blob":"{BLOB}","height":7,"job_id":"q7/1"}}"#
    );
    let job = with(&good, read_job).unwrap();
    assert_eq!(&*job.pool_id, b"\"q7/1\"");
    assert_eq!(&*job.extra, br#","algo":"rx/0","height":7"#);
    let mut line = Vec::new();
    Monero.write_job(&mut line, &job, JobId(0xabc), true);
    let line = String::from_utf8(line).unwrap();
    assert_eq!(
        line,
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":{{\"blob\":\"{BLOB}\",\"job_id\":\"abc\",\
             \"target\":\"b88d0600\",\"algo\":\"rx/0\",\"height\":7}}}}\n"
        )
    );
    let at = Monero.slot_in_job().unwrap();
    assert_eq!(&line[at - 6..at + 4], "000000002f");
    for (from, to) in [
        (BLOB, ""),
        (BLOB, "0707"),
        (BLOB, &"07".repeat(409)),
        (BLOB, &"0g".repeat(76)),
        ("\"q7/1\"", "null"),
        ("\"b88d0600\"", "\"0\""),
        ("\"b88d0600\"", "5"),
        ("\"rx/0\"", &format!("\"{}\"", "r".repeat(5000))),
    ] {
        let bad = good.replace(from, to);
        assert!(with(&bad, read_job).is_err(), "{bad}");
    }
    assert!(with("[]", read_job).is_err());
}

#[test]
fn a_pool_that_fixes_a_byte_of_the_nonce_leaves_none_for_slots() {
    let plan = |blob: &str, extensions: &str| {
        let result = format!(
            r#"{{"id":"s","job":{{"blob":"{blob}","job_id":"1","target":"b88d0600"}},"extensions":{extensions},"status":"OK"}}"#
        );
        let read = with(&result, |result| Monero.read_subscription(result)).unwrap();
        let plan = Monero.plan(SlotWidth::Auto, read.extranonce2_len, VersionMask::NONE);
        plan.map(SlotPlan::capacity)
    };
    let mut fixed = BLOB.to_owned();
    fixed.replace_range(SLOT_AT..SLOT_AT + 2, "03");
    assert_eq!(plan(BLOB, "[]"), Some(256));
    assert_eq!(plan(BLOB, "[\"algo\",\"keepalive\"]"), Some(256));
    assert_eq!(plan(BLOB, "[\"algo\",\"nicehash\"]"), Some(1));
    assert_eq!(plan(&fixed, "null"), Some(1));
    for bad in [
        "{}",
        "true",
        r#"{"id":"s"}"#,
        r#"{"id":["s"],"job":{}}"#,
        r#"{"id":"s","job":{"blob":"00","job_id":"1","target":"b88d0600"}}"#,
    ] {
        let read = with(bad, |result| Monero.read_subscription(result));
        assert!(read.is_err(), "{bad}");
    }
}

#[test]
fn a_share_has_the_slot_in_its_nonce() {
    let check = |nonce: &str, result: &str| {
        let params = format!(
            r#"{{"id":"1","job_id":"abc","nonce":"{nonce}","result":"{result}","algo":"rx/0","sig":7}}"#
        );
        with(&params, |params| {
            let submit = read_submit(Some(params))?;
            let terms = ShareTerms {
                extranonce2_len: 3,
                slot: &[0x03],
                version_mask: VersionMask::NONE,
                time_max: 0,
            };
            Monero.check_share(&submit, terms)?;
            let mut out = Vec::new();
            let identity = Monero.write_share(
                &mut out,
                ShareParts {
                    request_id: 16,
                    worker: "",
                    pool_job_id: b"\"q7\"",
                    share_session: b"\"s\"",
                    slot: &[0x03],
                    submit: &submit,
                },
            );
            let identity = String::from_utf8(out[identity].to_vec()).unwrap();
            Ok((String::from_utf8(out).unwrap(), identity))
        })
    };
    let hash = "e1".repeat(32);
    let (line, identity) = check("D0030003", &hash).unwrap();
    assert_eq!(
        line,
        format!(
            "{{\"id\":16,\"jsonrpc\":\"2.0\",\"method\":\"submit\",\"params\":{{\"id\":\"s\",\"job_id\":\"q7\",\
             \"nonce\":\"d0030003\",\"result\":\"{hash}\",\"algo\":\"rx/0\"}}}}\n"
        )
    );
    assert_eq!(identity, "d0030003");
    for (nonce, result, text) in [
        (
            "d0030004",
            &hash[..],
            "Invalid nonce; is miner not compatible with NiceHash?",
        ),
        ("d00300", &hash, "nonce is not 8 hex digits"),
        ("d003000g", &hash, "nonce is not 8 hex digits"),
        ("d0030003", "e1", "result is not 64 hex digits"),
    ] {
        assert_eq!(check(nonce, result), Err(Reject::Malformed(text)));
    }
    assert!(with("[]", |params| read_submit(Some(params)).is_err()));
}

#[test]
fn no_text_makes_xmrig_leave() {
    let told = |text: &str| {
        let mut out = Vec::new();
        Monero.write_error(&mut out, b"7", 21, text);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        told("Low difficulty share"),
        "{\"id\":7,\"jsonrpc\":\"2.0\",\"error\":{\"code\":-1,\"message\":\"Low difficulty share\"}}\n"
    );
    for text in ["Invalid job id", "invalid JOB id supplied"] {
        assert!(told(text).contains("Job not found (=stale)"), "{text}");
    }
    for text in [
        "Unauthenticated",
        "Your IP is banned",
        "IP Address currently banned",
    ] {
        assert!(told(text).contains("\"the pool says: "), "{text}");
    }
    for reject in [Reject::UnknownJob, Reject::LinkLost, Reject::NotSubscribed] {
        let text = reject.text().to_ascii_lowercase();
        assert!(!FATAL_TEXTS.iter().any(|fatal| text.starts_with(fatal)));
    }
}

#[test]
fn a_share_is_its_miners_fault_by_the_text_alone() {
    for text in [
        "Low difficulty share",
        "Duplicate share",
        "low difficulty share (0.5)",
        "bad hash",
        "Invalid nonce; is miner not compatible with NiceHash?",
    ] {
        assert!(Monero.is_own_fault(-1, text), "{text}");
    }
    for text in [
        "Block expired",
        "Invalid job id",
        "Unauthenticated",
        "Throttled down share submission (please use high fixed diff or use xmr-node-proxy)",
        "Rejected by the pool",
    ] {
        assert!(!Monero.is_own_fault(-1, text), "{text}");
    }
}
