use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use super::*;
use crate::proto::worker_name::WorkerName;

/// The least that a config needs.
const MINIMAL: &str = "\
proxies:
  - name: zcash
    dialect: equihash
    listen:
      - address: 0.0.0.0:3333
    pools:                                   # the order is the preference
      - url: stratum+tcp://pool.example:3333
        worker: t1account.farm
        password: x
";

/// The mistakes of a text, as they are printed.
#[track_caller]
fn mistakes(text: &str) -> Vec<String> {
    let errors = Config::load(text).expect_err("the config has a mistake");
    errors.as_slice().iter().map(ToString::to_string).collect()
}

/// The minimal config with one line replaced by others at the same place.
#[track_caller]
fn with(line: &str, replacement: &str) -> String {
    assert!(MINIMAL.contains(line), "{line}");
    MINIMAL.replace(line, replacement)
}

/// Asserts what is printed about the minimal config with `line` replaced.
#[track_caller]
fn prints(line: &str, replacement: &str, expected: &str) {
    assert_eq!(
        mistakes(&with(line, replacement)).join("\n"),
        expected,
        "{replacement}"
    );
}

/// The example with everything turned on that is off in it.
fn full_example() -> String {
    let mut text = EXAMPLE.to_owned();
    for (off, on) in [
        ("\n#cores", "\ncores"),
        ("\n#miners_expected", "\nminers_expected"),
        ("\n#admin:\n#  ", "\nadmin:\n  "),
        ("\n#  drain_seconds", "\n  drain_seconds"),
        ("\n      #-", "\n      -"),
        ("\n      #  ", "\n        "),
        ("\n  #-", "\n  -"),
        ("\n  #  ", "\n    "),
    ] {
        assert!(text.contains(off), "{off}");
        text = text.replace(off, on);
    }
    text
}

#[test]
fn a_minimal_config_has_a_default_for_the_rest() {
    let config = Config::load(MINIMAL).unwrap();
    assert_eq!(config.cores, None);
    let [proxy] = config.proxies.as_slice() else {
        panic!("one proxy");
    };
    assert_eq!(
        *proxy,
        ProxyConfig {
            name: "zcash".to_owned(),
            coin: CoinConfig::Equihash(EquihashConfig {
                parameters: Parameters::new(200, 9).unwrap(),
                personalization: *b"ZcashPoW",
            }),
            listen: vec![ListenConfig {
                address: "0.0.0.0:3333".parse().unwrap(),
                connections_max: 0,
                tls: None,
                trusted: Vec::new(),
                allow: None,
                deny: Vec::new(),
            }],
            pools: vec![PoolConfig {
                url: PoolUrl::Tcp {
                    host: "pool.example".to_owned(),
                    port: 3333,
                    tls: None,
                    proxy_header: false,
                },
                worker: "t1account.farm".to_owned(),
                password: Secret::new("x"),
                reconnect_hosts: Vec::new(),
                extranonce_subscribe: false,
                introduction: Introduction::default(),
            }],
            slot_bytes: SlotBytes::Auto,
            miners_per_link: 65_536,
            links_per_shard_max: 4,
            pool_links: PoolLinks::PerShard,
            pass_through_agents: Vec::new(),
            authorize: AuthorizeConfig {
                mode: AuthorizeMode::Any,
                workers_file: None,
                denied_retry: Duration::from_secs(60),
                worker_name: WorkerName::default(),
            },
            share_reply: ShareReply::Pool,
            job_exchange: JobExchange {
                enabled: false,
                match_within: Duration::from_secs(2),
                hold: Duration::from_secs(10),
            },
            failover: Failover::default(),
            standby: false,
            keep_warm: false,
            limits: Limits::default(),
        }
    );
    assert_eq!(proxy.limits.miner_line_bytes_max, 8192);
    assert_eq!(proxy.limits.idle_timeout, Duration::from_secs(90));
    assert_eq!(proxy.failover.reconnect_per_second, 1000);
    assert_eq!(
        proxy.pools[0].url.to_string(),
        "stratum+tcp://pool.example:3333"
    );
}

#[test]
fn the_example_runs_the_practice_pool_with_every_default() {
    let mut example = Config::load(EXAMPLE).unwrap();
    let mut least = Config::load(
        r#"{proxies: [{name: zcash, dialect: equihash, equihash: {n: 48, k: 5},
            listen: [{address: "0.0.0.0:3333"}], pools: [{url: "practice:"}]}]}"#,
    )
    .unwrap();
    assert_eq!(example, least);

    let PoolUrl::Practice(practice) = &example.proxies[0].pools[0].url else {
        panic!("a practice pool");
    };
    assert_eq!(practice.judge, Judge::Full);
    assert_eq!(practice.job_interval, Duration::from_secs(30));
    assert_eq!(practice.target[..2], [0, 0xff]);

    // With its commented lines the example says the rest, again with every default.
    let full = Config::load(&full_example()).unwrap();
    assert_eq!(full.cores, NonZeroUsize::new(8));
    assert_eq!(full.miners_expected, Some(60_000));
    assert_eq!(full.accepts_per_second, 20_000);
    let admin = full.admin.unwrap();
    assert_eq!(admin.listen, "127.0.0.1:9333".parse().unwrap());
    assert_eq!(admin.drain, Duration::ZERO);
    let listen = full.proxies[0].listen.clone();
    assert_eq!(listen[0].trusted.len(), 2);
    assert_eq!(listen[0].allow.as_ref().map(Vec::len), Some(3));
    assert_eq!(listen[0].deny, ["10.66.0.0/16".parse().unwrap()]);
    let real = full.proxies[0].pools[0].clone();
    assert_eq!(real, Config::load(MINIMAL).unwrap().proxies[0].pools[0]);
    // Files and a name have no default that could be written.
    let secure = full.proxies[0].pools[1].clone();
    let PoolUrl::Tcp { tls: Some(tls), .. } = &secure.url else {
        panic!("a pool with TLS");
    };
    assert_eq!((tls.pins.as_slice(), tls.insecure), (&[][..], false));
    assert_eq!(secure.url.to_string(), "stratum+tls://pool.example:3334");
    let tls = full.proxies[0].listen[0].tls.as_ref().unwrap();
    assert_eq!(tls.mode, TlsMode::Required);
    let least_others = Config::load(
        r#"{proxies: [{name: bitcoin, dialect: bitcoin, listen: [{address: "0.0.0.0:3334"}],
            pools: [{url: "practice:"}]},
            {name: monero, dialect: monero, listen: [{address: "0.0.0.0:3335"}],
            pools: [{url: "practice:"}]}]}"#,
    );
    let others = least_others.unwrap().proxies;
    assert_eq!(full.proxies[1..], others);
    for config in [&mut example, &mut least] {
        config.proxies.extend(others.clone());
        config.miners_expected = full.miners_expected;
        config.admin = full.admin;
        config.cores = full.cores;
        let practice = config.proxies[0].pools.split_off(0);
        config.proxies[0].pools = [vec![real.clone(), secure.clone()], practice].concat();
        config.proxies[0].listen.clone_from(&listen);
        assert_eq!(*config, full);
    }
}

