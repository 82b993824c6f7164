//! The config: mistakes have a place, and what is left keeps the promises of its types.

use std::collections::HashSet;

use stratum_uring::config::{Config, PoolLinks, PoolUrl, SlotBytes};

/// Bytes that are a config, or nearly.
pub fn run(data: &[u8]) {
    let read = Config::load_bytes(data);
    assert_eq!(read, Config::load_bytes(data), "the same text reads alike");
    match read {
        Err(errors) => {
            // YAML knows more ends of a line than we do, and points behind the last one.
            let text = String::from_utf8_lossy(data);
            let ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
            let lines = 2 + text.matches(ends).count();
            let told = errors.as_slice();
            assert!(!told.is_empty());
            for error in told {
                assert!(!error.message.is_empty());
                assert!(
                    error.line.is_none_or(|line| (1..=lines).contains(&line)),
                    "{error}"
                );
                assert!(error.column.is_none_or(|column| column >= 1), "{error}");
            }
            assert!(!errors.to_string().is_empty(), "an operator is told");
        }
        Ok(config) => promises(&config),
    }
}

/// What the fields of [`Config`] say of themselves.
fn promises(config: &Config) {
    assert!(!config.proxies.is_empty());
    let names: HashSet<_> = config.proxies.iter().map(|proxy| &proxy.name).collect();
    assert_eq!(names.len(), config.proxies.len());
    let shown = format!("{config:?}");
    for proxy in &config.proxies {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        assert!((1..=64).contains(&proxy.name.len()) && proxy.name.bytes().all(is_plain));
        assert!(!proxy.listen.is_empty() && !proxy.pools.is_empty());
        assert!(proxy.miners_per_link >= 1 && proxy.links_per_shard_max >= 1);
        let room: u32 = match proxy.slot_bytes {
            SlotBytes::Auto => 65_536,
            SlotBytes::Fixed(len) => 1 << (8 * u32::from(len)),
        };
        assert!(proxy.miners_per_link <= room);
        if let PoolLinks::Number(count) = proxy.pool_links {
            assert!(count >= 1 && proxy.slot_bytes != SlotBytes::Fixed(0));
            assert!(proxy.pass_through_agents.is_empty());
        }
        for pool in &proxy.pools {
            let word = pool.password.expose();
            // Long and odd enough that nothing else in a config is spelled so by chance.
            if word.len() >= 12 && config.proxies.len() == 1 && !pool.worker.contains(word) {
                let elsewhere = proxy.pools.iter().any(|other| {
                    format!("{:?}{}{:?}", other.url, other.worker, other.reconnect_hosts)
                        .contains(word)
                });
                let agents = format!("{:?}", proxy.pass_through_agents);
                assert!(
                    elsewhere || agents.contains(word) || !shown.contains(word),
                    "a secret is shown"
                );
            }
            if let PoolUrl::Tcp { host, port } = &pool.url {
                assert!(!host.is_empty() && *port > 0);
                assert_eq!(*host, host.to_lowercase());
            }
        }
    }
}
