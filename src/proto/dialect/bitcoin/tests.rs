use super::*;
use crate::wire::json::Reader;

/// Reads the params or the result of a line, and hands them on.
fn with<T>(json: &str, use_it: impl FnOnce(Raw<'_>) -> T) -> T {
    let line = format!("{{\"params\":{json}}}");
    let mut reader = Reader::new();
    use_it(reader.read(line.as_bytes()).unwrap().params.unwrap())
}

fn heard(method: &str, params: &str) -> Result<String, PoolFault> {
    with(params, |params| {
        Bitcoin
            .read_pool_message(method.as_bytes(), Some(params))
            .map(|message| format!("{message:?}"))
    })
}

fn job(params: &str) -> Result<Job, PoolFault> {
    with(params, |params| read_job(params.elements()))
}

/// The params of a notify, with these in place of coinbase 1 and of the branches.
fn notify(coinbase: &str, branches: &str) -> String {
    let zeros = "0".repeat(64);
    format!(
        r#"["1","{zeros}","{coinbase}","00",{branches},"20000000","1e0377ae","6849afec",false]"#
    )
}

#[test]
fn every_shape_of_a_subscribe_result_is_read() {
    for (result, session_id, len) in [
        (
            r#"[[["mining.set_difficulty","a"],["mining.notify","b"]],"d4f69aeb",8]"#,
            Some("\"b\""),
            8,
        ),
        (
            r#"[[["mining.notify","b"]],"d4f69aeb",8]"#,
            Some("\"b\""),
            8,
        ),
        (r#"[["mining.notify","b"],"d4f69aeb",4]"#, Some("\"b\""), 4),
        (r#"[null,"d4f69aeb","4"]"#, None, 4),
        (r#"[[],"",2,{"more":1}]"#, None, 2),
        (r#"[[],"d4f69aeb",0]"#, None, 0),
        (r#"[[],"d4f69aeb",32]"#, None, 32),
    ] {
        let read = with(result, |result| Bitcoin.read_subscription(result)).unwrap();
        let id = read.session_id.as_deref();
        assert_eq!(id, session_id.map(str::as_bytes), "{result}");
        assert_eq!(read.extranonce2_len, len, "{result}");
    }
    for bad in [
        r#"[[],"d4f69aeb"]"#,
        r#"[[],"d4f69aeb",-1]"#,
        r#"[[],"d4f69aeb",1000]"#,
        r#"[[],"d4f69aeb",4.5]"#,
        r#"[[],"d4f69ae",4]"#,
        r#"[[],7,4]"#,
        "true",
        "[]",
    ] {
        let read = with(bad, |result| Bitcoin.read_subscription(result));
        assert!(read.is_err(), "{bad}: {read:?}");
    }
}

#[test]
fn an_extranonce1_that_leaves_no_room_for_a_slot_is_refused() {
    for (len, fits) in [(30, true), (31, false), (32, false)] {
        let extranonce1 = "a1".repeat(len);
        let result = format!(r#"[[],"{extranonce1}",8]"#);
        let read = with(&result, |result| Bitcoin.read_subscription(result));
        assert_eq!(read.is_ok(), fits, "{len}");
        let moved = format!(r#"["{extranonce1}",8]"#);
        assert_eq!(
            heard("mining.set_extranonce", &moved).is_ok(),
            fits,
            "{len}"
        );
    }
}

#[test]
fn the_plan_never_leaves_a_miner_less_than_cgminer_takes() {
    let rolls = VersionMask::new(0x1fff_e000);
    let plan = |width, len, mask| {
        let plan = Bitcoin.plan(width, len, mask);
        plan.map(|plan| (plan.slot_len, plan.extranonce2_len))
    };
    for (len, rolling, plain) in [
        (8, Some((2, 6)), Some((2, 6))),
        (5, Some((2, 3)), Some((2, 3))),
        // Two bytes without version bits last a large machine a second: so three, and fewer miners.
        (4, Some((2, 2)), Some((1, 3))),
        (3, Some((1, 2)), Some((1, 2))),
        (2, Some((0, 2)), Some((0, 2))),
        (1, None, None),
        (0, None, None),
    ] {
        assert_eq!(plan(SlotWidth::Auto, len, rolls), rolling, "{len}");
        assert_eq!(
            plan(SlotWidth::Auto, len, VersionMask::NONE),
            plain,
            "{len}"
        );
    }
    assert_eq!(
        plan(SlotWidth::Fixed(2), 4, VersionMask::NONE),
        Some((2, 2))
    );
    assert_eq!(plan(SlotWidth::Fixed(2), 3, rolls), Some((1, 2)));
    assert_eq!(plan(SlotWidth::Fixed(0), 8, rolls), Some((0, 8)));
}

#[test]
fn a_difficulty_is_a_number_that_can_be_meant() {
    for good in ["[1]", "[1.0]", "[0.00015]", "[\"512\"]", "[65536,\"more\"]"] {
        assert!(heard("mining.set_difficulty", good).is_ok(), "{good}");
    }
    for bad in [
        "[0]",
        "[-1]",
        "[1e308]",
        "[-0.0]",
        "[\"nan\"]",
        "[\"inf\"]",
        "[null]",
        "[]",
        "{}",
    ] {
        let fault = heard("mining.set_difficulty", bad).unwrap_err();
        assert!(fault.0.contains("difficulty"), "{bad}");
    }
}

#[test]
fn a_job_that_can_not_be_right_is_a_fault() {
    let branch = "ab".repeat(32);
    for good in [
        notify("00", "[]"),
        notify("", &format!(r#"["{branch}"]"#)),
        notify(
            "00",
            &format!("[{}]", vec![format!("\"{branch}\""); 32].join(",")),
        ),
        notify("00", "[]").replace(r#"["1""#, "[17"),
        notify("00", "[]").replace("false]", r#"false,"more"]"#),
    ] {
        assert!(job(&good).is_ok(), "{good}");
    }
    for (bad, what) in [
        (notify("0", "[]"), "coinbase"),
        (notify("0g", "[]"), "coinbase"),
        (notify("00", r#"["abc"]"#), "branches"),
        (notify("00", r#"[1]"#), "branches"),
        (notify("00", "null"), "branches"),
        (
            notify(
                "00",
                &format!("[{}]", vec![format!("\"{branch}\""); 33].join(",")),
            ),
            "branches",
        ),
        (notify(&"00".repeat(500_000), "[]"), "longer"),
        (notify("00", "[]").replace("6849afec", "6849afe"), "time"),
        (notify("00", "[]").replace("false]", "\"false\"]"), "clean"),
        (notify("00", "[]").replace(",false]", "]"), "clean"),
        (notify("00", "[]").replace(r#"["1""#, "[null"), "job id"),
        (notify("00", "[]").replace("\"0000", "\"000"), "prevhash"),
        ("[]".to_owned(), "params"),
    ] {
        let fault = job(&bad).unwrap_err();
        assert!(fault.0.contains(what), "{what}: {fault}");
    }
}

#[test]
fn the_time_of_a_job_is_the_last_of_its_fields() {
    let job = job(&notify("00", "[]")).unwrap();
    assert_eq!(Bitcoin.job_time(&job), 0x6849_afec);
    let empty = Job {
        body: Box::default(),
        ..job
    };
    assert_eq!(Bitcoin.job_time(&empty), 0);
}

#[test]
fn what_a_pool_says_besides_is_understood() {
    for (method, params, expected) in [
        ("mining.set_version_mask", r#"["1fffe000"]"#, "VersionMask"),
        ("mining.set_extranonce", r#"["08000002",4]"#, "Extranonce"),
        ("client.show_message", r#"["hello"]"#, "hello"),
        ("client.get_version", "[]", "stratum-uring"),
        ("mining.ping", "[]", "pong"),
        ("mining.multi_version", "[1]", "Ignored"),
        ("mining.set_goal", r#"["x"]"#, "Unknown"),
    ] {
        let message = heard(method, params).unwrap();
        assert!(message.contains(expected), "{method}: {message}");
    }
    assert!(heard("mining.set_version_mask", "[]").is_err());
    assert!(heard("mining.set_version_mask", "[4]").is_err());
    assert!(heard("mining.set_extranonce", r#"["08000002"]"#).is_err());
}

#[test]
fn a_configure_is_answered_name_by_name() {
    let mask = VersionMask::new(0x1fff_e000);
    let answer = |params: &str, pool| {
        with(params, |params| {
            let mut result = Vec::new();
            let granted = Bitcoin.configure(Some(params), pool, &mut result);
            (String::from_utf8(result).unwrap(), granted)
        })
    };
    let rolling = r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#;
    for (params, expected) in [
        (
            r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#,
            rolling,
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"FFFFFFFF","version-rolling.min-bit-count":"02"}]"#,
            rolling,
        ),
        (
            r#"[["version-rolling"],{"version-rolling.min-bit-count":16}]"#,
            rolling,
        ),
        (r#"[["version-rolling"]]"#, rolling),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"00c00000"}]"#,
            r#"{"version-rolling":true,"version-rolling.mask":"00c00000"}"#,
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"00000001"}]"#,
            r#"{"version-rolling":false}"#,
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"nonsense"}]"#,
            r#"{"version-rolling":false}"#,
        ),
        (
            r#"[["minimum-difficulty","subscribe-extranonce","info","made-up",7],{"minimum-difficulty.value":2048}]"#,
            r#"{"minimum-difficulty":false,"subscribe-extranonce":true,"info":true,"made-up":false}"#,
        ),
        ("[]", "{}"),
        ("{}", "{}"),
    ] {
        let (result, granted) = answer(params, Some(mask));
        assert_eq!(result, expected, "{params}");
        let granted = granted.unwrap();
        assert_eq!(granted.takes_extranonce, params.contains("subscribe-extra"));
        assert_eq!(granted.version_mask.is_some(), params.contains("rolling"));
    }
    let (result, _) = answer(r#"[["version-rolling"],{}]"#, Some(VersionMask::NONE));
    assert_eq!(result, r#"{"version-rolling":false}"#);
    assert_eq!(answer(r#"[["version-rolling"],{}]"#, None).1, None);
    assert!(
        answer(r#"[["info"],{}]"#, None).1.is_some(),
        "needs no pool"
    );
}

#[test]
fn what_a_pool_grants_is_a_mask_or_nothing() {
    for (result, mask) in [
        (
            r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#,
            0x1fff_e000,
        ),
        (
            r#"{"version-rolling.mask":"00e00000","version-rolling":true,"x":1}"#,
            0x00e0_0000,
        ),
        (
            r#"{"version-rolling":false,"version-rolling.mask":"1fffe000"}"#,
            0,
        ),
        (r#"{"version-rolling":"not here"}"#, 0),
        (r#"{"version-rolling":true}"#, 0),
        ("{}", 0),
        ("true", 0),
    ] {
        let granted = with(result, |result| Bitcoin.read_configured(result));
        assert_eq!(granted, VersionMask::new(mask), "{result}");
    }
}

/// What becomes of a submit with these params behind worker and job, with two bytes of extranonce2.
fn submitted(params: &str) -> Result<(String, String), Reject> {
    let terms = ShareTerms {
        extranonce2_len: 2,
        slot: &[0x12, 0x34],
        version_mask: VersionMask::new(0x1fff_e000),
        time_max: 0x6000_0000,
    };
    with(&format!("[\"w\",\"1\",{params}]"), |params| {
        let submit = read_submit(Some(params))?;
        Bitcoin.check_share(&submit, terms)?;
        let mut out = Vec::new();
        let parts = ShareParts {
            request_id: 16,
            worker: "farm",
            pool_job_id: b"\"j\"",
            share_session: b"",
            slot: &[0x12, 0x34],
            submit: &submit,
        };
        let identity = Bitcoin.write_share(&mut out, parts);
        let identity = out[identity].escape_ascii().to_string();
        Ok((String::from_utf8(out).unwrap(), identity))
    })
}

#[test]
fn a_share_is_written_in_one_spelling() {
    let written = |params| submitted(params).unwrap();
    let (line, identity) = written(r#""00Ff","495FAB29","7c2bac1d""#);
    assert_eq!(
        line,
        "{\"id\":16,\"method\":\"mining.submit\",\"params\":[\"farm\",\"j\",\"123400ff\",\
         \"495fab29\",\"7c2bac1d\"]}\n"
    );
    // A number is as good as its digits, and no version bits as none that are set.
    for same in [
        r#""00ff",1231006505,2083236893"#,
        r#""00ff","495fab29","7c2bac1d","00000000""#,
        r#""00ff","495fab29","7c2bac1d","0""#,
        r#""00ff","495fab29","7c2bac1d",null"#,
    ] {
        assert_eq!(written(same).1, identity, "{same}");
    }
    let (line, rolled) = written(r#""00ff","495fab29","1d","083ac000",7"#);
    assert!(
        line.ends_with("\"123400ff\",\"495fab29\",\"0000001d\",\"083ac000\",7]}\n"),
        "{line}"
    );
    assert_ne!(rolled, written(r#""00ff","495fab29","1d""#).1);
    // Without version bits, what stands behind them is not taken for some.
    let (line, plain) = written(r#""00ff","495fab29","1d",null,7"#);
    assert!(line.ends_with("\"0000001d\",null,7]}\n"), "{line}");
    assert_eq!(plain, written(r#""00ff","495fab29","1d""#).1);
}

#[test]
fn a_share_of_the_wrong_shape_is_refused() {
    for (params, text) in [
        (
            r#""00ff00","495fab29","7c2bac1d""#,
            "extranonce2 has the wrong length",
        ),
        (
            r#""00f","495fab29","7c2bac1d""#,
            "extranonce2 has the wrong length",
        ),
        (r#""00fg","495fab29","7c2bac1d""#, "extranonce2 is not hex"),
        (
            r#""00ff","495fab290","7c2bac1d""#,
            "ntime is not 8 hex digits",
        ),
        (r#""00ff","","7c2bac1d""#, "ntime is not 8 hex digits"),
        (r#""00ff","60000001","7c2bac1d""#, "ntime out of range"),
        (
            r#""00ff","495fab29",4294967296"#,
            "the nonce is not 8 hex digits",
        ),
        (r#""00ff","495fab29",-1"#, "the nonce is not 8 hex digits"),
        (r#""00ff","495fab29",true"#, "the nonce is not 8 hex digits"),
        (
            r#""00ff","495fab29","1d",["x"]"#,
            "version bits are not 8 hex digits",
        ),
    ] {
        assert_eq!(submitted(params), Err(Reject::Malformed(text)), "{params}");
    }
    let outside = submitted(r#""00ff","495fab29","1d","20000000""#);
    assert_eq!(outside, Err(Reject::VersionBits));
    assert!(matches!(submitted(r#""00ff""#), Err(Reject::Malformed(_))));
}

#[test]
fn what_firmware_asks_for_is_understood() {
    for (method, expected) in [
        ("mining.suggest_difficulty", "Polite(\"true\")"),
        ("mining.suggest_difficulty(42", "Polite(\"true\")"),
        ("mining.suggest_target", "Polite(\"true\")"),
        ("mining.multi_version", "Polite(\"true\")"),
        ("mining.ping", "pong"),
        ("pong", "Ignored"),
        ("mining.capabilities", "Ignored"),
        ("mining.get_transactions", "Malformed"),
        ("mining.made_up", "UnknownMethod"),
    ] {
        for params in ["[]", "[0.00015]", "[\"16\"]", "{}", "null"] {
            let read = with(params, |params| {
                format!(
                    "{:?}",
                    Bitcoin.read_miner_request(method.as_bytes(), Some(params))
                )
            });
            assert!(read.contains(expected), "{method}{params}: {read}");
        }
    }
    for (params, agent) in [
        (r#"["cgminer/4.10.0","1a2b"]"#, "cgminer/4.10.0"),
        (
            r#"["NiceHash/1.0.0","1529418042000","aabb"]"#,
            "NiceHash/1.0.0",
        ),
        ("[]", ""),
        ("[null]", ""),
        ("null", ""),
    ] {
        assert_eq!(
            with(params, |params| agent_of(Some(params)).into_owned()),
            agent
        );
    }
}