/// The keys of each section, and the lists among the steps counted as one.
type Sections = BTreeMap<String, BTreeSet<String>>;

/// Puts an unknown key into every map, and notes which keys each has.
fn poison(value: &mut Value, path: &str, sections: &mut Sections) {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                let key = key.as_str().unwrap();
                sections
                    .entry(path.to_owned())
                    .or_default()
                    .insert(key.to_owned());
                poison(value, &format!("{path}.{key}"), sections);
            }
            map.insert("qqqqqqqqqqqq".into(), 1.into());
        }
        Value::Sequence(list) => {
            for value in list {
                poison(value, path, sections);
            }
        }
        _ => {}
    }
}

#[test]
fn the_example_has_every_key_there_is() {
    // One key is for another mode than the default.
    let example = full_example()
        .replace("      #workers_file", "      workers_file")
        .replace("      mode: any ", "      mode: local ");
    let mut value: Value = serde_yaml::from_str(&example).unwrap();
    let mut written = Sections::new();
    poison(&mut value, "", &mut written);

    let mut known = Sections::new();
    let errors = Config::load(&serde_yaml::to_string(&value).unwrap()).unwrap_err();
    for error in errors.as_slice() {
        let (_, keys) = error.message.split_once("the keys here are ").unwrap();
        let path: String = error
            .path
            .replace(|c: char| c == '[' || c == ']' || c.is_ascii_digit(), "");
        let section = path
            .strip_suffix("qqqqqqqqqqqq")
            .unwrap()
            .trim_end_matches('.');
        let dot = if section.is_empty() { "" } else { "." };
        let keys = keys.split(", ").map(str::to_owned);
        known
            .entry(format!("{dot}{section}"))
            .or_default()
            .extend(keys);
    }
    assert_eq!(written, known);
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_their_lines() {
    let text = r#"
cores: 0
proxys: 1
proxies:
  - name: one
    dialect: zcash
    listen: { address: "0.0.0.0:1" }
    pools:
      - url: stratum+tcp://pool.example
        wroker: x
    limits:
      jobs_kept: "8"
      idle_timeout: 600
  - dialect: equihash
    name: one
    listen:
      - address: 0.0.0.0:x
      - {}
    pools: []
    tls: {}
"#;
    let expected = [
        "line 2: cores: 0 is out of range; write a whole number from 1 to 256",
        "line 3: proxys: unknown key; did you mean proxies?",
        "line 6: proxies[0].dialect: \"zcash\" is unknown; write equihash or bitcoin or monero",
        "line 7: proxies[0].listen: this is a map; write a list, each item behind \"- \"",
        "line 9: proxies[0].pools[0].url: \"stratum+tcp://pool.example\" has no port; \
         write stratum+tcp://host:port, or stratum+tls://host:port for a pool with TLS, e.g. \
         stratum+tcp://pool.example:3333",
        "line 9: proxies[0].pools[0].worker: missing; write the pool's account, e.g. worker: \
         name.farm",
        "line 10: proxies[0].pools[0].wroker: unknown key; did you mean worker?",
        "line 12: proxies[0].limits.jobs_kept: this is text; write the number without quotes: 8",
        "line 13: proxies[0].limits.idle_timeout: unknown key; did you mean idle_timeout_seconds?",
        "line 15: proxies[1].name: one is taken by proxies[0].name; write another name",
        "line 17: proxies[1].listen[0].address: \"0.0.0.0:x\" is no address; \
         write IP:port, e.g. 0.0.0.0:3333",
        "line 18: proxies[1].listen[1].address: missing; \
         write address: host:port, e.g. 0.0.0.0:3333",
        "line 19: proxies[1].pools: this list is empty; \
         write a list of pools, the preferred one first",
        "line 20: proxies[1].tls: unknown key; the keys here are name, dialect, equihash, listen, \
         pools, slot_bytes, miners_per_link, links_per_shard_max, pool_links, \
         pass_through_agents, authorize, worker_name, shares, job_exchange, failover, limits",
    ];
    assert_eq!(mistakes(text), expected);
    let errors = Config::load(text).unwrap_err();
    assert_eq!(errors.to_string(), expected.join("\n"));
}

#[test]
fn what_is_no_yaml_is_reported_with_its_place() {
    let cases: [(&str, &str); 9] = [
        (
            "",
            "the config is empty; stratum-uring -g prints one to begin with",
        ),
        ("# nothing\n", "the config is empty"),
        (
            "proxies:\n\t- name: x\n",
            "line 2, column 1: found character that cannot start any token",
        ),
        ("proxies: [", "line 2, column 1: "),
        ("a: 1\na: 2\n", "duplicate entry with key \"a\""),
        (
            "proxies:\n  - name: a\n    name: b\n",
            "duplicate entry with key \"name\"",
        ),
        ("just words", "this is text; write keys"),
        ("--- {}\n--- {}\n", "more than one document"),
        ("proxies: *nowhere", "line 1, column 10: unknown anchor"),
    ];
    for (text, expected) in cases {
        let found = mistakes(text);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{text:?}: {found:?}"
        );
    }
    assert!(mistakes("a:\n\tb: 1")[0].ends_with("this line has a tab"));
    let unquoted = mistakes(&with("stratum+tcp://pool.example:3333", "practice:"));
    assert!(
        unquoted[0].ends_with("needs quotes: url: \"practice:\""),
        "{unquoted:?}"
    );
    let unquoted = mistakes(&with("0.0.0.0:3333", "[::]:3333"));
    assert!(
        unquoted[0].ends_with("needs quotes: \"[::]:3333\""),
        "{unquoted:?}"
    );
}

#[test]
fn bytes_that_are_no_utf8_are_reported_with_their_line() {
    let errors = Config::load_bytes(b"proxies:\n  - name: \xe9\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "line 2: the file is not UTF-8 here; save it as UTF-8"
    );
    let utf16: Vec<u8> = "\u{feff}a"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let errors = Config::load_bytes(&utf16).unwrap_err();
    assert!(errors.to_string().contains("UTF-16"));
    let marked = format!("\u{feff}{MINIMAL}");
    assert_eq!(Config::load_bytes(marked.as_bytes()), Config::load(MINIMAL));
    assert!(mistakes(&" ".repeat(2_000_000))[0].contains("longer than"));
}

#[test]
fn a_section_of_another_kind_is_one_mistake() {
    prints(
        "    dialect: equihash",
        "    dialect: equihash\n    limits:\n    failover: []\n    shares: 3",
        "line 4: proxies[0].limits: this is empty; give it keys or leave it out\n\
         line 5: proxies[0].failover: this is a list; write keys, as in \"key: value\"\n\
         line 6: proxies[0].shares: this is a number; write keys, as in \"key: value\"",
    );
}

