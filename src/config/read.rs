//! Which keys there are, and what they mean.
//!
//! Each function reads all keys of its section before it gives up, so that every mistake is noted.
//! Where one returns `None`, it has noted why.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use serde_yaml::Value;

use super::address::{overlap, parse_host, parse_listen, parse_pool};
use super::authorize::authorize;
use super::listen::listener;
use super::pool_tls::pool_tls;
use super::raw::{Node, Section, shown};
use super::{
    AdminConfig, CoinConfig, Config, EquihashConfig, Failover, JobExchange, Judge, Limits,
    PoolConfig, PoolLinks, PoolUrl, PracticeConfig, ProxyConfig, Secret, ShareReply, SlotBytes,
};
use crate::proto::dialect::bitcoin::target_of;
use crate::proto::dialect::equihash::Parameters;
use crate::proto::dialect::{AGENT, Introduction};

pub(super) fn config(root: &Node<'_>) -> Option<Config> {
    let mut section = root.section();
    let cores = section
        .get("cores")
        .and_then(|node| node.number(1..=CORES_MAX));
    let miners_expected = section
        .get("miners_expected")
        .and_then(|node| node.number(1..=MINERS_EXPECTED_MAX));
    let accepts_per_second = section.number("accepts_per_second", 20_000, 0..=10_000_000);
    let admin = section.get("admin");
    let proxies = items(&mut section, "proxies", "write a list of proxies");
    section.finish(&[]);

    let mut taken = Taken::default();
    let admin = admin.map(|node| admin_port(&node, &mut taken.listeners));
    Some(Config {
        cores: cores.and_then(NonZeroUsize::new),
        miners_expected,
        accepts_per_second,
        // Where it is written and has a mistake, that was noted.
        admin: admin.flatten(),
        proxies: all(proxies, |node| proxy(node, &mut taken))?,
    })
}

/// Each shard's number is one byte of its job ids.
const CORES_MAX: usize = 256;

/// Shares below which a part of them says nothing of a miner.
const REJECTED_WINDOW_MIN: u32 = 20;

/// With the most shards, and the most that each can hold.
const MINERS_EXPECTED_MAX: u32 = 256 * 65_536;

fn admin_port(node: &Node<'_>, taken: &mut Vec<(SocketAddr, String)>) -> Option<AdminConfig> {
    let mut section = node.section();
    let node = section.required("listen", "write listen: IP:port, e.g. 127.0.0.1:9333");
    let drain = section.number("drain_seconds", 0.0, 0.0..=3600.0);
    section.finish(&[]);
    let listen = address(&node?, taken)?;
    Some(AdminConfig { listen, drain })
}

/// What no two proxies may share, each with the path of who has it.
#[derive(Default)]
struct Taken {
    names: Vec<(String, String)>,
    listeners: Vec<(SocketAddr, String)>,
}

fn proxy(node: &Node<'_>, taken: &mut Taken) -> Option<ProxyConfig> {
    let mut section = node.section();
    let name = section.required(
        "name",
        "write a name for logs and metrics, e.g. name: zcash",
    );
    let name = name.and_then(|node| proxy_name(&node, &mut taken.names));
    let dialect = section.required("dialect", "write dialect: equihash, bitcoin or monero");
    let dialect = dialect.and_then(|node| node.choice(&DIALECTS, &[]));
    let coin = coin(&mut section, dialect);
    let listen = items(
        &mut section,
        "listen",
        "write a list, e.g. - address: 0.0.0.0:3333",
    );
    let listen = all(listen, |node| listener(node, &mut taken.listeners));
    let pools = pools(&mut section, coin);
    let (slot_bytes, miners_per_link) = slots(&mut section);
    let links_per_shard_max = section.number("links_per_shard_max", 4, 1..=1024);
    let pool_links = pool_links(&mut section);
    let pass_through_agents = section.texts("pass_through_agents", AGENT_WANTED, agent);
    if let PoolLinks::Number(_) = pool_links {
        if slot_bytes == SlotBytes::Fixed(0) {
            section.mistake(
                "slot_bytes",
                format!("with 0 bytes a miner has no part of a link; {NO_SHARED_LINK}"),
            );
        }
        if !pass_through_agents.is_empty() {
            section.mistake(
                "pass_through_agents",
                format!("such a miner takes no part of a link; {NO_SHARED_LINK}"),
            );
        }
    }
    let authorize = authorize(&mut section, coin, pool_links);
    let share_reply = shares(section.section("shares"));
    let job_exchange = job_exchange(section.section("job_exchange"));

    let mut below = section.section("failover");
    let failover = Failover::read(&mut below);
    let keep_warm = below.get("keep_warm").and_then(|node| node.flag());
    let standby = match below.get("standby") {
        Some(node) => node.flag(),
        None => Some(false),
    };
    below.finish(&[]);
    let mut below = section.section("limits");
    let limits = limits(&mut below, coin);
    below.finish(&[]);
    section.finish(&[]);

    Some(ProxyConfig {
        name: name?,
        coin: coin?,
        listen: listen?,
        pools: pools?,
        slot_bytes,
        miners_per_link,
        links_per_shard_max,
        pool_links,
        pass_through_agents,
        authorize,
        share_reply,
        job_exchange,
        failover,
        standby: standby.unwrap_or_default(),
        keep_warm: keep_warm.unwrap_or_default(),
        limits,
    })
}