#[test]
fn a_listener_needs_an_address_and_a_port() {
    let wanted = "is no address; write IP:port, e.g. 0.0.0.0:3333";
    let brackets = "is no address; write IPv6 in brackets and quotes: \"[::]:3333\"";
    for (address, expected) in [
        ("localhost:3333", format!("\"localhost:3333\" {wanted}")),
        (":3333", format!("\":3333\" {wanted}")),
        ("0.0.0.0:99999", format!("\"0.0.0.0:99999\" {wanted}")),
        (
            "0.0.0.0",
            "\"0.0.0.0\" has no port; write IP:port, e.g. 0.0.0.0:3333".to_owned(),
        ),
        ("'::1:3333'", format!("\"::1:3333\" {brackets}")),
        ("'::'", format!("\"::\" {brackets}")),
        (
            "unix:/run/x",
            "\"unix:/run/x\" is not available in this version".to_owned(),
        ),
        (
            "3333",
            "this is a number; write IP:port, e.g. 0.0.0.0:3333".to_owned(),
        ),
        (
            "",
            "this is empty; write IP:port, e.g. 0.0.0.0:3333".to_owned(),
        ),
    ] {
        let expected = format!("line 5: proxies[0].listen[0].address: {expected}");
        prints("0.0.0.0:3333", address, &expected);
    }
    for good in ["'[::]:3333'", "127.0.0.1:0", "'[::1]:1'"] {
        assert!(Config::load(&with("0.0.0.0:3333", good)).is_ok(), "{good}");
    }
}

#[test]
fn a_pool_is_a_url_with_host_and_port() {
    let wanted = "write stratum+tcp://host:port, or stratum+tls://host:port for a pool with TLS, e.g. \
         stratum+tcp://pool.example:3333";
    let tls = "for a pool with TLS write stratum+tls://host:port";
    for (url, expected) in [
        (
            "pool.example:3333",
            format!("\"pool.example:3333\" is no URL; {wanted}"),
        ),
        (
            "practice",
            "\"practice\" is no URL; write \"practice:\" for the practice pool".to_owned(),
        ),
        (
            "http://pool.example:3333",
            format!("\"http://pool.example:3333\" is no pool; {wanted}"),
        ),
        ("stratum+tcps://pool.example:3334", tls.to_owned()),
        ("ssl://pool.example:3334", tls.to_owned()),
        ("'stratum+tcp://pool.example:'", {
            let wanted = "write a port from 1 to 65535";
            format!("\"stratum+tcp://pool.example:\" has no such port; {wanted}")
        }),
        ("stratum+tcp://pool:0", {
            "\"stratum+tcp://pool:0\" has no such port; write a port from 1 to 65535".to_owned()
        }),
        ("stratum+tcp://pool:+1", {
            "\"stratum+tcp://pool:+1\" has no such port; write a port from 1 to 65535".to_owned()
        }),
        (
            "stratum+tcp://:3333",
            format!("\"stratum+tcp://:3333\" names no host; {wanted}"),
        ),
        (
            "stratum+tcp://::1:3333",
            format!("\"stratum+tcp://::1:3333\" names no host; {wanted}"),
        ),
        (
            "stratum+tcp://a b:1",
            format!("\"stratum+tcp://a b:1\" names no host; {wanted}"),
        ),
        (
            "stratum+tcp://pool:1/x",
            format!("nothing may follow the port; {wanted}"),
        ),
        (
            "[]",
            "this is a list; write stratum+tcp://host:port".to_owned(),
        ),
    ] {
        let expected = format!("line 7: proxies[0].pools[0].url: {expected}");
        prints("stratum+tcp://pool.example:3333", url, &expected);
    }
    for (url, shown) in [
        (
            "STRATUM+TCP://Pool.Example:3333/",
            "stratum+tcp://pool.example:3333",
        ),
        (
            "stratum+tcp://[2001:DB8::0]:1",
            "stratum+tcp://[2001:db8::]:1",
        ),
        (
            "stratum+tcp://10.0.0.1:65535",
            "stratum+tcp://10.0.0.1:65535",
        ),
        (
            "stratum+tls://Pool.example:3334",
            "stratum+tls://pool.example:3334",
        ),
        ("stratum+SSL://[::1]:3334", "stratum+tls://[::1]:3334"),
    ] {
        let config = Config::load(&with("stratum+tcp://pool.example:3333", url)).unwrap();
        assert_eq!(config.proxies[0].pools[0].url.to_string(), shown);
    }
}

#[test]
fn numbers_have_ranges_and_units() {
    for (line, expected) in [
        (
            "miners_per_link: 65537",
            "65537 is out of range; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: 0",
            "0 is out of range; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: -1",
            "-1 is out of range; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: 1.5",
            "1.5 is out of range; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: '1'",
            "this is text; write the number without quotes: 1",
        ),
        (
            "miners_per_link: many",
            "this is text; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: [1]",
            "this is a list; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: yes",
            "this is text; write a whole number from 1 to 65536",
        ),
        (
            "miners_per_link: true",
            "this is true or false; write a whole number from 1 to 65536",
        ),
        ("slot_bytes: 3", "write auto, 0, 1 or 2, without quotes"),
        ("slot_bytes: '1'", "write auto, 0, 1 or 2, without quotes"),
    ] {
        let key = line.split(':').next().unwrap();
        prints(
            "    dialect: equihash",
            &format!("    dialect: equihash\n    {line}"),
            &format!("line 4: proxies[0].{key}: {expected}"),
        );
    }
    for (value, expected) in [
        (
            "0",
            "0 is out of range; write a number of seconds from 1 to 3600",
        ),
        (
            ".inf",
            ".inf is out of range; write a number of seconds from 1 to 3600",
        ),
        (
            ".nan",
            ".nan is out of range; write a number of seconds from 1 to 3600",
        ),
        (
            "10m",
            "this is text; write a number of seconds from 1 to 3600",
        ),
    ] {
        prints(
            "    dialect: equihash",
            &format!("    dialect: equihash\n    limits: {{ subscribe_timeout_seconds: {value} }}"),
            &format!("line 4: proxies[0].limits.subscribe_timeout_seconds: {expected}"),
        );
    }
    let half = with(
        "    dialect: equihash",
        "    dialect: equihash\n    limits: { subscribe_timeout_seconds: 1.5 }\n    slot_bytes: 1",
    );
    let proxy = &Config::load(&half).unwrap().proxies[0];
    assert_eq!(proxy.limits.subscribe_timeout, Duration::from_millis(1500));
    assert_eq!(
        (proxy.slot_bytes, proxy.miners_per_link),
        (SlotBytes::Fixed(1), 256)
    );
}

#[test]
fn limits_that_contradict_each_other_are_mistakes() {
    prints(
        "    dialect: equihash",
        "    dialect: equihash\n    limits:\n      jobs_kept: 9\n      jobs_kept_max: 8\n\
         \x20     pending_shares_max: 100",
        "line 4: proxies[0].limits.pending_shares_per_miner_max: \
         4096 is more than pending_shares_max, which is 100\n\
         line 5: proxies[0].limits.jobs_kept: 9 is more than jobs_kept_max, which is 8",
    );
}

#[test]
fn a_window_of_a_few_shares_is_a_mistake() {
    for window in [1, 19] {
        prints(
            "    dialect: equihash",
            &format!("    dialect: equihash\n    limits: {{ rejected_window: {window} }}"),
            &format!(
                "line 4: proxies[0].limits.rejected_window: {window} shares say nothing of a miner, and a few bad \
                 ones would close it; write 0, which looks at none, or 20 to 60000"
            ),
        );
    }
}

#[test]
fn the_admin_port_is_an_address_that_no_proxy_has() {
    let proxies = r#"
proxies:
  - name: a
    dialect: equihash
    listen: [ { address: "0.0.0.0:9333" } ]
    pools: [ { url: "practice:" } ]
"#;
    let with = |admin: &str| mistakes(&format!("{admin}{proxies}"));
    for (admin, expected) in [
        (
            "admin: { listen: 127.0.0.1:9333 }",
            "line 5: proxies[0].listen[0].address: 0.0.0.0:9333 overlaps 127.0.0.1:9333 of \
             admin.listen; write another port",
        ),
        (
            "admin: { listen: localhost }",
            "line 1: admin.listen: \"localhost\" is no address; write IP:port, e.g. 0.0.0.0:3333",
        ),
        (
            "admin: {}",
            "line 1: admin.listen: missing; write listen: IP:port, e.g. 127.0.0.1:9333",
        ),
        (
            "admin: 127.0.0.1:9333",
            "line 1: admin: this is text; write keys, as in \"key: value\"",
        ),
        (
            "admin: { listen: 127.0.0.1:1, port: 3 }",
            "line 1: admin.port: unknown key; the keys here are listen, drain_seconds",
        ),
        (
            "miners_expected: 0",
            "line 1: miners_expected: 0 is out of range; write a whole number from 1 to 16777216",
        ),
    ] {
        assert_eq!(with(admin), [expected]);
    }
}

#[test]
fn networks_are_read_or_told_how_to_write_them() {
    let listen = |keys: &str| {
        let text = format!("      - address: 0.0.0.0:3333\n        {keys}");
        let config = Config::load(&with("      - address: 0.0.0.0:3333", &text));
        config.map(|config| config.proxies[0].listen[0].clone())
    };
    let read = listen("allow: [10.0.0.0/8, 192.0.2.7, \"fd00::/8\", \"::1\"]").unwrap();
    let shown: Vec<String> = read
        .allow
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "::1/128"]);
    let read = listen("proxy_protocol: { trusted: [127.0.0.0/8] }").unwrap();
    assert_eq!(read.trusted, ["127.0.0.0/8".parse().unwrap()]);

    let path = "line 6: proxies[0].listen[0]";
    for (keys, expected) in [
        (
            "deny: [10.0.0.1/8]",
            ".deny[0]: \"10.0.0.1/8\" has bits behind its prefix; write 10.0.0.0/8, or 10.0.0.1",
        ),
        (
            "deny: [10.0.0/8]",
            ".deny[0]: \"10.0.0/8\" is no network; write one as 10.0.0.0/8, \"fd00::/8\" or an address",
        ),
        (
            "deny: [10.0.0.0/33]",
            ".deny[0]: \"10.0.0.0/33\" is no network; write one as 10.0.0.0/8, \"fd00::/8\" or an address",
        ),
        (
            "deny: [\"::ffff:10.0.0.0/104\"]",
            ".deny[0]: \"::ffff:10.0.0.0/104\" is IPv4 within IPv6; write it as IPv4, e.g. 10.0.0.0/8",
        ),
        (
            "allow: []",
            ".allow: this list is empty; write networks, or leave the key out",
        ),
        (
            "allow: 10.0.0.0/8",
            ".allow: this is text; write a list, each item behind \"- \"",
        ),
        (
            "proxy_protocol: {}",
            ".proxy_protocol.trusted: missing; write the load balancers' addresses, e.g. trusted: [10.0.0.2]",
        ),
        (
            "proxy_protocol: { trust: [10.0.0.2] }",
            ".proxy_protocol.trusted: missing; write the load balancers' addresses, e.g. trusted: [10.0.0.2]\n\
             line 6: proxies[0].listen[0].proxy_protocol.trust: unknown key; did you mean trusted?",
        ),
        (
            "allows: [10.0.0.2]",
            ".allows: unknown key; did you mean allow?",
        ),
    ] {
        let errors = listen(keys).unwrap_err();
        assert_eq!(errors.to_string(), format!("{path}{expected}"), "{keys}");
    }
}