#[derive(Clone, Copy)]
enum Dialect {
    Equihash,
    Bitcoin,
    Monero,
}

const DIALECTS: [(&str, Dialect); 3] = [
    ("equihash", Dialect::Equihash),
    ("bitcoin", Dialect::Bitcoin),
    ("monero", Dialect::Monero),
];

/// The coin, from the keys of its dialect. Where the dialect has a mistake these are read all the same.
fn coin(section: &mut Section<'_>, dialect: Option<Dialect>) -> Option<CoinConfig> {
    match dialect {
        Some(other @ (Dialect::Bitcoin | Dialect::Monero)) => {
            if let Some(node) = section.get("equihash") {
                node.mistake("only for dialect: equihash; leave it out");
            }
            Some(match other {
                Dialect::Monero => CoinConfig::Monero,
                _ => CoinConfig::Bitcoin,
            })
        }
        Some(Dialect::Equihash) | None => {
            let equihash = equihash(section.section("equihash"));
            equihash
                .filter(|_| dialect.is_some())
                .map(CoinConfig::Equihash)
        }
    }
}

fn proxy_name(node: &Node<'_>, taken: &mut Vec<(String, String)>) -> Option<String> {
    const WANTED: &str = "write 1 to 64 letters, digits, _ or -";
    let name = node.text(WANTED)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
        node.mistake(format!("{} is no name; {WANTED}", shown(name)));
        return None;
    }
    if let Some((_, path)) = taken.iter().find(|(other, _)| other == name) {
        node.mistake(format!("{name} is taken by {path}; write another name"));
    }
    taken.push((name.to_owned(), node.path()));
    Some(name.to_owned())
}

fn equihash(mut section: Section<'_>) -> Option<EquihashConfig> {
    let n = section
        .get("n")
        .map_or(Some(200), |node| node.number(1..=1024));
    let k = section.get("k").map_or(Some(9), |node| node.number(1..=32));
    let parameters = n.zip(k).and_then(|(n, k)| {
        let parameters = Parameters::new(n, k);
        if parameters.is_none() {
            let sets = Parameters::ALL.map(|set| format!("{},{}", set.n(), set.k()));
            let wanted = format!("the sets are {}", sets.join(" "));
            section.mistake("n", format!("no coin uses n {n} with k {k}; {wanted}"));
        }
        parameters
    });
    let personalization = match section.get("personalization") {
        Some(node) => personalization(&node),
        None => Some(*b"ZcashPoW"),
    };
    section.finish(&[]);
    Some(EquihashConfig {
        parameters: parameters?,
        personalization: personalization?,
    })
}

fn personalization(node: &Node<'_>) -> Option<[u8; 8]> {
    const WANTED: &str = "write 8 ASCII characters, e.g. ZcashPoW";
    let text = node.text(WANTED)?;
    let bytes = text.as_bytes().try_into().ok();
    let bytes = bytes.filter(|bytes: &[u8; 8]| bytes.iter().all(u8::is_ascii_graphic));
    if bytes.is_none() {
        node.mistake(format!("{} is something else; {WANTED}", shown(text)));
    }
    bytes
}