#[test]
fn keys_of_later_versions_are_refused_by_name() {
    let text = r#"
proxies:
  - name: a
    dialect: monero
    listen: [ { address: "0.0.0.0:1" } ]
    pools: [ { url: "stratum+tcp://a:1", worker: w } ]
    shares: { check: full }
"#;
    let found = mistakes(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    for mistake in found {
        assert!(
            mistake.contains("not available in this version"),
            "{mistake}"
        );
    }
}

#[test]
fn tls_to_a_pool_is_checked_unless_somebody_says_otherwise() {
    let tls = |keys: &str| {
        let text = with(
            "stratum+tcp://pool.example:3333",
            "stratum+ssl://pool.example:3334",
        );
        let text = text.replace(
            "        password: x\n",
            &format!("        password: x\n{keys}"),
        );
        let mut config = Config::load(&text).unwrap();
        config.find_files(Path::new("/etc/farm"));
        match &config.proxies[0].pools[0].url {
            PoolUrl::Tcp { tls: Some(tls), .. } => (**tls).clone(),
            other => panic!("{other}"),
        }
    };
    assert_eq!(tls(""), PoolTls::default());
    assert_eq!(tls("        tls: {}\n"), PoolTls::default());
    assert!(!PoolTls::default().insecure);
    assert!(tls("        tls: { insecure: true }\n").insecure);
    let (one, other) = ("00".repeat(32), "A".repeat(43));
    let pinned = tls(&format!("        tls: {{ pin_sha256: '{one}' }}\n"));
    assert_eq!(pinned.pins, [[0; 32]]);
    let pinned = tls(&format!(
        "        tls: {{ pin_sha256: ['{one}', '{other}'] }}\n"
    ));
    assert_eq!(pinned.pins, [[0; 32]; 2]);
    let files =
        tls("        tls: { ca: a.pem, certificate: /b.pem, key: c/d.key, server_name: P.E. }\n");
    assert_eq!(files.server_name.as_deref(), Some("p.e"));
    assert_eq!(files.ca.unwrap().path.to_str(), Some("/etc/farm/a.pem"));
    let (certificate, key) = files.identity.unwrap();
    assert_eq!(certificate.path.to_str(), Some("/b.pem"));
    assert_eq!(key.path.to_str(), Some("/etc/farm/c/d.key"));
    let mistake = key.mistake("is bad").to_string();
    assert_eq!(mistake, "line 10: proxies[0].pools[0].tls.key: is bad");
}

#[test]
fn a_pool_may_want_a_header_of_the_proxy_protocol() {
    let header = |value: &str| {
        let keys = format!("        proxy_protocol: {value}");
        let config = Config::load(&with("        password: x", &keys)).unwrap();
        match &config.proxies[0].pools[0].url {
            PoolUrl::Tcp { proxy_header, .. } => *proxy_header,
            other => panic!("{other}"),
        }
    };
    assert!(header("v1"));
    assert!(!header("off"));
    let wanted = "write off or v1";
    for (value, expected) in [
        (
            "v2",
            format!("v2 is not available in this version; {wanted}"),
        ),
        ("on", format!("\"on\" is unknown; {wanted}")),
        ("true", format!("this is true or false; {wanted}")),
    ] {
        let keys = format!("        proxy_protocol: {value}");
        let expected = format!("line 9: proxies[0].pools[0].proxy_protocol: {expected}");
        prints("        password: x", &keys, &expected);
    }
}

#[test]
fn tls_to_a_pool_that_can_not_be_meant_is_refused() {
    prints(
        "        password: x",
        "        tls: {}",
        "line 9: proxies[0].pools[0].tls: only for a pool with TLS, which is url: \
         stratum+tls://host:port",
    );
    let practice = with("stratum+tcp://pool.example:3333", "\"practice:\"");
    let found = mistakes(&practice.replace("password: x", "tls: {}"));
    assert!(
        found[0].contains("tls: only for a pool with TLS"),
        "{found:?}"
    );
    let pin = "write the SHA-256 of the pool's public key in quotes, as 64 hex digits or in base64";
    let zeros = "0".repeat(64);
    for (keys, expected) in [
        (
            "{ pin_sha256: abc }".to_owned(),
            format!("pin_sha256: \"abc\" is no pin; {pin}"),
        ),
        (
            "{ pin_sha256: 12 }".to_owned(),
            format!("pin_sha256: this is a number; {pin}"),
        ),
        (
            "{ pin_sha256: [x] }".to_owned(),
            format!("pin_sha256[0]: \"x\" is no pin; {pin}"),
        ),
        (
            format!("{{ insecure: true, pin_sha256: '{zeros}' }}"),
            "pin_sha256: insecure: true looks at no certificate; leave one of the two out"
                .to_owned(),
        ),
        (
            "{ insecure: true, ca: a.pem }".to_owned(),
            "ca: insecure: true looks at no certificate; leave one of the two out".to_owned(),
        ),
        (
            "{ key: a.pem }".to_owned(),
            "key: a key needs its certificate; write certificate: FILE.pem beside it".to_owned(),
        ),
        (
            "{ certificate: a.pem }".to_owned(),
            "certificate: a certificate needs its key; write key: FILE.pem beside it".to_owned(),
        ),
        (
            "{ ca: '' }".to_owned(),
            "ca: \"\" is no path; write the path of a PEM file".to_owned(),
        ),
        (
            "{ server_name: 'a b' }".to_owned(),
            "server_name: \"a b\" is no name; write a host name, e.g. pool.example".to_owned(),
        ),
        ("{ pin: x }".to_owned(), {
            let keys = "ca, pin_sha256, server_name, insecure, certificate, key";
            format!("pin: unknown key; the keys here are {keys}")
        }),
        (
            "{ sever_name: x }".to_owned(),
            "sever_name: unknown key; did you mean server_name?".to_owned(),
        ),
    ] {
        let text = with(
            "stratum+tcp://pool.example:3333",
            "stratum+tls://pool.example:3334",
        );
        let text = text.replace("password: x", &format!("tls: {keys}"));
        let expected = format!("line 9: proxies[0].pools[0].tls.{expected}");
        assert_eq!(mistakes(&text).join("\n"), expected, "{keys}");
    }
}

#[test]
fn a_share_is_answered_by_the_pool_or_at_once() {
    let reply = |text: &str| {
        let shares = format!("    dialect: equihash\n    shares: {text}");
        let config = Config::load(&with("    dialect: equihash", &shares)).unwrap();
        config.proxies[0].share_reply
    };
    assert_eq!(reply("{}"), ShareReply::Pool);
    assert_eq!(reply("{ reply: pool }"), ShareReply::Pool);
    assert_eq!(reply("{ reply: immediate }"), ShareReply::Immediate);
    prints(
        "    dialect: equihash",
        "    dialect: equihash\n    shares:\n      reply: soon",
        "line 5: proxies[0].shares.reply: \"soon\" is unknown; write pool or immediate",
    );
}

#[test]
fn pool_links_are_each_shards_own_or_a_number() {
    let links = |text: &str| {
        let links = format!("    dialect: equihash\n    pool_links: {text}");
        let config = Config::load(&with("    dialect: equihash", &links)).unwrap();
        config.proxies[0].pool_links
    };
    assert_eq!(links("per_shard"), PoolLinks::PerShard);
    assert_eq!(links("1"), PoolLinks::Number(1));
    assert_eq!(links("256"), PoolLinks::Number(256));
    for (text, expected) in [
        (
            "pool_links: 0",
            "line 4: proxies[0].pool_links: 0 is out of range; write a whole number from 1 to 256",
        ),
        (
            "pool_links: \"2\"",
            "line 4: proxies[0].pool_links: write per_shard, or a number from 1 to 256, without \
             quotes",
        ),
        (
            "pool_links: 1\n    slot_bytes: 0",
            "line 5: proxies[0].slot_bytes: with 0 bytes a miner has no part of a link; it needs \
             one of its own, and a number of pool_links leaves none; write pool_links: per_shard",
        ),
        (
            "pool_links: 8\n    pass_through_agents: [z15]",
            "line 5: proxies[0].pass_through_agents: such a miner takes no part of a link; it \
             needs one of its own, and a number of pool_links leaves none; write pool_links: \
             per_shard",
        ),
    ] {
        prints(
            "dialect: equihash",
            &format!("dialect: equihash\n    {text}"),
            expected,
        );
    }
    let alone = "dialect: equihash\n    pool_links: per_shard\n    slot_bytes: 0";
    assert!(Config::load(&with("dialect: equihash", alone)).is_ok());
}

#[test]
fn jobs_are_exchanged_where_the_operator_says_so() {
    let section = |text: &str| format!("    dialect: equihash\n    job_exchange: {text}");
    let text = section("{ enabled: true, match_seconds: 0.5, hold_seconds: 4 }");
    let config = Config::load(&with("    dialect: equihash", &text)).unwrap();
    let expected = JobExchange {
        enabled: true,
        match_within: Duration::from_millis(500),
        hold: Duration::from_secs(4),
    };
    assert_eq!(config.proxies[0].job_exchange, expected);
    prints(
        "    dialect: equihash",
        &section("{ enabled: 1, match_seconds: 0, hold: 3 }"),
        "line 4: proxies[0].job_exchange.enabled: write true or false, without quotes\n\
         line 4: proxies[0].job_exchange.match_seconds: 0 is out of range; write a number of \
         seconds from 0.01 to 60\n\
         line 4: proxies[0].job_exchange.hold: unknown key; did you mean hold_seconds?",
    );
}

#[test]
fn miners_are_kept_warm_where_the_operator_says_so() {
    let failover = |text: &str| format!("    dialect: equihash\n    failover: {text}");
    let config = with("    dialect: equihash", &failover("{ keep_warm: true }"));
    assert!(Config::load(&config).unwrap().proxies[0].keep_warm);
    prints(
        "    dialect: equihash",
        &failover("{ keep_warm: 30 }"),
        "line 4: proxies[0].failover.keep_warm: write true or false, without quotes",
    );
}

#[test]
fn the_nearest_known_key_is_named() {
    for (key, near) in [
        ("pasword", "password"),
        ("Password", "password"),
        ("reconnect-hosts", "reconnect_hosts"),
        ("reconnect", "reconnect_hosts"),
        ("ulr", "url"),
    ] {
        prints(
            "        password: x",
            &format!("        {key}: x"),
            &format!("line 9: proxies[0].pools[0].{key}: unknown key; did you mean {near}?"),
        );
    }
    let odd_keys = with("password: x", "\"a\\nb\": 1\n        5: x\n        [z]: x");
    let found = mistakes(&odd_keys);
    assert!(found[0].starts_with("line 7: proxies[0].pools[0]: a number is used as a key;"));
    assert!(found[1].starts_with("line 7: proxies[0].pools[0]: a list is used as a key;"));
    assert!(found[2].starts_with(r#"line 9: proxies[0].pools[0]."a\nb": unknown key;"#));
}

#[test]
fn listeners_names_and_pools_differ() {
    let text = r#"
proxies:
  - name: a
    dialect: equihash
    listen:
      - address: 0.0.0.0:3333
      - address: 127.0.0.1:3333
      - address: 127.0.0.1:0
      - address: 127.0.0.1:0
    pools:
      - { url: "stratum+tcp://a:1", worker: w }
      - { url: "stratum+tcp://A:1", worker: v }
      - { url: "stratum+tcp://A:1", worker: w }
      - { url: "practice:" }
      - { url: "practice:" }
  - name: A
    dialect: equihash
    listen: [ address: "[::]:3333" ]
    pools: [ url: "practice:" ]
  - name: a
    dialect: equihash
    listen: [ address: 10.0.0.1:3334 ]
    pools: [ url: "practice:" ]
"#;
    assert_eq!(
        mistakes(text),
        [
            "line 7: proxies[0].listen[1].address: 127.0.0.1:3333 overlaps 0.0.0.0:3333 of \
             proxies[0].listen[0].address; write another port",
            "line 13: proxies[0].pools[2]: the same pool and worker as proxies[0].pools[0]; \
             leave one of them out",
            "line 18: proxies[1].listen[0].address: [::]:3333 overlaps 0.0.0.0:3333 of \
             proxies[0].listen[0].address; write another port",
            "line 20: proxies[2].name: a is taken by proxies[0].name; write another name",
        ]
    );
}

#[test]
fn names_words_and_sets_are_checked() {
    let long = "a".repeat(300);
    for (line, replacement, expected) in [
        (
            "name: zcash",
            "name: 'a b'",
            "line 2: proxies[0].name: \"a b\" is no name; write 1 to 64 letters, digits, _ or -",
        ),
        (
            "name: zcash",
            "name: 5",
            "line 2: proxies[0].name: this is a number; write 1 to 64 letters, digits, _ or -",
        ),
        (
            "dialect: equihash",
            "dialect: equihsh",
            "line 3: proxies[0].dialect: \"equihsh\" is unknown; write equihash or bitcoin or monero",
        ),
        (
            "dialect: equihash",
            "equihash: { n: 200, k: 5 }\n    dialect: equihash",
            "line 3: proxies[0].equihash.n: no coin uses n 200 with k 5; the sets are 200,9 \
             144,5 192,7 125,4 96,5 48,5",
        ),
        (
            "dialect: equihash",
            "equihash: { personalization: Zcash }\n    dialect: equihash",
            "line 3: proxies[0].equihash.personalization: \"Zcash\" is something else; write \
             8 ASCII characters, e.g. ZcashPoW",
        ),
        (
            "worker: t1account.farm",
            "worker: ''",
            "line 8: proxies[0].pools[0].worker: this is no worker; write 1 to 256 bytes \
             without control characters",
        ),
        (
            "worker: t1account.farm",
            "worker: 12",
            "line 8: proxies[0].pools[0].worker: this is a number; write the worker in \
             quotes: worker: \"…\"",
        ),
        (
            "password: x",
            &format!("password: {long}"),
            "line 9: proxies[0].pools[0].password: this is no password; write 1 to 256 bytes \
             without control characters",
        ),
        (
            "password: x",
            "reconnect_hosts: ['eu.pool:1', b.example]",
            "line 9: proxies[0].pools[0].reconnect_hosts[0]: \"eu.pool:1\" is no host; write \
             the host alone, e.g. eu.pool.example",
        ),
        (
            "password: x",
            "practice: {}",
            "line 9: proxies[0].pools[0].practice: only for the practice pool, \
             which is url: \"practice:\"",
        ),
        (
            "dialect: equihash",
            "dialect: equihash\n    pass_through_agents: [NHeq, '', 7]",
            "line 4: proxies[0].pass_through_agents[1]: \"\" is no part of an agent; write 1 \
             to 256 bytes\nline 4: proxies[0].pass_through_agents[2]: this is a number; write \
              a part of the miner's user agent, e.g. nheqminer",
        ),
    ] {
        prints(line, replacement, expected);
    }
    let agents = with(
        "dialect: equihash",
        "dialect: equihash\n    pass_through_agents: [NHeq]",
    );
    assert_eq!(
        Config::load(&agents).unwrap().proxies[0].pass_through_agents,
        ["nheq"]
    );
}

#[test]
fn a_bitcoin_proxy_has_no_keys_of_equihash() {
    let config = Config::load(&with("dialect: equihash", "dialect: bitcoin")).unwrap();
    assert_eq!(config.proxies[0].coin, CoinConfig::Bitcoin);
    prints(
        "dialect: equihash",
        "dialect: bitcoin\n    equihash: { n: 200, k: 9 }",
        "line 4: proxies[0].equihash: only for dialect: equihash; leave it out",
    );
    let practice = |keys: &str| {
        format!(
            "proxies: [{{name: a, dialect: bitcoin, listen: [{{address: 0.0.0.0:1}}], \
             pools: [{{url: 'practice:', practice: {{{keys}}}}}]}}]"
        )
    };
    let config = Config::load(&practice("difficulty: 2, extranonce2_bytes: 4")).unwrap();
    let PoolUrl::Practice(pool) = &config.proxies[0].pools[0].url else {
        panic!("a practice pool");
    };
    assert_eq!(pool.target[..7], [0, 0, 0, 0, 0x7f, 0xff, 0x80]);
    assert_eq!((pool.nonce_1_bytes, pool.extranonce2_bytes), (4, 4));
    let no_difficulty = "difficulty: this is no difficulty; write a number above 0 without quotes, \
                         e.g. 1024";
    let keys = "the keys here are judge, job_interval_seconds, block_interval_jobs, difficulty, \
                extranonce1_bytes, extranonce2_bytes";
    for (line, expected) in [
        ("difficulty: 0", no_difficulty.to_owned()),
        ("difficulty: .nan", no_difficulty.to_owned()),
        ("difficulty: 1e308", no_difficulty.to_owned()),
        ("difficulty: '1'", no_difficulty.to_owned()),
        ("target: '7ff'", format!("target: unknown key; {keys}")),
    ] {
        let expected = format!("line 1: proxies[0].pools[0].practice.{expected}");
        assert_eq!(mistakes(&practice(line)), [expected]);
    }
}

#[test]
fn a_practice_pool_of_monero_judges_the_shape() {
    let practice = |keys: &str| {
        format!(
            "proxies: [{{name: a, dialect: monero, listen: [{{address: 0.0.0.0:1}}], \
             pools: [{{url: 'practice:', practice: {{{keys}}}}}]}}]"
        )
    };
    let config = Config::load(&practice("difficulty: 65536")).unwrap();
    assert_eq!(config.proxies[0].coin, CoinConfig::Monero);
    let PoolUrl::Practice(pool) = &config.proxies[0].pools[0].url else {
        panic!("a practice pool");
    };
    assert_eq!(pool.judge, Judge::Shape);
    assert_eq!(
        pool.target[..9],
        [0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
    );
    let keys = "the keys here are judge, job_interval_seconds, block_interval_jobs, difficulty";
    for (line, expected) in [
        (
            "judge: full",
            "judge: nobody computes RandomX here; write judge: shape".to_owned(),
        ),
        ("target: '7ff'", format!("target: unknown key; {keys}")),
        (
            "difficulty: 0",
            "difficulty: 0 is out of range; write a whole number from 1 to 4294967295".to_owned(),
        ),
    ] {
        let expected = format!("line 1: proxies[0].pools[0].practice.{expected}");
        assert_eq!(mistakes(&practice(line)), [expected]);
    }
}

#[test]
fn a_practice_pool_is_configured_or_told_why_not() {
    let practice = |equihash: &str, keys: &str| {
        format!(
            "proxies: [{{name: a, dialect: equihash, equihash: {{{equihash}}}, \
             listen: [{{address: 0.0.0.0:1}}], \
             pools: [{{url: 'practice:', practice: {{{keys}}}}}]}}]"
        )
    };
    let pool = |keys: &str| match Config::load(&practice("", keys)) {
        Ok(config) => match config.proxies[0].pools[0].url.clone() {
            PoolUrl::Practice(practice) => practice,
            other => panic!("{other}"),
        },
        Err(errors) => panic!("{errors}"),
    };
    let config = pool("target: '7FF', judge: shape, job_interval_seconds: 0.5, nonce_1_bytes: 8");
    assert_eq!(config.target[29..], [0, 0x07, 0xff]);
    assert_eq!(config.judge, Judge::Shape);
    assert_eq!(config.job_interval, Duration::from_millis(500));
    assert_eq!(config.nonce_1_bytes, 8);
    assert_eq!(
        pool(&format!("target: {}", "f".repeat(64))).target,
        [0xff; 32]
    );

    let full = "full needs ZcashPoW with 200,9 144,5 192,7 96,5 48,5; write judge: shape";
    let target = "is no target; write up to 64 hex digits in quotes, not all 0";
    for (equihash, keys, expected) in [
        ("n: 125, k: 4", "", format!("judge: {full}")),
        (
            "personalization: BgoldPoW",
            "judge: full",
            format!("judge: {full}"),
        ),
        (
            "",
            "judge: ful",
            "judge: \"ful\" is unknown; write full or shape".to_owned(),
        ),
        ("", "target: xyz", format!("target: \"xyz\" {target}")),
        ("", "target: ''", format!("target: \"\" {target}")),
        ("", "target: 'é'", format!("target: \"é\" {target}")),
        (
            "",
            &format!("target: '0{}'", "f".repeat(64)),
            format!("target: \"0{}\" {target}", "f".repeat(64)),
        ),
        (
            "",
            "block_interval_jobs: 0",
            "block_interval_jobs: 0 is out of range; write a whole number from 1 to 1000000"
                .to_owned(),
        ),
    ] {
        let expected = format!("line 1: proxies[0].pools[0].practice.{expected}");
        assert_eq!(mistakes(&practice(equihash, keys)), [expected]);
    }
    assert!(Config::load(&practice("n: 125, k: 4", "judge: shape")).is_ok());
}

#[test]
fn secrets_are_in_no_error_and_no_debug_output() {
    const SECRET: &str = "hunter2";
    let config = Config::load(&with("password: x", "password: hunter2")).unwrap();
    assert_eq!(config.proxies[0].pools[0].password.expose(), SECRET);
    let printed = format!(
        "{config:?}{config:#?}{}",
        config.proxies[0].pools[0].password
    );
    assert!(
        !printed.contains(SECRET) && printed.contains("***"),
        "{printed}"
    );

    for (line, replacement) in [
        ("password: x", "password: 72727272727272727272"),
        ("password: x", "password: -72727272727272727272"),
        ("password: x", "password: 7272"),
        ("password: x", "password: [hunter2]"),
        ("password: x", "password: { hunter2: 1 }"),
        ("password: x", "password: !hunter \"hunter2\""),
        ("password: x", "password: \"hunter2\\n\""),
        ("worker: t1account.farm", "worker: \"hunter2\\0\""),
        ("pool.example:3333", "me:hunter2@pool.example:3333"),
        ("pool.example:3333", "me:hunter2@pool.example"),
        ("pool.example:3333", "pool.example/?key=hunter2"),
        ("pool.example:3333", "pool.example:3333#hunter2"),
        (
            "stratum+tcp://pool.example:3333",
            "me:hunter2@pool.example:3333",
        ),
        (
            "stratum+tcp://pool.example:3333",
            "http://me:hunter2@pool.example:3333/",
        ),
        (
            "stratum+tcp://pool.example:3333",
            "stratum+tls://hunter2@pool.example:3333/",
        ),
    ] {
        let errors = Config::load(&with(line, replacement)).unwrap_err();
        let printed = format!("{errors}{errors:?}");
        assert!(
            !printed.contains(SECRET) && !printed.contains("7272"),
            "{printed}"
        );
    }
    prints(
        "password: x",
        "password: 72727272727272727272",
        "line 9, column 19: proxies[0].pools[0].password: \
         this number is too large; put it in quotes where it is none",
    );
    prints(
        "pool.example:3333",
        "me:hunter2@pool.example:3333",
        "line 7: proxies[0].pools[0].url: \
         a URL holds no worker and no password; write them as worker: and password:",
    );
}

#[test]
fn anchors_and_merge_keys_work_and_mistakes_behind_them_are_found() {
    let text = r#"
proxies:
  - &first
    name: one
    dialect: equihash
    listen: [ { address: "127.0.0.1:1" } ]
    pools: &pools
      - url: "practice:"
    limits: { jobs_kept: 5 }
  - <<: *first
    name: two
    listen: [ { address: "127.0.0.1:2" } ]
    pools: *pools
"#;
    let config = Config::load(text).unwrap();
    assert_eq!(config.proxies[1].name, "two");
    assert_eq!(config.proxies[1].limits.jobs_kept, 5);
    assert_eq!(config.proxies[1].pools, config.proxies[0].pools);

    let found = mistakes(&text.replace("jobs_kept: 5", "jobs_kept: 0"));
    assert!(found[0].starts_with("line 9: proxies[0].limits.jobs_kept: 0 is out of range"));
    assert!(found[1].starts_with("line 10: proxies[1].limits.jobs_kept: 0 is out of range"));
    assert_eq!(mistakes("<<: 5").len(), 1);
}

#[test]
fn a_file_of_mistakes_ends_with_a_count() {
    let text: String = (0..150).map(|key| format!("key_{key}: 1\n")).collect();
    let found = mistakes(&text);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], "and 51 more mistakes");
}

/// Changes the example at random: what comes out is a config or a list of mistakes, never a panic,
/// and each mistake can be printed and has a line within the text.
#[test]
fn no_text_panics() {
    const PIECES: [&str; 24] = [
        ":", " ", "\n", "\t", "- ", "[", "]", "{", "}", "\"", "'", "#", "&a ", "*a", "!t ", "<<: ",
        "0", "-1", "1e999", "null", "~", "é", "\0", "|\n",
    ];
    let full = full_example();
    for seed in 0..4000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let base = [MINIMAL, EXAMPLE, &full][random.usize(..3)];
        let mut chars: Vec<char> = base.chars().collect();
        for _ in 0..random.usize(1..8) {
            let from = random.usize(..chars.len());
            let to = (from + random.usize(..20)).min(chars.len());
            let piece: Vec<char> = match random.u8(..3) {
                0 => PIECES[random.usize(..PIECES.len())].chars().collect(),
                1 => Vec::new(),
                _ => {
                    let start = random.usize(..chars.len());
                    let end = (start + random.usize(..60)).min(chars.len());
                    chars[start..end].to_vec()
                }
            };
            let to = if random.bool() { from } else { to };
            chars.splice(from..to, piece);
            if chars.is_empty() {
                chars.push('a');
            }
        }
        let text: String = chars.into_iter().collect();
        if let Err(errors) = Config::load(&text) {
            let lines = text.split('\n').count() + 1;
            assert!(!errors.as_slice().is_empty() && !errors.to_string().is_empty());
            for error in errors.as_slice() {
                assert!(
                    error.line.is_none_or(|line| (1..=lines).contains(&line)),
                    "{seed}: {error}"
                );
            }
        }
    }
}

#[test]
fn what_a_pool_is_told_of_us_can_be_chosen() {
    let pool = |dialect: &str, keys: &str| {
        let text = format!(
            "{{proxies: [{{name: a, dialect: {dialect}, listen: [{{address: \"0.0.0.0:1\"}}], \
             pools: [{{url: \"stratum+tcp://pool.example:1\", worker: w, {keys}}}]}}]}}"
        );
        Config::load(&text).map(|config| config.proxies[0].pools[0].introduction.clone())
    };
    let usual = Introduction::default();
    assert_eq!(pool("bitcoin", "password: x").unwrap(), usual);
    let named = pool(
        "bitcoin",
        "user_agent: bmminer/2.0.0, version_rolling: false",
    )
    .unwrap();
    assert_eq!(named.agent, "bmminer/2.0.0");
    assert!(!named.version_rolling);
    let monero = pool("monero", "algorithms: [rx/0, cn/r]").unwrap();
    assert_eq!(monero.algorithms, ["rx/0", "cn/r"]);
    for (dialect, keys, mistake) in [
        ("equihash", "version_rolling: true", "unknown key"),
        ("bitcoin", "algorithms: [rx/0]", "unknown key"),
        (
            "monero",
            "algorithms: [\"rx 0\"]",
            "\"rx 0\" is no algorithm",
        ),
        ("bitcoin", "version_rolling: 1", "write true or false"),
        ("bitcoin", "user_agent: \"\"", "this is no user_agent"),
    ] {
        let errors = pool(dialect, keys).unwrap_err().to_string();
        assert!(errors.contains(mistake), "{errors}");
    }
}

#[test]
fn a_listener_with_tls_names_its_files() {
    let with_tls = |tls: &str| {
        with(
            "- address: 0.0.0.0:3333",
            &format!("- {{ address: \"0.0.0.0:3333\", tls: {tls} }}"),
        )
    };
    let text = with_tls(
        "{ certificate: a.pem, key: /b.key, mode: required, client_ca: ca.pem, \
                          certificates: [ { certificate: c.pem, key: c.key } ] }",
    );
    let mut config = Config::load(&text).unwrap();
    config.find_files(Path::new("/etc/farm"));
    let tls = config.proxies[0].listen[0].tls.clone().unwrap();
    assert_eq!(tls.mode, TlsMode::Required);
    let files: Vec<_> = tls
        .certificates
        .iter()
        .flat_map(|pair| [&pair.certificate, &pair.key])
        .collect();
    let paths: Vec<_> = files
        .iter()
        .map(|file| file.path.to_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/etc/farm/a.pem",
            "/b.key",
            "/etc/farm/c.pem",
            "/etc/farm/c.key"
        ]
    );
    assert_eq!(
        files[3].key(),
        "proxies[0].listen[0].tls.certificates[0].key"
    );
    let line = text.lines().position(|line| line.contains("tls:")).unwrap() + 1;
    assert_eq!(
        files[1].mistake("is gone").to_string(),
        format!("line {line}: proxies[0].listen[0].tls.key: is gone")
    );
    let ca = tls.client_ca.unwrap();
    assert_eq!(ca.path.to_str(), Some("/etc/farm/ca.pem"));
    for (tls, wanted) in [
        ("{ key: a }", "tls.certificate: missing"),
        ("{ certificate: a }", "tls.key: missing"),
        (
            "{ certificate: a, key: 5 }",
            "tls.key: this is a number; write the path",
        ),
        (
            "{ certificate: \"\", key: a }",
            "tls.certificate: \"\" is no path",
        ),
        (
            "{ certificate: a, key: b, mode: maybe }",
            "tls.mode: \"maybe\" is unknown; write required or auto",
        ),
        (
            "{ certificate: a, key: b, certificates: [ {} ] }",
            "tls.certificates[0].certificate: missing",
        ),
        (
            "{ certificate: a, key: b, clientca: c }",
            "tls.clientca: unknown key; did you mean client_ca?",
        ),
        (
            "{ certificate: a, key: b, mode: auto, client_ca: c }",
            "tls.client_ca: with mode: auto plain miners come in without any certificate; write mode: required",
        ),
        ("true", "tls: this is true or false"),
    ] {
        let found = mistakes(&with_tls(tls));
        assert!(
            found.iter().any(|it| it.contains(wanted)),
            "{tls}: {found:#?}"
        );
    }
    let auto = Config::load(&with_tls("{ certificate: a, key: b, mode: auto }")).unwrap();
    let tls = auto.proxies[0].listen[0].tls.as_ref().unwrap();
    assert_eq!((tls.mode, &tls.client_ca), (TlsMode::Auto, &None));
}

#[test]
fn a_line_of_a_miner_is_as_long_as_its_dialect_needs() {
    let line = |dialect: &str, limits: &str| {
        let text = format!(
            "{{proxies: [{{name: a, dialect: {dialect}, listen: [{{address: \"0.0.0.0:1\"}}], \
             pools: [{{url: \"practice:\"}}], limits: {{{limits}}}}}]}}"
        );
        Config::load(&text).unwrap().proxies[0]
            .limits
            .miner_line_bytes_max
    };
    let usual = ["equihash", "bitcoin", "monero"].map(|dialect| line(dialect, ""));
    assert_eq!(usual, [8192, 4096, 16_384]);
    assert_eq!(line("bitcoin", "miner_line_bytes_max: 5000"), 5000);
}