/// With the most shards, and the most that each can hold.
pub(super) const CONNECTIONS_MAX: u32 = MINERS_EXPECTED_MAX;

/// An address that no other listener takes connections of.
pub(super) fn address(
    node: &Node<'_>,
    taken: &mut Vec<(SocketAddr, String)>,
) -> Option<SocketAddr> {
    let address = parse_listen(node)?;
    if let Some((other, path)) = taken.iter().find(|(other, _)| overlap(*other, address)) {
        node.mistake(format!(
            "{address} overlaps {other} of {path}; write another port"
        ));
    }
    taken.push((address, node.path()));
    Some(address)
}

fn pools(section: &mut Section<'_>, coin: Option<CoinConfig>) -> Option<Vec<PoolConfig>> {
    let nodes = items(
        section,
        "pools",
        "write a list of pools, the preferred one first",
    );
    let mut taken: Vec<(PoolConfig, String)> = Vec::new();
    all(nodes, |node| {
        let pool = pool(node, coin)?;
        let is_same = |other: &PoolConfig| other.url == pool.url && other.worker == pool.worker;
        if let Some((_, path)) = taken.iter().find(|(other, _)| is_same(other))
            && !matches!(pool.url, PoolUrl::Practice(_))
        {
            node.mistake(format!(
                "the same pool and worker as {path}; leave one of them out"
            ));
        }
        taken.push((pool.clone(), node.path()));
        Some(pool)
    })
}

fn pool(node: &Node<'_>, coin: Option<CoinConfig>) -> Option<PoolConfig> {
    let mut section = node.section();
    let url = section.required("url", "write url: stratum+tcp://host:port");
    let text = url
        .as_ref()
        .and_then(|url| url.text("write stratum+tcp://host:port"));
    let is_practice = text.is_some_and(|text| text == "practice:");
    let url = if is_practice {
        if let Some(node) = section.get("tls") {
            node.mistake(TLS_MISPLACED);
        }
        if let Some(node) = section.get("proxy_protocol") {
            node.mistake("the practice pool takes no header; leave it out");
        }
        practice_pool(section.section("practice"), coin).map(PoolUrl::Practice)
    } else {
        let practice = section.get("practice");
        let parsed = url
            .zip(text)
            .and_then(|(node, text)| parse_pool(&node, text));
        if let (Some(practice), Some(_)) = (practice, &parsed) {
            practice.mistake("only for the practice pool, which is url: \"practice:\"");
        }
        let with_tls = parsed.as_ref().is_some_and(|(.., tls)| *tls);
        let tls = section.get("tls");
        if let (Some(node), Some((.., false))) = (&tls, &parsed) {
            node.mistake(TLS_MISPLACED);
        }
        let tls = tls
            .filter(|_| with_tls)
            .map(|node| pool_tls(node.section()));
        let tls = with_tls.then(|| Box::new(tls.unwrap_or_default()));
        let header = section.get("proxy_protocol");
        let header = header.and_then(|node| node.choice(&[("off", false), ("v1", true)], &["v2"]));
        parsed.map(|(host, port, _)| PoolUrl::Tcp {
            host,
            port,
            tls,
            proxy_header: header.unwrap_or_default(),
        })
    };

    let worker = if is_practice {
        section.get("worker").map_or_else(
            || Some("practice".to_owned()),
            |node| word(&node, "worker").map(str::to_owned),
        )
    } else {
        let node = section.required("worker", "write the pool's account, e.g. worker: name.farm");
        node.and_then(|node| word(&node, "worker").map(str::to_owned))
    };
    let password = section
        .get("password")
        .map_or(Some("x"), |node| word(&node, "password"))
        .map(Secret::new);
    let reconnect_hosts = section.texts("reconnect_hosts", HOST_WANTED, |node, text| {
        let host = parse_host(text);
        if host.is_none() {
            node.mistake(format!("{} is no host; {HOST_WANTED}", shown(text)));
        }
        host
    });
    let extranonce_subscribe = match section.get("extranonce_subscribe") {
        Some(node) => node.flag(),
        None => Some(false),
    };
    let introduction = introduction(&mut section, coin);
    section.finish(&[]);

    Some(PoolConfig {
        url: url?,
        worker: worker?,
        password: password?,
        reconnect_hosts,
        extranonce_subscribe: extranonce_subscribe.unwrap_or_default(),
        introduction: introduction?,
    })
}

const TLS_MISPLACED: &str = "only for a pool with TLS, which is url: stratum+tls://host:port";

/// What we say of ourselves to a pool; two of the keys are of one dialect each.
fn introduction(section: &mut Section<'_>, coin: Option<CoinConfig>) -> Option<Introduction> {
    let agent = section.get("user_agent").map_or_else(
        || Some(AGENT.to_owned()),
        |node| word(&node, "user_agent").map(str::to_owned),
    );
    let version_rolling = match coin {
        Some(CoinConfig::Bitcoin) => section.get("version_rolling"),
        _ => None,
    };
    let algorithms = match coin {
        Some(CoinConfig::Monero) => section.texts("algorithms", ALGORITHMS_WANTED, |node, text| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
            let fits = (1..=32).contains(&text.len()) && text.chars().all(is_name);
            if !fits {
                let shown = shown(text);
                node.mistake(format!("{shown} is no algorithm; {ALGORITHMS_WANTED}"));
            }
            fits.then(|| text.to_owned())
        }),
        _ => Vec::new(),
    };
    Some(Introduction {
        agent: agent?,
        version_rolling: version_rolling.map_or(Some(true), |node| node.flag())?,
        algorithms,
    })
}

const ALGORITHMS_WANTED: &str = "write its name as xmrig has it, e.g. rx/0";

const HOST_WANTED: &str = "write the host alone, e.g. eu.pool.example";

/// A worker or a password. Never shown, as one may stand in the other's place.
fn word<'a>(node: &Node<'a>, word: &str) -> Option<&'a str> {
    let text = node.text(&format!("write the {word} in quotes: {word}: \"…\""))?;
    if text.is_empty() || text.len() > WORD_BYTES_MAX || text.contains(char::is_control) {
        let range = format!("1 to {WORD_BYTES_MAX} bytes without control characters");
        node.mistake(format!("this is no {word}; write {range}"));
        return None;
    }
    Some(text)
}

/// Pools cut longer names or refuse them.
const WORD_BYTES_MAX: usize = 256;

fn practice_pool(mut section: Section<'_>, coin: Option<CoinConfig>) -> Option<PracticeConfig> {
    let judge = match section.get("judge") {
        Some(node) => node.choice(&[("full", Judge::Full), ("shape", Judge::Shape)], &[]),
        None if coin == Some(CoinConfig::Monero) => Some(Judge::Shape),
        None => Some(Judge::Full),
    };
    if judge == Some(Judge::Full) && coin == Some(CoinConfig::Monero) {
        section.mistake("judge", "nobody computes RandomX here; write judge: shape");
    }
    if let (Some(Judge::Full), Some(CoinConfig::Equihash(equihash))) = (judge, coin)
        && !is_checkable(equihash)
    {
        let sets = CHECKABLE.map(|(n, k)| format!("{n},{k}"));
        section.mistake(
            "judge",
            format!(
                "full needs ZcashPoW with {}; write judge: shape",
                sets.join(" ")
            ),
        );
    }
    let job_interval = section.number("job_interval_seconds", 30.0, 0.1..=3600.0);
    let block_interval_jobs = section.number("block_interval_jobs", 4, 1..=1_000_000);
    let is_bitcoin = coin == Some(CoinConfig::Bitcoin);
    let (target, nonce_1_bytes, extranonce2_bytes) = if is_bitcoin {
        let target = match section.get("difficulty") {
            Some(node) => difficulty(&node),
            None => difficulty_target(PRACTICE_DIFFICULTY),
        };
        let extranonce1_bytes = section.number("extranonce1_bytes", 4, 1..=24);
        let extranonce2_bytes = section.number("extranonce2_bytes", EXTRANONCE2_BYTES, 1..=32);
        (target, extranonce1_bytes, extranonce2_bytes)
    } else if coin == Some(CoinConfig::Monero) {
        let range = 1..=u32::MAX;
        let difficulty = section.number("difficulty", PRACTICE_DIFFICULTY_MONERO, range);
        (Some(monero_target(difficulty)), 4, EXTRANONCE2_BYTES)
    } else {
        let target = match section.get("target") {
            Some(node) => target(&node),
            None => Some(PRACTICE_TARGET),
        };
        let nonce_1_bytes = section.number("nonce_1_bytes", 4, 1..=24);
        (target, nonce_1_bytes, EXTRANONCE2_BYTES)
    };
    section.finish(&[]);
    Some(PracticeConfig {
        judge: judge.unwrap_or(Judge::Full),
        job_interval,
        block_interval_jobs,
        target: target.unwrap_or(PRACTICE_TARGET),
        nonce_1_bytes,
        extranonce2_bytes,
    })
}

/// What most pools leave.
const EXTRANONCE2_BYTES: usize = 8;

/// A share every few seconds from a small machine, and some in each second from a large one.
const PRACTICE_DIFFICULTY: f64 = 1024.0;

/// A share every few seconds from a small machine.
const PRACTICE_DIFFICULTY_MONERO: u32 = 10_000;

/// What so many hashes have one below, of which only the first eight bytes count.
fn monero_target(difficulty: u32) -> [u8; 32] {
    let mut target = [0xff; 32];
    target[..8].copy_from_slice(&(u64::MAX / u64::from(difficulty)).to_be_bytes());
    target
}

fn difficulty(node: &Node<'_>) -> Option<[u8; 32]> {
    let target = match node.value() {
        Value::Number(number) => number.as_f64().and_then(difficulty_target),
        _ => None,
    };
    if target.is_none() {
        node.mistake("this is no difficulty; write a number above 0 without quotes, e.g. 1024");
    }
    target
}

fn difficulty_target(difficulty: f64) -> Option<[u8; 32]> {
    target_of(difficulty).map(|target| *target.as_bytes())
}

/// One solution in 256 is a share: some for a CPU that mines 48,5, and more than enough for a
/// machine that mines 200,9.
const PRACTICE_TARGET: [u8; 32] = {
    let mut target = [0xff; 32];
    target[0] = 0;
    target
};

/// The sets whose solutions can be checked here, with the personalization of Zcash.
const CHECKABLE: [(u32, u32); 5] = [(200, 9), (144, 5), (192, 7), (96, 5), (48, 5)];

fn is_checkable(equihash: EquihashConfig) -> bool {
    let set = (equihash.parameters.n(), equihash.parameters.k());
    CHECKABLE.contains(&set) && equihash.personalization == *b"ZcashPoW"
}

/// Hex digits, of which the leading zeros may be left out.
fn target(node: &Node<'_>) -> Option<[u8; 32]> {
    const WANTED: &str = "write up to 64 hex digits in quotes, not all 0";
    let text = node.text(WANTED)?;
    let padded = format!("{text:0>64}");
    let mut target = [0; 32];
    let is_hex = faster_hex::hex_decode(padded.as_bytes(), &mut target).is_ok();
    if !is_hex || text.len() > 64 || target == [0; 32] {
        node.mistake(format!("{} is no target; {WANTED}", shown(text)));
        return None;
    }
    Some(target)
}

fn slots(section: &mut Section<'_>) -> (SlotBytes, u32) {
    let slot_bytes = section
        .get("slot_bytes")
        .and_then(|node| match node.value() {
            Value::String(text) if text == "auto" => Some(SlotBytes::Auto),
            Value::Number(number) if number.as_u64().is_some_and(|bytes| bytes <= 2) => node
                .number(0..=2)
                .and_then(|bytes: u32| u8::try_from(bytes).ok())
                .map(SlotBytes::Fixed),
            _ => {
                node.mistake("write auto, 0, 1 or 2, without quotes");
                None
            }
        });
    let slot_bytes = slot_bytes.unwrap_or(SlotBytes::Auto);
    let room = match slot_bytes {
        SlotBytes::Auto => MINERS_PER_LINK_MAX,
        SlotBytes::Fixed(bytes) => 1 << (8 * u32::from(bytes)),
    };
    let miners_per_link: u32 = section.number(
        "miners_per_link",
        MINERS_PER_LINK_MAX,
        1..=MINERS_PER_LINK_MAX,
    );
    (slot_bytes, miners_per_link.min(room))
}

/// Two bytes of slot.
const MINERS_PER_LINK_MAX: u32 = 65_536;

fn pool_links(section: &mut Section<'_>) -> PoolLinks {
    let pool_links = section
        .get("pool_links")
        .and_then(|node| match node.value() {
            Value::String(text) if text == "per_shard" => Some(PoolLinks::PerShard),
            Value::Number(_) => node.number(1..=CORES_MAX).map(PoolLinks::Number),
            _ => {
                node.mistake(format!(
                    "write per_shard, or a number from 1 to {CORES_MAX}, without quotes"
                ));
                None
            }
        });
    pool_links.unwrap_or(PoolLinks::PerShard)
}

/// What can't be had where the links are shared.
const NO_SHARED_LINK: &str = "it needs one of its own, and a number of pool_links leaves none; write \
                              pool_links: per_shard";

fn job_exchange(mut section: Section<'_>) -> JobExchange {
    let enabled = section.get("enabled").and_then(|node| node.flag());
    let job_exchange = JobExchange {
        enabled: enabled.unwrap_or_default(),
        match_within: section.number("match_seconds", 2.0, 0.01..=60.0),
        hold: section.number("hold_seconds", 10.0, 0.1..=600.0),
    };
    section.finish(&[]);
    job_exchange
}

fn agent(node: &Node<'_>, text: &str) -> Option<String> {
    if text.is_empty() || text.len() > WORD_BYTES_MAX {
        let range = format!("1 to {WORD_BYTES_MAX} bytes");
        node.mistake(format!(
            "{} is no part of an agent; write {range}",
            shown(text)
        ));
        return None;
    }
    Some(text.to_ascii_lowercase())
}

const AGENT_WANTED: &str = "write a part of the miner's user agent, e.g. nheqminer";

/// When a miner is told what became of its share. Of `check` only the default is available yet.
fn shares(mut section: Section<'_>) -> ShareReply {
    const REPLIES: [(&str, ShareReply); 2] = [
        ("pool", ShareReply::Pool),
        ("immediate", ShareReply::Immediate),
    ];
    let reply = section
        .get("reply")
        .and_then(|node| node.choice(&REPLIES, &[]));
    if let Some(node) = section.get("check") {
        node.choice(&[("shape", ())], &["full", "solution", "target"]);
    }
    section.finish(&[]);
    reply.unwrap_or(ShareReply::Pool)
}

fn limits(section: &mut Section<'_>, coin: Option<CoinConfig>) -> Limits {
    let is_line_bounded = section.has("miner_line_bytes_max");
    let mut limits = Limits::read(section);
    if let Some(coin) = coin.filter(|_| !is_line_bounded) {
        limits.miner_line_bytes_max = coin.miner_line_bytes_max();
    }
    let pairs = [
        (
            "jobs_kept",
            limits.jobs_kept,
            "jobs_kept_max",
            limits.jobs_kept_max,
        ),
        (
            "pending_shares_per_miner_max",
            limits.pending_shares_per_miner_max,
            "pending_shares_max",
            limits.pending_shares_max,
        ),
    ];
    for (small_key, small, large_key, large) in pairs {
        if small > large {
            section.mistake(
                small_key,
                format!("{small} is more than {large_key}, which is {large}"),
            );
        }
    }
    let window = limits.rejected_window;
    if (1..REJECTED_WINDOW_MIN).contains(&window) {
        section.mistake(
            "rejected_window",
            format!(
                "{window} shares say nothing of a miner, and a few bad ones would close it; write 0, which \
                 looks at none, or {REJECTED_WINDOW_MIN} to 60000"
            ),
        );
    }
    limits
}

/// The items of a list that must be there and have at least one.
pub(super) fn items<'a>(
    section: &mut Section<'a>,
    key: &'static str,
    wanted: &str,
) -> Vec<Node<'a>> {
    let Some(node) = section.required(key, wanted) else {
        return Vec::new();
    };
    let items = node.items();
    if items.as_ref().is_some_and(Vec::is_empty) {
        node.mistake(format!("this list is empty; {wanted}"));
    }
    items.unwrap_or_default()
}

/// Reads all items, the rest too where one has a mistake.
pub(super) fn all<'a, T>(
    nodes: Vec<Node<'a>>,
    read: impl FnMut(&Node<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = nodes.iter().map(read).collect();
    let is_empty = read.is_empty();
    read.into_iter()
        .collect::<Option<Vec<T>>>()
        .filter(|_| !is_empty)
}
